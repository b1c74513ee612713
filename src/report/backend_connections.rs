//! What came to the backend during a run, as data.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::IntakeCounts;

/// What came to the backend during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "BackendConnections")]
pub struct BackendReport {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Those that were recognized as connections of the run: each client's connection has one.
    pub recognized: u64,
    /// Those that began like a connection that had one already, or whose client was gone.
    pub repeated: u64,
    /// Those whose first bytes are no connection's of the run, such as a proxy's health checks.
    pub unknown: u64,
    /// Those that ended before they had sent enough to be recognized.
    pub silent: u64,
    /// Those of the run that came with a header of the PROXY protocol.
    #[serde(default)]
    pub with_header: u64,
    /// Those whose header names the address of the client's own socket.
    #[serde(default)]
    pub with_client_address: u64,
    /// Those that began like such a header, and had none.
    #[serde(default)]
    pub broken_headers: u64,
    /// Those that were closed because they did not come from `echo-tester backend` with the right token. They are not
    /// among those that were accepted.
    #[serde(default)]
    pub without_token: u64,
    /// The address from which the backend saw the first connection of the run.
    #[serde(default)]
    pub seen_from: Option<IpAddr>,
}

impl From<IntakeCounts> for BackendReport {
    fn from(counts: IntakeCounts) -> Self {
        let IntakeCounts { accepted, recognized, repeated, unknown, silent, .. } = counts;
        let IntakeCounts { with_header, with_client_address, broken_headers, without_token, seen_from, .. } = counts;
        let of_run = BackendReport { accepted, recognized, repeated, unknown, silent, ..BackendReport::default() };
        BackendReport { with_header, with_client_address, broken_headers, without_token, seen_from, ..of_run }
    }
}

impl BackendReport {
    /// Adds what came to the backend of another process.
    pub(super) fn add(&mut self, other: &BackendReport) {
        self.accepted += other.accepted;
        self.recognized += other.recognized;
        self.repeated += other.repeated;
        self.unknown += other.unknown;
        self.silent += other.silent;
        self.with_header += other.with_header;
        self.with_client_address += other.with_client_address;
        self.broken_headers += other.broken_headers;
        self.without_token += other.without_token;
        self.seen_from = self.seen_from.or(other.seen_from);
    }
}
