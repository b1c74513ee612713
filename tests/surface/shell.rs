//! A folder, and command lines that run in it as in a shell.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::program::{finish, program, text};
use crate::redact;

/// Width of the terminal that help texts are wrapped for.
const COLUMNS: &str = "100";

/// A temporary folder in which commands run, so that they can use relative paths.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// A folder with these files; their parent folders are created too.
    pub(crate) fn with(files: &[(&str, &str)]) -> Folder {
        let folder = Folder(tempfile::tempdir().expect("a temporary folder is created"));
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("the file has a parent folder"))
                .expect("the file is writable");
            std::fs::write(path, text).expect("the file is writable");
        }
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The content of a file that a command wrote.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The program with the arguments and variables of a command line: `NAME=value blast --conns 5`.
    pub(crate) fn command(&self, line: &str) -> (Command, Vec<String>) {
        let mut words = shlex::split(line).unwrap_or_else(|| panic!("{line} is no command line"));
        let is_variable = |word: &String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
        let first = words.iter().position(|word| !is_variable(word)).unwrap_or(words.len());
        let args = words.split_off(first);
        let mut command = program(&args.iter().map(String::as_str).collect::<Vec<_>>());
        for other in ["CLICOLOR_FORCE", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "RUST_BACKTRACE"] {
            command.env_remove(other);
        }
        command.current_dir(self.path()).env("COLUMNS", COLUMNS);
        command.envs(words.iter().filter_map(|word| word.split_once('=')));
        (command, args)
    }

    /// Runs a command line, and returns it with its output and exit code, not redacted.
    pub(crate) fn said(&self, line: &str) -> String {
        self.shown(line, str::to_owned)
    }

    /// Does the same, redacted.
    pub(crate) fn ran(&self, line: &str) -> String {
        self.shown(line, redact::text)
    }

    fn shown(&self, line: &str, redact: impl Fn(&str) -> String) -> String {
        let (mut command, args) = self.command(line);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = finish(command.spawn().expect("the program starts"), &args);
        let code = output.status.code().map_or_else(|| output.status.to_string(), |code| code.to_string());
        let mut shown = format!("$ {}\n", redact(&with_program(line)));
        for (title, bytes) in [("", output.stdout), ("(stderr)\n", output.stderr)] {
            if !bytes.is_empty() {
                shown.push_str(&format!("{title}{}\n", redact(text(&bytes).trim_end())));
            }
        }
        format!("{shown}(exit code {code})\n")
    }

    /// Runs one command line after the other.
    pub(crate) fn session(&self, lines: &str) -> String {
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(|line| self.said(line)).collect::<Vec<_>>().join("\n")
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// A command line as a user types it: variables stand before the program's name.
fn with_program(line: &str) -> String {
    let mut rest = line;
    while let Some((word, after)) = rest.split_once(' ')
        && word.split_once('=').is_some_and(|(name, _)| is_name(name))
    {
        rest = after;
    }
    let variables = &line[..line.len() - rest.len()];
    format!("{variables}echo-tester {rest}").trim_end().to_owned()
}
