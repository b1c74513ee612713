//! Where the program listens as the backend of a proxy: the flag `--backend`, and the table `[backend]` of a scenario.

use std::net::SocketAddr;

use clap::Args;
use schemars::JsonSchema;
use serde::Deserialize;

use super::listen_address::ListenAddress;

/// The flag `--backend` of every command that can own both ends.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct BackendArgs {
    /// Own both ends: listen here, where the proxy HOST:PORT forwards to, and verify each direction where it arrives
    ///
    /// A connection is recognized by its first bytes, whatever the proxy does to addresses. A finding says on which way
    /// bytes were lost, and when each side had sent and received what. An address such as 127.0.0.1:7777, or a port
    /// alone, which means 127.0.0.1.
    #[arg(long, value_name = "LISTEN", env = "ECHO_TESTER_BACKEND", hide_env = true)]
    pub backend: Option<ListenAddress>,
}

/// The table `[backend]` of a scenario.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
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
}

impl Default for BackendTable {
    fn default() -> BackendTable {
        BackendTable { listen: any_free_port() }
    }
}

fn any_free_port() -> ListenAddress {
    ListenAddress(SocketAddr::from(([127, 0, 0, 1], 0)))
}
