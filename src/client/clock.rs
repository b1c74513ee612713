//! The time of a run: nanoseconds since its start, and what durations are in it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::units::Time;

/// A clock that remembers its last reading. A round trip costs one reading. Everything else that needs a time, and may
/// lag by a few microseconds, costs none.
pub(super) struct RunClock {
    start: Instant,
    last: Cell<u64>,
    /// The time in a simulation, where nothing but the simulation moves it.
    #[cfg(all(test, not(windows)))]
    simulated: Option<(Cell<u64>, u64)>,
}

impl RunClock {
    pub(super) fn new(start: Instant) -> Self {
        RunClock {
            start,
            last: Cell::new(0),
            #[cfg(all(test, not(windows)))]
            simulated: None,
        }
    }

    /// A clock that stands still until it is [set](Self::set), but for `tick` nanoseconds with each reading.
    #[cfg(all(test, not(windows)))]
    pub(super) fn simulated(tick: u64) -> Self {
        RunClock { simulated: Some((Cell::new(0), tick)), ..RunClock::new(Instant::now()) }
    }

    /// The time of the simulation is now `now`.
    #[cfg(all(test, not(windows)))]
    pub(super) fn set(&self, now: u64) {
        self.simulated.as_ref().expect("the clock is simulated").0.set(now);
    }

    /// Reads the time.
    #[inline]
    pub(super) fn read(&self) -> u64 {
        let now = self.start.elapsed().as_nanos() as u64;
        #[cfg(all(test, not(windows)))]
        let now = self.simulated.as_ref().map_or(now, |(time, tick)| time.replace(time.get() + tick) + tick);
        self.last.set(now);
        now
    }

    /// The last reading.
    #[inline]
    pub(super) fn last(&self) -> u64 {
        self.last.get()
    }
}

/// A time of the run that never comes.
pub(super) const NEVER: u64 = u64::MAX;

/// The nanoseconds of a duration, at most some 584 years.
pub(super) fn nanos(time: Duration) -> u64 {
    Time(time).nanos()
}

/// The milliseconds of a duration, at most some 49 days.
pub(super) fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// The whole milliseconds in this many nanoseconds, at most some 49 days.
pub(super) fn nanos_to_millis(nanos: u64) -> u32 {
    u32::try_from(nanos / 1_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_too_long_for_the_unit_are_cut_to_the_longest() {
        assert_eq!((nanos(Duration::from_millis(3)), nanos(Duration::MAX)), (3_000_000, u64::MAX));
        assert_eq!((millis(Duration::from_secs(3)), millis(Duration::MAX)), (3_000, u32::MAX));
        assert_eq!((nanos_to_millis(2_999_999), nanos_to_millis(u64::MAX)), (2, u32::MAX));
    }
}
