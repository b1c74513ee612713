//! Where the program listens as the backend of a proxy: the flag `--backend`, and the table `[backend]` of a scenario.

use std::net::SocketAddr;

use clap::Args;
use schemars::JsonSchema;
use serde::Deserialize;

use super::listen_address::ListenAddress;
use crate::transport::PairingToken;

/// The flags `--backend` and `--backend-token` of every command that can own both ends.
#[derive(Args, Clone, Debug, Default)]
pub struct BackendArgs {
    /// Own both ends: listen here, where the proxy HOST:PORT forwards to, and verify each direction where it arrives
    ///
    /// A connection is recognized by its first bytes, whatever the proxy does to addresses. A finding says on which way
    /// bytes were lost, and when each side had sent and received what. An address such as 127.0.0.1:7777, or a port
    /// alone, which means 127.0.0.1.
    #[arg(long, value_name = "LISTEN", env = "ECHO_TESTER_BACKEND", hide_env = true)]
    pub backend: Option<ListenAddress>,

    /// The backend is on another machine: 'echo-tester backend' there connects to --backend, and has this token too
    ///
    /// The proxy forwards to that machine. Reports never show the token, and replay lines go without it. Other users of
    /// a machine see command lines: ECHO_TESTER_BACKEND_TOKEN keeps it out of them, on both sides, and a replay takes
    /// it from there. Nothing is encrypted.
    #[arg(long, value_name = "TOKEN", env = "ECHO_TESTER_BACKEND_TOKEN", hide_env = true, hide_env_values = true)]
    pub backend_token: Option<PairingToken>,
}

impl BackendArgs {
    /// The flags that were given, for a replay line. The token is left out: a variable gives it to the replay.
    pub fn to_flags(&self) -> Vec<String> {
        self.backend.iter().flat_map(|listen| ["--backend".to_owned(), listen.to_string()]).collect()
    }
}

/// The table `[backend]` of a scenario.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Backend")]
pub struct BackendTable {
    /// Where to listen as the backend of the proxy: 127.0.0.1:7777; port 0 is any free one, and --backend overrides it
    /// [default: 127.0.0.1:0]
    ///
    /// {backend}, {backend.host} and {backend.port} stand for the address in the commands, variables and files of the
    /// processes.
    #[serde(default = "any_free_port")]
    pub listen: ListenAddress,
    /// The backend is on another machine: `echo-tester backend` there connects to `listen`, and has this token too
    ///
    /// --backend-token overrides it, and so does ECHO_TESTER_BACKEND_TOKEN, which keeps it out of the file.
    pub token: Option<PairingToken>,
}

impl Default for BackendTable {
    fn default() -> BackendTable {
        BackendTable { listen: any_free_port(), token: None }
    }
}

fn any_free_port() -> ListenAddress {
    ListenAddress(SocketAddr::from(([127, 0, 0, 1], 0)))
}
