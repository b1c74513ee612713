//! The one error of everything that is parsed from a flag, a key or a variable.

use std::fmt;

/// Why a text could not be parsed. Reads as `{what}: {remedy}`, so that every refusal says both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The problem: `unknown unit x of a count`.
    pub what: String,
    /// The remedy, unless it follows from the problem: `write 500, 19k or 2g`.
    pub remedy: Option<String>,
}

impl ParseError {
    /// An error that says what is wrong, so far without a remedy.
    pub fn new(what: impl Into<String>) -> ParseError {
        ParseError { what: what.into(), remedy: None }
    }

    /// The same error with what to write instead. A remedy that it has already is the closer one and stays.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> ParseError {
        self.remedy.get_or_insert_with(|| remedy.into());
        self
    }

    /// The same error about `part` of a longer text: `{part}: {what}`.
    #[must_use]
    pub fn in_part(self, part: impl fmt::Display) -> ParseError {
        ParseError { what: format!("{part}: {}", self.what), remedy: self.remedy }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.remedy {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_part_then_what_is_wrong_then_the_remedy() {
        let error = ParseError::new("0 is too small");
        assert_eq!(error.to_string(), "0 is too small");
        let error = error.with_remedy("write 1").in_part("n=0");
        assert_eq!(error.to_string(), "n=0: 0 is too small: write 1");
        assert_eq!(error.with_remedy("write anything").remedy.as_deref(), Some("write 1"));
    }
}
