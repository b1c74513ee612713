//! Counts (thousands) and bytes (multiples of 1024).

use std::fmt;
use std::str::FromStr;

use super::ParseError;
use super::decimal::{self, NoProduct};
use super::text::{Form, TextForm, remedy, text_form};

/// A number of things: `500`, `19k`, `1.5m`, `2g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

/// A number of bytes: `64`, `16KiB` or `16k`, `1.5MiB` or `1.5m`, `5GiB` or `5g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// The largest unit first: `Display` takes the first one that divides the value.
const COUNT_UNITS: &[(&str, u64)] = &[("g", 1_000_000_000), ("m", 1_000_000), ("k", 1000)];
const BYTE_UNITS: &[(&str, u64)] = &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for Count {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (number, unit) = decimal::split(text).map_err(|error| error.with_remedy(remedy::<Count>()))?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" => 1,
            "k" => 1000,
            "m" => 1_000_000,
            "g" => 1_000_000_000,
            _ => return Err(ParseError::new(format!("unknown unit {unit} of a count")).with_remedy(remedy::<Count>())),
        };
        number.times(factor).map(Count).map_err(|why| unusable(text, why, "count"))
    }
}

impl FromStr for Bytes {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (number, unit) = decimal::split(text).map_err(|error| error.with_remedy(remedy::<Bytes>()))?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" | "mb" | "gb" | "tb" => return Err(ambiguous(unit)),
            _ => return Err(ParseError::new(format!("unknown unit {unit} of bytes")).with_remedy(remedy::<Bytes>())),
        };
        number.times(factor).map(Bytes).map_err(|why| unusable(text, why, "number of bytes"))
    }
}

fn unusable(text: &str, why: NoProduct, what: &str) -> ParseError {
    let text = text.trim();
    match why {
        NoProduct::Fraction => {
            ParseError::new(format!("{text} is not a whole {what}")).with_remedy("write it without a fraction")
        }
        NoProduct::TooLarge => {
            ParseError::new(format!("{text} is too large")).with_remedy(format!("a {what} is at most {}", u64::MAX))
        }
    }
}

fn ambiguous(unit: &str) -> ParseError {
    let letter = unit[..1].to_ascii_uppercase();
    let power = match letter.as_str() {
        "K" => "1024",
        "M" => "1024²",
        "G" => "1024³",
        _ => "1024⁴",
    };
    ParseError::new(format!("{unit} is a power of 1000 to some and of 1024 to others"))
        .with_remedy(format!("write {letter}iB for {power}, or the number of bytes"))
}

fn write_in(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    match units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor)) {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => write!(f, "{value}"),
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Below ten thousand a plain number is clearer.
        if self.0 < 10_000 { write!(f, "{}", self.0) } else { write_in(f, self.0, COUNT_UNITS) }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in(f, self.0, BYTE_UNITS)
    }
}

impl TextForm for Count {
    const WHAT: &'static str = "a count such as";

    fn forms() -> Vec<Form> {
        let pattern = format!(r"{}\s*[kKmMgG]?", decimal::PATTERN);
        vec![
            Form::new("500", &pattern),
            Form::new("19k", &pattern).meaning("19,000"),
            Form::new("1.5m", &pattern).meaning("1,500,000"),
            Form::new("2g", pattern),
        ]
    }
}

text_form!(Count);

impl TextForm for Bytes {
    const WHAT: &'static str = "a number of bytes such as";

    fn forms() -> Vec<Form> {
        let pattern = format!(r"{}\s*([bB]|[kKmMgGtT]([iI][bB])?)?", decimal::PATTERN);
        vec![
            Form::new("64", &pattern),
            Form::new("16KiB", &pattern),
            Form::new("1.5MiB", &pattern),
            Form::new("2g", pattern).meaning("2GiB"),
        ]
    }
}

text_form!(Bytes);

#[cfg(test)]
mod tests {
    use super::super::text::checks;
    use super::*;
    use proptest::prelude::*;

    fn count(text: &str) -> Result<u64, String> {
        text.parse().map(|Count(count)| count).map_err(|error: ParseError| error.to_string())
    }

    fn bytes(text: &str) -> Result<u64, String> {
        text.parse().map(|Bytes(bytes)| bytes).map_err(|error: ParseError| error.to_string())
    }

    #[test]
    fn counts_are_in_thousands_and_bytes_in_powers_of_1024() {
        assert_eq!(count("500"), Ok(500));
        assert_eq!(count("19k"), Ok(19_000));
        assert_eq!(count("1.5m"), Ok(1_500_000));
        assert_eq!(count("2G"), Ok(2_000_000_000));
        assert_eq!(bytes("64"), Ok(64));
        assert_eq!(bytes("64B"), Ok(64));
        for text in ["16KiB", "16k", "16K", " 16 kib "] {
            assert_eq!(bytes(text), Ok(16 << 10), "{text}");
        }
        assert_eq!(bytes("1.5MiB"), Ok(3 << 19));
        assert_eq!(bytes("5g"), Ok(5 << 30));
    }

    #[test]
    fn the_normal_form_is_short_and_exact() {
        let normal = |bytes| Bytes(bytes).to_string();
        assert_eq!(
            [normal(0), normal(1000), normal(1024), normal(1536), normal(1 << 30)],
            ["0", "1000", "1KiB", "1536", "1GiB"]
        );
        let normal = |count| Count(count).to_string();
        assert_eq!(
            [normal(0), normal(2000), normal(19_000), normal(19_001), normal(1_500_000)],
            ["0", "2000", "19k", "19001", "1500k"]
        );
    }

    #[test]
    fn a_refusal_names_what_is_wrong_and_what_to_write() {
        let refused = |text| count(text).expect_err(text);
        assert_eq!(refused("5x"), "unknown unit x of a count: write 500, 19k (19,000), 1.5m (1,500,000) or 2g");
        assert_eq!(refused("1.5"), "1.5 is not a whole count: write it without a fraction");
        assert!(refused("99999999999g").starts_with("99999999999g is too large: a count is at most"));
        assert_eq!(refused("1,000"), "1,000 has a comma: write 1000");
        assert_eq!(refused("1,5k"), "1,5k has a comma: write 1.5k");
        assert!(refused("-5").starts_with("-5 is negative"));
        assert!(refused("").starts_with("the value is empty"));
        assert!(refused("k").starts_with("k is not a number with a unit"));
        assert!(refused("1.2.3").starts_with("1.2.3 is not a number with a unit"));
        assert!(refused("5.").starts_with("5. is not a number with a unit"));
        assert!(refused("99999999999999999999999").starts_with("99999999999999999999999 has too many digits"));

        let refused = |text| bytes(text).expect_err(text);
        assert_eq!(refused("12XB"), "unknown unit XB of bytes: write 64, 16KiB, 1.5MiB or 2g (2GiB)");
        assert_eq!(
            refused("16kB"),
            "kB is a power of 1000 to some and of 1024 to others: write KiB for 1024, or the number of bytes"
        );
        assert!(refused("16MB").contains("write MiB for 1024²"));
    }

    #[test]
    fn the_examples_in_the_schema_are_valid() {
        checks::examples_are_valid::<Count>();
        checks::examples_are_valid::<Bytes>();
    }

    proptest! {
        #[test]
        fn every_normal_form_parses_back_to_the_same_value(value: u64, zeros in 0u32..40) {
            for value in [value, value >> zeros << zeros, value / 10u64.pow(zeros % 12) * 10u64.pow(zeros % 12)] {
                prop_assert_eq!(count(&Count(value).to_string()), Ok(value));
                prop_assert_eq!(bytes(&Bytes(value).to_string()), Ok(value));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in checks::texts()) {
            checks::any_text_is_handled::<Count>(&text);
            checks::any_text_is_handled::<Bytes>(&text);
        }
    }
}
