//! A mismatch that has ended: its segments with the most likely borders, how many own bytes are missing, and excerpts
//! of what came and what should have come.

use std::cmp::Reverse;
use std::sync::Arc;

use super::change::whole_conversion;
use super::finding::{
    Change, Circumstances, Divergence, EXCERPT_AFTER_BYTES, EXCERPT_BEFORE_BYTES, FindingKind, StreamSource,
};
use super::ledger::StreamView;
use super::mismatch::{
    BORDER_SLACK_BYTES, KEPT_HEAD_BYTES, Mismatch, Resumption, Segment, SegmentOrigin, UnknownBytes,
};

/// A piece of at most this length can be compared with others wherever those are.
pub(super) const SHORT_PIECE_BYTES: usize = 64;
/// How far from its place the last part of a stream is searched for when its connection ends.
const TAIL_SEARCH_BYTES: u64 = 64 << 10;

/// What was known when the stream broke off.
#[derive(Clone, Copy)]
pub(super) struct Background {
    /// Where the right bytes before the mismatch begin.
    pub(super) right_since: u64,
    /// Whether the connection still has few enough findings for this one to be worth excerpts and searches.
    pub(super) in_detail: bool,
}

/// A mismatch that has ended. See the module.
pub(super) struct EndedMismatch<'a> {
    pub(super) view: &'a StreamView<'a>,
    /// Where the stream broke off.
    pub(super) at: u64,
    pub(super) segments: Vec<Segment>,
    /// Right bytes that are known to have come after the segments.
    after: Vec<u8>,
    pub(super) background: Background,
    circumstances: Option<Arc<Circumstances>>,
    /// Whether the last segment is own bytes that came again, and the stream went on after them.
    pub(super) repeats: bool,
    /// The stream position at which it ends.
    pub(super) position: u64,
    /// Where the own bytes that are still unaccounted for begin.
    pub(super) cursor: u64,
    /// How many own bytes are still unaccounted for.
    pub(super) missing: u64,
}

impl<'a> EndedMismatch<'a> {
    /// The own stream goes on after the mismatch.
    pub(super) fn resumed(
        view: &'a StreamView<'a>,
        mismatch: Mismatch,
        resumption: Resumption,
        background: Background,
    ) -> EndedMismatch<'a> {
        let Mismatch { mut at, mut segments, circumstances, .. } = mismatch;
        let repeated = at.saturating_sub(resumption.from);
        let mut repeats = false;
        if repeated > 0 {
            if repeated < BORDER_SLACK_BYTES && extend_back(view, segments.first_mut(), resumption.from, repeated) {
                at = resumption.from;
            } else {
                let source = StreamSource { conn: view.conn, offset: resumption.from, open: true };
                segments.push(Segment { len: repeated, origin: SegmentOrigin::Sent(source) });
                repeats = true;
            }
        }
        let from = resumption.from.max(at);
        at += trim_right_start(view, segments.first_mut(), at, from);
        let after = view.own(from, (resumption.to - from).min(EXCERPT_AFTER_BYTES as u64) as usize);
        EndedMismatch {
            view,
            at,
            segments,
            after,
            background,
            circumstances,
            repeats,
            position: resumption.to,
            cursor: at,
            missing: from - at,
        }
    }

    /// Nothing is known of what comes after the mismatch, in which `missing` own bytes did not come.
    pub(super) fn cut_off(
        view: &'a StreamView<'a>,
        mismatch: Mismatch,
        background: Background,
        missing: u64,
    ) -> EndedMismatch<'a> {
        let Mismatch { at, segments, circumstances, .. } = mismatch;
        EndedMismatch {
            view,
            at,
            segments,
            after: Vec::new(),
            background,
            circumstances,
            repeats: false,
            position: at + missing,
            cursor: at,
            missing,
        }
    }

    /// A divergence at the cursor. Its excerpt shows what was received from the segment of this index on.
    pub(super) fn divergence(&self, kind: FindingKind, extent: u64, segment: usize) -> Divergence {
        let mut divergence = Divergence::of_connection(kind, self.view.conn, self.cursor, extent);
        divergence.circumstances.clone_from(&self.circumstances);
        if !self.background.in_detail {
            return divergence;
        }
        let right_before = self.cursor - self.background.right_since.min(self.cursor);
        let before = if segment == 0 { right_before.min(EXCERPT_BEFORE_BYTES) } else { 0 };
        divergence.excerpt_offset = self.cursor - before;
        divergence.received = self.view.own(divergence.excerpt_offset, before as usize);
        let room = divergence.received.len() + EXCERPT_AFTER_BYTES;
        for segment in self.segments.iter().skip(segment) {
            let len = segment.len.min(EXCERPT_AFTER_BYTES as u64) as usize;
            match &segment.origin {
                SegmentOrigin::Sent(source) => {
                    divergence.received.extend(self.view.bytes(source.conn, source.offset, len));
                }
                SegmentOrigin::Unknown(unknown) => divergence.received.extend_from_slice(&unknown.head[..len]),
            }
        }
        divergence.received.extend_from_slice(&self.after);
        divergence.received.truncate(room);
        let expected = (self.view.sent.saturating_sub(divergence.excerpt_offset)).min(room as u64);
        divergence.expected = self.view.own(divergence.excerpt_offset, expected as usize);
        divergence
    }

    /// All bytes of the mismatch, if they are no more than `most` and than what is kept of unknown bytes.
    fn received(&self, most: usize) -> Option<Vec<u8>> {
        let len = self.segments.iter().map(|segment| segment.len).sum::<u64>();
        let mut received = Vec::new();
        if len > most.min(KEPT_HEAD_BYTES) as u64 {
            return None;
        }
        for segment in &self.segments {
            match &segment.origin {
                SegmentOrigin::Sent(source) => {
                    received.extend(self.view.bytes(source.conn, source.offset, segment.len as usize));
                }
                SegmentOrigin::Unknown(unknown) => received.extend_from_slice(&unknown.head),
            }
        }
        Some(received)
    }

    /// The text conversion that explains the whole mismatch.
    pub(super) fn conversion(&self) -> Option<Change> {
        let right_again = *self.after.first()?;
        // The right bytes before it must not be such as would have been converted too.
        let before = self.right_before();
        let received = [&before[..], &self.received(KEPT_HEAD_BYTES)?, &[right_again]].concat();
        let missing = usize::try_from(self.missing).ok().filter(|&len| len <= KEPT_HEAD_BYTES)?;
        let expected = self.view.own(self.at - before.len() as u64, before.len() + missing + 1);
        whole_conversion(&expected, &received)
    }

    /// Some right bytes that came before.
    fn right_before(&self) -> Vec<u8> {
        let before = (self.at - self.background.right_since.min(self.at)).min(EXCERPT_BEFORE_BYTES);
        self.view.own(self.at - before, before as usize)
    }

    /// The two short neighbouring pieces that came in each other's place, if that is all that happened.
    pub(super) fn swap(&self) -> Option<Swap> {
        let received = self.received(SHORT_PIECE_BYTES).filter(|received| received.len() as u64 == self.missing)?;
        swap(self.view, self.at, &received)
    }

    /// Accounts for own bytes at the cursor that `len` received bytes came in place of. Returns how many they are.
    pub(super) fn replace(&mut self, len: u64) -> u64 {
        let replaced = len.min(self.missing);
        self.cursor += replaced;
        self.missing -= replaced;
        replaced
    }
}

/// Extends foreign bytes backwards over `by` bytes that happened to be right: they are foreign after all, since the own
/// stream goes on before them. Returns false if the source has other bytes there.
fn extend_back(view: &StreamView<'_>, first: Option<&mut Segment>, from: u64, by: u64) -> bool {
    let Some(first) = first else { return false };
    let own = view.own(from, by as usize);
    match &mut first.origin {
        SegmentOrigin::Unknown(UnknownBytes { head, .. }) => {
            head.splice(0..0, own);
            head.truncate(KEPT_HEAD_BYTES);
        }
        SegmentOrigin::Sent(source) => {
            if source.offset < by || view.bytes(source.conn, source.offset - by, by as usize) != own {
                return false;
            }
            source.offset -= by;
        }
    }
    first.len += by;
    true
}

/// Takes off a run its first bytes that are right in their own place, if own bytes are missing: only chance made them
/// part of the run. Returns how many they are.
fn trim_right_start(view: &StreamView<'_>, first: Option<&mut Segment>, at: u64, from: u64) -> u64 {
    let Some(Segment { len, origin: SegmentOrigin::Sent(source) }) = first else { return 0 };
    let most = BORDER_SLACK_BYTES.min(from - at).min(*len - 1) as usize;
    let (run, own) = (view.bytes(source.conn, source.offset, most), view.own(at, most));
    let right = run.iter().zip(&own).take_while(|(a, b)| a == b).count() as u64;
    source.offset += right;
    *len -= right;
    right
}

/// Two neighbouring pieces that came in each other's place.
pub(super) struct Swap {
    /// Where the first of them belongs.
    pub(super) offset: u64,
    /// Bytes of the first, which came last.
    pub(super) first: u64,
    /// Bytes of the second.
    pub(super) second: u64,
}

/// Finds the swap of two neighbouring pieces that makes the received bytes of the right ones. Bytes at the borders may
/// have been right by chance.
fn swap(view: &StreamView<'_>, offset: u64, received: &[u8]) -> Option<Swap> {
    let len = received.len();
    if !(2..=SHORT_PIECE_BYTES).contains(&len) {
        return None;
    }
    for (before, after) in (0..=3).flat_map(|before| (0..=3).map(move |after| (before, after))) {
        let Some(offset) = offset.checked_sub(before) else { continue };
        let right = view.own(offset, before as usize + len + after);
        let mut came = right.clone();
        came[before as usize..before as usize + len].copy_from_slice(received);
        for second in 1..right.len() {
            let first = right.len() - second;
            if came[..second] == right[first..] && came[second..] == right[..first] {
                return Some(Swap { offset, first: first as u64, second: second as u64 });
            }
        }
    }
    None
}

/// Takes the last bytes off a finished mismatch if they are right bytes of a place near by. At the end of a connection
/// fewer bytes tell their place than elsewhere, since nothing follows them.
pub(super) fn resumption_at_end(view: &StreamView<'_>, mismatch: &mut Mismatch) -> Option<Resumption> {
    let (at, len) = (mismatch.at, mismatch.len);
    let only = mismatch.segments.len() == 1;
    let last = mismatch.segments.last_mut()?;
    let unknown = match &mut last.origin {
        SegmentOrigin::Sent(source) if source.conn == view.conn && source.offset + last.len >= at => {
            let resumption = Resumption { from: source.offset, to: source.offset + last.len };
            mismatch.segments.pop();
            return Some(resumption);
        }
        SegmentOrigin::Sent(_) => return None,
        SegmentOrigin::Unknown(unknown) => unknown,
    };
    let known = unknown.tail.as_slice();
    let in_place = at + len;
    let from = at.saturating_sub(known.len() as u64);
    let to = view.sent.min(in_place + TAIL_SEARCH_BYTES).max(at);
    let near = view.own(from, (to - from) as usize);
    let best = (at..=to).filter_map(|end| {
        let before = &near[..(end - from) as usize];
        let same = before.iter().rev().zip(known.iter().rev()).take_while(|(a, b)| a == b).count() as u64;
        // Either all of the bytes are older than the mismatch, or none.
        let same = if only && same == last.len { same } else { same.min(end - at) };
        let (is_in_place, is_last) = (end == in_place, end == view.sent);
        let enough = same >= if is_in_place || is_last { 1 } else { 3 };
        let rank = (same, is_in_place, is_last, Reverse(end.abs_diff(in_place)));
        enough.then_some((rank, Resumption { from: end - same, to: end }))
    });
    let ((same, ..), resumption) = best.max_by_key(|(rank, _)| *rank)?;
    last.len -= same;
    unknown.head.truncate(last.len as usize);
    mismatch.len -= same;
    if last.len == 0 {
        mismatch.segments.pop();
    }
    Some(resumption)
}
