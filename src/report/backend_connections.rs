//! What came to the backend during a run, as data.

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::IntakeCounts;
use crate::judge::time_doubt::{self, TimeDoubt};
use crate::measure::BackendLoss;

/// What came to the backend during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "BackendConnections")]
pub struct BackendReport {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Those that were recognized as connections of the run: each client's connection has one.
    pub recognized: u64,
    /// Those that began like a connection that had one already.
    pub repeated: u64,
    /// Those that began like a connection of the run whose client had ended.
    #[serde(default)]
    pub late: u64,
    /// Those whose first bytes are no connection's of the run, such as a proxy's health checks.
    pub unknown: u64,
    /// Those of them that began with a TLS handshake: what stands between has not ended the client's `--tls`.
    #[serde(default)]
    pub tls: u64,
    /// Those that ended before they had sent enough to be recognized.
    pub silent: u64,
    /// Those of the run that came with a header of the PROXY protocol.
    #[serde(default)]
    pub with_header: u64,
    /// Those whose header names the address of the client's own socket.
    #[serde(default)]
    pub with_client_address: u64,
    /// Those whose header names the address of another client's socket, which was open.
    #[serde(default)]
    pub with_other_address: u64,
    /// Those that began like such a header, and had none.
    #[serde(default)]
    pub broken_headers: u64,
    /// Those that were closed because they did not come from `echo-tester backend` with the right token. They are not
    /// among those that were accepted.
    #[serde(default)]
    pub without_token: u64,
    /// Those that came from `echo-tester backend`, where no `--backend-token` was given.
    #[serde(default)]
    pub unwanted_backends: u64,
    /// The address from which the backend saw the first connection of the run.
    #[serde(default)]
    pub seen_from: Option<IpAddr>,
    /// The first `echo-tester backend` on another machine that was lost during the run: the address of that machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<IpAddr>,
    /// When it was lost, in seconds from the begin of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_after_s: Option<f64>,
    /// It did not answer at the end of the run. Otherwise its control connection has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone_silently: bool,
}

impl From<IntakeCounts> for BackendReport {
    fn from(counts: IntakeCounts) -> Self {
        BackendReport {
            accepted: counts.accepted,
            recognized: counts.recognized,
            repeated: counts.repeated,
            late: counts.late,
            unknown: counts.unknown,
            tls: counts.tls,
            silent: counts.silent,
            with_header: counts.with_header,
            with_client_address: counts.with_client_address,
            with_other_address: counts.with_other_address,
            broken_headers: counts.broken_headers,
            without_token: counts.without_token,
            unwanted_backends: counts.unwanted_backends,
            seen_from: counts.seen_from,
            gone: counts.lost.map(|lost| lost.address),
            gone_after_s: counts.lost.map(|lost| lost.after.as_secs_f64()),
            gone_silently: counts.lost.is_some_and(|lost| lost.is_silent),
        }
    }
}

impl BackendReport {
    /// Why the endings of connections say nothing about the proxy, if so.
    pub(super) fn doubt(&self) -> Option<TimeDoubt> {
        let after = Duration::try_from_secs_f64(self.gone_after_s?).unwrap_or_default();
        let lost = BackendLoss { address: self.gone?, after, is_silent: self.gone_silently };
        Some(time_doubt::of_lost_backend(lost))
    }

    /// Adds what came to the backend of another process.
    pub(super) fn add(&mut self, other: &BackendReport) {
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.recognized = self.recognized.saturating_add(other.recognized);
        self.repeated = self.repeated.saturating_add(other.repeated);
        self.late = self.late.saturating_add(other.late);
        self.unknown = self.unknown.saturating_add(other.unknown);
        self.silent = self.silent.saturating_add(other.silent);
        self.with_header = self.with_header.saturating_add(other.with_header);
        self.with_client_address = self.with_client_address.saturating_add(other.with_client_address);
        self.with_other_address = self.with_other_address.saturating_add(other.with_other_address);
        self.broken_headers = self.broken_headers.saturating_add(other.broken_headers);
        self.without_token = self.without_token.saturating_add(other.without_token);
        self.tls = self.tls.saturating_add(other.tls);
        self.unwanted_backends = self.unwanted_backends.saturating_add(other.unwanted_backends);
        self.seen_from = self.seen_from.or(other.seen_from);
        if self.gone.is_none() {
            (self.gone, self.gone_after_s, self.gone_silently) = (other.gone, other.gone_after_s, other.gone_silently);
        }
    }
}
