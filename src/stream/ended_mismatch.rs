//! A mismatch that has ended: its segments with the most likely borders, how many own bytes are missing, and excerpts
//! of what came and what should have come.

use std::cmp::Reverse;
use std::sync::Arc;

use super::change::whole_conversion;
use super::finding::{
    Change, Circumstances, Divergence, EXCERPT_AFTER_BYTES, EXCERPT_BEFORE_BYTES, FindingKind, StreamSource,
};
use super::late::{Stretch, is_slack, same, settle_borders, take};
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

    /// Nothing is known of what comes after the mismatch.
    pub(super) fn cut_off(view: &'a StreamView<'a>, mismatch: Mismatch, background: Background) -> EndedMismatch<'a> {
        let Mismatch { mut at, mut segments, circumstances, .. } = mismatch;
        if let Some(first) = segments.first_mut().filter(|first| own_run(view, first).is_some()) {
            at += trim_right_start(view, Some(first), at, view.sent.max(at));
        }
        EndedMismatch {
            view,
            at,
            segments,
            after: Vec::new(),
            background,
            circumstances,
            repeats: false,
            position: at,
            cursor: at,
            missing: 0,
        }
    }

    /// Bytes that came.
    pub(super) fn len(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Whether any of its bytes are own ones of another place.
    pub(super) fn has_own_runs(&self) -> bool {
        self.segments.iter().any(|segment| own_run(self.view, segment).is_some())
    }

    /// Assumes that `len` bytes of a mismatch that was cut off came in place of own ones, as far as those were sent.
    pub(super) fn replace_own(&mut self, len: u64) {
        self.missing = len.min(self.view.sent.saturating_sub(self.at));
        self.position = self.at + self.missing;
    }

    /// Moves the borders of own runs to those of the gaps that they fill, where the same bytes would have come. Returns
    /// how many bytes fill gaps. To be called before anything is accounted for.
    pub(super) fn settle_borders(&mut self, mut gaps: Vec<Stretch>) -> u64 {
        let mut late = 0;
        let begins: Vec<u64> = gaps.iter().map(|gap| gap.from).collect();
        for number in 0..self.segments.len() {
            if let Some(run) = own_run(self.view, &self.segments[number]) {
                settle_borders(self.view, &mut gaps, run);
            }
            for gap in &gaps {
                self.settle_start(number, gap);
                self.settle_end(number, gap);
            }
            if let Some(run) = own_run(self.view, &self.segments[number]) {
                late += take(self.view, &mut gaps, run);
            }
        }
        // Now more may be missing than was known when the first run was trimmed.
        let from = self.cursor + self.missing;
        let first = self.segments.first_mut().filter(|first| {
            own_run(self.view, first).is_some_and(|run| self.missing > 0 && !begins.contains(&run.from))
        });
        let right = trim_right_start(self.view, first, self.at, from);
        (self.at, self.cursor, self.missing) = (self.at + right, self.cursor + right, self.missing - right);
        late
    }

    /// Gives a run that begins shortly after a gap does the bytes before it, if these are the same.
    fn settle_start(&mut self, number: usize, gap: &Stretch) {
        let Some(run) = own_run(self.view, &self.segments[number]) else { return };
        let by = run.from.saturating_sub(gap.from);
        if !is_slack(by) || run.from >= gap.to {
            return;
        }
        match number.checked_sub(1) {
            None => {
                // These seemed to be in their place, but the bytes that belong there are missing.
                let right = self.at.saturating_sub(self.background.right_since);
                if self.missing == 0 || right < by || !same(self.view, self.at - by, gap.from, by) {
                    return;
                }
                (self.at, self.cursor, self.missing) = (self.at - by, self.cursor - by, self.missing + by);
            }
            Some(before) => {
                let Segment { len, origin: SegmentOrigin::Sent(source) } = &mut self.segments[before] else { return };
                let last = source.offset + len.saturating_sub(by);
                if *len <= by || self.view.bytes(source.conn, last, by as usize) != self.view.own(gap.from, by as usize)
                {
                    return;
                }
                *len -= by;
            }
        }
        let segment = &mut self.segments[number];
        segment.len += by;
        if let SegmentOrigin::Sent(source) = &mut segment.origin {
            source.offset -= by;
        }
    }

    /// Moves the end of a run to the end of the gap near by: the bytes after it take over what was too much, or hand
    /// over what was too little, if these are the same.
    fn settle_end(&mut self, number: usize, gap: &Stretch) {
        let Some(run) = own_run(self.view, &self.segments[number]) else { return };
        let (view, is_last, from) = (self.view, number + 1 == self.segments.len(), self.cursor + self.missing);
        if gap.to <= run.from || (is_last && (self.repeats || self.after.is_empty())) {
            return;
        }
        let (over, under) = (run.to.saturating_sub(gap.to), gap.to.saturating_sub(run.to));
        if is_slack(over) && is_last && self.missing >= over && same(view, from - over, gap.to, over) {
            self.segments[number].len -= over;
            self.missing -= over;
        } else if is_slack(over)
            && let Some(Segment { len, origin: SegmentOrigin::Sent(next) }) = self.segments.get_mut(number + 1)
            && next.offset >= over
            && view.bytes(next.conn, next.offset - over, over as usize) == view.own(gap.to, over as usize)
        {
            next.offset -= over;
            *len += over;
            self.segments[number].len -= over;
        } else if is_slack(under) && is_last && self.position >= from + under && same(view, run.to, from, under) {
            self.segments[number].len += under;
            self.missing += under;
        } else {
            return;
        }
        if is_last {
            let from = self.cursor + self.missing;
            self.after = view.own(from, (self.position - from).min(EXCERPT_AFTER_BYTES as u64) as usize);
        }
    }

    /// A divergence at the cursor. Its excerpt shows what was received from the segment of this index on.
    pub(super) fn divergence(&self, kind: FindingKind, extent: u64, segment: usize) -> Divergence {
        self.divergence_within(kind, extent, segment, 0)
    }

    /// The same, without the first `skip` bytes of the segment, which have a finding of their own.
    pub(super) fn divergence_within(&self, kind: FindingKind, extent: u64, segment: usize, skip: u64) -> Divergence {
        let mut divergence = Divergence::of_connection(kind, self.view.conn, self.cursor, extent);
        divergence.circumstances.clone_from(&self.circumstances);
        if !self.background.in_detail {
            return divergence;
        }
        let right_before = self.cursor - self.background.right_since.min(self.cursor);
        self.show(&mut divergence, if segment == 0 && skip == 0 { right_before } else { 0 }, segment, skip);
        divergence
    }

    /// What is missing after a part of `gap` came as this segment.
    pub(super) fn still_missing(&self, gap: &Divergence, missing: Stretch, segment: usize) -> Divergence {
        let mut divergence = Divergence::of_connection(gap.kind, gap.conn, missing.from, missing.len());
        divergence.circumstances.clone_from(&gap.circumstances);
        let comes_last = own_run(self.view, &self.segments[segment]).is_some_and(|run| run.to == missing.from);
        if self.background.in_detail && comes_last {
            self.show(&mut divergence, self.segments[segment].len, segment + 1, 0);
        }
        divergence
    }

    /// Adds excerpts to a divergence: of the bytes before it, which were right, and from the segment of this index on,
    /// without its first `skip` bytes.
    fn show(&self, divergence: &mut Divergence, right_before: u64, segment: usize, skip: u64) {
        let before = right_before.min(EXCERPT_BEFORE_BYTES);
        divergence.excerpt_offset = divergence.offset - before;
        divergence.received = self.view.own(divergence.excerpt_offset, before as usize);
        let room = divergence.received.len() + EXCERPT_AFTER_BYTES;
        // What comes after is shown only if it is known what comes before.
        let (mut skip, mut is_known) = (skip, true);
        for segment in self.segments.iter().skip(segment) {
            if !is_known {
                break;
            }
            let skipped = std::mem::take(&mut skip);
            let len = (segment.len - skipped).min(EXCERPT_AFTER_BYTES as u64) as usize;
            match &segment.origin {
                SegmentOrigin::Sent(source) => {
                    divergence.received.extend(self.view.bytes(source.conn, source.offset + skipped, len));
                }
                SegmentOrigin::Unknown(unknown) => {
                    let known = unknown.head.get(skipped as usize..).unwrap_or_default();
                    divergence.received.extend_from_slice(&known[..len.min(known.len())]);
                    is_known = known.len() >= len;
                }
            }
        }
        if is_known {
            divergence.received.extend_from_slice(&self.after);
        }
        divergence.received.truncate(room);
        let expected = (self.view.sent.saturating_sub(divergence.excerpt_offset)).min(room as u64);
        divergence.expected = self.view.own(divergence.excerpt_offset, expected as usize);
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

/// The stretch of the own stream that a segment is, if it is one.
fn own_run(view: &StreamView<'_>, segment: &Segment) -> Option<Stretch> {
    match &segment.origin {
        SegmentOrigin::Sent(source) if source.conn == view.conn => Some(Stretch::new(source.offset, segment.len)),
        _ => None,
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
