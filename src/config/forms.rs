//! The forms of single values that only the configuration knows.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use crate::plan::{ConnId, Distribution, UNLIMITED};
use crate::units::text::{Form, TextForm, pattern, remedy, text_form};
use crate::units::{Count, ParseError};

/// How messages are cut into writes: `off`, or the sizes of the writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// Each message is one write.
    Off,
    /// Writes of these sizes.
    Sizes(Distribution),
}

/// How many messages may be sent ahead of their echo: a number, or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pipeline(pub u32);

/// The seed of all random choices: decimal, or `0x` and hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

/// Connection ids: `12`, `12,40`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnList(pub Vec<ConnId>);

/// The time at which a run starts, RFC 3339 in UTC: `2026-01-31T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartTime(pub SystemTime);

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

impl TextForm for Fragment {
    const WHAT: &'static str = "the sizes of writes, such as";

    fn forms() -> Vec<Form> {
        let off = Form::keyword("off").meaning("a message is one write");
        std::iter::once(off).chain(Distribution::forms()).collect()
    }
}

text_form!(Fragment);

impl FromStr for Pipeline {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        if text == "unlimited" {
            return Ok(Pipeline(UNLIMITED));
        }
        let Count(messages) = text.parse().map_err(|_| {
            ParseError::new(format!("{text} is not a number of messages")).with_remedy(remedy::<Pipeline>())
        })?;
        match u32::try_from(messages) {
            Ok(0) => {
                Err(ParseError::new("with 0 messages in flight nothing is ever sent").with_remedy("write 1 or more"))
            }
            Ok(UNLIMITED) | Err(_) => {
                Err(ParseError::new(format!("{text} is too large")).with_remedy("write unlimited"))
            }
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

impl TextForm for Pipeline {
    const WHAT: &'static str = "a number of messages such as";

    fn forms() -> Vec<Form> {
        let count = pattern::<Count>();
        vec![Form::new("1", &count), Form::new("16", count), Form::keyword("unlimited")]
    }
}

text_form!(Pipeline);

impl FromStr for Seed {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        // Both accept a sign, which a seed never has.
        match parsed {
            Ok(seed) if !text.contains('+') => Ok(Seed(seed)),
            _ => Err(ParseError::new(format!("{text} is not a seed")).with_remedy(remedy::<Seed>())),
        }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TextForm for Seed {
    const WHAT: &'static str = "a seed such as";

    fn forms() -> Vec<Form> {
        vec![Form::new("42", "[0-9]+").meaning("below 2^64"), Form::new("0x1f3a", "0[xX][0-9a-fA-F]+")]
    }
}

text_form!(Seed);

impl FromStr for ConnList {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let conn = |part: &str| {
            let part = part.trim();
            part.parse().ok().and_then(ConnId::new).ok_or_else(|| {
                ParseError::new(format!("{part} is not a connection id"))
                    .with_remedy(format!("{}; ids count from 0", remedy::<ConnList>()))
            })
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

impl TextForm for ConnList {
    const WHAT: &'static str = "connection ids, separated by commas, such as";

    fn forms() -> Vec<Form> {
        let list = r"\+?[0-9]+(\s*,\s*\+?[0-9]+)*";
        vec![Form::new("12", list), Form::new("12,40", list)]
    }
}

text_form!(ConnList);

impl FromStr for StartTime {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        humantime::parse_rfc3339_weak(text.trim())
            .map(StartTime)
            .map_err(|_| ParseError::new(format!("{text} is not a time in UTC")).with_remedy(remedy::<StartTime>()))
    }
}

impl fmt::Display for StartTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339(self.0).fmt(f)
    }
}

impl TextForm for StartTime {
    const WHAT: &'static str = "a time in UTC such as";

    fn forms() -> Vec<Form> {
        let pattern = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z?";
        vec![Form::new("2026-01-31T12:00:00Z", pattern)]
    }
}

text_form!(StartTime);
