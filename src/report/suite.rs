//! Several scenarios as data: what `run --json` and `check --json` write, and the lines that the terminal shows.
//!
//! The JSON Schema of [`SuiteReport`] is published by `echo-tester schema suite`.

use std::fmt::Write as _;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{self, CheckReport};
use super::run::RunReport;
use super::{show_bytes, show_time, terminal};
use crate::exit::Exit;
use crate::scenario::{Expected, Scenario};

/// The form of the JSON report. It changes when a reader of the old form would misread the new one.
pub const FORM: &str = "echo-tester/suite/1";

/// How many lines of a server's output people are shown; JSON and JUnit hold all of it.
const OUTPUT_LINES: usize = 50;
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
}

impl Came {
    /// One or two words for people.
    pub fn name(self) -> &'static str {
        match self {
            Came::Pass => "pass",
            Came::Fail => "FAIL",
            Came::ThresholdMissed => "MISSED",
            Came::Inconclusive => "inconclusive",
            Came::Skipped => "skipped",
            Came::Interrupted => "interrupted",
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
            name: scenario.name.clone(),
            about: scenario.about.clone(),
            file: scenario.path.clone(),
            outcome: Came::Skipped,
            reasons: Vec::new(),
            checks: check::planned(scenario, has_server),
            replay: None,
            run: None,
            server_output: Vec::new(),
        }
    }

    /// A single run that is no scenario: all that is expected is that nothing is wrong.
    pub fn of_run(name: String, replay: String, run: RunReport) -> CaseReport {
        let checks = vec![check::verdict(Expected::Pass, &run)];
        let (outcome, reasons) = check::outcome(&checks, &run);
        CaseReport {
            id: String::new(),
            name,
            about: String::new(),
            file: String::new(),
            outcome,
            reasons,
            checks,
            replay: Some(replay),
            run: Some(run),
            server_output: Vec::new(),
        }
    }

    /// It could not run: nothing is known of what was expected.
    pub fn could_not_run(&mut self, reason: String) {
        self.outcome = Came::Inconclusive;
        self.reasons.push(reason);
        for check in &mut self.checks {
            check.outcome = Came::Inconclusive;
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

/// Figures of a case as a table shows them; empty where there was no run.
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
    /// What the process returns for it.
    pub exit_code: u8,
    /// The scenarios, in the order in which they ran.
    pub cases: Vec<CaseReport>,
}

impl SuiteReport {
    /// The report of these cases.
    pub fn new(cases: Vec<CaseReport>) -> SuiteReport {
        let exit_code = exit(&cases).code();
        SuiteReport { form: FORM.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), exit_code, cases }
    }

    /// One more case has ended, which belongs at this place.
    pub fn insert(&mut self, at: usize, case: CaseReport) {
        self.cases.insert(at, case);
        self.exit_code = exit(&self.cases).code();
    }

    /// How many came to what, in a line.
    pub fn summary(&self) -> String {
        let all = [Came::Pass, Came::Fail, Came::ThresholdMissed, Came::Inconclusive, Came::Skipped, Came::Interrupted];
        let words = ["passed", "failed", "missed a threshold", "inconclusive", "skipped", "interrupted"];
        let count = |came: Came| self.cases.iter().filter(|case| case.outcome == came).count();
        let counts = all.iter().zip(words).map(|(came, word)| (count(*came), word)).filter(|(n, _)| *n > 0);
        let counts: Vec<String> = counts.map(|(n, word)| format!("{n} {word}")).collect();
        match self.cases.len() {
            0 => "no case has ended".to_owned(),
            1 => format!("1 case: {}", counts.join(", ")),
            n => format!("{n} cases: {}", counts.join(", ")),
        }
    }

    /// The last lines: the summary, and which cases did not pass.
    pub fn last_lines(&self) -> String {
        let mut text = self.summary();
        for case in self.cases.iter().filter(|case| !matches!(case.outcome, Came::Pass | Came::Skipped)) {
            let _ = write!(text, "\n  {:<12} {}", case.outcome.name(), case.title());
        }
        text
    }
}

/// The exit code: the gravest thing that happened. Skipped cases count only if there was nothing else.
pub fn exit(cases: &[CaseReport]) -> Exit {
    let any = |came: Came| cases.iter().any(|case| case.outcome == came);
    match () {
        () if any(Came::Interrupted) => Exit::Interrupted,
        () if any(Came::Fail) => Exit::VerificationFailed,
        () if any(Came::ThresholdMissed) => Exit::ThresholdMissed,
        () if any(Came::Inconclusive) || !any(Came::Pass) => Exit::Inconclusive,
        () => Exit::Pass,
    }
}

/// A case as it is shown when it ends: a line, and if it did not pass why, which load did what, what was found, how to
/// run it again, and what to look at.
pub fn line(case: &CaseReport) -> String {
    let elapsed = case.run.as_ref().map_or_else(String::new, |run| format!(" ({})", show_time(run.elapsed())));
    let mut text = format!("{:<12} {:<4} {}{elapsed}", case.outcome.name(), case.id, case.name);
    if case.outcome == Came::Pass {
        return text;
    }
    let mut parts = vec![case.reasons.join("\n")];
    if case.outcome != Came::Skipped {
        parts.extend(case.run.iter().filter(|run| run.loads.len() > 1).map(terminal::groups));
        let loads = case.run.iter().flat_map(|run| &run.loads);
        parts.extend(loads.map(|load| terminal::findings(load, FINDINGS)));
        parts.extend(case.replay.as_ref().map(|replay| format!("replay: {replay}")));
        parts.push(case.about.clone());
    }
    for line in parts.iter().flat_map(|part| part.trim_end().lines()) {
        text.push('\n');
        text.push_str(format!("    {line}").trim_end());
    }
    text
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
            (vec![Came::Inconclusive, Came::ThresholdMissed], 3),
            (vec![Came::ThresholdMissed, Came::Fail], 1),
            (vec![Came::Fail, Came::Interrupted], 130),
        ] {
            assert_eq!(exit(&cases(&outcomes)).code(), code, "{outcomes:?}");
        }
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
