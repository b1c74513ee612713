//! Errors of a configuration whose single values are all well-formed.

use std::fmt;

use super::flags::flag_of;
use crate::failure::Failure;

/// One wrong value or combination of values.
///
/// The problem and the remedy name other settings in backquotes, as a file has them: `` `read = never` ``. On the
/// command line these become flags: `--read never`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The TOML key; the flag is the same with hyphens.
    pub key: &'static str,
    /// The item that is wrong, if the value is a list.
    pub item: Option<usize>,
    /// The value, in its normal form.
    pub value: String,
    /// The problem with it.
    pub problem: String,
    /// The remedy, unless the problem says it.
    pub remedy: Option<String>,
}

impl ConfigError {
    pub(super) fn new(key: &'static str, value: impl ToString, problem: impl Into<String>) -> Self {
        ConfigError { key, item: None, value: value.to_string(), problem: problem.into(), remedy: None }
    }

    /// The value is smaller than `least`.
    pub(super) fn too_small(key: &'static str, value: impl ToString, least: impl fmt::Display) -> Self {
        ConfigError::new(key, value, format!("must be at least {least}"))
    }

    /// The value is greater than `most`.
    pub(super) fn too_large(key: &'static str, value: impl ToString, most: impl fmt::Display) -> Self {
        ConfigError::new(key, value, format!("must be at most {most}"))
    }

    /// The same error about one item of a list.
    #[must_use]
    pub(super) fn in_item(self, item: usize) -> Self {
        ConfigError { item: Some(item), ..self }
    }

    /// The same error, with what to write instead.
    #[must_use]
    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The problem and the remedy in the terms of a file, without the key and its value.
    pub fn message(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}: {remedy}", self.problem),
            None => self.problem.clone(),
        }
    }

    /// The flag that holds the value: `--connect-rate`.
    pub fn flag(&self) -> String {
        flag_of(self.key)
    }

    /// The same error in the terms of the command line, with exit code 2.
    pub fn in_flags(&self) -> anyhow::Error {
        let flag = match self.value.as_str() {
            // A switch is given without a value.
            "true" => self.flag(),
            "" => format!("{} ''", self.flag()),
            value => format!("{} {value}", self.flag()),
        };
        Failure::usage(format!("{flag}: {}", with_flags(&self.message())))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.key, self.value, self.message())
    }
}

impl std::error::Error for ConfigError {}

/// A message with the settings in backquotes as flags.
fn with_flags(message: &str) -> String {
    let to_flag = |(position, part): (usize, &str)| match part.split_once(" = ") {
        _ if position % 2 == 0 => part.to_owned(),
        Some((key, "true")) => flag_of(key),
        Some((key, value)) => format!("{} {value}", flag_of(key)),
        None => flag_of(part),
    };
    message.split('`').enumerate().map(to_flag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_keys_for_a_file_and_flags_for_the_command_line() {
        let error = ConfigError::new("ramp", "5s", "`connect_rate = 10/s` says it already").remedy("leave out `ramp`");
        assert_eq!(error.to_string(), "ramp = 5s: `connect_rate = 10/s` says it already: leave out `ramp`");
        assert_eq!(error.in_flags().to_string(), "--ramp 5s: --connect-rate 10/s says it already: leave out --ramp");
    }

    #[test]
    fn an_error_knows_its_flag() {
        assert_eq!(ConfigError::too_small("connect_timeout", 0, "1ms").flag(), "--connect-timeout");
    }
}
