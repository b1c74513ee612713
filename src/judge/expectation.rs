//! Expectations of a case: the form that a scenario file and the judge share. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::assumption::Assumption;
use super::grade::Grade;
use super::property::ReportedMetric;
use super::threshold::Threshold;
use super::verdict::Verdict;
use crate::plan::Verify;
use crate::stream::FindingKind;

/// The verdict that a case must come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Expected")]
pub enum ExpectedVerdict {
    /// Everything right.
    #[default]
    Pass,
    /// Findings.
    Fail,
    /// Nothing that could be verified.
    Inconclusive,
}

impl ExpectedVerdict {
    /// The word for it in a scenario file.
    pub fn name(self) -> &'static str {
        match self {
            ExpectedVerdict::Pass => Verdict::Pass.name(),
            ExpectedVerdict::Fail => Verdict::Fail.name(),
            ExpectedVerdict::Inconclusive => Verdict::Inconclusive.name(),
        }
    }
}

/// Everything that is expected of a case, and what it reports. The default expects a run in which nothing is wrong.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    /// How much the case weighs.
    pub grade: Grade,
    /// The verdict of the run.
    pub verdict: ExpectedVerdict,
    /// Kinds of finding, each of which must be seen.
    pub findings: Vec<FindingKind>,
    /// No other kind of finding may be seen.
    pub no_other_findings: bool,
    /// Limits that the metrics must keep to.
    pub thresholds: Vec<Threshold>,
    /// Metrics that are reported, whatever their values are.
    pub report: Vec<ReportedMetric>,
    /// What is known of the target, if the case cannot pass because of it.
    pub assumed: Option<Assumption>,
}

/// A load group, as far as expectations depend on it.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedLoad<'c> {
    /// Its name.
    pub name: &'c str,
    /// How much of the echo is compared.
    pub verify: Verify,
}

/// Which server a case is run against, as far as it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckedServer {
    /// It is not checked.
    Unchecked,
    /// One that is started for the case: it must run to the end.
    Started,
    /// One that somebody else runs: it must still serve in the end.
    Target,
}

impl Expectations {
    /// Whether an echo must come back and be right, so that a server which does not serve in the end is a defect.
    pub fn need_an_echo<'c>(&self, mut loads: impl Iterator<Item = ExpectedLoad<'c>>) -> bool {
        self.verdict == ExpectedVerdict::Pass && loads.any(|load| load.verify == Verify::Full)
    }
}
