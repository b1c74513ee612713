//! Divergences that may still turn out to be something else: a gap that late bytes may fill, a few extra bytes that may
//! be missing further on, a change in place that may continue.

use super::change::DiffStats;
use super::finding::Divergence;
use super::late::Stretch;
use super::ledger::StreamView;
use super::mismatch::BORDER_SLACK_BYTES;

/// A divergence that may still turn out to be something else.
pub(super) struct Pending {
    pub(super) divergence: Divergence,
    /// The stream position at which it can change no more.
    pub(super) settles_at: u64,
    pub(super) kind: PendingKind,
}

/// What a pending divergence is so far.
pub(super) enum PendingKind {
    /// Bytes are missing.
    Gap,
    /// Unknown bytes came in between. They may be missing further on.
    Early { bytes: Vec<u8> },
    /// Bytes were changed in place. More may follow.
    Changed { stats: DiffStats },
}

impl Pending {
    /// The bytes that are missing, if it is a gap.
    pub(super) fn gap(&self) -> Option<Stretch> {
        let Divergence { offset, extent, .. } = self.divergence;
        matches!(self.kind, PendingKind::Gap).then(|| Stretch::new(offset, extent))
    }

    /// What it has turned out to be.
    pub(super) fn resolve(self) -> Divergence {
        let Pending { mut divergence, kind, .. } = self;
        if let PendingKind::Changed { stats } = kind {
            divergence.detail = Some(stats.corruption());
        }
        divergence
    }
}

/// Where a piece really came, and where it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MovedPiece {
    pub(super) inserted_at: u64,
    pub(super) missing_at: u64,
}

/// If the bytes inserted at one offset are the bytes missing at another: the offsets at which they really are. Each
/// border may be some bytes off where equal bytes hide it: a piece inserted before its equal looks as if it came after.
pub(super) fn moved_piece(
    view: &StreamView<'_>,
    inserted_at: u64,
    bytes: &[u8],
    missing_at: u64,
) -> Option<MovedPiece> {
    let (len, most) = (bytes.len(), BORDER_SLACK_BYTES as usize);
    let around = |at: u64, len: usize| {
        let before = most.min(usize::try_from(at).unwrap_or(most));
        (view.own(at - before as u64, before + len + most), before)
    };
    // Every place in `text` where a piece of `len` bytes may begin, if one that seems to begin at `at` was inserted or
    // left out.
    let begins = |text: &[u8], at: usize| {
        let on = (0..=most).take_while(|n| text[at..at + n] == text[at + len..at + len + n]).map(|n| at + n);
        let back = (1..=at).take_while(|n| text[at - n..at] == text[at + len - n..at + len]).map(|n| at - n);
        on.chain(back).collect::<Vec<_>>()
    };
    let (own, at) = around(missing_at, len);
    let (mut came, came_at) = around(inserted_at, 0);
    came.splice(came_at..came_at, bytes.iter().copied());
    let missing = begins(&own, at);
    begins(&came, came_at).into_iter().find_map(|begin| {
        let piece = &came[begin..begin + len];
        let from = missing.iter().find(|from| &own[**from..**from + len] == piece)?;
        let inserted_at = (inserted_at + begin as u64).checked_sub(came_at as u64)?;
        Some(MovedPiece { inserted_at, missing_at: (missing_at + *from as u64).checked_sub(at as u64)? })
    })
}
