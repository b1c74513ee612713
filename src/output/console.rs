//! Standard output and standard error, and quoting for command lines that a user can paste into a shell.

use std::io::{self, Write};

use anyhow::Context as _;

/// Writes a result to stdout. A reader that has closed the pipe has read what it wanted, so that is not an error.
///
/// # Errors
/// Standard output cannot be written for any other reason.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to standard output"),
    }
}

/// Writes progress, a remark or an error to stderr. If stderr is closed, nobody reads it, so a failure is ignored.
pub(crate) fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Quotes a word of a command line so that a POSIX shell passes it on unchanged. PowerShell does too, if the word has
/// no quote.
pub(crate) fn quote(word: &str) -> String {
    // Only a NUL is refused, which no path and no argument can hold.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), |quoted| quoted.into_owned())
}

/// Joins words to a command line that a shell splits into the same words again. Of `--flag=value` only the value is
/// quoted, which reads better.
pub(crate) fn command_line(words: &[String]) -> String {
    let is_flag = |word: &str| word.starts_with("--") && quote(word) == word;
    let quoted = |word: &String| match word.split_once('=') {
        Some((flag, value)) if is_flag(flag) => format!("{flag}={}", quote(value)),
        _ => quote(word),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_splits_a_command_line_into_the_same_words() {
        let words = ["blast", "[::1]:9000", "--nagle=true", "--json=a b", "--csv", "it's *.csv", "$a=b c", "=x", ""];
        let words = words.map(str::to_owned);
        let line = command_line(&words);
        assert_eq!(shlex::split(&line).expect("the line is well-formed"), words);
        assert!(line.starts_with("blast '[::1]:9000' --nagle=true --json='a b' --csv "), "zsh expands [: {line}");
    }
}
