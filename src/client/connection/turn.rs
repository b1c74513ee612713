//! What a connection and its worker say to each other: what the connection may use in a turn, and what it waits for at
//! the end of it.

use std::io;
use std::net::Shutdown;

use crate::client::clock::RunClock;
use crate::client::half_close_evidence::HalfCloseEvidence;
use crate::client::sent_ledger::{OwnLedger, SentLedger};
use crate::measure::LoadStats;
use crate::stream::{ConnId, Divergence, Stream};

/// What a connection needs of a socket. `WouldBlock` is not an error here: it ends the turn, and the worker arranges
/// for the next one.
pub(in crate::client) trait Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;
    fn write(&mut self, from: &[u8]) -> io::Result<usize>;
    /// Sends a byte of urgent data, which is not one of the stream.
    fn write_urgent(&mut self, byte: u8) -> io::Result<()>;
    /// The next byte of urgent data that has come, where the wait reports it.
    fn take_urgent(&mut self) -> Option<u8> {
        None
    }
    /// Shuts down a direction. For writing, that sends the FIN.
    fn shutdown(&mut self, how: Shutdown) -> io::Result<()>;
    /// Whether there is something to read, without reading it.
    fn is_readable(&mut self) -> bool;
    /// Forgets that the socket was not ready: the next read and the next write ask the system.
    fn assume_ready(&mut self);
    /// Makes the close that follows a reset.
    fn close_with_reset(&mut self);
}

/// What a connection may use in a turn, and what it must know of the run. Times are nanoseconds since the start of the
/// run.
pub(in crate::client) struct TurnContext<'a> {
    /// The streams that it sends, and what all connections have sent of them.
    pub(in crate::client) stream: &'a Stream,
    pub(in crate::client) ledger: &'a SentLedger,
    /// The same of what it receives: in an echo, the same streams.
    pub(in crate::client) incoming: &'a Stream,
    pub(in crate::client) incoming_ledger: &'a SentLedger,
    pub(in crate::client) scratch: &'a mut [u8],
    pub(in crate::client) found: &'a mut Vec<Divergence>,
    pub(in crate::client) stats: &'a mut LoadStats,
    pub(in crate::client) clock: &'a RunClock,
    pub(in crate::client) half_close: &'a HalfCloseEvidence,
    /// Every connection with an end of its own has ended, so those that only waited for that close.
    pub(in crate::client) others_rest: bool,
    /// All connections of the group have had their echo at one moment, so those that only waited for that close.
    pub(in crate::client) group_arrived: bool,
    /// When the time of the group is up.
    pub(in crate::client) deadline: u64,
}

impl<'a> TurnContext<'a> {
    /// The ledger of what this connection receives, of which `sent` bytes were sent.
    #[inline]
    pub(super) fn ledger_of_incoming(&self, conn: ConnId, sent: u64) -> OwnLedger<'a> {
        let is_echo = std::ptr::eq(self.ledger, self.incoming_ledger);
        OwnLedger { all: self.incoming_ledger, conn, sent, other_way: (!is_echo).then_some((self.stream, self.ledger)) }
    }
}

/// The result of a turn.
#[derive(Debug)]
pub(in crate::client) enum TurnResult {
    /// Nothing moves any more. The next turn is due when the socket is ready, or at `timer`.
    Wait {
        /// When the next turn is due even if the socket is not ready.
        timer: Option<u64>,
        /// Whether the peer owes something, so that silence counts as a stall.
        owed: bool,
        /// Whose move the connection waits for.
        waits_for: WaitsFor,
        /// Whether what is owed has come nearer in this turn.
        progress: bool,
    },
    /// The turn ended so that other connections have theirs. The next one is due soon.
    Yield {
        /// As in `Wait`.
        owed: bool,
        /// As in `Wait`.
        progress: bool,
    },
    /// The connection is over. The error is what the system said, if that ended it.
    Over(Option<io::Error>),
}

/// Whose move a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum WaitsFor {
    /// Its own, or the peer's.
    Itself,
    /// That of the other connections of its group, so that all of them end together.
    Group,
    /// The end of all other connections of the run.
    Run,
}
