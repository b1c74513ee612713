//! A bundled server: its options as typed, resolved to complete, valid settings.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::defaults;
use super::error::ConfigError;
use super::forms::Seed;
use super::listen_place::ListenPlace;
use super::server_options::ServeArgs;
use crate::server::Options;
use crate::server::fault::Fault;
use crate::server::models::{self, Model};
use crate::transport::Endpoint;
use crate::units::{Bytes, Count, Time};

/// The longest `--drain-timeout`; a longer one means this.
const MAX_DRAIN_TIMEOUT: Duration = Duration::from_secs(365 * 86_400);
/// The shortest `--idle-timeout`.
const MIN_IDLE_TIMEOUT: Duration = Duration::from_millis(1);

/// A bundled server, resolved.
pub struct ServeSettings {
    /// The model.
    pub model: &'static Model,
    /// Where to listen.
    pub bind: Endpoint,
    /// What every server is told.
    pub options: Options,
    /// How long connections may take to end when the server stops.
    pub drain_timeout: Duration,
    /// The certificate with which it speaks TLS; `None`: it does not.
    pub tls: Option<CertificateSource>,
    /// The faults; with any the server has no model.
    pub faults: Option<FaultSettings>,
}

/// Where the certificate of a server comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// It is made at the start.
    SelfMade,
    /// Two files in PEM.
    Files {
        /// The certificate chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

/// The faults of a server.
pub struct FaultSettings {
    /// The faults; not empty.
    pub faults: Vec<Fault>,
    /// The seed from which their places are drawn.
    pub seed: u64,
    /// Where they are logged; none: stderr.
    pub log: Option<PathBuf>,
}

impl ServeArgs {
    /// The settings, with defaults for absent options: one worker for each of the `cores`, and as many connections as
    /// the bytes of `memory` allow.
    ///
    /// # Errors
    /// They name the key, its value and what to write instead.
    pub fn resolve(&self, cores: usize, memory: Option<u64>) -> Result<ServeSettings, ConfigError> {
        let tls = self.certificate()?;
        let model = self.find_model(tls.is_some())?;
        let workers = self.workers.unwrap_or(Count(cores.max(1) as u64));
        let buffer = self.buffer.unwrap_or(Bytes(defaults::BUFFER_BYTES));
        let backlog = self.backlog.unwrap_or(Count(defaults::BACKLOG as u64));
        let idle_timeout = self.idle_timeout.map(|Time(time)| time);
        let drain_timeout = self.drain_timeout.map_or(defaults::DRAIN_TIMEOUT, |Time(time)| time);
        check_range("workers", workers, Count(1)..=Count(defaults::MAX_WORKERS))?;
        check_range("buffer", buffer, Bytes(1)..=Bytes(1 << 30))?;
        let max_conns = self.max_conns.unwrap_or(Count(conns_within_memory(buffer.0, memory)));
        check_range("max_conns", max_conns, Count(1)..=Count(1 << 30))?;
        check_range("backlog", backlog, Count(1)..=Count(i32::MAX as u64))?;
        if let Some(time) = idle_timeout.filter(|time| *time < MIN_IDLE_TIMEOUT) {
            return Err(ConfigError::too_small("idle_timeout", Time(time), Time(MIN_IDLE_TIMEOUT))
                .remedy("write a time such as 30s, or leave it out"));
        }
        Ok(ServeSettings {
            faults: self.fault_settings()?,
            model,
            tls,
            bind: self.place(model)?,
            options: Options {
                workers: workers.0 as usize,
                buffer: buffer.0 as usize,
                max_conns: max_conns.0 as usize,
                idle_timeout,
                backlog: backlog.0 as i32,
                reuse_port: self.reuse_port.unwrap_or(false),
            },
            drain_timeout: drain_timeout.min(MAX_DRAIN_TIMEOUT),
        })
    }

    fn place(&self, model: &Model) -> Result<Endpoint, ConfigError> {
        let Some(ListenPlace(place)) = self.bind.clone() else {
            return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, defaults::DEFAULT_PORT)).into());
        };
        let wrong = |problem: &str| Err(ConfigError::new("bind", &place, problem).remedy("leave out one of them"));
        match place {
            Endpoint::Tcp(_) => Ok(place),
            // The kernel wakes who waits, but sends no SIGIO for the end (sock_def_wakeup): the connection would stay.
            Endpoint::Vsock { .. } if model.name == "sigio" => Err(ConfigError::new(
                "model",
                model.name,
                "Linux sends no signal when the other side of a vsock connection ends",
            )
            .remedy("take another model, such as epoll")),
            _ if self.fault.is_some() => wrong("a server with `fault` listens at an address of TCP"),
            _ if self.reuse_port != Some(true) => Ok(place),
            Endpoint::Unix(_) => wrong("`reuse_port` is for ports, and it has none"),
            Endpoint::Vsock { .. } => wrong("`reuse_port` is for ports of TCP"),
        }
    }

    fn find_model(&self, is_tls: bool) -> Result<&'static Model, ConfigError> {
        let name = self.model.as_deref().unwrap_or("auto");
        let wanted = if is_tls && name == "auto" { models::AUTO_TLS } else { name };
        let model = models::find(wanted).map_err(|problem| ConfigError::new("model", name, problem))?;
        match model.run_tls {
            None if is_tls => Err(ConfigError::new("tls", true, format!("the model {} speaks no TLS", model.name))
                .remedy(format!("write `model = {}`, or leave out `tls`", models::AUTO_TLS))),
            _ => Ok(model),
        }
    }

    fn certificate(&self) -> Result<Option<CertificateSource>, ConfigError> {
        let wrong = |key, path: &Path, problem: &str| ConfigError::new(key, path.display(), problem);
        let files = match (&self.cert, &self.key) {
            (Some(certificate), None) => {
                return Err(wrong("cert", certificate, "its key is missing").remedy("add `key`"));
            }
            (None, Some(key)) => return Err(wrong("key", key, "its certificate is missing").remedy("add `cert`")),
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
        };
        match (self.tls == Some(true), files) {
            (true, _) if self.fault.is_some() => {
                Err(ConfigError::new("tls", true, "a server with faults speaks no TLS").remedy("leave out one of them"))
            }
            (true, None) => Ok(Some(CertificateSource::SelfMade)),
            (true, Some((certificate, key))) => {
                Ok(Some(CertificateSource::Files { certificate: certificate.clone(), key: key.clone() }))
            }
            (false, Some((certificate, _))) => {
                Err(wrong("cert", certificate, "it is an option of TLS").remedy("add `tls`, or leave it out"))
            }
            (false, None) => Ok(None),
        }
    }

    fn fault_settings(&self) -> Result<Option<FaultSettings>, ConfigError> {
        const REMEDY: &str = "add `fault`, or leave it out";
        let faults = self.fault.clone().unwrap_or_default();
        let log = self.fault_log.clone();
        match (faults.is_empty(), &self.model, self.seed, &log) {
            (true, _, Some(seed), _) => {
                Err(ConfigError::new("seed", seed, "only faults are drawn from it, and there are none").remedy(REMEDY))
            }
            (true, _, _, Some(log)) => {
                Err(ConfigError::new("fault_log", log.display(), "there are no faults to log").remedy(REMEDY))
            }
            (false, Some(model), ..) => Err(ConfigError::new("model", model, "a server with faults has no model")
                .remedy("leave out `model` or `fault`")),
            (true, ..) => Ok(None),
            (false, ..) => Ok(Some(FaultSettings { faults, seed: self.seed.map_or(0, |Seed(seed)| seed), log })),
        }
    }
}

impl ServeSettings {
    /// The most bytes that all buffers together may hold.
    pub fn max_buffered_bytes(&self) -> u64 {
        self.options.max_conns as u64 * self.options.buffer as u64
    }
}

/// The number of connections whose buffers fit in half of the memory. The other half is for everything else, above all
/// for the system's own buffers of their sockets.
fn conns_within_memory(buffer: u64, memory: Option<u64>) -> u64 {
    (memory.unwrap_or(defaults::ASSUMED_MEMORY_BYTES) / 2 / buffer).clamp(1, defaults::MAX_CONNS)
}

fn check_range<T: Copy + PartialOrd + fmt::Display>(
    key: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), ConfigError> {
    if value < *range.start() {
        return Err(ConfigError::too_small(key, value, range.start()));
    }
    if value > *range.end() {
        return Err(ConfigError::too_large(key, value, range.end()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn absent_options_take_the_defaults_that_the_help_names() {
        let serve = typed("serve").resolve(3, Some(64 << 40)).expect("the defaults are valid");
        assert_eq!(serve.model.name, models::AUTO);
        assert_eq!(serve.bind.to_string(), "127.0.0.1:7777");
        assert_eq!(serve.options, Options { workers: 3, ..Options::default() });
        assert_eq!(serve.options.max_conns as u64, defaults::MAX_CONNS);
        let help = Line::command().term_width(1000).render_long_help().to_string();
        let shown = [serve.bind.to_string(), Bytes(defaults::BUFFER_BYTES).to_string(), defaults::BACKLOG.to_string()];
        for default in shown.into_iter().chain([Time(defaults::DRAIN_TIMEOUT).to_string()]) {
            assert!(help.contains(&format!("[default: {default}]")), "{default}");
        }
        assert!(help.contains(&format!("half of the memory allows, {} at most]", Count(defaults::MAX_CONNS))));
    }

    #[test]
    fn by_default_all_buffers_together_fit_in_half_of_the_memory() {
        const GIB: u64 = 1 << 30;
        for (line, memory, max_conns, held) in [
            ("serve", Some(4 * GIB), 32_768, 2 * GIB),
            ("serve --buffer 1GiB", Some(5 * GIB), 2, 2 * GIB),
            ("serve --buffer 1GiB", Some(GIB), 1, GIB),
            ("serve --buffer 1KiB", Some(4 * GIB), 1_000_000, 1_024_000_000),
            ("serve", None, 65_536, 4 * GIB),
            ("serve --max-conns 5 --buffer 1GiB", Some(GIB), 5, 5 * GIB),
        ] {
            let serve = typed(line).resolve(1, memory).expect("the options are valid");
            assert_eq!((serve.options.max_conns, serve.max_buffered_bytes()), (max_conns, held), "{line}");
        }
    }

    #[test]
    fn every_field_is_a_flag_a_key_and_a_variable() {
        let fields = serde_json::to_value(ServeArgs::default()).expect("options can be written as JSON");
        let command = Line::command();
        for key in fields.as_object().expect("a struct is a JSON object").keys() {
            let arg = command.get_arguments().find(|arg| arg.get_id() == key).expect("each key is a flag");
            assert_eq!(arg.get_long().map(str::to_owned), Some(key.replace('_', "-")));
            let variable = format!("ECHO_TESTER_SERVE_{}", key.to_uppercase());
            assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        }
    }

    #[test]
    fn options_are_written_back_as_the_flags_that_were_typed() {
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
    fn over_tls_the_model_is_the_one_that_speaks_it() {
        for line in ["serve --tls", "serve --tls --model auto", "serve --tls --model threads"] {
            let serve = typed(line).resolve(1, None).expect("the options are valid");
            assert_eq!((serve.model.name, serve.tls), ("threads", Some(CertificateSource::SelfMade)), "{line}");
        }
        let serve = typed("serve --tls --cert a --key b").resolve(1, None).expect("the options are valid");
        let files = CertificateSource::Files { certificate: "a".into(), key: "b".into() };
        assert_eq!(serve.tls, Some(files));
        assert_eq!(typed("serve --tls=false").resolve(1, None).expect("the options are valid").tls, None);
    }

    #[test]
    fn a_server_with_faults_has_their_seed_and_their_log() {
        let serve = typed("serve --fault drop:at=5,len=3 --fault flip;stale --seed 7")
            .resolve(1, None)
            .expect("the options are valid");
        let faults = serve.faults.expect("the server has faults");
        assert_eq!((faults.faults.len(), faults.seed, faults.log), (3, 7, None));
        assert!(typed("serve").resolve(1, None).expect("the options are valid").faults.is_none());
        let error =
            Line::try_parse_from(["serve", "--fault", "drop:x=1"]).err().expect("the fault is refused").to_string();
        assert!(error.contains("drop does not take 'x': write drop[:len=64,at=64KiB"), "{error}");
    }

    #[test]
    fn invalid_values_are_refused_with_what_to_write() {
        for (line, expected) in [
            ("serve --workers 0", "--workers 0: must be at least 1"),
            ("serve --workers 2k", "--workers 2000: must be at most 1024"),
            ("serve --buffer 0", "--buffer 0: must be at least 1"),
            ("serve --buffer 2GiB", "--buffer 2GiB: must be at most 1GiB"),
            ("serve --max-conns 0", "--max-conns 0: must be at least 1"),
            ("serve --backlog 3g", "--backlog 3g: must be at most 2147483647"),
            (
                "serve --idle-timeout 0",
                "--idle-timeout 0: must be at least 1ms: write a time such as 30s, or leave it out",
            ),
            ("serve --model epol", "did you mean epoll?"),
            (
                "serve --model tokio --fault flip",
                "--model tokio: a server with faults has no model: leave out --model or --fault",
            ),
            #[cfg(unix)]
            ("serve --bind unix:/a --fault flip", "a server with --fault listens at an address of TCP"),
            #[cfg(unix)]
            ("serve --bind unix:/a --reuse-port", "--reuse-port is for ports, and it has none: leave out one of them"),
            #[cfg(target_os = "linux")]
            ("serve --bind vsock:7 --fault flip", "--bind vsock:7: a server with --fault listens at an address of TCP"),
            #[cfg(target_os = "linux")]
            ("serve --bind vsock:7 --model sigio", "--model sigio: Linux sends no signal when the other side"),
            #[cfg(target_os = "linux")]
            ("serve --bind vsock:7 --reuse-port", "--reuse-port is for ports of TCP: leave out one of them"),
            (
                "serve --tls --model tokio",
                "--tls: the model tokio speaks no TLS: write --model threads, or leave out --tls",
            ),
            ("serve --tls --fault flip", "a server with faults speaks no TLS: leave out one of them"),
            ("serve --tls --cert a.pem", "--cert a.pem: its key is missing: add --key"),
            ("serve --tls --key a.pem", "--key a.pem: its certificate is missing: add --cert"),
            ("serve --cert a.pem --key b.pem", "it is an option of TLS: add --tls, or leave it out"),
            (
                "serve --seed 5",
                "--seed 5: only faults are drawn from it, and there are none: add --fault, or leave it out",
            ),
            (
                "serve --fault-log faults.jsonl",
                "--fault-log faults.jsonl: there are no faults to log: add --fault, or leave it out",
            ),
        ] {
            let error = typed(line).resolve(1, None).err().unwrap_or_else(|| panic!("{line} was accepted"));
            let error = error.in_flags().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
