//! What the verifier of a connection may know of the run: the stream, and how much each connection has sent of it.

use super::earlier::EarlierRun;
use super::finding::StreamSource;
use super::pattern::{ConnId, Stream, WORD_BYTES, WordLocation};

/// How much every connection of the run has sent so far.
pub trait Ledger {
    /// What this connection has sent, or `None` if this run never opened it.
    fn sent(&self, conn: ConnId) -> Option<LedgerEntry>;

    /// Earlier runs against the same server, the latest last.
    fn earlier(&self) -> &[EarlierRun] {
        &[]
    }

    /// Where both ends are ours: the streams of the other direction, and what was sent of them.
    fn other_way(&self) -> Option<(&Stream, &dyn Ledger)> {
        None
    }
}

/// What a connection has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Bytes handed to the socket so far.
    pub bytes: u64,
    /// Whether the connection is still open.
    pub open: bool,
    /// Whether this is known. An entry that is only possible needs more evidence: so large a number of possible words
    /// matches some received bytes by chance.
    pub known: bool,
}

/// The run as one connection's verifier sees it.
pub(super) struct StreamView<'a> {
    pub(super) stream: &'a Stream,
    pub(super) ledger: &'a dyn Ledger,
    pub(super) conn: ConnId,
    /// Bytes that the connection itself has sent.
    pub(super) sent: u64,
}

impl<'a> StreamView<'a> {
    pub(super) fn new(stream: &'a Stream, ledger: &'a dyn Ledger, conn: ConnId) -> StreamView<'a> {
        StreamView { stream, ledger, conn, sent: ledger.sent(conn).map_or(0, |sent| sent.bytes) }
    }

    /// Bytes of any connection's stream.
    pub(super) fn bytes(&self, conn: ConnId, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.fill(conn, offset, &mut bytes);
        bytes
    }

    /// Bytes of the connection's own stream.
    pub(super) fn own(&self, offset: u64, len: usize) -> Vec<u8> {
        self.bytes(self.conn, offset, len)
    }

    /// The place that `word` belongs to, if its connection has sent it. If the ledger does not know, the bytes `before`
    /// must be the word before it.
    pub(super) fn locate(&self, before: &[u8], word: [u8; WORD_BYTES]) -> Option<StreamSource> {
        let location = self.stream.locate(u64::from_le_bytes(word));
        self.look_up(before, location).or_else(|| self.look_up(before, location.shared()?))
    }

    /// Where these bytes come from that belong nowhere, if all of them are of the other direction. They must hold two
    /// whole words: of all that was sent, one word too often matches by chance.
    pub(super) fn locate_of_other_way(&self, bytes: &[u8]) -> Option<StreamSource> {
        let (stream, ledger) = self.ledger.other_way()?;
        let last = bytes.len().checked_sub(2 * WORD_BYTES)?;
        (0..=last.min(WORD_BYTES - 1)).find_map(|start| {
            let location = stream.locate(u64::from_le_bytes(*bytes[start..].first_chunk()?));
            [Some(location), location.shared()].into_iter().flatten().find_map(|WordLocation { conn, index }| {
                let offset = (index * WORD_BYTES as u64).checked_sub(start as u64)?;
                let sent = ledger.sent(conn).filter(|sent| offset + bytes.len() as u64 <= sent.bytes)?;
                let is_it = stream.first_mismatch(conn, offset, bytes).is_none();
                is_it.then_some(StreamSource { conn, offset, open: sent.open || conn == self.conn })
            })
        })
    }

    fn look_up(&self, before: &[u8], location: WordLocation) -> Option<StreamSource> {
        let WordLocation { conn, index } = location;
        let offset = index * WORD_BYTES as u64;
        let end = offset + WORD_BYTES as u64;
        if conn == self.conn {
            return (end <= self.sent).then_some(StreamSource { conn, offset, open: true });
        }
        let sent = self.ledger.sent(conn).filter(|sent| end <= sent.bytes)?;
        let follows_its_predecessor = || {
            let previous = index.checked_sub(1).map(|index| self.stream.word(conn, index).to_le_bytes());
            previous.is_some_and(|previous| before.ends_with(&previous))
        };
        (sent.known || follows_its_predecessor()).then_some(StreamSource { conn, offset, open: sent.open })
    }
}
