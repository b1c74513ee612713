//! What a side did with a connection, as data: the writes and reads that a finding shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that this side did with a connection, or that happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Op {
    /// What it was.
    pub kind: OpKind,
    /// Bytes written or read before it.
    pub offset: u64,
    /// Bytes, unless the kind says otherwise.
    pub len: u64,
    /// When, in milliseconds since the start of the run.
    pub at_ms: f64,
}

/// The kind of an [`Op`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OpKind {
    /// Bytes handed to the socket.
    Write,
    /// Bytes taken from the socket.
    Read,
    /// This side ended its direction (FIN). It has no length.
    HalfClose,
    /// The same ahead of the plan, because nothing had come for the stall time-out.
    Probe,
    /// The client itself stood still before it; the length is in milliseconds.
    StoodStill,
}
