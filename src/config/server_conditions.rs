//! The conditions under which a case runs its server, whichever server that is: the keys `descriptors`, `family` and
//! `stop_after` of `[server]`. A case of the suite keeps them when another server takes the place of its own.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

/// The conditions under which a case runs its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerConditions {
    /// How many descriptors a server that is started may open; `None`: as many as this process.
    pub descriptors: Option<u64>,
    /// Which addresses connections go to.
    pub family: AddressFamily,
    /// When a server that is started is told to end, after the start of the run.
    pub stop_after: Option<Duration>,
}

/// Which addresses of a server connections go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AddressFamily {
    /// 127.0.0.1 of a server that is started; the addresses of a target that answer first
    #[default]
    Any,
    /// `::1` of a server that is started, which listens there; the IPv6 addresses of a target
    Ipv6,
    /// Both families in turn: 127.0.0.1, `::1` and `::ffff:127.0.0.1` of a server that listens on `[::]`
    DualStack,
}

impl ServerConditions {
    /// These, and where they say nothing, the others.
    #[must_use]
    pub fn or(self, other: ServerConditions) -> ServerConditions {
        ServerConditions {
            descriptors: self.descriptors.or(other.descriptors),
            family: if self.family == AddressFamily::Any { other.family } else { self.family },
            stop_after: self.stop_after.or(other.stop_after),
        }
    }

    /// Why they can't be made here: `has_target` says that somebody else started the server, `is_proxy` that it is one,
    /// whose both ends are ours.
    pub fn unavailable(&self, has_target: bool, is_proxy: bool) -> Option<&'static str> {
        match self.descriptors.is_some() || self.stop_after.is_some() {
            true if !cfg!(unix) => Some("only Unix limits the descriptors of a process, and has SIGTERM"),
            true if has_target && is_proxy => Some(
                "it needs a proxy that echo-tester starts, to limit its descriptors or to tell it to end: give the \
                     command that starts yours in a scenario (suite = \"two-sides\"), and run that in place of check",
            ),
            true if has_target => Some(
                "it needs a server that echo-tester starts, to limit its descriptors or to tell it to end: leave out \
                     the target, or start yours by a scenario's command (suite = \"conformance\")",
            ),
            _ => None,
        }
    }
}
