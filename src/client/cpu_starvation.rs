//! How long a worker wanted a processor and got none, because other processes had it.
//!
//! A worker that shares the machine with the server it tests waits half of the time, which is no harm. One that waits
//! most of a second is starved: what it says about time is then about the machine. Pure: the times are given.

use std::time::Duration;

/// The length of a window for figures, in nanoseconds.
const WINDOW_NS: u64 = 1_000_000_000;
/// The length of a window for silences, in nanoseconds. It is short, because a silence may be found at any time, and
/// what is starved in the window at that time is not known yet.
const SHORT_WINDOW_NS: u64 = 200_000_000;
/// A worker that waited for this part of the time in which it wanted a processor, and for at least half of the window,
/// was starved in that window.
const STARVED: f64 = 0.8;

/// The measure of one worker. Times are nanoseconds since the start of the run.
pub(super) struct CpuStarvation {
    window: u64,
    window_began: u64,
    /// CPU time and waiting time of the thread when the window began; `None`: the system does not say.
    before: Option<(Duration, Duration)>,
    starved: Duration,
}

impl CpuStarvation {
    /// Measures from `now` on, when the thread has used `cpu` time and has waited for `delay`.
    pub(super) fn new(now: u64, cpu: Option<Duration>, delay: Option<Duration>) -> CpuStarvation {
        CpuStarvation { window: WINDOW_NS, window_began: now, before: cpu.zip(delay), starved: Duration::ZERO }
    }

    /// The same in short windows, for silences.
    pub(super) fn in_short_windows(self) -> CpuStarvation {
        CpuStarvation { window: SHORT_WINDOW_NS, ..self }
    }

    /// Reads the times of the thread if the window is over. Returns its length, in nanoseconds, if the worker was
    /// starved in it.
    pub(super) fn sample(
        &mut self,
        now: u64,
        cpu: impl FnOnce() -> Option<Duration>,
        delay: impl FnOnce() -> Option<Duration>,
    ) -> Option<u64> {
        let window = now.saturating_sub(self.window_began);
        let (cpu_before, delay_before) = self.before.filter(|_| window >= self.window)?;
        let after = cpu().zip(delay());
        (self.window_began, self.before) = (now, after);
        let (cpu, delay) = after?;
        let (ran, waited) = (cpu.saturating_sub(cpu_before), delay.saturating_sub(delay_before));
        let wanted = (ran + waited).as_secs_f64();
        let is_starved = waited.as_secs_f64() >= STARVED * wanted && waited.as_nanos() * 2 >= u128::from(window);
        if is_starved {
            self.starved += Duration::from_nanos(window);
        }
        is_starved.then_some(window)
    }

    /// How long the worker was starved, in whole windows; `None`: the system does not say.
    pub(super) fn finish(self) -> Option<Duration> {
        self.before.map(|_| self.starved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a worker was starved, in seconds. Each second is given by how long the worker ran and waited, in ms.
    fn starved(seconds: &[(u64, u64)]) -> Option<u64> {
        let some = |ms| Some(Duration::from_millis(ms));
        let mut starvation = CpuStarvation::new(0, some(0), some(0));
        let (mut ran, mut waited) = (0, 0);
        for (second, (run, wait)) in (1u64..).zip(seconds) {
            (ran, waited) = (ran + run, waited + wait);
            starvation.sample(second * WINDOW_NS, || some(ran), || some(waited));
        }
        starvation.finish().map(|time| time.as_secs())
    }

    #[test]
    fn a_worker_is_starved_when_it_mostly_waits() {
        assert_eq!(starved(&[(500, 500), (300, 700), (50, 950), (10, 990)]), Some(2));
        assert_eq!(starved(&[(1, 99), (0, 0)]), Some(0), "it hardly wanted a processor");
    }

    #[test]
    fn a_short_window_that_was_starved_is_told_with_its_length() {
        let some = |ms| Some(Duration::from_millis(ms));
        let mut starvation = CpuStarvation::new(0, some(0), some(0)).in_short_windows();
        let mut sample = |at: u64, ran, waited| starvation.sample(at * 1_000_000, || some(ran), || some(waited));
        assert_eq!(sample(150, 1, 140), None, "the window is not over");
        assert_eq!(sample(250, 5, 200), Some(250_000_000));
        assert_eq!(sample(450, 6, 230), None, "it wanted little");
    }

    #[test]
    fn a_system_that_does_not_say_leaves_it_unknown() {
        assert_eq!(CpuStarvation::new(0, Some(Duration::ZERO), None).finish(), None);
    }
}
