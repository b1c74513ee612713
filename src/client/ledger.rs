//! What every connection of the run has sent so far: 8 bytes each, readable by all workers.
//!
//! The verifier asks it only when bytes are wrong; the engine writes it at each write, so an entry is one relaxed
//! store.
//!
//! Of the other processes of a run it knows nothing, and takes for possible what is not far beyond what happens here:
//! of all words that there are chance makes too many.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::bytes::{ConnId, Ledger, Sent};
use crate::plan::{Shard, Slots};

const CHUNK: usize = 1 << 12;
const OPENED: u64 = 1 << 63;
const CLOSED: u64 = 1 << 62;
const BYTES: u64 = CLOSED - 1;
/// How many times as much as this process a connection of another may have sent …
const FASTER: u64 = 16;
/// … and so much more, in bytes, since in the beginning nobody has sent much.
const HEAD_START: u64 = 1 << 20;

/// The ledger of one process.
pub(super) struct SentLedger {
    /// By connection id, allocated as ids are used.
    chunks: Vec<OnceLock<Box<[AtomicU64]>>>,
    slots: Slots,
    shard: Shard,
    /// The most bytes that a worker of this process has sent on all its connections.
    most_sent: AtomicU64,
    /// How often a slot of this process has reconnected.
    generation: AtomicU32,
}

impl SentLedger {
    pub(super) fn new(slots: Slots, shard: Shard) -> Self {
        let chunks = (ConnId::MAX.get() as usize + 1) / CHUNK;
        SentLedger {
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
            slots,
            shard,
            most_sent: AtomicU64::new(0),
            generation: AtomicU32::new(0),
        }
    }

    fn entry(&self, conn: ConnId) -> &AtomicU64 {
        let id = conn.get() as usize;
        let chunk = self.chunks[id / CHUNK].get_or_init(|| (0..CHUNK).map(|_| AtomicU64::new(0)).collect());
        &chunk[id % CHUNK]
    }

    /// The connection is open, as the `generation`-th of its slot.
    pub(super) fn open(&self, conn: ConnId, generation: u32) {
        self.set(conn, 0);
        self.generation.fetch_max(generation, Ordering::Relaxed);
    }

    /// A worker has sent so many bytes in all: to be said from time to time.
    pub(super) fn note(&self, bytes: u64) {
        self.most_sent.fetch_max(bytes, Ordering::Relaxed);
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

    /// What a connection of another process may have sent.
    fn possible(&self, conn: ConnId) -> Option<Sent> {
        self.other_shard(conn)?;
        let (_, generation) = self.slots.of(conn).ok()?;
        let most = 2 * u64::from(self.generation.load(Ordering::Relaxed)) + 2;
        let bytes = self.most_sent.load(Ordering::Relaxed).saturating_mul(FASTER) + HEAD_START;
        // Whether it is open still is not known either.
        (u64::from(generation) <= most).then_some(Sent { bytes, open: true, known: false })
    }
}

impl Ledger for SentLedger {
    fn sent(&self, conn: ConnId) -> Option<Sent> {
        let entry = self.chunks[conn.get() as usize / CHUNK].get().map(|chunk| &chunk[conn.get() as usize % CHUNK]);
        let value = entry.map_or(0, |entry| entry.load(Ordering::Relaxed));
        if value & OPENED != 0 {
            return Some(Sent { bytes: value & BYTES, open: value & CLOSED == 0, known: true });
        }
        self.possible(conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::{Divergence, End, Kind, Stream, Verifier};
    use crate::config::LoadArgs;
    use crate::units::Count;

    fn id(n: u32) -> ConnId {
        ConnId::new(n).expect("small")
    }

    #[test]
    fn a_connection_is_unknown_then_open_then_closed_and_keeps_its_bytes() {
        let ledger = SentLedger::new(slots(10, &LoadArgs::default()), Shard::WHOLE);
        assert_eq!(ledger.sent(id(3)), None);
        ledger.set(id(3), 0);
        assert_eq!(ledger.sent(id(3)), Some(Sent { bytes: 0, open: true, known: true }));
        ledger.set(id(3), 77);
        ledger.close(id(3));
        assert_eq!(ledger.sent(id(3)), Some(Sent { bytes: 77, open: false, known: true }));
        assert_eq!(ledger.sent(id(4)), None);
        assert_eq!(ledger.sent(ConnId::MAX), None);
    }

    #[test]
    fn connections_of_another_shard_are_taken_for_possible_as_far_as_this_one_has_come() {
        let churn = LoadArgs { lifetime: "1".parse().ok(), duration: "1h".parse().ok(), ..LoadArgs::default() };
        let ledger = SentLedger::new(slots(10, &churn), "1/2".parse().expect("a shard"));
        let possible = |conn| ledger.sent(id(conn)).map(|sent| (sent.bytes, sent.known));
        assert_eq!(possible(4), Some((1 << 20, false)));
        assert_eq!(possible(5), None, "of this shard, and not opened");
        assert_eq!((ledger.other_shard(id(4)), ledger.other_shard(id(5))), ("0/2".parse().ok(), None));
        assert_eq!((possible(24), possible(34)), (Some((1 << 20, false)), None), "the third and the fourth generation");
        ledger.open(id(15), 1);
        ledger.note(1000);
        assert_eq!((possible(44), possible(54)), (Some(((1 << 20) + 16_000, false)), None));
        let once = SentLedger::new(slots(10, &LoadArgs::default()), "1/2".parse().expect("a shard"));
        assert_eq!(once.other_shard(id(10)), None, "there is no such connection");
    }

    /// What this is found to be, received in place of the first bytes of connection 0.
    fn found(ledger: &SentLedger, stream: &Stream, received: &[u8]) -> Vec<Divergence> {
        let (mut verifier, mut found) = (Verifier::new(id(0)), Vec::new());
        verifier.check(stream, ledger, received, &mut found);
        verifier.end(stream, ledger, End::Stopped, &mut found);
        found
    }

    #[test]
    fn flipped_bits_are_not_the_crosstalk_of_another_process_however_many_connections_there_are() {
        const LEN: usize = 128;
        let shard = "0/10".parse().expect("a shard");
        let ledger = SentLedger::new(slots(190_000, &LoadArgs::default()), shard);
        (0..190_000).step_by(10).for_each(|conn| ledger.set(id(conn), 100 << 10));
        ledger.note(1 << 32);
        for seed in 0..20_000 {
            let stream = Stream::new(seed);
            let mut received = vec![0; LEN];
            stream.fill(id(0), 0, &mut received);
            let bit = seed as usize * 7919 % (8 * LEN);
            received[bit / 8] ^= 1 << (bit % 8);
            let kinds: Vec<Kind> = found(&ledger, &stream, &received).iter().map(|found| found.kind).collect();
            assert_eq!(kinds, [Kind::Corrupt], "seed {seed}, bit {bit}");
        }
    }

    #[test]
    fn bytes_of_another_process_are_named_from_two_words_on_wherever_they_begin() {
        let ledger = SentLedger::new(slots(10, &LoadArgs::default()), "0/2".parse().expect("a shard"));
        ledger.set(id(0), 1000);
        let stream = Stream::new(5);
        for (offset, len) in (4096..4104).flat_map(|offset| [(offset, 23), (offset, 64)]) {
            let mut received = vec![0; 200];
            stream.fill(id(0), 0, &mut received);
            stream.fill(id(3), offset, &mut received[100..100 + len]);
            let [found] = &found(&ledger, &stream, &received)[..] else { panic!("{offset}, {len}: one finding") };
            assert_eq!(found.kind, Kind::Crosstalk, "{offset}, {len}: {found:?}");
            let begins = found.source.expect("its source").offset - found.offset;
            assert_eq!(
                (begins, found.source.map(|source| source.conn)),
                (offset - 100, Some(id(3))),
                "{offset}, {len}"
            );
        }
    }

    fn slots(conns: u64, args: &LoadArgs) -> Slots {
        let args = LoadArgs { conns: Some(Count(conns)), ..args.clone() };
        Slots::new([&args.resolve("load").expect("a valid load")]).expect("few connections")
    }
}
