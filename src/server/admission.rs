//! The door of a server: how many connections came in and went, and whether one more may come in.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Connections since the start of the server.
#[derive(Debug, Default)]
pub(super) struct Admission {
    accepted: AtomicU64,
    closed: AtomicU64,
}

impl Admission {
    /// Counts a connection as accepted if fewer than `most` are open. However many threads ask, never more are open.
    pub(super) fn admit(&self, most: u64) -> bool {
        let mut accepted = self.accepted.load(Ordering::Acquire);
        loop {
            // If others were accepted since `accepted` was read, the exchange fails.
            let open = accepted.saturating_sub(self.closed.load(Ordering::Acquire));
            if open >= most {
                return false;
            }
            match self.accepted.compare_exchange_weak(accepted, accepted + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => accepted = now,
            }
        }
    }

    /// Counts a connection that was admitted as closed.
    pub(super) fn close(&self) {
        self.closed.fetch_add(1, Ordering::AcqRel);
    }

    /// The connections that were accepted, and those of them that were closed.
    pub(super) fn counts(&self) -> (u64, u64) {
        // `closed` is read first, so that a connection in between never makes the difference negative.
        let closed = self.closed.load(Ordering::Acquire);
        (self.accepted.load(Ordering::Acquire), closed)
    }
}
