//! The server of a scenario: its table `[server]`, resolved. It is a bundled server in one model or in several, one
//! with faults, or any other server that a command line starts.

use super::command_spec::CommandSpec;
use super::error::ConfigError;
use super::model_list::ModelList;
use super::readiness::Readiness;
use super::server_conditions::ServerConditions;
use super::server_options::{ServeArgs, ServerTable};
use crate::units::{Count, Time};

/// Every server needs some descriptors besides its connections: streams, a listener, a poll.
const LEAST_DESCRIPTORS: u64 = 32;

/// The server that a case starts.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerSpec {
    /// A bundled server. Its model is named, unless it has faults.
    Bundled(Box<ServeArgs>),
    /// A server that a command line starts.
    Command(CommandSpec),
}

/// A server to run a scenario against.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerVariant {
    /// The model, if the scenario has several.
    pub label: Option<&'static str>,
    /// The server.
    pub server: ServerSpec,
}

impl ServerSpec {
    /// Whether it has faults.
    pub fn is_faulty(&self) -> bool {
        matches!(self, ServerSpec::Bundled(args) if args.fault.is_some())
    }
}

impl ServerTable {
    /// The bundled server in these models, with defaults for everything else.
    pub fn of_models(models: ModelList) -> ServerTable {
        match models {
            ModelList::Named(names) if names.len() == 1 => {
                ServerTable { model: names.into_iter().next(), ..ServerTable::default() }
            }
            models => ServerTable { models: Some(models), ..ServerTable::default() },
        }
    }

    /// The same table where nothing echoes, because both ends of a connection are ours: a server that a command starts
    /// is ready when it accepts a connection, unless the file says otherwise.
    #[must_use]
    pub fn without_echo(self) -> ServerTable {
        let ready = self.ready.or_else(|| self.command.is_some().then_some(Readiness::Connect));
        ServerTable { ready, ..self }
    }

    /// The same table for bundled servers that speak TLS, if `is_tls`.
    #[must_use]
    pub fn over_tls(self, is_tls: bool) -> ServerTable {
        ServerTable { tls: self.tls.or(is_tls.then_some(true)), ..self }
    }

    /// The servers of the table, validated: one for each of its models, or one.
    ///
    /// # Errors
    /// They name the key, its value and what to write instead.
    pub fn resolve(&self) -> Result<Vec<ServerVariant>, ConfigError> {
        if let Some(command) = &self.command {
            if let Some(key) = self.first_key_of_a_bundled_server() {
                let problem = "it is an option of the bundled server, and `command` starts another server";
                return Err(ConfigError::new(key, "…", problem).remedy("leave out one of them"));
            }
            let server = ServerSpec::Command(CommandSpec::new(command, self)?);
            if self.ready == Some(Readiness::Exit) {
                let problem = "a server that has ended serves nobody";
                return Err(ConfigError::new("ready", "exit", problem)
                    .remedy("write echo or connect; a [[process]] prepares what a server needs"));
            }
            return Ok(vec![ServerVariant { label: None, server }]);
        }
        if let Some(key) = self.command_keys().next() {
            return Err(ConfigError::new(key, "…", "it is only for a server that `command` starts")
                .remedy("add command = [\"PROGRAM\", \"{addr}\"], or leave it out"));
        }
        if let Some(bind) = &self.bind {
            let problem = "the server of a scenario listens on a free port of 127.0.0.1";
            return Err(ConfigError::new("bind", bind, problem).remedy("leave it out"));
        }
        let Some(models) = &self.models else {
            return Ok(vec![ServerVariant { label: None, server: self.bundled(self.model.as_deref())? }]);
        };
        if self.model.is_some() || self.fault.is_some() {
            let problem = "a server has only one of `model`, `models` and `fault`";
            return Err(ConfigError::new("models", models, problem).remedy("leave out the others"));
        }
        let variant = |name: &'static str| {
            let server = self.bundled(Some(name))?;
            Ok(ServerVariant { label: Some(name), server })
        };
        models.names()?.into_iter().map(variant).collect()
    }

    /// The conditions of the table, validated.
    ///
    /// # Errors
    /// They name the key, its value and what to write instead.
    pub fn conditions(&self) -> Result<ServerConditions, ConfigError> {
        let descriptors = self.descriptors.map(|Count(descriptors)| descriptors);
        if let Some(few) = descriptors.filter(|descriptors| *descriptors < LEAST_DESCRIPTORS) {
            return Err(ConfigError::too_small("descriptors", few, LEAST_DESCRIPTORS)
                .remedy("a server needs some besides its connections"));
        }
        let stop_after = self.stop_after.map(|Time(time)| time);
        Ok(ServerConditions { descriptors, family: self.family.unwrap_or_default(), stop_after })
    }

    fn bundled(&self, model: Option<&str>) -> Result<ServerSpec, ConfigError> {
        let args = ServeArgs { model: model.map(str::to_owned), ..self.options() };
        let serve = args.resolve(1, None)?;
        let model = serve.faults.is_none().then(|| serve.model.name.to_owned());
        Ok(ServerSpec::Bundled(Box::new(ServeArgs { model, ..args })))
    }

    fn first_key_of_a_bundled_server(&self) -> Option<&'static str> {
        let models = self.models.is_some().then_some("models");
        self.options().given().next().or(models)
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command};

    use super::super::defaults;
    use super::super::placeholders::Places;
    use super::super::server_conditions::AddressFamily;
    use super::*;
    use crate::server::models;

    fn resolve(toml: &str) -> Result<Vec<ServerVariant>, ConfigError> {
        let table: ServerTable = toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
        table.resolve()
    }

    #[test]
    fn each_of_several_models_is_a_variant_and_one_model_has_no_label() {
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
    fn auto_is_resolved_to_the_best_model_of_this_system() {
        let server = |toml: &str| resolve(toml).expect(toml).remove(0).server;
        assert_eq!(server("model = 'auto'"), server(&format!("model = '{}'", models::AUTO)));
        assert_eq!(server("model = 'auto'"), server(""));
        assert!(server("fault = ['flip']").is_faulty() && !server("").is_faulty());
    }

    #[test]
    fn the_address_is_filled_into_the_command_and_its_environment() {
        let table = "command = ['./s', '--on={addr}', '{host}', '{port}', '{x}']\nenv = { PORT = '{port}' }\ncwd = 'a'";
        let ServerSpec::Command(server) = resolve(table).expect(table).remove(0).server else { panic!("a command") };
        let places = Places::at("127.0.0.1:81".parse().expect("a valid address"));
        assert_eq!(server.command_at(&places), ["./s", "--on=127.0.0.1:81", "127.0.0.1", "81", "{x}"]);
        assert_eq!(server.env_at(&places).collect::<Vec<_>>(), [("PORT", "81".to_owned())]);
        assert_eq!((server.ready_timeout, server.stop_timeout), (defaults::READY_TIMEOUT, defaults::STOP_TIMEOUT));
        let in_env = "command = ['./s']\nenv = { LISTEN = '{addr}' }\nready_timeout = '1s'";
        assert!(resolve(in_env).is_ok());
    }

    #[test]
    fn keys_that_exclude_each_other_are_refused_with_a_remedy() {
        for (toml, key, remedy) in [
            ("command = ['./s', '{addr}']\nmodel = 'epoll'", "model", "leave out one of them"),
            ("command = ['./s', '{addr}']\nmodels = 'all'", "models", "leave out one of them"),
            ("command = ['./s', '{addr}']\nfault = ['flip']", "fault", "leave out one of them"),
            ("command = ['./s', '{addr}']\nmax_conns = 5", "max_conns", "leave out one of them"),
            ("command = ['./s', '{addr}']\nfault_log = 'x'", "fault_log", "leave out one of them"),
            ("command = []", "command", "write the program"),
            ("command = ['./s', '9000']", "command", "write {addr}"),
            ("model = 'epoll'\nmodels = ['select']", "models", "leave out the others"),
            ("models = ['select']\nfault = ['flip']", "models", "leave out the others"),
            ("model = 'select'\nfault = ['flip']", "model", "leave out `model` or `fault`"),
            ("models = []", "models", "name a model"),
            ("models = ['select', 'select']", "models", "leave one of them out"),
            ("models = ['epol']", "models", "did you mean epoll?"),
            ("models = ['select']\nworkers = 0", "workers", "must be at least 1"),
            ("ready_timeout = '1s'", "ready_timeout", "add command"),
            ("env = { A = 'b' }", "env", "add command"),
            ("cwd = 'a'\nmodel = 'epoll'", "cwd", "add command"),
            ("files = { a = 'b' }", "files", "add command"),
            ("command = ['./s', '{addr}']\nfiles = { '../a' = 'b' }", "files", "use letters"),
            ("command = ['./s', '{addr}']\nready = 'exit'", "ready", "write echo or connect"),
            ("bind = '7777'", "bind", "leave it out"),
            ("model = 'tokio'\ntls = true", "tls", "write `model = threads`"),
        ] {
            let error = resolve(toml).expect_err(toml);
            assert!(error.key == key && error.message().contains(remedy), "{toml}: {error}");
        }
    }

    #[test]
    fn the_keys_of_a_bundled_server_are_described_by_the_help_of_serve() {
        let schema = schemars::schema_for!(ServerTable);
        let command = ServeArgs::augment_args(Command::new("serve"));
        for flag in command.get_arguments().filter(|flag| flag.get_id() != "bind") {
            let property = &schema.as_value()["properties"][flag.get_id().as_str()];
            let description = property["description"].as_str().expect("each key has a description");
            let help = flag.get_help().expect("each flag has a help text").to_string();
            assert_eq!(description.lines().next(), Some(help.as_str()), "{}", flag.get_id());
        }
    }

    fn conditions(toml: &str) -> Result<ServerConditions, ConfigError> {
        let table: ServerTable = toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
        table.conditions()
    }

    #[test]
    fn the_conditions_of_a_case_go_before_those_of_its_suite() {
        let case = conditions("descriptors = 64").expect("they are valid");
        let suite = conditions("descriptors = 100\nfamily = 'ipv6'\nstop_after = '1s'").expect("they are valid");
        let both = case.or(suite);
        assert_eq!((both.descriptors, both.family), (Some(64), AddressFamily::Ipv6));
        assert_eq!(both.stop_after, Some(std::time::Duration::from_secs(1)));
        assert_eq!(case.unavailable(false, false).is_some(), cfg!(windows));
        assert!(
            case.unavailable(true, false).is_some() && ServerConditions::default().unavailable(true, false).is_none()
        );
        assert_eq!(conditions("model = 'auto'").expect("there are none"), ServerConditions::default());
    }

    #[test]
    fn a_server_gets_as_many_descriptors_as_it_needs_itself() {
        let error = conditions("descriptors = 31").expect_err("too few");
        assert_eq!(
            error.to_string(),
            "descriptors = 31: must be at least 32: a server needs some besides its connections"
        );
    }
}
