//! The server that is faulty on purpose: it echoes like any other, and does what its [`Fault`]s say. It proves that the
//! client finds, names and places what goes wrong, and that a user's own tests do.
//!
//! - [`spec`] is what it is told: `drop:len=3,at=65536,conn=7`;
//! - `schedule` draws where in each connection's stream a fault is due, from the seed;
//! - `injector` is what one connection makes of the bytes that it receives, into a `script`: pure, like `buffer` and
//!   `roster`, which know what was received before and elsewhere;
//! - `serve` and `link` have the sockets;
//! - [`log`] is one JSON object for each fault that was injected.
//!
//! Like every server it knows nothing of the stream that the client sends.
//!
//! # What the faults do, exactly
//!
//! Offsets count the bytes that the server received on a connection, from 0; at a server that is otherwise right they
//! are the offsets of the client's stream. `[a, b)` leaves out `b`.
//!
//! | fault | on a connection that sent `s` |
//! | --- | --- |
//! | `flip` | `n` bits of byte `at` are inverted |
//! | `zero` | `[at, at+len)` is zero; logged from the first to the last byte that was not zero already |
//! | `drop` | `[at, at+len)` is left out |
//! | `duplicate` | `[at, at+len)` is sent, and sent again |
//! | `reorder` | `[at+len, at+2·len)` is sent before `[at, at+len)`. The latter is kept back until then, for 100 ms at most: if fewer bytes came it is sent after those (`over` in the log), and if none came nothing was reordered |
//! | `crosstalk` | `len` bytes that another open connection sent lately come at `at`, in place of `[at, at+len)` (`mode=replace`) or before it (`insert`); or `[at, at+len)` is left out and put into the echo of another open connection (`move`). Without another connection, nothing |
//! | `stale` | after each receive of up to `len` bytes into the front of a buffer of `len`, all of it that was ever filled is sent; or (`from=older`) bytes that end at least 64 before `at`, or (`from=closed`) bytes of a connection that has been closed for 50 ms, come before `at` or in place of `[at, at+len)` |
//! | `truncate` | FIN after `[0, at)`; what still comes is discarded |
//! | `surplus` | `len` random bytes before `at`, or without `at` and `every` after the last byte |
//! | `stall` | nothing after `[0, at)`; what still comes is discarded, the socket stays open |
//! | `reset` | `[0, at)`, 50 ms for it to arrive, reset |
//! | `no-fin` | all of `s`, then nothing; the socket stays open |
//! | `fin-without-drain` | everything is sent `time` after it was received; at the client's FIN the rest never is, and the FIN is sent at once |
//! | `one-at-a-time` | nothing is received until the connections before it have ended |
//! | `limit` | accepted while `n` others are served: what comes is discarded, nothing is sent, the socket stays open; with `beyond=queue` nothing is received until one of the others has ended |
//! | `delay` | nothing is sent for `time` after `[0, at)` |
//!
//! `at` alone is one place on each connection; `every` one place in each interval of so many bytes, which the seed
//! draws; without both, `every=256KiB`, and what ends a connection does so at a place drawn below 64 KiB. `times`
//! bounds the places of a connection, `p` is the probability of each place (of each connection, where there is none),
//! `conn` names the only connection that is hit. Places depend on the seed, the fault's number on the command line and
//! the connection's number alone, so that they are the same in every run; see `roster` for what the number of a
//! connection is and why one that is replayed has the same.

mod buffer;
mod injector;
mod link;
pub mod log;
mod roster;
mod schedule;
mod script;
mod serve;
pub mod spec;

pub use log::{FaultLog, Record, Source};
pub use spec::{Fault, FaultError, FaultKind};

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use super::context::Context;

/// A server that does what its faults say.
pub struct Faulty {
    /// What it does wrong; nothing: it is an echo server.
    pub faults: Vec<Fault>,
    /// What all places follow from.
    pub seed: u64,
    /// Where the injected faults are written.
    pub log: FaultLog,
}

impl Faulty {
    /// Serves until told to stop, for [`Server::start_with`](super::Server::start_with).
    ///
    /// # Errors
    /// The runtime or the listener fails, or the log can't be written.
    pub fn run(self, listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
        serve::run(self, listener, context)
    }
}
