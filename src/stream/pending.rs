//! What was found and may still turn out to be something else: a gap that late bytes may fill, a few bytes too many
//! that may be missing further on, a change in place that may continue.

use super::change::Tally;
use super::classify::BY_CHANCE;
use super::finding::{Divergence, FindingKind};
use super::mismatch::View;

/// Something found that may turn out to be something else.
pub(super) struct Held {
    pub(super) divergence: Divergence,
    /// The position at which it is what it is.
    pub(super) until: u64,
    pub(super) what: Maybe,
}

pub(super) enum Maybe {
    /// Bytes are missing; so many of them have come since.
    Gap { late: u64 },
    /// Unknown bytes came in between; they may be missing further on.
    Early { bytes: Vec<u8> },
    /// Bytes were changed in place; more may follow.
    Changed { tally: Tally },
}

impl Held {
    /// How many of these own bytes fill this gap.
    pub(super) fn filled_by(&self, offset: u64, len: u64) -> u64 {
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

    /// What it has turned out to be.
    pub(super) fn resolve(self) -> impl Iterator<Item = Divergence> {
        let Held { mut divergence, what, .. } = self;
        let mut lost = None;
        match what {
            Maybe::Early { .. } | Maybe::Gap { late: 0 } => {}
            Maybe::Gap { late } => {
                let never_came = divergence.extent.saturating_sub(late);
                if never_came >= BY_CHANCE {
                    lost = Some(Divergence { extent: never_came, overtaken_by: 0, ..divergence.clone() });
                    divergence.extent = late;
                }
                divergence.kind = FindingKind::Reordered;
            }
            Maybe::Changed { tally } => divergence.detail = Some(tally.corruption()),
        }
        [Some(divergence), lost].into_iter().flatten()
    }
}

/// Whether the bytes that came in between at one offset are those missing at another. Each border may be some bytes
/// off, where equal bytes hide it: bytes put before their equals look as if put after them.
pub(super) fn are_the_missing(view: &View<'_>, inserted_at: u64, bytes: &[u8], missing_at: u64) -> bool {
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
