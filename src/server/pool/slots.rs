//! SlotCount: how many connections a thread serves, or how many threads there are. A guard gives its slot back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the slots in use. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct SlotCount(Arc<AtomicUsize>);

impl SlotCount {
    /// SlotCount that are taken now.
    pub(in crate::server) fn in_use(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// Takes one more. Whether there is room for it is the caller's to know.
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
