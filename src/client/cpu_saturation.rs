//! How much of its processor a worker uses in its busiest second.
//!
//! The mean over its whole life would not do: a run that opens connections for 40 s and is at its limit for 60 s had no
//! time left, whatever the mean says.

use std::time::Duration;

use super::outcome::SATURATED;

/// The length of a 'second', in nanoseconds. In a shorter window a burst of handshakes would pass for a bottleneck.
const WINDOW_NS: u64 = 1_000_000_000;
/// A shorter run consists of starting up, and says nothing.
const SHORTEST_RUN_NS: u64 = 100_000_000;

/// The measure of one worker. Times are nanoseconds since the start of the run.
pub(super) struct CpuSaturation {
    window_began: u64,
    /// CPU time of the thread when the window began; `None` once the system has not said.
    cpu: Option<Duration>,
    most: Option<f64>,
}

impl CpuSaturation {
    /// Measures from `now` on, when the thread has used `cpu` time.
    pub(super) fn new(now: u64, cpu: Option<Duration>) -> CpuSaturation {
        CpuSaturation { window_began: now, cpu, most: None }
    }

    /// Reads the CPU time of the thread if the window is over. Returns when the window began if the worker had no time
    /// left in it.
    pub(super) fn sample(&mut self, now: u64, cpu: impl FnOnce() -> Option<Duration>) -> Option<u64> {
        let began = self.window_began;
        if now < began.saturating_add(WINDOW_NS) {
            return None;
        }
        self.close_window(now, cpu()).filter(|part| *part >= SATURATED).map(|_| began)
    }

    /// The part of its busiest second in which the worker used its processor: 0 to 1. In a shorter run, the part of
    /// the whole run; in one of less than a tenth of a second, `None`.
    pub(super) fn finish(mut self, now: u64, cpu: Option<Duration>) -> Option<f64> {
        if self.most.is_none() && now >= self.window_began.saturating_add(SHORTEST_RUN_NS) {
            self.close_window(now, cpu);
        }
        self.most.filter(|_| self.cpu.is_some())
    }

    /// Begins the next window. Returns the part of the one before in which the worker used its processor, if it is
    /// known.
    fn close_window(&mut self, now: u64, cpu: Option<Duration>) -> Option<f64> {
        let used = cpu.zip(self.cpu).map(|(cpu, before)| cpu.saturating_sub(before));
        let part = used.filter(|_| now > self.window_began).map(|used| {
            // The clocks of the thread and of the run do not tick together, so the part can come out above 1.
            (used.as_secs_f64() * 1e9 / (now - self.window_began) as f64).min(1.0)
        });
        self.most = self.most.into_iter().chain(part).reduce(f64::max);
        (self.window_began, self.cpu) = (now, used.and(cpu));
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> (u64, Option<Duration>) {
        (millis * 1_000_000, Some(Duration::from_millis(millis)))
    }

    /// The saturation of a run that is sampled every 50 ms. Each phase is its length in ms and the part of it that is
    /// busy.
    fn saturation(phases: &[(u64, f64)]) -> f64 {
        let (mut now, mut cpu) = (0.0, 0.0);
        let mut saturation = CpuSaturation::new(0, ms(0).1);
        for (length, part) in phases {
            for _ in 0..length / 50 {
                now += 50.0;
                cpu += 50.0 * part;
                saturation.sample(ms(now as u64).0, || ms(cpu as u64).1);
            }
        }
        saturation.finish(ms(now as u64).0, ms(cpu as u64).1).expect("the system always said the CPU time")
    }

    #[test]
    fn a_worker_is_as_busy_as_in_its_busiest_second_however_long_it_idled() {
        assert!(saturation(&[(40_000, 0.1), (60_000, 1.0)]) >= 0.99);
        assert!(saturation(&[(60_000, 1.0), (40_000, 0.1)]) >= 0.99);
        assert!((saturation(&[(10_000, 0.5)]) - 0.5).abs() < 0.01);
    }

    #[test]
    fn a_short_burst_is_no_bottleneck_and_a_short_run_counts_as_a_whole() {
        assert!(saturation(&[(300, 1.0), (10_000, 0.2)]) < 0.5);
        assert!(saturation(&[(10_000, 0.2), (300, 1.0)]) < 0.5);
        assert!(saturation(&[(400, 1.0)]) >= 0.99);
        let mut short = CpuSaturation::new(0, ms(0).1);
        short.sample(ms(50).0, || ms(50).1);
        assert_eq!(short.finish(ms(50).0, ms(50).1), None, "it only started up");
    }

    #[test]
    fn a_window_without_time_left_is_told_with_its_beginning() {
        let mut saturation = CpuSaturation::new(0, ms(0).1);
        assert_eq!(saturation.sample(ms(999).0, || ms(999).1), None, "the window is not over");
        assert_eq!(saturation.sample(ms(1000).0, || ms(500).1), None, "half of it was free");
        assert_eq!(saturation.sample(ms(2010).0, || ms(1490).1), Some(ms(1000).0));
    }

    #[test]
    fn saturation_is_unknown_once_the_system_did_not_say_the_cpu_time() {
        assert_eq!(CpuSaturation::new(0, None).finish(ms(100).0, None), None);
        let mut saturation = CpuSaturation::new(0, ms(0).1);
        saturation.sample(ms(1000).0, || None);
        assert_eq!(saturation.finish(ms(1100).0, ms(1100).1), None);
    }
}
