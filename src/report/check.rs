//! A run held against its scenario: what was expected, what came, check by check. Pure.
//!
//! Which checks a case has follows from its scenario alone, so that they are the same in every run, whatever happens in
//! it: a CI system compares them from one run to the next by their names.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{LoadReport, RunReport};
use super::suite::Came;
use crate::measure::{Counters, Figures};
use crate::plan::Verify;
use crate::scenario::{Expected, Scenario};
use crate::verdict::{Outcome, judge};

/// What a check's name begins with if it is about one load group.
const LOAD: &str = "load ";
/// The name of the check that all scenarios have.
const VERDICT: &str = "verdict";

/// One thing that was expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckReport {
    /// What is checked: 'verdict', 'load NAME', 'finding KIND', a threshold as it is written, or 'server'.
    pub name: String,
    /// What should come.
    pub expected: String,
    /// What came; null if nothing was there to be looked at.
    pub actual: Option<String>,
    /// What it came to.
    pub outcome: Came,
}

impl CheckReport {
    fn planned(name: String, expected: &str) -> CheckReport {
        CheckReport { name, expected: expected.to_owned(), actual: None, outcome: Came::Skipped }
    }

    fn came(&mut self, is_met: bool, otherwise: Came, actual: String) {
        self.actual = Some(actual);
        self.outcome = if is_met { Came::Pass } else { otherwise };
    }

    /// The load group that it is about, if it is about one alone.
    pub fn load(&self) -> Option<&str> {
        self.name.strip_prefix(LOAD)
    }

    /// Name, expected and actual.
    pub fn sentence(&self) -> String {
        let CheckReport { name, expected, actual, .. } = self;
        let actual = actual.as_deref().unwrap_or("not looked at");
        match name == expected {
            true => format!("{name}: it was {actual}"),
            false => format!("{name}: expected {expected}, it was {actual}"),
        }
    }
}

/// The checks of a scenario, none of which has been looked at. `has_server`: it is run against a server of its own.
pub fn planned(scenario: &Scenario, has_server: bool) -> Vec<CheckReport> {
    let mut checks = vec![CheckReport::planned(VERDICT.to_owned(), scenario.verdict.name())];
    // Where findings are expected, nothing says in which of the groups.
    if scenario.verdict == Expected::Pass && scenario.loads.len() > 1 {
        let loads = scenario.loads.iter().map(|load| format!("{LOAD}{}", load.name));
        checks.extend(loads.map(|name| CheckReport::planned(name, "no finding")));
    }
    let findings = scenario.findings.iter().map(|kind| format!("finding {}", kind.name()));
    checks.extend(findings.map(|name| CheckReport::planned(name, "at least one")));
    let thresholds = scenario.thresholds.iter().map(ToString::to_string);
    checks.extend(thresholds.map(|text| CheckReport::planned(text.clone(), &text)));
    if has_server {
        checks.push(CheckReport::planned("server".to_owned(), "running to the end"));
    }
    checks
}

/// Holds a run against its scenario and gives the report its verdict. `server_died`: whether the server ended by
/// itself; `None` for a server that somebody else runs.
pub fn hold(
    scenario: &Scenario,
    groups: &[Figures],
    elapsed: Duration,
    server_died: Option<bool>,
    report: &mut RunReport,
) -> Vec<CheckReport> {
    let names = scenario.loads.iter().map(|load| load.name.as_str());
    let groups: Vec<(&str, &Figures)> = names.zip(groups).collect();
    let mut checks = planned(scenario, server_died.is_some());
    let mut rest = checks.iter_mut();
    let verdict = rest.next().expect("every scenario has a verdict");
    let mut missed = Vec::new();
    for check in rest {
        if let Some(load) = check.load().and_then(|name| report.loads.iter().find(|load| load.name == name)) {
            check.came(load.counters.findings.is_empty(), Came::Fail, found(&load.counters));
        } else if let Some(kind) =
            scenario.findings.iter().find(|kind| check.name == format!("finding {}", kind.name()))
        {
            let count = report.total.findings.get(kind).copied().unwrap_or_default();
            check.came(count > 0, Came::Fail, if count > 0 { count.to_string() } else { "none".to_owned() });
        } else if let Some(threshold) = scenario.thresholds.iter().find(|t| t.to_string() == check.name) {
            let (is_met, actual) = threshold.hold(&groups, elapsed);
            check.came(is_met, Came::ThresholdMissed, actual);
            if !is_met {
                missed.push(check.sentence());
            }
        } else if let Some(died) = server_died {
            check.came(!died, Came::Fail, if died { "ended by itself during the run" } else { "running" }.to_owned());
        }
    }
    let asserts = scenario.loads.iter().any(|load| load.verify == Verify::Full);
    report.verdict = judge(&report.total, report.interrupted, asserts, &missed);
    let came = match report.verdict.outcome {
        Outcome::Pass | Outcome::ThresholdMissed => Expected::Pass.name(),
        outcome => outcome.name(),
    };
    let otherwise = match report.verdict.outcome {
        Outcome::Interrupted => Came::Interrupted,
        Outcome::Inconclusive => Came::Inconclusive,
        _ => Came::Fail,
    };
    verdict.came(came == scenario.verdict.name(), otherwise, came.to_owned());
    // What was not reached in a run that came to nothing is no failure of its own; that a server died is.
    if let came @ (Came::Inconclusive | Came::Interrupted) = verdict.outcome {
        let server_died = server_died == Some(true) && came == Came::Inconclusive;
        for check in checks.iter_mut().filter(|check| check.outcome != Came::Pass) {
            let keeps = server_died && check.name == "server";
            check.outcome = if keeps { check.outcome } else { came };
        }
    }
    checks
}

/// What a case came to, by its checks, and why: those that were not met, then what the run says of itself.
pub fn outcome(checks: &[CheckReport], report: &RunReport) -> (Came, Vec<String>) {
    let gravest = [Came::Interrupted, Came::Fail, Came::ThresholdMissed, Came::Inconclusive];
    let came = gravest.into_iter().find(|came| checks.iter().any(|check| check.outcome == *came));
    let unmet = checks.iter().filter(|check| check.outcome != Came::Pass).map(CheckReport::sentence);
    let mut reasons: Vec<String> = unmet.collect();
    if report.verdict.outcome != Outcome::ThresholdMissed {
        reasons.extend(report.verdict.reasons.clone());
    }
    (came.unwrap_or(Came::Pass), reasons)
}

/// The findings of a load group, counted: `3 × lost, 1 × stale`.
pub fn found(counters: &Counters) -> String {
    let kinds: Vec<String> = counters.findings.iter().map(|(kind, n)| format!("{n} × {}", kind.name())).collect();
    if kinds.is_empty() { "no finding".to_owned() } else { kinds.join(", ") }
}

/// The load groups whose findings belong to a check: its own, or all of them for the verdict of a case that has no
/// check for each.
pub fn loads_of<'r>(check: &CheckReport, checks: &[CheckReport], report: &'r RunReport) -> Vec<&'r LoadReport> {
    let has_groups = checks.iter().any(|check| check.load().is_some());
    let belongs = |load: &&LoadReport| match check.load() {
        Some(name) => load.name == name,
        None => check.name == VERDICT && !has_groups,
    };
    report.loads.iter().filter(belongs).collect()
}
