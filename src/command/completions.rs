//! `completions SHELL`.

use clap::Args;
use clap_complete::Shell;

use crate::exit::Exit;
use crate::output::console::print;

/// The flags of `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the completions of this command line.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &CompletionsArgs, mut command: clap::Command) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "echo-tester", &mut text);
    print(String::from_utf8_lossy(&text).trim_end())?;
    Ok(Exit::Pass)
}
