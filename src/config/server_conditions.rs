//! The conditions under which a case runs its server, whichever server that is: the keys `descriptors`, `family` and
//! `stop_after` of `[server]`. A case of the suite keeps them when another server takes the place of its own.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::ConfigError;
use super::server_options::ServerTable;
use crate::units::{Count, Time};

/// Every server needs some descriptors besides its connections: streams, a listener, a poll.
const LEAST_DESCRIPTORS: u64 = 32;

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

    /// What of it this system does not have.
    pub fn unavailable(&self) -> Option<&'static str> {
        let needs_unix = self.descriptors.is_some() || self.stop_after.is_some();
        (needs_unix && !cfg!(unix)).then_some("only Unix limits the descriptors of a process, and has SIGTERM")
    }
}

impl ServerTable {
    /// The conditions of the table, validated.
    ///
    /// # Errors
    /// They name the key, its value and what to write instead.
    pub fn conditions(&self) -> Result<ServerConditions, ConfigError> {
        let descriptors = self.descriptors.map(|Count(descriptors)| descriptors);
        if let Some(few) = descriptors.filter(|descriptors| *descriptors < LEAST_DESCRIPTORS) {
            return Err(ConfigError::too_small("descriptors", few, LEAST_DESCRIPTORS)
                .remedy("a server needs some besides its connections"));
        }
        let stop_after = self.stop_after.map(|Time(time)| time);
        Ok(ServerConditions { descriptors, family: self.family.unwrap_or_default(), stop_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(toml: &str) -> Result<ServerConditions, ConfigError> {
        let table: ServerTable = toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
        table.conditions()
    }

    #[test]
    fn the_conditions_of_a_case_go_before_those_of_its_suite() {
        let case = conditions("descriptors = 64").expect("they are valid");
        let suite = conditions("descriptors = 100\nfamily = 'ipv6'\nstop_after = '1s'").expect("they are valid");
        let both = case.or(suite);
        assert_eq!((both.descriptors, both.family), (Some(64), AddressFamily::Ipv6));
        assert_eq!(both.stop_after, Some(Duration::from_secs(1)));
        assert_eq!(case.unavailable().is_some(), cfg!(windows));
        assert_eq!(conditions("model = 'auto'").expect("there are none"), ServerConditions::default());
    }

    #[test]
    fn a_server_gets_as_many_descriptors_as_it_needs_itself() {
        let error = conditions("descriptors = 31").expect_err("too few");
        assert_eq!(
            error.to_string(),
            "descriptors = 31: must be at least 32: a server needs some besides its connections"
        );
    }
}
