//! Standard output and standard error: what goes there, and how a command line is shown so that a shell reads it back.

use std::io::{self, Write};

use anyhow::Context as _;

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
