//! One file a subcommand: wiring only. Here are the ends that they share: how an error becomes an exit code, and how
//! results are printed.

pub mod blast;
pub mod bundled;
pub mod case;
pub mod check;
pub mod command;
pub mod compare;
pub mod completions;
pub mod deadline;
pub mod files;
pub mod github;
pub mod launch;
pub mod man;
pub mod merge;
pub mod models;
pub mod output;
pub mod progress;
pub mod reports;
pub mod result;
pub mod run;
pub mod schedule;
pub mod schema;
pub mod serve;
pub mod server;
pub mod serving;

use std::fmt;
use std::io::{self, Write};

use anyhow::Context as _;

use crate::cli::{Cli, Command};
use crate::config::ConfigError;
use crate::exit::Exit;

/// An error that knows its exit code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// Flags or a file that make no sense: exit code 2.
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Failure { exit: Exit::Usage, message: message.into() }.into()
    }

    /// It could not run: exit code 4.
    pub fn could_not_run(message: impl Into<String>) -> anyhow::Error {
        Failure { exit: Exit::Inconclusive, message: message.into() }.into()
    }

    /// A wrong configuration, in terms of flags.
    pub fn of_flags(error: &ConfigError) -> anyhow::Error {
        Failure::usage(format!("{} {}: {}: {}", error.flag(), error.value, error.problem, error.remedy))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Runs what was asked for. Errors go to stderr.
pub fn dispatch(cli: Cli) -> Exit {
    let result = match cli.command {
        Command::Blast(args) => blast::run(*args),
        Command::Run(command) => run::run(&command),
        Command::Check(command) => check::run(&command),
        Command::Compare(args) => compare::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Serve(command) => serve::run(&command),
        Command::Models(command) => models::run(&command),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Schema(args) => schema::run(&args),
    };
    result.unwrap_or_else(|error| {
        say(&format!("error: {error:#}"));
        error.downcast_ref::<Failure>().map_or(Exit::Inconclusive, |failure| failure.exit)
    })
}

/// Writes a result to stdout. A reader that has closed the pipe has seen what it wanted: no error.
///
/// # Errors
/// Any other failure to write.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to standard output"),
    }
}

/// Writes progress, a remark or an error to stderr. Where stderr is closed, nobody wants to know.
pub fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// A word of a command line, so that a POSIX shell (and PowerShell, for what has no quote in it) takes it as it is.
pub fn quote(word: &str) -> String {
    // Refused is a NUL alone, which no path and no argument can hold.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), |quoted| quoted.into_owned())
}
