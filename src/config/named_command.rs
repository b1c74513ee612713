//! `compare --with 'NAME=CMD {addr}'`: a server by a command line, with a name for the tables.

use std::str::FromStr;
use std::time::Duration;

use super::command_spec::CommandSpec;
use super::server_options::ServerTable;
use crate::units::ParseError;

/// How long the server may take to get ready. Under Wine a process starts slowly.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const EXAMPLE: &str = "write NAME=COMMAND, such as 'mine=./my-server --listen {addr}'";

/// A server by a command line, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCommand {
    /// Its name in the tables.
    pub name: String,
    /// The command line as it was typed.
    pub line: String,
    /// The same as words.
    pub command: CommandSpec,
}

impl FromStr for NamedCommand {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = |what: String| ParseError::new(what).with_remedy(EXAMPLE);
        let (name, line) = text.split_once('=').ok_or_else(|| wrong(format!("{text} has no name")))?;
        let name = name.trim();
        // A command without a name may have a = of its own.
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong(format!("'{name}' is no name")));
        }
        let words = words(line).ok_or_else(|| wrong(format!("{name}: a quote of the command does not end")))?;
        let mut command = CommandSpec::new(&words, &ServerTable::default())
            .map_err(|error| ParseError::new(format!("{name}: {}", error.problem)).with_remedy(EXAMPLE))?;
        command.ready_timeout = READY_TIMEOUT;
        Ok(NamedCommand { name: name.to_owned(), line: line.trim().to_owned(), command })
    }
}

/// The words of a command line, as a POSIX shell splits it. On Windows a backslash stands for itself. `None`: a quote
/// does not end.
fn words(line: &str) -> Option<Vec<String>> {
    let line = if cfg!(windows) { line.replace('\\', r"\\") } else { line.to_owned() };
    shlex::split(&line)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::placeholders::Places;
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<NamedCommand>().expect_err(text).to_string()
    }

    #[test]
    fn a_name_is_followed_by_a_command_with_a_place_for_the_address() {
        let named: NamedCommand = "mine=python3 -c 'a = 1' --listen={addr}".parse().expect("it is well-formed");
        let places = Places::at(SocketAddr::from(([127, 0, 0, 1], 7)));
        assert_eq!(named.name, "mine");
        assert_eq!(named.command.command_at(&places), ["python3", "-c", "a = 1", "--listen=127.0.0.1:7"]);
    }

    #[test]
    fn a_wrong_command_is_refused_with_what_to_write() {
        let remedy = ": write NAME=COMMAND, such as 'mine=./my-server --listen {addr}'";
        for (text, problem) in [
            ("./server", "./server has no name"),
            ("=./server {addr}", "'' is no name"),
            ("./server --listen={addr}", "'./server --listen' is no name"),
            ("mine=", "mine: it names no program"),
            ("mine=./server", "mine: it does not say where to listen"),
            ("mine=./server '{addr}", "mine: a quote of the command does not end"),
        ] {
            assert_eq!(refused(text), format!("{problem}{remedy}"));
        }
    }
}
