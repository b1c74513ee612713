//! Who waits for whom under `close = "together"`: a connection of such a load ends only when every connection of the
//! load has its echo, which all of them then have had at one time.
//!
//! One that can't have it any more, because it has failed, is not waited for: its finding says what was wrong, and the
//! others need not stall for it.

use std::sync::atomic::{AtomicU32, Ordering};

/// For each load group, how many of its slots are still waited for.
pub(super) struct Together {
    missing: Vec<AtomicU32>,
}

impl Together {
    /// For groups of which this process has so many slots.
    pub(super) fn new(slots: Vec<u32>) -> Together {
        Together { missing: slots.into_iter().map(AtomicU32::new).collect() }
    }

    /// One of the group has its echo, or has ended without. To be called once for each slot.
    pub(super) fn one_less(&self, group: usize) {
        self.missing[group].fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether none of the group is waited for any more.
    pub(super) fn is_complete(&self, group: usize) -> bool {
        self.missing[group].load(Ordering::Relaxed) == 0
    }
}
