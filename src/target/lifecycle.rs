//! The two ends of a server under test, as values: why it did not start, and what is left when it has stopped.

use std::net::SocketAddr;

use crate::report::run::ServerReport;
use crate::transport::Destination;

/// Why a case has no server.
#[derive(Debug)]
pub struct StartFailure {
    /// One sentence for the report.
    pub reason: String,
    /// The first and the last lines that the server printed.
    pub output: Vec<String>,
}

/// The facts about a server that has stopped.
#[derive(Debug, Default)]
pub struct StoppedServer {
    /// How it ended, if it did not end as it was told to.
    pub broke: Option<String>,
    /// Counters and CPU time; a bundled server reports them.
    pub report: Option<ServerReport>,
    /// The first and the last lines that the server printed.
    pub output: Vec<String>,
}

/// The way to a server that was started at this address: directly, or as all connections of the run go.
pub type Reach<'a> = &'a dyn Fn(SocketAddr) -> anyhow::Result<Destination>;
