//! Counts (thousands) and bytes (multiples of 1024).

use std::fmt;
use std::str::FromStr;

use super::text::text_form;
use super::{UnitError, decimal};

/// A number of things: `500`, `19k`, `1.5m`, `2g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

/// A number of bytes: `64`, `16KiB` or `16k`, `1.5MiB` or `1.5m`, `5GiB` or `5g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const COUNT_FORMS: &str = "write 500, 19k (19,000), 1.5m (1,500,000) or 2g";
const BYTE_FORMS: &str = "write 64, 16KiB, 1MiB or 1GiB (k, m and g are short for them)";

/// The largest first: `Display` takes the first one that divides the value.
const COUNT_UNITS: &[(&str, u64)] = &[("g", 1_000_000_000), ("m", 1_000_000), ("k", 1000)];
const BYTE_UNITS: &[(&str, u64)] = &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for Count {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = decimal::split(text).map_err(|error| with_forms(&error, COUNT_FORMS))?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" => 1,
            "k" => 1000,
            "m" => 1_000_000,
            "g" => 1_000_000_000,
            _ => return Err(UnitError::new(format!("unknown unit {unit} of a count: {COUNT_FORMS}"))),
        };
        number.times(factor).map(Count).ok_or_else(|| not_whole(text, "count"))
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = decimal::split(text).map_err(|error| with_forms(&error, BYTE_FORMS))?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" | "mb" | "gb" | "tb" => return Err(ambiguous(unit)),
            _ => return Err(UnitError::new(format!("unknown unit {unit} of bytes: {BYTE_FORMS}"))),
        };
        number.times(factor).map(Bytes).ok_or_else(|| not_whole(text, "number of bytes"))
    }
}

fn with_forms(error: &UnitError, forms: &str) -> UnitError {
    UnitError::new(format!("{error}: {forms}"))
}

fn not_whole(text: &str, what: &str) -> UnitError {
    UnitError::new(format!("{} is not a whole {what}, or is too large", text.trim()))
}

fn ambiguous(unit: &str) -> UnitError {
    let letter = unit[..1].to_ascii_uppercase();
    UnitError::new(format!(
        "{unit} is a power of 1000 to some and of 1024 to others: write {letter}iB for 1024, or the number of bytes"
    ))
}

fn write_in(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    match units.iter().find(|(_, factor)| value != 0 && value % factor == 0) {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => write!(f, "{value}"),
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Below ten thousand the plain number is the clearer one.
        if self.0 < 10_000 { write!(f, "{}", self.0) } else { write_in(f, self.0, COUNT_UNITS) }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in(f, self.0, BYTE_UNITS)
    }
}

text_form!(
    Count,
    "Count",
    "a count such as 500, 19k or 1.5m (k = 1000)",
    r"^\s*[0-9]+(\.[0-9]+)?\s*[kKmMgG]?\s*$",
    ["500", "19k", "1.5m"]
);
text_form!(
    Bytes,
    "Bytes",
    "a number of bytes such as 64, 16KiB or 1.5MiB (k = KiB = 1024)",
    r"^\s*[0-9]+(\.[0-9]+)?\s*([bB]|[kKmMgGtT]([iI][bB])?)?\s*$",
    ["64", "16KiB", "16k", "1.5MiB", "5g"]
);
