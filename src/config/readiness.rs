//! When a process that a command line starts is ready.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::units::ParseError;
use crate::units::text::{Form, TextForm, TextVisitor, remedy, schema};

/// When a process is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It echoes a byte.
    Echo,
    /// It accepts a connection.
    Connect,
    /// It has ended with success: it only prepares something.
    Exit,
    /// It has printed a line with this text.
    Output(String),
}

impl Readiness {
    /// Whether it is told at the address of the process.
    pub(super) fn needs_address(&self) -> bool {
        matches!(self, Readiness::Echo | Readiness::Connect)
    }
}

impl FromStr for Readiness {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.trim() {
            "echo" => Ok(Readiness::Echo),
            "connect" => Ok(Readiness::Connect),
            "exit" => Ok(Readiness::Exit),
            other => Err(ParseError::new(format!("'{other}' is no sign of a process that is ready"))
                .with_remedy(format!("{}, or {{ output = \"TEXT\" }}", remedy::<Readiness>()))),
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Readiness::Echo => "echo",
            Readiness::Connect => "connect",
            Readiness::Exit => "exit",
            Readiness::Output(_) => "output",
        })
    }
}

impl TextForm for Readiness {
    const WHAT: &'static str = "a sign such as";

    fn forms() -> Vec<Form> {
        vec![
            Form::keyword("echo").meaning("it echoes a byte"),
            Form::keyword("connect").meaning("it accepts a connection"),
            Form::keyword("exit").meaning("it has ended with success"),
        ]
    }
}

/// Takes a word, or `{ output = "TEXT" }`.
struct ReadinessVisitor;

impl<'de> Visitor<'de> for ReadinessVisitor {
    type Value = Readiness;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("echo, connect, exit or { output = \"TEXT\" }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Readiness, E> {
        TextVisitor::new().visit_str(text)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Readiness, A::Error> {
        let mut sign = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "output" {
                return Err(A::Error::custom(format!("unknown key '{key}': write ready = {{ output = \"TEXT\" }}")));
            }
            sign = Some(map.next_value::<String>()?);
        }
        match sign.filter(|text| !text.trim().is_empty()) {
            Some(text) => Ok(Readiness::Output(text)),
            None => Err(A::Error::custom("it names no text: write ready = { output = \"TEXT\" }")),
        }
    }
}

impl<'de> Deserialize<'de> for Readiness {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadinessVisitor)
    }
}

impl JsonSchema for Readiness {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Readiness".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [schema::<Readiness>(), {
                "description": "A text in a line of its output",
                "type": "object",
                "properties": { "output": { "type": "string" } },
                "required": ["output"],
                "additionalProperties": false,
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::text::checks;

    #[derive(serde::Deserialize, Debug)]
    struct Table {
        ready: Readiness,
    }

    #[test]
    fn the_examples_of_the_schema_are_true() {
        checks::examples_are_valid::<Readiness>();
        let error = "accept".parse::<Readiness>().expect_err("it is no keyword").to_string();
        assert!(error.contains("write echo (it echoes a byte), connect"), "{error}");
    }

    #[test]
    fn a_text_of_the_output_is_a_table_with_one_key() {
        let read = |text: &str| toml::from_str::<Table>(text).map(|table| table.ready).map_err(|e| e.to_string());
        assert_eq!(read("ready = { output = 'is up' }"), Ok(Readiness::Output("is up".to_owned())));
        assert_eq!(read("ready = 'exit'"), Ok(Readiness::Exit));
        for (text, remedy) in [
            ("ready = { line = 'is up' }", "unknown key 'line': write ready = { output"),
            ("ready = { output = ' ' }", "it names no text"),
            ("ready = {}", "it names no text"),
            ("ready = 5", "{ output"),
            ("ready = 'up'", "or { output"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }
}
