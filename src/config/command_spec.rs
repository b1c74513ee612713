//! A server that a command line starts: the key `command` of a scenario's `[server]`, and the keys that belong to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::defaults;
use super::error::ConfigError;
use super::readiness::Readiness;
use super::server_options::ServerTable;
use crate::units::Time;

/// What stands for the address in the command and in its environment variables.
const PLACEHOLDERS: [&str; 3] = ["{addr}", "{host}", "{port}"];

/// A server that a command line starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// The program and its arguments, with placeholders; not empty.
    command: Vec<String>,
    /// Environment variables, with placeholders.
    env: BTreeMap<String, String>,
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
        let has_placeholder = |text: &String| PLACEHOLDERS.iter().any(|name| text.contains(name));
        if !command.iter().chain(table.env.values()).any(has_placeholder) {
            let remedy = "write {addr}, or {host} and {port}, for the address, in command or env";
            return Err(wrong("it does not say where to listen").remedy(remedy));
        }
        Ok(CommandSpec {
            command: command.to_vec(),
            env: table.env.clone(),
            cwd: table.cwd.clone(),
            ready: table.ready.unwrap_or(Readiness::Echo),
            ready_timeout: table.ready_timeout.map_or(defaults::READY_TIMEOUT, |Time(time)| time),
            stop_timeout: table.stop_timeout.map_or(defaults::STOP_TIMEOUT, |Time(time)| time),
        })
    }

    /// The program and its arguments, for a server on this address.
    pub fn command_at(&self, address: SocketAddr) -> Vec<String> {
        self.command.iter().map(|word| fill_in(word, address)).collect()
    }

    /// Its environment variables, for a server on this address.
    pub fn env_at(&self, address: SocketAddr) -> impl Iterator<Item = (&str, String)> {
        self.env.iter().map(move |(name, value)| (name.as_str(), fill_in(value, address)))
    }

    /// The program, which is its name in reports.
    pub fn program(&self) -> &str {
        &self.command[0]
    }
}

fn fill_in(text: &str, address: SocketAddr) -> String {
    let values = [address.to_string(), address.ip().to_string(), address.port().to_string()];
    let replace = |text: String, (name, value): (&&str, &String)| text.replace(*name, value);
    PLACEHOLDERS.iter().zip(&values).fold(text.to_owned(), replace)
}
