//! The units of metrics: how their values are read, and how a report holds them. Pure.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteRate, Bytes, Count, ParseError, Rate, Time, grouped};

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MetricUnit {
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Time,
    /// A number of things.
    Count,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Things per second.
    PerSecond,
}

impl MetricUnit {
    pub(super) fn read(self, text: &str) -> Result<f64, ParseError> {
        match self {
            MetricUnit::Time => text.parse().map(|Time(time)| time.as_nanos() as f64),
            MetricUnit::Count => text.parse().map(|Count(n)| n as f64),
            MetricUnit::Bytes => text.parse().map(|Bytes(n)| n as f64),
            MetricUnit::BytesPerSecond => ByteRate::measured(text),
            MetricUnit::PerSecond => Rate::measured(text),
        }
    }

    /// A value to three digits, which are enough for a person: the rounded value, and its text.
    pub(super) fn rounded(self, value: f64) -> (f64, String) {
        let units: &[(&str, f64)] = match self {
            MetricUnit::Time => return (three_digits(value), self.show(three_digits(value))),
            MetricUnit::Bytes => &[("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0)],
            MetricUnit::BytesPerSecond => &[("GB/s", 1e9), ("MB/s", 1e6)],
            MetricUnit::Count | MetricUnit::PerSecond => &[],
        };
        match units.iter().find(|(_, unit)| value.abs() >= *unit) {
            Some((name, unit)) => {
                let shown = three_digits(value / unit);
                (shown * unit, format!("{shown} {name}"))
            }
            None => (value, self.show(value)),
        }
    }

    /// A value with all of its digits.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            MetricUnit::Time => spaced(&Time(Duration::from_nanos(value as u64)).to_string()),
            MetricUnit::Count => whole(value),
            MetricUnit::Bytes => format!("{} bytes", whole(value)),
            MetricUnit::BytesPerSecond => format!("{} bytes/s", whole(value)),
            MetricUnit::PerSecond => {
                let tenths = format!("{value:.1}");
                let (number, fraction) = tenths.split_once('.').unwrap_or((&tenths, "0"));
                let number = number.parse().map_or_else(|_| number.to_owned(), grouped);
                format!("{number}.{fraction}/s")
            }
        }
    }

    pub(super) fn example(self) -> &'static str {
        match self {
            MetricUnit::Time => "5ms",
            MetricUnit::Count => "100",
            MetricUnit::Bytes => "1MiB",
            MetricUnit::BytesPerSecond => "100MB/s",
            MetricUnit::PerSecond => "1000/s",
        }
    }
}

/// A whole number, which may be negative, with its thousands separated.
fn whole(value: f64) -> String {
    format!("{}{}", if value < 0.0 { "-" } else { "" }, grouped(value.abs().round() as u64))
}

/// A time as reports write it, `958 µs`, from its normal form, `958us`.
fn spaced(time: &str) -> String {
    let unit = time.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = time.strip_suffix(unit).unwrap_or(time);
    match unit {
        "" => number.to_owned(),
        "us" => format!("{number} µs"),
        "m" => format!("{number} min"),
        unit => format!("{number} {unit}"),
    }
}

/// A number rounded to three significant digits.
fn three_digits(value: f64) -> f64 {
    if value == 0.0 {
        return value;
    }
    // Powers of ten up to 10^22 are exact, and so is the quotient's nearest number: 4.15 and not 4.1499999999999995.
    let exponent = value.abs().log10().floor() as i32 - 2;
    match exponent {
        0.. => (value / 10f64.powi(exponent)).round() * 10f64.powi(exponent),
        _ => (value * 10f64.powi(-exponent)).round() / 10f64.powi(-exponent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_three_digits_with_a_unit() {
        for (unit, value, text) in [
            (MetricUnit::Time, 4_145_151.0, "4.15 ms"),
            (MetricUnit::Time, 248_063.0, "248 µs"),
            (MetricUnit::Time, 999.0, "999 ns"),
            (MetricUnit::Time, 0.0, "0"),
            (MetricUnit::Time, 123_456_789_012.0, "123 s"),
            (MetricUnit::Bytes, 5_242_881.0, "5 MiB"),
            (MetricUnit::Bytes, 1234.0, "1,234 bytes"),
            (MetricUnit::Bytes, -4_145_151.0, "-3.95 MiB"),
            (MetricUnit::BytesPerSecond, 123_456_789.0, "123 MB/s"),
            (MetricUnit::BytesPerSecond, 999.0, "999 bytes/s"),
            (MetricUnit::Count, 1_234_567.0, "1,234,567"),
            (MetricUnit::PerSecond, 23_503.25, "23,503.2/s"),
        ] {
            assert_eq!(unit.rounded(value).1, text, "{unit:?} {value}");
        }
    }
}
