//! The text of a scenario file while it is read, and the places of its problems.

use std::ops::Range;

use super::error::{Location, ScenarioError};
use super::toml_path::{KeyStep, span_of};
use crate::config::ConfigError;

/// A file that is being read.
#[derive(Clone, Copy)]
pub(super) struct FileReader<'f> {
    /// Its path.
    pub(super) path: &'f str,
    /// Its text.
    pub(super) text: &'f str,
}

impl FileReader<'_> {
    /// A problem with this part.
    pub(super) fn error(self, span: Range<usize>, problem: &str) -> ScenarioError {
        ScenarioError::new(problem, Location::new(self.path, self.text, span))
    }

    /// A problem with the value at the end of these steps.
    pub(super) fn error_at(self, steps: &[KeyStep<'_>], problem: &str) -> ScenarioError {
        self.error(span_of(self.text, steps), problem)
    }

    /// A problem with a key of a table.
    pub(super) fn config_error(self, table: &[KeyStep<'_>], error: &ConfigError) -> ScenarioError {
        let item = error.item.map(KeyStep::Index);
        let steps: Vec<KeyStep<'_>> = table.iter().copied().chain([KeyStep::Key(error.key)]).chain(item).collect();
        // The mark shows the key, unless the file does not have it.
        let is_marked = span_of(self.text, &steps) != span_of(self.text, table);
        let key = if is_marked { String::new() } else { format!("{}: ", error.key) };
        self.error_at(&steps, &format!("{key}{}", error.message()))
    }

    /// The place of a key at the top of the file.
    pub(super) fn location(self, key: &str) -> Location {
        Location::new(self.path, self.text, span_of(self.text, &[KeyStep::Key(key)]))
    }
}
