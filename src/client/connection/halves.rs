//! What is different of a connection that is the half of a pair: what is owed to it, and what counts as progress.

use super::half::Half;
use super::{ClientConnection, TransferProgress};
use crate::client::clock::nanos;
use crate::plan::RECOGNIZED_BY_BYTES;

/// How often a connection that waits looks at its other half: this part of the stall time-out. What a proxy swallows
/// makes no event here.
const LOOKS_PER_STALL_TIMEOUT: u64 = 8;
/// The shortest time between two looks, in nanoseconds.
const MIN_LOOK_NS: u64 = 20_000_000;

impl ClientConnection {
    /// Bytes that are to come in: what the other half has sent, or in an echo what this side has sent.
    #[inline]
    pub(super) fn expected(&self) -> u64 {
        match &self.half {
            None => self.sender.sent(),
            Some(half) => half.expected(),
        }
    }

    /// Whether the other half's FIN has come.
    #[inline]
    pub(super) fn is_read_to_end(&self) -> bool {
        self.half.as_deref().is_some_and(Half::is_read_to_end)
    }

    /// Whether the other half never reads.
    pub(super) fn is_never_read(&self) -> bool {
        self.half.is_some() && self.profile().is_never_read()
    }

    /// Whether it is one that never reads, or is never read, and the other direction owes nothing either.
    pub(super) fn rests_unread(&self, now: u64) -> bool {
        let Some(half) = self.half.as_deref() else { return self.never_reads() };
        match (self.never_reads(), self.is_never_read()) {
            (true, true) => true,
            // Between two of its messages, it has more to write.
            (true, false) => {
                let is_done = self.sender.has_written_all() || self.sender.writes().have_stalled(now);
                is_done && !half.is_other_owed(self.sender.sent())
            }
            (false, is_never_read) => is_never_read && half.does_other_rest() && !self.is_owed(now),
        }
    }

    /// Whether it has sent too little to be recognized by.
    pub(super) fn is_nameless(&self) -> bool {
        self.sender.sent() < RECOGNIZED_BY_BYTES
    }

    /// EOF has come. Returns whether this half goes on writing.
    pub(super) fn may_go_on_after_fin(&mut self) -> bool {
        let reached = self.receiver.reached();
        let is_right = self.half.as_mut().is_some_and(|half| half.take_fin(reached));
        is_right && !self.sender.is_fin_sent()
    }

    /// Something was sent. Returns whether both directions have come to their ends.
    pub(super) fn note_sent(&mut self, now: u64) -> bool {
        let (sent, fin_sent) = (self.sender.sent(), self.sender.is_fin_sent());
        self.half.as_deref().is_some_and(|half| {
            half.note_sent(sent, fin_sent, now);
            fin_sent && half.is_read_to_end()
        })
    }

    /// Whether silence counts as a stall. That a write is blocked is no fault of the way: the other half may not read,
    /// and if it does, it misses what was sent.
    pub(super) fn is_half_owed(&self, half: &Half, now: u64) -> bool {
        self.allowance(now).may_read()
            && half.is_owed(self.receiver.reached(), self.sender.sent() > 0 || self.sender.is_fin_sent())
    }

    /// Whether what is owed has come nearer.
    pub(super) fn has_half_progressed(&self, before: &TransferProgress, now: &TransferProgress) -> bool {
        let came = now.right > before.right || (now.received > before.received && now.received <= self.expected());
        came || (self.is_read_to_end() && now.sent > before.sent)
    }

    /// When to look at the other half again.
    pub(super) fn looks_again_at(&self, now: u64) -> u64 {
        now.saturating_add((nanos(self.profile().stall_timeout) / LOOKS_PER_STALL_TIMEOUT).max(MIN_LOOK_NS))
    }
}
