//! What connections of the faulty server received lately, kept for faults that send old or foreign bytes. Pure.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::log::StreamPlace;
use super::schedule::draw;

/// Bytes, and where they were received.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SourcedBytes {
    pub(super) bytes: Vec<u8>,
    pub(super) source: StreamPlace,
}

/// Bytes on their way to another connection (`crosstalk:mode=move`).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MovedBytes {
    pub(super) bytes: SourcedBytes,
    /// The number of the fault that moves them.
    pub(super) fault: usize,
}

/// What one connection can see of the bytes received before and elsewhere. `pick` is a random number that makes the
/// choice.
pub(super) trait ByteHistory {
    /// Whether another open connection could be given bytes.
    fn has_another(&self) -> bool;
    /// Bytes that another open connection received lately.
    fn of_another(&self, len: usize, pick: u64) -> Option<SourcedBytes>;
    /// Bytes that this connection received well before stream offset `before`.
    fn of_own_past(&self, len: usize, before: u64, pick: u64) -> Option<SourcedBytes>;
    /// Bytes of a closed connection.
    fn of_closed(&self, len: usize, pick: u64) -> Option<SourcedBytes>;
}

/// The last bytes received on one connection.
pub(super) struct RecentBytes {
    /// The connection's number.
    pub(super) conn: u64,
    peer: SocketAddr,
    bytes: VecDeque<u8>,
    /// Bytes received in total: the stream offset behind the last of `bytes`.
    end: u64,
}

impl RecentBytes {
    pub(super) fn new(conn: u64, peer: SocketAddr) -> RecentBytes {
        RecentBytes { conn, peer, bytes: VecDeque::new(), end: 0 }
    }

    /// How many bytes are kept.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds bytes, and keeps the last `keep` of all.
    pub(super) fn push(&mut self, bytes: &[u8], keep: usize) {
        self.end += bytes.len() as u64;
        self.bytes.extend(&bytes[bytes.len().saturating_sub(keep)..]);
        self.bytes.drain(..self.bytes.len().saturating_sub(keep));
    }

    /// `len` bytes that all lie before stream offset `before`, at a place that `pick` chooses.
    pub(super) fn choose(&self, len: usize, before: u64, pick: u64) -> Option<SourcedBytes> {
        let start = self.end - self.bytes.len() as u64;
        let last = before.min(self.end).checked_sub(len as u64)?;
        let places = last.checked_sub(start)? + 1;
        let skip = draw(pick, &[1]) % places;
        let bytes = self.bytes.range(skip as usize..skip as usize + len).copied().collect();
        Some(SourcedBytes { bytes, source: StreamPlace { conn: self.conn, peer: self.peer, offset: start + skip } })
    }
}
