//! The options of a bundled server, defined once: the flags of `serve`, and the same keys in a scenario's `[server]`.
//!
//! The macro's input at the end of this file is the one table. A row is a flag (`--max-conns`), a TOML key
//! (`max_conns`) and an environment variable (`ECHO_TESTER_SERVE_MAX_CONNS`); its doc comment is the help text, and the
//! description in the JSON Schema. [`ServeArgs`] and [`ServerTable`] are two structs with the same fields, because a
//! wrong key in a file must be reported with its line and column, and serde's `flatten` loses both.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::flags::{TrueOrFalse, list_fault_kinds, to_flags};
use super::forms::Seed;
use super::listen_place::ListenPlace;
use super::model_list::ModelList;
use super::readiness::Readiness;
use super::server_conditions::AddressFamily;
use crate::server::fault::Fault;
use crate::units::{Bytes, Count, Time};

/// Makes both structs from the table of options.
macro_rules! server_options {
    ($(
        $(#[doc = $doc:tt])+
        #[arg($($arg:tt)+)]
        $(#[schemars($schema:ident)])?
        $key:ident: $type:ty,
    )+) => {
        /// A bundled server as it was typed. Absent options take their defaults in [`resolve`](Self::resolve).
        #[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[command(next_help_heading = "Server", mut_arg("fault", list_fault_kinds))]
        #[serde(deny_unknown_fields)]
        pub struct ServeArgs {
            $(
                $(#[doc = $doc])+
                #[arg(long, hide_env = true, $($arg)+)]
                pub $key: Option<$type>,
            )+
        }

        /// The table `[server]`: one of model, models, command and fault, and the options that belong to it.
        #[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct ServerTable {
            $(
                $(#[doc = $doc])+
                $(#[schemars($schema)])?
                pub(super) $key: Option<$type>,
            )+

            /// Several models, as a list: the scenario is one case for each; or all: every model of this system
            pub(super) models: Option<ModelList>,
            /// A server of your own: the program and its arguments; {addr}, {host} and {port} stand for a free port
            ///
            /// {NAME} or {NAME.addr}, {NAME.host} and {NAME.port} stand for the address of a `[[process]]`, {dir} for
            /// the folder of `files`. It is ready when it echoes a byte; `ready` changes that. At the end of the case
            /// it is told to stop, with every process that it started. On Unix it gets the limit of open files
            /// ('ulimit -n') with which echo-tester was started.
            pub(super) command: Option<Vec<String>>,
            /// With command: its environment variables, in which {addr}, {host} and {port} may stand too
            #[serde(default)]
            pub(super) env: BTreeMap<String, String>,
            /// With command: small files that it reads, each by its name in {dir}, with the same placeholders
            ///
            /// {dir} is a private folder of the case, which is removed at its end.
            #[serde(default)]
            pub(super) files: BTreeMap<String, String>,
            /// With command: the folder to start it in [default: the current folder of echo-tester]
            pub(super) cwd: Option<PathBuf>,
            /// With command: when it is ready: echo, connect, or { output = "TEXT" } [default: echo]
            ///
            /// echo: it echoes a byte on a connection of its own. A proxy accepts connections before its backend is up,
            /// and ends them; then this waits. connect: it accepts a connection, which is closed again. output: a line
            /// that it prints has this text.
            pub(super) ready: Option<Readiness>,
            /// With command: how long it may take to get ready [default: 10s]
            pub(super) ready_timeout: Option<Time>,
            /// With command: how long it may take to end after SIGTERM; then it is killed [default: 5s]
            pub(super) stop_timeout: Option<Time>,
            /// How many descriptors it may open, on Unix [default: as many as echo-tester]
            pub(super) descriptors: Option<Count>,
            /// Which addresses of it connections go to; a server that is started listens there [default: any]
            pub(super) family: Option<AddressFamily>,
            /// When a server that is started gets SIGTERM, after the start of the run, on Unix [default: at the end]
            pub(super) stop_after: Option<Time>,
        }

        impl ServerTable {
            /// The given keys that only belong to a command.
            pub(super) fn command_keys(&self) -> impl Iterator<Item = &'static str> {
                let keys = [
                    ("env", !self.env.is_empty()),
                    ("files", !self.files.is_empty()),
                    ("cwd", self.cwd.is_some()),
                    ("ready", self.ready.is_some()),
                    ("ready_timeout", self.ready_timeout.is_some()),
                    ("stop_timeout", self.stop_timeout.is_some()),
                ];
                keys.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key)
            }

            /// The options of a bundled server.
            pub(super) fn options(&self) -> ServeArgs {
                ServeArgs { $($key: self.$key.clone(),)+ }
            }
        }

        impl ServeArgs {
            /// The keys that were given, in the order of the table.
            pub(super) fn given(&self) -> impl Iterator<Item = &'static str> {
                let keys = [$((stringify!($key), self.$key.is_some()),)+];
                keys.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key)
            }

            /// The flags that say the same: `--model`, `epoll`, `--workers`, `2`.
            pub fn to_flags(&self) -> Vec<String> {
                to_flags(self, &[])
            }
        }
    };
}

server_options! {
    /// The socket I/O model; 'echo-tester models' lists them [default: auto, the best of this system]
    #[arg(value_name = "NAME", env = "ECHO_TESTER_SERVE_MODEL")]
    model: String,

    /// Where to listen; port 0 is any free one, :: in brackets all of IPv6 and IPv4 [default: 127.0.0.1:7777]
    ///
    /// On Unix, unix:/path is a Unix domain socket. On Linux, vsock:PORT or vsock:CID:PORT is a port that virtual
    /// machines and their host reach.
    #[arg(value_name = "IP:PORT", env = "ECHO_TESTER_SERVE_BIND")]
    #[schemars(skip)]
    bind: ListenPlace,

    /// Threads that serve connections, if the model can use several [default: one for each core]
    #[arg(value_name = "N", env = "ECHO_TESTER_SERVE_WORKERS")]
    workers: Count,

    /// Bytes of one connection that the server may hold: received and not yet sent back [default: 64KiB]
    #[arg(value_name = "BYTES", env = "ECHO_TESTER_SERVE_BUFFER")]
    buffer: Bytes,

    /// Connections served at a time; further ones are closed [default: what half of the memory allows, 1m at most]
    ///
    /// Times --buffer, this is the most memory that all buffers together may take.
    #[arg(value_name = "N", env = "ECHO_TESTER_SERVE_MAX_CONNS")]
    max_conns: Count,

    /// Close connections on which no byte moved for this time [default: never]
    #[arg(value_name = "TIME", env = "ECHO_TESTER_SERVE_IDLE_TIMEOUT")]
    idle_timeout: Time,

    /// Connections that may wait to be accepted; the system may allow fewer [default: 4096]
    #[arg(value_name = "N", env = "ECHO_TESTER_SERVE_BACKLOG")]
    backlog: Count,

    /// Let several processes listen on one port, SO_REUSEPORT [default: false]
    #[arg(
        value_name = "BOOL", env = "ECHO_TESTER_SERVE_REUSE_PORT", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = TrueOrFalse, hide_possible_values = true
    )]
    reuse_port: bool,

    /// Speak TLS, with a certificate that is made at the start; --cert and --key give another [default: false]
    ///
    /// The model is threads, the only one that speaks TLS. Nobody has signed the certificate that is made at the start,
    /// so a client needs --insecure.
    #[arg(
        value_name = "BOOL", env = "ECHO_TESTER_SERVE_TLS", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = TrueOrFalse, hide_possible_values = true
    )]
    tls: bool,

    /// With --tls: the certificate chain of the server, a PEM file; needs --key [default: made at the start]
    #[arg(value_name = "FILE", env = "ECHO_TESTER_SERVE_CERT")]
    cert: PathBuf,

    /// With --tls: the key of --cert, a PEM file
    #[arg(value_name = "FILE", env = "ECHO_TESTER_SERVE_KEY")]
    key: PathBuf,

    /// How long connections may take to end when the server stops; then they are reset [default: 5s]
    #[arg(value_name = "TIME", env = "ECHO_TESTER_SERVE_DRAIN_TIMEOUT")]
    drain_timeout: Time,

    /// A fault to inject on purpose; repeatable, in a file a list: drop:len=3,at=64KiB,conn=7 [default: none]
    ///
    /// A fault is its kind and, after a colon, where and how often it happens: len=BYTES, at=OFFSET, every=BYTES,
    /// times=N, p=0.5, conn=N. The error for a wrong key, such as drop:x=1, lists the keys of the kind. A server with
    /// faults has no --model.
    ///
    /// p is the probability of each place in the stream, or of each connection if the kind has no places. Without at
    /// and every, there is a place in each 256 KiB of a connection; truncate, stall and reset have one place, in the
    /// first 64 KiB. So flip:p=0.01 hits one byte in 25 MiB on average. The places follow from --seed and the number of
    /// the connection: a server that is started again hits the same ones.
    #[arg(value_name = "FAULT", env = "ECHO_TESTER_SERVE_FAULT", value_delimiter = ';')]
    fault: Vec<Fault>,

    /// The seed from which the places of faults are drawn [default: 0]
    #[arg(value_name = "SEED", env = "ECHO_TESTER_SERVE_SEED")]
    seed: Seed,

    /// Where to log each injected fault, one JSON object per line [default: stderr]
    #[arg(value_name = "FILE", env = "ECHO_TESTER_SERVE_FAULT_LOG")]
    fault_log: PathBuf,
}
