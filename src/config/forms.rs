//! The forms of single values that only the configuration knows.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use crate::plan::{ConnId, Distribution, UNLIMITED};
use crate::units::text::text_form;
use crate::units::{Count, ParseError};

/// Sizes of writes: `off`, or as message sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// A message is one write.
    Off,
    /// Writes of these sizes.
    Sizes(Distribution),
}

/// How many messages are sent ahead of their echo: a number, or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pipeline(pub u32);

/// What all randomness follows from: decimal, or `0x` and hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

/// Connection ids: `12`, `12,40`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnList(pub Vec<ConnId>);

/// A point in time, RFC 3339 in UTC: `2026-01-31T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant(pub SystemTime);

impl FromStr for Fragment {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.trim() {
            "off" => Ok(Fragment::Off),
            sizes => sizes.parse().map(Fragment::Sizes),
        }
    }
}

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fragment::Off => f.write_str("off"),
            Fragment::Sizes(sizes) => sizes.fmt(f),
        }
    }
}

impl FromStr for Pipeline {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.trim() == "unlimited" {
            return Ok(Pipeline(UNLIMITED));
        }
        let Count(messages) = text
            .parse()
            .map_err(|_| ParseError::new(format!("{text} is neither a number of messages nor unlimited")))?;
        match u32::try_from(messages) {
            Ok(0) => Err(ParseError::new("with 0 messages in flight nothing is ever sent: the least is 1")),
            Ok(UNLIMITED) | Err(_) => Err(ParseError::new(format!("{text} is too many: write unlimited"))),
            Ok(messages) => Ok(Pipeline(messages)),
        }
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            UNLIMITED => f.write_str("unlimited"),
            messages => Count(u64::from(messages)).fmt(f),
        }
    }
}

impl FromStr for Seed {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        // `from_str_radix` takes a sign, which a seed never has.
        match parsed {
            Ok(seed) if !text.contains('+') => Ok(Seed(seed)),
            _ => Err(ParseError::new(format!("{text} is not a seed: write a number below 2^64, or 0x1f3a"))),
        }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ConnList {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let conn = |part: &str| {
            let id = part.trim().parse().ok().and_then(ConnId::new);
            id.ok_or_else(|| ParseError::new(format!("{} is not a connection: they count from 0", part.trim())))
        };
        text.split(',').map(conn).collect::<Result<_, _>>().map(ConnList)
    }
}

impl fmt::Display for ConnList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, conn) in self.0.iter().enumerate() {
            write!(f, "{}{conn}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Instant {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        humantime::parse_rfc3339_weak(text.trim())
            .map(Instant)
            .map_err(|_| ParseError::new(format!("{text} is not a time in UTC: write 2026-01-31T12:00:00Z")))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339(self.0).fmt(f)
    }
}

/// The flags of a struct whose fields are flags, absent ones left out: `--conns`, `500`, `--fail-fast=true`.
pub(super) fn flags(args: &impl serde::Serialize, without: &[&str]) -> Vec<String> {
    let fields = serde_json::to_value(args).expect("structs of strings, numbers and flags have a JSON form");
    let mut flags = Vec::new();
    for (key, value) in fields.as_object().into_iter().flatten() {
        let flag = format!("--{}", key.replace('_', "-"));
        match value {
            _ if without.contains(&key.as_str()) => {}
            serde_json::Value::Null => {}
            serde_json::Value::Bool(value) => flags.push(format!("{flag}={value}")),
            serde_json::Value::String(text) => flags.extend([flag, text.clone()]),
            serde_json::Value::Array(values) => {
                flags.extend(
                    values.iter().filter_map(|value| value.as_str()).flat_map(|text| [flag.clone(), text.into()]),
                );
            }
            other => flags.extend([flag, other.to_string()]),
        }
    }
    flags
}

text_form!(
    Fragment,
    "Fragment",
    "off (a message is one write), or a size such as 64, 1..4KiB, log:1..64KiB, edges:1000,1024, pick:1,64 or each:1..1460",
    r"^\s*(off|((log|edges|pick|each|each:edges):)?\s*[0-9.]+\s*[A-Za-z]*\s*((,|\.\.)\s*[0-9.]+\s*[A-Za-z]*\s*)*)$",
    ["off", "1", "1..4KiB", "log:1..64KiB"]
);
text_form!(
    Pipeline,
    "Pipeline",
    "a number of messages, or unlimited",
    r"^\s*(unlimited|[0-9.]+\s*[kKmMgG]?)\s*$",
    ["1", "16", "unlimited"]
);
text_form!(
    Seed,
    "Seed",
    "a number below 2^64, decimal or as 0x1f3a",
    r"^\s*(0[xX][0-9a-fA-F]+|[0-9]+)\s*$",
    ["42", "0x1f3a"]
);
text_form!(
    ConnList,
    "ConnList",
    "ids of connections, separated by commas",
    r"^\s*[0-9]+\s*(,\s*[0-9]+\s*)*$",
    ["12", "12,40"]
);
text_form!(
    Instant,
    "Instant",
    "a time in UTC such as 2026-01-31T12:00:00Z",
    r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z?\s*$",
    ["2026-01-31T12:00:00Z"]
);
