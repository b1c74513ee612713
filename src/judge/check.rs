//! A run compared with its expectations, check by check. Pure.
//!
//! The checks of a case follow from its scenario alone, whatever happens in the run: a CI system compares them from one
//! run to the next by their names. `KINDS` is the table of the kinds of checks; a new kind is a row there and its
//! function.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expectation::{CheckedServer, Expectations, ExpectedLoad, ExpectedVerdict};
use super::measured::{MeasuredLoad, RunEnding, ServerFate};
use super::outcome::CaseOutcome;
use super::threshold::EvaluatedThreshold;
use super::verdict::Verdict;
use crate::measure::Counters;
use crate::units::grouped;

/// The beginning of the name of a check of one load.
const LOAD_PREFIX: &str = "load ";
/// The name of the check that every case has.
const VERDICT: &str = "verdict";
/// What the verdict is of a run that its own time limit ended.
const NOT_DONE: &str = "not done within";
/// The name of the check of a server.
const SERVER: &str = "server";
/// The expectation of a load group, and of the kinds of finding that are not named.
const NO_FINDING: &str = "no finding";
/// The expectation of a server that was started for the case.
const RUNNING: &str = "running to the end";
/// The expectation of a server that somebody else runs.
const SERVING: &str = "still serving after the run";

/// One expectation and its result, as the JSON report holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CheckReport {
    /// The subject: 'verdict', 'load NAME', 'finding KIND', 'other findings', a threshold as it is written, or
    /// 'server'.
    pub name: String,
    /// The expectation.
    pub expected: String,
    /// The actual result; null if it was not evaluated.
    pub actual: Option<String>,
    /// The outcome of the check.
    pub outcome: CaseOutcome,
}

impl CheckReport {
    /// The check of the verdict of a run in which nothing may be wrong.
    pub fn of_verdict(verdict: Verdict) -> CheckReport {
        CheckReport {
            name: VERDICT.to_owned(),
            expected: ExpectedVerdict::Pass.name().to_owned(),
            actual: Some(verdict.name().to_owned()),
            outcome: verdict.into(),
        }
    }

    /// The load group that the check is about, if it is about one.
    pub fn load(&self) -> Option<&str> {
        self.name.strip_prefix(LOAD_PREFIX)
    }

    /// Whether this is the check of the verdict.
    pub fn is_of_verdict(&self) -> bool {
        self.name == VERDICT
    }

    /// Whether the run's own time limit ended it, which is no evidence against the server.
    pub fn is_of_own_limit(&self) -> bool {
        self.is_of_verdict() && self.actual.as_ref().is_some_and(|actual| actual.starts_with(NOT_DONE))
    }

    /// Whether this is the check of the server.
    pub fn is_of_server(&self) -> bool {
        self.name == SERVER
    }

    /// Name, expected and actual.
    pub fn sentence(&self) -> String {
        let CheckReport { name, expected, actual, .. } = self;
        match actual {
            None if name == expected => format!("{name}: not evaluated"),
            None => format!("{name}: expected {expected}, but it was not evaluated"),
            Some(actual) if name == expected => format!("{name}: it was {actual}"),
            Some(actual) => format!("{name}: expected {expected}, got {actual}"),
        }
    }
}

/// The checks of a case that has not run yet.
pub fn planned<'c>(
    expect: &'c Expectations,
    loads: impl Iterator<Item = ExpectedLoad<'c>>,
    server: CheckedServer,
) -> Vec<CheckReport> {
    let case = ExpectedCase { expect, loads: loads.collect(), server };
    case.checks().iter().map(Check::planned).collect()
}

/// The checks of a case that has run.
pub(super) fn evaluated(expect: &Expectations, evidence: &Evidence<'_>) -> Vec<CheckReport> {
    let loads = evidence.loads.iter().map(|load| ExpectedLoad { name: load.name, verify: load.verify });
    let server = match evidence.ending.server {
        ServerFate::Unchecked => CheckedServer::Unchecked,
        ServerFate::Started { .. } => CheckedServer::Started,
        ServerFate::Target { .. } => CheckedServer::Target,
    };
    let case = ExpectedCase { expect, loads: loads.collect(), server };
    let report = |check: &Check<'_>| {
        let (actual, outcome) = (check.evaluate)(evidence);
        CheckReport { actual, outcome, ..check.planned() }
    };
    let mut checks: Vec<CheckReport> = case.checks().iter().map(report).collect();
    excuse(&mut checks);
    checks
}

/// If the run as a whole was inconclusive or interrupted, an unmet check is not a failure of its own: it takes the
/// outcome of the run. The server is an exception, because its failure is the cause.
fn excuse(checks: &mut [CheckReport]) {
    let verdict = checks[0].outcome;
    if !matches!(verdict, CaseOutcome::Inconclusive | CaseOutcome::Interrupted) {
        return;
    }
    for check in checks.iter_mut().filter(|check| !check.outcome.is_good()) {
        let is_cause = verdict == CaseOutcome::Inconclusive && check.is_of_server();
        check.outcome = if is_cause { check.outcome } else { verdict };
    }
}

/// Everything about a run that a check may look at.
pub(super) struct Evidence<'e> {
    pub(super) verdict: Verdict,
    pub(super) total: &'e Counters,
    pub(super) loads: &'e [MeasuredLoad<'e>],
    /// The thresholds in their order; none if only a part of the run is known.
    pub(super) thresholds: &'e [EvaluatedThreshold<'e>],
    pub(super) ending: &'e RunEnding,
    /// What the run says about time can be trusted.
    pub(super) is_time_known: bool,
}

/// Everything that the checks of a case follow from.
struct ExpectedCase<'c> {
    expect: &'c Expectations,
    loads: Vec<ExpectedLoad<'c>>,
    server: CheckedServer,
}

/// One check: the expectation, and how it is evaluated.
struct Check<'c> {
    name: String,
    expected: String,
    evaluate: Box<dyn Fn(&Evidence<'_>) -> Evaluation + 'c>,
}

/// The actual result, and the outcome of the check.
type Evaluation = (Option<String>, CaseOutcome);

/// The kinds of checks, in the order of the report: each gives the checks of its kind that a case has.
const KINDS: &[for<'c> fn(&ExpectedCase<'c>) -> Vec<Check<'c>>] =
    &[verdict, load_groups, findings, other_findings, thresholds, server];

impl<'c> ExpectedCase<'c> {
    fn checks(&self) -> Vec<Check<'c>> {
        KINDS.iter().flat_map(|kind| kind(self)).collect()
    }
}

impl<'c> Check<'c> {
    fn new(
        name: impl Into<String>,
        expected: impl Into<String>,
        evaluate: impl Fn(&Evidence<'_>) -> Evaluation + 'c,
    ) -> Check<'c> {
        Check { name: name.into(), expected: expected.into(), evaluate: Box::new(evaluate) }
    }

    fn planned(&self) -> CheckReport {
        let (name, expected) = (self.name.clone(), self.expected.clone());
        CheckReport { name, expected, actual: None, outcome: CaseOutcome::NotRun }
    }
}

/// A pass if the check is met, or else this outcome.
fn met_or(is_met: bool, otherwise: CaseOutcome, actual: impl Into<String>) -> Evaluation {
    (Some(actual.into()), if is_met { CaseOutcome::Pass } else { otherwise })
}

/// The first check of every case.
fn verdict<'c>(case: &ExpectedCase<'c>) -> Vec<Check<'c>> {
    let expected = case.expect.verdict;
    let evaluate = move |evidence: &Evidence<'_>| {
        if let Some(limit) = evidence.ending.timed_out_after {
            // Even where a failure is expected: a run that was not finished shows nothing.
            let nobody_asked = evidence.ending.is_default_limit && evidence.total.findings.is_empty();
            let is_known = evidence.is_time_known && !nobody_asked;
            let outcome = if is_known { CaseOutcome::Fail } else { CaseOutcome::Inconclusive };
            return (Some(format!("{NOT_DONE} {limit}")), outcome);
        }
        // A missed threshold is a check of its own.
        let actual = if evidence.verdict == Verdict::ThresholdMissed { Verdict::Pass } else { evidence.verdict };
        let otherwise = match actual {
            Verdict::Interrupted => CaseOutcome::Interrupted,
            Verdict::Inconclusive => CaseOutcome::Inconclusive,
            _ => CaseOutcome::Fail,
        };
        met_or(actual.name() == expected.name(), otherwise, actual.name())
    };
    vec![Check::new(VERDICT, expected.name(), evaluate)]
}

/// One check for each of several load groups. Expected findings may come in any of them, so then there are none.
fn load_groups<'c>(case: &ExpectedCase<'c>) -> Vec<Check<'c>> {
    if case.expect.verdict != ExpectedVerdict::Pass || case.loads.len() < 2 {
        return Vec::new();
    }
    let check = |load: &ExpectedLoad<'c>| {
        let name = load.name;
        Check::new(format!("{LOAD_PREFIX}{name}"), NO_FINDING, move |evidence| {
            let counters = evidence.loads.iter().find(|load| load.name == name).map(|load| &load.stats.counters);
            let is_met = counters.is_some_and(|counters| counters.findings.is_empty());
            met_or(is_met, CaseOutcome::Fail, counters.map_or_else(String::new, findings_in_words))
        })
    };
    case.loads.iter().map(check).collect()
}

fn findings<'c>(case: &ExpectedCase<'c>) -> Vec<Check<'c>> {
    let check = |kind: &'c crate::stream::FindingKind| {
        Check::new(format!("finding {}", kind.name()), "at least one", move |evidence| {
            let count = evidence.total.findings.get(kind).copied().unwrap_or_default();
            met_or(count > 0, CaseOutcome::Fail, if count > 0 { count.to_string() } else { "none".to_owned() })
        })
    };
    case.expect.findings.iter().map(check).collect()
}

fn other_findings<'c>(case: &ExpectedCase<'c>) -> Vec<Check<'c>> {
    let expect = case.expect;
    let check = Check::new("other findings", NO_FINDING, move |evidence| {
        let mut others = evidence.total.clone();
        others.findings.retain(|kind, _| !expect.findings.contains(kind));
        met_or(others.findings.is_empty(), CaseOutcome::Fail, findings_in_words(&others))
    });
    expect.no_other_findings.then_some(check).into_iter().collect()
}

fn thresholds<'c>(case: &ExpectedCase<'c>) -> Vec<Check<'c>> {
    let check = |(i, threshold): (usize, &'c super::threshold::Threshold)| {
        Check::new(threshold.to_string(), threshold.to_string(), move |evidence| match evidence.thresholds.get(i) {
            None => (None, CaseOutcome::Skipped),
            Some(evaluated) => {
                let otherwise =
                    if evaluated.is_doubtful { CaseOutcome::Inconclusive } else { CaseOutcome::ThresholdMissed };
                met_or(evaluated.met, otherwise, evaluated.actual.clone())
            }
        })
    };
    case.expect.thresholds.iter().enumerate().map(check).collect()
}

fn server<'c>(case: &ExpectedCase<'c>) -> Vec<Check<'c>> {
    let expected = match case.server {
        CheckedServer::Started => RUNNING,
        CheckedServer::Target if case.expect.need_an_echo(case.loads.iter().copied()) => SERVING,
        CheckedServer::Target | CheckedServer::Unchecked => return Vec::new(),
    };
    let evaluate = |evidence: &Evidence<'_>| match &evidence.ending.server {
        ServerFate::Started { died: Some(defect) } | ServerFate::Target { probe: Some(Err(defect)) } => {
            (Some(defect.clone()), CaseOutcome::Fail)
        }
        _ if evidence.ending.left_behind.is_some() => (evidence.ending.left_behind.clone(), CaseOutcome::Fail),
        ServerFate::Started { died: None } => (Some(RUNNING.to_owned()), CaseOutcome::Pass),
        ServerFate::Target { probe: Some(Ok(())) } => (Some(SERVING.to_owned()), CaseOutcome::Pass),
        _ if evidence.ending.is_interrupted() || evidence.ending.interrupt_requested => {
            (None, CaseOutcome::Interrupted)
        }
        _ => (None, CaseOutcome::Inconclusive),
    };
    vec![Check::new(SERVER, expected, evaluate)]
}

/// The findings by their kinds, counted: `3 × lost, 1 × stale`.
pub fn findings_in_words(counters: &Counters) -> String {
    let kinds: Vec<String> =
        counters.findings.iter().map(|(kind, n)| format!("{} × {}", grouped(*n), kind.name())).collect();
    if kinds.is_empty() { NO_FINDING.to_owned() } else { kinds.join(", ") }
}
