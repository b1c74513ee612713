//! What came to the backend during a run, as data.

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::IntakeCounts;
use crate::judge::time_doubt::{self, TimeDoubt};

/// What came to the backend during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// The first `echo-tester backend` on another machine that has gone during the run: the address of that machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<IpAddr>,
    /// When it was lost, in seconds from the begin of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_after_s: Option<f64>,
}

impl From<IntakeCounts> for BackendReport {
    fn from(counts: IntakeCounts) -> Self {
        let IntakeCounts { accepted, recognized, repeated, unknown, silent, .. } = counts;
        let IntakeCounts { with_header, with_client_address, broken_headers, without_token, seen_from, .. } = counts;
        let of_run = BackendReport { accepted, recognized, repeated, unknown, silent, ..BackendReport::default() };
        let (gone, gone_after_s) =
            (counts.gone.map(|gone| gone.address), counts.gone.map(|gone| gone.after.as_secs_f64()));
        let of_run = BackendReport { gone, gone_after_s, ..of_run };
        BackendReport { with_header, with_client_address, broken_headers, without_token, seen_from, ..of_run }
    }
}

impl BackendReport {
    /// Why the endings of connections say nothing about the proxy, if so.
    pub(super) fn doubt(&self) -> Option<TimeDoubt> {
        let after = Duration::try_from_secs_f64(self.gone_after_s?).unwrap_or_default();
        Some(time_doubt::of_gone_backend(self.gone?, after))
    }

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
        if self.gone.is_none() {
            (self.gone, self.gone_after_s) = (other.gone, other.gone_after_s);
        }
    }
}
