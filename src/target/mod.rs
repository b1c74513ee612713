//! Servers under test that this program starts itself: bundled ones and those of a command line. How they start, what
//! they print, whether they still serve, how they end.

pub mod bundled;
mod captured_output;
pub mod command_server;
pub mod liveness;
pub mod test_server;
