//! Who connects when: the first connections of a run connect in the order of their ids, whichever worker each
//! belongs to.
//!
//! So a server that counts the connections it accepts has the same numbers for them as this run, as far as the way
//! there keeps their order, which loopback does; its log, and a fault that it was told to inject on connection 7, mean
//! connection 7. Only the call is ordered and not the handshake, so no round trip is waited for; but each hand-over
//! wakes another thread, so only the first [`ORDERED`] take part.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// So many connect in order.
const ORDERED: u32 = 1024;

/// The order in which the workers of a run connect.
pub(super) struct ConnectOrder {
    next: AtomicU32,
    workers: Vec<Notify>,
}

impl ConnectOrder {
    pub(super) fn new(workers: usize) -> Arc<ConnectOrder> {
        Arc::new(ConnectOrder { next: AtomicU32::new(0), workers: (0..workers).map(|_| Notify::new()).collect() })
    }

    /// Waits until all connections before slot `index` of this worker have begun to connect. Slots are dealt to the
    /// workers in turn. `None`: there is nothing to pass on.
    pub(super) async fn wait(self: &Arc<ConnectOrder>, worker: usize, index: usize) -> Option<Ticket> {
        let rank = u32::try_from(index * self.workers.len() + worker).ok()?;
        // One worker connects in its own order.
        if rank >= ORDERED || self.workers.len() < 2 {
            return None;
        }
        while self.next.load(Ordering::Acquire) < rank {
            self.worker_of(rank).notified().await;
        }
        Some(Ticket { order: Arc::clone(self), rank })
    }

    /// A worker has failed: nobody waits for it.
    pub(super) fn give_up(&self) {
        self.next.store(ORDERED, Ordering::Release);
        self.workers.iter().for_each(Notify::notify_one);
    }

    fn worker_of(&self, rank: u32) -> &Notify {
        &self.workers[rank as usize % self.workers.len()]
    }
}

/// The right to connect; dropping it passes it on.
pub(super) struct Ticket {
    order: Arc<ConnectOrder>,
    rank: u32,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.order.next.fetch_max(self.rank + 1, Ordering::AcqRel);
        self.order.worker_of(self.rank + 1).notify_one();
    }
}
