//! What came to the backend during a run, as data.

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
}

impl From<IntakeCounts> for BackendReport {
    fn from(counts: IntakeCounts) -> Self {
        let IntakeCounts { accepted, recognized, repeated, unknown, silent } = counts;
        BackendReport { accepted, recognized, repeated, unknown, silent }
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
    }
}
