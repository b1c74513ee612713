//! How busy a worker is in its busiest second.
//!
//! Not over its whole life: a run that opens connections for 40 s and is at its limit for 60 s had no time left all the
//! same.

use std::time::Duration;

/// What counts as a second. Shorter, and a burst of handshakes would be taken for a bottleneck.
const WINDOW: u64 = 1_000_000_000;

/// The measure of one worker. Times are nanoseconds since the start of the run.
pub(super) struct Busy {
    began: u64,
    /// CPU time of the thread at that time; `None` once the system has not told.
    cpu: Option<Duration>,
    most: Option<f64>,
}

impl Busy {
    /// From `now` on, when the thread has used so much CPU time.
    pub(super) fn new(now: u64, cpu: Option<Duration>) -> Busy {
        Busy { began: now, cpu, most: None }
    }

    /// Looks at the clock of the thread, if a second has passed.
    pub(super) fn look(&mut self, now: u64, cpu: impl FnOnce() -> Option<Duration>) {
        if now >= self.began.saturating_add(WINDOW) {
            self.close(now, cpu());
        }
    }

    /// Which part of its busiest second it was busy: 0 to 1. Of a shorter run, which part of that.
    pub(super) fn finish(mut self, now: u64, cpu: Option<Duration>) -> Option<f64> {
        if self.most.is_none() {
            self.close(now, cpu);
        }
        self.most.filter(|_| self.cpu.is_some())
    }

    fn close(&mut self, now: u64, cpu: Option<Duration>) {
        let used = cpu.zip(self.cpu).map(|(cpu, before)| cpu.saturating_sub(before));
        if let (Some(used), true) = (used, now > self.began) {
            // The clocks of the thread and of the run tick apart.
            let part = (used.as_secs_f64() * 1e9 / (now - self.began) as f64).min(1.0);
            self.most = Some(self.most.map_or(part, |most| most.max(part)));
        }
        (self.began, self.cpu) = (now, used.and(cpu));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> (u64, Option<Duration>) {
        (millis * 1_000_000, Some(Duration::from_millis(millis)))
    }

    /// Of a run that looks each 50 ms and ends after the last part; each part is (ms, part of it busy).
    fn busy(parts: &[(u64, f64)]) -> f64 {
        let (mut now, mut cpu) = (0.0, 0.0);
        let mut busy = Busy::new(0, ms(0).1);
        for (length, part) in parts {
            for _ in 0..length / 50 {
                now += 50.0;
                cpu += 50.0 * part;
                busy.look(ms(now as u64).0, || ms(cpu as u64).1);
            }
        }
        busy.finish(ms(now as u64).0, ms(cpu as u64).1).expect("it is known")
    }

    #[test]
    fn a_worker_is_as_busy_as_in_its_busiest_second_however_long_it_idled() {
        assert!(busy(&[(40_000, 0.1), (60_000, 1.0)]) >= 0.99);
        assert!(busy(&[(60_000, 1.0), (40_000, 0.1)]) >= 0.99);
        assert!((busy(&[(10_000, 0.5)]) - 0.5).abs() < 0.01);
    }

    #[test]
    fn a_burst_that_is_shorter_is_no_bottleneck_and_a_short_run_counts_as_a_whole() {
        assert!(busy(&[(300, 1.0), (10_000, 0.2)]) < 0.5);
        assert!(busy(&[(10_000, 0.2), (300, 1.0)]) < 0.5);
        assert!(busy(&[(400, 1.0)]) >= 0.99);
    }

    #[test]
    fn what_the_system_does_not_tell_is_not_known() {
        assert_eq!(Busy::new(0, None).finish(ms(100).0, None), None);
        let mut busy = Busy::new(0, ms(0).1);
        busy.look(ms(1000).0, || None);
        assert_eq!(busy.finish(ms(1100).0, ms(1100).1), None);
    }
}
