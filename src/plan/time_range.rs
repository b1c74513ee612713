//! A range from which a duration is drawn: the form of `gap`, and of a `lifetime` in time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::random::below;
use crate::units::text::{Form, TextForm, pattern, text_form};
use crate::units::{ParseError, Time, range};

/// Durations from `low` to `high`, both included, uniform to the nanosecond: `0`, `5ms`, `0..5ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    low_nanos: u64,
    high_nanos: u64,
}

impl TimeRange {
    /// No time at all.
    pub const ZERO: TimeRange = TimeRange { low_nanos: 0, high_nanos: 0 };

    /// From `low` to `high`. Errors when that is empty.
    pub fn new(low: Duration, high: Duration) -> Result<Self, ParseError> {
        if low > high {
            let (low, high) = (Time(low), Time(high));
            return Err(ParseError::new(format!("the range {low}..{high} is empty"))
                .with_remedy(format!("did you mean {high}..{low}?")));
        }
        Ok(TimeRange { low_nanos: Time(low).nanos(), high_nanos: Time(high).nanos() })
    }

    /// Whether every draw is 0.
    pub fn is_zero(self) -> bool {
        self.high_nanos == 0
    }

    /// Whether every draw is the same.
    pub(super) fn is_fixed(self) -> bool {
        self.low_nanos == self.high_nanos
    }

    /// The longest duration that can be drawn.
    pub fn max(self) -> Duration {
        Duration::from_nanos(self.high_nanos)
    }

    /// The duration that a random word selects.
    pub(super) fn at(self, word: u64) -> Duration {
        let values = (self.high_nanos - self.low_nanos).saturating_add(1);
        Duration::from_nanos(self.low_nanos + below(word, values))
    }
}

impl FromStr for TimeRange {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Some(error) = range::with_hyphen(text) {
            return Err(error);
        }
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        // Whoever leaves out the first unit means that of the second.
        let number = |c: char| c.is_ascii_digit() || c == '.';
        let unit = high.trim().trim_start_matches(number);
        let is_bare = !low.is_empty() && low != "0" && low.chars().all(number);
        if is_bare && !unit.is_empty() && unit.len() < high.trim().len() {
            let meant = format!("{low}{unit}");
            let is_upside_down = meant.parse::<Time>()?.0 > high.parse::<Time>()?.0;
            let (first, last) = if is_upside_down { (high, meant.as_str()) } else { (meant.as_str(), high) };
            return Err(
                ParseError::new(format!("{low} has no unit")).with_remedy(format!("did you mean {first}..{last}?"))
            );
        }
        Self::new(low.parse::<Time>()?.0, high.parse::<Time>()?.0)
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (Time(Duration::from_nanos(self.low_nanos)), Time(Duration::from_nanos(self.high_nanos)));
        if low == high { write!(f, "{low}") } else { write!(f, "{low}..{high}") }
    }
}

impl TextForm for TimeRange {
    const WHAT: &'static str = "a duration or a range of durations such as";

    fn forms() -> Vec<Form> {
        let time = pattern::<Time>();
        let range = format!(r"{time}\s*(\.\.\s*{time})?");
        ["5ms", "0..5ms", "0"].map(|example| Form::new(example, &range)).into()
    }
}

text_form!(TimeRange);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        text.parse::<TimeRange>().expect_err(text).to_string()
    }

    #[test]
    fn a_refusal_names_what_is_wrong_and_what_to_write() {
        assert_eq!(refusal("5ms..1ms"), "the range 5ms..1ms is empty: did you mean 1ms..5ms?");
        assert_eq!(refusal("1ms-5ms"), "1ms-5ms is not how a range is written: write 1ms..5ms");
        assert_eq!(refusal("1..5ms"), "1 has no unit: did you mean 1ms..5ms?");
        assert_eq!(refusal("5..2ms"), "5 has no unit: did you mean 2ms..5ms?");
        assert_eq!(refusal("5ms.."), "a time is missing: write 10s, 1.5s, 250ms, 2m, 1h 30m or 0");
    }

    #[test]
    fn the_ends_of_the_range_are_drawn_too() {
        let range: TimeRange = "1ms..5ms".parse().expect("a valid range");
        assert_eq!(range.at(0), Duration::from_millis(1));
        assert_eq!(range.at(u64::MAX), Duration::from_millis(5));
        assert_eq!(range.max(), Duration::from_millis(5));
        assert!(!range.is_zero());
        assert!("0".parse::<TimeRange>().expect("zero").is_zero());
    }

    proptest! {
        #[test]
        fn the_normal_form_parses_back_to_the_same(a: u64, b: u64) {
            let range = TimeRange::new(Duration::from_nanos(a.min(b)), Duration::from_nanos(a.max(b))).expect("ordered");
            prop_assert_eq!(range.to_string().parse::<TimeRange>().expect("its own form"), range);
        }
    }
}
