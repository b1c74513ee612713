//! Several scenarios as data: what `run --json` and `check --json` write, and the lines that the terminal shows.
//!
//! The JSON Schema of [`SuiteReport`] is published by `echo-tester schema suite`.

use std::fmt::Write as _;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{self, CheckReport};
use super::run::RunReport;
use super::{show_bytes, show_time, terminal, visible};
use crate::exit::Exit;
use crate::scenario::{Expected, Scenario};

/// The form of the JSON report. It changes when a reader of the old form would misread the new one.
pub const FORM: &str = "echo-tester/suite/1";

/// How many lines of a server's output documents show people; JSON and JUnit hold all of it.
const OUTPUT_LINES: usize = 50;
/// How many the terminal shows, where the server has ended by itself.
const LAST_LINES: usize = 10;
/// And how much of each.
const OUTPUT_COLUMNS: usize = 500;
/// How many findings of a load group the terminal shows of a case.
const FINDINGS: usize = 3;

/// What a case came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Came {
    /// It came out as the scenario says.
    Pass,
    /// It did not.
    Fail,
    /// It did, but for a threshold.
    ThresholdMissed,
    /// Nothing was verified, or it could not run.
    Inconclusive,
    /// It does not apply here; the reasons say why.
    Skipped,
    /// It was stopped before its end.
    Interrupted,
    /// There is no result of it: its turn has not come, or never will; the reasons say which.
    NotRun,
}

/// What each comes to, in the order of a summary, and the words for how many did.
const SUMMARY: &[(Came, &str)] = &[
    (Came::Pass, "passed"),
    (Came::Fail, "failed"),
    (Came::ThresholdMissed, "missed a threshold"),
    (Came::Inconclusive, "inconclusive"),
    (Came::Skipped, "skipped"),
    (Came::Interrupted, "interrupted"),
    (Came::NotRun, "not run"),
];

impl Came {
    /// Whether nothing is to be said of it: it is right, or does not apply.
    pub fn is_good(self) -> bool {
        matches!(self, Came::Pass | Came::Skipped)
    }

    /// One or two words for people.
    pub fn name(self) -> &'static str {
        match self {
            Came::Pass => "pass",
            Came::Fail => "FAIL",
            Came::ThresholdMissed => "MISSED",
            Came::Inconclusive => "inconclusive",
            Came::Skipped => "skipped",
            Came::Interrupted => "interrupted",
            Came::NotRun => "not run",
        }
    }
}

/// How far a suite has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// There are cases without a result: it still runs, or it broke off.
    Incomplete,
    /// Every case has its result.
    Complete,
    /// It ended at the first case that did not pass, as asked for by --fail-fast.
    Stopped,
    /// Somebody ended it.
    Interrupted,
}

impl State {
    /// What people have to know of it beside the counts.
    fn remark(self) -> Option<&'static str> {
        match self {
            State::Complete => None,
            State::Incomplete => Some("still running, or broken off"),
            State::Stopped => Some("stopped by --fail-fast"),
            State::Interrupted => Some("interrupted"),
        }
    }

    /// Why a case that is left has no result.
    fn why_not_run(self) -> &'static str {
        match self {
            State::Incomplete | State::Complete => "there is no result yet: it still runs, or it broke off",
            State::Stopped => "--fail-fast: a case before it did not pass",
            State::Interrupted => "interrupted before it began",
        }
    }
}

/// One scenario.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseReport {
    /// Its stable address, such as 4.1; may be empty.
    pub id: String,
    /// What it is about, in a few words.
    pub name: String,
    /// What it proves, and what to look at when it fails.
    pub about: String,
    /// The file; empty for a run that is no scenario.
    pub file: String,
    /// What it came to.
    pub outcome: Came,
    /// Why, in sentences.
    pub reasons: Vec<String>,
    /// What was expected, one by one. They follow from the scenario alone: a case that was skipped has them too.
    pub checks: Vec<CheckReport>,
    /// The command that runs it again, from the same seed; null if it did not run.
    pub replay: Option<String>,
    /// The run, if there was one. Its verdict is that of the bytes; 'outcome' is that of what was expected.
    pub run: Option<RunReport>,
    /// What the bundled server said on stderr.
    pub server_output: Vec<String>,
}

impl CaseReport {
    /// A case of which nothing has been seen yet. `has_server`: it is run against a server of its own.
    pub fn planned(scenario: &Scenario, has_server: bool) -> CaseReport {
        CaseReport {
            id: scenario.id.clone(),
            about: scenario.about.clone(),
            file: scenario.path.clone(),
            checks: check::planned(scenario, has_server),
            ..CaseReport::planned_run(scenario.name.clone(), String::new())
        }
    }

    /// A single run that is no scenario, and of which nothing has been seen yet. All that is expected is that nothing
    /// is wrong.
    pub fn planned_run(name: String, about: String) -> CaseReport {
        CaseReport {
            id: String::new(),
            name,
            about,
            file: String::new(),
            outcome: Came::NotRun,
            reasons: Vec::new(),
            checks: vec![check::planned_verdict(Expected::Pass)],
            replay: None,
            run: None,
            server_output: Vec::new(),
        }
    }

    /// The single run has ended.
    #[must_use]
    pub fn with_run(self, replay: String, run: RunReport) -> CaseReport {
        let checks = vec![check::verdict(Expected::Pass, &run)];
        let (outcome, reasons) = check::outcome(&checks, &run);
        CaseReport { outcome, reasons, checks, replay: Some(replay), run: Some(run), ..self }
    }

    /// It came to this without a run, for this reason: nothing is known of what was expected.
    pub fn without_run(&mut self, outcome: Came, reason: impl Into<String>) {
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

    /// How long the run took; nothing for a case without one.
    pub fn elapsed(&self) -> Duration {
        self.run.as_ref().map(RunReport::elapsed).unwrap_or_default()
    }

    /// What tables show of it beside its name.
    pub(super) fn figures(&self) -> CaseFigures {
        let Some(run) = &self.run else { return CaseFigures::default() };
        // Percentiles of several groups can't be added up: the slowest group is what a reader should see.
        let rtt_p99 = run.loads.iter().filter_map(|load| load.rtt.p99_ns).max();
        CaseFigures {
            time: show_time(run.elapsed()),
            verified: show_bytes(run.total.bytes_verified as f64),
            rtt_p99: terminal::nanos(rtt_p99),
        }
    }
}

/// LoadStats of a case as a table shows them; empty where there was no run.
#[derive(Default)]
pub(super) struct CaseFigures {
    /// How long the run took.
    pub(super) time: String,
    /// Bytes that were verified.
    pub(super) verified: String,
    /// Of the slowest load group.
    pub(super) rtt_p99: String,
}

/// The end of what the server said.
pub(super) fn server_output(case: &CaseReport) -> String {
    let first = case.server_output.len().saturating_sub(OUTPUT_LINES);
    let lines: Vec<String> =
        case.server_output[first..].iter().map(|line| line.chars().take(OUTPUT_COLUMNS).collect()).collect();
    match first {
        0 => lines.join("\n"),
        _ => format!("({first} lines before)\n{}", lines.join("\n")),
    }
}

/// Several scenarios.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "echo-tester suite report")]
pub struct SuiteReport {
    /// The form of this document.
    pub form: String,
    /// The version of the program.
    pub version: String,
    /// Whether every case has its result, and if not, why.
    pub state: State,
    /// What the process returns for it. As long as there is a case without a result, it is not 0.
    pub exit_code: u8,
    /// The scenarios, in the order of the files: all that were asked for, from the beginning on.
    pub cases: Vec<CaseReport>,
}

impl SuiteReport {
    /// The report of these cases, some of which may have ended.
    pub fn new(cases: Vec<CaseReport>) -> SuiteReport {
        let (form, version) = (FORM.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let mut report = SuiteReport { form, version, state: State::Incomplete, exit_code: 0, cases };
        report.update(State::Incomplete);
        report
    }

    /// Case `i` has ended.
    pub fn set(&mut self, i: usize, case: CaseReport) {
        self.cases[i] = case;
        self.update(State::Incomplete);
    }

    /// No case is begun any more, for this reason; those that are left say so.
    pub fn end(&mut self, why: State) {
        self.update(why);
    }

    fn update(&mut self, otherwise: State) {
        let is_complete = self.cases.iter().all(|case| case.outcome != Came::NotRun);
        // Who has interrupted it is told so even if there was nothing left to do.
        self.state = if is_complete && otherwise != State::Interrupted { State::Complete } else { otherwise };
        for case in self.cases.iter_mut().filter(|case| case.outcome == Came::NotRun) {
            case.without_run(Came::NotRun, self.state.why_not_run());
        }
        self.exit_code = self.exit().code();
    }

    /// The exit code: the gravest thing that happened. Skipped cases count only if there was nothing else, and a case
    /// without a result is no success.
    pub fn exit(&self) -> Exit {
        let any = |came: Came| self.cases.iter().any(|case| case.outcome == came);
        match () {
            () if self.state == State::Interrupted || any(Came::Interrupted) => Exit::Interrupted,
            () if any(Came::Fail) => Exit::VerificationFailed,
            () if any(Came::ThresholdMissed) => Exit::ThresholdMissed,
            () if any(Came::Inconclusive) || any(Came::NotRun) || !any(Came::Pass) => Exit::Inconclusive,
            () => Exit::Pass,
        }
    }

    /// How many came to what, in a line.
    pub fn summary(&self) -> String {
        let count = |came: Came| self.cases.iter().filter(|case| case.outcome == came).count();
        let counts = SUMMARY.iter().map(|(came, word)| (count(*came), word)).filter(|(n, _)| *n > 0);
        let counts: Vec<String> = counts.map(|(n, word)| format!("{n} {word}")).collect();
        let cases = match self.cases.len() {
            0 => return "no case".to_owned(),
            1 => "1 case".to_owned(),
            n => format!("{n} cases"),
        };
        // Where a case was interrupted, the count says so.
        let remark = self.state.remark().filter(|_| count(Came::Interrupted) == 0);
        let remark = remark.map_or_else(String::new, |remark| format!(" ({remark})"));
        format!("{cases}: {}{remark}", counts.join(", "))
    }

    /// The last lines: the summary, and which cases did not pass. Those that were not run are no news one by one.
    pub fn last_lines(&self) -> String {
        let mut text = self.summary();
        for case in self.cases.iter().filter(|case| !case.outcome.is_good() && case.outcome != Came::NotRun) {
            let _ = write!(text, "\n  {:<12} {}", case.outcome.name(), case.title());
        }
        visible(&text)
    }
}

/// A case as it is shown when it ends: a line, and if it did not pass why, which load did what, what was found, how to
/// run it again, and what to look at.
pub fn line(case: &CaseReport) -> String {
    let elapsed = case.run.as_ref().map_or_else(String::new, |run| format!(" ({})", show_time(run.elapsed())));
    let mut text = format!("{:<12} {:<4} {}{elapsed}", case.outcome.name(), case.id, case.name);
    let mut parts: Vec<String> = Vec::new();
    if case.outcome != Came::Pass {
        parts.extend(case.reasons.iter().map(|reason| said_within(reason)));
    }
    parts.extend(not_looked_at(case));
    if !case.outcome.is_good() {
        parts.extend(last_words(case));
        parts.extend(case.run.iter().filter(|run| run.loads.len() > 1).map(terminal::groups));
        let loads = case.run.iter().flat_map(|run| &run.loads);
        parts.extend(loads.map(|load| terminal::findings(load, FINDINGS)));
        parts.extend(case.replay.as_ref().map(|replay| format!("replay: {replay}")));
        parts.push(case.about.clone());
    }
    for line in parts.iter().flat_map(|part| part.trim_end().lines()) {
        // GitHub Actions takes a line for a command whatever blanks stand before it.
        let mark = if line.trim_start().starts_with("::") { "| " } else { "" };
        text.push('\n');
        text.push_str(format!("    {mark}{line}").trim_end());
    }
    visible(&text)
}

/// The checks that were skipped although the case ran.
fn not_looked_at(case: &CaseReport) -> Option<String> {
    let skipped = case.checks.iter().filter(|check| case.run.is_some() && check.outcome == Came::Skipped);
    let names: Vec<&str> = skipped.map(|check| check.name.as_str()).collect();
    (!names.is_empty()).then(|| format!("not looked at: {} ({})", names.join(", "), check::OF_THE_WHOLE))
}

/// A reason, in which the further lines are those of somebody else: they are marked.
fn said_within(reason: &str) -> String {
    let mut lines = reason.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    lines.map(|line| line.trim_start().trim_start_matches("| ")).fold(first, |text, line| format!("{text}\n| {line}"))
}

/// The end of what a server said that has ended by itself: there its reason stands, if anywhere. What one said that did
/// not start is in the reasons.
fn last_words(case: &CaseReport) -> Option<String> {
    let died = |check: &CheckReport| check.name == check::SERVER && check.outcome == Came::Fail;
    if case.run.is_none() || !case.checks.iter().any(died) {
        return None;
    }
    let first = case.server_output.len().saturating_sub(LAST_LINES);
    let lines = case.server_output[first..].iter().map(|line| line.chars().take(OUTPUT_COLUMNS).collect::<String>());
    Some(match case.server_output.is_empty() {
        true => "the server said nothing".to_owned(),
        false => lines.fold("the server said:".to_owned(), |text, line| format!("{text}\n| {line}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(outcomes: &[Came]) -> Vec<CaseReport> {
        let case = |outcome: &Came| CaseReport {
            id: "1.1".to_owned(),
            name: "n".to_owned(),
            about: "Look there.\n".to_owned(),
            file: "a.toml".to_owned(),
            outcome: *outcome,
            reasons: vec!["why".to_owned()],
            checks: Vec::new(),
            replay: Some("again".to_owned()),
            run: None,
            server_output: Vec::new(),
        };
        outcomes.iter().map(case).collect()
    }

    #[test]
    fn the_gravest_outcome_is_the_exit_code() {
        for (outcomes, code) in [
            (vec![Came::Pass, Came::Skipped], 0),
            (vec![Came::Skipped, Came::Skipped], 4),
            (vec![], 4),
            (vec![Came::Pass, Came::Inconclusive], 4),
            (vec![Came::Pass, Came::NotRun], 4),
            (vec![Came::Inconclusive, Came::ThresholdMissed], 3),
            (vec![Came::ThresholdMissed, Came::NotRun], 3),
            (vec![Came::ThresholdMissed, Came::Fail], 1),
            (vec![Came::Fail, Came::Interrupted], 130),
        ] {
            let report = SuiteReport::new(cases(&outcomes));
            assert_eq!((report.exit().code(), report.exit_code), (code, code), "{outcomes:?}");
        }
    }

    #[test]
    fn what_is_not_there_yet_is_no_success_and_why_it_never_comes_is_said() {
        let mut report = SuiteReport::new(cases(&[Came::NotRun, Came::NotRun]));
        let [passed] = &cases(&[Came::Pass])[..] else { unreachable!("one in, one out") };
        report.set(0, passed.clone());
        assert_eq!((report.state, report.exit_code), (State::Incomplete, 4));
        assert_eq!(report.summary(), "2 cases: 1 passed, 1 not run (still running, or broken off)");
        for (why, code, words) in [(State::Stopped, 4, "--fail-fast"), (State::Interrupted, 130, "interrupted")] {
            let mut report = report.clone();
            report.end(why);
            assert_eq!((report.state, report.exit_code), (why, code));
            assert!(report.summary().contains(words) && report.cases[1].reasons[0].contains(words));
        }
        report.set(1, passed.clone());
        assert_eq!((report.state, report.exit_code), (State::Complete, 0));
        report.end(State::Stopped);
        assert_eq!((report.state, report.exit_code), (State::Complete, 0), "the last one was the first to fail");
        report.end(State::Interrupted);
        assert_eq!((report.state, report.exit_code), (State::Interrupted, 130), "after the last one");
    }

    #[test]
    fn each_outcome_has_its_word_in_the_summary() {
        let all = [Came::Pass, Came::Fail, Came::ThresholdMissed, Came::Inconclusive, Came::Skipped, Came::Interrupted];
        let all = [&all[..], &[Came::NotRun]].concat();
        assert_eq!(SUMMARY.iter().map(|(came, _)| *came).collect::<Vec<_>>(), all);
        assert!(SuiteReport::new(cases(&all)).summary().starts_with("7 cases: 1 passed, 1 failed, 1 missed"));
    }

    #[test]
    fn what_a_server_said_stands_apart_and_does_nothing_to_a_terminal_or_a_log() {
        let mut case = super::super::sample::fail();
        case.name = "\u{1b}[2Jcleared".to_owned();
        case.about = "::warning::about".to_owned();
        case.reasons = vec!["it did not start; it said:\n      ::error::a\n      ##[error]b\u{1b}[31m".to_owned()];
        let server = |outcome| CheckReport { name: check::SERVER.to_owned(), outcome, ..case.checks[0].clone() };
        let (died, alive) = (server(Came::Fail), server(Came::Pass));
        case.server_output = (0..12).map(|n| format!("  ::error::line {n}")).collect();
        case.checks.push(died);
        let text = line(&case);
        assert!(text.starts_with("FAIL         4.1  \\u{1b}[2Jcleared"), "{text}");
        assert!(text.contains("it said:\n    | ::error::a\n    | ## [error]b\\u{1b}[31m\n"), "{text}");
        assert!(text.contains("the server said:\n    |   ::error::line 2\n") && !text.contains("line 1\n"), "{text}");
        assert!(text.contains("    | ::warning::about"), "{text}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("::")), "{text}");
        case.checks.pop();
        case.checks.push(alive);
        assert!(!line(&case).contains("line 11"), "it has not died");
    }

    #[test]
    fn what_was_not_looked_at_in_a_part_of_a_run_is_said_even_if_it_passed() {
        let mut case = super::super::sample::missed();
        case.outcome = Came::Pass;
        case.checks[1].outcome = Came::Skipped;
        let text = line(&case);
        assert!(
            text.ends_with(
                "\n    not looked at: messages > 1k (about the whole run, of which --only-conn or --shard \
                               runs a part)"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_case_that_passed_is_one_line_and_another_says_why() {
        let [passed, failed] = &cases(&[Came::Pass, Came::Fail])[..] else { unreachable!("two in, two out") };
        assert_eq!(line(passed), "pass         1.1  n");
        assert_eq!(line(failed), "FAIL         1.1  n\n    why\n    replay: again\n    Look there.");
        let report = SuiteReport::new(cases(&[Came::Pass, Came::Pass, Came::Skipped]));
        assert_eq!(report.summary(), "3 cases: 2 passed, 1 skipped");
        assert_eq!(SuiteReport::new(cases(&[Came::Fail])).summary(), "1 case: 1 failed");
    }
}
