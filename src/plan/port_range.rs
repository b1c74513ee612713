//! A range of ports: the form of `source_port`.

use std::fmt;
use std::str::FromStr;

use crate::units::text::{Form, TextForm, remedy, text_form};
use crate::units::{ParseError, range};

/// Ports from the first to the last, both included: `20000`, `20000..20100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// How many ports there are, at least 1.
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    /// The port of the `nth` connection. The ports are used in turn.
    pub fn nth(self, nth: u64) -> u16 {
        // Less than the count, which is at most 65,535: no port 0.
        self.first + (nth % u64::from(self.count())) as u16
    }
}

impl FromStr for PortRange {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Some(error) = range::with_hyphen(text) {
            return Err(error);
        }
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        // std takes a sign too.
        let port = |text: &str| match text.trim().parse::<u16>() {
            Ok(port) if port > 0 && !text.trim().starts_with('+') => Ok(port),
            _ => {
                let problem = format!("'{}' is not a port from 1 to 65535", text.trim());
                Err(ParseError::new(problem).with_remedy(remedy::<PortRange>()))
            }
        };
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(ParseError::new(format!("the range {first}..{last} is empty"))
                .with_remedy(format!("did you mean {last}..{first}?")));
        }
        Ok(PortRange { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}..{}", self.first, self.last) }
    }
}

impl TextForm for PortRange {
    const WHAT: &'static str = "a port or a range of ports such as";

    fn forms() -> Vec<Form> {
        ["20000", "20000..20100"].map(|example| Form::new(example, r"[0-9]+\s*(\.\.\s*[0-9]+)?")).into()
    }
}

text_form!(PortRange);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_used_in_turn() {
        let ports: PortRange = "20000 .. 20002".parse().expect("a range");
        assert_eq!((0..5).map(|nth| ports.nth(nth)).collect::<Vec<_>>(), [20_000, 20_001, 20_002, 20_000, 20_001]);
        assert_eq!(("7".parse::<PortRange>().expect("a port").nth(u64::MAX), ports.count()), (7, 3));
        let all: PortRange = "1..65535".parse().expect("a range");
        assert_eq!((all.count(), all.nth(65_534), all.nth(65_535)), (65_535, 65_535, 1));
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        let refusal = |text: &str| text.parse::<PortRange>().expect_err(text).to_string();
        assert_eq!(refusal("0"), "'0' is not a port from 1 to 65535: write 20000 or 20000..20100");
        assert_eq!(refusal("1..70000"), "'70000' is not a port from 1 to 65535: write 20000 or 20000..20100");
        assert_eq!(refusal("+5..9"), "'+5' is not a port from 1 to 65535: write 20000 or 20000..20100");
        assert_eq!(refusal("8-9"), "8-9 is not how a range is written: write 8..9");
        assert_eq!(refusal("9..8"), "the range 9..8 is empty: did you mean 8..9?");
    }
}
