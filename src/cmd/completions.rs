//! `completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::print;
use crate::cli::Cli;
use crate::exit::Exit;

/// The flags of `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Prints the completions.
///
/// # Errors
/// Standard output can't be written.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "echo-tester", &mut text);
    print(String::from_utf8_lossy(&text).trim_end())?;
    Ok(Exit::Pass)
}
