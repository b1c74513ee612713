//! Which process is the server, for a server that the program does not start itself.

use clap::Args;

use crate::units::ParseError;

/// The server's process as it was typed.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Run")]
pub struct WatchArgs {
    /// The process id of the server, on this machine: its descriptors, threads, memory and CPU time are watched
    ///
    /// All processes that it has started are watched with it. A server that this program starts is always watched.
    #[arg(long, value_name = "PID", env = "ECHO_TESTER_PID", hide_env = true, value_parser = process_id)]
    pub pid: Option<u32>,
}

fn process_id(text: &str) -> Result<u32, ParseError> {
    let wrong = || ParseError::new("it is not the id of a process").with_remedy("write the number that 'ps' shows");
    text.trim().parse().ok().filter(|id| *id > 0).ok_or_else(wrong)
}
