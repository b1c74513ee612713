//! The time of a run: nanoseconds since its start.

use std::cell::Cell;
use std::time::Instant;

/// A clock that remembers what it last said: a round trip takes one reading, and what else needs a time, and may be a
/// few microseconds behind, costs none.
pub(super) struct Clock {
    epoch: Instant,
    last: Cell<u64>,
}

impl Clock {
    pub(super) fn new(epoch: Instant) -> Self {
        Clock { epoch, last: Cell::new(0) }
    }

    /// The time now.
    #[inline]
    pub(super) fn read(&self) -> u64 {
        let now = self.epoch.elapsed().as_nanos() as u64;
        self.last.set(now);
        now
    }

    /// What was last read.
    #[inline]
    pub(super) fn last(&self) -> u64 {
        self.last.get()
    }
}
