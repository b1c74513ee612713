//! How a connection ended, as data: what a finding about the end rests on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What ended the connection, seen from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EndedBy {
    /// The other side's FIN.
    Fin,
    /// The other side's reset.
    Reset,
    /// The system gave the connection up: no answer to what was sent, or no route any more.
    Vanished,
    /// This side: nothing came for the stall time-out.
    Silence,
    /// This side: its time was up, and the grace after it too.
    Overtime,
}

/// How a connection ended, for findings about the end. Times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Ending {
    /// What ended it.
    pub by: EndedBy,
    /// How long before the end this side had sent its FIN; null: it had not.
    pub own_fin_ms: Option<f64>,
    /// Whether that FIN was a probe: nothing had come for the stall time-out, and this side half-closed to see whether
    /// the other side still lives.
    pub probed: bool,
    /// How long the other side had been silent before the end; before the probe, if there was one.
    pub silent_ms: f64,
    /// Bytes that came after this side's FIN.
    pub received_after_fin: u64,
    /// Whether this side could not write, because the other side did not read.
    pub writes_blocked: bool,
    /// Where both ends are ours: whether a write has shown that the way is closed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub write_failed: bool,
    /// Bytes handed to the socket before the end; where both ends are ours, by the other side.
    pub sent: u64,
    /// Bytes that had come back before the end.
    pub received: u64,
}
