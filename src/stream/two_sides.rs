//! Where both ends are ours: the direction of a finding, and what the other end had done by then, as data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::op::Op;

/// The way on which something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StreamDirection {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What the other end of the connection had done when the finding was made. Times are milliseconds since the start of
/// the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct OtherSide {
    /// Whether the connection had reached it at all.
    pub reached: bool,
    /// Whether the connection reached it later, when this end was over.
    #[serde(default, skip_serializing_if = "is_false")]
    pub late: bool,
    /// Bytes that it had handed to its socket.
    pub sent: u64,
    /// Bytes that it had received.
    pub received: u64,
    /// Of the bytes that it had sent, those that had not come: what was on the way.
    pub held: u64,
    /// When it last sent something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sent_ms: Option<f64>,
    /// When it last received something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_received_ms: Option<f64>,
    /// When it sent its FIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fin_ms: Option<f64>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<f64>,
    /// Whether it was over by a reset of its own, as planned.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reset: bool,
    /// Its last writes and reads, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<Op>,
}

impl OtherSide {
    /// Moves all its times this much later.
    pub(super) fn delay(&mut self, by_ms: f64) {
        let OtherSide { last_sent_ms, last_received_ms, fin_ms, ended_ms, .. } = self;
        let times = [last_sent_ms, last_received_ms, fin_ms, ended_ms].into_iter().flatten();
        times.chain(self.recent.iter_mut().map(|op| &mut op.at_ms)).for_each(|at| *at += by_ms);
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}
