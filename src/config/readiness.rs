//! When a server that a command line starts is ready to be tested.

use std::fmt;
use std::str::FromStr;

use crate::units::ParseError;
use crate::units::text::{Form, TextForm, remedy, text_form};

/// When a server is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It echoes a byte.
    Echo,
    /// It accepts a connection.
    Connect,
}

impl FromStr for Readiness {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.trim() {
            "echo" => Ok(Readiness::Echo),
            "connect" => Ok(Readiness::Connect),
            other => Err(ParseError::new(format!("'{other}' is no sign of a server that is ready"))
                .with_remedy(remedy::<Readiness>())),
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Readiness::Echo => "echo",
            Readiness::Connect => "connect",
        })
    }
}

impl TextForm for Readiness {
    const WHAT: &'static str = "a sign such as";

    fn forms() -> Vec<Form> {
        vec![
            Form::keyword("echo").meaning("it echoes a byte"),
            Form::keyword("connect").meaning("it accepts a connection"),
        ]
    }
}

text_form!(Readiness);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::text::checks;

    #[test]
    fn the_examples_of_the_schema_are_true() {
        checks::examples_are_valid::<Readiness>();
        let error = "accept".parse::<Readiness>().expect_err("it is no keyword").to_string();
        assert!(error.contains("write echo (it echoes a byte) or connect"), "{error}");
    }
}
