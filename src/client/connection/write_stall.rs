//! How long a connection's own writes have been blocked. Pure: the times are given.
//!
//! This is how a client sees back-pressure. A client that does not read is slowed down until it can't write any more,
//! unless the server buffers without bound.

/// Writes that have been blocked for this long, in nanoseconds, have stalled. A server that is only busy takes less.
const STALL_NS: u64 = 200_000_000;

/// The writes of one connection. Times are nanoseconds since the start of the run.
#[derive(Default)]
pub(super) struct WriteStall {
    /// Since when they have been blocked; 0: they are not.
    blocked_since: u64,
    /// Whether their stall was reported.
    reported: bool,
}

impl WriteStall {
    /// A write would block.
    pub(super) fn block(&mut self, now: u64) {
        if self.blocked_since == 0 {
            self.blocked_since = now.max(1);
        }
    }

    /// A write has moved something.
    pub(super) fn unblock(&mut self) {
        self.blocked_since = 0;
    }

    /// When the writes stall, or have stalled, if nothing moves; `None`: they are not blocked.
    pub(super) fn stall_at(&self) -> Option<u64> {
        (self.blocked_since != 0).then(|| self.blocked_since.saturating_add(STALL_NS))
    }

    /// Whether the writes have stalled.
    pub(super) fn have_stalled(&self, now: u64) -> bool {
        self.stall_at().is_some_and(|at| now >= at)
    }

    /// Whether the writes have stalled for the first time: true once in the life of a connection.
    pub(super) fn take_stall(&mut self, now: u64) -> bool {
        let is_first = self.have_stalled(now) && !self.reported;
        self.reported |= is_first;
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_from_the_first_blocked_write_and_is_reported_once() {
        let mut writes = WriteStall::default();
        assert!(writes.stall_at().is_none() && !writes.take_stall(10 * STALL_NS));
        writes.block(7);
        writes.block(STALL_NS);
        assert_eq!(writes.stall_at(), Some(7 + STALL_NS));
        assert!(!writes.take_stall(6 + STALL_NS), "too early");
        assert!(writes.take_stall(7 + STALL_NS) && !writes.take_stall(8 + STALL_NS), "once");
        assert!(writes.have_stalled(8 + STALL_NS), "the stall goes on");
        writes.unblock();
        writes.block(9 * STALL_NS);
        assert!(!writes.have_stalled(9 * STALL_NS), "the time counts from the second block");
        assert!(!writes.take_stall(20 * STALL_NS), "a stall was reported before");
    }

    #[test]
    fn a_write_that_blocks_at_the_start_of_the_run_counts_as_blocked() {
        let mut writes = WriteStall::default();
        writes.block(0);
        assert!(writes.have_stalled(1 + STALL_NS));
    }
}
