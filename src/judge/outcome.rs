//! The outcomes of a case, with the words and the exit code of each. Pure.
//!
//! [`OUTCOMES`] is the table. A run's [`Verdict`](super::Verdict) takes its exit code from here; its words, which stand
//! in sentences, are its own. Which of several outcomes decides is said in [`ranking`](super::ranking).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// The outcome of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaseOutcome {
    /// It came out as the scenario expects.
    Pass,
    /// It did not.
    Fail,
    /// Only a threshold was missed.
    ThresholdMissed,
    /// It did not, but it is what a good server does, not what every server must do: a case of the grade *should*.
    Weak,
    /// The case reports a property, and can't fail.
    Info,
    /// It passes, but the list of known failures says that it fails: the list is out of date.
    Stale,
    /// It failed as the list of known failures says.
    Known,
    /// It failed as it had to, given what the user knows of the target.
    Expected,
    /// It failed, but straight at the backend it fails too: the proxy is not to blame.
    BackendsOwn,
    /// Nothing was verified, or the case could not run.
    Inconclusive,
    /// The case does not apply here; the reasons say why.
    Skipped,
    /// This target can't be judged by this case, or not from this machine; the reasons say why.
    Unsupported,
    /// The case was stopped before its end.
    Interrupted,
    /// There is no result: the case has not started yet, or never will; the reasons say which.
    NotRun,
}

/// One row of [`OUTCOMES`].
pub struct OutcomeRow {
    /// The outcome.
    pub outcome: CaseOutcome,
    /// One or two words for people.
    pub name: &'static str,
    /// The words that follow a count in a summary: '3 passed'.
    pub counted: &'static str,
    /// How the process ends if this outcome decides.
    exit: Exit,
}

/// Every outcome, in the order of a summary.
pub const OUTCOMES: &[OutcomeRow] = &[
    OutcomeRow { outcome: CaseOutcome::Pass, name: "pass", counted: "passed", exit: Exit::Pass },
    OutcomeRow { outcome: CaseOutcome::Fail, name: "FAIL", counted: "failed", exit: Exit::VerificationFailed },
    OutcomeRow {
        outcome: CaseOutcome::ThresholdMissed,
        name: "MISSED",
        counted: "missed a threshold",
        exit: Exit::ThresholdMissed,
    },
    OutcomeRow { outcome: CaseOutcome::Weak, name: "weak", counted: "weak", exit: Exit::Pass },
    OutcomeRow { outcome: CaseOutcome::Info, name: "info", counted: "info", exit: Exit::Pass },
    OutcomeRow {
        outcome: CaseOutcome::Stale,
        name: "STALE",
        counted: "stale in the baseline",
        exit: Exit::VerificationFailed,
    },
    OutcomeRow { outcome: CaseOutcome::Known, name: "known", counted: "known to fail", exit: Exit::Pass },
    OutcomeRow { outcome: CaseOutcome::Expected, name: "expected", counted: "failed as expected", exit: Exit::Pass },
    OutcomeRow { outcome: CaseOutcome::BackendsOwn, name: "backend's", counted: "the backend's own", exit: Exit::Pass },
    OutcomeRow {
        outcome: CaseOutcome::Inconclusive,
        name: "inconclusive",
        counted: "inconclusive",
        exit: Exit::Inconclusive,
    },
    OutcomeRow { outcome: CaseOutcome::Skipped, name: "skipped", counted: "skipped", exit: Exit::Inconclusive },
    OutcomeRow {
        outcome: CaseOutcome::Unsupported,
        name: "unsupported",
        counted: "unsupported",
        exit: Exit::Inconclusive,
    },
    OutcomeRow {
        outcome: CaseOutcome::Interrupted,
        name: "interrupted",
        counted: "interrupted",
        exit: Exit::Interrupted,
    },
    OutcomeRow { outcome: CaseOutcome::NotRun, name: "not run", counted: "not run", exit: Exit::Inconclusive },
];

impl CaseOutcome {
    /// Whether nothing is wrong that counts: the case passed, reports a property, does not apply, or its failure is
    /// excused.
    pub fn is_good(self) -> bool {
        matches!(self, CaseOutcome::Pass | CaseOutcome::Info) || self.is_left_out() || self.is_excused()
    }

    /// Whether the case did not run because it does not apply.
    pub fn is_left_out(self) -> bool {
        matches!(self, CaseOutcome::Skipped | CaseOutcome::Unsupported)
    }

    /// Whether the case failed, and does not fail the run.
    pub fn is_excused(self) -> bool {
        matches!(self, CaseOutcome::Known | CaseOutcome::Expected | CaseOutcome::BackendsOwn)
    }

    /// One or two words for people.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The exit code that says the same.
    pub fn exit(self) -> Exit {
        self.row().exit
    }

    fn row(self) -> &'static OutcomeRow {
        OUTCOMES.iter().find(|row| row.outcome == self).expect("every outcome has a row: a test walks them")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_one_row() {
        for row in OUTCOMES {
            assert_eq!(OUTCOMES.iter().filter(|other| other.outcome == row.outcome).count(), 1, "{:?}", row.outcome);
        }
        // A new outcome does not compile here without a look at the table.
        for outcome in OUTCOMES.iter().map(|row| row.outcome) {
            match outcome {
                CaseOutcome::Pass
                | CaseOutcome::Fail
                | CaseOutcome::ThresholdMissed
                | CaseOutcome::Weak
                | CaseOutcome::Info
                | CaseOutcome::Stale
                | CaseOutcome::Known
                | CaseOutcome::Expected
                | CaseOutcome::BackendsOwn
                | CaseOutcome::Inconclusive
                | CaseOutcome::Skipped
                | CaseOutcome::Unsupported
                | CaseOutcome::Interrupted
                | CaseOutcome::NotRun => assert_eq!(outcome.row().outcome, outcome),
            }
        }
        assert_eq!(OUTCOMES.len(), 14);
    }
}
