//! Servers under test that this program starts: bundled ones, and those of a command line. How they start, what they
//! print, whether they still serve, and how they end.
//!
//! Both kinds promise the same: ready when `start` returns, asked to end before they are killed, never left behind.
//! [`test_server`] is the one type that a run sees. No verdict is reached here.

pub mod bundled;
mod captured_output;
mod command_server;
mod echo_probe;
pub mod kernel_watch;
pub mod lifecycle;
mod listening;
pub mod liveness;
mod patience;
pub mod resources;
pub mod serve_event;
mod server_log;
pub mod started_process;
pub mod test_server;
