//! An episode: the bytes received from where a connection's own stream breaks off to where it goes on. They are taken
//! apart into segments, each a run of bytes that some connection has sent, or bytes that belong nowhere.
//!
//! A run is found by its first aligned word: at each received byte the eight bytes from there on are taken for a word
//! and located; the place counts only if that connection has sent it, or if it may have and the word before fits too.
//! From there the run is extended to both sides byte by byte, so that its borders are exact as far as they can be: next
//! to a border, one byte in 256 fits both sides by chance.
//!
//! Nothing here depends on how the bytes were split into reads, the work is linear in them, and what is kept is
//! bounded.

use std::sync::Arc;

use super::change::Tally;
use super::finding::{ByteSource, Circumstances};
use super::pattern::{ConnId, Stream, WordLocation};
use super::verify::Ledger;

const WORD: usize = 8;
/// Right bytes in a row, in place or past where the stream broke off, after which the own stream goes on.
const RIGHT_AGAIN: u64 = WORD as u64;
/// Received bytes kept before the word that is looked at: a run begins at most seven bytes before its first aligned
/// word, which may be the one before this, and chance seldom adds more than one.
const BACK: usize = 23;
/// Bytes kept of the end of a segment that belongs nowhere.
const TAIL: usize = 15;
/// Bytes of a segment that belong nowhere which are kept.
pub(super) const HEAD: usize = 256;
/// Segments of one episode.
const SEGMENTS: usize = 64;
/// Bytes looked at in one step.
const STEP: usize = 4096;

/// What a connection and its verifier see of the run.
pub(super) struct View<'a> {
    pub(super) stream: &'a Stream,
    pub(super) ledger: &'a dyn Ledger,
    pub(super) conn: ConnId,
    /// Bytes that the connection itself has sent.
    pub(super) sent: u64,
}

impl<'a> View<'a> {
    pub(super) fn new(stream: &'a Stream, ledger: &'a dyn Ledger, conn: ConnId) -> View<'a> {
        View { stream, ledger, conn, sent: ledger.sent(conn).map_or(0, |sent| sent.bytes) }
    }

    /// Bytes of a connection's stream.
    pub(super) fn bytes(&self, conn: ConnId, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.fill(conn, offset, &mut bytes);
        bytes
    }

    /// Bytes of the connection's own stream.
    pub(super) fn own(&self, offset: u64, len: usize) -> Vec<u8> {
        self.bytes(self.conn, offset, len)
    }

    /// The place whose word this is, if that connection has sent it. Where that is not known, the bytes `before` it
    /// must be the word before it.
    fn locate(&self, before: &[u8], word: [u8; WORD]) -> Option<ByteSource> {
        let place = self.stream.locate(u64::from_le_bytes(word));
        self.look_up(before, place).or_else(|| self.look_up(before, place.shared()?))
    }

    fn look_up(&self, before: &[u8], place: WordLocation) -> Option<ByteSource> {
        let offset = place.index * WORD as u64;
        let end = offset + WORD as u64;
        if place.conn == self.conn {
            return (end <= self.sent).then_some(ByteSource { conn: place.conn, offset, open: true });
        }
        let sent = self.ledger.sent(place.conn).filter(|sent| end <= sent.bytes)?;
        let follows = || {
            let previous = place.index.checked_sub(1).map(|index| self.stream.word(place.conn, index).to_le_bytes());
            previous.is_some_and(|previous| before.ends_with(&previous))
        };
        (sent.known || follows()).then_some(ByteSource { conn: place.conn, offset, open: sent.open })
    }
}

/// Received bytes that are not the connection's own stream.
pub(super) struct Segment {
    pub(super) len: u64,
    pub(super) what: What,
}

/// Where the bytes of a segment belong.
pub(super) enum What {
    /// To the stream of a connection, from there on.
    Sent(ByteSource),
    /// Nowhere.
    Unknown(Unknown),
}

/// Bytes that belong nowhere.
pub(super) struct Unknown {
    /// The first of them, up to [`HEAD`].
    pub(super) head: Vec<u8>,
    /// The last of them, up to [`TAIL`].
    pub(super) tail: Vec<u8>,
    /// How they differ from the own stream, if they stand in its place.
    pub(super) tally: Tally,
}

/// The own stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resumed {
    /// Stream offset of the first right byte; below the episode's `at` if the bytes come again.
    pub(super) from: u64,
    /// Stream offset after the last byte taken.
    pub(super) to: u64,
}

/// What came of feeding an episode.
pub(super) enum Fed {
    /// All bytes were taken, and nothing is decided.
    All,
    /// The own stream goes on; so many bytes were taken.
    Resumed(usize, Resumed),
    /// As many segments as are kept; so many bytes were taken.
    Full(usize),
}

/// See the module.
pub(super) struct Episode {
    /// Stream offset of the first byte that is not right.
    pub(super) at: u64,
    /// What came since.
    pub(super) segments: Vec<Segment>,
    /// Bytes in `segments`.
    pub(super) len: u64,
    /// What surrounded the first of them, if they came before the present read.
    pub(super) circumstances: Option<Arc<Circumstances>>,
    open: Open,
}

enum Open {
    Run { source: ByteSource, len: u64 },
    Search(Box<Search>),
}

/// Bytes in which no run has begun yet.
#[derive(Default)]
struct Search {
    /// Bytes that are certain to belong nowhere, and dropped from `recent`.
    dropped: u64,
    /// The bytes after those; before the first are kept some right ones, which may have been right by chance.
    recent: Vec<u8>,
    /// How many of `recent` these right ones are.
    lead: usize,
    /// The same stretch of the own stream, if these bytes stand in its place.
    in_place: Vec<u8>,
    /// How many of `recent` have been looked at as the last byte of a word.
    looked_at: usize,
    /// How many in a row before that were right in place.
    right: u64,
    head: Vec<u8>,
    tally: Tally,
}

impl Episode {
    /// For a stream that breaks off at this offset, all bytes right since `right_since`.
    pub(super) fn new(view: &View<'_>, at: u64, right_since: u64) -> Episode {
        let lead = at.saturating_sub(right_since).min(WORD as u64 - 1);
        let recent = view.own(at - lead, lead as usize);
        let search = Search { lead: recent.len(), in_place: recent.clone(), recent, ..Search::default() };
        Episode { at, segments: Vec::new(), len: 0, circumstances: None, open: Open::Search(Box::new(search)) }
    }

    /// Bytes taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.len
            + match &self.open {
                Open::Run { len, .. } => *len,
                Open::Search(search) => search.len(),
            }
    }

    /// Takes in received bytes.
    pub(super) fn feed(&mut self, view: &View<'_>, input: &[u8]) -> Fed {
        let mut taken = 0;
        while taken < input.len() {
            if self.segments.len() >= SEGMENTS {
                return Fed::Full(taken);
            }
            let (n, resumed) = match self.open {
                Open::Run { source, len } => self.follow(view, source, len, &input[taken..]),
                Open::Search(_) => self.search(view, &input[taken..]),
            };
            taken += n;
            if let Some(resumed) = resumed {
                return Fed::Resumed(taken, resumed);
            }
        }
        Fed::All
    }

    /// Goes along a run as far as it reaches.
    fn follow(&mut self, view: &View<'_>, source: ByteSource, len: u64, input: &[u8]) -> (usize, Option<Resumed>) {
        let mut input = input;
        let mut enough = None;
        if source.conn == view.conn {
            // Own bytes that come again: once they reach past where the stream broke off, it goes on.
            let left = (self.at + RIGHT_AGAIN).saturating_sub(source.offset + len);
            if input.len() as u64 >= left {
                input = &input[..left as usize];
                enough = Some(Resumed { from: source.offset, to: source.offset + len + left });
            }
        }
        match view.stream.first_mismatch(source.conn, source.offset + len, input) {
            None => {
                self.open = Open::Run { source, len: len + input.len() as u64 };
                (input.len(), enough)
            }
            Some(right) => {
                self.close(len + right as u64, What::Sent(source));
                self.open = Open::Search(Box::default());
                (right, None)
            }
        }
    }

    /// Looks for the begin of a run, or for the own stream going on in place.
    fn search(&mut self, view: &View<'_>, input: &[u8]) -> (usize, Option<Resumed>) {
        let Open::Search(search) = &mut self.open else { return (0, None) };
        let before = search.recent.len();
        let n = input.len().min(STEP);
        let in_place = self.at + self.len + search.len();
        search.recent.extend_from_slice(&input[..n]);
        search.in_place.extend(view.own(in_place, n));
        let Some((start, source)) = search.look(view, in_place - before as u64) else {
            search.drop_old();
            return (n, None);
        };
        let taken = start + WORD - before;
        (taken, self.begin_run(view, start, source))
    }

    /// Opens the run whose first aligned word stands at `start` of the recent bytes, or finds that it is the own stream
    /// going on.
    fn begin_run(&mut self, view: &View<'_>, start: usize, source: ByteSource) -> Option<Resumed> {
        let Open::Search(search) = &mut self.open else { return None };
        let search = std::mem::take(search.as_mut());
        let own = source.conn == view.conn;
        // Bytes that were right by chance are the run's.
        self.at -= search.lead.saturating_sub(start) as u64;
        let unknown = &search.recent[search.lead.min(start)..start];
        let most = unknown.len().min(BACK).min(usize::try_from(source.offset).unwrap_or(BACK));
        let before = view.bytes(source.conn, source.offset - most as u64, most);
        let same = before.iter().rev().zip(unknown.iter().rev()).take_while(|(a, b)| a == b).count();
        let whole = same == unknown.len() && search.dropped == 0;
        let mut back = same as u64;
        if own && source.offset >= self.at && !whole {
            // Unknown bytes came in between, the last of which fit by chance: the stream goes on where it broke off.
            back = back.min(source.offset - self.at);
        }
        let len = back + WORD as u64;
        let source = ByteSource { offset: source.offset - back, ..source };
        if let Some((len, unknown)) = search.finish(start - back as usize) {
            self.close(len, What::Unknown(unknown));
        }
        self.open = Open::Run { source, len };
        if !own || source.offset + len < self.at + RIGHT_AGAIN {
            return None;
        }
        let from = if source.offset > self.at { self.take_back(view, source.offset) } else { source.offset };
        Some(Resumed { from, to: source.offset + len })
    }

    /// The last bytes of a foreign run that are right in the own stream as well belong to that.
    fn take_back(&mut self, view: &View<'_>, mut from: u64) -> u64 {
        while from > self.at
            && let Some(Segment { len, what: What::Sent(source) }) = self.segments.last_mut()
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

    /// No more bytes will come: everything taken becomes segments.
    pub(super) fn close_open(&mut self) {
        match std::mem::replace(&mut self.open, Open::Search(Box::default())) {
            Open::Run { source, len } => self.close(len, What::Sent(source)),
            Open::Search(search) => {
                let recent = search.recent.len();
                if let Some((len, unknown)) = search.finish(recent) {
                    self.close(len, What::Unknown(unknown));
                }
            }
        }
    }

    fn close(&mut self, len: u64, what: What) {
        if len > 0 {
            self.len += len;
            self.segments.push(Segment { len, what });
        }
    }
}

impl Search {
    /// The first word among the recent bytes that was sent, or that is right in place: where it stands, and its place.
    fn look(&mut self, view: &View<'_>, in_place: u64) -> Option<(usize, ByteSource)> {
        for last in self.looked_at..self.recent.len() {
            self.right = if self.recent[last] == self.in_place[last] { self.right + 1 } else { 0 };
            let Some(start) = (last + 1).checked_sub(WORD) else { continue };
            if self.right >= RIGHT_AGAIN {
                return Some((start, ByteSource { conn: view.conn, offset: in_place + start as u64, open: true }));
            }
            let Some(word) = self.recent[start..].first_chunk::<WORD>() else { continue };
            if let Some(source) = view.locate(&self.recent[..start], *word) {
                return Some((start, source));
            }
        }
        self.looked_at = self.recent.len();
        None
    }

    /// Bytes that came.
    fn len(&self) -> u64 {
        self.dropped + (self.recent.len() - self.lead) as u64
    }

    /// Forgets bytes that can no longer be part of a run.
    fn drop_old(&mut self) {
        let old = self.recent.len().saturating_sub(BACK + WORD);
        self.count(old);
        self.recent.drain(..old);
        self.in_place.drain(..old);
        self.looked_at -= old;
        self.lead -= self.lead.min(old);
    }

    /// Takes the recent bytes up to this one for certain.
    fn count(&mut self, end: usize) {
        let certain = self.lead.min(end)..end;
        let head = certain.start + certain.len().min(HEAD - self.head.len());
        self.head.extend_from_slice(&self.recent[certain.start..head]);
        self.tally.add(&self.in_place[certain.clone()], &self.recent[certain.clone()]);
        self.dropped += certain.len() as u64;
    }

    /// What belongs nowhere if a run begins at this one of the recent bytes.
    fn finish(mut self, end: usize) -> Option<(u64, Unknown)> {
        self.count(end);
        let tail = self.recent[self.lead.min(end).max(end.saturating_sub(TAIL))..end].to_vec();
        (self.dropped > 0).then_some((self.dropped, Unknown { head: self.head, tail, tally: self.tally }))
    }
}
