//! The options of a run as a whole, which belong to no single load group: the seed, the workers, the shard.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;
use super::error::ConfigError;
use super::flags::{TrueOrFalse, keyword_parser, to_flags};
use super::forms::{ConnList, Seed, StartTime};
use super::sources::SourceAddresses;
use super::transport::TransportSettings;
use crate::plan::{ConnId, Shard};
use crate::transport::{ProxyHeader, ProxyUrl, TlsOptions};
use crate::units::{Count, Time};

/// The options of a run as they were typed. Each field is a flag, a TOML key and an environment variable, as in
/// `LoadArgs`.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[command(next_help_heading = "Run")]
#[serde(deny_unknown_fields)]
pub struct RunArgs {
    /// The seed of all random choices [default: drawn at random, and printed]
    #[arg(long, value_name = "SEED", env = "ECHO_TESTER_SEED", hide_env = true)]
    pub seed: Option<Seed>,

    /// Threads that run the connections [default: one for each core]
    #[arg(long, value_name = "N", env = "ECHO_TESTER_WORKERS", hide_env = true)]
    pub workers: Option<Count>,

    /// Addresses to connect from: 10.0.0.5,10.0.0.6 or 127.0.0.0/8 [default: the system's choice]
    ///
    /// On Unix each address has its own ports: about 28,000 on Linux, 16,000 on others. On Windows all addresses share
    /// 16,000. For a loopback target, addresses of 127.0.0.0/8 are used by default. A link-local address needs its
    /// zone: fe80::1%eth0, on Windows fe80::1%12.
    #[arg(long, value_name = "ADDRESSES", env = "ECHO_TESTER_SOURCE", hide_env = true)]
    pub source: Option<SourceAddresses>,

    /// Run only these connections, each with the plan that it has in the whole run
    #[arg(long, value_name = "ID,…", env = "ECHO_TESTER_ONLY_CONN", hide_env = true)]
    pub only_conn: Option<ConnList>,

    /// Run one process's share of the connections: 0/4 to 3/4 for four processes [default: 0/1]
    #[arg(long, value_name = "I/N", env = "ECHO_TESTER_SHARD", hide_env = true)]
    pub shard: Option<Shard>,

    /// Start at this time, so that several processes start together: 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_START_AT", hide_env = true)]
    pub start_at: Option<StartTime>,

    /// Findings to report in full; the others are only counted [default: 20]
    #[arg(long, value_name = "N", env = "ECHO_TESTER_FINDINGS", hide_env = true)]
    pub findings: Option<Count>,

    /// How long the loads may take; a run that is not done by then fails [default: no limit; for a case 10m]
    ///
    /// A case of check has 12 times its --patience, or 6 times as long as usual if that is longer; one that needs
    /// --long has 2h. The durations and time-outs of a case's loads are added to its default limit. A default limit
    /// that ends a case in which nothing was wrong makes it inconclusive.
    #[arg(long, alias = "case-timeout", value_name = "TIME", env = "ECHO_TESTER_TIMEOUT", hide_env = true)]
    pub timeout: Option<Time>,

    /// Connect through this proxy: socks5://HOST:PORT, socks5h://, socks4a:// or http:// (CONNECT); repeatable
    ///
    /// Several are a chain, the first one nearest. A user goes before the host: socks5://user:password@HOST:PORT, and
    /// %40 stands for an @ in it. Reports and replay lines never show the password. Other users of the machine see
    /// command lines: ECHO_TESTER_VIA keeps it from them, with commas between the proxies. socks5h, socks4a and http
    /// are given a name as it is written; for socks5 it is resolved here. A proxy that refuses is a failed connect.
    #[arg(
        long,
        value_name = "URL",
        env = "ECHO_TESTER_VIA",
        hide_env = true,
        hide_env_values = true,
        value_delimiter = ',',
        help_heading = "Transport"
    )]
    #[serde(default)]
    pub via: Vec<ProxyUrl>,

    /// Send a header of the PROXY protocol before the stream: v1 (a line of text) or v2 (binary) [default: none]
    ///
    /// It names the two ends of the client's connection. It is not a byte of the stream: the server has to take it, as
    /// HAProxy with accept-proxy does.
    #[arg(
        long, value_name = "VERSION", env = "ECHO_TESTER_SEND_PROXY", hide_env = true, help_heading = "Transport",
        value_parser = keyword_parser(ProxyHeader::KEYWORDS), hide_possible_values = true
    )]
    pub send_proxy: Option<ProxyHeader>,

    /// Connect with TLS, and verify the server's certificate [default: false]
    ///
    /// The stream goes inside TLS 1.3 or 1.2. Half-close is close_notify, and the FIN follows it; a FIN of the server
    /// without close_notify is a truncation. Certificates that the system trusts are trusted here; --ca names others.
    #[arg(
        long, value_name = "BOOL", env = "ECHO_TESTER_TLS", hide_env = true, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = TrueOrFalse,
        hide_possible_values = true, help_heading = "Transport"
    )]
    pub tls: Option<bool>,

    /// With --tls: trust the certificates in this PEM file, and no others [default: those of the system]
    #[arg(long, value_name = "FILE", env = "ECHO_TESTER_CA", hide_env = true, help_heading = "Transport")]
    pub ca: Option<PathBuf>,

    /// With --tls: do NOT verify the server's certificate; every report says so [default: false]
    #[arg(
        long, value_name = "BOOL", env = "ECHO_TESTER_INSECURE", hide_env = true, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = TrueOrFalse,
        hide_possible_values = true, help_heading = "Transport"
    )]
    pub insecure: Option<bool>,

    /// With --tls: the name to ask the server for, which its certificate must have [default: the target's host]
    #[arg(long, value_name = "NAME", env = "ECHO_TESTER_SNI", hide_env = true, help_heading = "Transport")]
    pub sni: Option<String>,

    /// With --tls: protocols to offer by ALPN; repeatable [default: none]
    #[arg(
        long,
        value_name = "PROTOCOL",
        env = "ECHO_TESTER_ALPN",
        hide_env = true,
        value_delimiter = ',',
        help_heading = "Transport"
    )]
    #[serde(default)]
    pub alpn: Vec<String>,

    /// With --tls: the client's own certificate chain, a PEM file; needs --client-key
    #[arg(long, value_name = "FILE", env = "ECHO_TESTER_CLIENT_CERT", hide_env = true, help_heading = "Transport")]
    pub client_cert: Option<PathBuf>,

    /// With --tls: the key of --client-cert, a PEM file
    #[arg(long, value_name = "FILE", env = "ECHO_TESTER_CLIENT_KEY", hide_env = true, help_heading = "Transport")]
    pub client_key: Option<PathBuf>,
}

/// The options of a run, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSettings {
    /// The seed of all random choices.
    pub seed: u64,
    /// Threads, at least 1.
    pub workers: usize,
    /// Addresses to connect from; none: the system chooses.
    pub sources: SourceAddresses,
    /// The only connections to run; none: all of them.
    pub only_conns: Vec<ConnId>,
    /// This process's share.
    pub shard: Shard,
    /// When to start; none: now.
    pub start_at: Option<SystemTime>,
    /// Findings to report in full.
    pub findings: usize,
    /// How long the loads may take; none: no limit, or for a case one that follows from its loads.
    pub timeout: Option<Duration>,
    /// What lies between a connection and its target.
    pub transport: TransportSettings,
}

/// Bits of a drawn seed, which people retype.
const DRAWN_SEED_BITS: u32 = 48;

impl RunArgs {
    /// The first source address from which this target can be reached; `None`: the system chooses.
    pub fn source_towards(&self, target: IpAddr) -> Option<IpAddr> {
        self.source.as_ref()?.towards(target).nth(0)
    }

    /// The settings, with defaults for absent options: a seed from the low bits of `random`, and one worker for each of
    /// the `cores`.
    ///
    /// # Errors
    /// They name the key, its value and what to write instead.
    pub fn resolve(&self, random: u64, cores: usize) -> Result<RunSettings, ConfigError> {
        let workers = match self.workers {
            None => cores.max(1),
            Some(Count(0)) => return Err(ConfigError::too_small("workers", 0, 1)),
            Some(Count(workers)) if workers <= defaults::MAX_WORKERS => workers as usize,
            Some(workers) => return Err(ConfigError::too_large("workers", workers, defaults::MAX_WORKERS)),
        };
        if let (Some(only), Some(shard)) = (&self.only_conn, self.shard) {
            return Err(ConfigError::new("only_conn", only, format!("`shard = {shard}` already selects connections"))
                .remedy("leave out one of them"));
        }
        if let (Some(shard), None) = (self.shard.filter(|shard| shard.count() > 1), self.seed) {
            let problem = "each process would draw its own seed, so their connections would not form one run";
            return Err(ConfigError::new("shard", shard, problem).remedy("give all processes the same `seed`"));
        }
        if let Some(Time(Duration::ZERO)) = self.timeout {
            return Err(ConfigError::new("timeout", 0, "must be longer than 0")
                .remedy("write a time such as 10m, or leave it out"));
        }
        self.check_tls()?;
        Ok(RunSettings {
            seed: self.seed.map_or(random & ((1 << DRAWN_SEED_BITS) - 1), |Seed(seed)| seed),
            workers,
            sources: self.source.clone().unwrap_or_default(),
            only_conns: self.only_conn.clone().map_or_else(Vec::new, |ConnList(conns)| conns),
            shard: self.shard.unwrap_or(Shard::WHOLE),
            start_at: self.start_at.map(|StartTime(time)| time),
            findings: self
                .findings
                .map_or(defaults::DEFAULT_FINDINGS, |Count(n)| usize::try_from(n).unwrap_or(usize::MAX)),
            timeout: self.timeout.map(|Time(time)| time),
            transport: self.transport(),
        })
    }

    /// What lies between a connection and its target.
    pub fn transport(&self) -> TransportSettings {
        let tls = (self.tls == Some(true)).then(|| TlsOptions {
            ca: self.ca.clone(),
            insecure: self.insecure == Some(true),
            sni: self.sni.clone(),
            alpn: self.alpn.clone(),
            identity: self.client_cert.clone().zip(self.client_key.clone()),
        });
        TransportSettings { via: self.via.clone(), header: self.send_proxy, tls }
    }

    /// The same options for a target that is reached directly.
    #[must_use]
    pub fn without_transport(&self) -> RunArgs {
        self.clone().with_transport_of(&RunArgs::default(), &RunArgs::default())
    }

    /// These options, but those of the transport are `typed` where they are given, and else those of the file.
    #[must_use]
    pub fn with_transport_of(self, typed: &RunArgs, file: &RunArgs) -> RunArgs {
        RunArgs {
            via: if typed.via.is_empty() { file.via.clone() } else { typed.via.clone() },
            send_proxy: typed.send_proxy.or(file.send_proxy),
            tls: typed.tls.or(file.tls),
            ca: typed.ca.clone().or_else(|| file.ca.clone()),
            insecure: typed.insecure.or(file.insecure),
            sni: typed.sni.clone().or_else(|| file.sni.clone()),
            alpn: if typed.alpn.is_empty() { file.alpn.clone() } else { typed.alpn.clone() },
            client_cert: typed.client_cert.clone().or_else(|| file.client_cert.clone()),
            client_key: typed.client_key.clone().or_else(|| file.client_key.clone()),
            ..self
        }
    }

    /// The flags of the transport alone, for a command line that runs a part of it again.
    pub fn transport_flags(&self) -> Vec<String> {
        RunArgs::default().with_transport_of(self, &RunArgs::default()).to_flags()
    }

    /// Refuses options of TLS without TLS, and half of a pair.
    fn check_tls(&self) -> Result<(), ConfigError> {
        let given = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let of_tls = [
            ("ca", given(&self.ca)),
            ("insecure", self.insecure.filter(|on| *on).map(|on| on.to_string())),
            ("sni", self.sni.clone()),
            ("alpn", self.alpn.first().cloned()),
            ("client_cert", given(&self.client_cert)),
            ("client_key", given(&self.client_key)),
        ];
        for (key, value) in of_tls {
            if let (Some(value), false) = (value, self.tls == Some(true)) {
                return Err(ConfigError::new(key, value, "it is an option of TLS").remedy("add `tls`, or leave it out"));
            }
        }
        if let (Some(ca), Some(true)) = (given(&self.ca), self.insecure) {
            let problem = "with `insecure` no certificate is verified";
            return Err(ConfigError::new("ca", ca, problem).remedy("leave out one of them"));
        }
        match (given(&self.client_cert), given(&self.client_key)) {
            (Some(certificate), None) => {
                Err(ConfigError::new("client_cert", certificate, "its key is missing").remedy("add `client_key`"))
            }
            (None, Some(key)) => {
                Err(ConfigError::new("client_key", key, "its certificate is missing").remedy("add `client_cert`"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses the options that run a part of the load, or begin at a set time: a comparison needs the whole load, and
    /// its rounds begin one after another. One server alone may have a part of the load: so its findings are replayed.
    ///
    /// # Errors
    /// The option, and what to do.
    pub fn check_whole(&self, servers: usize) -> Result<(), ConfigError> {
        const PART: &str = "the servers are compared under the whole load";
        let refused = |key, value: &dyn std::fmt::Display, problem| {
            Err(ConfigError::new(key, value, problem).remedy("leave it out"))
        };
        match self {
            RunArgs { only_conn: Some(only), .. } if servers > 1 => refused("only_conn", only, PART),
            RunArgs { shard: Some(shard), .. } if shard.count() > 1 => refused("shard", shard, PART),
            RunArgs { start_at: Some(time), .. } => refused("start_at", time, "the rounds begin one after another"),
            _ => Ok(()),
        }
    }

    /// The flags that say the same, for a command line that runs it again.
    pub fn to_flags(&self) -> Vec<String> {
        to_flags(self, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(toml: &str) -> Result<RunSettings, ConfigError> {
        let args: RunArgs = toml::from_str(toml).unwrap_or_else(|error| panic!("{error}"));
        args.resolve(u64::MAX, 2)
    }

    #[test]
    fn a_drawn_seed_is_short_enough_to_retype_and_a_typed_one_is_kept() {
        assert_eq!(run("").expect("the options are valid").seed, 0xffff_ffff_ffff);
        assert_eq!(run("seed = '0xffffffffffffffff'").expect("the options are valid").seed, u64::MAX);
    }

    #[test]
    fn absent_options_take_their_defaults() {
        let RunSettings { workers, sources, only_conns, shard, start_at, findings, .. } =
            run("").expect("the options are valid");
        assert_eq!((workers, findings, shard), (2, 20, Shard::WHOLE));
        assert!(sources.is_empty() && only_conns.is_empty() && start_at.is_none());
    }

    #[test]
    fn a_comparison_takes_no_part_of_a_load_and_no_start() {
        for (toml, is_refused) in [
            ("only_conn = 5", true),
            ("shard = '0/2'\nseed = 1", true),
            ("start_at = '2026-01-31T12:00:00Z'", true),
            ("shard = '0/1'\nseed = 1\nworkers = 3", false),
        ] {
            let args: RunArgs = toml::from_str(toml).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(args.check_whole(2).is_err(), is_refused, "{toml}");
        }
    }

    #[test]
    fn invalid_values_are_refused_with_what_to_write() {
        let refusal = |toml| run(toml).expect_err(toml).in_flags().to_string();
        assert_eq!(refusal("workers = 0"), "--workers 0: must be at least 1");
        assert_eq!(refusal("workers = '2k'"), "--workers 2000: must be at most 1024");
        assert_eq!(
            refusal("only_conn = 5\nshard = '0/4'"),
            "--only-conn 5: --shard 0/4 already selects connections: leave out one of them"
        );
        assert_eq!(
            refusal("shard = '0/4'"),
            "--shard 0/4: each process would draw its own seed, so their connections would not form one run: give all \
             processes the same --seed"
        );
        assert_eq!(
            refusal("timeout = 0"),
            "--timeout 0: must be longer than 0: write a time such as 10m, or leave it out"
        );
        assert!(run("shard = '0/1'").is_ok() && run("shard = '0/4'\nseed = 1").is_ok());
    }
}
