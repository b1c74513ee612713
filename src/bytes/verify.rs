//! Received bytes against the stream: a compare as long as they are right, a diagnosis when they are not. Pure: it reads
//! no clock and does no I/O; what other connections have sent it asks of a [`Ledger`].

use super::finding::{Corruption, Divergence, Kind};
use super::pattern::{ConnId, Stream};

/// What every connection of the run has sent so far.
pub trait Ledger {
    /// What this connection has sent, or `None` if this run never opened it.
    fn sent(&self, conn: ConnId) -> Option<Sent>;
}

/// What a connection has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes handed to the socket so far.
    pub bytes: u64,
    /// Whether it is open still.
    pub open: bool,
}

/// What a plan asserts about a connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
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
        expect: Expect,
        /// Nothing had come for the stall time-out and the client half-closed to see what happens: bytes that are missing
        /// then were not cut off by the EOF, they were lost before.
        after_stall: bool,
    },
    /// The other side reset the connection.
    Reset {
        /// What the plan asserts.
        expect: Expect,
    },
    /// Nothing came for the stall time-out, and the client gave up.
    Stalled {
        /// Whether the client had half-closed: if every byte came, the EOF is what is missing.
        half_closed: bool,
    },
    /// The client itself ended the connection, as planned or because the run was stopped; nothing is asserted about bytes
    /// that had not come yet.
    Stopped,
}

/// Bytes before the first wrong one that an excerpt shows.
const BEFORE: u64 = 8;
/// Bytes from the first wrong one on that an excerpt shows.
const AFTER: usize = 24;

/// Checks what one connection receives.
pub struct Verifier {
    conn: ConnId,
    position: u64,
    trouble: Option<Box<Trouble>>,
}

/// What only a connection that went wrong needs.
#[derive(Default)]
struct Trouble {
    /// Bytes below the position that did not come, or came wrong.
    wrong: u64,
    /// Bytes received beyond those that the position accounts for.
    surplus: u64,
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

    /// The stream offset up to which all is accounted for: the bytes were right, or a divergence covers them.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that were right.
    pub fn verified(&self) -> u64 {
        self.position - self.trouble.as_ref().map_or(0, |trouble| trouble.wrong)
    }

    /// Bytes that came, right or wrong.
    pub fn received(&self) -> u64 {
        self.position + self.trouble.as_ref().map_or(0, |trouble| trouble.surplus)
    }

    /// Takes the next `n` bytes received for right, unseen: for finding out what the compare costs.
    pub fn trust(&mut self, n: u64) {
        self.position += n;
    }

    /// Takes in the next bytes received, and adds to `found` what is wrong with them.
    pub fn check(&mut self, stream: &Stream, ledger: &dyn Ledger, received: &[u8], found: &mut Vec<Divergence>) {
        match stream.first_mismatch(self.conn, self.position, received) {
            None => self.position += received.len() as u64,
            Some(right) => {
                self.position += right as u64;
                self.diverged(stream, ledger, &received[right..], found);
            }
        }
    }

    /// Judges the end of the connection. To be called once, after the last [`Verifier::check`].
    pub fn end(&mut self, _stream: &Stream, ledger: &dyn Ledger, end: End, found: &mut Vec<Divergence>) {
        let sent = ledger.sent(self.conn).map_or(0, |sent| sent.bytes);
        let missing = sent.saturating_sub(self.position);
        let kind = match end {
            End::Fin { expect: Expect::Exact, after_stall } if missing > 0 => {
                if after_stall {
                    Kind::Lost
                } else {
                    Kind::Truncated
                }
            }
            End::Reset { expect: Expect::Exact } => Kind::Reset,
            End::Stalled { .. } if missing > 0 => Kind::Stalled,
            End::Stalled { half_closed: true } => Kind::NoFin,
            _ => return,
        };
        found.push(Divergence::of_connection(kind, self.conn, self.position, missing));
    }

    #[cold]
    fn diverged(&mut self, stream: &Stream, ledger: &dyn Ledger, received: &[u8], found: &mut Vec<Divergence>) {
        let trouble = self.trouble.get_or_insert_default();
        let sent = ledger.sent(self.conn).map_or(0, |sent| sent.bytes);
        let in_place = received.len().min(sent.saturating_sub(self.position) as usize);
        let (received, surplus) = received.split_at(in_place);
        let mut expected = vec![0; received.len()];
        stream.fill(self.conn, self.position, &mut expected);
        let differs = |n: &usize| received[*n] != expected[*n];
        if let Some(last) = (0..received.len()).rev().find(differs) {
            let bytes = (0..=last).filter(differs).count() as u64;
            let bits = received.iter().zip(&expected).map(|(a, b)| u64::from((a ^ b).count_ones())).sum();
            let mut divergence = Divergence::of_connection(Kind::Corrupt, self.conn, self.position, last as u64 + 1);
            divergence.detail = Some(Corruption { bytes, bits, looks_like: None });
            divergence.excerpt_offset = self.position - self.position.min(BEFORE);
            divergence.expected = vec![0; (self.position - divergence.excerpt_offset) as usize];
            stream.fill(self.conn, divergence.excerpt_offset, &mut divergence.expected);
            divergence.received = divergence.expected.clone();
            divergence.expected.extend_from_slice(&expected[..expected.len().min(AFTER)]);
            divergence.received.extend_from_slice(&received[..received.len().min(AFTER)]);
            found.push(divergence);
            trouble.wrong += bytes;
        }
        self.position += received.len() as u64;
        if !surplus.is_empty() {
            let extent = surplus.len() as u64;
            let mut divergence = Divergence::of_connection(Kind::Surplus, self.conn, self.position, extent);
            divergence.received = surplus[..surplus.len().min(AFTER)].to_vec();
            found.push(divergence);
            trouble.surplus += extent;
        }
    }
}
