//! The echo server that fails on purpose: it echoes like any other server, except where its [`Fault`]s say otherwise.
//! It proves that the client detects, names and locates each defect, and that a user's own test set-up does.
//!
//! - [`kind`] is the table of kinds, and of the keys that each takes;
//! - [`spec`] is one fault as it is requested: `drop:len=3,at=65536,conn=7`;
//! - `schedule` draws from the seed where in a connection's stream a fault is due;
//! - `injector` turns the bytes that one connection receives into a `script` of actions;
//! - `registry`, `history` and `buffer` know what was received earlier and on other connections;
//! - `serve`, `shared` and `connection` own the sockets;
//! - [`log`] writes one JSON object for each injected fault.
//!
//! All but `serve`, `shared`, `connection` and `log` are pure. Like every server, this one does not know the stream
//! that the client sends.
//!
//! # What each fault does
//!
//! Offsets count the bytes that the server received on a connection, from 0. If nothing else is wrong they are the
//! offsets of the client's stream. `[a, b)` includes `a` and excludes `b`.
//!
//! | fault | on a connection that sent `s` |
//! | --- | --- |
//! | `flip` | `n` bits of byte `at` are inverted |
//! | `zero` | `[at, at+len)` is zero; the log names the range from the first to the last byte that was not zero already |
//! | `drop` | `[at, at+len)` is left out |
//! | `duplicate` | `[at, at+len)` is sent twice in a row |
//! | `reorder` | `[at+len, at+2·len)` is sent before `[at, at+len)`, which is held back until then, but at most 100 ms: if fewer bytes came by then it is sent after those (`over` in the log), and if none came nothing was reordered |
//! | `crosstalk` | `len` bytes that another open connection sent lately are sent at `at`, in place of `[at, at+len)` (`mode=replace`) or before it (`insert`); or `[at, at+len)` is left out here and inserted into the echo of another open connection (`move`). Without another connection nothing happens |
//! | `stale` | each receive takes up to `len` bytes into the front of a buffer of `len`, and everything that the buffer ever held is sent; or (`from=older`) bytes that end at least 64 before `at`, or (`from=closed`) bytes of a connection that closed at least 50 ms ago, are sent before `at` or in place of `[at, at+len)` |
//! | `truncate` | a FIN follows `[0, at)`; later bytes are discarded |
//! | `surplus` | `len` random bytes before `at`, or without `at` and `every` after the last byte |
//! | `stall` | nothing follows `[0, at)`; later bytes are discarded, and the socket stays open |
//! | `reset` | `[0, at)`, 50 ms for it to arrive, then a reset |
//! | `no-fin` | all of `s`, then nothing; the socket stays open |
//! | `fin-without-drain` | each byte is sent `time` after it was received; at the client's FIN the FIN is sent at once, and the bytes still waiting never are |
//! | `one-at-a-time` | nothing is received until the earlier connections have ended |
//! | `limit` | accepted while `n` others are served, the connection is ignored: bytes are discarded, nothing is sent, and the socket stays open; with `beyond=queue` nothing is received until one of the others has ended |
//! | `delay` | nothing is sent for `time` after `[0, at)` |
//!
//! `at` alone is one place on each connection. `every` is one place in each interval of that length, drawn from the
//! seed. Without both, `every=256KiB` holds, and a fault that ends its connection does so at a place drawn below 64
//! KiB. `times` limits the places on one connection. `p` is the probability of each place, or of each connection for a
//! fault without places. `conn` names the only connection that is hit. Places depend on the seed, the fault's number on
//! the command line and the connection's number alone, so they are the same in every run. `registry` says how
//! connections are numbered, and why a replayed one keeps its number.

mod buffer;
mod connection;
mod history;
mod injector;
pub mod kind;
pub mod log;
mod registry;
mod schedule;
mod script;
mod serve;
mod shared;
pub mod spec;

pub use kind::FaultKind;
pub use log::{FaultLog, FaultRecord, StreamPlace};
pub use serve::FaultyServer;
pub use spec::Fault;
