//! Standard output and standard error, and quoting for command lines that a user can paste into a shell.

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anyhow::Context as _;
use terminal_size::{Width, terminal_size_of};

use crate::output::{screen, secrets};
use crate::report::style::{MAX_COLUMNS, Role, Style};
use crate::report::text::wrapped;

/// Sets whether text on standard output and standard error is coloured.
pub(crate) fn set_colour(choice: ColorChoice) {
    choice.write_global();
}

/// How a text looks that goes to standard output. `--color`, NO_COLOR, CLICOLOR_FORCE and TERM decide on colour.
pub(crate) fn stdout_style() -> Style {
    let stdout = io::stdout();
    let columns = columns(terminal_size_of(&stdout).map(|(width, _)| width));
    Style::new(columns, AutoStream::choice(&stdout) != ColorChoice::Never)
}

/// The same for standard error.
pub(crate) fn stderr_style() -> Style {
    let stderr = io::stderr();
    let columns = columns(terminal_size_of(&stderr).map(|(width, _)| width));
    Style::new(columns, AutoStream::choice(&stderr) != ColorChoice::Never)
}

/// The width of a terminal; without one, COLUMNS if it is set, and the widest that is easy to read if not.
fn columns(terminal: Option<Width>) -> usize {
    let variable = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.map(|Width(columns)| usize::from(columns)).or_else(variable).unwrap_or(MAX_COLUMNS)
}

/// Writes a result to stdout. A reader that has closed the pipe has read what it wanted, so that is not an error.
///
/// # Errors
/// Standard output cannot be written for any other reason.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut stdout = anstream::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush())
    };
    match screen::above(write) {
        Err(e) if is_closed_pipe(&e) => Ok(()),
        result => result.context("writing to standard output"),
    }
}

/// ERROR_PIPE_NOT_CONNECTED, which std knows as no broken pipe, is what Windows says of some.
fn is_closed_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe || (cfg!(windows) && error.raw_os_error() == Some(233))
}

/// Writes progress, a remark or an error to stderr. If stderr is closed, nobody reads it, so a failure is ignored. A
/// terminal gets a line of its width; elsewhere a message stays on one line, for those who search for it.
pub(crate) fn say(text: &str) {
    let text = &*secrets::without(text);
    let style = stderr_style();
    let labels = [("error: ", Role::Bad), ("warning: ", Role::Doubtful), ("note: ", Role::Strong)];
    let label = labels.into_iter().find(|(label, _)| text.starts_with(label));
    let painted = label.map(|(label, role)| style.paint(role, label.trim_end()) + &text[label.len() - 1..]);
    let text = painted.unwrap_or_else(|| text.to_owned());
    // What follows the first line is a picture, such as the part of a file that is wrong.
    let (first, rest) = text.split_at(text.find('\n').map_or(text.len(), |newline| newline + 1));
    let first = first.trim_end_matches('\n');
    let first = if io::stderr().is_terminal() { wrapped(first, style) } else { format!("{first}\n") };
    let text = if rest.is_empty() { first } else { format!("{first}{rest}\n") };
    let _ = screen::above(|| anstream::stderr().write_all(text.as_bytes()));
}

/// Writes lines to stderr as they are, each of which is wrapped on a terminal.
pub(crate) fn say_lines(text: &str) {
    let text = secrets::without(text);
    let style = stderr_style();
    let is_terminal = io::stderr().is_terminal();
    let line = |line: &str| if is_terminal { wrapped(line, style) } else { format!("{line}\n") };
    let text: String = text.lines().map(line).collect();
    let _ = screen::above(|| anstream::stderr().write_all(text.as_bytes()));
}

/// Lines for standard output: on a terminal, each is wrapped to its width. Elsewhere a line stays whole, for those who
/// search for it.
pub(crate) fn for_stdout(lines: &str) -> String {
    let lines = secrets::without(lines);
    if !io::stdout().is_terminal() {
        return lines.into_owned();
    }
    let style = stdout_style();
    lines.lines().map(|line| wrapped(line, style)).collect::<String>().trim_end().to_owned()
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
