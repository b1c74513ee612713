//! Received bytes against the stream: a compare as long as they are right, a diagnosis when they are not. Pure: it
//! reads no clock and does no I/O; what other connections have sent it asks of a [`Ledger`].

use std::sync::Arc;

use super::classify::{AFTER, BEFORE};
use super::diagnose::Diagnosis;
use super::finding::{ByteSource, Circumstances, Divergence, FindingKind};
use super::mismatch::{Episode, Fed, View};
use super::pattern::{ConnId, Stream};

/// What every connection of the run has sent so far.
pub trait Ledger {
    /// What this connection has sent, or `None` if this run never opened it.
    fn sent(&self, conn: ConnId) -> Option<LedgerEntry>;
}

/// What a connection has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Bytes handed to the socket so far.
    pub bytes: u64,
    /// Whether it is open still.
    pub open: bool,
    /// Whether that is known. What is only possible is believed on more evidence: of so many words that could have been
    /// sent, chance makes some.
    pub known: bool,
}

/// What a plan asserts about a connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedEcho {
    /// Every byte that was sent comes back, and then EOF.
    Exact,
    /// What comes back is a prefix of what was sent: the plan ends in a reset, or leaves echo unread.
    Prefix,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// EOF came.
    Fin {
        /// What the plan asserts.
        expected: ExpectedEcho,
        /// Nothing had come for the stall time-out and the client half-closed to see what happens: bytes that are
        /// missing then were not cut off by the EOF, they were lost before.
        after_stall: bool,
    },
    /// The other side reset the connection.
    Reset {
        /// What the plan asserts.
        expected: ExpectedEcho,
    },
    /// Nothing came for the stall time-out, and the client gave up.
    Stalled {
        /// Whether the client had half-closed: if every byte came, the EOF is what is missing.
        half_closed: bool,
    },
    /// The client itself ended the connection, as planned or because the run was stopped; nothing is asserted about
    /// bytes that had not come yet.
    Stopped,
}

/// Bytes that are hardly ever equal to others by chance.
const BEYOND_CHANCE: u64 = 4;

/// Checks what one connection receives. 24 bytes as long as all is right.
pub struct Verifier {
    conn: ConnId,
    position: u64,
    trouble: Option<Box<Trouble>>,
}

/// What only a connection that went wrong needs.
struct Trouble {
    /// Bytes that came.
    received: u64,
    /// Where the right bytes up to the position begin.
    right_since: u64,
    /// What came since the stream broke off, if it has not gone on yet.
    episode: Option<Episode>,
    diagnosis: Diagnosis,
}

impl Verifier {
    /// For a connection that has received nothing yet.
    pub fn new(conn: ConnId) -> Verifier {
        Verifier { conn, position: 0, trouble: None }
    }

    /// The connection.
    pub fn conn(&self) -> ConnId {
        self.conn
    }

    /// The stream offset up to which all is accounted for: the bytes were right, or a divergence covers them. It stands
    /// still while it is open where wrong bytes belong.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The stream offset up to which bytes have come, those that are not accounted for yet taken for own ones in place:
    /// what tells whether more can be expected. Beyond what was sent if there were too many.
    pub fn reached(&self) -> u64 {
        let pending = self.trouble.as_ref().and_then(|trouble| trouble.episode.as_ref()).map_or(0, Episode::taken);
        self.position + pending
    }

    /// Bytes that were right, in their order.
    pub fn verified(&self) -> u64 {
        self.position - self.trouble.as_ref().map_or(0, |trouble| trouble.diagnosis.wrong)
    }

    /// Bytes that came, right or wrong.
    pub fn received(&self) -> u64 {
        self.trouble.as_ref().map_or(self.position, |trouble| trouble.received)
    }

    /// Takes the next `n` bytes received for right, unseen: for finding out what the compare costs.
    pub fn trust(&mut self, n: u64) {
        self.position += n;
    }

    /// Takes in the next bytes received, and adds to `found` what is wrong with them as soon as that is certain.
    #[inline]
    pub fn check(&mut self, stream: &Stream, ledger: &dyn Ledger, received: &[u8], found: &mut Vec<Divergence>) {
        if self.trouble.is_none() && stream.first_mismatch(self.conn, self.position, received).is_none() {
            self.position += received.len() as u64;
        } else {
            self.check_closely(stream, ledger, received, found);
        }
    }

    /// After a check: notes what surrounds the bytes just received, for divergences that they hold and that are certain
    /// only later. `circumstances` is asked only if there may be such.
    #[inline]
    pub fn note(&mut self, circumstances: impl FnOnce() -> Circumstances) {
        if let Some(trouble) = &mut self.trouble {
            let Trouble { episode, diagnosis, .. } = trouble.as_mut();
            let open = episode.iter_mut().map(|episode| &mut episode.circumstances).filter(|noted| noted.is_none());
            let mut unnoted = open.chain(diagnosis.unnoted()).peekable();
            if unnoted.peek().is_some() {
                let circumstances = Arc::new(circumstances());
                unnoted.for_each(|unnoted| *unnoted = Some(Arc::clone(&circumstances)));
            }
        }
    }

    /// Judges the end of the connection. To be called once, after the last [`Verifier::check`].
    pub fn end(&mut self, stream: &Stream, ledger: &dyn Ledger, end: End, found: &mut Vec<Divergence>) {
        let view = View::new(stream, ledger, self.conn);
        if let Some(trouble) = &mut self.trouble {
            let Trouble { right_since, episode, diagnosis, .. } = trouble.as_mut();
            if let Some(episode) = episode.take() {
                self.position = diagnosis.finish(&view, episode, *right_since, found);
                *right_since = self.position;
            }
            let missing = view.sent.saturating_sub(self.position);
            if missing > 0 && diagnosis.finds_tail(&view, self.position, missing, found) {
                self.position = view.sent;
            }
            diagnosis.settle(u64::MAX, found);
        }
        if self.position > view.sent {
            self.too_much(&view, found);
            self.position = view.sent;
        }
        let missing = view.sent.saturating_sub(self.position);
        let kind = match end {
            End::Fin { expected: ExpectedEcho::Exact, after_stall: true } if missing > 0 => FindingKind::Lost,
            End::Fin { expected: ExpectedEcho::Exact, after_stall: false } if missing > 0 => FindingKind::Truncated,
            End::Reset { expected: ExpectedEcho::Exact } => FindingKind::Reset,
            End::Stalled { .. } if missing > 0 => FindingKind::Stalled,
            End::Stalled { half_closed: true } => FindingKind::NoFin,
            _ => return,
        };
        found.push(self.broken_off(&view, kind, missing));
    }

    #[cold]
    fn check_closely(&mut self, stream: &Stream, ledger: &dyn Ledger, received: &[u8], found: &mut Vec<Divergence>) {
        let view = View::new(stream, ledger, self.conn);
        if self.trouble.is_none() && self.position > view.sent {
            // The bytes beyond were taken for right ones, since they are what would have been sent next.
            let early = view.own(view.sent, (self.position - view.sent) as usize);
            self.position = view.sent;
            return self.check_closely(stream, ledger, &[&early, received].concat(), found);
        }
        let position = &mut self.position;
        let trouble = self.trouble.get_or_insert_with(|| Box::new(Trouble::new(*position)));
        let Trouble { right_since, episode, diagnosis, .. } = trouble.as_mut();
        let mut rest = received;
        while !rest.is_empty() {
            let Some(open) = episode else {
                // What was not sent yet can't have come back, even if it looks right.
                let owed = usize::try_from(view.sent.saturating_sub(*position)).unwrap_or(usize::MAX);
                let right = stream.first_mismatch(self.conn, *position, rest).unwrap_or(rest.len()).min(owed);
                *position += right as u64;
                rest = &rest[right..];
                diagnosis.settle(*position, found);
                *episode = (!rest.is_empty()).then(|| Episode::new(&view, *position, *right_since));
                continue;
            };
            let taken = match open.feed(&view, rest) {
                Fed::All => rest.len(),
                Fed::Resumed(taken, resumed) => {
                    if let Some(episode) = episode.take() {
                        *position = diagnosis.resume(&view, episode, resumed, *right_since, found);
                        *right_since = resumed.from;
                    }
                    taken
                }
                Fed::Full(taken) => {
                    if let Some(full) = episode.replace(Episode::new(&view, *position, *position)) {
                        diagnosis.overflow(&view, full, *right_since, found);
                    }
                    taken
                }
            };
            rest = &rest[taken..];
        }
        let missing = view.sent.saturating_sub(*position);
        if episode.is_none() && missing >= BEYOND_CHANCE && diagnosis.finds_tail(&view, *position, missing, found) {
            *position = view.sent;
        }
        trouble.received += received.len() as u64;
    }

    /// Bytes that were never sent look right if they are what would have been sent next.
    fn too_much(&self, view: &View<'_>, found: &mut Vec<Divergence>) {
        let extent = self.position - view.sent;
        let begins_so = |source: &ByteSource| {
            let before = source.offset.checked_sub(extent);
            before.is_some_and(|before| {
                view.bytes(source.conn, before, extent as usize) == view.own(view.sent, extent as usize)
            })
        };
        let more = found.iter_mut().find(|more| more.offset == self.position && more.replaced == 0);
        if let Some(more) = more
            && (more.kind == FindingKind::Surplus || more.source.as_ref().is_some_and(begins_so))
        {
            // They are the first of those that come after them.
            more.offset = view.sent;
            more.extent += extent;
            more.source.iter_mut().for_each(|source| source.offset -= extent);
            return;
        }
        let mut divergence = Divergence::of_connection(FindingKind::Surplus, self.conn, view.sent, extent);
        divergence.excerpt_offset = view.sent - view.sent.min(BEFORE);
        let before = (view.sent - divergence.excerpt_offset) as usize;
        divergence.expected = view.own(divergence.excerpt_offset, before);
        divergence.received = view.own(divergence.excerpt_offset, before + extent.min(AFTER as u64) as usize);
        found.push(divergence);
    }

    /// The connection ended, or nothing more came, with so many bytes missing.
    fn broken_off(&self, view: &View<'_>, kind: FindingKind, missing: u64) -> Divergence {
        let right_since = self.trouble.as_ref().map_or(0, |trouble| trouble.right_since);
        let before = (self.position - right_since).min(BEFORE);
        let mut divergence = Divergence::of_connection(kind, self.conn, self.position, missing);
        divergence.excerpt_offset = self.position - before;
        divergence.received = view.own(divergence.excerpt_offset, before as usize);
        divergence.expected = view.own(divergence.excerpt_offset, (before + missing.min(AFTER as u64)) as usize);
        divergence
    }
}

impl Trouble {
    fn new(received: u64) -> Trouble {
        Trouble { received, right_since: 0, episode: None, diagnosis: Diagnosis::default() }
    }
}

#[cfg(test)]
mod tests;
