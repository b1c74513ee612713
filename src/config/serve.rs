//! A bundled server as it was typed: the flags of `serve`, and the keys of a scenario's `[server]`.
//!
//! The doc comments are the help texts, and the descriptions in the JSON Schema.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::forms::Seed;
use crate::server::Options;
use crate::server::fault::Fault;
use crate::server::models::{self, Model};
use crate::units::text::text_form;
use crate::units::{Bytes, Count, ParseError, Time};

/// Where `serve` listens and `blast` looks, if neither was told.
const PORT: u16 = 7777;
/// `--buffer`
const BUFFER: u64 = 64 << 10;
/// `--max-conns`, where there is memory for so many.
const MAX_CONNS: u64 = 1_000_000;
/// What is taken for the memory of a system that does not tell it.
const MEMORY: u64 = 8 << 30;
/// `--backlog`
const BACKLOG: i32 = 4096;
/// `--drain-timeout`
const DRAIN: Duration = Duration::from_secs(5);

/// One bundled server. Each field is a flag (`--max-conns`), a TOML key (`max_conns`) and an environment variable
/// (`ECHO_TESTER_SERVE_MAX_CONNS`); what is absent takes its default in [`resolve`](Self::resolve).
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[command(next_help_heading = "Server")]
#[serde(deny_unknown_fields)]
pub struct ServeArgs {
    /// The socket I/O model; 'echo-tester models' lists them [default: auto, the best of this system]
    #[arg(long, value_name = "NAME", env = "ECHO_TESTER_SERVE_MODEL", hide_env = true)]
    pub model: Option<String>,

    /// Where to listen; port 0 takes any free one [default: 127.0.0.1:7777]
    #[arg(long, value_name = "IP:PORT", env = "ECHO_TESTER_SERVE_BIND", hide_env = true)]
    pub bind: Option<Bind>,

    /// Threads that serve connections, where the model can [default: one for each core]
    #[arg(long, value_name = "N", env = "ECHO_TESTER_SERVE_WORKERS", hide_env = true)]
    pub workers: Option<Count>,

    /// What one connection may have in the server: received and not yet sent back [default: 64KiB]
    #[arg(long, value_name = "BYTES", env = "ECHO_TESTER_SERVE_BUFFER", hide_env = true)]
    pub buffer: Option<Bytes>,

    /// Connections served at once; one more is closed at once [default: what half of the memory holds, 1m at most]
    ///
    /// Times --buffer this is what all of them together may have in the server.
    #[arg(long, value_name = "N", env = "ECHO_TESTER_SERVE_MAX_CONNS", hide_env = true)]
    pub max_conns: Option<Count>,

    /// Close connections on which nothing moved for so long [default: never]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_SERVE_IDLE_TIMEOUT", hide_env = true)]
    pub idle_timeout: Option<Time>,

    /// Connections that wait to be accepted; the system may allow fewer [default: 4096]
    #[arg(long, value_name = "N", env = "ECHO_TESTER_SERVE_BACKLOG", hide_env = true)]
    pub backlog: Option<Count>,

    /// Let several processes listen on one port, SO_REUSEPORT [default: false]
    #[arg(
        long, value_name = "BOOL", env = "ECHO_TESTER_SERVE_REUSE_PORT", hide_env = true, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new(),
        hide_possible_values = true
    )]
    pub reuse_port: Option<bool>,

    /// How long connections may take to end when the server stops; then they are reset [default: 5s]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_SERVE_DRAIN_TIMEOUT", hide_env = true)]
    pub drain_timeout: Option<Time>,

    /// What to do wrong on purpose; repeatable: drop:len=3,at=64KiB,conn=7 [default: nothing]
    ///
    /// flip, zero, drop, duplicate, reorder, crosstalk, stale, truncate, surplus, stall, reset, no-fin,
    /// fin-without-drain, one-at-a-time, limit-64 or delay, and where and how often: len=BYTES, at=OFFSET, every=BYTES,
    /// times=N, p=0.5, conn=N. A kind with a key that it does not take, such as drop:x=1, says which ones it does. The
    /// server is then one of its own, without a --model.
    #[arg(long, value_name = "FAULT", env = "ECHO_TESTER_SERVE_FAULT", hide_env = true, value_delimiter = ';')]
    pub fault: Option<Vec<Fault>>,

    /// What the places of faults are drawn from [default: 0]
    #[arg(long, value_name = "SEED", env = "ECHO_TESTER_SERVE_SEED", hide_env = true)]
    pub seed: Option<Seed>,

    /// Where to write each injected fault, one JSON object a line [default: stderr]
    #[arg(long, value_name = "FILE", env = "ECHO_TESTER_SERVE_FAULT_LOG", hide_env = true)]
    pub fault_log: Option<PathBuf>,
}

/// A bundled server, resolved.
pub struct Serve {
    /// The model.
    pub model: &'static Model,
    /// Where to listen.
    pub bind: SocketAddr,
    /// What the server is told.
    pub options: Options,
    /// How long connections may take to end when it stops.
    pub drain_timeout: Duration,
    /// If not `None`: it is faulty, and has no model.
    pub faults: Option<Faults>,
}

/// What a server does wrong.
pub struct Faults {
    /// Not empty.
    pub faults: Vec<Fault>,
    /// What their places are drawn from.
    pub seed: u64,
    /// Where they are logged; none: stderr.
    pub log: Option<PathBuf>,
}

impl ServeArgs {
    /// What was typed, with defaults: `cores` gives the number of workers, and the bytes of `memory` that of
    /// connections, if none was typed.
    ///
    /// # Errors
    /// They name the key, its value and what to write instead.
    pub fn resolve(&self, cores: usize, memory: Option<u64>) -> Result<Serve, ConfigError> {
        let name = self.model.as_deref().unwrap_or("auto");
        let model = models::find(name).map_err(|problem| {
            ConfigError::new("model", name, problem, "'echo-tester models' tells which of them run here")
        })?;
        let workers = self.workers.unwrap_or(Count(cores.max(1) as u64));
        let buffer = self.buffer.unwrap_or(Bytes(BUFFER));
        let backlog = self.backlog.unwrap_or(Count(BACKLOG as u64));
        let idle_timeout = self.idle_timeout.map(|Time(time)| time);
        let drain_timeout = self.drain_timeout.map_or(DRAIN, |Time(time)| time);
        within("workers", workers, Count(1)..=Count(1024), "more threads than help")?;
        within("buffer", buffer, Bytes(1)..=Bytes(1 << 30), "more than one connection should hold")?;
        let max_conns = self.max_conns.unwrap_or(Count(within_memory(buffer.0, memory)));
        within("max_conns", max_conns, Count(1)..=Count(1 << 30), "more than any system serves")?;
        within("backlog", backlog, Count(1)..=Count(i32::MAX as u64), "more than listen takes")?;
        if idle_timeout.is_some_and(|time| time < Duration::from_millis(1)) {
            let problem = "every connection would be closed at once";
            return Err(ConfigError::new("idle_timeout", "0", problem, "write a time such as 30s, or leave it out"));
        }
        let faults = self.faults()?;
        Ok(Serve {
            faults,
            model,
            bind: self.bind.map_or((Ipv4Addr::LOCALHOST, PORT).into(), |Bind(address)| address),
            options: Options {
                workers: workers.0 as usize,
                buffer: buffer.0 as usize,
                max_conns: max_conns.0 as usize,
                idle_timeout,
                backlog: backlog.0 as i32,
                reuse_port: self.reuse_port.unwrap_or(false),
            },
            drain_timeout: drain_timeout.min(Duration::from_secs(365 * 86_400)),
        })
    }
}

/// The connections whose buffers half of the memory holds; the other half is for all else, the system's own buffers of
/// their sockets first.
fn within_memory(buffer: u64, memory: Option<u64>) -> u64 {
    (memory.unwrap_or(MEMORY) / 2 / buffer).clamp(1, MAX_CONNS)
}

impl Serve {
    /// Bytes that all connections together may have in the server.
    pub fn most_held(&self) -> u64 {
        self.options.max_conns as u64 * self.options.buffer as u64
    }
}

impl ServeArgs {
    fn faults(&self) -> Result<Option<Faults>, ConfigError> {
        let faults = self.fault.clone().unwrap_or_default();
        let log = self.fault_log.clone();
        match (faults.is_empty(), &self.model, self.seed, &log) {
            (true, _, Some(seed), _) => {
                Err(ConfigError::new("seed", seed, "a server draws nothing but faults", "add --fault, or leave it out"))
            }
            (true, _, _, Some(log)) => {
                let problem = "there are no faults to log";
                Err(ConfigError::new("fault_log", log.display(), problem, "add --fault, or leave it out"))
            }
            (false, Some(model), ..) => {
                let problem = "a faulty server is a server of its own, and not a model made faulty";
                Err(ConfigError::new("model", model, problem, "leave out either --model or --fault"))
            }
            (true, ..) => Ok(None),
            (false, ..) => Ok(Some(Faults { faults, seed: self.seed.map_or(0, |Seed(seed)| seed), log })),
        }
    }

    /// The flags that say the same, for a command line that starts it: `--model`, `epoll`, `--workers`, `2`.
    pub fn to_flags(&self) -> Vec<String> {
        super::forms::flags(self, &[])
    }
}

fn within<T: Copy + PartialOrd + fmt::Display>(
    key: &'static str,
    value: T,
    range: RangeInclusive<T>,
    too_many: &str,
) -> Result<(), ConfigError> {
    if value < *range.start() {
        let remedy = format!("the least is {}", range.start());
        return Err(ConfigError::new(key, value, "with that it can serve nobody", remedy));
    }
    if value > *range.end() {
        return Err(ConfigError::new(key, value, too_many, format!("the most is {}", range.end())));
    }
    Ok(())
}

/// An address to listen on: `127.0.0.1:7777`, `[::1]:0`, `localhost:7777`, or a port alone, which means this machine's
/// own 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind(pub SocketAddr);

impl FromStr for Bind {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Bind(address));
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Err(ParseError::new(format!("{text} has no port: did you mean {}?", SocketAddr::new(ip, PORT))));
        }
        if text == "localhost" {
            return Err(ParseError::new(format!("{text} has no port: did you mean {text}:{PORT}?")));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let is_own = matches!(host, "" | "localhost");
        let is_ip = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        match port.parse::<u16>() {
            Ok(port) if is_own => Ok(Bind((Ipv4Addr::LOCALHOST, port).into())),
            Err(_) if is_own || is_ip => {
                Err(ParseError::new(format!("'{port}' is no port: write a number up to 65535")))
            }
            _ => {
                let forms = "write 127.0.0.1:7777, [::1]:7777 or 0.0.0.0:7777";
                Err(ParseError::new(format!("{text} is no address of this machine: {forms}")))
            }
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_form!(
    Bind,
    "Bind",
    "an address to listen on, such as 127.0.0.1:7777 or [::1]:0",
    r"^\s*([0-9.]+:|\[[0-9a-fA-F:.%]+\]:|localhost:|:)?[0-9]+\s*$",
    ["127.0.0.1:7777", "[::1]:0", "0.0.0.0:7777"]
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::text::Examples;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn typed(line: &str) -> ServeArgs {
        Line::try_parse_from(line.split_whitespace()).expect("it parses").args
    }

    #[test]
    fn nothing_typed_means_the_defaults_that_the_help_names() {
        let serve = typed("serve").resolve(3, Some(64 << 40)).expect("defaults are well");
        assert_eq!(serve.model.name, models::AUTO);
        assert_eq!(serve.bind.to_string(), "127.0.0.1:7777");
        assert_eq!(serve.options, Options { workers: 3, ..Options::default() });
        assert_eq!(serve.options.max_conns as u64, MAX_CONNS);
        let help = Line::command().term_width(1000).render_long_help().to_string();
        let shown = [serve.bind.to_string(), Bytes(BUFFER).to_string(), BACKLOG.to_string()];
        for default in shown.into_iter().chain([Time(DRAIN).to_string()]) {
            assert!(help.contains(&format!("[default: {default}]")), "{default}");
        }
        assert!(help.contains(&format!("half of the memory holds, {} at most]", Count(MAX_CONNS))));
    }

    #[test]
    fn all_connections_together_hold_no_more_than_half_of_the_memory_unless_told_otherwise() {
        const GIB: u64 = 1 << 30;
        for (line, memory, max_conns, held) in [
            ("serve", Some(4 * GIB), 32_768, 2 * GIB),
            ("serve --buffer 1GiB", Some(5 * GIB), 2, 2 * GIB),
            ("serve --buffer 1GiB", Some(GIB), 1, GIB),
            ("serve --buffer 1KiB", Some(4 * GIB), 1_000_000, 1_024_000_000),
            ("serve", None, 65_536, 4 * GIB),
            ("serve --max-conns 5 --buffer 1GiB", Some(GIB), 5, 5 * GIB),
        ] {
            let serve = typed(line).resolve(1, memory).expect("it is well");
            assert_eq!((serve.options.max_conns, serve.most_held()), (max_conns, held), "{line}");
        }
    }

    #[test]
    fn every_field_is_a_flag_a_key_and_a_variable() {
        let fields = serde_json::to_value(ServeArgs::default()).expect("it serializes");
        let command = Line::command();
        for key in fields.as_object().expect("a struct").keys() {
            let arg = command.get_arguments().find(|arg| arg.get_id() == key).expect("a flag for each key");
            assert_eq!(arg.get_long().map(str::to_owned), Some(key.replace('_', "-")));
            let variable = format!("ECHO_TESTER_SERVE_{}", key.to_uppercase());
            assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        }
    }

    #[test]
    fn what_is_typed_comes_back_as_flags() {
        for line in [
            "serve --model poll --bind [::1]:0 --idle-timeout 30s --reuse-port --buffer 1KiB --backlog 7",
            "serve --fault drop:at=5,len=3 --fault flip --seed 7 --fault-log faults.jsonl",
        ] {
            let args = typed(line);
            let flags = args.to_flags();
            let again = Line::try_parse_from(std::iter::once("serve".to_owned()).chain(flags)).expect("it parses").args;
            assert_eq!(again, args);
        }
    }

    #[test]
    fn faults_make_a_server_of_its_own_and_seed_and_log_are_theirs() {
        let serve =
            typed("serve --fault drop:at=5,len=3 --fault flip;stale --seed 7").resolve(1, None).expect("it is well");
        let faults = serve.faults.expect("it is faulty");
        assert_eq!((faults.faults.len(), faults.seed, faults.log), (3, 7, None));
        assert!(typed("serve").resolve(1, None).expect("it is well").faults.is_none());
        let error = Line::try_parse_from(["serve", "--fault", "drop:x=1"]).err().expect("it is refused").to_string();
        assert!(error.contains("drop does not take 'x': write drop[:len=64,at=64KiB"), "{error}");
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_what_to_write() {
        for (line, remedy) in [
            ("serve --workers 0", "the least is 1"),
            ("serve --workers 2k", "the most is 1024"),
            ("serve --buffer 0", "the least is 1"),
            ("serve --buffer 2GiB", "the most is 1GiB"),
            ("serve --max-conns 0", "the least is 1"),
            ("serve --backlog 3g", "the most is"),
            ("serve --idle-timeout 0", "leave it out"),
            ("serve --model epol", "did you mean epoll?"),
            ("serve --model tokio --fault flip", "either --model or --fault"),
            ("serve --seed 5", "add --fault"),
            ("serve --fault-log faults.jsonl", "add --fault"),
        ] {
            let error = typed(line).resolve(1, None).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert!(error.to_string().contains(remedy), "{error}");
        }
    }

    #[test]
    fn an_address_has_a_port_and_belongs_to_this_machine() {
        for (text, address) in [("7000", "127.0.0.1:7000"), (":0", "127.0.0.1:0"), ("localhost:1", "127.0.0.1:1")] {
            assert_eq!(text.parse::<Bind>().map(|bind| bind.to_string()), Ok(address.to_owned()));
        }
        for (text, part) in [
            ("127.0.0.1", "did you mean 127.0.0.1:7777?"),
            ("::1", "did you mean [::1]:7777?"),
            ("127.0.0.1:70000", "'70000' is no port: write a number up to 65535"),
            ("[::1]:70000", "'70000' is no port"),
            ("localhost:x", "'x' is no port"),
            ("70000", "up to 65535"),
            ("localhost", "did you mean localhost:7777?"),
            ("[127.0.0.1]:80", "no address of this machine"),
            ("example.com:80", "write 127.0.0.1:7777"),
        ] {
            let error = text.parse::<Bind>().expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(Bind::EXAMPLES.iter().all(|example| example.parse::<Bind>().is_ok()));
    }
}
