//! An episode in the course of being named: its segments with borders as they are most likely, which of the own bytes
//! are missing, and excerpts of what came and what should have come.

use std::cmp::Reverse;
use std::sync::Arc;

use super::change::whole_conversion;
use super::finding::{ByteSource, Change, Circumstances, Divergence, FindingKind};
use super::mismatch::{Episode, HEAD, Resumed, Segment, Unknown, View, What};

/// Bytes before the first wrong one that an excerpt shows.
pub(super) const BEFORE: u64 = 8;
/// Bytes from the first wrong one on that an excerpt shows.
pub(super) const AFTER: usize = 24;
/// Bytes in one piece that can be compared with others wherever those are.
pub(super) const SHORT: usize = 64;
/// A border may be this far off by chance.
pub(super) const BY_CHANCE: u64 = 8;
/// How far from its place the rest of a connection is looked for at its end.
const TAIL_REACH: u64 = 64 << 10;

/// What stood when the stream broke off.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    /// Where the right bytes before that begin.
    pub(super) right_since: u64,
    /// Whether the connection has so few findings yet that this one is worth excerpts and searches.
    pub(super) in_full: bool,
}

/// An episode in the course of being named.
pub(super) struct Case<'a> {
    pub(super) view: &'a View<'a>,
    /// Where the stream broke off.
    pub(super) at: u64,
    pub(super) segments: Vec<Segment>,
    /// Right bytes that are known to have come after the segments.
    after: Vec<u8>,
    pub(super) setting: Setting,
    circumstances: Option<Arc<Circumstances>>,
    /// Whether the last segment is own bytes that came again, after which the stream went on.
    pub(super) again: bool,
    /// The position that it ends at.
    pub(super) position: u64,
    /// Where the own bytes that are still missing begin, and how many they are.
    pub(super) cursor: u64,
    pub(super) missing: u64,
}

impl<'a> Case<'a> {
    /// The own stream goes on after the episode.
    pub(super) fn resumed(view: &'a View<'a>, episode: Episode, resumed: Resumed, setting: Setting) -> Case<'a> {
        let Episode { mut at, mut segments, circumstances, .. } = episode;
        let repeated = at.saturating_sub(resumed.from);
        let mut again = false;
        if repeated > 0 {
            if repeated < BY_CHANCE && widen(view, segments.first_mut(), resumed.from, repeated) {
                at = resumed.from;
            } else {
                let source = ByteSource { conn: view.conn, offset: resumed.from, open: true };
                segments.push(Segment { len: repeated, what: What::Sent(source) });
                again = true;
            }
        }
        let from = resumed.from.max(at);
        at += take_off_right(view, segments.first_mut(), at, from);
        let after = view.own(from, (resumed.to - from).min(AFTER as u64) as usize);
        let missing = from - at;
        Case { view, at, segments, after, setting, circumstances, again, position: resumed.to, cursor: at, missing }
    }

    /// Nothing is known of what comes after the episode, in which so many own bytes are missing.
    pub(super) fn without_more(view: &'a View<'a>, episode: Episode, setting: Setting, missing: u64) -> Case<'a> {
        let Episode { at, segments, circumstances, .. } = episode;
        let position = at + missing;
        let after = Vec::new();
        Case { view, at, segments, after, setting, circumstances, again: false, position, cursor: at, missing }
    }

    /// A divergence at the cursor with the bytes received from the segment of this number on.
    pub(super) fn divergence(&self, kind: FindingKind, extent: u64, segment: usize) -> Divergence {
        let mut divergence = Divergence::of_connection(kind, self.view.conn, self.cursor, extent);
        divergence.circumstances.clone_from(&self.circumstances);
        if !self.setting.in_full {
            return divergence;
        }
        let before =
            if segment == 0 { (self.cursor - self.setting.right_since.min(self.cursor)).min(BEFORE) } else { 0 };
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

    /// All that came in the episode, if that is at most so much, and no more than is kept of unknown bytes.
    fn received(&self, most: usize) -> Option<Vec<u8>> {
        let len = self.segments.iter().map(|segment| segment.len).sum::<u64>();
        let mut received = Vec::new();
        if len > most.min(HEAD) as u64 {
            return None;
        }
        for segment in &self.segments {
            match &segment.what {
                What::Sent(source) => {
                    received.extend(self.view.bytes(source.conn, source.offset, segment.len as usize));
                }
                What::Unknown(unknown) => received.extend_from_slice(&unknown.head),
            }
        }
        Some(received)
    }

    /// The text conversion that all of it is.
    pub(super) fn conversion(&self) -> Option<Change> {
        let right_again = *self.after.first()?;
        // The right bytes before must not be such as would have been converted too.
        let before = self.right_before();
        let received = [&before[..], &self.received(HEAD)?, &[right_again]].concat();
        let missing = usize::try_from(self.missing).ok().filter(|&len| len <= HEAD)?;
        let expected = self.view.own(self.at - before.len() as u64, before.len() + missing + 1);
        whole_conversion(&expected, &received)
    }

    /// Some right bytes that came before.
    fn right_before(&self) -> Vec<u8> {
        let before = (self.at - self.setting.right_since.min(self.at)).min(BEFORE);
        self.view.own(self.at - before, before as usize)
    }

    /// The short neighbouring pieces that are in each other's place, if that is all.
    pub(super) fn swap(&self) -> Option<Swap> {
        let received = self.received(SHORT).filter(|received| received.len() as u64 == self.missing)?;
        swap(self.view, self.at, &received)
    }

    /// Own bytes at the cursor that something came in place of.
    pub(super) fn replace(&mut self, len: u64) -> u64 {
        let replaced = len.min(self.missing);
        self.cursor += replaced;
        self.missing -= replaced;
        replaced
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

/// The first bytes of a run that are right in their place, taken for the run's by chance, are not part of it if own
/// bytes are missing. Returns how many they are.
fn take_off_right(view: &View<'_>, first: Option<&mut Segment>, at: u64, from: u64) -> u64 {
    let Some(Segment { len, what: What::Sent(source) }) = first else { return 0 };
    let most = BY_CHANCE.min(from - at).min(*len - 1) as usize;
    let (run, own) = (view.bytes(source.conn, source.offset, most), view.own(at, most));
    let right = run.iter().zip(&own).take_while(|(a, b)| a == b).count() as u64;
    source.offset += right;
    *len -= right;
    right
}

/// Two neighbouring pieces in each other's place.
pub(super) struct Swap {
    /// Where the first of both belongs.
    pub(super) offset: u64,
    /// Bytes of the first, which came last.
    pub(super) first: u64,
    /// Bytes of the second.
    pub(super) second: u64,
}

/// Whether the bytes received at an offset are the right ones with two neighbouring pieces in each other's place. Bytes
/// at the borders may have been right by chance.
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
pub(super) fn resumed_at_the_end(view: &View<'_>, episode: &mut Episode) -> Option<Resumed> {
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
