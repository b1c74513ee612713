//! The grammar that all quantities share: a decimal number followed by a unit. It computes in integers alone, so every
//! system reads the same value.

use super::ParseError;

/// The regular expression of a number, for the patterns of quantities.
pub(super) const PATTERN: &str = r"[0-9]+(\.[0-9]+)?";

/// A decimal number, exactly: `digits / 10^places`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal {
    digits: u64,
    places: u32,
}

impl Decimal {
    /// This number times `unit`, if that is a whole number and fits.
    pub(super) fn times(self, unit: u64) -> Option<u64> {
        let product = u128::from(self.digits) * u128::from(unit);
        let divisor = 10u128.pow(self.places);
        (product % divisor == 0).then_some(())?;
        u64::try_from(product / divisor).ok()
    }
}

/// Splits `1.5 KiB` into 1.5 and `KiB`.
pub(super) fn split(text: &str) -> Result<(Decimal, &str), ParseError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ParseError::new("the value is empty"));
    }
    if text.starts_with('-') {
        return Err(ParseError::new(format!("{text} is negative")));
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
        None => (number, ""),
    };
    let malformed = whole.is_empty() || number.ends_with('.') || fraction.contains('.');
    if malformed {
        return Err(ParseError::new(format!("{text} is not a number with a unit")));
    }
    let places = u32::try_from(fraction.len()).unwrap_or(u32::MAX);
    match format!("{whole}{fraction}").parse() {
        Ok(digits) if places <= 18 => Ok((Decimal { digits, places }, unit.trim())),
        _ => Err(ParseError::new(format!("{number} has too many digits"))),
    }
}

/// Writes `value / 10^places` without trailing zeros.
pub(super) fn write(f: &mut std::fmt::Formatter<'_>, value: u64, places: u32) -> std::fmt::Result {
    let one = 10u64.pow(places);
    let (whole, fraction) = (value / one, value % one);
    if fraction == 0 {
        return write!(f, "{whole}");
    }
    let fraction = format!("{fraction:0width$}", width = places as usize);
    write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
}
