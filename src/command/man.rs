//! `man [SUBCOMMAND]`, `man --out DIR`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::console::print;

/// The flags of `man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Print the page of this subcommand [default: the page of the program]
    subcommand: Option<String>,
    /// Write all pages to this folder instead: echo-tester.1, echo-tester-blast.1 …
    #[arg(long, value_name = "DIR", conflicts_with = "subcommand")]
    out: Option<PathBuf>,
}

/// Prints a page of this command line, or writes all pages.
///
/// # Errors
/// There is no such subcommand, or the folder or standard output cannot be written.
pub fn run(args: &ManArgs, mut command: clap::Command) -> anyhow::Result<Exit> {
    command.build();
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        clap_mangen::generate_to(command, folder).with_context(|| format!("writing to {}", folder.display()))?;
        return Ok(Exit::Pass);
    }
    let page = match &args.subcommand {
        None => command,
        Some(name) => command
            .find_subcommand(name)
            .cloned()
            .map(|found| found.display_name(format!("echo-tester-{name}")))
            .ok_or_else(|| Failure::usage(format!("there is no subcommand '{name}': 'echo-tester help' lists them")))?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text).context("writing the page")?;
    print(String::from_utf8_lossy(&text).trim_end())?;
    Ok(Exit::Pass)
}
