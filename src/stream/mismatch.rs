//! A mismatch: the bytes received from where a connection's own stream breaks off to where it resumes. They are divided
//! into segments. Each is a run of bytes that some connection has sent, or bytes that belong nowhere.
//!
//! A run is found by its first aligned word: the eight bytes from each received byte on are taken for a word and
//! located. The location counts if that connection has sent the word, or if it may have and the word before fits too.
//! From there the run is extended in both directions byte by byte, so its borders are as exact as they can be: next to
//! a border, one byte in 256 fits both sides by chance.
//!
//! Nothing here depends on how the bytes were split into reads. The work is linear in them, and the memory is bounded.

use std::sync::Arc;

use super::change::DiffStats;
use super::finding::{Circumstances, StreamSource};
use super::ledger::StreamView;
use super::pattern::WORD_BYTES;

/// A border may be this far off by chance.
pub(super) const BORDER_SLACK_BYTES: u64 = 8;
/// How much is kept of the start of a segment that belongs nowhere.
pub(super) const KEPT_HEAD_BYTES: usize = 256;
/// How much is kept of the end of a segment that belongs nowhere.
const KEPT_TAIL_BYTES: usize = 15;
/// Right bytes in a row, in place or past where the stream broke off, after which the own stream has resumed.
const RESUME_BYTES: u64 = WORD_BYTES as u64;
/// Received bytes kept before the word that is examined. A run begins at most seven bytes before its first aligned
/// word, which may be the one before this, and chance seldom adds more than one word.
const LOOKBACK_BYTES: usize = 23;
/// Segments of one mismatch.
const MAX_SEGMENTS: usize = 64;
/// Bytes examined in one step.
const SEARCH_STEP_BYTES: usize = 4096;

/// Received bytes that are not the connection's own stream.
pub(super) struct Segment {
    pub(super) len: u64,
    pub(super) origin: SegmentOrigin,
}

/// Where the bytes of a segment belong.
pub(super) enum SegmentOrigin {
    /// To the stream of a connection, from this offset on.
    Sent(StreamSource),
    /// Nowhere.
    Unknown(UnknownBytes),
}

/// Bytes that belong nowhere.
pub(super) struct UnknownBytes {
    /// The first of them, up to [`KEPT_HEAD_BYTES`].
    pub(super) head: Vec<u8>,
    /// The last of them, up to [`KEPT_TAIL_BYTES`].
    pub(super) tail: Vec<u8>,
    /// How they differ from the own stream, if they stand in its place.
    pub(super) stats: DiffStats,
}

/// Where the own stream goes on after a mismatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resumption {
    /// Stream offset of the first right byte. It is below the mismatch's `at` if bytes come again.
    pub(super) from: u64,
    /// Stream offset after the last byte consumed.
    pub(super) to: u64,
}

/// What a mismatch made of the bytes it was fed.
pub(super) enum Fed {
    /// It consumed them all, and nothing is decided.
    All,
    /// The own stream has resumed after this many of them.
    Resumed(usize, Resumption),
    /// It has [`MAX_SEGMENTS`] after this many of them.
    Full(usize),
}

/// A mismatch that has not ended. See the module.
pub(super) struct Mismatch {
    /// Stream offset of the first byte that is not right.
    pub(super) at: u64,
    /// What came since.
    pub(super) segments: Vec<Segment>,
    /// Bytes in `segments`.
    pub(super) len: u64,
    /// What surrounded the first of its bytes, if they came before the current read.
    pub(super) circumstances: Option<Arc<Circumstances>>,
    scan: Scan,
}

/// How the bytes after the last segment are being read.
enum Scan {
    /// As the run that begins at `source`, of which `len` bytes have come.
    Run { source: StreamSource, len: u64 },
    /// In search of a run.
    Search(Box<Search>),
}

/// Bytes in which no run has begun yet.
#[derive(Default)]
struct Search {
    /// Bytes that are certain to belong nowhere, and are gone from `recent`.
    dropped: u64,
    /// The bytes after those. At first they follow some right bytes, which may have been right by chance.
    recent: Vec<u8>,
    /// How many of `recent` are such right bytes.
    lead: usize,
    /// The same stretch of the own stream, if these bytes stand in its place.
    in_place: Vec<u8>,
    /// How many of `recent` have been examined as the last byte of a word.
    examined: usize,
    /// How many bytes in a row before that were right in place.
    right: u64,
    head: Vec<u8>,
    stats: DiffStats,
}

impl Mismatch {
    /// A mismatch at this offset of the stream, after bytes that were right since `right_since`.
    pub(super) fn new(view: &StreamView<'_>, at: u64, right_since: u64) -> Mismatch {
        let lead = at.saturating_sub(right_since).min(WORD_BYTES as u64 - 1);
        let recent = view.own(at - lead, lead as usize);
        let search = Search { lead: recent.len(), in_place: recent.clone(), recent, ..Search::default() };
        Mismatch { at, segments: Vec::new(), len: 0, circumstances: None, scan: Scan::Search(Box::new(search)) }
    }

    /// Bytes consumed so far.
    pub(super) fn consumed(&self) -> u64 {
        self.len
            + match &self.scan {
                Scan::Run { len, .. } => *len,
                Scan::Search(search) => search.len(),
            }
    }

    /// Consumes received bytes until it ends or is full.
    pub(super) fn feed(&mut self, view: &StreamView<'_>, input: &[u8]) -> Fed {
        let mut consumed = 0;
        while consumed < input.len() {
            if self.segments.len() >= MAX_SEGMENTS {
                return Fed::Full(consumed);
            }
            let (n, resumption) = match self.scan {
                Scan::Run { source, len } => self.follow(view, source, len, &input[consumed..]),
                Scan::Search(_) => self.search(view, &input[consumed..]),
            };
            consumed += n;
            if let Some(resumption) = resumption {
                return Fed::Resumed(consumed, resumption);
            }
        }
        Fed::All
    }

    /// Follows a run as far as it reaches.
    fn follow(
        &mut self,
        view: &StreamView<'_>,
        source: StreamSource,
        len: u64,
        input: &[u8],
    ) -> (usize, Option<Resumption>) {
        let mut input = input;
        let mut resumption = None;
        if source.conn == view.conn {
            // Own bytes that come again: the stream has resumed once they reach past where it broke off.
            let left = (self.at + RESUME_BYTES).saturating_sub(source.offset + len);
            if input.len() as u64 >= left {
                input = &input[..left as usize];
                resumption = Some(Resumption { from: source.offset, to: source.offset + len + left });
            }
        }
        match view.stream.first_mismatch(source.conn, source.offset + len, input) {
            None => {
                self.scan = Scan::Run { source, len: len + input.len() as u64 };
                (input.len(), resumption)
            }
            Some(right) => {
                self.push_segment(len + right as u64, SegmentOrigin::Sent(source));
                self.scan = Scan::Search(Box::default());
                (right, None)
            }
        }
    }

    /// Searches for the start of a run, or for the own stream resuming in place.
    fn search(&mut self, view: &StreamView<'_>, input: &[u8]) -> (usize, Option<Resumption>) {
        let Scan::Search(search) = &mut self.scan else { return (0, None) };
        let before = search.recent.len();
        let n = input.len().min(SEARCH_STEP_BYTES);
        let in_place = self.at + self.len + search.len();
        search.recent.extend_from_slice(&input[..n]);
        search.in_place.extend(view.own(in_place, n));
        let Some((start, source)) = search.find_word(view, in_place - before as u64) else {
            search.drop_old();
            return (n, None);
        };
        let consumed = start + WORD_BYTES - before;
        (consumed, self.begin_run(view, start, source))
    }

    /// Begins the run whose first aligned word stands at `start` of the recent bytes, or finds that it is the own
    /// stream resuming.
    fn begin_run(&mut self, view: &StreamView<'_>, start: usize, source: StreamSource) -> Option<Resumption> {
        let Scan::Search(search) = &mut self.scan else { return None };
        let search = std::mem::take(search.as_mut());
        let own = source.conn == view.conn;
        // Bytes that were right by chance belong to the run.
        self.at -= search.lead.saturating_sub(start) as u64;
        let unknown = &search.recent[search.lead.min(start)..start];
        let most = unknown.len().min(LOOKBACK_BYTES).min(usize::try_from(source.offset).unwrap_or(LOOKBACK_BYTES));
        let before = view.bytes(source.conn, source.offset - most as u64, most);
        let same = before.iter().rev().zip(unknown.iter().rev()).take_while(|(a, b)| a == b).count();
        let whole = same == unknown.len() && search.dropped == 0;
        let mut back = same as u64;
        if own && source.offset >= self.at && !whole {
            // Unknown bytes came in between, and the last of them fit by chance: the stream goes on where it broke off.
            back = back.min(source.offset - self.at);
        }
        let len = back + WORD_BYTES as u64;
        let source = StreamSource { offset: source.offset - back, ..source };
        if let Some((len, unknown)) = search.finish(start - back as usize) {
            self.push_segment(len, SegmentOrigin::Unknown(unknown));
        }
        self.scan = Scan::Run { source, len };
        if !own || source.offset + len < self.at + RESUME_BYTES {
            return None;
        }
        let from = if source.offset > self.at { self.take_back(view, source.offset) } else { source.offset };
        Some(Resumption { from, to: source.offset + len })
    }

    /// Gives the last bytes of a foreign run to the own stream if they are right in it as well. Returns where the own
    /// stream then resumes.
    fn take_back(&mut self, view: &StreamView<'_>, mut from: u64) -> u64 {
        while from > self.at
            && let Some(Segment { len, origin: SegmentOrigin::Sent(source) }) = self.segments.last_mut()
            && view.bytes(source.conn, source.offset + *len - 1, 1) == view.own(from - 1, 1)
        {
            from -= 1;
            *len -= 1;
            self.len -= 1;
            if *len == 0 {
                self.segments.pop();
            }
        }
        from
    }

    /// Makes segments of all bytes consumed, since no more will come.
    pub(super) fn finish(&mut self) {
        match std::mem::replace(&mut self.scan, Scan::Search(Box::default())) {
            Scan::Run { source, len } => self.push_segment(len, SegmentOrigin::Sent(source)),
            Scan::Search(search) => {
                let recent = search.recent.len();
                if let Some((len, unknown)) = search.finish(recent) {
                    self.push_segment(len, SegmentOrigin::Unknown(unknown));
                }
            }
        }
    }

    fn push_segment(&mut self, len: u64, origin: SegmentOrigin) {
        if len > 0 {
            self.len += len;
            self.segments.push(Segment { len, origin });
        }
    }
}

impl Search {
    /// The first word among the recent bytes that was sent, or that is right in place: its index among them, and where
    /// it comes from.
    fn find_word(&mut self, view: &StreamView<'_>, in_place: u64) -> Option<(usize, StreamSource)> {
        for last in self.examined..self.recent.len() {
            // What was not sent yet cannot have come back.
            let is_right = self.recent[last] == self.in_place[last] && in_place + (last as u64) < view.sent;
            self.right = if is_right { self.right + 1 } else { 0 };
            let Some(start) = (last + 1).checked_sub(WORD_BYTES) else { continue };
            if self.right >= RESUME_BYTES {
                return Some((start, StreamSource { conn: view.conn, offset: in_place + start as u64, open: true }));
            }
            let Some(word) = self.recent[start..].first_chunk::<WORD_BYTES>() else { continue };
            if let Some(source) = view.locate(&self.recent[..start], *word) {
                return Some((start, source));
            }
        }
        self.examined = self.recent.len();
        None
    }

    /// Bytes that came.
    fn len(&self) -> u64 {
        self.dropped + (self.recent.len() - self.lead) as u64
    }

    /// Drops bytes that can no longer be part of a run.
    fn drop_old(&mut self) {
        let old = self.recent.len().saturating_sub(LOOKBACK_BYTES + WORD_BYTES);
        self.count(old);
        self.recent.drain(..old);
        self.in_place.drain(..old);
        self.examined -= old;
        self.lead -= self.lead.min(old);
    }

    /// Counts the recent bytes before this index as bytes that belong nowhere.
    fn count(&mut self, end: usize) {
        let certain = self.lead.min(end)..end;
        let head = certain.start + certain.len().min(KEPT_HEAD_BYTES - self.head.len());
        self.head.extend_from_slice(&self.recent[certain.start..head]);
        self.stats.compare(&self.in_place[certain.clone()], &self.recent[certain.clone()]);
        self.dropped += certain.len() as u64;
    }

    /// The bytes that belong nowhere, and their number, if a run begins at this index of the recent bytes.
    fn finish(mut self, end: usize) -> Option<(u64, UnknownBytes)> {
        self.count(end);
        let tail = self.recent[self.lead.min(end).max(end.saturating_sub(KEPT_TAIL_BYTES))..end].to_vec();
        (self.dropped > 0).then_some((self.dropped, UnknownBytes { head: self.head, tail, stats: self.stats }))
    }
}
