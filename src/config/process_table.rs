//! A process beside the server of a scenario: its table `[[process]]`, and what it means.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::command_spec::CommandSpec;
use super::error::ConfigError;
use super::listen_address::ListenAddress;
use super::placeholders::is_reserved;
use super::readiness::Readiness;
use super::scenario_server::ServerSpec;
use super::server_options::ServerTable;
use crate::server::fault::Fault;
use crate::transport::ProxyUrl;
use crate::units::{ParseError, Time};

/// The name of the server in the output of a case, and so of no process.
const SERVER: &str = "server";

/// The table `[[process]]`: a process that starts before `[server]`, by a command or as a bundled server.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Process")]
pub struct ProcessTable {
    /// Its name, in the output and in placeholders: {NAME} or {NAME.addr}, {NAME.host}, {NAME.port}
    pub(super) name: Option<String>,
    /// The program and its arguments; {addr}, {host} and {port} stand for its own address
    pub(super) command: Option<Vec<String>>,
    /// Instead of a command: a bundled server; 'echo-tester models' lists the models
    pub(super) model: Option<String>,
    /// Instead of a command: a bundled server with these faults: drop:len=3,at=64KiB,conn=7
    pub(super) fault: Option<Vec<Fault>>,
    /// With command: where it listens; port 0 is replaced by a free one [default: 127.0.0.1:0]
    pub(super) address: Option<ListenAddress>,
    /// With command: its environment variables, with the same placeholders
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// With command: small files that it reads, each by its name in {dir}, with the same placeholders
    ///
    /// {dir} is a private folder of the case, which all its processes share. It is removed at the end.
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
    /// With command: the folder to start it in [default: the current folder of echo-tester]
    pub(super) cwd: Option<PathBuf>,
    /// With command: when the next one may start: echo, connect, exit, or { output = "TEXT" } [default: echo]
    ///
    /// echo: it echoes a byte, through everything before it. connect: it accepts a connection. exit: it has ended with
    /// success, because it only prepares something. output: a line that it prints has this text.
    pub(super) ready: Option<Readiness>,
    /// With command: it is a proxy that is asked for each connection to the server: socks5, socks4a or http (CONNECT)
    ///
    /// Connections to `[server]` go through it, and through several in the order of the file.
    pub(super) via: Option<ViaProcess>,
    /// With command: how long it may take to get ready [default: 10s]
    pub(super) ready_timeout: Option<Time>,
    /// With command: how long it may take to end after SIGTERM; then it is killed [default: 5s]
    pub(super) stop_timeout: Option<Time>,
}

/// A process beside the server, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessSpec {
    /// Its name.
    pub name: String,
    /// What is started.
    pub server: ServerSpec,
    /// Where it listens, if that was said; port 0 is any free one.
    pub address: Option<SocketAddr>,
    /// What it speaks, if connections to the server go through it.
    pub via: Option<ViaProcess>,
}

/// What a proxy speaks that connections to the server go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ViaProcess {
    /// SOCKS5
    Socks5,
    /// SOCKS4a
    Socks4a,
    /// HTTP CONNECT
    Http,
}

impl ViaProcess {
    /// The hop through the proxy at this address.
    ///
    /// # Errors
    /// None is known: every address has such a form.
    pub fn at(self, address: SocketAddr) -> Result<ProxyUrl, ParseError> {
        let scheme = match self {
            ViaProcess::Socks5 => "socks5",
            ViaProcess::Socks4a => "socks4a",
            ViaProcess::Http => "http",
        };
        format!("{scheme}://{address}").parse()
    }
}

impl ProcessSpec {
    /// Whether it has ended before the next one starts.
    pub fn only_prepares(&self) -> bool {
        matches!(&self.server, ServerSpec::Command(command) if command.ready == Readiness::Exit)
    }
}

impl ProcessTable {
    /// The same table where nothing echoes, because both ends of a connection are ours: a process that a command starts
    /// is ready when it accepts a connection, unless the file says otherwise.
    #[must_use]
    pub fn without_echo(self) -> ProcessTable {
        let ready = self.ready.or_else(|| self.command.is_some().then_some(Readiness::Connect));
        ProcessTable { ready, ..self }
    }

    /// The process of the table, validated, but for its placeholders.
    ///
    /// # Errors
    /// They name the key, its value and what to write instead.
    pub fn resolve(&self) -> Result<ProcessSpec, ConfigError> {
        let name = self.checked_name()?;
        let table = self.as_server();
        let starts = [self.command.is_some(), self.model.is_some(), self.fault.is_some()];
        if starts.iter().filter(|is_given| **is_given).count() != 1 {
            return Err(ConfigError::new("command", "…", "a process has one of `command`, `model` and `fault`")
                .remedy("write command = [\"PROGRAM\", \"{addr}\"], or model = \"auto\""));
        }
        let Some(command) = &self.command else {
            if let Some(address) = self.address {
                let problem = "a bundled server of a scenario listens on a free port of 127.0.0.1";
                return Err(ConfigError::new("address", address, problem).remedy("leave it out"));
            }
            if self.via.is_some() {
                let problem = "a bundled server is no proxy";
                return Err(ConfigError::new("via", "…", problem).remedy("leave it out"));
            }
            let server = table.resolve()?.remove(0).server;
            return Ok(ProcessSpec { name, server, address: None, via: None });
        };
        let server = ServerSpec::Command(CommandSpec::new(command, &table)?);
        let address = self.address.map(|ListenAddress(address)| address);
        Ok(ProcessSpec { name, server, address, via: self.via })
    }

    fn checked_name(&self) -> Result<String, ConfigError> {
        let Some(name) = &self.name else {
            let problem = "a process needs a name, for its output and for {NAME.addr}";
            return Err(ConfigError::new("name", "", problem).remedy("write name = \"backend\""));
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(is_word) {
            return Err(ConfigError::new("name", name, format!("'{name}' can't stand in a placeholder"))
                .remedy("use letters, digits, '-' and '_', and a letter first"));
        }
        if is_reserved(name) || name == SERVER {
            return Err(ConfigError::new("name", name, format!("'{name}' means something else already"))
                .remedy("choose another name, such as backend"));
        }
        Ok(name.clone())
    }

    /// The same as the table of a server, in which all of its keys mean the same.
    fn as_server(&self) -> ServerTable {
        ServerTable {
            command: self.command.clone(),
            model: self.model.clone(),
            fault: self.fault.clone(),
            env: self.env.clone(),
            files: self.files.clone(),
            cwd: self.cwd.clone(),
            ready: self.ready.clone(),
            ready_timeout: self.ready_timeout,
            stop_timeout: self.stop_timeout,
            ..ServerTable::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<ProcessSpec, ConfigError> {
        toml::from_str::<ProcessTable>(text).unwrap_or_else(|error| panic!("{text}: {error}")).resolve()
    }

    #[test]
    fn a_process_is_a_bundled_server_or_a_command() {
        let backend = resolve("name = 'backend'\nmodel = 'auto'").expect("it is valid");
        assert!(matches!(backend.server, ServerSpec::Bundled(_)) && !backend.only_prepares());
        assert!(resolve("name = 'b'\nfault = ['flip']").expect("it is valid").server.is_faulty());
        let keys = resolve("name = 'keys'\ncommand = ['ssh-keygen']\nready = 'exit'").expect("it needs no address");
        assert!(keys.only_prepares());
        let proxy = resolve("name = 'p'\ncommand = ['p', '{addr}']\naddress = '[::1]:0'").expect("it is valid");
        assert_eq!(proxy.address, Some("[::1]:0".parse().expect("an address")));
    }

    #[test]
    fn a_proxy_is_a_hop_whatever_its_address() {
        for (via, address, hop) in [
            (ViaProcess::Socks5, "127.0.0.1:9", "socks5://127.0.0.1:9"),
            (ViaProcess::Socks4a, "127.0.0.1:9", "socks4a://127.0.0.1:9"),
            (ViaProcess::Http, "[::1]:9", "http://[::1]:9"),
        ] {
            let url = via.at(address.parse().expect("an address")).expect("it is a hop");
            assert_eq!(url.to_string(), hop);
        }
        let text = "name = 'p'\ncommand = ['p', '{addr}']\nready = 'connect'\nvia = 'socks5'";
        assert_eq!(resolve(text).expect("it is valid").via, Some(ViaProcess::Socks5));
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused_with_a_remedy() {
        for (text, key, remedy) in [
            ("model = 'auto'", "name", "write name"),
            ("name = '1a'\nmodel = 'auto'", "name", "a letter first"),
            ("name = 'a.b'\nmodel = 'auto'", "name", "use letters"),
            ("name = 'port'\nmodel = 'auto'", "name", "another name"),
            ("name = 'server'\nmodel = 'auto'", "name", "another name"),
            ("name = 'a'", "command", "or model"),
            ("name = 'a'\nmodel = 'auto'\ncommand = ['a', '{addr}']", "command", "has one of"),
            ("name = 'a'\nmodel = 'epol'", "model", "did you mean epoll?"),
            ("name = 'a'\nmodel = 'auto'\nenv = { A = 'b' }", "env", "add command"),
            ("name = 'a'\nmodel = 'auto'\naddress = '127.0.0.1:0'", "address", "leave it out"),
            ("name = 'a'\ncommand = ['a']", "command", "write {addr}"),
            ("name = 'a'\nmodel = 'auto'\nvia = 'http'", "via", "leave it out"),
        ] {
            let error = resolve(text).expect_err(text);
            let is_remedy = error.message().contains(remedy) || error.problem.contains(remedy);
            assert!(error.key == key && is_remedy, "{text}: {error}");
        }
    }
}
