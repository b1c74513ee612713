//! The line protocol of `serve --json`: one JSON object per line, written by `serve` and read by the runs that start
//! it.
//!
//! docs/protocol.md describes it for scripts. A reader ignores events and keys that it does not know.

use serde::{Deserialize, Serialize};

use crate::server::CountersSnapshot;

/// One line of `serve --json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ServeEvent {
    /// The server accepts connections.
    Listening {
        /// The address, with the port that the system chose; or `unix:` and a path.
        address: String,
        /// The model's name, `auto` resolved; `faulty` for a server with faults.
        model: String,
        /// Serving threads; none where the model does not take a number.
        workers: Option<usize>,
        /// The process id of the server.
        pid: u32,
        /// Whether it speaks TLS; left out if not.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tls: bool,
    },
    /// The server has stopped.
    Stopped {
        /// Connections and bytes since the start.
        counters: CountersSnapshot,
        /// Connections that were reset at the end of the drain time.
        aborted: u64,
        /// The model did not return even when it was told to abort.
        hung: bool,
        /// Why the model returned early.
        error: Option<String>,
        /// CPU time of the process; none where the system does not tell.
        cpu_seconds: Option<f64>,
    },
    /// An event that a later version may add.
    #[serde(other, skip_serializing)]
    Unknown,
}
