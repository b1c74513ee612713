//! Slots, such as the connections of a thread, or the threads of a server: how many are in use, and a guard for each
//! that gives it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the slots in use. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct SlotCount(Arc<AtomicUsize>);

impl SlotCount {
    /// The slots that are taken now.
    pub(in crate::server) fn in_use(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// Takes one more. The caller knows how many there may be.
    pub(in crate::server) fn take(&self) -> SlotGuard {
        self.0.fetch_add(1, Ordering::AcqRel);
        SlotGuard(self.clone())
    }
}

/// One slot. Dropping the guard frees it.
#[derive(Debug)]
pub(in crate::server) struct SlotGuard(SlotCount);

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}
