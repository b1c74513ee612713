//! A run held against its scenario: what was expected, what came, check by check. Pure.
//!
//! Which checks a case has follows from its scenario alone, so that they are the same in every run, whatever happens in
//! it: a CI system compares them from one run to the next by their names.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{LoadReport, RunReport};
use super::suite::Came;
use crate::judge::metric;
use crate::judge::threshold::Threshold;
use crate::judge::verdict::{Outcome, judge};
use crate::measure::{Counters, LoadStats};
use crate::plan::Verify;
use crate::scenario::{Expected, Scenario};
use crate::stream::FindingKind;
use crate::units::Time;

/// What a check's name begins with if it is about one load group.
const LOAD: &str = "load ";
/// The name of the check that all scenarios have.
const VERDICT: &str = "verdict";
/// Why a check of a case that ran was skipped.
pub(super) const OF_THE_WHOLE: &str = "about the whole run, of which --only-conn or --shard runs a part";
/// The name of the check of a server that was started for the scenario.
pub const SERVER: &str = "server";

/// One thing that was expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckReport {
    /// What is checked: 'verdict', 'load NAME', 'finding KIND', 'other findings', a threshold as it is written, or
    /// 'server'.
    pub name: String,
    /// What should come.
    pub expected: String,
    /// What came; null if nothing was there to be looked at.
    pub actual: Option<String>,
    /// What it came to.
    pub outcome: Came,
}

impl CheckReport {
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

/// What a scenario expects, one by one.
enum Expectation<'s> {
    Verdict(Expected),
    Load(&'s str),
    Finding(FindingKind),
    NoOtherFinding,
    Threshold(&'s Threshold),
    Server,
}

/// All of them, the verdict first. `has_server`: the scenario is run against a server of its own.
fn expectations(scenario: &Scenario, has_server: bool) -> Vec<Expectation<'_>> {
    // Where findings are expected, nothing says in which of the groups.
    let has_groups = scenario.verdict == Expected::Pass && scenario.loads.len() > 1;
    let loads = scenario.loads.iter().filter(|_| has_groups).map(|load| Expectation::Load(&load.name));
    std::iter::once(Expectation::Verdict(scenario.verdict))
        .chain(loads)
        .chain(scenario.findings.iter().map(|kind| Expectation::Finding(*kind)))
        .chain(scenario.only.then_some(Expectation::NoOtherFinding))
        .chain(scenario.thresholds.iter().map(Expectation::Threshold))
        .chain(has_server.then_some(Expectation::Server))
        .collect()
}

impl Expectation<'_> {
    fn planned(&self) -> CheckReport {
        let (name, expected) = match self {
            Expectation::Verdict(expected) => (VERDICT.to_owned(), expected.name().to_owned()),
            Expectation::Load(name) => (format!("{LOAD}{name}"), "no finding".to_owned()),
            Expectation::Finding(kind) => (format!("finding {}", kind.name()), "at least one".to_owned()),
            Expectation::NoOtherFinding => ("other findings".to_owned(), "no finding".to_owned()),
            Expectation::Threshold(threshold) => (threshold.to_string(), threshold.to_string()),
            Expectation::Server => (SERVER.to_owned(), "running to the end".to_owned()),
        };
        CheckReport { name, expected, actual: None, outcome: Came::NotRun }
    }
}

/// The checks of a scenario, none of which has been looked at. `has_server`: it is run against a server of its own.
pub fn planned(scenario: &Scenario, has_server: bool) -> Vec<CheckReport> {
    expectations(scenario, has_server).iter().map(Expectation::planned).collect()
}

/// The check of the verdict, before anything has run.
pub fn planned_verdict(expected: Expected) -> CheckReport {
    Expectation::Verdict(expected).planned()
}

/// How a case came to its end, beside what its connections tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending {
    /// Whether the server ended by itself; `None` for a server that somebody else runs.
    pub server_died: Option<bool>,
    /// Whether somebody has asked for the end, be it when the load was over already.
    pub is_interrupted: bool,
    /// The time that the loads had, where it was over before they were done.
    pub not_within: Option<Time>,
    /// Only some of its connections were run (--only-conn, --shard): figures of the whole can't be told.
    pub is_part: bool,
}

/// Holds a run against its scenario and gives the report its verdict. `groups` are the figures of the scenario's loads,
/// in their order.
pub fn hold(scenario: &Scenario, groups: &[LoadStats], ending: &Ending, report: &mut RunReport) -> Vec<CheckReport> {
    let server_died = ending.server_died;
    // Ctrl-C at a terminal reaches the servers too: an end that may be its work is no defect of theirs.
    report.interrupted |= server_died == Some(true) && ending.is_interrupted;
    let names = scenario.loads.iter().map(|load| load.name.as_str());
    let groups: Vec<(&str, &LoadStats)> = names.zip(groups).collect();
    let run = beside(report);
    let held = |threshold: &Threshold| threshold.hold(&groups, &run);
    let looked_at = scenario.thresholds.iter().filter(|_| !ending.is_part);
    let missed = looked_at.map(|threshold| (threshold, held(threshold))).filter(|(_, held)| !held.0);
    let missed: Vec<String> = missed.map(|(threshold, (_, actual))| format!("{threshold}: it was {actual}")).collect();
    let asserts = scenario.loads.iter().any(|load| load.verify == Verify::Full);
    report.verdict = judge(&report.total, report.interrupted, asserts, &missed);
    if ending.not_within.is_some() {
        report.not_done();
    }
    let check = |expectation: &Expectation<'_>| {
        let (is_met, otherwise, actual) = match expectation {
            Expectation::Verdict(expected) => match ending.not_within {
                // Not even where a failure is expected: what was not done can't be told.
                Some(limit) => (false, Came::Fail, format!("not done within {limit}")),
                None => return verdict(*expected, report),
            },
            Expectation::Load(name) => {
                let figures = groups.iter().find(|(group, _)| group == name).map(|(_, figures)| &figures.counters);
                (
                    figures.is_some_and(|counters| counters.findings.is_empty()),
                    Came::Fail,
                    figures.map_or_else(String::new, found),
                )
            }
            Expectation::Finding(kind) => {
                let count = report.total.findings.get(kind).copied().unwrap_or_default();
                (count > 0, Came::Fail, if count > 0 { count.to_string() } else { "none".to_owned() })
            }
            Expectation::NoOtherFinding => {
                let mut others = report.total.clone();
                others.findings.retain(|kind, _| !scenario.findings.contains(kind));
                (others.findings.is_empty(), Came::Fail, found(&others))
            }
            Expectation::Threshold(_) if ending.is_part => {
                return CheckReport { outcome: Came::Skipped, ..expectation.planned() };
            }
            Expectation::Threshold(threshold) => {
                let (is_met, actual) = held(threshold);
                (is_met, Came::ThresholdMissed, actual)
            }
            Expectation::Server if server_died == Some(true) => (false, Came::Fail, "ended by itself".to_owned()),
            Expectation::Server => (true, Came::Fail, "running to the end".to_owned()),
        };
        let outcome = if is_met { Came::Pass } else { otherwise };
        CheckReport { actual: Some(actual), outcome, ..expectation.planned() }
    };
    let mut checks: Vec<CheckReport> = expectations(scenario, server_died.is_some()).iter().map(check).collect();
    excuse(&mut checks, server_died == Some(true));
    checks
}

/// What a threshold may name beside the figures of the load groups.
fn beside(report: &RunReport) -> metric::Run {
    let time = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    metric::Run {
        elapsed: report.elapsed(),
        client_cpu: report.client.cpu_s.and_then(time),
        client_memory: report.client.peak_memory_bytes,
        server_cpu: report.server.as_ref().and_then(|server| server.cpu_s).and_then(time),
    }
}

/// What was not reached in a run that came to nothing is no failure of its own. That the server died is one, unless
/// somebody has interrupted both.
fn excuse(checks: &mut [CheckReport], server_died: bool) {
    let came = checks[0].outcome;
    if !matches!(came, Came::Inconclusive | Came::Interrupted) {
        return;
    }
    for check in checks.iter_mut().filter(|check| !check.outcome.is_good()) {
        let is_cause = server_died && came == Came::Inconclusive && check.name == SERVER;
        check.outcome = if is_cause { Came::Fail } else { came };
    }
}

/// The check that every case has, and as the first: what the run's verdict had to be.
pub fn verdict(expected: Expected, report: &RunReport) -> CheckReport {
    let came = match report.verdict.outcome {
        Outcome::Pass | Outcome::ThresholdMissed => Expected::Pass.name(),
        outcome => outcome.name(),
    };
    let otherwise = match report.verdict.outcome {
        Outcome::Interrupted => Came::Interrupted,
        Outcome::Inconclusive => Came::Inconclusive,
        _ => Came::Fail,
    };
    let outcome = if came == expected.name() { Came::Pass } else { otherwise };
    CheckReport { actual: Some(came.to_owned()), outcome, ..planned_verdict(expected) }
}

/// What a case came to, by its checks, and why: those that were not met, then what the run says of itself.
pub fn outcome(checks: &[CheckReport], report: &RunReport) -> (Came, Vec<String>) {
    let gravest = [Came::Interrupted, Came::Fail, Came::ThresholdMissed, Came::Inconclusive];
    let came = gravest.into_iter().find(|came| checks.iter().any(|check| check.outcome == *came));
    let unmet = checks.iter().filter(|check| !check.outcome.is_good()).map(CheckReport::sentence);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    const TWO_LOADS: &str = "name = 'n'\n[[load]]\nname = 'a'\n[[load]]\nname = 'b'\n";
    const ONE_LOAD: &str = "name = 'n'\n[[load]]\n";

    fn scenario(text: &str, expect: &str) -> Scenario {
        Scenario::parse("a.toml", &format!("{text}[expect]\n{expect}")).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The outcome of a run with these figures, and of each check.
    fn held(scenario: &Scenario, groups: &[LoadStats], server_died: Option<bool>) -> (Came, Vec<(String, Came)>) {
        ended(scenario, groups, &Ending { server_died, ..Ending::default() })
    }

    fn ended(scenario: &Scenario, groups: &[LoadStats], ending: &Ending) -> (Came, Vec<(String, Came)>) {
        let mut report = sample::run(&[]);
        groups.iter().for_each(|group| report.total.add(&group.counters));
        let server_died = ending.server_died;
        let checks = hold(scenario, groups, ending, &mut report);
        let names = checks.iter().map(|check| (check.name.clone(), check.outcome)).collect();
        assert_eq!(
            planned(scenario, server_died.is_some()).iter().map(|check| &check.name).collect::<Vec<_>>(),
            checks.iter().map(|check| &check.name).collect::<Vec<_>>(),
            "the checks follow from the scenario alone"
        );
        (outcome(&checks, &report).0, names)
    }

    fn good() -> LoadStats {
        let counters = Counters { connects: 1, opened: 1, passed: 1, bytes_verified: 10, ..Counters::default() };
        LoadStats { counters, ..LoadStats::default() }
    }

    fn bad(kind: FindingKind) -> LoadStats {
        let mut figures = good();
        (figures.counters.passed, figures.counters.failed) = (0, 1);
        figures.counters.found(kind);
        figures
    }

    fn named(pairs: &[(&str, Came)]) -> Vec<(String, Came)> {
        pairs.iter().map(|(name, came)| ((*name).to_owned(), *came)).collect()
    }

    #[test]
    fn the_group_that_failed_is_named() {
        let (came, checks) = held(&scenario(TWO_LOADS, ""), &[good(), bad(FindingKind::Lost)], Some(false));
        let all = [("verdict", Came::Fail), ("load a", Came::Pass), ("load b", Came::Fail), ("server", Came::Pass)];
        assert_eq!((came, checks), (Came::Fail, named(&all)));
    }

    #[test]
    fn findings_that_are_expected_must_each_come() {
        let canary = scenario(ONE_LOAD, "findings = ['lost', 'stale']");
        let (came, checks) = held(&canary, &[bad(FindingKind::Lost)], None);
        let all = [("verdict", Came::Pass), ("finding lost", Came::Pass), ("finding stale", Came::Fail)];
        assert_eq!((came, checks), (Came::Fail, named(&all)));
        assert_eq!(held(&scenario(ONE_LOAD, "findings = ['lost']"), &[bad(FindingKind::Lost)], None).0, Came::Pass);
    }

    #[test]
    fn where_only_these_are_expected_another_fails_the_case() {
        let canary = scenario(ONE_LOAD, "findings = ['lost']\nonly = true");
        let (came, checks) = held(&canary, &[bad(FindingKind::Lost)], None);
        let all = [("verdict", Came::Pass), ("finding lost", Came::Pass), ("other findings", Came::Pass)];
        assert_eq!((came, checks), (Came::Pass, named(&all)));
        let two = [bad(FindingKind::Lost), bad(FindingKind::Stale)];
        let mut report = sample::run(&[]);
        two.iter().for_each(|group| report.total.add(&group.counters));
        let checks = hold(&canary, &two, &Ending::default(), &mut report);
        assert_eq!(checks[2].sentence(), "other findings: expected no finding, it was 1 × stale");
        assert_eq!(outcome(&checks, &report).0, Came::Fail);
    }

    #[test]
    fn a_threshold_is_missed_only_where_something_was_verified() {
        let scenario = scenario(ONE_LOAD, "thresholds = ['verified_bytes > 1k']");
        assert_eq!(held(&scenario, &[good()], None).0, Came::ThresholdMissed);
        let nothing = LoadStats::default();
        let (came, checks) = held(&scenario, &[nothing], None);
        let all = [("verdict", Came::Inconclusive), ("verified_bytes > 1k", Came::Inconclusive)];
        assert_eq!((came, checks), (Came::Inconclusive, named(&all)));
    }

    #[test]
    fn a_server_that_died_fails_the_case_whatever_came_of_the_bytes() {
        for figures in [good(), LoadStats::default()] {
            let (came, checks) = held(&scenario(ONE_LOAD, ""), &[figures], Some(true));
            assert_eq!((came, checks.last()), (Came::Fail, Some(&("server".to_owned(), Came::Fail))));
        }
    }

    #[test]
    fn a_server_that_an_interrupt_may_have_ended_is_not_blamed_and_what_was_verified_before_it_stays() {
        let interrupted =
            |server_died| Ending { server_died: Some(server_died), is_interrupted: true, ..Ending::default() };
        let scenario = scenario(ONE_LOAD, "");
        assert_eq!(ended(&scenario, &[good()], &interrupted(false)).0, Came::Pass);
        let (came, checks) = ended(&scenario, &[good()], &interrupted(true));
        let all = [("verdict", Came::Interrupted), ("server", Came::Interrupted)];
        assert_eq!((came, checks), (Came::Interrupted, named(&all)));
    }

    #[test]
    fn what_was_not_done_in_its_time_fails_whatever_was_expected() {
        let ending = Ending { not_within: Some("90s".parse().expect("a time")), ..Ending::default() };
        for (expect, figures) in
            [("", good()), ("", LoadStats::default()), ("findings = ['lost']", bad(FindingKind::Lost))]
        {
            let scenario = scenario(ONE_LOAD, expect);
            let (came, checks) = ended(&scenario, &[figures], &ending);
            assert_eq!((came, &checks[0]), (Came::Fail, &("verdict".to_owned(), Came::Fail)), "{expect}");
        }
        let mut report = sample::run(&["load"]);
        let checks = hold(&scenario(ONE_LOAD, ""), &[good()], &ending, &mut report);
        let (_, reasons) = outcome(&checks, &report);
        assert_eq!(reasons[0], "verdict: expected pass, it was not done within 90s");
        assert!(reasons[1].contains("--timeout") && report.verdict.exit_code == 1, "{reasons:?}");
    }

    #[test]
    fn of_a_part_of_a_run_thresholds_are_not_looked_at() {
        let scenario = scenario(ONE_LOAD, "thresholds = ['passed == 65']");
        let part = Ending { is_part: true, ..Ending::default() };
        let (came, checks) = ended(&scenario, &[good()], &part);
        let all = [("verdict", Came::Pass), ("passed == 65", Came::Skipped)];
        assert_eq!((came, checks), (Came::Pass, named(&all)));
        for (figures, came) in [(bad(FindingKind::Lost), Came::Fail), (LoadStats::default(), Came::Inconclusive)] {
            let (outcome, checks) = ended(&scenario, &[figures], &part);
            assert_eq!((outcome, checks[1].1), (came, Came::Skipped));
        }
    }

    #[test]
    fn an_unmet_check_says_what_was_expected_and_what_came() {
        let scenario = scenario(ONE_LOAD, "thresholds = ['passed == 2']");
        let died = Ending { server_died: Some(true), ..Ending::default() };
        let checks = hold(&scenario, &[good()], &died, &mut sample::run(&["load"]));
        let said: Vec<String> = checks.iter().map(CheckReport::sentence).collect();
        assert_eq!(said[1..], ["passed == 2: it was 1", "server: expected running to the end, it was ended by itself"]);
    }
}
