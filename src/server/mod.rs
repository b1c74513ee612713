//! The bundled echo servers: a table of models, and a harness that starts, stops and counts all of them alike.
//!
//! - [`models`] is the table, and one file or folder for each model.
//! - [`Server`] is the harness: it binds the listener, gives it to the model's `run` on a thread of its own, and stops
//!   it.
//! - [`Context`] is all that a model sees of the harness; [`Session`] is all that it sees of a connection's rules, and
//!   the door that every accepted socket passes.
//! - `wait` has what several models wait with and are woken by.
//! - `pool` starts worker threads, hands them connections, and ends them together.
//! - `readiness` is shared by the models that wait until sockets are ready (reactors), `completion` by those of Windows
//!   that wait until operations have completed (proactors).
//! - [`fault`] is the server that is faulty on purpose.
//! - [`tls`] is TLS at the server's end, for the models that can do it.
//! - [`echo`] is the pure half: which bytes wait, where the next ones go, when the FIN is due. Models move bytes,
//!   `echo` decides.
//!
//! Nothing here knows the stream that the client sends: a server that knew the pattern could hide its own bug.

mod accepting;
mod admission;
#[cfg(any(windows, test))]
mod completion;
mod context;
pub mod echo;
pub mod fault;
mod harness;
pub mod models;
mod phase;
mod pool;
mod readiness;
mod session;
pub(crate) mod simulated;
pub mod tls;
#[cfg(unix)]
mod unix_socket;
mod wait;

pub use context::{Accept, Context, CountersSnapshot, ServerCounters};
pub use harness::{Server, Stopped, Waited};
pub use phase::ServerPhase;
pub use session::Session;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The options of a server, resolved: no value here means 'default'.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Options {
    /// Threads that serve connections. A model with a thread for each connection ignores it; the table says which.
    pub workers: usize,
    /// Bytes that one connection may have in the server: received, and not sent back yet.
    pub buffer: usize,
    /// Connections served at a time. Further ones are closed at once, and counted as refused. Times `buffer`, this is
    /// the number of bytes that all of them together may have in the server.
    pub max_conns: usize,
    /// Close a connection on which nothing has moved for this long.
    pub idle_timeout: Option<Duration>,
    /// The listen backlog asked for; the system may give less.
    pub backlog: i32,
    /// Let several processes listen on one port (SO_REUSEPORT).
    pub reuse_port: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            workers: 1,
            buffer: 64 * 1024,
            max_conns: 1_000_000,
            idle_timeout: None,
            backlog: 4096,
            reuse_port: false,
        }
    }
}
