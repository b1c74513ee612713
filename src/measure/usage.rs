//! What a server's processes, or the client's own, use: before the first connection, during the run, and afterwards.
//!
//! Growth is told from warming up by a second look: `early` is the lowest level of the samples that were taken when
//! between a tenth and a half of the connections had been opened. A pool has its size by then; a leak goes on. A server
//! is held against it when it has come to rest, and the client while the last tenth of the connections is opened
//! (`late`): it frees everything when its workers end, a leak too.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most samples that a report keeps. Beyond that, neighbours become one.
pub const MAX_SAMPLES: usize = 512;

/// What processes use at a moment, in sum. Null: the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct UsageLevel {
    /// Open descriptors; on Windows, handles of every kind.
    pub fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Resident memory; pages that processes share count in each.
    pub memory_bytes: Option<u64>,
}

/// One of the figures of a level.
pub type UsageFigure = fn(&UsageLevel) -> Option<u64>;

/// One sample of a run, or several neighbours: then the highest values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct UsageSample {
    /// When it was taken, after the start of the run.
    pub at_ms: u64,
    /// The level.
    pub level: UsageLevel,
    /// CPU time since before the first connection.
    pub cpu_ms: Option<u64>,
}

/// What the server's processes, or the client's own, used in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ResourceUsage {
    /// Before the first connection.
    pub before: UsageLevel,
    /// The lowest of the samples that were taken when between a tenth and a half of the connections had been opened;
    /// null if the run was too short for one.
    pub early: Option<UsageLevel>,
    /// The lowest of the samples that were taken when nine tenths of the connections had been opened, while at least
    /// half of the most were open; null as for `early`, or if an earlier version wrote this.
    #[serde(default)]
    pub late: Option<UsageLevel>,
    /// The highest of all samples, each value on its own.
    pub peak: UsageLevel,
    /// When the last connection had closed and the server had come to rest; of the client, when its workers had ended.
    pub settled: UsageLevel,
    /// CPU time of the run.
    pub cpu_s: Option<f64>,
    /// The most connections that were open when a sample was taken: only with all of them open is the peak the true
    /// one. Null if an earlier version wrote this.
    #[serde(default)]
    pub most_open: Option<u64>,
    /// The samples in the order of time.
    pub samples: Vec<UsageSample>,
}

/// The figures of processes that thresholds can name. `None`: not measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct UsageFigures {
    /// Peak of resident memory, in bytes.
    pub memory: Option<u64>,
    /// Peak of open descriptors.
    pub fds: Option<u64>,
    /// Peak of threads.
    pub threads: Option<u64>,
    /// From early to the end; negative if it has shrunk.
    pub memory_growth: Option<i64>,
    /// From early to the end; negative if there are fewer.
    pub fds_growth: Option<i64>,
    /// From early to the end; negative if there are fewer.
    pub threads_growth: Option<i64>,
}

impl UsageLevel {
    /// Each value on its own, as `pick` chooses; a value that only one of them has.
    fn with(&self, other: &UsageLevel, pick: fn(u64, u64) -> u64) -> UsageLevel {
        let with = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| pick(a, b)).or(a).or(b);
        UsageLevel {
            fds: with(self.fds, other.fds),
            threads: with(self.threads, other.threads),
            memory_bytes: with(self.memory_bytes, other.memory_bytes),
        }
    }

    /// The most by which descriptors or threads exceed those of `other`; 0 for those that are not known.
    pub fn excess_over(&self, other: &UsageLevel) -> u64 {
        let excess = |a: Option<u64>, b: Option<u64>| a.zip(b).map_or(0, |(a, b)| a.saturating_sub(b));
        excess(self.fds, other.fds).max(excess(self.threads, other.threads))
    }
}

/// A sample with what only the recorder needs.
#[derive(Clone, Copy, Debug)]
struct Recorded {
    sample: UsageSample,
    low: UsageLevel,
    /// The fewest and the most connections that may have been opened when it was taken.
    opened: (u64, u64),
    /// The fewest connections that were open when it was taken.
    open: u64,
}

/// Collects the samples of a run.
#[derive(Clone, Debug)]
pub struct UsageRecorder {
    before: UsageLevel,
    cpu_before: Option<Duration>,
    recorded: Vec<Recorded>,
    /// Samples that are one in `recorded`, but for the last, which has `in_last`.
    per_sample: usize,
    in_last: usize,
    settled: UsageLevel,
    cpu: Option<Duration>,
    most_open: u64,
}

impl UsageRecorder {
    /// The level and the CPU time before the first connection.
    pub fn new(before: UsageLevel, cpu: Option<Duration>) -> UsageRecorder {
        UsageRecorder {
            before,
            cpu_before: cpu,
            recorded: Vec::new(),
            per_sample: 1,
            in_last: 0,
            settled: before,
            cpu: None,
            most_open: 0,
        }
    }

    /// A sample of the run, taken when `opened` connections had been opened, or more, and `open` of them were open: the
    /// counters of the workers are a tenth of a second old at most. The sample before gets to know how many had been
    /// opened at most.
    pub fn sample(&mut self, at: Duration, (opened, open): (u64, u64), level: UsageLevel, cpu: Option<Duration>) {
        self.came_to_rest(level, cpu);
        self.most_open = self.most_open.max(open);
        if let Some(before) = self.recorded.last_mut() {
            before.opened.1 = opened;
        }
        let cpu_ms = self.cpu.map(|cpu| cpu.as_millis() as u64);
        let next = Recorded {
            sample: UsageSample { at_ms: at.as_millis() as u64, level, cpu_ms },
            low: level,
            opened: (opened, u64::MAX),
            open,
        };
        if let Some(last) = self.recorded.last_mut().filter(|_| self.in_last < self.per_sample) {
            *last = last.joined(&next);
            self.in_last += 1;
            return;
        }
        if self.recorded.len() >= MAX_SAMPLES {
            let join = |pair: &[Recorded]| pair[1..].iter().fold(pair[0], |a, b| a.joined(b));
            self.recorded = self.recorded.chunks(2).map(join).collect();
            self.per_sample *= 2;
        }
        self.recorded.push(next);
        self.in_last = 1;
    }

    /// The level after the run, of which the last that is told counts.
    pub fn came_to_rest(&mut self, level: UsageLevel, cpu: Option<Duration>) {
        self.settled = level;
        let spent = cpu.zip(self.cpu_before).map(|(now, before)| now.saturating_sub(before));
        // The time of a process that was not waited for is lost with it.
        self.cpu = self.cpu.max(spent);
    }

    /// The level before the first connection.
    pub fn before(&self) -> UsageLevel {
        self.before
    }

    /// The early level of a run of this many connections.
    pub fn early(&self, opened: u64) -> Option<UsageLevel> {
        let is_early = |recorded: &&Recorded| {
            recorded.opened.0 > 0 && recorded.opened.0 >= opened.div_ceil(10) && recorded.opened.1 <= opened / 2
        };
        let early = self.recorded.iter().filter(is_early).map(|recorded| recorded.low);
        early.reduce(|a, b| a.with(&b, u64::min))
    }

    /// The level of a run of this many connections when most of them had been opened, before they all closed.
    fn late(&self, opened: u64) -> Option<UsageLevel> {
        let is_late = |recorded: &&Recorded| {
            let are_most_opened = recorded.opened.0 > 0 && recorded.opened.0 >= opened - opened / 10;
            are_most_opened && recorded.open >= self.most_open.div_ceil(2)
        };
        let late = self.recorded.iter().filter(is_late).map(|recorded| recorded.low);
        late.reduce(|a, b| a.with(&b, u64::min))
    }

    /// The usage of a run of this many connections.
    pub fn usage(&self, opened: u64) -> ResourceUsage {
        let levels = self.recorded.iter().map(|recorded| recorded.sample.level);
        ResourceUsage {
            before: self.before,
            early: self.early(opened),
            late: self.late(opened),
            peak: levels.chain([self.settled]).fold(self.before, |a, b| a.with(&b, u64::max)),
            settled: self.settled,
            cpu_s: self.cpu.map(|cpu| cpu.as_secs_f64()),
            most_open: Some(self.most_open),
            samples: self.recorded.iter().map(|recorded| recorded.sample).collect(),
        }
    }
}

impl Recorded {
    /// Two neighbours as one.
    fn joined(&self, later: &Recorded) -> Recorded {
        Recorded {
            sample: UsageSample {
                at_ms: later.sample.at_ms,
                level: self.sample.level.with(&later.sample.level, u64::max),
                cpu_ms: self.sample.cpu_ms.max(later.sample.cpu_ms),
            },
            low: self.low.with(&later.low, u64::min),
            opened: (self.opened.0, later.opened.1),
            open: self.open.min(later.open),
        }
    }
}

impl ResourceUsage {
    /// The figures of a server, which must have let go of everything when it has come to rest.
    pub fn figures_at_rest(&self) -> UsageFigures {
        self.figures(Some(self.settled))
    }

    /// The figures of the client, which must not grow while its connections come and go.
    pub fn figures_in_run(&self) -> UsageFigures {
        self.figures(self.late)
    }

    /// The figures; growth is from early to this end.
    fn figures(&self, end: Option<UsageLevel>) -> UsageFigures {
        let growth = |of: fn(&UsageLevel) -> Option<u64>| {
            let (end, early) = of(end.as_ref()?).zip(of(self.early.as_ref()?))?;
            i64::try_from(end).ok()?.checked_sub(i64::try_from(early).ok()?)
        };
        UsageFigures {
            memory: self.peak.memory_bytes,
            fds: self.peak.fds,
            threads: self.peak.threads,
            memory_growth: growth(|level| level.memory_bytes),
            fds_growth: growth(|level| level.fds),
            threads_growth: growth(|level| level.threads),
        }
    }

    /// CPU time of the run.
    pub fn cpu(&self) -> Option<Duration> {
        self.cpu_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(fds: u64) -> UsageLevel {
        UsageLevel { fds: Some(fds), threads: Some(1), memory_bytes: Some(fds * 1000) }
    }

    /// The usage of a run with these numbers of connections opened and of descriptors.
    fn usage(samples: &[(u64, u64)], settled: u64) -> ResourceUsage {
        let mut recorder = UsageRecorder::new(level(5), Some(Duration::from_secs(9)));
        for (at, (opened, fds)) in samples.iter().enumerate() {
            let cpu = Duration::from_secs(9) + Duration::from_millis(10 * at as u64);
            recorder.sample(Duration::from_millis(100 * at as u64), (*opened, 1), level(*fds), Some(cpu));
        }
        recorder.came_to_rest(level(settled), Some(Duration::from_millis(9_500)));
        recorder.usage(samples.last().map_or(0, |(opened, _)| *opened))
    }

    #[test]
    fn a_pool_that_is_full_after_the_first_connections_has_not_grown_and_a_leak_has() {
        let pool = usage(&[(0, 5), (400, 300), (1000, 69), (1400, 80), (2000, 900), (3000, 500)], 69).figures_at_rest();
        assert_eq!((pool.fds, pool.fds_growth, pool.threads_growth), (Some(900), Some(0), Some(0)));
        let leak = usage(&[(0, 5), (400, 1000), (1000, 1005), (1400, 1500), (2000, 2500), (3000, 3500)], 3005)
            .figures_at_rest();
        assert_eq!((leak.fds_growth, leak.memory_growth), (Some(2005), Some(2_005_000)));
        let shrunk = usage(&[(0, 5), (1000, 50), (1400, 60), (3000, 500)], 7).figures_at_rest();
        assert_eq!(shrunk.fds_growth, Some(-43));
    }

    /// The growth of descriptors in a run with these numbers of connections opened and open, and of descriptors.
    fn growth_in_run(samples: &[((u64, u64), u64)]) -> Option<i64> {
        let mut recorder = UsageRecorder::new(level(5), None);
        for (at, (connections, fds)) in samples.iter().enumerate() {
            recorder.sample(Duration::from_millis(100 * at as u64), *connections, level(*fds), None);
        }
        recorder.came_to_rest(level(5), None);
        recorder.usage(samples.last().map_or(0, |((opened, _), _)| *opened)).figures_in_run().fds_growth
    }

    #[test]
    fn a_client_that_frees_everything_at_its_end_has_grown_if_it_did_in_the_run() {
        let of = |last: u64| {
            growth_in_run(&[
                ((20, 20), 30),
                ((150, 20), 35),
                ((400, 19), 34),
                ((900, 20), last),
                ((950, 20), last + 3),
                // It comes to its end: some connections have closed, and then all.
                ((1000, 9), 15),
                ((1000, 0), 6),
            ])
        };
        assert_eq!((of(35), of(34), of(1000)), (Some(0), Some(-1), Some(965)));
    }

    #[test]
    fn without_a_sample_of_the_last_connections_growth_in_the_run_is_not_known() {
        assert_eq!(growth_in_run(&[((20, 20), 30), ((150, 20), 35), ((400, 20), 34), ((1000, 0), 6)]), None);
        assert_eq!(growth_in_run(&[((900, 20), 30), ((1000, 20), 34)]), None, "nor of the first");
    }

    #[test]
    fn without_a_sample_of_the_first_connections_growth_is_not_known() {
        // In the second, all connections may have been open when the first sample was taken.
        for samples in [&[(0, 5), (299, 9), (1501, 9), (3000, 9)][..], &[(30, 69), (64, 69)], &[(0, 9)], &[]] {
            let usage = usage(samples, 9);
            assert!(usage.early.is_none() && usage.figures_at_rest().fds_growth.is_none(), "{samples:?}");
        }
    }

    #[test]
    fn what_the_system_does_not_tell_is_unknown() {
        let mut recorder = UsageRecorder::new(UsageLevel::default(), None);
        recorder.sample(Duration::ZERO, (3, 3), UsageLevel::default(), None);
        let usage = recorder.usage(10);
        assert_eq!((usage.cpu(), usage.peak), (None, UsageLevel::default()));
        assert_eq!(usage.figures_at_rest().fds_growth, None);
    }

    #[test]
    fn a_long_run_keeps_its_highest_and_its_lowest_levels() {
        let samples: Vec<(u64, u64)> =
            (0..10_000).map(|n| (n, if n == 7777 { 9999 } else { u64::from(n == 3333) + 100 })).collect();
        let usage = usage(&[&samples[..3000], &[(3000, 50)], &samples[3001..]].concat(), 100);
        assert!(usage.samples.len() <= MAX_SAMPLES && usage.samples.len() > MAX_SAMPLES / 3);
        assert_eq!((usage.peak.fds, usage.figures_at_rest().fds_growth), (Some(9999), Some(50)));
        assert!(usage.samples.is_sorted_by_key(|sample| sample.at_ms));
        assert_eq!(usage.samples.iter().filter_map(|sample| sample.level.fds).max(), Some(9999));
    }

    #[test]
    fn the_time_of_a_run_is_counted_from_before_its_first_connection() {
        assert_eq!(usage(&[(1, 5)], 5).cpu(), Some(Duration::from_millis(500)));
    }

    #[test]
    fn the_excess_is_that_of_descriptors_or_of_threads() {
        let more = UsageLevel { threads: Some(13), ..level(7) };
        assert_eq!((more.excess_over(&level(5)), level(5).excess_over(&more)), (12, 0));
        assert_eq!(more.excess_over(&UsageLevel::default()), 0);
    }
}
