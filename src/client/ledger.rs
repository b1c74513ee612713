//! What every connection of the run has sent so far: 8 bytes each, readable by all workers.
//!
//! The verifier asks it only when bytes are wrong; the engine writes it at each write, so an entry is one relaxed
//! store.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bytes::{ConnId, Ledger, Sent};
use crate::plan::{Shard, Slots};

const CHUNK: usize = 1 << 12;
const OPENED: u64 = 1 << 63;
const CLOSED: u64 = 1 << 62;
const BYTES: u64 = CLOSED - 1;

/// The ledger of one process.
pub(super) struct SentLedger {
    /// By connection id, allocated as ids are used.
    chunks: Vec<OnceLock<Box<[AtomicU64]>>>,
    slots: Slots,
    shard: Shard,
}

impl SentLedger {
    pub(super) fn new(slots: Slots, shard: Shard) -> Self {
        let chunks = (ConnId::MAX.get() as usize + 1) / CHUNK;
        SentLedger { chunks: (0..chunks).map(|_| OnceLock::new()).collect(), slots, shard }
    }

    fn entry(&self, conn: ConnId) -> &AtomicU64 {
        let id = conn.get() as usize;
        let chunk = self.chunks[id / CHUNK].get_or_init(|| (0..CHUNK).map(|_| AtomicU64::new(0)).collect());
        &chunk[id % CHUNK]
    }

    /// The connection is open and has handed `bytes` to its socket, or is about to: said before the write, so that an
    /// echo that another connection receives at once is known.
    #[inline]
    pub(super) fn set(&self, conn: ConnId, bytes: u64) {
        self.entry(conn).store(bytes | OPENED, Ordering::Relaxed);
    }

    /// The connection is closed.
    pub(super) fn close(&self, conn: ConnId) {
        self.entry(conn).fetch_or(CLOSED, Ordering::Relaxed);
    }

    /// The other process of the run that opens this connection. What it has sent is not known here.
    pub(super) fn other_shard(&self, conn: ConnId) -> Option<Shard> {
        let (slot, _) = self.slots.of(conn).ok()?;
        Some(self.shard.of_slot(slot)).filter(|shard| *shard != self.shard)
    }
}

impl Ledger for SentLedger {
    fn sent(&self, conn: ConnId) -> Option<Sent> {
        let entry = self.chunks[conn.get() as usize / CHUNK].get().map(|chunk| &chunk[conn.get() as usize % CHUNK]);
        let value = entry.map_or(0, |entry| entry.load(Ordering::Relaxed));
        if value & OPENED != 0 {
            return Some(Sent { bytes: value & BYTES, open: value & CLOSED == 0 });
        }
        // Another process's connections are taken for open; a stray word is then believed if it lies in the first TiB
        // of one, which chance gives to 1 in 2^27 words at most.
        self.other_shard(conn).is_some().then_some(Sent { bytes: 1 << 40, open: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadArgs;
    use crate::units::Count;

    fn id(n: u32) -> ConnId {
        ConnId::new(n).expect("small")
    }

    #[test]
    fn a_connection_is_unknown_then_open_then_closed_and_keeps_its_bytes() {
        let ledger = SentLedger::new(slots(10), Shard::WHOLE);
        assert_eq!(ledger.sent(id(3)), None);
        ledger.set(id(3), 0);
        assert_eq!(ledger.sent(id(3)), Some(Sent { bytes: 0, open: true }));
        ledger.set(id(3), 77);
        ledger.close(id(3));
        assert_eq!(ledger.sent(id(3)), Some(Sent { bytes: 77, open: false }));
        assert_eq!(ledger.sent(id(4)), None);
        assert_eq!(ledger.sent(ConnId::MAX), None);
    }

    #[test]
    fn connections_of_another_shard_are_believed_to_exist() {
        let ledger = SentLedger::new(slots(10), "1/2".parse().expect("a shard"));
        assert!(ledger.sent(id(4)).is_some_and(|sent| sent.open));
        assert_eq!(ledger.sent(id(5)), None, "of this shard, and not opened");
        assert_eq!((ledger.other_shard(id(4)), ledger.other_shard(id(5))), ("0/2".parse().ok(), None));
        assert_eq!(ledger.other_shard(id(10)), None, "there is no such connection");
    }

    fn slots(conns: u64) -> Slots {
        let args = LoadArgs { conns: Some(Count(conns)), ..LoadArgs::default() };
        Slots::new([&args.resolve("load").expect("a valid load")]).expect("few connections")
    }
}
