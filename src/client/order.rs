//! Who connects when: the first connections of a run connect in the order of their ids, whichever worker each
//! belongs to.
//!
//! So a server that counts the connections it accepts has the same numbers for them as this run, as far as the way
//! there keeps their order, which loopback does; its log, and a fault that it was told to inject on connection 7, mean
//! connection 7. Only the call is ordered and not the handshake, so no round trip is waited for; but each hand-over
//! wakes another thread, so only the first [`ORDERED`] take part.

use std::sync::atomic::{AtomicU32, Ordering};

use mio::Waker;

/// So many connect in order.
const ORDERED: u32 = 1024;

/// The order in which the workers of a run connect.
pub(super) struct ConnectOrder {
    next: AtomicU32,
    workers: Vec<Waker>,
}

impl ConnectOrder {
    /// For workers whose waits these interrupt.
    pub(super) fn new(workers: Vec<Waker>) -> ConnectOrder {
        ConnectOrder { next: AtomicU32::new(0), workers }
    }

    /// Whether all connections before slot `index` of this worker have begun to connect; if not, the worker's wait is
    /// interrupted when they have. Slots are dealt to the workers in turn.
    pub(super) fn may_connect(&self, worker: usize, index: usize) -> bool {
        self.rank(worker, index).is_none_or(|rank| self.next.load(Ordering::Acquire) >= rank)
    }

    /// The slot has begun to connect.
    pub(super) fn has_connected(&self, worker: usize, index: usize) {
        if let Some(rank) = self.rank(worker, index) {
            self.next.fetch_max(rank + 1, Ordering::AcqRel);
            self.wake(&self.workers[(rank as usize + 1) % self.workers.len()]);
        }
    }

    /// A worker has failed: nobody waits for it.
    pub(super) fn give_up(&self) {
        self.next.store(ORDERED, Ordering::Release);
        self.wake_all();
    }

    /// Interrupts the waits of all workers.
    pub(super) fn wake_all(&self) {
        self.workers.iter().for_each(|worker| self.wake(worker));
    }

    /// `None`: it need not wait, and nobody waits for it.
    fn rank(&self, worker: usize, index: usize) -> Option<u32> {
        let rank = u32::try_from(index * self.workers.len() + worker).ok()?;
        // One worker connects in its own order.
        (rank < ORDERED && self.workers.len() > 1).then_some(rank)
    }

    /// Best effort: a worker that was not woken looks again at its next sweep.
    fn wake(&self, worker: &Waker) {
        let _ = worker.wake();
    }
}
