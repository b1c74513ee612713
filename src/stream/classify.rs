//! From a mismatch to findings: which segments came in place of own bytes and which in between, what is missing, and
//! the kind of each. A finding that may still turn out to be something else stays pending for a while: a gap that late
//! bytes may fill (`reordered` instead of `lost`), a few unknown bytes that may be missing further on, a change in
//! place that may continue. Each run of late bytes is a finding of its own; what it leaves of the gap stays a gap.
//!
//! Some cases cannot be told apart in principle. Of equal bytes next to each other, nothing shows which was lost or
//! doubled. Fewer than 15 bytes from another connection hold no aligned word for certain, so they are `corrupt` or
//! `surplus`. A loss and a repetition of equal length without a right byte between them look like a stale piece in
//! place.

use std::sync::Arc;

use super::change::{DiffStats, begun_conversion};
use super::earlier::{self, EarlierSource};
use super::ended_mismatch::{Background, EndedMismatch, SHORT_PIECE_BYTES, resumption_at_end};
use super::finding::{Circumstances, Corruption, Divergence, FindingKind, StreamSource};
use super::late::{Part, Stretch, parts, settle_borders};
use super::ledger::StreamView;
use super::mismatch::{BORDER_SLACK_BYTES, KEPT_HEAD_BYTES, Mismatch, Resumption, Segment, SegmentOrigin};
use super::pending::{Pending, PendingKind, moved_piece};

/// Right bytes within which late bytes may still fill a gap: about what the buffers of a path and of a server hold.
const LATE_WINDOW_BYTES: u64 = 16 << 20;
/// Right bytes within which bytes too few to tell their place may be those of a gap. Further away, chance would find
/// such a gap.
const SHORT_LATE_WINDOW_BYTES: u64 = 1 << 20;
/// Right bytes between two changes in place that still make one finding.
const CHANGE_MERGE_BYTES: u64 = 32;
/// Findings that are pending at a time.
const MAX_PENDING: usize = 64;
/// Findings of a connection that are examined in full and have excerpts. A stream in which everything is wrong must not
/// cost more than it is worth.
const MAX_DETAILED_FINDINGS: u64 = 64;
/// A connection with this many findings is judged: what comes later is not looked at, and the client gives it up. A
/// server that changes every letter would make a hundred thousand.
pub const MAX_FINDINGS: u64 = 250;
/// A lost or doubled piece of at most this length is kept, to see what all such pieces have in common. Of longer ones,
/// too many values are in each by chance.
const MAX_SHORT_BYTES: u64 = 8;
/// How far back a short piece is searched for in what the connection had sent before.
const STALE_SEARCH_BYTES: u64 = 64 << 10;

/// What a connection that went wrong must remember from one mismatch to the next.
#[derive(Default)]
pub(super) struct ClassifierState {
    /// Where the right bytes up to the position begin.
    pub(super) right_since: u64,
    /// Own bytes below the position that did not come, or came wrong.
    pub(super) wrong: u64,
    pending: Vec<Pending>,
    reported: u64,
}

impl ClassifierState {
    /// Whether so much was wrong that more would tell nothing new.
    pub(super) fn has_had_enough(&self) -> bool {
        self.reported >= MAX_FINDINGS
    }

    /// The circumstances of pending findings that have none yet, to be filled in.
    pub(super) fn without_circumstances(&mut self) -> impl Iterator<Item = &mut Option<Arc<Circumstances>>> {
        self.pending.iter_mut().map(|pending| &mut pending.divergence.circumstances).filter(|known| known.is_none())
    }
}

/// Classifies the mismatches of one connection.
pub(super) struct Classifier<'a> {
    pub(super) view: &'a StreamView<'a>,
    pub(super) state: &'a mut ClassifierState,
    /// Where the findings go as soon as they are certain.
    pub(super) found: &'a mut Vec<Divergence>,
}

impl Classifier<'_> {
    /// Begins a mismatch at this stream position.
    pub(super) fn begin(&self, position: u64) -> Mismatch {
        Mismatch::new(self.view, position, self.state.right_since)
    }

    /// Classifies a mismatch after which the own stream goes on. Returns the position.
    pub(super) fn resume(&mut self, mismatch: Mismatch, resumption: Resumption) -> u64 {
        self.classify(EndedMismatch::resumed(self.view, mismatch, resumption, self.background()));
        self.state.right_since = resumption.from;
        resumption.to
    }

    /// Classifies a mismatch that has as many segments as are kept, as bytes that came in between.
    pub(super) fn overflow(&mut self, mismatch: Mismatch) {
        self.classify(EndedMismatch::cut_off(self.view, mismatch, self.background()));
    }

    /// Classifies a mismatch after which nothing more came. Returns the position.
    pub(super) fn finish(&mut self, mut mismatch: Mismatch) -> u64 {
        mismatch.finish();
        let position = if let Some(resumption) = resumption_at_end(self.view, &mut mismatch) {
            self.resume(mismatch, resumption)
        } else {
            let mut mismatch = EndedMismatch::cut_off(self.view, mismatch, self.background());
            let late = mismatch.settle_borders(self.gaps());
            mismatch.replace_own(mismatch.len().saturating_sub(late));
            let position = mismatch.position;
            self.classify(mismatch);
            position
        };
        self.state.right_since = position;
        position
    }

    /// Whether the last bytes sent, which are missing, came in between before. Then they are not late: they came too
    /// early, and overtook the bytes in between.
    pub(super) fn finds_tail(&mut self, position: u64, missing: u64) -> bool {
        let is_found = self.came_early(position, missing);
        self.state.wrong += if is_found { missing } else { 0 };
        is_found
    }

    /// Reports the pending findings that are certain at this position.
    pub(super) fn settle(&mut self, position: u64) {
        while let Some(due) = (0..self.state.pending.len()).min_by_key(|&n| self.state.pending[n].settles_at)
            && self.state.pending[due].settles_at <= position
        {
            let pending = self.state.pending.remove(due);
            self.report_pending(pending);
        }
    }

    fn report(&mut self, mut divergence: Divergence) {
        self.state.reported += 1;
        let place = match divergence.kind {
            FindingKind::Lost => Some(divergence.offset),
            FindingKind::Duplicated => divergence.source.map(|source| source.offset),
            _ => None,
        };
        let short = place.filter(|_| divergence.extent <= MAX_SHORT_BYTES);
        divergence.short = short.map(|offset| self.view.own(offset, divergence.extent as usize));
        self.found.push(divergence);
    }

    fn report_pending(&mut self, pending: Pending) {
        self.report(pending.resolve());
    }

    fn defer(&mut self, divergence: Divergence, settles_at: u64, kind: PendingKind) {
        if self.state.pending.len() >= MAX_PENDING {
            let oldest = self.state.pending.remove(0);
            self.report_pending(oldest);
        }
        self.state.pending.push(Pending { divergence, settles_at, kind });
    }

    fn background(&self) -> Background {
        Background { right_since: self.state.right_since, in_detail: self.state.reported < MAX_DETAILED_FINDINGS }
    }

    /// Finds out what every part of a mismatch is.
    fn classify(&mut self, mut mismatch: EndedMismatch<'_>) {
        mismatch.settle_borders(self.gaps());
        self.state.wrong += mismatch.missing;
        if self.completes_a_swap(&mismatch) {
            return;
        }
        if let Some(change) = mismatch.conversion() {
            let mut divergence = mismatch.divergence(FindingKind::Corrupt, mismatch.missing.max(1), 0);
            divergence.detail = Some(Corruption { bytes: divergence.extent, bits: 0, looks_like: Some(change) });
            return self.report(divergence);
        }
        for number in 0..mismatch.segments.len() {
            match &mismatch.segments[number].origin {
                SegmentOrigin::Sent(source) if source.conn == self.view.conn => {
                    let source = *source;
                    self.classify_own(&mut mismatch, number, source);
                }
                SegmentOrigin::Sent(source) => {
                    let source = *source;
                    let kind = if source.open { FindingKind::Crosstalk } else { FindingKind::Stale };
                    let mut divergence = mismatch.divergence(kind, mismatch.segments[number].len, number);
                    divergence.source = Some(source);
                    divergence.replaced = mismatch.replace(divergence.extent);
                    self.report(divergence);
                }
                SegmentOrigin::Unknown(_) => self.classify_unknown(&mut mismatch, number),
            }
        }
        if mismatch.missing > 0 {
            let divergence = mismatch.divergence(FindingKind::Lost, mismatch.missing, mismatch.segments.len());
            self.defer(divergence, mismatch.position + LATE_WINDOW_BYTES, PendingKind::Gap);
        }
    }

    /// Whether two pieces are in each other's place. Short neighbouring pieces show it at once. Otherwise a few bytes,
    /// too few to tell their place, came in between here and are missing elsewhere, or the other way round.
    fn completes_a_swap(&mut self, mismatch: &EndedMismatch<'_>) -> bool {
        if let Some(swap) = mismatch.swap() {
            let mut divergence = mismatch.divergence(FindingKind::Reordered, swap.first, 0);
            divergence.offset = swap.offset;
            divergence.overtaken_by = swap.second;
            self.report(divergence);
            return true;
        }
        match mismatch.segments.as_slice() {
            [Segment { len, origin: SegmentOrigin::Unknown(unknown) }]
                if mismatch.missing == 0 && *len <= SHORT_PIECE_BYTES as u64 =>
            {
                self.fill_gap_with(&unknown.head, mismatch.at)
            }
            [] => self.came_early(mismatch.at, mismatch.missing),
            _ => false,
        }
    }

    /// Whether the bytes that are missing here came in between before. Then they overtook the bytes between their early
    /// place and their right one.
    fn came_early(&mut self, at: u64, missing: u64) -> bool {
        let view = self.view;
        let came = |pending: &Pending| match &pending.kind {
            PendingKind::Early { bytes } if bytes.len() as u64 == missing => {
                moved_piece(view, pending.divergence.offset, bytes, at)
            }
            _ => None,
        };
        let mut pending = self.state.pending.iter().enumerate();
        let Some((n, moved)) = pending.find_map(|(n, pending)| Some((n, came(pending)?))) else { return false };
        let mut divergence = self.state.pending.remove(n).divergence;
        divergence.kind = FindingKind::Reordered;
        divergence.overtaken_by = divergence.extent;
        divergence.offset = moved.inserted_at;
        divergence.extent = moved.missing_at.saturating_sub(moved.inserted_at);
        (divergence.detail, divergence.source) = (None, None);
        self.report(divergence);
        true
    }

    /// Bytes of the connection itself that had come, or should have come, before.
    fn classify_own(&mut self, mismatch: &mut EndedMismatch<'_>, number: usize, source: StreamSource) {
        let run = Stretch::new(source.offset, mismatch.segments[number].len);
        let parts = self.fill_gaps(mismatch, number, run);
        let some_were_late = parts.iter().any(|part| part.gap.is_some());
        for part in parts.into_iter().filter(|part| part.gap.is_none()) {
            let again = part.stretch.len();
            if some_were_late && again < BORDER_SLACK_BYTES {
                continue;
            }
            let is_last = number + 1 == mismatch.segments.len() && part.stretch.to == run.to;
            let repeats = mismatch.repeats && is_last;
            let kind = if repeats { FindingKind::Duplicated } else { FindingKind::Stale };
            let mut divergence = mismatch.divergence(kind, again, number);
            divergence.source = Some(StreamSource { offset: part.stretch.from, ..source });
            divergence.replaced = mismatch.replace(again);
            if repeats && run.len() < BORDER_SLACK_BYTES && number == 0 {
                // So few bytes may equal the ones before them by chance.
                let bytes = self.view.own(source.offset, run.len() as usize);
                if !self.fill_gap_with(&bytes, mismatch.at) {
                    let settles_at = mismatch.position + SHORT_LATE_WINDOW_BYTES;
                    self.defer(divergence, settles_at, PendingKind::Early { bytes });
                }
                return;
            }
            self.report(divergence);
        }
    }

    /// The gaps, in the order of `pending`.
    fn gaps(&self) -> Vec<Stretch> {
        self.state.pending.iter().filter_map(Pending::gap).collect()
    }

    /// Fills gaps with the bytes of a run that came late, and reports these. Returns the parts of the run.
    fn fill_gaps(&mut self, mismatch: &EndedMismatch<'_>, number: usize, run: Stretch) -> Vec<Part> {
        let mut gaps = self.gaps();
        settle_borders(self.view, &mut gaps, run);
        let pending = self.state.pending.iter_mut().filter(|pending| pending.gap().is_some());
        for (pending, gap) in pending.zip(&gaps) {
            (pending.divergence.offset, pending.divergence.extent) = (gap.from, gap.len());
        }
        self.state.pending.retain(|pending| pending.gap().is_none_or(|gap| gap.len() > 0));
        let parts = parts(&gaps, run);
        for part in &parts {
            if let Some(gap) = part.gap.map(|n| gaps[n]) {
                self.fill_gap(mismatch, number, gap, part.stretch);
            }
        }
        parts
    }

    /// Reports that a part of a gap came late. What is left of the gap stays one.
    fn fill_gap(&mut self, mismatch: &EndedMismatch<'_>, number: usize, gap: Stretch, part: Stretch) {
        let Some(n) = self.state.pending.iter().position(|pending| pending.gap() == Some(gap)) else { return };
        let Pending { divergence, settles_at, kind } = self.state.pending.remove(n);
        let [before, after] = gap.without(&part);
        if after.len() > 0 {
            let divergence = mismatch.still_missing(&divergence, after, number);
            self.state.pending.insert(n, Pending { divergence, settles_at, kind: PendingKind::Gap });
        }
        let missing_beyond = self.gaps().iter().filter(|gap| gap.from >= part.to).map(Stretch::len).sum();
        let mut late = divergence.clone();
        late.kind = FindingKind::Reordered;
        (late.offset, late.extent) = (part.from, part.len());
        late.overtaken_by = mismatch.at.saturating_sub(part.to).saturating_sub(missing_beyond);
        if before.len() > 0 {
            // What came in its place is not known.
            (late.excerpt_offset, late.expected, late.received) = (part.from, Vec::new(), Vec::new());
            let divergence = Divergence { extent: before.len(), ..divergence };
            self.state.pending.insert(n, Pending { divergence, settles_at, kind });
        }
        self.report(late);
    }

    /// Bytes that belong nowhere: changed ones as far as own bytes are missing, extra ones beyond that.
    fn classify_unknown(&mut self, mismatch: &mut EndedMismatch<'_>, number: usize) {
        let view = self.view;
        let len = mismatch.segments[number].len;
        let SegmentOrigin::Unknown(unknown) = &mismatch.segments[number].origin else { return };
        let (head, stats) = (unknown.head.clone(), unknown.stats.clone());
        let to_the_end = view.sent.saturating_sub(mismatch.cursor);
        let right = view.own(mismatch.cursor, to_the_end.min(KEPT_HEAD_BYTES as u64) as usize);
        if head.len() as u64 == len && (self.came_late(mismatch, &head) || self.came_in_place(mismatch, &right, &head))
        {
            return;
        }
        if mismatch.background.in_detail && self.comes_from_elsewhere(mismatch, number, &head) {
            return;
        }
        if let Some(change) = begun_conversion(&right, &head) {
            let mut divergence = mismatch.divergence(FindingKind::Corrupt, len.min(mismatch.missing.max(1)), number);
            mismatch.replace(len);
            divergence.detail = Some(Corruption { bytes: divergence.extent, bits: 0, looks_like: Some(change) });
            return self.report(divergence);
        }
        if mismatch.background.in_detail
            && let Some(offset) = find_earlier(view, mismatch.at, &head, len)
        {
            let mut divergence = mismatch.divergence(FindingKind::Stale, len, number);
            divergence.source = Some(StreamSource { conn: view.conn, offset, open: true });
            divergence.replaced = mismatch.replace(len);
            return self.report(divergence);
        }
        let alone = mismatch.segments.len() == 1 && mismatch.missing == 0 && len <= SHORT_PIECE_BYTES as u64;
        let in_place = len.min(mismatch.missing);
        if in_place > 0 {
            // Only the first bytes are kept. The statistics hold for all, and assume that they began in their place.
            let stats = match head.get(..in_place as usize) {
                Some(changed) if in_place < len || head.len() as u64 == len => DiffStats::of(&right, changed),
                _ if in_place < len => stats.without_counts(),
                _ => stats.clone(),
            };
            let divergence = mismatch.divergence(FindingKind::Corrupt, in_place, number);
            self.change_in_place(divergence, stats, number == 0);
            mismatch.replace(in_place);
        }
        if len > in_place {
            let mut divergence = mismatch.divergence_within(FindingKind::Surplus, len - in_place, number, in_place);
            divergence.detail = stats.fill().map(|change| Corruption { bytes: 0, bits: 0, looks_like: Some(change) });
            if alone {
                let settles_at = mismatch.position + SHORT_LATE_WINDOW_BYTES;
                self.defer(divergence, settles_at, PendingKind::Early { bytes: head });
            } else {
                self.report(divergence);
            }
        }
    }

    /// Whether the bytes of a segment that begins like this are of an earlier run, or of the other direction.
    fn comes_from_elsewhere(&mut self, mismatch: &mut EndedMismatch<'_>, number: usize, head: &[u8]) -> bool {
        let len = mismatch.segments[number].len;
        let mut divergence = mismatch.divergence(FindingKind::Stale, len, number);
        if let Some(EarlierSource { run, conn, offset }) = earlier::find(self.view.ledger.earlier(), head) {
            divergence.source = Some(StreamSource { conn, offset, open: false });
            divergence.earlier = Some(run);
        } else if let Some(source) = self.view.locate_of_other_way(head) {
            divergence.kind = if source.open { FindingKind::Crosstalk } else { FindingKind::Stale };
            (divergence.source, divergence.other_way) = (Some(source), true);
        } else {
            return false;
        }
        divergence.replaced = mismatch.replace(len);
        self.report(divergence);
        true
    }

    /// Whether a few bytes between late ones, too few to tell their place, are late too.
    fn came_late(&mut self, mismatch: &EndedMismatch<'_>, bytes: &[u8]) -> bool {
        mismatch.has_own_runs() && bytes.len() <= SHORT_PIECE_BYTES && self.fill_gap_with(bytes, mismatch.at)
    }

    /// Whether bytes between others are the right ones in their place: they were too few to tell it.
    fn came_in_place(&mut self, mismatch: &mut EndedMismatch<'_>, right: &[u8], bytes: &[u8]) -> bool {
        let is_right = bytes.len() as u64 <= mismatch.missing && right.starts_with(bytes);
        if is_right {
            self.state.wrong -= mismatch.replace(bytes.len() as u64);
        }
        is_right
    }

    /// Fills a gap with a few bytes, too few to tell their place, if they are the ones missing there.
    fn fill_gap_with(&mut self, bytes: &[u8], at: u64) -> bool {
        let view = self.view;
        let fits = |pending: &Pending| {
            let is_near = |gap: &Stretch| gap.to + SHORT_LATE_WINDOW_BYTES > at && gap.len() == bytes.len() as u64;
            moved_piece(view, at, bytes, pending.gap().filter(is_near)?.from)
        };
        let mut pending = self.state.pending.iter().enumerate();
        let Some((n, moved)) = pending.find_map(|(n, pending)| Some((n, fits(pending)?))) else { return false };
        let mut late = self.state.pending.remove(n).divergence;
        late.kind = FindingKind::Reordered;
        late.offset = moved.missing_at;
        late.overtaken_by = moved.inserted_at.saturating_sub(late.offset + late.extent);
        self.report(late);
        true
    }

    /// Bytes changed in place. They are one finding with those shortly before if only right bytes came in between.
    fn change_in_place(&mut self, divergence: Divergence, stats: DiffStats, after_right_bytes: bool) {
        let end = divergence.offset + divergence.extent;
        let settles_at = end + CHANGE_MERGE_BYTES;
        let mut pending = self.state.pending.iter_mut();
        let earlier = pending.find(|pending| matches!(pending.kind, PendingKind::Changed { .. }));
        if after_right_bytes
            && let Some(earlier) = earlier
            && let PendingKind::Changed { stats: before } = &mut earlier.kind
        {
            let earlier_end = earlier.divergence.offset + earlier.divergence.extent;
            let between = self.view.own(earlier_end, divergence.offset.saturating_sub(earlier_end) as usize);
            before.compare(&between, &between);
            before.append(&stats);
            earlier.divergence.extent = end - earlier.divergence.offset;
            earlier.settles_at = settles_at;
            return;
        }
        self.defer(divergence, settles_at, PendingKind::Changed { stats });
    }
}

/// Where a short piece stood in what the connection had sent not long before.
fn find_earlier(view: &StreamView<'_>, at: u64, bytes: &[u8], len: u64) -> Option<u64> {
    // The shorter a piece, the nearer it must be for chance not to find it. A longer one holds a word that tells its
    // place.
    let reach = match len {
        3 => STALE_SEARCH_BYTES >> 4,
        4..15 => STALE_SEARCH_BYTES,
        _ => return None,
    };
    let from = at.saturating_sub(reach);
    let past = view.own(from, (at - from) as usize);
    past.windows(bytes.len()).rposition(|window| window == bytes).map(|n| from + n as u64)
}
