//! Which connections wait for others before they close, and whether they still have to.
//!
//! - Under `close = "together"` a connection closes only when every connection of its group has its echo, so at one
//!   moment all of them have it. A connection that has failed is not waited for: its finding says what was wrong, and
//!   the others need not stall because of it.
//! - Under `close = "keep"` and `read = "never"` a connection has nothing more to do of its own at some point, and
//!   closes when that is true of every connection of the run.

use crate::sync::atomic::{AtomicU32, Ordering};

/// Counts the slots of this process that others still wait for.
pub(super) struct CloseBarrier {
    /// Slots with something left to do of their own.
    working: AtomicU32,
    /// For each group, slots whose connection neither has its echo nor has ended.
    awaited: Vec<AtomicU32>,
}

impl CloseBarrier {
    /// `slots`: how many slots of each group this process has.
    pub(super) fn new(slots: &[u32]) -> CloseBarrier {
        CloseBarrier {
            working: AtomicU32::new(slots.iter().sum()),
            awaited: slots.iter().copied().map(AtomicU32::new).collect(),
        }
    }

    /// A slot has nothing left to do of its own. To be called once for each slot.
    pub(super) fn rest(&self) {
        self.working.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether no slot has anything left to do of its own.
    pub(super) fn all_rest(&self) -> bool {
        self.working.load(Ordering::Relaxed) == 0
    }

    /// A slot of the group has its echo, or has ended without it. To be called once for each slot.
    pub(super) fn arrive(&self, group: usize) {
        self.awaited[group].fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether every slot of the group has arrived.
    pub(super) fn all_arrived(&self, group: usize) -> bool {
        self.awaited[group].load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_waited_for_until_its_last_slot_and_the_run_until_the_last_of_all() {
        let barrier = CloseBarrier::new(&[2, 1]);
        barrier.arrive(0);
        assert!(!barrier.all_arrived(0) && !barrier.all_arrived(1));
        barrier.arrive(0);
        assert!(barrier.all_arrived(0) && !barrier.all_arrived(1));
        (0..2).for_each(|_| barrier.rest());
        assert!(!barrier.all_rest());
        barrier.rest();
        assert!(barrier.all_rest());
    }

    #[test]
    fn a_group_without_slots_in_this_process_keeps_nobody_waiting() {
        assert!(CloseBarrier::new(&[0]).all_arrived(0) && CloseBarrier::new(&[]).all_rest());
    }
}
