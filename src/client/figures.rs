//! The figures of a worker's load groups, and the part of them that is on the time line already.

use std::time::Duration;

use crate::measure::{Counters, Figures};

/// The figures of each group, as far as one worker measured them.
pub(super) struct GroupFigures {
    groups: Vec<Figures>,
    /// For each group, the messages and bytes that are on the time line.
    marked: Vec<(u64, u64)>,
}

impl GroupFigures {
    pub(super) fn new(groups: usize) -> GroupFigures {
        GroupFigures { groups: vec![Figures::default(); groups], marked: vec![(0, 0); groups] }
    }

    /// The figures of a group.
    #[inline]
    pub(super) fn of(&mut self, group: usize) -> &mut Figures {
        &mut self.groups[group]
    }

    /// Puts on the time line, at `at`, what has been measured since the last call.
    pub(super) fn mark_time(&mut self, at: Duration) {
        for (figures, marked) in self.groups.iter_mut().zip(&mut self.marked) {
            let (messages, bytes) = (figures.counters.messages_echoed, figures.counters.bytes_verified);
            if (messages, bytes) != *marked {
                let point = figures.timeline.at(at);
                point.messages += messages - marked.0;
                point.bytes_verified += bytes - marked.1;
                point.rtt_max_ns = point.rtt_max_ns.max(std::mem::take(&mut figures.rtt_unmarked_ns));
                *marked = (messages, bytes);
            }
        }
    }

    /// The counters of all groups added up.
    pub(super) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for figures in &self.groups {
            sum.add(&figures.counters);
        }
        sum
    }

    /// The figures of each group, in the order of the plan.
    pub(super) fn into_groups(self) -> Vec<Figures> {
        self.groups
    }
}
