//! Which slots each worker opens, and when.

use std::time::Duration;

use super::run_plan::RunPlan;
use crate::plan::{Reconnect, Slot};

/// A slot of a worker, and the generations of connections that it runs through. 12 bytes, because there is one for each
/// connection.
#[derive(Clone, Copy)]
pub(super) struct SlotAssignment {
    slot: u32,
    first_generation: u32,
    last_generation: u32,
}

impl SlotAssignment {
    /// The slot.
    pub(super) fn slot(self, plan: &RunPlan) -> Slot {
        plan.slots.slot(self.slot)
    }

    /// The generation that the slot begins with.
    pub(super) fn first_generation(self) -> u32 {
        self.first_generation
    }

    /// The last generation, included.
    pub(super) fn last_generation(self) -> u32 {
        self.last_generation
    }

    /// When to open the slot, after the start of the run. Connections that are run alone open at once.
    pub(super) fn opens_at(self, plan: &RunPlan) -> Duration {
        if !plan.only.is_empty() {
            return Duration::ZERO;
        }
        let slot = self.slot(plan);
        plan.groups[slot.group as usize].opens_at(slot.index)
    }
}

/// The slots of each worker, in the order in which they open. There are no more workers than slots: a worker without
/// one would only count as busy for the moment in which it lives.
pub(super) fn assign(plan: &RunPlan) -> Vec<Vec<SlotAssignment>> {
    let mut all: Vec<SlotAssignment> = if plan.only.is_empty() {
        let of = |slot: Slot| {
            let last_generation = match plan.groups[slot.group as usize].reconnect {
                Reconnect::Off => 0,
                Reconnect::Times(times) => times,
                Reconnect::Forever => u32::MAX,
            };
            SlotAssignment { slot: slot.number, first_generation: 0, last_generation }
        };
        plan.slots.of_shard(plan.shard).map(of).collect()
    } else {
        // Only these connections, whatever generation each of them is.
        let found = plan.only.iter().filter_map(|conn| plan.slots.of(*conn).ok());
        let of = |(slot, generation): (Slot, u32)| SlotAssignment {
            slot: slot.number,
            first_generation: generation,
            last_generation: generation,
        };
        found.map(of).collect()
    };
    all.sort_by_key(|assignment| (assignment.opens_at(plan), assignment.slot));
    let workers = plan.workers.clamp(1, all.len().max(1));
    (0..workers).map(|worker| all.iter().skip(worker).step_by(workers).copied().collect()).collect()
}

/// How many of these slots each group has.
pub(super) fn slots_by_group(assignments: &[Vec<SlotAssignment>], plan: &RunPlan) -> Vec<u32> {
    let mut slots = vec![0; plan.groups.len()];
    for assignment in assignments.iter().flatten() {
        slots[assignment.slot(plan).group as usize] += 1;
    }
    slots
}
