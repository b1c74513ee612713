//! Why a command could not do what was asked: an error that knows its exit code.

use std::fmt;

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

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
