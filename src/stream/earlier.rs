//! Bytes of earlier runs against the same server, which may still hold them.

use super::pattern::{ConnId, Stream, WORD_BYTES};

/// Earlier runs that are remembered: the latest.
pub const MAX_EARLIER_RUNS: usize = 64;

/// An earlier run against the same server.
#[derive(Clone, Debug)]
pub struct EarlierRun {
    /// Its name, for people: `3.4 resets in mid-stream`.
    pub name: String,
    /// The bytes of its connections.
    pub stream: Stream,
    /// Its connections had ids below this.
    pub conns: u64,
    /// No connection sent more bytes than this.
    pub bytes: u64,
}

/// Where bytes come from that an earlier run had sent.
pub(super) struct EarlierSource {
    pub(super) run: String,
    pub(super) conn: ConnId,
    pub(super) offset: u64,
}

/// The earlier run that sent the bytes with which `head` begins. Two of its words in a row must be among them: of all
/// that these runs may have sent, one word too often matches by chance.
pub(super) fn find(runs: &[EarlierRun], head: &[u8]) -> Option<EarlierSource> {
    let last = head.len().checked_sub(2 * WORD_BYTES)?;
    let starts = if runs.is_empty() { 0..0 } else { 0..last.min(WORD_BYTES) + 1 };
    starts.flat_map(|start| runs.iter().rev().map(move |run| (start, run))).find_map(|(start, run)| {
        let word = *head[start..].first_chunk::<WORD_BYTES>()?;
        let location = run.stream.locate(u64::from_le_bytes(word));
        [Some(location), location.shared()].into_iter().flatten().find_map(|place| {
            let offset = (place.index * WORD_BYTES as u64).checked_sub(start as u64)?;
            let is_possible = u64::from(place.conn.get()) < run.conns && offset + head.len() as u64 <= run.bytes;
            let mut right = vec![0; start + 2 * WORD_BYTES];
            run.stream.fill(place.conn, offset, &mut right);
            let is_it = is_possible && head.starts_with(&right);
            is_it.then(|| EarlierSource { run: run.name.clone(), conn: place.conn, offset })
        })
    })
}
