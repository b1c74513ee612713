//! A server that a command line starts: the key `command` of a scenario's `[server]`, and the keys that belong to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::defaults;
use super::error::ConfigError;
use super::placeholders::{Places, names_folder, names_own_address};
use super::readiness::Readiness;
use super::server_options::ServerTable;
use crate::units::Time;

/// A server that a command line starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// The program and its arguments, with placeholders; not empty.
    command: Vec<String>,
    /// Environment variables, with placeholders.
    env: BTreeMap<String, String>,
    /// Files that it reads, by their names in the folder of the case, with placeholders.
    files: BTreeMap<String, String>,
    /// The folder to start it in; `None`: the current one.
    pub cwd: Option<PathBuf>,
    /// When it is ready.
    pub ready: Readiness,
    /// How long it may take to get ready.
    pub ready_timeout: Duration,
    /// How long it may take to end when told to.
    pub stop_timeout: Duration,
}

impl CommandSpec {
    /// The server of a table with this command.
    pub(super) fn new(command: &[String], table: &ServerTable) -> Result<CommandSpec, ConfigError> {
        let wrong = |problem| ConfigError::new("command", format!("{command:?}"), problem);
        if command.first().is_none_or(|program| program.trim().is_empty()) {
            let remedy = "write the program and its arguments: command = [\"PROGRAM\", \"{addr}\"]";
            return Err(wrong("it names no program").remedy(remedy));
        }
        let ready = table.ready.clone().unwrap_or(Readiness::Echo);
        let mut texts = command.iter().chain(table.env.values()).chain(table.files.values());
        if ready.needs_address() && !texts.any(|text| names_own_address(text)) {
            let remedy = "write {addr}, or {host} and {port}, for the address, in command, env or files";
            return Err(wrong("it does not say where to listen").remedy(remedy));
        }
        if let Some(name) = table.files.keys().find(|name| !is_plain_name(name)) {
            return Err(ConfigError::new("files", name, format!("'{name}' is not the name of a file in one folder"))
                .remedy("use letters, digits, '.', '-' and '_', and no '.' first"));
        }
        Ok(CommandSpec {
            command: command.to_vec(),
            env: table.env.clone(),
            files: table.files.clone(),
            cwd: table.cwd.clone(),
            ready,
            ready_timeout: table.ready_timeout.map_or(defaults::READY_TIMEOUT, |Time(time)| time),
            stop_timeout: table.stop_timeout.map_or(defaults::STOP_TIMEOUT, |Time(time)| time),
        })
    }

    /// The program and its arguments, at these places.
    pub fn command_at(&self, places: &Places) -> Vec<String> {
        self.command.iter().map(|word| places.fill_in(word)).collect()
    }

    /// Its environment variables, at these places.
    pub fn env_at(&self, places: &Places) -> impl Iterator<Item = (&str, String)> {
        self.env.iter().map(|(name, value)| (name.as_str(), places.fill_in(value)))
    }

    /// The names and the texts of its files, at these places.
    pub fn files_at(&self, places: &Places) -> impl Iterator<Item = (&str, String)> {
        self.files.iter().map(|(name, text)| (name.as_str(), places.fill_in(text)))
    }

    /// Whether it needs the folder of the case.
    pub fn needs_folder(&self) -> bool {
        let mut texts = self.command.iter().chain(self.env.values());
        !self.files.is_empty() || texts.any(|text| names_folder(text))
    }

    /// The program, which is its name in reports.
    pub fn program(&self) -> &str {
        &self.command[0]
    }
}

/// Whether this names a file in a folder, on every system.
fn is_plain_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain)
}
