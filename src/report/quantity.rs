//! What the values of figures, columns and axes are, and how one reads.

use std::time::Duration;

use super::text::{show_bytes, show_count, show_time};

/// What stands for a value that is not known.
pub(super) const UNKNOWN: &str = "–";

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// A number of whole things.
    Count,
    /// Things per second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Nanoseconds.
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Seconds.
    Seconds,
    /// A number that may have a fraction.
    Number,
}

impl Quantity {
    /// A value as people read it, with its unit.
    pub fn show(self, value: f64) -> String {
        let time = |seconds: f64| show_time(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        match self {
            Quantity::Count => show_count(value.round() as u64),
            Quantity::PerSecond => format!("{}/s", show_count(value.round() as u64)),
            Quantity::Bytes => show_bytes(value),
            Quantity::BytesPerSecond => format!("{}/s", show_bytes(value)),
            Quantity::Nanoseconds => time(value * 1e-9),
            Quantity::Microseconds => time(value * 1e-6),
            Quantity::Seconds => time(value),
            Quantity::Number if value >= 100.0 || value == value.trunc() => show_count(value.round() as u64),
            Quantity::Number if value >= 0.01 => format!("{value:.2}"),
            Quantity::Number => format!("{value:.4}"),
        }
    }

    /// A value that may not be known.
    pub(super) fn show_known(self, value: Option<u64>) -> String {
        value.map_or_else(|| UNKNOWN.to_owned(), |value| self.show(value as f64))
    }
}

/// Two digits after the point, and of less than 0.1 as many as hold two digits that are not 0.
pub(super) fn two_digits(ratio: f64) -> String {
    let places = match ratio {
        ratio if ratio > 0.0 && ratio < 0.1 => (1.0 - ratio.log10().floor()) as usize,
        _ => 2,
    };
    format!("{ratio:.places$}")
}

/// Whether this many values tell a percentile. Of fewer, none lies above it: it would be the greatest again.
pub(super) fn tells(count: u64, percent: f64) -> bool {
    // The difference is not exact: of 99.9 it is a little less than 0.1.
    count as f64 * (100.0 - percent) > 99.999
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_ratio_keeps_two_digits() {
        let shown = [0.0, 0.00834, 0.0834, 0.108, 1.0, 12.345].map(two_digits);
        assert_eq!(shown, ["0.00", "0.0083", "0.083", "0.11", "1.00", "12.35"]);
    }

    #[test]
    fn a_percentile_needs_as_many_values_as_tell_it() {
        for (percent, least) in [(90.0, 10), (99.0, 100), (99.9, 1000), (99.99, 10_000)] {
            assert!(tells(least, percent) && !tells(least - 1, percent), "{percent}");
        }
    }

    #[test]
    fn a_value_is_shown_in_its_unit() {
        for (quantity, value, shown) in [
            (Quantity::PerSecond, 12_345.4, "12,345/s"),
            (Quantity::BytesPerSecond, 64e6, "61.0 MiB/s"),
            (Quantity::Nanoseconds, 38_100.0, "38.1 µs"),
            (Quantity::Microseconds, 8.123, "8.12 µs"),
            (Quantity::Seconds, 1.25, "1.25 s"),
            (Quantity::Bytes, 1536.0, "1.50 KiB"),
            (Quantity::Count, 1234.0, "1,234"),
            (Quantity::Number, 5.0, "5"),
            (Quantity::Number, 1234.5, "1,235"),
            (Quantity::Number, 2.016, "2.02"),
            (Quantity::Number, 0.0004, "0.0004"),
        ] {
            assert_eq!(quantity.show(value), shown);
        }
    }
}
