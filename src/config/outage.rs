//! An outage of the backend: the table `[outage]` of a scenario. Where both ends are ours, the program can be down on
//! purpose, to see what a proxy makes of it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::ConfigError;
use crate::units::Time;

/// How long after an outage a connection need not reach the backend, by default.
const DEFAULT_SETTLES: Duration = Duration::from_secs(1);

/// What the backend does with connections while it is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutageKind {
    /// It does not listen, so the system refuses connections
    Refuse,
    /// It accepts connections, and resets each at once
    Reset,
}

/// The table `[outage]` of a scenario: for a time, the backend is down.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Outage")]
pub struct OutageTable {
    /// What the backend does with connections: refuse or reset
    pub how: OutageKind,
    /// How long after the start of the run it goes down [default: 0, before the first connect]
    pub after: Option<Time>,
    /// How long it is down
    pub lasts: Time,
    /// How long after that connections need not reach it, for proxies that look for it now and then [default: 1s]
    pub settles: Option<Time>,
}

/// An outage, resolved. Times count from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// What the backend does with connections.
    pub how: OutageKind,
    /// When it goes down. 0: before the first connect.
    pub begins: Duration,
    /// When it is up again.
    pub ends: Duration,
    /// When it must be found again.
    pub settled: Duration,
}

impl OutageTable {
    /// The outage, validated.
    ///
    /// # Errors
    /// It has no length.
    pub fn resolve(&self) -> Result<Outage, ConfigError> {
        if self.lasts.0.is_zero() {
            return Err(ConfigError::new("lasts", 0, "an outage takes some time").remedy("write a time such as 2s"));
        }
        let begins = self.after.map_or(Duration::ZERO, |Time(after)| after);
        let ends = begins.saturating_add(self.lasts.0);
        let settled = ends.saturating_add(self.settles.map_or(DEFAULT_SETTLES, |Time(settles)| settles));
        Ok(Outage { how: self.how, begins, ends, settled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(toml: &str) -> Result<Outage, ConfigError> {
        toml::from_str::<OutageTable>(toml).unwrap_or_else(|error| panic!("{error}")).resolve()
    }

    #[test]
    fn the_times_of_an_outage_follow_each_other() {
        let second = Duration::from_secs;
        let how = OutageKind::Refuse;
        let default = outage("how = 'refuse'\nlasts = '2s'").expect("it is valid");
        assert_eq!(default, Outage { how, begins: second(0), ends: second(2), settled: second(3) });
        let later = outage("how = 'reset'\nafter = '1s'\nlasts = '2s'\nsettles = '4s'").expect("it is valid");
        assert_eq!((later.begins, later.ends, later.settled), (second(1), second(3), second(7)));
        assert!(outage("how = 'refuse'\nlasts = 0").is_err());
    }
}
