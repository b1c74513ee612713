//! What every connection of the run has sent so far: 8 bytes each, readable by all workers. Those that share words (see
//! `bytes::pattern`) have one entry, which is the latest's.
//!
//! The verifier asks it only when bytes are wrong; the engine writes it at each write, so an entry is one relaxed
//! store.
//!
//! Of the other processes of a run it knows nothing, nor what earlier owners of an entry had sent, and takes for
//! possible what is not far beyond what happens here: of all words that there are chance makes too many.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::plan::{Shard, Slots};
use crate::stream::{ConnId, Ledger, Sent};

const CHUNK: usize = 1 << 12;
const OPENED: u64 = 1 << 63;
const CLOSED: u64 = 1 << 62;
/// Where the round of an entry's owner stands.
const ROUND: u32 = 55;
const BYTES: u64 = (1 << ROUND) - 1;
/// How many times as much as this process a connection of another may have sent …
const FASTER: u64 = 16;
/// … and so much more, in bytes, since processes need not begin together: some of what a loopback carries in a second.
/// What keeps chance out is the evidence of two words.
const HEAD_START: u64 = 1 << 30;

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
        let chunks = ConnId::FIRSTS as usize / CHUNK;
        SentLedger {
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
            slots,
            shard,
            most_sent: AtomicU64::new(0),
            generation: AtomicU32::new(0),
        }
    }

    fn entry(&self, conn: ConnId) -> &AtomicU64 {
        let id = conn.first() as usize;
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
        self.entry(conn).store(bytes | OPENED | u64::from(conn.round()) << ROUND, Ordering::Relaxed);
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

    /// What a connection may have sent that is another process's or, `past`, an earlier owner of its entry.
    fn possible(&self, conn: ConnId, past: bool) -> Option<Sent> {
        let (slot, generation) = self.slots.of(conn).ok()?;
        if self.shard.of_slot(slot) == self.shard && !past {
            return None;
        }
        let most = 2 * u64::from(self.generation.load(Ordering::Relaxed)) + 2;
        let bytes = self.most_sent.load(Ordering::Relaxed).saturating_mul(FASTER) + HEAD_START;
        let bytes = bytes.min(self.slots.stream_max(conn));
        // Whether another process's is open still is not known either.
        (u64::from(generation) <= most).then_some(Sent { bytes, open: !past, known: false })
    }
}

/// The ledger as a connection sees it, which knows best what it has sent itself: one that lives for long may share its
/// words, and so its entry, with one that was opened meanwhile.
pub(super) struct LedgerOf<'a> {
    pub(super) all: &'a SentLedger,
    pub(super) conn: ConnId,
    pub(super) sent: u64,
}

impl Ledger for LedgerOf<'_> {
    fn sent(&self, conn: ConnId) -> Option<Sent> {
        let own = Sent { bytes: self.sent, open: true, known: true };
        if conn == self.conn { Some(own) } else { self.all.sent(conn) }
    }
}

impl Ledger for SentLedger {
    fn sent(&self, conn: ConnId) -> Option<Sent> {
        let id = conn.first() as usize;
        let entry = self.chunks[id / CHUNK].get().map(|chunk| &chunk[id % CHUNK]);
        let value = entry.map_or(0, |entry| entry.load(Ordering::Relaxed));
        let round = (value & (CLOSED - 1)) >> ROUND;
        match round.cmp(&u64::from(conn.round())) {
            Equal if value & OPENED != 0 => Some(Sent { bytes: value & BYTES, open: value & CLOSED == 0, known: true }),
            Greater => self.possible(conn, true),
            Equal | Less => self.possible(conn, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadArgs;
    use crate::stream::{Divergence, End, Kind, Stream, Verifier};
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
    fn of_connections_that_share_words_the_latest_is_known_and_those_before_are_possible() {
        let churn = LoadArgs { lifetime: "1".parse().ok(), duration: "1h".parse().ok(), ..LoadArgs::default() };
        let slots = slots(2, &churn);
        let ledger = SentLedger::new(slots.clone(), Shard::WHOLE);
        // So many reconnects later the words of the first one go round.
        let (slot, last) = (slots.slot(1), (ConnId::FIRSTS - 2) / 2);
        let first = slots.id(slot, 1).expect("there are so many");
        let later = slots.id(slot, last + 1).expect("there are so many");
        assert_eq!((later.first(), later.round()), (first.get(), 1));
        ledger.open(first, 1);
        ledger.set(first, 77);
        assert_eq!(ledger.sent(later), None);
        ledger.close(first);
        ledger.open(later, last + 1);
        assert_eq!(ledger.sent(later), Some(Sent { bytes: 0, open: true, known: true }));
        assert_eq!(ledger.sent(first), Some(Sent { bytes: HEAD_START, open: false, known: false }));
        ledger.set(later, (64 << 30) - 1);
        assert_eq!(ledger.sent(later).map(|sent| sent.bytes), Some((64 << 30) - 1));
        assert_eq!(ledger.sent(id(1)), None, "the slot's first connection was not opened here");

        let of_first = LedgerOf { all: &ledger, conn: first, sent: 99 };
        assert_eq!(of_first.sent(first), Some(Sent { bytes: 99, open: true, known: true }));
        assert_eq!(of_first.sent(later), ledger.sent(later));
    }

    #[test]
    fn connections_of_another_shard_are_taken_for_possible_as_far_as_this_one_has_come() {
        let churn = LoadArgs { lifetime: "1".parse().ok(), duration: "1h".parse().ok(), ..LoadArgs::default() };
        let ledger = SentLedger::new(slots(10, &churn), "1/2".parse().expect("a shard"));
        let possible = |conn| ledger.sent(id(conn)).map(|sent| (sent.bytes, sent.known));
        assert_eq!(possible(4), Some((HEAD_START, false)));
        assert_eq!(possible(5), None, "of this shard, and not opened");
        assert_eq!((ledger.other_shard(id(4)), ledger.other_shard(id(5))), ("0/2".parse().ok(), None));
        assert_eq!(
            (possible(24), possible(34)),
            (Some((HEAD_START, false)), None),
            "the third and the fourth generation"
        );
        ledger.open(id(15), 1);
        ledger.note(1000);
        assert_eq!((possible(44), possible(54)), (Some((HEAD_START + 16_000, false)), None));
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
    fn bytes_of_a_connection_whose_words_are_shared_by_now_are_stale_and_name_it() {
        let churn = LoadArgs { lifetime: "1".parse().ok(), duration: "1h".parse().ok(), ..LoadArgs::default() };
        let ledger = SentLedger::new(slots(2, &churn), Shard::WHOLE);
        let (old, new) = (id(100), id(100 + ConnId::FIRSTS));
        for conn in [id(0), old, new] {
            ledger.open(conn, ConnId::FIRSTS);
            ledger.set(conn, 1000);
        }
        let stream = Stream::new(5);
        for (conn, kind) in [(old, Kind::Stale), (new, Kind::Crosstalk)] {
            let mut received = vec![0; 200];
            stream.fill(id(0), 0, &mut received);
            stream.fill(conn, 400, &mut received[100..164]);
            let [found] = &found(&ledger, &stream, &received)[..] else { panic!("{conn}: one finding") };
            assert_eq!((found.kind, found.source.map(|source| source.conn)), (kind, Some(conn)));
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
