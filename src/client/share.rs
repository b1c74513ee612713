//! Which slots a worker opens, and when.

use std::time::Duration;

use super::RunPlan;
use crate::plan::{Reconnect, Slot};

/// A slot of a worker, with the generations that it runs through. 12 bytes: there is one for each connection.
#[derive(Clone, Copy)]
pub(super) struct Share {
    slot: u32,
    /// The generation to begin with.
    pub(super) first: u32,
    /// The last one, included.
    pub(super) last: u32,
}

impl Share {
    /// The slot.
    pub(super) fn slot(self, plan: &RunPlan) -> Slot {
        plan.slots.slot(self.slot)
    }

    /// When to open it, after the start of the run. Those that are run alone are opened at once.
    pub(super) fn opens_at(self, plan: &RunPlan) -> Duration {
        if !plan.only.is_empty() {
            return Duration::ZERO;
        }
        let slot = self.slot(plan);
        plan.groups[slot.group as usize].opens_at(slot.index)
    }
}

/// The slots of each worker, in the order in which they open.
pub(super) fn shares(plan: &RunPlan) -> Vec<Vec<Share>> {
    let mut all: Vec<Share> = if plan.only.is_empty() {
        let of = |slot: Slot| {
            let last = match plan.groups[slot.group as usize].reconnect {
                Reconnect::Off => 0,
                Reconnect::Times(times) => times,
                Reconnect::Forever => u32::MAX,
            };
            Share { slot: slot.number, first: 0, last }
        };
        plan.slots.of_shard(plan.shard).map(of).collect()
    } else {
        // Just these, whatever generation they were.
        let found = plan.only.iter().filter_map(|conn| plan.slots.of(*conn).ok());
        found.map(|(slot, generation)| Share { slot: slot.number, first: generation, last: generation }).collect()
    };
    all.sort_by_key(|share| (share.opens_at(plan), share.slot));
    let workers = plan.workers.max(1);
    (0..workers).map(|worker| all.iter().skip(worker).step_by(workers).copied().collect()).collect()
}
