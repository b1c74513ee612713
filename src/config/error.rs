//! What is wrong with a configuration whose single values are all well-formed.

use crate::failure::Failure;

/// One wrong value or combination: where, what, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {problem}: {remedy}")]
pub struct ConfigError {
    /// The TOML key; the flag is the same with hyphens.
    pub key: &'static str,
    /// The value, in its normal form.
    pub value: String,
    /// Why it can't be.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

impl ConfigError {
    pub(super) fn new(
        key: &'static str,
        value: impl ToString,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        ConfigError { key, value: value.to_string(), problem: problem.into(), remedy: remedy.into() }
    }

    /// The flag that holds the value: `--connect-rate`.
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    /// The same in terms of flags: exit code 2.
    pub fn in_flags(&self) -> anyhow::Error {
        Failure::usage(format!("{} {}: {}: {}", self.flag(), self.value, self.problem, self.remedy))
    }
}
