//! Received bytes against the stream: a comparison while they are right, a diagnosis when they are not. Pure: it reads
//! no clock and does no I/O, and asks a [`Ledger`] what other connections have sent.

use std::sync::Arc;

use super::classify::{Classifier, ClassifierState};
use super::finding::{Circumstances, Divergence, EXCERPT_AFTER_BYTES, EXCERPT_BEFORE_BYTES, FindingKind, StreamSource};
use super::ledger::{Ledger, StreamView};
use super::mismatch::{Fed, Mismatch};
use super::pattern::{ConnId, Stream};

/// What the end of a connection is called, if anything is wrong with it. Whoever knows the circumstances of the end
/// chooses the names; the verifier knows whether bytes are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// If bytes that were sent had not come; `None`: nothing is asserted about them.
    pub missing: Option<FindingKind>,
    /// If all of them had come; `None`: then all is well.
    pub complete: Option<FindingKind>,
}

impl End {
    /// Nothing is asserted about bytes that had not come: the connection ended as planned, or the run was stopped.
    pub const STOPPED: End = End { missing: None, complete: None };
}

/// As many bytes are hardly ever equal to others by chance.
const MIN_EARLY_TAIL_BYTES: u64 = 4;

/// Checks what one connection receives. It holds 24 bytes while all is right.
pub struct Verifier {
    conn: ConnId,
    position: u64,
    recovery: Option<Box<Recovery>>,
}

/// What only a connection that went wrong needs.
struct Recovery {
    /// Bytes that came.
    received: u64,
    /// What came since the stream broke off, if it has not resumed yet.
    mismatch: Option<Mismatch>,
    classifier: ClassifierState,
}

impl Verifier {
    /// For a connection that has received nothing yet.
    pub fn new(conn: ConnId) -> Verifier {
        Verifier { conn, position: 0, recovery: None }
    }

    /// The connection.
    pub fn conn(&self) -> ConnId {
        self.conn
    }

    /// The stream offset up to which everything is accounted for: the bytes were right, or a divergence covers them. It
    /// does not move while it is undecided where wrong bytes belong.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The stream offset up to which bytes have come, if those not accounted for yet are own ones in place. It tells
    /// whether more can be expected, and is beyond what was sent if too many came.
    pub fn reached(&self) -> u64 {
        let mismatch = self.recovery.as_ref().and_then(|recovery| recovery.mismatch.as_ref());
        self.position + mismatch.map_or(0, Mismatch::consumed)
    }

    /// Bytes that were right, in their order.
    pub fn verified(&self) -> u64 {
        self.position - self.recovery.as_ref().map_or(0, |recovery| recovery.classifier.wrong)
    }

    /// Bytes that came, right or wrong.
    pub fn received(&self) -> u64 {
        self.recovery.as_ref().map_or(self.position, |recovery| recovery.received)
    }

    /// Counts the next `n` bytes as right without comparing them, to find out what the comparison costs.
    pub fn trust(&mut self, n: u64) {
        self.position += n;
    }

    /// Checks the next bytes received, and adds to `found` what is wrong with them as soon as that is certain.
    #[inline]
    pub fn check(&mut self, stream: &Stream, ledger: &dyn Ledger, received: &[u8], found: &mut Vec<Divergence>) {
        if self.recovery.is_none() && stream.first_mismatch(self.conn, self.position, received).is_none() {
            self.position += received.len() as u64;
        } else {
            self.check_closely(stream, ledger, received, found);
        }
    }

    /// After a check: notes the circumstances of the bytes just received, for divergences in them that become certain
    /// only later. `circumstances` is called only if there may be such. Returns whether there are.
    #[inline]
    pub fn note(&mut self, circumstances: impl FnOnce() -> Circumstances) -> bool {
        let Some(recovery) = &mut self.recovery else { return false };
        let Recovery { mismatch, classifier, .. } = recovery.as_mut();
        let current = mismatch.iter_mut().map(|mismatch| &mut mismatch.circumstances);
        let unknown = current.filter(|known| known.is_none());
        let mut unknown = unknown.chain(classifier.without_circumstances()).peekable();
        let is_wrong = unknown.peek().is_some();
        if is_wrong {
            let circumstances = Arc::new(circumstances());
            unknown.for_each(|unknown| *unknown = Some(Arc::clone(&circumstances)));
        }
        is_wrong
    }

    /// Judges the end of the connection. To be called once, after the last [`Verifier::check`].
    pub fn end(&mut self, stream: &Stream, ledger: &dyn Ledger, end: End, found: &mut Vec<Divergence>) {
        let view = &StreamView::new(stream, ledger, self.conn);
        let before = found.len();
        if self.recovery.as_ref().is_some_and(|recovery| recovery.classifier.has_had_enough()) {
            // What came since was not looked at, so nothing is known to be missing.
            return;
        }
        if let Some(recovery) = &mut self.recovery {
            let Recovery { mismatch, classifier: state, .. } = recovery.as_mut();
            let mut classifier = Classifier { view, state, found };
            if let Some(mismatch) = mismatch.take() {
                self.position = classifier.finish(mismatch);
            }
            let missing = view.sent.saturating_sub(self.position);
            if missing > 0 && classifier.finds_tail(self.position, missing) {
                self.position = view.sent;
            }
            classifier.settle(u64::MAX);
        }
        if self.position > view.sent {
            self.report_unsent(view, found);
            self.position = view.sent;
        }
        let missing = view.sent.saturating_sub(self.position);
        let kind = if missing > 0 { end.missing } else { end.complete };
        // What was wrong with the bytes explains an end that came too soon or too late.
        let is_explained = missing == 0 && found.len() > before;
        let explained = [FindingKind::Truncated, FindingKind::Stalled];
        if let Some(kind) = kind.filter(|kind| !(is_explained && explained.contains(kind))) {
            found.push(self.broken_off(view, kind, missing));
        }
    }

    #[cold]
    fn check_closely(&mut self, stream: &Stream, ledger: &dyn Ledger, received: &[u8], found: &mut Vec<Divergence>) {
        let view = &StreamView::new(stream, ledger, self.conn);
        if self.recovery.is_none() && self.position > view.sent {
            // The bytes beyond looked right, since they are what would have been sent next.
            let unsent = view.own(view.sent, (self.position - view.sent) as usize);
            self.position = view.sent;
            return self.check_closely(stream, ledger, &[&unsent, received].concat(), found);
        }
        let position = &mut self.position;
        let recovery = self.recovery.get_or_insert_with(|| Box::new(Recovery::new(*position)));
        let Recovery { received: total, mismatch, classifier: state } = recovery.as_mut();
        *total += received.len() as u64;
        let mut classifier = Classifier { view, state, found };
        let mut rest = received;
        while !rest.is_empty() && !classifier.state.has_had_enough() {
            let Some(current) = mismatch else {
                // What was not sent yet cannot have come back, even if it looks right.
                let owed = usize::try_from(view.sent.saturating_sub(*position)).unwrap_or(usize::MAX);
                let right = stream.first_mismatch(self.conn, *position, rest).unwrap_or(rest.len()).min(owed);
                *position += right as u64;
                rest = &rest[right..];
                classifier.settle(*position);
                *mismatch = (!rest.is_empty()).then(|| classifier.begin(*position));
                continue;
            };
            let consumed = match current.feed(view, rest) {
                Fed::All => rest.len(),
                Fed::Resumed(consumed, resumption) => {
                    if let Some(ended) = mismatch.take() {
                        *position = classifier.resume(ended, resumption);
                    }
                    consumed
                }
                Fed::Full(consumed) => {
                    if let Some(full) = mismatch.replace(Mismatch::new(view, *position, *position)) {
                        classifier.overflow(full);
                    }
                    consumed
                }
            };
            rest = &rest[consumed..];
        }
        let missing = view.sent.saturating_sub(*position);
        if mismatch.is_none() && missing >= MIN_EARLY_TAIL_BYTES && classifier.finds_tail(*position, missing) {
            *position = view.sent;
        }
    }

    /// Reports bytes that were never sent but looked right, since they are what would have been sent next.
    fn report_unsent(&self, view: &StreamView<'_>, found: &mut Vec<Divergence>) {
        let extent = self.position - view.sent;
        let begins_earlier = |source: &StreamSource| {
            let before = source.offset.checked_sub(extent);
            before.is_some_and(|before| {
                view.bytes(source.conn, before, extent as usize) == view.own(view.sent, extent as usize)
            })
        };
        let next = found.iter_mut().find(|next| next.offset == self.position && next.replaced == 0);
        if let Some(next) = next
            && (next.kind == FindingKind::Surplus || next.source.as_ref().is_some_and(begins_earlier))
        {
            // They are the first bytes of the finding that follows.
            next.offset = view.sent;
            next.extent += extent;
            next.source.iter_mut().for_each(|source| source.offset -= extent);
            return;
        }
        let mut divergence = Divergence::of_connection(FindingKind::Surplus, self.conn, view.sent, extent);
        let before = view.sent.min(EXCERPT_BEFORE_BYTES);
        let after = extent.min(EXCERPT_AFTER_BYTES as u64);
        divergence.excerpt_offset = view.sent - before;
        divergence.expected = view.own(divergence.excerpt_offset, before as usize);
        divergence.received = view.own(divergence.excerpt_offset, (before + after) as usize);
        found.push(divergence);
    }

    /// The connection ended, or nothing more came, while `missing` bytes were missing.
    fn broken_off(&self, view: &StreamView<'_>, kind: FindingKind, missing: u64) -> Divergence {
        let right_since = self.recovery.as_ref().map_or(0, |recovery| recovery.classifier.right_since);
        let before = (self.position - right_since).min(EXCERPT_BEFORE_BYTES);
        let after = missing.min(EXCERPT_AFTER_BYTES as u64);
        let mut divergence = Divergence::of_connection(kind, self.conn, self.position, missing);
        divergence.excerpt_offset = self.position - before;
        divergence.received = view.own(divergence.excerpt_offset, before as usize);
        divergence.expected = view.own(divergence.excerpt_offset, (before + after) as usize);
        divergence
    }
}

impl Recovery {
    fn new(received: u64) -> Recovery {
        Recovery { received, mismatch: None, classifier: ClassifierState::default() }
    }
}

#[cfg(test)]
mod tests;
