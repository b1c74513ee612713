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
    /// This number times `unit`.
    pub(super) fn times(self, unit: u64) -> Result<u64, NoProduct> {
        let product = u128::from(self.digits) * u128::from(unit);
        let divisor = 10u128.pow(self.places);
        if product % divisor != 0 {
            return Err(NoProduct::Fraction);
        }
        u64::try_from(product / divisor).map_err(|_| NoProduct::TooLarge)
    }
}

/// Why a number times its unit is no value.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoProduct {
    /// It is not whole.
    Fraction,
    /// It does not fit.
    TooLarge,
}

/// The refusal of a number with a comma, `1,000` or `1,5s`; `None` if it has none.
pub(super) fn with_comma(text: &str) -> Option<ParseError> {
    let is_of_number = |c: char| c.is_ascii_digit() || c == ',';
    let (number, rest) = text.split_at(text.find(|c| !is_of_number(c)).unwrap_or(text.len()));
    let mut groups = number.split(',').skip(1).peekable();
    groups.peek()?;
    let plain = match groups.all(|group| group.len() == 3) {
        true => number.replace(',', ""),
        false => number.replacen(',', ".", 1),
    };
    Some(ParseError::new(format!("{text} has a comma")).with_remedy(format!("write {plain}{rest}")))
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
    if let Some(error) = with_comma(text) {
        return Err(error);
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
