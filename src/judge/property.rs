//! Metrics that a case reports whether or not it has a limit for them: `report = ["buffered.max", "others.rtt.p50"]`.
//! Pure.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measured::MetricSource;
use super::metric::{self, MetricRef};
use super::metric_unit::MetricUnit;
use crate::units::ParseError;

/// A metric that is reported, of the run or of one load group.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedMetric {
    /// As it was written.
    text: String,
    group: Option<String>,
    metric: MetricRef,
}

/// A reported metric and its value, as the JSON report holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Property {
    /// The metric, as the scenario names it.
    pub metric: String,
    /// The unit of the value.
    pub unit: MetricUnit,
    /// The value; null if it was not measured.
    pub value: Option<f64>,
}

impl FromStr for ReportedMetric {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let (group, metric) = metric::find(text)?;
        Ok(ReportedMetric { text: text.to_owned(), group, metric })
    }
}

impl ReportedMetric {
    /// The load group that it names.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    pub(super) fn measured(&self, source: &MetricSource<'_>) -> Property {
        let value = source.scope(self.group()).and_then(|scope| self.metric.value(&scope));
        Property { metric: self.text.clone(), unit: self.metric.unit(), value }
    }
}
