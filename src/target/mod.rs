//! Servers under test that this program starts: bundled ones, and those of a command line. How they start, what they
//! print, whether they still serve, and how they end.
//!
//! Both kinds promise the same: ready when `start` returns, asked to end before they are killed, never left behind.
//! [`test_server`] is one server, and [`test_bed`] all processes of a case. No verdict is reached here.

pub mod bundled;
mod captured_output;
mod command_server;
mod echo_probe;
mod escaped;
pub mod kernel_watch;
pub mod lifecycle;
mod listening;
pub mod liveness;
mod patience;
mod private_folder;
pub mod program_path;
pub mod resources;
pub mod serve_event;
mod server_log;
mod started_process;
pub mod test_bed;
pub mod test_server;
