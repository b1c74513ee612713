//! The outcomes of a case, how they outrank each other, and the exit code of each. Pure.
//!
//! [`OUTCOMES`] is the one place where an outcome gets its words and its exit code; a run's [`Verdict`](super::Verdict)
//! takes both from here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// The outcome of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Came")]
pub enum CaseOutcome {
    /// It came out as the scenario expects.
    Pass,
    /// It did not.
    Fail,
    /// Only a threshold was missed.
    ThresholdMissed,
    /// Nothing was verified, or the case could not run.
    Inconclusive,
    /// The case does not apply here; the reasons say why.
    Skipped,
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
    /// How the process ends if this is the gravest outcome.
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
    OutcomeRow {
        outcome: CaseOutcome::Inconclusive,
        name: "inconclusive",
        counted: "inconclusive",
        exit: Exit::Inconclusive,
    },
    OutcomeRow { outcome: CaseOutcome::Skipped, name: "skipped", counted: "skipped", exit: Exit::Inconclusive },
    OutcomeRow {
        outcome: CaseOutcome::Interrupted,
        name: "interrupted",
        counted: "interrupted",
        exit: Exit::Interrupted,
    },
    OutcomeRow { outcome: CaseOutcome::NotRun, name: "not run", counted: "not run", exit: Exit::Inconclusive },
];

/// The first of these that occurs decides. Skipped cases count only if there is nothing else, and a case without a
/// result is no success.
const GRAVEST_FIRST: [CaseOutcome; 7] = [
    CaseOutcome::Interrupted,
    CaseOutcome::Fail,
    CaseOutcome::ThresholdMissed,
    CaseOutcome::Inconclusive,
    CaseOutcome::NotRun,
    CaseOutcome::Pass,
    CaseOutcome::Skipped,
];

impl CaseOutcome {
    /// Whether there is nothing to report: the case passed, or does not apply.
    pub fn is_good(self) -> bool {
        matches!(self, CaseOutcome::Pass | CaseOutcome::Skipped)
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

/// The gravest of these outcomes; `None` if there are none.
pub fn gravest(outcomes: impl Iterator<Item = CaseOutcome> + Clone) -> Option<CaseOutcome> {
    GRAVEST_FIRST.into_iter().find(|grave| outcomes.clone().any(|outcome| outcome == *grave))
}

/// How the process ends after cases with these outcomes. `interrupted`: the suite as a whole was stopped.
pub fn suite_exit(outcomes: impl Iterator<Item = CaseOutcome> + Clone, interrupted: bool) -> Exit {
    if interrupted {
        return Exit::Interrupted;
    }
    gravest(outcomes).map_or(Exit::Inconclusive, CaseOutcome::exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_row_and_a_rank() {
        for outcome in GRAVEST_FIRST {
            assert_eq!(OUTCOMES.iter().filter(|row| row.outcome == outcome).count(), 1, "{outcome:?}");
            assert_eq!(outcome.row().outcome, outcome);
        }
        assert_eq!(OUTCOMES.len(), GRAVEST_FIRST.len());
    }

    #[test]
    fn the_gravest_outcome_is_the_exit_code() {
        use CaseOutcome::{Fail, Inconclusive, Interrupted, NotRun, Pass, Skipped, ThresholdMissed};
        for (outcomes, code) in [
            (vec![Pass, Skipped], 0),
            (vec![Skipped, Skipped], 4),
            (vec![], 4),
            (vec![Pass, Inconclusive], 4),
            (vec![Pass, NotRun], 4),
            (vec![Inconclusive, ThresholdMissed], 3),
            (vec![ThresholdMissed, NotRun], 3),
            (vec![ThresholdMissed, Fail], 1),
            (vec![Fail, Interrupted], 130),
        ] {
            assert_eq!(suite_exit(outcomes.iter().copied(), false).code(), code, "{outcomes:?}");
            assert_eq!(suite_exit(outcomes.iter().copied(), true).code(), 130, "{outcomes:?}");
        }
    }
}
