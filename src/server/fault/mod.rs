//! The echo server that fails on purpose: it echoes like any other server, except where its [`Fault`]s say otherwise.
//! It proves that the client detects, names and locates each defect, and that a user's own test set-up does.
//!
//! - [`kind`] is the table of kinds, and of the keys that each takes;
//! - [`choice`] holds the keywords that keys take;
//! - [`spec`] is one fault as it is requested: `drop:len=3,at=65536,conn=7`;
//! - `schedule` draws from the seed where in a connection's stream a fault is due;
//! - `injector` turns the bytes that one connection receives into a `script` of actions;
//! - `registry`, `history` and `buffer` know what was received earlier and on other connections;
//! - `terminal` is a terminal's layer, `send_side` the interest in a socket's space that a fault loses;
//! - `serve`, `shared` and `connection` own the sockets;
//! - [`log`] writes one JSON object for each injected fault;
//! - `rehearsal` tells what a fault would do, without a socket.
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
//! | `lost-wakeup` | a write blocks after `n` earlier ones had blocked and were drained: the socket is not armed again. Later bytes are discarded, and the socket stays open; with `until=input` each receive tries one write, and only that |
//! | `close-timer` | `after` the client's FIN the socket is closed; what is unsent by then is dropped |
//! | `early-fin` | at the client's FIN, what the socket does not take at once is dropped, and the FIN is sent |
//! | `slot-leak` | when `n` connections were accepted since the server began, further ones are ignored as beyond a `limit` |
//! | `idle-drop` | after `after` without a byte in either direction and with nothing to send, the next byte and all later ones are discarded, and the socket stays open; with `then=reset` the next packet of the client is answered with a reset |
//! | `lockup` | when `len` bytes wait, the socket takes none of them and more came, nothing is received or sent any more |
//! | `session-reset` | when a client resets its connection, every other open one is reset |
//! | `short-send` | what a write did not take of the bytes that wait is dropped |
//! | `trickle` | `rate` bytes a second are sent, a tenth of a second's bytes at a time, but at least one |
//! | `urgent-cut` | when an urgent byte has come, the socket is closed; with `cuts=pending` the unsent bytes and those of the next receive are dropped |
//! | `busy-writers` | a connection that gets something to send while `n` others have something is treated as by `lost-wakeup` |
//! | `telnet` | `what=nul`: each 0x00 is dropped; `iac`: 0xFF and the command behind it are dropped, of 0xFF 0xFF one; `double`: each 0xFF is sent twice; `xon`: each 0x11 and 0x13 is dropped. `p` is that of each such byte. The log has a `drop` or a `duplicate` for each |
//! | `rdhup` | once the FIN is known to have come, at most `len` further bytes are received; then the socket is closed, which resets the connection if bytes were unread |
//! | `reset-at-end` | all of `s`, 50 ms for it to arrive, then a reset in place of the FIN |
//!
//! `at` alone is one place on each connection. `every` is one place in each interval of that length, drawn from the
//! seed. Without both, `every=256KiB` holds, and a fault that ends its connection does so at a place drawn below 64
//! KiB. `times` limits the places on one connection. `p` is the probability of each place, or of each connection for a
//! fault without places. `conn` names the only connection that is hit. Places depend on the seed, the fault's number on
//! the command line and the connection's number alone, so they are the same in every run. `registry` says how
//! connections are numbered, and why a replayed one keeps its number.

mod buffer;
pub mod choice;
mod connection;
mod history;
mod injector;
pub mod kind;
pub mod log;
mod registry;
mod rehearsal;
mod schedule;
mod script;
mod send_side;
mod serve;
mod shared;
pub mod spec;
mod terminal;

pub use kind::FaultKind;
pub use log::{FaultLog, FaultRecord, StreamPlace};
pub use rehearsal::Rehearsal;
pub use serve::FaultyServer;
pub use spec::Fault;
