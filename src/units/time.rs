//! Durations: `10s`, `1.5s`, `250ms`, `1h`, `1h 30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::text::{Form, TextForm, remedy, text_form};
use super::{ParseError, decimal};

/// A duration: `10s`, `1.5s`, `250ms`, `1h`, `1h 30m`. At most some 584 years, so its nanoseconds fit in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Time {
    /// The nanoseconds. They fit, because `FromStr` refuses more. A longer duration made in code is cut off.
    pub fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Time {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        if text == "0" {
            return Ok(Time(Duration::ZERO));
        }
        if text.is_empty() {
            return Err(ParseError::new("a time is missing").with_remedy(remedy::<Time>()));
        }
        if text.starts_with('-') {
            return Err(ParseError::new(format!("{text} is negative")).with_remedy(remedy::<Time>()));
        }
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(ParseError::new(format!("{text} is not a time")).with_remedy(remedy::<Time>()));
        }
        if let Some(error) = decimal::with_comma(text) {
            return Err(error);
        }
        if let Ok((_, "")) = decimal::split(text) {
            return Err(ParseError::new(format!("{text} has no unit")).with_remedy(format!("did you mean {text}s?")));
        }
        let duration =
            humantime::parse_duration(text).map_err(|error| problem(text, &error).with_remedy(remedy::<Time>()))?;
        match u64::try_from(duration.as_nanos()) {
            Ok(_) => Ok(Time(duration)),
            Err(_) => Err(ParseError::new(format!("{text} is too long"))),
        }
    }
}

/// The problem in words of our own: those of the library name more units than our list of forms.
fn problem(text: &str, error: &humantime::DurationError) -> ParseError {
    ParseError::new(match error {
        humantime::DurationError::UnknownUnit { unit, .. } => format!("unknown unit {unit} of a time"),
        humantime::DurationError::NumberOverflow => format!("{text} is too long"),
        _ => format!("{text} is not a time"),
    })
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SECOND: u64 = 1_000_000_000;
        const DAY: u64 = 24 * 3600;
        // The year of the library that reads times: 365.25 days.
        const YEAR: u64 = 365 * DAY + DAY / 4;
        let nanos = self.nanos();
        let (places, unit) = match nanos {
            0 => return f.write_str("0"),
            n if n % (YEAR * SECOND) == 0 => return write!(f, "{}y", n / (YEAR * SECOND)),
            n if n % (DAY * SECOND) == 0 && n > DAY * SECOND => return write!(f, "{}d", n / (DAY * SECOND)),
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

impl TextForm for Time {
    const WHAT: &'static str = "a duration such as";

    fn forms() -> Vec<Form> {
        let pattern = format!(r"({}\s*[A-Za-zµ]+\s*)+", decimal::PATTERN);
        let with_unit = ["10s", "1.5s", "250ms", "2m", "1h 30m"].map(|example| Form::new(example, &pattern));
        with_unit.into_iter().chain([Form::keyword("0")]).collect()
    }
}

text_form!(Time);

#[cfg(test)]
mod tests {
    use super::super::text::checks;
    use super::*;
    use proptest::prelude::*;

    fn time(text: &str) -> Result<Duration, String> {
        text.parse().map(|Time(time)| time).map_err(|error: ParseError| error.to_string())
    }

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(time("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(time("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(time("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn the_normal_form_is_short_and_exact() {
        let normal = |nanos| Time(Duration::from_nanos(nanos)).to_string();
        assert_eq!(normal(0), "0");
        assert_eq!(normal(1), "1ns");
        assert_eq!(normal(1_500), "1.5us");
        assert_eq!(normal(250_000_000), "250ms");
        assert_eq!(normal(1_500_000_000), "1.5s");
        assert_eq!(normal(90_000_000_000), "90s");
        assert_eq!(normal(600_000_000_000), "10m");
        assert_eq!(normal(7_200_000_000_000), "2h");
        assert_eq!(
            [time("24h"), time("48h"), time("1y")].map(|t| Time(t.expect("a time")).to_string()),
            ["24h", "2d", "1y"]
        );
        assert_eq!(normal(3_600_000_000_001), "3600.000000001s");
    }

    #[test]
    fn a_refusal_names_what_is_wrong_and_what_to_write() {
        let refused = |text| time(text).expect_err(text);
        assert_eq!(refused("10"), "10 has no unit: did you mean 10s?");
        assert_eq!(refused(""), "a time is missing: write 10s, 1.5s, 250ms, 2m, 1h 30m or 0");
        assert_eq!(refused("600y"), "600y is too long");
        let forms = "write 10s, 1.5s, 250ms, 2m, 1h 30m or 0";
        assert_eq!(refused("10 parsecs"), format!("unknown unit parsecs of a time: {forms}"));
        assert_eq!(refused("10s-"), format!("10s- is not a time: {forms}"));
        assert!(refused("99999999999999999999s").starts_with("99999999999999999999s is too long"));
        assert_eq!(refused("soon"), "soon is not a time: write 10s, 1.5s, 250ms, 2m, 1h 30m or 0");
        assert_eq!(refused("-1s"), format!("-1s is negative: {forms}"));
    }

    #[test]
    fn the_examples_in_the_schema_are_valid() {
        checks::examples_are_valid::<Time>();
    }

    proptest! {
        #[test]
        fn every_normal_form_parses_back_to_the_same_value(nanos: u64, unit in 0u32..18) {
            let one = 10u64.pow(unit);
            for nanos in [nanos, nanos / one * one, nanos / 3_600_000_000_000 * 3_600_000_000_000, nanos % 1_000_000] {
                let duration = Duration::from_nanos(nanos);
                prop_assert_eq!(time(&Time(duration).to_string()), Ok(duration));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in checks::texts()) {
            checks::any_text_is_handled::<Time>(&text);
        }
    }
}
