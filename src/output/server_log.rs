//! `--server-log DIR`: a folder with everything that the servers of a run print, one file each.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use clap::Args;

use crate::failure::Failure;
use crate::output::console::say;
use crate::output::{files, secrets};
use crate::sync::lock;

/// The flag of every command that starts servers.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerLogArgs {
    /// Write all that each server prints to a file in this folder
    ///
    /// Reports hold the first and the last 100 lines of each server that was started; the files hold all of them. A
    /// file is named after the case or the server.
    #[arg(long, value_name = "DIR", env = "ECHO_TESTER_SERVER_LOG", hide_env = true, help_heading = "Reports")]
    server_log: Option<PathBuf>,

    /// The files that are not complete.
    #[arg(skip)]
    incomplete: Incomplete,
}

/// Files that are not complete, each with why and what to do.
type Incomplete = Arc<Mutex<Vec<(PathBuf, String)>>>;

impl ServerLogArgs {
    /// Makes the folder, if there is to be one. Call it before anything runs.
    ///
    /// # Errors
    /// It cannot be made: exit code 2.
    pub fn make_folder(&self) -> anyhow::Result<()> {
        let Some(folder) = &self.server_log else { return Ok(()) };
        fs::create_dir_all(folder).map_err(|error| {
            Failure::usage(format!("--server-log {}: {error}: name a folder that can be written", folder.display()))
        })
    }

    /// Says that the flag has no effect, if it was given.
    pub fn note_without_server(&self) {
        if self.server_log.is_some() {
            say("note: --server-log: this run starts no server, so there is nothing to keep");
        }
    }

    /// The file for the output of a server, if it is wanted. A file of this name from an earlier run is replaced.
    ///
    /// # Errors
    /// The file cannot be written; the message names it.
    pub fn file(&self, name: &str) -> anyhow::Result<Option<Box<dyn Write + Send>>> {
        let Some(folder) = &self.server_log else { return Ok(None) };
        let path = folder.join(file_name(&secrets::without(name)));
        let file = files::open_empty(&path).with_context(|| format!("--server-log: writing {}", path.display()))?;
        Ok(Some(Box::new(KeptFile { file, path, incomplete: Arc::clone(&self.incomplete) })))
    }

    /// Whether every file holds all that its server has printed. Call it after the servers have ended.
    ///
    /// # Errors
    /// A file does not; the message names the first one.
    pub fn check_complete(&self) -> anyhow::Result<()> {
        let incomplete = lock(&self.incomplete);
        let Some((_, why)) = incomplete.first() else { return Ok(()) };
        let others = match incomplete.len() {
            1 => String::new(),
            2 => ". 1 more file there is not complete either".to_owned(),
            n => format!(". {} more files there are not complete either", n - 1),
        };
        Err(Failure::could_not_run(format!("{why}{others}")))
    }
}

/// A file of the folder, which tells when it can't be written.
struct KeptFile {
    file: File,
    path: PathBuf,
    incomplete: Incomplete,
}

impl Write for KeptFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        if let Err(error) = &written
            && error.kind() != io::ErrorKind::Interrupted
        {
            let mut incomplete = lock(&self.incomplete);
            // A server that is started again has the same file.
            if incomplete.iter().all(|(path, _)| *path != self.path) {
                incomplete.push((self.path.clone(), files::told("server-log", &self.path, error)));
            }
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The name of a file that every system takes: letters, digits, dots and hyphens.
fn file_name(name: &str) -> String {
    /// Most systems allow 255 bytes.
    const MAX_CHARS: usize = 100;
    let mut text = String::new();
    for letter in name.chars().take(MAX_CHARS) {
        let is_plain = letter.is_ascii_alphanumeric() || letter == '.';
        match is_plain {
            true => text.push(letter),
            false if text.is_empty() || text.ends_with('-') => {}
            false => text.push('-'),
        }
    }
    format!("{}.log", text.trim_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_gives_its_file_a_name_that_every_system_takes() {
        for (name, file) in [
            ("003 4.1 a silent connection delays nobody", "003-4.1-a-silent-connection-delays-nobody.log"),
            ("001 it fails: a, b / ../c", "001-it-fails-a-b-..-c.log"),
            ("epoll round 1", "epoll-round-1.log"),
            ("äöü", ".log"),
        ] {
            assert_eq!(file_name(name), file);
        }
    }
}
