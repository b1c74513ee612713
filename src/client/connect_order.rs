//! The order in which the first connections of a run connect: that of their ids, whichever worker each belongs to.
//!
//! A server that counts its connections in the order of their arrival then gives them the numbers that they have in
//! this run, as long as the way to it keeps their order, which loopback does. Its log, and a fault that it was told to
//! inject on connection 7, mean connection 7.
//!
//! Only the call is ordered and not the handshake, so nothing waits for a round trip. But each hand-over wakes another
//! thread, so only the first [`ORDERED_CONNECTS`] take part.

use mio::Waker;

use crate::sync::atomic::{AtomicU32, Ordering};

/// How many connections connect in order.
const ORDERED_CONNECTS: u32 = 1024;

/// Whose turn it is to connect, and the workers' wakers.
pub(super) struct ConnectOrder {
    next: AtomicU32,
    workers: Vec<Waker>,
}

impl ConnectOrder {
    /// `workers`: a waker for the wait of each worker.
    pub(super) fn new(workers: Vec<Waker>) -> ConnectOrder {
        ConnectOrder { next: AtomicU32::new(0), workers }
    }

    /// Whether all connections before slot `index` of this worker have begun to connect. If not, the worker is woken
    /// when they have. Slots are dealt to the workers in turn.
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

    /// A worker has failed, so the others must not wait for it.
    pub(super) fn give_up(&self) {
        self.next.store(ORDERED_CONNECTS, Ordering::Release);
        self.wake_all();
    }

    /// Interrupts the waits of all workers.
    pub(super) fn wake_all(&self) {
        self.workers.iter().for_each(|worker| self.wake(worker));
    }

    /// Interrupts the wait of this worker.
    pub(super) fn wake_worker(&self, worker: usize) {
        self.wake(&self.workers[worker]);
    }

    /// The place of the slot in the order. `None`: it waits for no other, and no other waits for it.
    fn rank(&self, worker: usize, index: usize) -> Option<u32> {
        let rank = u32::try_from(index * self.workers.len() + worker).ok()?;
        // A single worker connects in order anyway.
        (rank < ORDERED_CONNECTS && self.workers.len() > 1).then_some(rank)
    }

    /// Best effort: a worker that was not woken looks again at its next sweep.
    fn wake(&self, worker: &Waker) {
        let _ = worker.wake();
    }
}
