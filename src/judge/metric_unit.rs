//! The units of metrics: how their values are read, and how a report holds them. Pure.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteRate, Bytes, Count, ParseError, Rate, Time};

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

    pub(super) fn show(self, value: f64) -> String {
        match self {
            MetricUnit::Time => Time(Duration::from_nanos(value as u64)).to_string(),
            MetricUnit::Count => format!("{value}"),
            MetricUnit::Bytes => format!("{value} bytes"),
            MetricUnit::BytesPerSecond => format!("{value:.0} bytes/s"),
            MetricUnit::PerSecond => format!("{value:.1}/s"),
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
