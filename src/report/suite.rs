//! Several cases as data: what `run --json` and `check --json` write. How a case reads on a terminal is
//! [`case_text`](super::case_text).
//!
//! The JSON Schema of [`SuiteReport`] is published by `echo-tester schema suite`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{RunCase, RunReport};
use crate::exit::Exit;
use crate::judge::Judgement;
use crate::judge::check::{self, CheckReport};
use crate::judge::expectation::{CheckedServer, Expectations};
use crate::judge::grade::Grade;
use crate::judge::outcome::{CaseOutcome, OUTCOMES};
use crate::judge::property::Property;
use crate::judge::ranking::suite_exit;
use crate::judge::verdict::Verdict;
use crate::scenario::Scenario;
use crate::units::{counted, grouped};

/// The form of the JSON report. It changes when a reader of the old form would misread the new one.
pub const FORM: &str = "echo-tester/suite/1";

/// How far a suite has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "State")]
pub enum SuiteState {
    /// There are cases without a result: the suite is still running, or broke off.
    Incomplete,
    /// Every case has its result.
    Complete,
    /// It ended at the first case that did not pass, as --fail-fast asks.
    Stopped,
    /// The cases without a result have no server: the target is not there, or their command did not start for an
    /// earlier case.
    NoServer,
    /// The cases without a result have a server that takes connections, but does not echo.
    NoEcho,
    /// Somebody ended it.
    Interrupted,
}

impl SuiteState {
    /// A remark for people, besides the counts.
    fn remark(self) -> Option<&'static str> {
        match self {
            SuiteState::Complete => None,
            SuiteState::Incomplete => Some("still running, or broken off"),
            SuiteState::Stopped => Some("stopped by --fail-fast"),
            SuiteState::NoServer => Some("their server is not there"),
            SuiteState::NoEcho => Some("their server does not echo"),
            SuiteState::Interrupted => Some("interrupted"),
        }
    }

    /// Why a case has no result.
    fn why_not_run(self) -> &'static str {
        match self {
            SuiteState::Incomplete | SuiteState::Complete => {
                "there is no result yet: the suite is still running, or broke off"
            }
            SuiteState::Stopped => "--fail-fast: an earlier case did not pass",
            SuiteState::NoServer => "its server is not there: an earlier case says why",
            SuiteState::NoEcho => "its server does not echo: an earlier case says what it does",
            SuiteState::Interrupted => "interrupted before it started",
        }
    }
}

/// One case: a scenario against one server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CaseReport {
    /// Its stable address, such as 4.1; may be empty.
    pub id: String,
    /// Its name, in a few words.
    pub name: String,
    /// Its purpose, and where to look when it fails.
    pub about: String,
    /// The file; empty for a run without a scenario.
    pub file: String,
    /// How much it weighs. With --strict, every *should* is a *must*.
    #[serde(default)]
    pub grade: Grade,
    /// The target, if the cases run against several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The outcome.
    pub outcome: CaseOutcome,
    /// Why, in sentences.
    pub reasons: Vec<String>,
    /// The expectations, one by one. They follow from the scenario alone, so a skipped case has them too.
    pub checks: Vec<CheckReport>,
    /// The metrics that the case reports, whatever their values are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
    /// The command that runs the case again from the same seed; null if it did not run.
    pub replay: Option<String>,
    /// The run, if there was one. Its verdict is about the bytes; 'outcome' is about what was expected.
    pub run: Option<RunReport>,
    /// The same case straight at the backend, if the target is a proxy (--direct).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<Box<DirectReport>>,
    /// The first and the last lines that the server printed: of a bundled one, to stderr.
    pub server_output: Vec<String>,
}

/// A case straight at the backend of a proxy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct DirectReport {
    /// The backend.
    pub target: String,
    /// The outcome through the proxy, before it was compared with the backend.
    pub through: CaseOutcome,
    /// The outcome at the backend.
    pub outcome: CaseOutcome,
    /// Why, in sentences.
    pub reasons: Vec<String>,
    /// The command that runs it there again; null if it did not run.
    pub replay: Option<String>,
    /// The run at the backend, if there was one.
    pub run: Option<RunReport>,
}

impl CaseReport {
    /// A case that has not run yet.
    pub fn planned(scenario: &Scenario, server: CheckedServer) -> CaseReport {
        CaseReport {
            id: scenario.id.clone(),
            about: scenario.about.clone(),
            file: scenario.path.clone(),
            grade: scenario.expect.grade,
            checks: check::planned(&scenario.expect, scenario.expected_loads(), server),
            ..CaseReport::planned_run(scenario.name.clone(), String::new())
        }
    }

    /// A single run without a scenario that has not run yet. The only expectation is that nothing is wrong.
    pub fn planned_run(name: String, about: String) -> CaseReport {
        CaseReport {
            id: String::new(),
            name,
            about,
            file: String::new(),
            grade: Grade::Must,
            target: None,
            outcome: CaseOutcome::NotRun,
            reasons: Vec::new(),
            checks: check::planned(&Expectations::default(), std::iter::empty(), CheckedServer::Unchecked),
            properties: Vec::new(),
            replay: None,
            run: None,
            direct: None,
            server_output: Vec::new(),
        }
    }

    /// A run without a scenario that has ended.
    pub fn of_run(run: RunReport) -> CaseReport {
        let RunCase { name, replay, outcome, reasons, checks, server_output } = run.as_case();
        let planned = CaseReport::planned_run(name, run.about());
        CaseReport { outcome, reasons, checks, replay, server_output, run: Some(run), ..planned }
    }

    /// The same case with its target, which its name mentions; without one, it stays as it is.
    pub fn at(mut self, target: Option<&str>) -> CaseReport {
        if let Some(target) = target {
            self.name = format!("{} [{target}]", self.name);
            self.target = Some(target.to_owned());
        }
        self
    }

    /// Records the run of the case and its judgement.
    pub fn record_run(&mut self, run: RunReport, judgement: Judgement) {
        let Judgement { checks, properties, outcome, reasons, .. } = judgement;
        (self.checks, self.properties, self.outcome) = (checks, properties, outcome);
        (self.reasons, self.run) = (reasons, Some(run));
    }

    /// Records the outcome of a case that did not run. Its checks have no result.
    pub fn record_no_run(&mut self, outcome: CaseOutcome, reason: impl Into<String>) {
        self.outcome = outcome;
        self.reasons = vec![reason.into()];
        for check in &mut self.checks {
            check.outcome = outcome;
        }
    }

    /// Its id and its name.
    pub fn title(&self) -> String {
        format!("{} {}", self.id, self.name).trim().to_owned()
    }

    /// How long the run took; zero for a case without one.
    pub fn elapsed(&self) -> Duration {
        self.run.as_ref().map(RunReport::elapsed).unwrap_or_default()
    }
}

/// Several cases.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "echo-tester suite report")]
pub struct SuiteReport {
    /// The form of this document.
    pub form: String,
    /// The version of the program.
    pub version: String,
    /// Whether every case has its result, and if not, why.
    pub state: SuiteState,
    /// The exit code of the process. While a case has no result, this is not 0.
    pub exit_code: u8,
    /// All cases that were asked for, in the order of the files, whether or not they have run.
    pub cases: Vec<CaseReport>,
}

impl SuiteReport {
    /// The report of these cases, some of which may have a result.
    pub fn new(cases: Vec<CaseReport>) -> SuiteReport {
        let (form, version) = (FORM.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let mut report = SuiteReport { form, version, state: SuiteState::Incomplete, exit_code: 0, cases };
        report.update(SuiteState::Incomplete);
        report
    }

    /// Records that case `i` has ended.
    pub fn set(&mut self, i: usize, case: CaseReport) {
        self.cases[i] = case;
        self.update(SuiteState::Incomplete);
    }

    /// Records that no further case will start, and why; the cases that are left say so.
    pub fn end(&mut self, why: SuiteState) {
        self.update(why);
    }

    fn update(&mut self, otherwise: SuiteState) {
        let is_complete = self.cases.iter().all(|case| case.outcome != CaseOutcome::NotRun);
        // An interrupt is reported even if there was nothing left to do.
        self.state = if is_complete && otherwise != SuiteState::Interrupted { SuiteState::Complete } else { otherwise };
        for i in 0..self.cases.len() {
            if self.cases[i].outcome == CaseOutcome::NotRun {
                let why = match self.state {
                    SuiteState::NoEcho => self.without_echo(self.cases[i].target.as_deref()),
                    state => state.why_not_run().to_owned(),
                };
                self.cases[i].record_no_run(CaseOutcome::NotRun, why);
            }
        }
        self.exit_code = self.exit().code();
    }

    /// Why the rest of the cases of a target was not run, one of which does not echo: by what its last case saw.
    fn without_echo(&self, target: Option<&str>) -> String {
        let its = || self.cases.iter().filter(|case| case.target.as_deref() == target);
        let runs = || its().filter_map(|case| case.run.as_ref());
        if let Some(answer) = runs().find_map(|run| run.answered.as_ref()) {
            return answer.sentence();
        }
        let has_ended = |case: &&CaseReport| !case.outcome.is_left_out() && case.outcome != CaseOutcome::NotRun;
        match its().rfind(has_ended) {
            // It took connections.
            Some(last) if last.run.is_some() => match its().any(|case| case.run.is_some() && case.outcome.is_good()) {
                true => "it no longer echoes".to_owned(),
                false => "it is no echo server".to_owned(),
            },
            _ => SuiteState::NoServer.why_not_run().to_owned(),
        }
    }

    /// The exit code, as the judge ranks the outcomes.
    pub fn exit(&self) -> Exit {
        suite_exit(self.cases.iter().map(|case| (case.grade, case.outcome)), self.state == SuiteState::Interrupted)
    }

    /// The verdict that the exit code stands for.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.exit())
    }

    /// The number of cases with each outcome, on one line.
    pub fn summary(&self) -> String {
        // Where a case was interrupted, the counts already say so.
        let is_said = self.cases.is_empty() || self.cases.iter().any(|case| case.outcome == CaseOutcome::Interrupted);
        // One target has one reason, which each of its cases has.
        let first = self.cases.iter().find(|case| case.outcome == CaseOutcome::NotRun);
        let own = first.filter(|case| self.state == SuiteState::NoEcho && case.target.is_none());
        let remark = own.and_then(|case| case.reasons.first().cloned());
        let remark = remark.or_else(|| self.state.remark().map(str::to_owned)).filter(|_| !is_said);
        let remark = remark.map_or_else(String::new, |remark| format!(" ({remark})"));
        format!("{}{remark}", SuiteReport::count(self.cases.iter()))
    }

    /// The number of these cases with each outcome, on one line.
    pub(super) fn count<'c>(cases: impl Iterator<Item = &'c CaseReport> + Clone) -> String {
        let count = |outcome: CaseOutcome| cases.clone().filter(|case| case.outcome == outcome).count();
        let counts = OUTCOMES.iter().map(|row| (count(row.outcome), row.counted)).filter(|(n, _)| *n > 0);
        let number = cases.clone().count() as u64;
        // Of a single case no number need say that it is the one.
        let shown = |(n, word): (usize, &str)| match number {
            1 => word.to_owned(),
            _ => format!("{} {word}", grouped(n as u64)),
        };
        match number {
            0 => "no case".to_owned(),
            number => format!("{}: {}", counted(number, "case"), counts.map(shown).collect::<Vec<_>>().join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_gravest_outcome_is_the_exit_code() {
        for (outcomes, code) in [
            (vec![CaseOutcome::Pass, CaseOutcome::Skipped], 0),
            (vec![CaseOutcome::Skipped, CaseOutcome::Skipped], 4),
            (vec![], 4),
            (vec![CaseOutcome::Pass, CaseOutcome::Inconclusive], 4),
            (vec![CaseOutcome::Pass, CaseOutcome::NotRun], 4),
            (vec![CaseOutcome::Inconclusive, CaseOutcome::ThresholdMissed], 3),
            (vec![CaseOutcome::ThresholdMissed, CaseOutcome::NotRun], 3),
            (vec![CaseOutcome::ThresholdMissed, CaseOutcome::Fail], 1),
            (vec![CaseOutcome::Fail, CaseOutcome::Interrupted], 130),
        ] {
            let report = SuiteReport::new(sample::cases(&outcomes));
            assert_eq!((report.exit().code(), report.exit_code), (code, code), "{outcomes:?}");
        }
    }

    #[test]
    fn a_case_without_a_result_is_no_success_and_says_why_it_has_none() {
        let mut report = SuiteReport::new(sample::cases(&[CaseOutcome::NotRun, CaseOutcome::NotRun]));
        let [passed] = &sample::cases(&[CaseOutcome::Pass])[..] else { unreachable!("one in, one out") };
        report.set(0, passed.clone());
        assert_eq!((report.state, report.exit_code), (SuiteState::Incomplete, 4));
        assert_eq!(report.summary(), "2 cases: 1 passed, 1 not run (still running, or broken off)");
        let (stopped, interrupted) = (SuiteState::Stopped, SuiteState::Interrupted);
        let gone = SuiteState::NoServer;
        for (why, code, words) in
            [(stopped, 4, "--fail-fast"), (gone, 4, "not there"), (interrupted, 130, "interrupted")]
        {
            let mut report = report.clone();
            report.end(why);
            assert_eq!((report.state, report.exit_code), (why, code));
            assert!(report.summary().contains(words) && report.cases[1].reasons[0].contains(words));
        }
        report.set(1, passed.clone());
        assert_eq!((report.state, report.exit_code), (SuiteState::Complete, 0));
        report.end(SuiteState::Stopped);
        assert_eq!((report.state, report.exit_code), (SuiteState::Complete, 0), "the last one was the first to fail");
        report.end(SuiteState::Interrupted);
        assert_eq!((report.state, report.exit_code), (SuiteState::Interrupted, 130), "after the last one");
    }

    #[test]
    fn each_outcome_is_counted_in_the_summary() {
        let all = [
            CaseOutcome::Pass,
            CaseOutcome::Fail,
            CaseOutcome::ThresholdMissed,
            CaseOutcome::Weak,
            CaseOutcome::Info,
            CaseOutcome::Stale,
            CaseOutcome::Known,
            CaseOutcome::Expected,
            CaseOutcome::BackendsOwn,
            CaseOutcome::Inconclusive,
            CaseOutcome::Skipped,
            CaseOutcome::Unsupported,
            CaseOutcome::Interrupted,
        ];
        let all = [&all[..], &[CaseOutcome::NotRun]].concat();
        assert_eq!(OUTCOMES.iter().map(|row| row.outcome).collect::<Vec<_>>(), all);
        assert!(SuiteReport::new(sample::cases(&all)).summary().starts_with("14 cases: 1 passed, 1 failed, 1 missed"));
    }
}
