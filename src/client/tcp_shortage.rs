//! How long this machine was short of memory for TCP. Its kernel then drops segments that have arrived, and holds sends
//! back: a silence may be its own. Pure: times and figures are given.

use std::time::Duration;

use crate::sys::TcpMemory;

/// The time between two looks, in nanoseconds.
const INTERVAL_NS: u64 = 500_000_000;

/// The measure of one worker. Times are nanoseconds since the start of the run.
pub(super) struct TcpShortage {
    last_look: u64,
    is_short: bool,
    /// `None`: the system does not tell.
    total: Option<Duration>,
}

impl TcpShortage {
    /// Measures from `now` on.
    pub(super) fn new(now: u64, memory: Option<TcpMemory>) -> TcpShortage {
        let is_short = memory.is_some_and(|memory| memory.used >= memory.pressure);
        TcpShortage { last_look: now, is_short, total: memory.map(|_| Duration::ZERO) }
    }

    /// Looks at the memory if it is time. A pressure that has begun lasts until little is used, as in the kernel.
    pub(super) fn look(&mut self, now: u64, memory: impl FnOnce() -> Option<TcpMemory>) {
        let since = now.saturating_sub(self.last_look);
        let Some(total) = self.total.as_mut().filter(|_| since >= INTERVAL_NS) else { return };
        let Some(memory) = memory() else { return };
        let limit = if self.is_short { memory.low } else { memory.pressure };
        let was_short = std::mem::replace(&mut self.is_short, memory.used >= limit);
        if self.is_short || was_short {
            *total += Duration::from_nanos(since);
        }
        self.last_look = now;
    }

    /// How long it was short; `None`: the system does not tell.
    pub(super) fn total(&self) -> Option<Duration> {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_lasts_from_the_pressure_until_little_is_used() {
        let at = |used| Some(TcpMemory { used, low: 10, pressure: 20 });
        let mut shortage = TcpShortage::new(0, at(5));
        for (half_seconds, used) in [(1, 15), (2, 25), (3, 15), (4, 9), (5, 15)] {
            shortage.look(half_seconds * INTERVAL_NS, || at(used));
            shortage.look(half_seconds * INTERVAL_NS + 1, || panic!("it was looked at just now"));
        }
        // It began before the second look and ended before the fourth.
        assert_eq!(shortage.total(), Some(Duration::from_millis(1500)));
        assert_eq!(TcpShortage::new(0, None).total(), None);
    }
}
