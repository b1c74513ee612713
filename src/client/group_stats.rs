//! The statistics of a worker's load groups, and the part of them that is on the time line already.

use std::time::Duration;

use crate::measure::{Counters, Latency, LoadStats};

/// The statistics of each group, as far as one worker measured them.
pub(super) struct GroupStats {
    groups: Vec<LoadStats>,
    /// For each group, the messages and bytes that are on the time line.
    marked: Vec<(u64, u64)>,
}

impl GroupStats {
    pub(super) fn new(groups: usize) -> GroupStats {
        GroupStats { groups: vec![LoadStats::default(); groups], marked: vec![(0, 0); groups] }
    }

    /// The statistics of a group.
    #[inline]
    pub(super) fn of(&mut self, group: usize) -> &mut LoadStats {
        &mut self.groups[group]
    }

    /// Puts on the time line, at `at`, what has been measured since the last call.
    pub(super) fn mark_time(&mut self, at: Duration) {
        for (stats, marked) in self.groups.iter_mut().zip(&mut self.marked) {
            let (messages, bytes) = (stats.counters.messages_echoed, stats.counters.bytes_verified);
            if (messages, bytes) != *marked {
                let point = stats.timeline.at(at);
                point.messages += messages - marked.0;
                point.bytes_verified += bytes - marked.1;
                point.rtt_max_ns = point.rtt_max_ns.max(stats.unmarked.longest());
                stats.unmarked.move_to(&mut point.trips);
                *marked = (messages, bytes);
            }
        }
    }

    /// Notes on the time line of the first group that the client stood still until `now`, for this long.
    pub(super) fn stood_still(&mut self, gap: Duration, now: Duration) {
        if let Some(stats) = self.groups.first_mut() {
            stats.timeline.stood_still(now.saturating_sub(gap), now);
        }
    }

    /// Notes on the time line of the first group that the client had no CPU time left between these times.
    pub(super) fn saturated(&mut self, from: Duration, to: Duration) {
        if let Some(stats) = self.groups.first_mut() {
            stats.timeline.saturated(from, to);
        }
    }

    /// The counters of all groups added up.
    pub(super) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for stats in &self.groups {
            sum.add(&stats.counters);
        }
        sum
    }

    /// The round trips of all groups together.
    pub(super) fn round_trips(&self) -> Latency {
        let mut sum = Latency::default();
        self.groups.iter().for_each(|stats| sum.add(&stats.rtt));
        sum
    }

    /// The statistics of each group, in the order of the plan.
    pub(super) fn into_groups(self) -> Vec<LoadStats> {
        self.groups
    }
}
