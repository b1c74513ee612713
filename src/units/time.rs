//! Durations: `10s`, `1.5s`, `250ms`, `1h`, `1h 30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::text::text_form;
use super::{UnitError, decimal};

/// A duration: `10s`, `1.5s`, `250ms`, `1h`, `1h 30m`. At most some 584 years, so that its nanoseconds fit in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

const FORMS: &str = "write 10s, 1.5s, 250ms, 2m or 1h";

impl Time {
    /// The nanoseconds, which fit because `FromStr` refuses more; a longer duration made in code is cut off there.
    pub fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        if text == "0" {
            return Ok(Time(Duration::ZERO));
        }
        if let Ok((_, "")) = decimal::split(text) {
            return Err(UnitError::new(format!("{text} has no unit: did you mean {text}s?")));
        }
        let duration =
            humantime::parse_duration(text).map_err(|error| UnitError::new(format!("{text}: {error}: {FORMS}")))?;
        match u64::try_from(duration.as_nanos()) {
            Ok(_) => Ok(Time(duration)),
            Err(_) => Err(UnitError::new(format!("{text} is too long"))),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SECOND: u64 = 1_000_000_000;
        let nanos = self.nanos();
        let (places, unit) = match nanos {
            0 => return f.write_str("0"),
            n if n % (3600 * SECOND) == 0 => return write!(f, "{}h", n / (3600 * SECOND)),
            n if n % (60 * SECOND) == 0 => return write!(f, "{}m", n / (60 * SECOND)),
            n if n >= SECOND => (9, "s"),
            n if n >= 1_000_000 => (6, "ms"),
            n if n >= 1000 => (3, "us"),
            _ => (0, "ns"),
        };
        decimal::write(f, nanos, places)?;
        f.write_str(unit)
    }
}

text_form!(
    Time,
    "Time",
    "a duration such as 10s, 1.5s, 250ms or 1h",
    r"^\s*(0|([0-9]+(\.[0-9]+)?\s*[A-Za-zµ]+\s*)+)$",
    ["0", "10s", "1.5s", "250ms", "1h", "1h 30m"]
);
