//! How long the rest of a suite will take: the usual times of its cases, corrected by those that have ended here. Pure.

use std::time::Duration;

/// By this factor this machine and this target may be faster or slower than usual, to be believed.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = 0.2..=20.0;

/// What is known of the times of the cases of a suite.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    /// The usual time of each case, if it is known.
    pub(super) usual: Vec<Option<Duration>>,
    /// The number of each case that has run to its end, and how long it took.
    pub(super) ended: Vec<(usize, Duration)>,
    /// The number of each case that has begun and not ended, and how long it has been running.
    pub(super) running: Vec<(usize, Duration)>,
    /// The numbers of the cases that have begun.
    pub(super) begun: Vec<usize>,
    /// How many run at a time.
    pub(super) jobs: usize,
}

impl Times {
    /// The time until the last one ends; `None` as long as nothing is known.
    pub(super) fn left(&self) -> Option<Duration> {
        let expected = |n: usize| self.usual.get(n).copied().flatten().map(|usual| usual.as_secs_f64());
        let known: Vec<(f64, f64)> =
            self.ended.iter().filter_map(|(n, took)| Some((expected(*n)?, took.as_secs_f64()))).collect();
        let (usual, took) = known.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        // Short cases say little about long ones.
        let factor = if usual > 0.5 { (took / usual).clamp(*PLAUSIBLE.start(), *PLAUSIBLE.end()) } else { 1.0 };
        let all_ended: f64 = self.ended.iter().map(|(_, took)| took.as_secs_f64()).sum();
        let mean = (!self.ended.is_empty()).then(|| all_ended / self.ended.len() as f64);
        let of_case = |n: usize| expected(n).map(|usual| usual * factor).or(mean);
        let to_begin = (0..self.usual.len()).filter(|n| !self.begun.contains(n)).map(of_case);
        let going_on = self.running.iter().map(|(n, so_far)| Some((of_case(*n)? - so_far.as_secs_f64()).max(0.0)));
        let all: Vec<f64> = to_begin.chain(going_on).collect::<Option<_>>()?;
        let longest = all.iter().copied().fold(0.0, f64::max);
        let left = (all.iter().sum::<f64>() / self.jobs.max(1) as f64).max(longest);
        Some(Duration::from_secs_f64(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn times(usual: &[Option<u64>]) -> Times {
        Times { usual: usual.iter().map(|s| s.map(seconds)).collect(), jobs: 1, ..Times::default() }
    }

    #[test]
    fn the_usual_times_are_corrected_by_what_has_run() {
        let mut times = times(&[Some(1), Some(2), Some(4), Some(6)]);
        assert_eq!(times.left(), Some(seconds(13)));
        (times.begun, times.running) = (vec![0, 1], vec![(1, seconds(1))]);
        times.ended = vec![(0, seconds(3))];
        assert_eq!(times.left(), Some(seconds(5 + 12 + 18)), "here everything takes three times as long");
        times.jobs = 4;
        assert_eq!(times.left(), Some(seconds(18)), "as long as the longest");
    }

    #[test]
    fn where_no_time_is_usual_those_that_have_run_count() {
        let mut times = times(&[None, None, None]);
        assert_eq!(times.left(), None);
        (times.begun, times.ended) = (vec![0], vec![(0, seconds(7))]);
        assert_eq!(times.left(), Some(seconds(14)));
        times.usual[2] = Some(seconds(1));
        assert_eq!(times.left(), Some(seconds(8)));
    }
}
