//! What a worker knows of the run as a whole. Its sweep looks; in between, every turn goes by the last look.

use super::clock::NEVER;
use super::run_plan::deadline;
use super::run_state::RunState;

/// The state of the run, as of the last sweep.
pub(super) struct RunSignals {
    stopped: bool,
    /// Since when every connection with an end of its own has ended; [`NEVER`]: not yet.
    others_rest_since: u64,
    /// For each group, whether all its connections have had their echo at one moment.
    group_arrived: Vec<bool>,
    /// For each group, when its time is up; `u64::MAX` once the slots were told.
    deadlines: Vec<u64>,
}

impl RunSignals {
    pub(super) fn new(run: &RunState) -> RunSignals {
        RunSignals {
            stopped: run.control.is_interrupted(),
            others_rest_since: NEVER,
            group_arrived: vec![false; run.plan.groups.len()],
            deadlines: run.plan.groups.iter().map(|profile| deadline(profile)).collect(),
        }
    }

    /// Whether the run was interrupted or has failed fast.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Since when every connection with an end of its own has ended, so that what only waited for that closes;
    /// [`NEVER`]: not yet.
    pub(super) fn others_rest_since(&self) -> u64 {
        self.others_rest_since
    }

    /// Whether all connections of the group have had their echo at one moment.
    pub(super) fn has_arrived(&self, group: usize) -> bool {
        self.group_arrived[group]
    }

    /// Looks at the run. Returns whether anything has changed of which every slot must be told.
    pub(super) fn look(&mut self, run: &RunState, now: u64) -> bool {
        let mut changed = false;
        if !self.stopped && (run.control.is_interrupted() || run.has_failed_fast()) {
            self.stopped = true;
            changed = true;
        }
        if self.others_rest_since == NEVER && run.close_barrier.all_rest() {
            self.others_rest_since = now;
            changed = true;
        }
        for (group, arrived) in self.group_arrived.iter_mut().enumerate().filter(|(_, arrived)| !**arrived) {
            *arrived = run.close_barrier.all_arrived(group);
            changed |= *arrived;
        }
        for deadline in self.deadlines.iter_mut().filter(|deadline| **deadline <= now) {
            *deadline = u64::MAX;
            changed = true;
        }
        changed
    }
}
