//! Errors that know their exit code, and the one place that gives every error its exit code.

use std::fmt;

use crate::exit::Exit;

/// An error that knows its exit code. It travels as an [`anyhow::Error`]; [`exit_of`] finds it again.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// Invalid flags, or an invalid file: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
        Failure { exit: Exit::Usage, message: message.into() }.into()
    }

    /// The command could not run: exit code 4.
    pub(crate) fn could_not_run(message: impl Into<String>) -> anyhow::Error {
        Failure { exit: Exit::Inconclusive, message: message.into() }.into()
    }

    /// The user interrupted before there was anything to report: exit code 130.
    pub(crate) fn interrupted(message: impl Into<String>) -> anyhow::Error {
        Failure { exit: Exit::Interrupted, message: message.into() }.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The exit code of an error that ended a command. An error that is not a [`Failure`] comes from the system, such as a
/// full disk: the command could not do its work, so nothing is known of the target.
pub(crate) fn exit_of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Failure>().map_or(Exit::Inconclusive, |failure| failure.exit)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn an_error_keeps_its_exit_code_when_context_is_added() {
        let wrapped = |error: anyhow::Error| exit_of(&Err::<(), _>(error).context("reading").expect_err("an error"));
        assert_eq!(wrapped(Failure::usage("a flag is wrong")), Exit::Usage);
        assert_eq!(wrapped(Failure::could_not_run("no such host")), Exit::Inconclusive);
        assert_eq!(wrapped(Failure::interrupted("before the start")), Exit::Interrupted);
        assert_eq!(wrapped(std::io::Error::other("the disk is full").into()), Exit::Inconclusive);
    }
}
