//! How long the own writes of a connection have been blocked. Pure: the times are given.
//!
//! That is how a client sees back-pressure: one that does not read is slowed down until it can't write any more, unless
//! the server takes without bound what it can't give back.

/// WriteStall that are blocked for so long, in nanoseconds, have stalled: longer than a server that is only busy takes.
const STALLED: u64 = 200_000_000;

/// The own writes of one connection.
#[derive(Default)]
pub(super) struct WriteStall {
    /// Since when they are blocked; 0: they are not.
    blocked: u64,
    /// That they have stalled was told.
    told: bool,
}

impl WriteStall {
    /// One would block.
    pub(super) fn block(&mut self, now: u64) {
        if self.blocked == 0 {
            self.blocked = now.max(1);
        }
    }

    /// One has taken something.
    pub(super) fn unblock(&mut self) {
        self.blocked = 0;
    }

    /// When they will have stalled, or have, if nothing is taken; `None`: they are not blocked.
    pub(super) fn stall_at(&self) -> Option<u64> {
        (self.blocked != 0).then(|| self.blocked.saturating_add(STALLED))
    }

    /// Whether they have stalled.
    pub(super) fn have_stalled(&self, now: u64) -> bool {
        self.stall_at().is_some_and(|at| now >= at)
    }

    /// The same, but true only once in the life of a connection.
    pub(super) fn take_stall(&mut self, now: u64) -> bool {
        let is_first = self.have_stalled(now) && !self.told;
        self.told |= is_first;
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_from_the_first_write_that_was_refused_and_is_told_once() {
        let mut writes = WriteStall::default();
        assert!(writes.stall_at().is_none() && !writes.take_stall(10 * STALLED));
        writes.block(7);
        writes.block(STALLED);
        assert_eq!(writes.stall_at(), Some(7 + STALLED));
        assert!(!writes.take_stall(6 + STALLED) && writes.take_stall(7 + STALLED) && !writes.take_stall(8 + STALLED));
        assert!(writes.have_stalled(8 + STALLED), "it goes on");
        writes.unblock();
        writes.block(9 * STALLED);
        assert!(!writes.have_stalled(9 * STALLED) && !writes.take_stall(20 * STALLED), "it was told before");
    }

    #[test]
    fn what_is_blocked_at_the_start_of_the_run_is_blocked() {
        let mut writes = WriteStall::default();
        writes.block(0);
        assert!(writes.have_stalled(1 + STALLED));
    }
}
