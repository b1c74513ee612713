//! Rates: events per second, bytes per second.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::decimal::{self, NoProduct};
use super::text::{Form, TextForm, remedy, text_form};
use super::{Bytes, ParseError};

/// Events per second: `1000`, `10k`, `0.5`, `1000/s`, `30/m`. Kept in millionths, so schedules are computed in
/// integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    micro: u64,
}

/// Bytes per second: `64KiB/s`, `100MB/s` (10⁶), `64k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRate(pub u64);

impl Rate {
    /// A whole number of events per second. `None` for 0 and for more than 18 billion.
    pub fn per_second(rate: u64) -> Option<Rate> {
        rate.checked_mul(1_000_000).filter(|&micro| micro > 0).map(|micro| Rate { micro })
    }

    /// Events per second.
    pub fn get(self) -> f64 {
        self.micro as f64 / 1e6
    }

    /// Parses the events per second that a measured rate is compared with. Unlike a rate that is asked for, it may be
    /// 0.
    ///
    /// # Errors
    /// Those of `FromStr`, except for 0.
    pub fn measured(text: &str) -> Result<f64, ParseError> {
        Ok(Rate { micro: micro(text)? }.get())
    }

    /// When the event of this index, counted from 0, is due: `index / rate`, rounded down to nanoseconds. It is
    /// computed from the index and not added up, so it never drifts.
    pub fn due(self, index: u64) -> Duration {
        let nanos = u128::from(index) * 1_000_000_000_000_000 / u128::from(self.micro);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many events are due before this time.
    pub fn due_before(self, time: Duration) -> u64 {
        let events = time.as_nanos().saturating_mul(u128::from(self.micro)).div_ceil(1_000_000_000_000_000);
        u64::try_from(events).unwrap_or(u64::MAX)
    }
}

impl ByteRate {
    /// Parses the bytes per second that a measured rate is compared with. Unlike a rate that is asked for, it may be 0.
    ///
    /// # Errors
    /// Those of `FromStr`, except for 0.
    pub fn measured(text: &str) -> Result<f64, ParseError> {
        Ok(bytes_a_second(text)? as f64)
    }
}

impl FromStr for Rate {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match micro(text)? {
            0 => Err(ParseError::new(format!("at a rate of {} nothing ever happens", text.trim()))
                .with_remedy(remedy::<Rate>())),
            micro => Ok(Rate { micro }),
        }
    }
}

/// Parses millionths of an event per second.
fn micro(text: &str) -> Result<u64, ParseError> {
    let (number, seconds) = match text.trim().split_once('/') {
        Some((number, "s")) => (number, 1),
        Some((number, "m")) => (number, 60),
        Some((_, per)) => {
            return Err(ParseError::new(format!("/{per} is not /s (per second) or /m (per minute)"))
                .with_remedy(remedy::<Rate>()));
        }
        None => (text.trim(), 1),
    };
    let (number, unit) = decimal::split(number).map_err(|error| error.with_remedy(remedy::<Rate>()))?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" => 1_000_000,
        "k" => 1_000_000_000,
        "m" => 1_000_000_000_000,
        _ => return Err(ParseError::new(format!("unknown unit {unit} of a rate")).with_remedy(remedy::<Rate>())),
    };
    let wrong = |what: &str, remedy: &str| ParseError::new(format!("{} is {what}", text.trim())).with_remedy(remedy);
    let too_fine = || wrong("finer than a millionth per second", "write 0.000001/s or more");
    match number.times(factor) {
        Ok(micro) if micro > 0 && micro / seconds == 0 => Err(too_fine()),
        Ok(micro) => Ok(micro / seconds),
        Err(NoProduct::Fraction) => Err(too_fine()),
        Err(NoProduct::TooLarge) => Err(wrong("too large", "leave the rate out to send as fast as possible")),
    }
}

impl Rate {
    /// The rate for people, with its thousands separated: `20,000/s`.
    pub fn grouped(self) -> String {
        let text = self.to_string();
        let whole = text.strip_suffix("/s").and_then(|number| number.parse().ok());
        whole.map_or(text.clone(), |number| format!("{}/s", super::grouped(number)))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal::write(f, self.micro, 6)?;
        f.write_str("/s")
    }
}

impl FromStr for ByteRate {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match bytes_a_second(text)? {
            0 => Err(ParseError::new("a rate of 0 bytes per second moves nothing").with_remedy(remedy::<ByteRate>())),
            rate => Ok(ByteRate(rate)),
        }
    }
}

fn bytes_a_second(text: &str) -> Result<u64, ParseError> {
    let text = text.trim();
    let amount = text.strip_suffix("/s").unwrap_or(text);
    let (number, unit) = decimal::split(amount).map_err(|error| error.with_remedy(remedy::<ByteRate>()))?;
    let decimal_factor = match unit.to_ascii_lowercase().as_str() {
        "kb" => Some(1000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        _ => None,
    };
    match decimal_factor {
        Some(factor) => number.times(factor).map_err(|why| match why {
            NoProduct::Fraction => {
                ParseError::new(format!("{text} is not whole bytes per second")).with_remedy(remedy::<ByteRate>())
            }
            NoProduct::TooLarge => ParseError::new(format!("{text} is too large")).with_remedy(remedy::<ByteRate>()),
        }),
        None => Ok(amount.parse::<Bytes>()?.0),
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Bytes(self.0))
    }
}

impl TextForm for Rate {
    const WHAT: &'static str = "a number per second such as";

    fn forms() -> Vec<Form> {
        let pattern = format!(r"{}\s*[kKmM]?\s*(/[sm])?", decimal::PATTERN);
        ["1000", "10k", "0.5", "1000/s"]
            .map(|example| Form::new(example, &pattern))
            .into_iter()
            .chain([Form::new("30/m", &pattern).meaning("per minute")])
            .collect()
    }
}

text_form!(Rate);

impl TextForm for ByteRate {
    const WHAT: &'static str = "bytes per second such as";

    fn forms() -> Vec<Form> {
        let pattern = format!(r"{}\s*([bB]|[kKmMgGtT]([iI]?[bB])?)?\s*(/s)?", decimal::PATTERN);
        ["64KiB/s", "1MiB/s", "100MB/s", "64k"].map(|example| Form::new(example, &pattern)).into()
    }
}

text_form!(ByteRate);

#[cfg(test)]
mod tests {
    use super::super::text::checks;
    use super::*;
    use proptest::prelude::*;

    fn rate(text: &str) -> Result<f64, String> {
        text.parse().map(Rate::get).map_err(|error: ParseError| error.to_string())
    }

    fn byte_rate(text: &str) -> Result<u64, String> {
        text.parse().map(|ByteRate(rate)| rate).map_err(|error: ParseError| error.to_string())
    }

    #[test]
    fn rates_are_per_second_unless_they_say_per_minute() {
        assert_eq!(rate("1000"), Ok(1000.0));
        assert_eq!(rate("10k"), Ok(10_000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        assert_eq!(rate("1000/s"), Ok(1000.0));
        assert_eq!(rate("30/m"), Ok(0.5));
    }

    #[test]
    fn byte_rates_accept_the_decimal_units_of_networks_too() {
        assert_eq!(byte_rate("64KiB/s"), Ok(64 << 10));
        assert_eq!(byte_rate("64k"), Ok(64 << 10));
        assert_eq!(byte_rate("100MB/s"), Ok(100_000_000));
        assert_eq!(byte_rate("1.5kB/s"), Ok(1500));
    }

    #[test]
    fn a_refusal_names_what_is_wrong_and_what_to_write() {
        let refused = |text| rate(text).expect_err(text);
        assert_eq!(
            refused("0"),
            "at a rate of 0 nothing ever happens: write 1000, 10k, 0.5, 1000/s or 30/m (per minute)"
        );
        assert_eq!(
            refused("10/h"),
            "/h is not /s (per second) or /m (per minute): write 1000, 10k, 0.5, 1000/s or 30/m (per minute)"
        );
        assert_eq!(refused("10x/s"), "unknown unit x of a rate: write 1000, 10k, 0.5, 1000/s or 30/m (per minute)");
        assert_eq!(refused("0.0000001"), "0.0000001 is finer than a millionth per second: write 0.000001/s or more");
        let refused = |text| byte_rate(text).expect_err(text);
        assert_eq!(refused("0"), "a rate of 0 bytes per second moves nothing: write 64KiB/s, 1MiB/s, 100MB/s or 64k");
        assert!(refused("5 furlongs/s").starts_with("unknown unit furlongs of bytes"));
    }

    #[test]
    fn a_measured_rate_may_be_0() {
        for text in ["0", "0/s", "0/m", "0k/s"] {
            assert_eq!(Rate::measured(text), Ok(0.0), "{text}");
        }
        for text in ["0", "0/s", "0KiB/s", "0 MB/s"] {
            assert_eq!(ByteRate::measured(text), Ok(0.0), "{text}");
        }
        assert_eq!((Rate::measured("30/m"), ByteRate::measured("1kB/s")), (Ok(0.5), Ok(1000.0)));
        assert!(Rate::measured("5x").is_err() && ByteRate::measured("5 furlongs/s").is_err());
    }

    #[test]
    fn due_times_are_computed_from_the_index_and_never_drift() {
        let third: Rate = "3".parse().expect("a rate");
        assert_eq!(third.due(0), Duration::ZERO);
        assert_eq!(third.due(1), Duration::from_nanos(333_333_333));
        assert_eq!(third.due(3_000_000_000), Duration::from_secs(1_000_000_000));
        assert_eq!("0.5".parse::<Rate>().expect("a rate").due(1), Duration::from_secs(2));
    }

    #[test]
    fn due_before_counts_the_events_that_due_puts_before_that_time() {
        for text in ["3", "1000", "0.7", "999999"] {
            let rate: Rate = text.parse().expect("a rate");
            for index in [0, 1, 2, 1000, 123_456] {
                let due = rate.due(index);
                assert_eq!(rate.due_before(due), index, "{text}");
                assert_eq!(rate.due_before(due + Duration::from_nanos(1)), index + 1, "{text}");
            }
        }
    }

    #[test]
    fn the_examples_in_the_schema_are_valid() {
        checks::examples_are_valid::<Rate>();
        checks::examples_are_valid::<ByteRate>();
    }

    proptest! {
        #[test]
        fn every_normal_form_parses_back_to_the_same_value(value in 1u64..) {
            let rate = Rate { micro: value };
            prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
            prop_assert_eq!(byte_rate(&ByteRate(value).to_string()), Ok(value));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in checks::texts()) {
            checks::any_text_is_handled::<Rate>(&text);
            checks::any_text_is_handled::<ByteRate>(&text);
        }
    }
}
