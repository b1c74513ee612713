//! Rates: things a second, bytes a second.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::text::text_form;
use super::{Bytes, UnitError, decimal};

/// Things a second, in millionths, so that schedules are computed in integers: `1000`, `10k`, `0.5`, `1000/s`, `30/m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    micro: u64,
}

/// Bytes a second: `64KiB/s`, `100MB/s` (10⁶), `64k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRate(pub u64);

const RATE_FORMS: &str = "write 1000, 10k, 0.5 or 1000/s";
const BYTE_RATE_FORMS: &str = "write 64KiB/s, 1MiB/s or 100MB/s";

impl Rate {
    /// A rate of whole things a second; `None` for 0 and for more than 18 billion.
    pub fn per_second(rate: u64) -> Option<Rate> {
        rate.checked_mul(1_000_000).filter(|&micro| micro > 0).map(|micro| Rate { micro })
    }

    /// Things a second.
    pub fn get(self) -> f64 {
        self.micro as f64 / 1e6
    }

    /// When the thing of this index, counted from 0, is due: `index / rate`, rounded down to nanoseconds. Never drifts,
    /// because it is computed from the index and not added up.
    pub fn due(self, index: u64) -> Duration {
        let nanos = u128::from(index) * 1_000_000_000_000_000 / u128::from(self.micro);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (text, seconds) = match text.trim().split_once('/') {
            Some((number, "s")) => (number, 1),
            Some((number, "m")) => (number, 60),
            Some((_, per)) => {
                return Err(UnitError::new(format!("/{per} is not /s (a second) or /m (a minute): {RATE_FORMS}")));
            }
            None => (text.trim(), 1),
        };
        let (number, unit) = decimal::split(text).map_err(|error| UnitError::new(format!("{error}: {RATE_FORMS}")))?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" => 1_000_000,
            "k" => 1_000_000_000,
            "m" => 1_000_000_000_000,
            _ => return Err(UnitError::new(format!("unknown unit {unit} of a rate: {RATE_FORMS}"))),
        };
        match number.times(factor).map(|micro| micro / seconds) {
            Some(0) => Err(UnitError::new(format!("a rate of {text} never gets to the first: {RATE_FORMS}"))),
            Some(micro) => Ok(Rate { micro }),
            None => Err(UnitError::new(format!("{text} is too large or finer than a millionth a second"))),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal::write(f, self.micro, 6)?;
        f.write_str("/s")
    }
}

impl FromStr for ByteRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        let amount = text.strip_suffix("/s").unwrap_or(text);
        let (number, unit) =
            decimal::split(amount).map_err(|error| UnitError::new(format!("{error}: {BYTE_RATE_FORMS}")))?;
        let decimal_factor = match unit.to_ascii_lowercase().as_str() {
            "kb" => Some(1000),
            "mb" => Some(1_000_000),
            "gb" => Some(1_000_000_000),
            _ => None,
        };
        let rate = match decimal_factor {
            Some(factor) => number
                .times(factor)
                .ok_or_else(|| UnitError::new(format!("{text} is not whole bytes a second, or is too large")))?,
            None => amount.parse::<Bytes>()?.0,
        };
        match rate {
            0 => Err(UnitError::new(format!("a rate of 0 bytes a second moves nothing: {BYTE_RATE_FORMS}"))),
            rate => Ok(ByteRate(rate)),
        }
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Bytes(self.0))
    }
}

text_form!(
    Rate,
    "Rate",
    "a number a second such as 1000, 10k, 0.5 or 1000/s",
    r"^\s*[0-9]+(\.[0-9]+)?\s*[kKmM]?(/[sm])?\s*$",
    ["1000", "10k", "0.5", "1000/s", "30/m"]
);
text_form!(
    ByteRate,
    "ByteRate",
    "bytes a second such as 64KiB/s or 100MB/s",
    r"^\s*[0-9]+(\.[0-9]+)?\s*([bB]|[kKmMgGtT]([iI]?[bB])?)?(/s)?\s*$",
    ["64KiB/s", "1MiB/s", "100MB/s", "64k"]
);
