//! Runs judged by their expectations.

use super::check::planned;
use super::expectation::{CheckedServer, ExpectedLoad};
use super::measured::{MeasuredLoad, RunEnding, RunResources, ServerFate};
use super::*;
use crate::measure::{Counters, LoadStats};
use crate::plan::Profile;
use crate::scenario::Scenario;
use crate::stream::FindingKind;

const TWO_LOADS: &str = "name = 'n'\n[[load]]\nname = 'a'\n[[load]]\nname = 'b'\n";
const ONE_LOAD: &str = "name = 'n'\n[[load]]\n";

fn scenario(text: &str, expect: &str) -> Scenario {
    Scenario::parse("a.toml", &format!("{text}[expect]\n{expect}")).unwrap_or_else(|error| panic!("{error}"))
}

/// A run of the scenario with these stats and this ending, judged.
fn judged(scenario: &Scenario, groups: &[LoadStats], ending: &RunEnding) -> Judgement {
    let measured =
        |(profile, stats): (&'_ Profile, &'_ LoadStats)| (profile.name.clone(), profile.verify, stats.clone());
    let loads: Vec<_> = scenario.loads.iter().zip(groups).map(measured).collect();
    let run = MeasuredRun {
        loads: loads.iter().map(|(name, verify, stats)| MeasuredLoad { name, verify: *verify, stats }).collect(),
        resources: RunResources::default(),
        ending: ending.clone(),
        answered: None,
        two_sides: false,
    };
    let judgement = judge_case(&scenario.expect, &run);
    let server = match ending.server {
        ServerFate::Unchecked => CheckedServer::Unchecked,
        ServerFate::Started { .. } => CheckedServer::Started,
        ServerFate::Target { .. } => CheckedServer::Target,
    };
    let expected = scenario.loads.iter().map(|load| ExpectedLoad { name: &load.name, verify: load.verify });
    assert_eq!(
        planned(&scenario.expect, expected, server).iter().map(|check| &check.name).collect::<Vec<_>>(),
        judgement.checks.iter().map(|check| &check.name).collect::<Vec<_>>(),
        "the checks follow from the scenario alone"
    );
    judgement
}

/// The outcomes of the case and of each check.
fn outcomes(judgement: &Judgement) -> (CaseOutcome, Vec<(&str, CaseOutcome)>) {
    let checks = judgement.checks.iter().map(|check| (check.name.as_str(), check.outcome));
    (judgement.outcome, checks.collect())
}

fn nothing_special() -> RunEnding {
    RunEnding::default()
}

fn with_server(died: Option<&str>) -> RunEnding {
    RunEnding { server: ServerFate::Started { died: died.map(str::to_owned) }, ..RunEnding::default() }
}

fn good() -> LoadStats {
    let counters = Counters { connects: 1, opened: 1, passed: 1, bytes_verified: 10, ..Counters::default() };
    LoadStats { counters, ..LoadStats::default() }
}

fn bad(kind: FindingKind) -> LoadStats {
    let mut stats = good();
    (stats.counters.passed, stats.counters.failed) = (0, 1);
    stats.counters.found(kind);
    stats
}

#[test]
fn the_load_group_that_failed_is_named() {
    let judgement = judged(&scenario(TWO_LOADS, ""), &[good(), bad(FindingKind::Lost)], &with_server(None));
    let checks = vec![
        ("verdict", CaseOutcome::Fail),
        ("load a", CaseOutcome::Pass),
        ("load b", CaseOutcome::Fail),
        ("server", CaseOutcome::Pass),
    ];
    assert_eq!(outcomes(&judgement), (CaseOutcome::Fail, checks));
}

#[test]
fn each_finding_that_is_expected_must_come() {
    let canary = scenario(ONE_LOAD, "findings = ['lost', 'stale']");
    let judgement = judged(&canary, &[bad(FindingKind::Lost)], &nothing_special());
    let checks =
        vec![("verdict", CaseOutcome::Pass), ("finding lost", CaseOutcome::Pass), ("finding stale", CaseOutcome::Fail)];
    assert_eq!(outcomes(&judgement), (CaseOutcome::Fail, checks));
    let canary = scenario(ONE_LOAD, "findings = ['lost']");
    assert_eq!(judged(&canary, &[bad(FindingKind::Lost)], &nothing_special()).outcome, CaseOutcome::Pass);
}

#[test]
fn where_only_some_kinds_are_expected_another_fails_the_case() {
    let canary = scenario(ONE_LOAD, "findings = ['lost']\nonly = true");
    let judgement = judged(&canary, &[bad(FindingKind::Lost)], &nothing_special());
    let checks = vec![
        ("verdict", CaseOutcome::Pass),
        ("finding lost", CaseOutcome::Pass),
        ("other findings", CaseOutcome::Pass),
    ];
    assert_eq!(outcomes(&judgement), (CaseOutcome::Pass, checks));
    let mut both = bad(FindingKind::Lost);
    both.add(&bad(FindingKind::Stale));
    let judgement = judged(&canary, &[both], &nothing_special());
    assert_eq!(judgement.checks[2].sentence(), "other findings: expected no finding, got 1 × stale");
    assert_eq!(judgement.outcome, CaseOutcome::Fail);
}

#[test]
fn a_threshold_is_missed_only_where_something_was_verified() {
    let scenario = scenario(ONE_LOAD, "thresholds = ['verified_bytes > 1k']");
    assert_eq!(judged(&scenario, &[good()], &nothing_special()).outcome, CaseOutcome::ThresholdMissed);
    let judgement = judged(&scenario, &[LoadStats::default()], &nothing_special());
    let checks = vec![("verdict", CaseOutcome::Inconclusive), ("verified_bytes > 1k", CaseOutcome::Inconclusive)];
    assert_eq!(outcomes(&judgement), (CaseOutcome::Inconclusive, checks));
}

#[test]
fn a_missed_threshold_is_the_verdict_and_is_said_once() {
    let scenario = scenario(ONE_LOAD, "thresholds = ['verified_bytes > 1k', 'passed == 1']");
    let judgement = judged(&scenario, &[good()], &nothing_special());
    assert_eq!((judgement.verdict.outcome, judgement.verdict.exit_code), (Verdict::ThresholdMissed, 3));
    assert_eq!(judgement.verdict.reasons, ["verified_bytes > 1k: it was 10 bytes"]);
    assert_eq!(judgement.reasons, judgement.verdict.reasons);
}

#[test]
fn a_server_that_died_fails_the_case_whatever_came_of_the_bytes() {
    for stats in [good(), LoadStats::default()] {
        let judgement = judged(&scenario(ONE_LOAD, ""), &[stats], &with_server(Some("ended on its own")));
        let (outcome, checks) = outcomes(&judgement);
        assert_eq!((outcome, checks.last()), (CaseOutcome::Fail, Some(&("server", CaseOutcome::Fail))));
    }
}

#[test]
fn a_server_that_an_interrupt_may_have_ended_is_not_blamed() {
    let interrupted = |died| RunEnding { interrupt_requested: true, ..with_server(died) };
    let scenario = scenario(ONE_LOAD, "");
    let judgement = judged(&scenario, &[good()], &interrupted(None));
    assert_eq!(judgement.outcome, CaseOutcome::Pass, "what was verified before the interrupt stays");
    let judgement = judged(&scenario, &[good()], &interrupted(Some("ended on its own")));
    let checks = vec![("verdict", CaseOutcome::Interrupted), ("server", CaseOutcome::Interrupted)];
    assert_eq!(outcomes(&judgement), (CaseOutcome::Interrupted, checks));
    assert!(judgement.is_interrupted);
}

#[test]
fn a_run_that_was_not_done_in_its_time_fails_whatever_was_expected() {
    let ending = RunEnding { timed_out_after: Some("90s".parse().expect("a time")), ..RunEnding::default() };
    for (expect, stats) in [("", good()), ("", LoadStats::default()), ("findings = ['lost']", bad(FindingKind::Lost))] {
        let judgement = judged(&scenario(ONE_LOAD, expect), &[stats], &ending);
        let (outcome, checks) = outcomes(&judgement);
        assert_eq!((outcome, checks[0]), (CaseOutcome::Fail, ("verdict", CaseOutcome::Fail)), "{expect}");
    }
    let Judgement { reasons, verdict, .. } = judged(&scenario(ONE_LOAD, ""), &[good()], &ending);
    assert_eq!(reasons[0], "verdict: expected pass, got not done within 90s");
    assert!(reasons[1].contains("--timeout") && verdict.exit_code == 1, "{reasons:?}");
}

#[test]
fn thresholds_are_not_evaluated_for_a_part_of_a_run() {
    let scenario = scenario(ONE_LOAD, "thresholds = ['passed == 65']");
    let part = RunEnding { is_partial: true, ..RunEnding::default() };
    let judgement = judged(&scenario, &[good()], &part);
    let checks = vec![("verdict", CaseOutcome::Pass), ("passed == 65", CaseOutcome::Skipped)];
    assert_eq!(outcomes(&judgement), (CaseOutcome::Pass, checks));
    for (stats, outcome) in
        [(bad(FindingKind::Lost), CaseOutcome::Fail), (LoadStats::default(), CaseOutcome::Inconclusive)]
    {
        let judgement = judged(&scenario, &[stats], &part);
        assert_eq!((judgement.outcome, judgement.checks[1].outcome), (outcome, CaseOutcome::Skipped));
    }
}

#[test]
fn an_unmet_check_says_what_was_expected_and_what_came() {
    let scenario = scenario(ONE_LOAD, "thresholds = ['passed == 2']");
    let judgement = judged(&scenario, &[good()], &with_server(Some("exited during the run")));
    let sentences: Vec<String> = judgement.checks.iter().map(CheckReport::sentence).collect();
    assert_eq!(
        sentences[1..],
        ["passed == 2: it was 1", "server: expected running to the end, got exited during the run"]
    );
}

#[test]
fn a_target_must_still_serve_in_the_end_where_an_echo_was_expected() {
    let target = |probe| RunEnding { server: ServerFate::Target { probe }, ..RunEnding::default() };
    let passes = scenario(ONE_LOAD, "");
    for (probe, outcome) in [
        (Some(Ok(())), CaseOutcome::Pass),
        (Some(Err("taking no connection".to_owned())), CaseOutcome::Fail),
        (None, CaseOutcome::Inconclusive),
    ] {
        let judgement = judged(&passes, &[good()], &target(probe));
        assert_eq!((judgement.outcome, judgement.checks[1].name.as_str()), (outcome, "server"));
    }
    let canary = scenario(ONE_LOAD, "findings = ['lost']");
    assert_eq!(judged(&canary, &[bad(FindingKind::Lost)], &target(None)).checks.len(), 2, "no echo is expected");
}

/// A case of this grade with one load, which must pass and have opened ten connections.
fn graded(grade: &str) -> Scenario {
    let text = format!("name = 'n'\ngrade = '{grade}'\nreport = ['connections', 'connect.max']\n[[load]]\n");
    scenario(&text, "thresholds = ['connections == 10']")
}

#[test]
fn a_should_that_fails_is_weak_and_an_info_is_never_more_than_info() {
    use CaseOutcome::{Info, ThresholdMissed, Weak};
    for (grade, missed, failed) in
        [("must", ThresholdMissed, CaseOutcome::Fail), ("should", Weak, Weak), ("info", Info, Info)]
    {
        let case = graded(grade);
        let judgement = judged(&case, &[good()], &nothing_special());
        assert_eq!((judgement.outcome, judgement.checks[1].outcome), (missed, missed), "{grade}");
        assert!(judgement.reasons[0].contains("connections == 10: it was 1"), "{:?}", judgement.reasons);
        let mut stats = good();
        stats.counters.found(FindingKind::Reset);
        assert_eq!(judged(&case, &[stats], &nothing_special()).outcome, failed, "{grade}");
        let strict = judged(&case.in_force(true), &[good()], &nothing_special());
        assert_eq!(strict.outcome, if grade == "info" { Info } else { ThresholdMissed }, "{grade}, strict");
        let properties: Vec<_> =
            judgement.properties.iter().map(|shown| (shown.metric.as_str(), shown.value)).collect();
        assert_eq!(properties, [("connections", Some(1.0)), ("connect.max", None)]);
    }
}

#[test]
fn wrong_bytes_and_a_dead_server_fail_whatever_the_grade_is() {
    for grade in ["must", "should", "info"] {
        let case = graded(grade);
        let mut stats = good();
        stats.counters.found(FindingKind::Lost);
        let judgement = judged(&case, &[stats], &nothing_special());
        assert_eq!(judgement.outcome, CaseOutcome::Fail, "{grade}");
        let says_why = judgement.reasons.iter().any(|reason| reason.contains("wrong bytes fail the run even in"));
        assert_eq!(says_why, grade != "must", "{:?}", judgement.reasons);
        let dead = judged(&case, &[good()], &with_server(Some("died")));
        assert_eq!(dead.outcome, CaseOutcome::Fail, "{grade}");
    }
}

#[test]
fn an_info_in_which_all_is_well_is_info_and_one_without_bytes_inconclusive() {
    let case = scenario("name = 'n'\ngrade = 'info'\n[[load]]\n", "");
    assert_eq!(judged(&case, &[good()], &nothing_special()).outcome, CaseOutcome::Info);
    assert_eq!(judged(&case, &[LoadStats::default()], &nothing_special()).outcome, CaseOutcome::Inconclusive);
}
