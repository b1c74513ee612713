//! Episodes into findings: which of the segments came in place of own bytes and which in between, what is missing, and
//! what each is called. What may still turn out to be something else is held for a while: a gap that late bytes may
//! fill (`reordered` instead of `lost`), a few unknown bytes that may be missing further on, a change in place that may
//! continue.
//!
//! What cannot be told apart in principle: of equal bytes next to each other, which was lost or doubled; bytes too few
//! to hold an aligned word (below 15) from another connection, which are `corrupt` or `surplus`; a loss and a
//! repetition of equal length without a right byte between them, which is a stale piece in place.

use std::sync::Arc;

use super::change::{Tally, begun_conversion};
use super::classify::{BY_CHANCE, Case, SHORT, Setting, resumed_at_the_end};
use super::finding::{ByteSource, Circumstances, Corruption, Divergence, FindingKind};
use super::mismatch::{Episode, HEAD, Resumed, Segment, View, What};
use super::pending::{Held, Maybe, are_the_missing};

/// Right bytes within which a gap may still be filled by late bytes.
const LATE: u64 = 1 << 20;
/// Right bytes between two changes in place that are still one finding.
const APART: u64 = 32;
/// Things held at a time.
const HELD: usize = 16;
/// Findings of a connection that are looked into as far as can be, and have excerpts: a stream in which everything is
/// wrong must not cost more than it is worth.
const IN_FULL: u64 = 64;
/// How far back a short piece is looked for in what the connection had sent before.
const RECENT_PAST: u64 = 64 << 10;

/// What a connection that went wrong must remember beyond the episode.
#[derive(Default)]
pub(super) struct Diagnosis {
    held: Vec<Held>,
    reported: u64,
    /// Own bytes below the position that did not come, or came wrong.
    pub(super) wrong: u64,
}

impl Diagnosis {
    /// Names an episode after which the own stream goes on. Returns the position.
    pub(super) fn resume(
        &mut self,
        view: &View<'_>,
        episode: Episode,
        resumed: Resumed,
        right_since: u64,
        found: &mut Vec<Divergence>,
    ) -> u64 {
        self.name(Case::resumed(view, episode, resumed, self.setting(right_since)), found);
        resumed.to
    }

    /// Names an episode that has more segments than are kept, as bytes that came in between.
    pub(super) fn overflow(
        &mut self,
        view: &View<'_>,
        episode: Episode,
        right_since: u64,
        found: &mut Vec<Divergence>,
    ) {
        self.name(Case::without_more(view, episode, self.setting(right_since), 0), found);
    }

    /// Names an episode after which nothing more came. Returns the position.
    pub(super) fn finish(
        &mut self,
        view: &View<'_>,
        mut episode: Episode,
        right_since: u64,
        found: &mut Vec<Divergence>,
    ) -> u64 {
        episode.close_open();
        if let Some(resumed) = resumed_at_the_end(view, &mut episode) {
            return self.resume(view, episode, resumed, right_since, found);
        }
        let late: u64 = episode.segments.iter().map(|segment| self.late(view, segment)).sum();
        let missing = episode.len.saturating_sub(late).min(view.sent.saturating_sub(episode.at));
        let position = episode.at + missing;
        self.name(Case::without_more(view, episode, self.setting(right_since), missing), found);
        position
    }

    /// What is held without circumstances, to be given some.
    pub(super) fn unnoted(&mut self) -> impl Iterator<Item = &mut Option<Arc<Circumstances>>> {
        self.held.iter_mut().map(|held| &mut held.divergence.circumstances).filter(|noted| noted.is_none())
    }

    /// Whether the last bytes sent, which are missing, had come in between before. Then they are not late but were too
    /// early, and the bytes between were overtaken by them.
    pub(super) fn finds_tail(
        &mut self,
        view: &View<'_>,
        position: u64,
        missing: u64,
        found: &mut Vec<Divergence>,
    ) -> bool {
        let is_found = self.came_early(view, position, missing, found);
        self.wrong += if is_found { missing } else { 0 };
        is_found
    }

    /// Gives out what is held and certain at this position.
    pub(super) fn settle(&mut self, position: u64, found: &mut Vec<Divergence>) {
        while let Some(due) = (0..self.held.len()).min_by_key(|&n| self.held[n].until)
            && self.held[due].until <= position
        {
            let held = self.held.remove(due);
            self.give_out(held, found);
        }
    }

    fn report(&mut self, divergence: Divergence, found: &mut Vec<Divergence>) {
        self.reported += 1;
        found.push(divergence);
    }

    fn setting(&self, right_since: u64) -> Setting {
        Setting { right_since, in_full: self.reported < IN_FULL }
    }

    /// Gives every part of a case its name.
    fn name(&mut self, mut case: Case<'_>, found: &mut Vec<Divergence>) {
        self.wrong += case.missing;
        if self.completes_a_swap(&case, found) {
            return;
        }
        if let Some(change) = case.conversion() {
            let mut divergence = case.divergence(FindingKind::Corrupt, case.missing.max(1), 0);
            divergence.detail = Some(Corruption { bytes: divergence.extent, bits: 0, looks_like: Some(change) });
            return self.report(divergence, found);
        }
        for number in 0..case.segments.len() {
            match &case.segments[number].what {
                What::Sent(source) if source.conn == case.view.conn => {
                    let source = *source;
                    self.name_own(&mut case, number, source, found);
                }
                What::Sent(source) => {
                    let source = *source;
                    let kind = if source.open { FindingKind::Crosstalk } else { FindingKind::Stale };
                    let mut divergence = case.divergence(kind, case.segments[number].len, number);
                    divergence.source = Some(source);
                    divergence.replaced = case.replace(divergence.extent);
                    self.report(divergence, found);
                }
                What::Unknown(_) => self.name_unknown(&mut case, number, found),
            }
        }
        if case.missing > 0 {
            let divergence = case.divergence(FindingKind::Lost, case.missing, case.segments.len());
            self.hold(Held { divergence, until: case.position + LATE, what: Maybe::Gap { late: 0 } }, found);
        }
    }

    /// Short neighbouring pieces are in each other's place, which shows at once; or a few bytes, too few to tell their
    /// place, came in between that are missing elsewhere, or are missing that came in between elsewhere.
    fn completes_a_swap(&mut self, case: &Case<'_>, found: &mut Vec<Divergence>) -> bool {
        let view = case.view;
        if let Some(swap) = case.swap() {
            let mut divergence = case.divergence(FindingKind::Reordered, swap.first, 0);
            divergence.offset = swap.offset;
            divergence.overtaken_by = swap.second;
            self.report(divergence, found);
            return true;
        }
        match case.segments.as_slice() {
            [Segment { len, what: What::Unknown(unknown) }] if case.missing == 0 && *len <= SHORT as u64 => {
                self.fill_gap_with(view, &unknown.head, case.at, found)
            }
            [] => self.came_early(view, case.at, case.missing, found),
            _ => false,
        }
    }

    /// Whether the bytes that are missing here had come in between before. Then those between their early place and
    /// their right one were overtaken by them.
    fn came_early(&mut self, view: &View<'_>, at: u64, missing: u64, found: &mut Vec<Divergence>) -> bool {
        let came = |held: &Held| match &held.what {
            Maybe::Early { bytes } => {
                bytes.len() as u64 == missing && are_the_missing(view, held.divergence.offset, bytes, at)
            }
            _ => false,
        };
        let Some(n) = self.held.iter().position(came) else { return false };
        let mut divergence = self.held.remove(n).divergence;
        divergence.kind = FindingKind::Reordered;
        divergence.overtaken_by = divergence.extent;
        divergence.extent = at.saturating_sub(divergence.offset);
        (divergence.detail, divergence.source) = (None, None);
        self.report(divergence, found);
        true
    }

    /// Bytes of the connection itself that had come, or should have come, before.
    fn name_own(&mut self, case: &mut Case<'_>, number: usize, source: ByteSource, found: &mut Vec<Divergence>) {
        let len = case.segments[number].len;
        let again = len.saturating_sub(self.fill_gaps(case.at, source.offset, len, found));
        if again == 0 || (again < len && again < BY_CHANCE) {
            return;
        }
        let reaching = case.again && number + 1 == case.segments.len();
        let kind = if reaching { FindingKind::Duplicated } else { FindingKind::Stale };
        let mut divergence = case.divergence(kind, again, number);
        divergence.source = Some(ByteSource { offset: source.offset + len - again, ..source });
        divergence.replaced = case.replace(again);
        if reaching && len < BY_CHANCE && number == 0 {
            // So few bytes may be the ones before them by chance.
            let bytes = case.view.own(source.offset, len as usize);
            if !self.fill_gap_with(case.view, &bytes, case.at, found) {
                let what = Maybe::Early { bytes };
                self.hold(Held { divergence, until: case.position + LATE, what }, found);
            }
            return;
        }
        self.report(divergence, found);
    }

    /// How many bytes of a segment fill gaps.
    fn late(&self, view: &View<'_>, segment: &Segment) -> u64 {
        let What::Sent(source) = &segment.what else { return 0 };
        if source.conn != view.conn {
            return 0;
        }
        self.held.iter().map(|held| held.filled_by(source.offset, segment.len)).sum()
    }

    /// Late bytes fill gaps; those that are full have been bytes out of order. Returns how many bytes were late.
    fn fill_gaps(&mut self, at: u64, offset: u64, len: u64, found: &mut Vec<Divergence>) -> u64 {
        let mut filled = 0;
        let mut n = 0;
        while n < self.held.len() {
            let held = &mut self.held[n];
            let fills = held.filled_by(offset, len);
            if let Maybe::Gap { late } = &mut held.what
                && fills > 0
            {
                filled += fills;
                *late += fills;
                let divergence = &mut held.divergence;
                if len == divergence.extent && divergence.offset.abs_diff(offset) < BY_CHANCE {
                    // All of them at once: now it is certain where they begin.
                    divergence.offset = offset;
                }
                if divergence.overtaken_by == 0 {
                    divergence.overtaken_by = at.saturating_sub(divergence.offset + divergence.extent);
                }
                if *late + BY_CHANCE > divergence.extent {
                    let held = self.held.remove(n);
                    self.give_out(held, found);
                    continue;
                }
            }
            n += 1;
        }
        filled
    }

    /// Bytes that belong nowhere: changed ones as far as own bytes are missing, others as far as not.
    fn name_unknown(&mut self, case: &mut Case<'_>, number: usize, found: &mut Vec<Divergence>) {
        let len = case.segments[number].len;
        let What::Unknown(unknown) = &case.segments[number].what else { return };
        let (view, head) = (case.view, unknown.head.clone());
        let filling = unknown.tally.filling();
        let right = view.own(case.cursor, view.sent.saturating_sub(case.cursor).min(HEAD as u64) as usize);
        if let Some(change) = begun_conversion(&right, &head) {
            let mut divergence = case.divergence(FindingKind::Corrupt, len.min(case.missing.max(1)), number);
            case.replace(len);
            divergence.detail = Some(Corruption { bytes: divergence.extent, bits: 0, looks_like: Some(change) });
            return self.report(divergence, found);
        }
        let alone = case.segments.len() == 1 && case.missing == 0 && len <= SHORT as u64;
        if case.setting.in_full
            && let Some(offset) = find_earlier(view, case.at, &head, len)
        {
            let mut divergence = case.divergence(FindingKind::Stale, len, number);
            divergence.source = Some(ByteSource { conn: view.conn, offset, open: true });
            divergence.replaced = case.replace(len);
            return self.report(divergence, found);
        }
        let in_place = len.min(case.missing);
        if in_place > 0 {
            // The tally that was kept takes all bytes before these for being in place.
            let few = head.len() as u64 == len;
            let tally = if few { tally(&right, &head[..in_place as usize]) } else { unknown.tally.clone() };
            let divergence = case.divergence(FindingKind::Corrupt, in_place, number);
            self.change(view, divergence, tally, number == 0, found);
            case.replace(in_place);
        }
        if len > in_place {
            let mut divergence = case.divergence(FindingKind::Surplus, len - in_place, number);
            divergence.detail = filling.map(|change| Corruption { bytes: 0, bits: 0, looks_like: Some(change) });
            if alone {
                let what = Maybe::Early { bytes: head };
                self.hold(Held { divergence, until: case.position + LATE, what }, found);
            } else {
                self.report(divergence, found);
            }
        }
    }

    /// A few bytes, too few to tell their place, that are missing elsewhere.
    fn fill_gap_with(&mut self, view: &View<'_>, bytes: &[u8], at: u64, found: &mut Vec<Divergence>) -> bool {
        let fits = |held: &Held| {
            matches!(held.what, Maybe::Gap { late: 0 })
                && held.divergence.extent == bytes.len() as u64
                && are_the_missing(view, at, bytes, held.divergence.offset)
        };
        let Some(n) = self.held.iter().position(fits) else { return false };
        let mut held = self.held.remove(n);
        let gap = &mut held.divergence;
        gap.overtaken_by = at.saturating_sub(gap.offset + gap.extent);
        held.what = Maybe::Gap { late: gap.extent };
        self.give_out(held, found);
        true
    }

    /// Bytes changed in place: one finding with those shortly before if only right bytes came between.
    fn change(
        &mut self,
        view: &View<'_>,
        divergence: Divergence,
        tally: Tally,
        after_right: bool,
        found: &mut Vec<Divergence>,
    ) {
        let end = divergence.offset + divergence.extent;
        let earlier = self.held.iter_mut().find(|held| matches!(held.what, Maybe::Changed { .. }));
        if after_right
            && let Some(Held { divergence: earlier, until, what: Maybe::Changed { tally: before } }) = earlier
        {
            let earlier_end = earlier.offset + earlier.extent;
            let between = view.own(earlier_end, divergence.offset.saturating_sub(earlier_end) as usize);
            before.add(&between, &between);
            before.append(&tally);
            earlier.extent = end - earlier.offset;
            *until = end + APART;
            return;
        }
        self.hold(Held { divergence, until: end + APART, what: Maybe::Changed { tally } }, found);
    }

    fn hold(&mut self, held: Held, found: &mut Vec<Divergence>) {
        if self.held.len() == HELD {
            let oldest = self.held.remove(0);
            self.give_out(oldest, found);
        }
        self.held.push(held);
    }

    /// What was held is what it has turned out to be.
    fn give_out(&mut self, held: Held, found: &mut Vec<Divergence>) {
        for divergence in held.resolve() {
            self.report(divergence, found);
        }
    }
}

fn tally(expected: &[u8], received: &[u8]) -> Tally {
    let mut tally = Tally::default();
    tally.add(expected, received);
    tally
}

/// Where a short piece stood in what the connection had sent not long before.
fn find_earlier(view: &View<'_>, at: u64, bytes: &[u8], len: u64) -> Option<u64> {
    // The fewer, the nearer they must be not to be found by chance; more than these hold a word that tells its place.
    let reach = match len {
        3 => RECENT_PAST >> 4,
        4..15 => RECENT_PAST,
        _ => return None,
    };
    let from = at.saturating_sub(reach);
    let past = view.own(from, (at - from) as usize);
    past.windows(bytes.len()).rposition(|window| window == bytes).map(|n| from + n as u64)
}
