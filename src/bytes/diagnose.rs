//! Episodes into findings: which of the segments came in place of own bytes and which in between, what is missing, and
//! what each is called. What may still turn out to be something else is held for a while: a gap that late bytes may fill
//! (`reordered` instead of `lost`), a few unknown bytes that may be missing further on, a change in place that may
//! continue.
//!
//! What cannot be told apart in principle: of equal bytes next to each other, which was lost or doubled; bytes too few to
//! hold an aligned word (below 15) from another connection, which are `corrupt` or `surplus`; a loss and a repetition of
//! equal length without a right byte between them, which is a stale piece in place.

use std::cmp::Reverse;

use super::change::{Tally, begun_conversion, whole_conversion};
use super::episode::{Episode, HEAD, Resumed, Segment, Unknown, View, What};
use super::finding::{Change, Corruption, Divergence, Kind, Source};

/// Bytes before the first wrong one that an excerpt shows.
pub(super) const BEFORE: u64 = 8;
/// Bytes from the first wrong one on that an excerpt shows.
pub(super) const AFTER: usize = 24;
/// Right bytes within which a gap may still be filled by late bytes.
const LATE: u64 = 256 << 10;
/// Right bytes between two changes in place that are still one finding.
const APART: u64 = 32;
/// Bytes in one piece that can be compared with others wherever those are.
const SHORT: usize = 64;
/// A border may be this far off by chance.
const BY_CHANCE: u64 = 8;
/// Things held at a time.
const HELD: usize = 16;
/// Findings of a connection that are given in full; the others are counted.
pub(super) const LISTED: u32 = 64;
/// How far back a short piece is looked for in what the connection had sent before.
const RECENT_PAST: u64 = 64 << 10;
/// How far from its place the rest of a connection is looked for at its end.
const TAIL_REACH: u64 = 64 << 10;

/// What a connection that went wrong must remember beyond the episode.
#[derive(Default)]
pub(super) struct Diagnosis {
    held: Vec<Held>,
    listed: u32,
    /// Findings beyond [`LISTED`].
    pub(super) unlisted: u64,
    /// Own bytes below the position that did not come, or came wrong.
    pub(super) wrong: u64,
}

/// Something found that may turn out to be something else.
struct Held {
    divergence: Divergence,
    /// The position at which it is what it is.
    until: u64,
    what: Maybe,
}

enum Maybe {
    /// Bytes are missing; so many of them have come since.
    Gap { late: u64 },
    /// Unknown bytes came in between; they may be missing further on.
    Early { bytes: Vec<u8> },
    /// Bytes were changed in place; more may follow.
    Changed { tally: Tally },
}

/// An episode in the course of being named.
struct Case<'a> {
    view: &'a View<'a>,
    /// Where the stream broke off.
    at: u64,
    segments: Vec<Segment>,
    /// Right bytes that are known to have come after the segments.
    after: Vec<u8>,
    /// Where the right bytes before `at` begin.
    right_since: u64,
    /// Whether the last segment is own bytes that came again, after which the stream went on.
    again: bool,
    /// The position that it ends at.
    position: u64,
    /// Where the own bytes that are still missing begin, and how many they are.
    cursor: u64,
    missing: u64,
}

impl<'a> Case<'a> {
    /// Nothing is known of what comes after the segments.
    fn without_more(view: &'a View<'a>, at: u64, segments: Vec<Segment>, right_since: u64, missing: u64) -> Case<'a> {
        let position = at + missing;
        Case { view, at, segments, after: Vec::new(), right_since, again: false, position, cursor: at, missing }
    }

    /// A divergence at the cursor with the bytes received from the segment of this number on.
    fn divergence(&self, kind: Kind, extent: u64, segment: usize) -> Divergence {
        let mut divergence = Divergence::of_connection(kind, self.view.conn, self.cursor, extent);
        let before = if segment == 0 { (self.cursor - self.right_since.min(self.cursor)).min(BEFORE) } else { 0 };
        divergence.excerpt_offset = self.cursor - before;
        divergence.received = self.view.own(divergence.excerpt_offset, before as usize);
        let room = divergence.received.len() + AFTER;
        for segment in self.segments.iter().skip(segment) {
            let len = segment.len.min(AFTER as u64) as usize;
            match &segment.what {
                What::Sent(source) => divergence.received.extend(self.view.bytes(source.conn, source.offset, len)),
                What::Unknown(unknown) => divergence.received.extend_from_slice(&unknown.head[..len]),
            }
        }
        divergence.received.extend_from_slice(&self.after);
        divergence.received.truncate(room);
        let expected = (self.view.sent.saturating_sub(divergence.excerpt_offset)).min(room as u64);
        divergence.expected = self.view.own(divergence.excerpt_offset, expected as usize);
        divergence
    }

    /// The text conversion that all of it is.
    fn conversion(&self) -> Option<Change> {
        let received = match self.segments.as_slice() {
            [] => &[],
            [Segment { len, what: What::Unknown(unknown) }] if *len == unknown.head.len() as u64 => {
                unknown.head.as_slice()
            }
            _ => return None,
        };
        let right_again = self.after.first()?;
        let expected = self.view.own(self.at, usize::try_from(self.missing).ok()?.min(HEAD) + 1);
        whole_conversion(&expected, &[received, &[*right_again]].concat())
    }

    /// The short neighbouring pieces that are in each other's place, if that is all.
    fn swap(&self) -> Option<Swap> {
        let len = self.segments.iter().map(|segment| segment.len).sum::<u64>();
        if len != self.missing || len > SHORT as u64 {
            return None;
        }
        let mut received = Vec::with_capacity(SHORT);
        for segment in &self.segments {
            match &segment.what {
                What::Sent(source) => {
                    received.extend(self.view.bytes(source.conn, source.offset, segment.len as usize))
                }
                What::Unknown(unknown) => received.extend_from_slice(&unknown.head),
            }
        }
        swap(self.view, self.at, &received)
    }

    /// Own bytes at the cursor that something came in place of.
    fn replace(&mut self, len: u64) -> u64 {
        let replaced = len.min(self.missing);
        self.cursor += replaced;
        self.missing -= replaced;
        replaced
    }
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
        let Episode { mut at, mut segments, .. } = episode;
        let again = at.saturating_sub(resumed.from);
        let mut reaching = false;
        if again > 0 {
            if again < BY_CHANCE && widen(view, segments.first_mut(), resumed.from, again) {
                at = resumed.from;
            } else {
                let source = Source { conn: view.conn, offset: resumed.from, open: true };
                segments.push(Segment { len: again, what: What::Sent(source) });
                reaching = true;
            }
        }
        let from = resumed.from.max(at);
        let at = at + take_off_right(view, segments.first_mut(), at, from);
        let after = view.own(from, (resumed.to - from).min(AFTER as u64) as usize);
        let (position, missing) = (resumed.to, from - at);
        self.name(
            Case { view, at, segments, after, right_since, again: reaching, position, cursor: at, missing },
            found,
        );
        position
    }

    /// Names an episode that has more segments than are kept, as bytes that came in between.
    pub(super) fn overflow(
        &mut self,
        view: &View<'_>,
        episode: Episode,
        right_since: u64,
        found: &mut Vec<Divergence>,
    ) {
        let Episode { at, segments, .. } = episode;
        let case = Case::without_more(view, at, segments, right_since, 0);
        self.name(case, found);
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
        if let Some(resumed) = tail(view, &mut episode) {
            return self.resume(view, episode, resumed, right_since, found);
        }
        let Episode { at, segments, len, .. } = episode;
        let late: u64 = segments.iter().map(|segment| self.late(view, segment)).sum();
        let missing = (len - late).min(view.sent.saturating_sub(at));
        self.name(Case::without_more(view, at, segments, right_since, missing), found);
        at + missing
    }

    /// Gives out what is held and certain at this position.
    pub(super) fn settle(&mut self, view: &View<'_>, position: u64, found: &mut Vec<Divergence>) {
        while let Some(due) = (0..self.held.len()).min_by_key(|&n| self.held[n].until)
            && self.held[due].until <= position
        {
            let held = self.held.remove(due);
            self.give_out(view, held, found);
        }
    }

    /// Takes in a finding.
    pub(super) fn report(&mut self, divergence: Divergence, found: &mut Vec<Divergence>) {
        if self.listed < LISTED {
            self.listed += 1;
            found.push(divergence);
        } else {
            self.unlisted += 1;
        }
    }

    fn name(&mut self, mut case: Case<'_>, found: &mut Vec<Divergence>) {
        self.wrong += case.missing;
        if self.completes_a_swap(&case, found) {
            return;
        }
        if let Some(change) = case.conversion() {
            let mut divergence = case.divergence(Kind::Corrupt, case.missing.max(1), 0);
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
                    let kind = if source.open { Kind::Crosstalk } else { Kind::Stale };
                    let mut divergence = case.divergence(kind, case.segments[number].len, number);
                    divergence.source = Some(source);
                    divergence.replaced = case.replace(divergence.extent);
                    self.report(divergence, found);
                }
                What::Unknown(_) => self.name_unknown(&mut case, number, found),
            }
        }
        if case.missing > 0 {
            self.name_missing(&case, found);
        }
    }

    /// Short neighbouring pieces are in each other's place, which shows at once; or a few bytes, too few to tell their
    /// place, came in between that are missing elsewhere, or are missing that came in between elsewhere.
    fn completes_a_swap(&mut self, case: &Case<'_>, found: &mut Vec<Divergence>) -> bool {
        let view = case.view;
        if let Some(swap) = case.swap() {
            let mut divergence = case.divergence(Kind::Reordered, swap.first, 0);
            divergence.offset = swap.offset;
            divergence.overtaken_by = swap.second;
            self.report(divergence, found);
            return true;
        }
        match case.segments.as_slice() {
            [Segment { len, what: What::Unknown(unknown) }] if case.missing == 0 && *len <= SHORT as u64 => {
                self.fill_gap_with(view, case.at, &unknown.head, found)
            }
            [] => {
                let came = |held: &Held| match &held.what {
                    Maybe::Early { bytes } => {
                        bytes.len() as u64 == case.missing
                            && are_the_missing(view, held.divergence.offset, bytes, case.at)
                    }
                    _ => false,
                };
                let Some(n) = self.held.iter().position(came) else { return false };
                // The bytes between their early place and their right one were overtaken by them.
                let mut divergence = self.held.remove(n).divergence;
                divergence.kind = Kind::Reordered;
                divergence.overtaken_by = divergence.extent;
                divergence.extent = case.at - divergence.offset;
                (divergence.detail, divergence.source) = (None, None);
                self.report(divergence, found);
                true
            }
            _ => false,
        }
    }

    /// Bytes of the connection itself that had come, or should have come, before.
    fn name_own(&mut self, case: &mut Case<'_>, number: usize, source: Source, found: &mut Vec<Divergence>) {
        let len = case.segments[number].len;
        let again = len - self.fill_gaps(case.view, case.at, source.offset, len, found);
        if again == 0 || (again < len && again < BY_CHANCE) {
            return;
        }
        let reaching = case.again && number + 1 == case.segments.len();
        let kind = if reaching { Kind::Duplicated } else { Kind::Stale };
        let mut divergence = case.divergence(kind, again, number);
        divergence.source = Some(Source { offset: source.offset + len - again, ..source });
        divergence.replaced = case.replace(again);
        if reaching && len < BY_CHANCE && number == 0 {
            // So few bytes may be the ones before them by chance.
            let bytes = case.view.own(source.offset, len as usize);
            if !self.fill_gap_with(case.view, case.at, &bytes, found) {
                let what = Maybe::Early { bytes };
                self.hold(case.view, Held { divergence, until: case.position + LATE, what }, found);
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
    fn fill_gaps(&mut self, view: &View<'_>, at: u64, offset: u64, len: u64, found: &mut Vec<Divergence>) -> u64 {
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
                if divergence.overtaken_by == 0 {
                    divergence.overtaken_by = at.saturating_sub(divergence.offset + divergence.extent);
                }
                if *late + BY_CHANCE > divergence.extent {
                    let held = self.held.remove(n);
                    self.give_out(view, held, found);
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
        let head = unknown.head.clone();
        let view = case.view;
        let right = view.own(case.cursor, view.sent.saturating_sub(case.cursor).min(HEAD as u64) as usize);
        if let Some(change) = begun_conversion(&right, &head) {
            let mut divergence = case.divergence(Kind::Corrupt, len.min(case.missing.max(1)), number);
            case.replace(len);
            divergence.detail = Some(Corruption { bytes: divergence.extent, bits: 0, looks_like: Some(change) });
            return self.report(divergence, found);
        }
        let alone = case.segments.len() == 1 && case.missing == 0 && len <= SHORT as u64;
        if let Some(offset) = find_earlier(view, case.at, &head, len) {
            let mut divergence = case.divergence(Kind::Stale, len, number);
            divergence.source = Some(Source { conn: view.conn, offset, open: true });
            divergence.replaced = case.replace(len);
            return self.report(divergence, found);
        }
        let in_place = len.min(case.missing);
        if in_place > 0 {
            // The tally compares with the place that the bytes have if all before them stand in place.
            let tally =
                if len <= HEAD as u64 { tally(&right, &head[..in_place as usize]) } else { unknown.tally.clone() };
            let divergence = case.divergence(Kind::Corrupt, in_place, number);
            self.change(view, divergence, tally, number == 0, found);
            case.replace(in_place);
        }
        if len > in_place {
            let filling = unknown_filling(&case.segments[number]);
            let mut divergence = case.divergence(Kind::Surplus, len - in_place, number);
            divergence.detail = filling.map(|change| Corruption { bytes: 0, bits: 0, looks_like: Some(change) });
            if alone {
                let what = Maybe::Early { bytes: head };
                self.hold(view, Held { divergence, until: case.position + LATE, what }, found);
            } else {
                self.report(divergence, found);
            }
        }
    }

    /// A few bytes, too few to tell their place, that are missing elsewhere.
    fn fill_gap_with(&mut self, view: &View<'_>, at: u64, bytes: &[u8], found: &mut Vec<Divergence>) -> bool {
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
        self.give_out(view, held, found);
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
        self.hold(view, Held { divergence, until: end + APART, what: Maybe::Changed { tally } }, found);
    }

    /// Own bytes did not come, and later ones did.
    fn name_missing(&mut self, case: &Case<'_>, found: &mut Vec<Divergence>) {
        let view = case.view;
        let divergence = case.divergence(Kind::Lost, case.missing, case.segments.len());
        self.hold(view, Held { divergence, until: case.position + LATE, what: Maybe::Gap { late: 0 } }, found);
    }

    fn hold(&mut self, view: &View<'_>, held: Held, found: &mut Vec<Divergence>) {
        if self.held.len() == HELD {
            let oldest = self.held.remove(0);
            self.give_out(view, oldest, found);
        }
        self.held.push(held);
    }

    /// What was held is what it has turned out to be.
    fn give_out(&mut self, view: &View<'_>, held: Held, found: &mut Vec<Divergence>) {
        let Held { mut divergence, what, .. } = held;
        match what {
            Maybe::Early { .. } => {}
            Maybe::Gap { late: 0 } => {}
            Maybe::Gap { late } => {
                let lost = divergence.extent.saturating_sub(late);
                if lost >= BY_CHANCE {
                    let mut rest = divergence.clone();
                    rest.overtaken_by = 0;
                    rest.extent = lost;
                    divergence.extent = late;
                    self.report(rest, found);
                }
                divergence.kind = Kind::Reordered;
            }
            Maybe::Changed { tally } => divergence.detail = Some(tally.corruption()),
        }
        self.report(divergence, found);
    }
}

impl Held {
    /// How many of these own bytes fill this gap.
    fn filled_by(&self, offset: u64, len: u64) -> u64 {
        let Maybe::Gap { late } = self.what else { return 0 };
        let (from, to) = (self.divergence.offset, self.divergence.offset + self.divergence.extent);
        let overlap = to.min(offset + len).saturating_sub(from.max(offset));
        // As many bytes as are missing, but for the borders in the same place, are the missing ones.
        if overlap > 0 && len == self.divergence.extent && from.abs_diff(offset) < BY_CHANCE {
            return len - late;
        }
        let counts = overlap >= BY_CHANCE || overlap == self.divergence.extent;
        if counts { overlap.min(self.divergence.extent - late) } else { 0 }
    }
}

fn tally(expected: &[u8], received: &[u8]) -> Tally {
    let mut tally = Tally::default();
    tally.add(expected, received);
    tally
}

fn unknown_filling(segment: &Segment) -> Option<Change> {
    match &segment.what {
        What::Unknown(unknown) => unknown.tally.filling(),
        What::Sent(_) => None,
    }
}

/// Foreign bytes whose first ones happened to be right: they count as foreign after all, since the own stream goes on
/// before them. False if the source has others there.
fn widen(view: &View<'_>, first: Option<&mut Segment>, from: u64, by: u64) -> bool {
    let Some(first) = first else { return false };
    let own = view.own(from, by as usize);
    match &mut first.what {
        What::Unknown(Unknown { head, .. }) => {
            head.splice(0..0, own);
            head.truncate(HEAD);
        }
        What::Sent(source) => {
            if source.offset < by || view.bytes(source.conn, source.offset - by, by as usize) != own {
                return false;
            }
            source.offset -= by;
        }
    }
    first.len += by;
    true
}

/// The first bytes of a run that are right in their place, taken for the run's by chance, are not part of it if own bytes
/// are missing. Returns how many they are.
fn take_off_right(view: &View<'_>, first: Option<&mut Segment>, at: u64, from: u64) -> u64 {
    let Some(Segment { len, what: What::Sent(source) }) = first else { return 0 };
    let most = BY_CHANCE.min(from - at).min(*len - 1) as usize;
    let (run, own) = (view.bytes(source.conn, source.offset, most), view.own(at, most));
    let right = run.iter().zip(&own).take_while(|(a, b)| a == b).count() as u64;
    source.offset += right;
    *len -= right;
    right
}

/// Whether the bytes that came in between at one offset are those missing at another. Each border may be some bytes off,
/// where equal bytes hide it: bytes put before their equals look as if put after them.
fn are_the_missing(view: &View<'_>, inserted_at: u64, bytes: &[u8], missing_at: u64) -> bool {
    let (len, most) = (bytes.len(), BY_CHANCE as usize);
    let around = |at: u64, len: usize| {
        let before = most.min(usize::try_from(at).unwrap_or(most));
        (view.own(at - before as u64, before + len + most), before)
    };
    // Where else in a text the piece of `len` bytes may begin that was put in, or left out.
    let begins = |text: &[u8], at: usize| {
        let on = (0..=most).take_while(|n| text[at..at + n] == text[at + len..at + len + n]).map(|n| at + n);
        let back = (1..=at).take_while(|n| text[at - n..at] == text[at + len - n..at + len]).map(|n| at - n);
        on.chain(back).collect::<Vec<_>>()
    };
    let (own, at) = around(missing_at, len);
    let missing: Vec<_> = begins(&own, at).into_iter().map(|begin| &own[begin..begin + len]).collect();
    let (mut came, at) = around(inserted_at, 0);
    came.splice(at..at, bytes.iter().copied());
    begins(&came, at).into_iter().any(|begin| missing.contains(&&came[begin..begin + len]))
}

/// Where a short piece stood in what the connection had sent not long before.
fn find_earlier(view: &View<'_>, at: u64, bytes: &[u8], len: u64) -> Option<u64> {
    // Fewer bytes are found somewhere by chance; more hold a word that tells its place.
    if !(5..15).contains(&len) || bytes.len() as u64 != len {
        return None;
    }
    let from = at.saturating_sub(RECENT_PAST);
    let past = view.own(from, (at - from) as usize);
    past.windows(bytes.len()).rposition(|window| window == bytes).map(|n| from + n as u64)
}

/// Two neighbouring pieces in each other's place.
struct Swap {
    offset: u64,
    first: u64,
    second: u64,
}

/// Whether the bytes received at an offset are the right ones with two neighbouring pieces in each other's place. Bytes at
/// the borders may have been right by chance.
fn swap(view: &View<'_>, offset: u64, received: &[u8]) -> Option<Swap> {
    let len = received.len();
    if !(2..=SHORT).contains(&len) {
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

/// At the end of a connection fewer bytes tell where they belong than elsewhere, since there is nothing after them: the
/// last of an episode are taken off it if they are right bytes somewhere near.
fn tail(view: &View<'_>, episode: &mut Episode) -> Option<Resumed> {
    let (at, taken) = (episode.at, episode.len);
    let only = episode.segments.len() == 1;
    let last = episode.segments.last_mut()?;
    let unknown = match &mut last.what {
        What::Sent(source) if source.conn == view.conn && source.offset + last.len >= at => {
            let resumed = Resumed { from: source.offset, to: source.offset + last.len };
            episode.segments.pop();
            return Some(resumed);
        }
        What::Sent(_) => return None,
        What::Unknown(unknown) => unknown,
    };
    let known = unknown.tail.as_slice();
    let in_place = at + taken;
    let from = at.saturating_sub(known.len() as u64);
    let to = view.sent.min(in_place + TAIL_REACH).max(at);
    let near = view.own(from, (to - from) as usize);
    let best = (at..=to).filter_map(|end| {
        let before = &near[..(end - from) as usize];
        let same = before.iter().rev().zip(known.iter().rev()).take_while(|(a, b)| a == b).count() as u64;
        // All of the bytes may be older than the episode, but not some of them.
        let same = if only && same == last.len { same } else { same.min(end - at) };
        let (is_in_place, is_last) = (end == in_place, end == view.sent);
        let enough = same >= if is_in_place || is_last { 1 } else { 3 };
        let rank = (same, is_in_place, is_last, Reverse(end.abs_diff(in_place)));
        enough.then_some((rank, Resumed { from: end - same, to: end }))
    });
    let ((same, ..), resumed) = best.max_by_key(|(rank, _)| *rank)?;
    last.len -= same;
    unknown.head.truncate(last.len as usize);
    episode.len -= same;
    if last.len == 0 {
        episode.segments.pop();
    }
    Some(resumed)
}
