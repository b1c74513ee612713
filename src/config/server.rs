//! The server of a scenario as it is written: the keys of `[server]`. A bundled server in one model or in several, or a
//! faulty one, by the keys of `serve`; or a command line that starts any other.
//!
//! The doc comments are the descriptions in the JSON Schema; a test holds those of the bundled server to `serve`'s.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::error::ConfigError;
use super::forms::Seed;
use super::serve::{Bind, ServeArgs};
use crate::server::fault::Fault;
use crate::server::models::{self, TABLE};
use crate::units::{Bytes, Count, Time};

/// `ready_timeout`
const READY: Duration = Duration::from_secs(10);
/// `stop_timeout`
const STOP: Duration = Duration::from_secs(5);

/// The table `[server]`: one of model, models, command and fault, and what belongs to it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTable {
    /// The socket I/O model; 'echo-tester models' lists them [default: auto, the best of this system]
    model: Option<String>,
    /// Several models, as a list: the scenario is a case for each of them; or all: every model of this system
    models: Option<Models>,
    /// A server of your own: the program and its arguments, in which {addr}, {host} and {port} stand for a free port
    ///
    /// It is ready when it takes a connection, which is then closed. In the end it and what it started are told to
    /// stop. On Unix it has the limit of open files ('ulimit -n') that echo-tester was started with.
    command: Option<Vec<String>>,
    /// With command: environment variables for it, in which {addr}, {host} and {port} may stand too
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// With command: the folder in which it is started [default: the one where echo-tester was]
    cwd: Option<PathBuf>,
    /// With command: how long it may take until it takes connections [default: 10s]
    ready_timeout: Option<Time>,
    /// With command: how long it may take to end when it is told to (SIGTERM); then it is killed [default: 5s]
    stop_timeout: Option<Time>,

    /// Known, so that the remedy can be named.
    #[schemars(skip)]
    bind: Option<Bind>,
    /// Threads that serve connections, where the model can [default: one for each core]
    workers: Option<Count>,
    /// What one connection may have in the server: received and not yet sent back [default: 64KiB]
    buffer: Option<Bytes>,
    /// Connections served at once; one more is closed at once [default: what half of the memory holds, 1m at most]
    max_conns: Option<Count>,
    /// Close connections on which nothing moved for so long [default: never]
    idle_timeout: Option<Time>,
    /// Connections that wait to be accepted; the system may allow fewer [default: 4096]
    backlog: Option<Count>,
    /// Let several processes listen on one port, SO_REUSEPORT [default: false]
    reuse_port: Option<bool>,
    /// How long connections may take to end when the server stops; then they are reset [default: 5s]
    drain_timeout: Option<Time>,
    /// What to do wrong on purpose, a list: drop:len=3,at=64KiB,conn=7 [default: nothing]
    fault: Option<Vec<Fault>>,
    /// What the places of faults are drawn from [default: 0]
    seed: Option<Seed>,
    /// Where to write each injected fault, one JSON object a line [default: stderr]
    fault_log: Option<PathBuf>,
}

/// The server that a case starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Server {
    /// One of the program's own; its model is named, unless it is faulty.
    Bundled(Box<ServeArgs>),
    /// Any other.
    Command(CommandServer),
}

/// A server that a command line starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandServer {
    /// The program and its arguments, with placeholders; not empty.
    command: Vec<String>,
    /// Environment variables, with placeholders.
    env: BTreeMap<String, String>,
    /// Where it is started; `None`: here.
    pub cwd: Option<PathBuf>,
    /// Until it takes connections.
    pub ready_timeout: Duration,
    /// Until it has ended when told to.
    pub stop_timeout: Duration,
}

/// One way to run a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// The model, where there are several ways.
    pub label: Option<&'static str>,
    /// The server.
    pub server: Server,
}

impl Server {
    /// Whether it is faulty on purpose.
    pub fn is_faulty(&self) -> bool {
        matches!(self, Server::Bundled(args) if args.fault.is_some())
    }
}

impl CommandServer {
    /// The program and its arguments, for a server on this address.
    pub fn command_at(&self, address: SocketAddr) -> Vec<String> {
        self.command.iter().map(|word| filled_in(word, address)).collect()
    }

    /// Its environment variables, for a server on this address.
    pub fn env_at(&self, address: SocketAddr) -> impl Iterator<Item = (&str, String)> {
        self.env.iter().map(move |(name, value)| (name.as_str(), filled_in(value, address)))
    }

    /// What names it in reports: the program.
    pub fn program(&self) -> &str {
        &self.command[0]
    }
}

/// What stands for the address.
const PLACEHOLDERS: [&str; 3] = ["{addr}", "{host}", "{port}"];

fn filled_in(text: &str, address: SocketAddr) -> String {
    let values = [address.to_string(), address.ip().to_string(), address.port().to_string()];
    let fill = |text: String, (name, value): (&&str, &String)| text.replace(*name, value);
    PLACEHOLDERS.iter().zip(&values).fold(text.to_owned(), fill)
}

impl ServerTable {
    /// The bundled server in these models, else as it is by default.
    pub fn of_models(models: Models) -> ServerTable {
        match models {
            Models::Named(names) if names.len() == 1 => {
                ServerTable { model: names.into_iter().next(), ..ServerTable::default() }
            }
            models => ServerTable { models: Some(models), ..ServerTable::default() },
        }
    }

    /// What is written, validated: a variant for each model, or one.
    ///
    /// # Errors
    /// They name the key, its value and what to write instead.
    pub fn resolve(&self) -> Result<Vec<Variant>, ConfigError> {
        if let Some(command) = &self.command {
            return Ok(vec![Variant { label: None, server: Server::Command(self.command(command)?) }]);
        }
        if let Some(key) = self.of_a_command() {
            let problem = "the bundled server has no use for it";
            return Err(ConfigError::new(
                key,
                "…",
                problem,
                "add command = [\"PROGRAM\", \"{addr}\"], or leave it out",
            ));
        }
        if let Some(Bind(bind)) = self.bind {
            let problem = "the server of a scenario takes a free port of 127.0.0.1";
            return Err(ConfigError::new("bind", bind, problem, "leave this out"));
        }
        let Some(models) = &self.models else {
            return Ok(vec![Variant { label: None, server: self.bundled(self.model.as_deref())? }]);
        };
        if self.model.is_some() || self.fault.is_some() {
            let problem = "a server has a model, models or faults, and not two of them";
            return Err(ConfigError::new(
                "models",
                models,
                problem,
                "leave out all but one of model, models and fault",
            ));
        }
        let names = models.names()?;
        let variant = |name: &'static str| {
            let server = self.bundled(Some(name))?;
            Ok(Variant { label: Some(name), server })
        };
        names.into_iter().map(variant).collect()
    }

    fn bundled(&self, model: Option<&str>) -> Result<Server, ConfigError> {
        let args = ServeArgs {
            model: model.map(str::to_owned),
            bind: None,
            workers: self.workers,
            buffer: self.buffer,
            max_conns: self.max_conns,
            idle_timeout: self.idle_timeout,
            backlog: self.backlog,
            reuse_port: self.reuse_port,
            drain_timeout: self.drain_timeout,
            fault: self.fault.clone(),
            seed: self.seed,
            fault_log: self.fault_log.clone(),
        };
        let serve = args.resolve(1, None)?;
        let model = serve.faults.is_none().then(|| serve.model.name.to_owned());
        Ok(Server::Bundled(Box::new(ServeArgs { model, ..args })))
    }

    fn command(&self, command: &[String]) -> Result<CommandServer, ConfigError> {
        if let Some(key) = self.of_the_bundled_server() {
            let problem = "command starts another server, which knows nothing of it";
            return Err(ConfigError::new(key, "…", problem, "leave out either this or command"));
        }
        let written = format!("{command:?}");
        if command.first().is_none_or(|program| program.trim().is_empty()) {
            let remedy = "write the program and its arguments: command = [\"PROGRAM\", \"{addr}\"]";
            return Err(ConfigError::new("command", written, "it names no program", remedy));
        }
        let has_place = |text: &String| PLACEHOLDERS.iter().any(|name| text.contains(name));
        if !command.iter().chain(self.env.values()).any(has_place) {
            let problem = "nothing tells it where to listen";
            let remedy = "write {addr}, or {host} and {port}, where it takes its address, in command or env";
            return Err(ConfigError::new("command", written, problem, remedy));
        }
        Ok(CommandServer {
            command: command.to_vec(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            ready_timeout: self.ready_timeout.map_or(READY, |Time(time)| time),
            stop_timeout: self.stop_timeout.map_or(STOP, |Time(time)| time),
        })
    }

    /// The first key that only goes with a command.
    fn of_a_command(&self) -> Option<&'static str> {
        let written = [
            ("env", !self.env.is_empty()),
            ("cwd", self.cwd.is_some()),
            ("ready_timeout", self.ready_timeout.is_some()),
            ("stop_timeout", self.stop_timeout.is_some()),
        ];
        written.into_iter().find(|(_, is_written)| *is_written).map(|(key, _)| key)
    }

    /// The first key that only goes with the bundled server.
    fn of_the_bundled_server(&self) -> Option<&'static str> {
        let written = [
            ("model", self.model.is_some()),
            ("models", self.models.is_some()),
            ("bind", self.bind.is_some()),
            ("workers", self.workers.is_some()),
            ("buffer", self.buffer.is_some()),
            ("max_conns", self.max_conns.is_some()),
            ("idle_timeout", self.idle_timeout.is_some()),
            ("backlog", self.backlog.is_some()),
            ("reuse_port", self.reuse_port.is_some()),
            ("drain_timeout", self.drain_timeout.is_some()),
            ("fault", self.fault.is_some()),
            ("seed", self.seed.is_some()),
            ("fault_log", self.fault_log.is_some()),
        ];
        written.into_iter().find(|(_, is_written)| *is_written).map(|(key, _)| key)
    }
}

/// Several models: `all`, or names, as a list or with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Models {
    /// Every one of this system.
    All,
    /// These.
    Named(Vec<String>),
}

impl Models {
    /// The models' names as the table has them; `auto` is the best of this system.
    ///
    /// # Errors
    /// None, one twice, or a name that no model has.
    pub fn names(&self) -> Result<Vec<&'static str>, ConfigError> {
        let named = match self {
            Models::All => return Ok(TABLE.iter().filter(|m| m.run.is_some()).map(|model| model.name).collect()),
            Models::Named(named) => named,
        };
        let mut names = Vec::new();
        for name in named {
            let model = models::find(name).map_err(|problem| {
                ConfigError::new("models", name, problem, "'echo-tester models' tells which of them run here")
            })?;
            if names.contains(&model.name) {
                return Err(ConfigError::new("models", name, "it stands twice in the list", "leave one of them out"));
            }
            names.push(model.name);
        }
        if names.is_empty() {
            return Err(ConfigError::new("models", "[]", "without a model there is no case", "name one, or write all"));
        }
        Ok(names)
    }
}

impl From<&str> for Models {
    fn from(text: &str) -> Self {
        match text.trim() {
            "all" => Models::All,
            names => Models::Named(names.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }
}

impl fmt::Display for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Models::All => f.write_str("all"),
            Models::Named(names) => write!(f, "{names:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Models {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ModelsVisitor)
    }
}

struct ModelsVisitor;

impl<'de> Visitor<'de> for ModelsVisitor {
    type Value = Models;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all, or models as a list or with commas")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Models, E> {
        Ok(Models::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Models, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(names)).map(Models::Named)
    }
}

impl JsonSchema for Models {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Models".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "all (every model of this system), or models, as a list or with commas between them",
            "oneOf": [
                { "type": "string", "examples": ["all", "epoll,io-uring"] },
                { "type": "array", "items": { "type": "string" }, "minItems": 1, "uniqueItems": true },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(toml: &str) -> Result<Vec<Variant>, ConfigError> {
        let table: ServerTable = toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
        table.resolve()
    }

    #[test]
    fn models_are_a_variant_each_and_one_model_has_no_label() {
        let labels = |toml| resolve(toml).expect(toml).iter().map(|v| v.label).collect::<Vec<_>>();
        assert_eq!(labels("models = ['epoll', 'select', 'iocp']"), [Some("epoll"), Some("select"), Some("iocp")]);
        assert_eq!(labels("models = 'epoll, select'"), [Some("epoll"), Some("select")]);
        assert_eq!(labels("model = 'auto'"), [None]);
        assert_eq!(labels(""), [None]);
        let all = labels("models = 'all'");
        assert!(all.contains(&Some("threads")) && all.contains(&Some("tokio")), "{all:?}");
        assert_eq!(all.contains(&Some("epoll")), cfg!(target_os = "linux"));
        assert_eq!(all.contains(&Some("iocp")), cfg!(windows));
    }

    #[test]
    fn auto_is_the_model_that_it_means() {
        let server = |toml: &str| resolve(toml).expect(toml).remove(0).server;
        assert_eq!(server("model = 'auto'"), server(&format!("model = '{}'", models::AUTO)));
        assert_eq!(server("model = 'auto'"), server(""));
        assert!(server("fault = ['flip']").is_faulty() && !server("").is_faulty());
    }

    #[test]
    fn a_command_knows_its_address() {
        let table = "command = ['./s', '--on={addr}', '{host}', '{port}', '{x}']\nenv = { PORT = '{port}' }\ncwd = 'a'";
        let Server::Command(server) = resolve(table).expect(table).remove(0).server else { panic!("a command") };
        let address: SocketAddr = "127.0.0.1:81".parse().expect("an address");
        assert_eq!(server.command_at(address), ["./s", "--on=127.0.0.1:81", "127.0.0.1", "81", "{x}"]);
        assert_eq!(server.env_at(address).collect::<Vec<_>>(), [("PORT", "81".to_owned())]);
        assert_eq!((server.ready_timeout, server.stop_timeout), (READY, STOP));
        let in_env = "command = ['./s']\nenv = { LISTEN = '{addr}' }\nready_timeout = '1s'";
        assert!(resolve(in_env).is_ok());
    }

    #[test]
    fn what_does_not_go_together_is_refused_at_its_key_with_a_remedy() {
        for (toml, key, remedy) in [
            ("command = ['./s', '{addr}']\nmodel = 'epoll'", "model", "either this or command"),
            ("command = ['./s', '{addr}']\nmodels = 'all'", "models", "either this or command"),
            ("command = ['./s', '{addr}']\nfault = ['flip']", "fault", "either this or command"),
            ("command = ['./s', '{addr}']\nmax_conns = 5", "max_conns", "either this or command"),
            ("command = ['./s', '{addr}']\nfault_log = 'x'", "fault_log", "either this or command"),
            ("command = []", "command", "write the program"),
            ("command = ['./s', '9000']", "command", "{addr}"),
            ("model = 'epoll'\nmodels = ['select']", "models", "all but one"),
            ("models = ['select']\nfault = ['flip']", "models", "all but one"),
            ("model = 'select'\nfault = ['flip']", "model", "either --model or --fault"),
            ("models = []", "models", "name one"),
            ("models = ['select', 'select']", "models", "leave one of them out"),
            ("models = ['epol']", "models", "'echo-tester models'"),
            ("models = ['select']\nworkers = 0", "workers", "the least is 1"),
            ("ready_timeout = '1s'", "ready_timeout", "add command"),
            ("env = { A = 'b' }", "env", "add command"),
            ("cwd = 'a'\nmodel = 'epoll'", "cwd", "add command"),
            ("bind = '7777'", "bind", "leave this out"),
        ] {
            let error = resolve(toml).expect_err(toml);
            assert!(error.key == key && error.remedy.contains(remedy), "{toml}: {error}");
        }
    }

    #[test]
    fn the_keys_of_the_bundled_server_are_the_flags_of_serve() {
        let properties = |schema: schemars::Schema| schema.as_value()["properties"].clone();
        let (table, serve) =
            (properties(schemars::schema_for!(ServerTable)), properties(schemars::schema_for!(ServeArgs)));
        for (key, flag) in serve.as_object().expect("properties").iter().filter(|(key, _)| *key != "bind") {
            let first = |value: &serde_json::Value| {
                let text = value["description"].as_str().expect("a description").to_owned();
                text.lines().next().expect("a line").replace(", a list:", "; repeatable:")
            };
            assert_eq!(first(&table[key]), first(flag), "{key}");
            assert_eq!(table[key]["type"], flag["type"], "{key}");
        }
    }
}
