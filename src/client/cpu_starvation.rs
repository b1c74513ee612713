//! How long a worker wanted a processor and got none, because other processes had it.
//!
//! A worker that shares the machine with the server it tests waits half of the time, which is no harm. One that waits
//! most of a second is starved: what it says about time is then about the machine. Pure: the times are given.

use std::time::Duration;

/// The length of a window, in nanoseconds.
const WINDOW_NS: u64 = 1_000_000_000;
/// A worker that waited for this part of the time in which it wanted a processor, and for at least half of the window,
/// was starved in that window.
const STARVED: f64 = 0.8;

/// The measure of one worker. Times are nanoseconds since the start of the run.
pub(super) struct CpuStarvation {
    window_began: u64,
    /// CPU time and waiting time of the thread when the window began; `None`: the system does not say.
    before: Option<(Duration, Duration)>,
    starved: Duration,
}

impl CpuStarvation {
    /// Measures from `now` on, when the thread has used `cpu` time and has waited for `delay`.
    pub(super) fn new(now: u64, cpu: Option<Duration>, delay: Option<Duration>) -> CpuStarvation {
        CpuStarvation { window_began: now, before: cpu.zip(delay), starved: Duration::ZERO }
    }

    /// Reads the times of the thread if the window is over.
    pub(super) fn sample(
        &mut self,
        now: u64,
        cpu: impl FnOnce() -> Option<Duration>,
        delay: impl FnOnce() -> Option<Duration>,
    ) {
        let window = now.saturating_sub(self.window_began);
        if window < WINDOW_NS {
            return;
        }
        let Some((cpu_before, delay_before)) = self.before else { return };
        let after = cpu().zip(delay());
        if let Some((cpu, delay)) = after {
            let (ran, waited) = (cpu.saturating_sub(cpu_before), delay.saturating_sub(delay_before));
            let wanted = (ran + waited).as_secs_f64();
            let is_starved = waited.as_secs_f64() >= STARVED * wanted && waited.as_nanos() * 2 >= u128::from(window);
            if is_starved {
                self.starved += Duration::from_nanos(window);
            }
        }
        (self.window_began, self.before) = (now, after);
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
    fn a_system_that_does_not_say_leaves_it_unknown() {
        assert_eq!(CpuStarvation::new(0, Some(Duration::ZERO), None).finish(), None);
    }
}
