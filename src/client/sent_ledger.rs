//! How many bytes each connection of the run has sent so far: 8 bytes each, readable by all workers. Connections that
//! share words (see `stream::pattern`) share an entry, which holds the latest of them.
//!
//! The verifier asks the ledger only when bytes are wrong, but the engine updates it at every write, so an update is
//! one relaxed store.
//!
//! The ledger does not know what other processes of the run have sent, nor what earlier owners of an entry had sent. It
//! considers possible whatever is not far beyond what happens in this process. If it considered everything possible,
//! wrong bytes would too often match some word by chance.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::plan::{Shard, Slots};
use crate::stream::earlier::EarlierRun;
use crate::stream::{ConnId, Ledger, LedgerEntry, Stream};

/// How many entries are allocated at once.
const CHUNK_ENTRIES: usize = 1 << 12;
/// The bit of an entry that says that its owner was opened.
const OPENED_BIT: u64 = 1 << 63;
/// The bit of an entry that says that its owner is closed.
const CLOSED_BIT: u64 = 1 << 62;
/// The lowest bit of the round of an entry's owner. The bits below are the bytes sent.
const ROUND_SHIFT: u32 = 55;
const BYTES_MASK: u64 = (1 << ROUND_SHIFT) - 1;
/// A connection of another process is assumed to have sent at most this many times what a worker of this process has
/// sent …
const MOST_TIMES_FASTER: u64 = 16;
/// … plus this many bytes, because processes need not start together. A loopback carries about as much in a second.
/// The limit is generous, because the evidence of two words is what rules out chance.
const HEAD_START_BYTES: u64 = 1 << 30;

/// The ledger of one process.
pub(super) struct SentLedger {
    /// The entries by connection id, allocated as ids are used.
    chunks: Vec<OnceLock<Box<[AtomicU64]>>>,
    slots: Slots,
    shard: Shard,
    /// The most bytes that a worker of this process has sent on all its connections.
    most_sent: AtomicU64,
    /// The highest generation that a slot of this process has reached.
    generation: AtomicU32,
    /// Earlier runs against the same server.
    earlier: Vec<EarlierRun>,
}

impl SentLedger {
    pub(super) fn new(slots: Slots, shard: Shard) -> Self {
        let chunks = ConnId::PERIOD as usize / CHUNK_ENTRIES;
        SentLedger {
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
            slots,
            shard,
            most_sent: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            earlier: Vec::new(),
        }
    }

    /// The ledger of a run that comes after these.
    pub(super) fn after(self, earlier: Vec<EarlierRun>) -> Self {
        SentLedger { earlier, ..self }
    }

    fn entry(&self, conn: ConnId) -> &AtomicU64 {
        let id = conn.base() as usize;
        let chunk =
            self.chunks[id / CHUNK_ENTRIES].get_or_init(|| (0..CHUNK_ENTRIES).map(|_| AtomicU64::new(0)).collect());
        &chunk[id % CHUNK_ENTRIES]
    }

    /// Notes that the connection is open, as this generation of its slot.
    pub(super) fn open(&self, conn: ConnId, generation: u32) {
        self.set(conn, 0);
        self.generation.fetch_max(generation, Ordering::Relaxed);
    }

    /// Notes that a worker has sent this many bytes on all its connections. To be called from time to time.
    pub(super) fn note(&self, bytes: u64) {
        self.most_sent.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Notes that the open connection has handed `bytes` to its socket, or is about to. The note comes before the
    /// write, because another connection may receive the echo at once.
    #[inline]
    pub(super) fn set(&self, conn: ConnId, bytes: u64) {
        self.entry(conn).store(bytes | OPENED_BIT | u64::from(conn.round()) << ROUND_SHIFT, Ordering::Relaxed);
    }

    /// Notes that the connection is closed; where both ends are ours, that both of its halves are over. Nothing changes
    /// if it was never open, or if a later connection has its entry.
    pub(super) fn close(&self, conn: ConnId) {
        let owner = OPENED_BIT | u64::from(conn.round()) << ROUND_SHIFT;
        let closed = |value: u64| (value & !CLOSED_BIT & !BYTES_MASK == owner).then_some(value | CLOSED_BIT);
        let _ = self.entry(conn).fetch_update(Ordering::Relaxed, Ordering::Relaxed, closed);
    }

    /// The other process of the run that opens this connection, if it is not this process.
    pub(super) fn other_shard(&self, conn: ConnId) -> Option<Shard> {
        let (slot, _) = self.slots.of(conn).ok()?;
        Some(self.shard.of_slot(slot)).filter(|shard| *shard != self.shard)
    }

    /// What a connection may have sent that belongs to another process or, if `past`, was an earlier owner of its
    /// entry.
    fn possible(&self, conn: ConnId, past: bool) -> Option<LedgerEntry> {
        let (slot, generation) = self.slots.of(conn).ok()?;
        if self.shard.of_slot(slot) == self.shard && !past {
            return None;
        }
        let most = 2 * u64::from(self.generation.load(Ordering::Relaxed)) + 2;
        let bytes = self.most_sent.load(Ordering::Relaxed).saturating_mul(MOST_TIMES_FASTER) + HEAD_START_BYTES;
        let bytes = bytes.min(self.slots.stream_max(conn));
        // It is not known either whether a connection of another process is still open.
        (u64::from(generation) <= most).then_some(LedgerEntry { bytes, open: !past, known: false })
    }
}

/// The ledger as one connection sees it. A connection knows itself what it has sent. The ledger may not, because one
/// that lives long may share its words, and so its entry, with one that was opened later.
pub(super) struct OwnLedger<'a> {
    pub(super) all: &'a SentLedger,
    pub(super) conn: ConnId,
    pub(super) sent: u64,
    /// Where both ends are ours: the streams of the other direction, and what was sent of them.
    pub(super) other_way: Option<(&'a Stream, &'a SentLedger)>,
}

impl Ledger for OwnLedger<'_> {
    fn sent(&self, conn: ConnId) -> Option<LedgerEntry> {
        let own = LedgerEntry { bytes: self.sent, open: true, known: true };
        if conn == self.conn { Some(own) } else { self.all.sent(conn) }
    }

    fn earlier(&self) -> &[EarlierRun] {
        &self.all.earlier
    }

    fn other_way(&self) -> Option<(&Stream, &dyn Ledger)> {
        self.other_way.map(|(stream, ledger)| (stream, ledger as &dyn Ledger))
    }
}

impl Ledger for SentLedger {
    fn sent(&self, conn: ConnId) -> Option<LedgerEntry> {
        let id = conn.base() as usize;
        let entry = self.chunks[id / CHUNK_ENTRIES].get().map(|chunk| &chunk[id % CHUNK_ENTRIES]);
        let value = entry.map_or(0, |entry| entry.load(Ordering::Relaxed));
        let round = (value & (CLOSED_BIT - 1)) >> ROUND_SHIFT;
        match round.cmp(&u64::from(conn.round())) {
            Equal if value & OPENED_BIT != 0 => {
                Some(LedgerEntry { bytes: value & BYTES_MASK, open: value & CLOSED_BIT == 0, known: true })
            }
            Greater => self.possible(conn, true),
            Equal | Less => self.possible(conn, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadArgs;
    use crate::stream::{Divergence, End, FindingKind, Verifier};
    use crate::units::Count;

    fn id(n: u32) -> ConnId {
        ConnId::new(n).expect("the id is in range")
    }

    #[test]
    fn a_connection_is_unknown_then_open_then_closed_and_keeps_its_bytes() {
        let ledger = SentLedger::new(slots(10, &LoadArgs::default()), Shard::WHOLE);
        assert_eq!(ledger.sent(id(3)), None);
        ledger.set(id(3), 0);
        assert_eq!(ledger.sent(id(3)), Some(LedgerEntry { bytes: 0, open: true, known: true }));
        ledger.set(id(3), 77);
        ledger.close(id(3));
        assert_eq!(ledger.sent(id(3)), Some(LedgerEntry { bytes: 77, open: false, known: true }));
        assert_eq!(ledger.sent(id(4)), None);
        assert_eq!(ledger.sent(ConnId::MAX), None);
        ledger.close(id(4));
        assert_eq!(ledger.sent(id(4)), None, "it was never open");
    }

    #[test]
    fn of_connections_that_share_words_the_latest_is_known_and_earlier_are_possible() {
        let churn = LoadArgs { lifetime: "1".parse().ok(), duration: "1h".parse().ok(), ..LoadArgs::default() };
        let slots = slots(2, &churn);
        let ledger = SentLedger::new(slots.clone(), Shard::WHOLE);
        // After this many reconnects the words of the first one are used again.
        let (slot, last) = (slots.slot(1), (ConnId::PERIOD - 2) / 2);
        let first = slots.id(slot, 1).expect("there are enough ids");
        let later = slots.id(slot, last + 1).expect("there are enough ids");
        assert_eq!((later.base(), later.round()), (first.get(), 1));
        ledger.open(first, 1);
        ledger.set(first, 77);
        assert_eq!(ledger.sent(later), None);
        ledger.close(first);
        ledger.open(later, last + 1);
        ledger.close(first);
        assert_eq!(ledger.sent(later), Some(LedgerEntry { bytes: 0, open: true, known: true }));
        assert_eq!(ledger.sent(first), Some(LedgerEntry { bytes: HEAD_START_BYTES, open: false, known: false }));
        ledger.set(later, (64 << 30) - 1);
        assert_eq!(ledger.sent(later).map(|sent| sent.bytes), Some((64 << 30) - 1));
        assert_eq!(ledger.sent(id(1)), None, "the slot's first connection was not opened here");

        let of_first = OwnLedger { all: &ledger, conn: first, sent: 99, other_way: None };
        assert_eq!(of_first.sent(first), Some(LedgerEntry { bytes: 99, open: true, known: true }));
        assert_eq!(of_first.sent(later), ledger.sent(later));
    }

    #[test]
    fn connections_of_another_shard_are_possible_as_far_as_this_shard_has_come() {
        let churn = LoadArgs { lifetime: "1".parse().ok(), duration: "1h".parse().ok(), ..LoadArgs::default() };
        let ledger = SentLedger::new(slots(10, &churn), "1/2".parse().expect("the shard is well-formed"));
        let possible = |conn| ledger.sent(id(conn)).map(|sent| (sent.bytes, sent.known));
        assert_eq!(possible(4), Some((HEAD_START_BYTES, false)));
        assert_eq!(possible(5), None, "the connection is of this shard, and not open");
        assert_eq!((ledger.other_shard(id(4)), ledger.other_shard(id(5))), ("0/2".parse().ok(), None));
        assert_eq!(
            (possible(24), possible(34)),
            (Some((HEAD_START_BYTES, false)), None),
            "the third generation is possible, the fourth is not"
        );
        ledger.open(id(15), 1);
        ledger.note(1000);
        assert_eq!((possible(44), possible(54)), (Some((HEAD_START_BYTES + 16_000, false)), None));
        let once = SentLedger::new(slots(10, &LoadArgs::default()), "1/2".parse().expect("the shard is well-formed"));
        assert_eq!(once.other_shard(id(10)), None, "there is no such connection");
    }

    /// What the verifier finds when connection 0 receives these bytes as its first.
    fn found(ledger: &SentLedger, stream: &Stream, received: &[u8]) -> Vec<Divergence> {
        let (mut verifier, mut found) = (Verifier::new(id(0)), Vec::new());
        verifier.check(stream, ledger, received, &mut found);
        verifier.end(stream, ledger, End::STOPPED, &mut found);
        found
    }

    #[test]
    fn flipped_bits_are_never_crosstalk_of_another_process_however_many_connections() {
        const LEN: usize = 128;
        let shard = "0/10".parse().expect("the shard is well-formed");
        let ledger = SentLedger::new(slots(190_000, &LoadArgs::default()), shard);
        (0..190_000).step_by(10).for_each(|conn| ledger.set(id(conn), 100 << 10));
        ledger.note(1 << 32);
        for seed in 0..20_000 {
            let stream = Stream::new(seed);
            let mut received = vec![0; LEN];
            stream.fill(id(0), 0, &mut received);
            let bit = seed as usize * 7919 % (8 * LEN);
            received[bit / 8] ^= 1 << (bit % 8);
            let kinds: Vec<FindingKind> = found(&ledger, &stream, &received).iter().map(|found| found.kind).collect();
            assert_eq!(kinds, [FindingKind::Corrupt], "seed {seed}, bit {bit}");
        }
    }

    #[test]
    fn bytes_of_an_earlier_connection_with_the_same_words_are_stale_and_name_it() {
        let churn = LoadArgs { lifetime: "1".parse().ok(), duration: "1h".parse().ok(), ..LoadArgs::default() };
        let ledger = SentLedger::new(slots(2, &churn), Shard::WHOLE);
        let (old, new) = (id(100), id(100 + ConnId::PERIOD));
        for conn in [id(0), old, new] {
            ledger.open(conn, ConnId::PERIOD);
            ledger.set(conn, 1000);
        }
        let stream = Stream::new(5);
        for (conn, kind) in [(old, FindingKind::Stale), (new, FindingKind::Crosstalk)] {
            let mut received = vec![0; 200];
            stream.fill(id(0), 0, &mut received);
            stream.fill(conn, 400, &mut received[100..164]);
            let [found] = &found(&ledger, &stream, &received)[..] else { panic!("{conn}: expected one finding") };
            assert_eq!((found.kind, found.source.map(|source| source.conn)), (kind, Some(conn)));
        }
    }

    #[test]
    fn bytes_of_another_process_are_named_from_two_words_on_wherever_they_begin() {
        let ledger = SentLedger::new(slots(10, &LoadArgs::default()), "0/2".parse().expect("the shard is well-formed"));
        ledger.set(id(0), 1000);
        let stream = Stream::new(5);
        for (offset, len) in (4096..4104).flat_map(|offset| [(offset, 23), (offset, 64)]) {
            let mut received = vec![0; 200];
            stream.fill(id(0), 0, &mut received);
            stream.fill(id(3), offset, &mut received[100..100 + len]);
            let [found] = &found(&ledger, &stream, &received)[..] else {
                panic!("{offset}, {len}: expected one finding")
            };
            assert_eq!(found.kind, FindingKind::Crosstalk, "{offset}, {len}: {found:?}");
            let begins = found.source.expect("crosstalk has a source").offset - found.offset;
            assert_eq!(
                (begins, found.source.map(|source| source.conn)),
                (offset - 100, Some(id(3))),
                "{offset}, {len}"
            );
        }
    }

    fn slots(conns: u64, args: &LoadArgs) -> Slots {
        let args = LoadArgs { conns: Some(Count(conns)), ..args.clone() };
        Slots::new([&args.resolve("load").expect("the load is valid")]).expect("there are ids for so few connections")
    }
}
