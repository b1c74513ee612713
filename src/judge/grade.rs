//! How much a case weighs: whether its failure fails the suite. Pure.
//!
//! The grades follow the requirement words of RFC 2119, as those of h2spec and Autobahn do: a *must* is what the
//! protocol demands, a *should* is what a good server does, an *info* is a property that the report tells.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outcome::CaseOutcome;

/// How much a case weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// A failure fails the suite.
    #[default]
    Must,
    /// A failure is reported. It fails the suite only with --strict.
    Should,
    /// It can't fail: it reports a property.
    Info,
}

/// One row of [`GRADES`].
pub struct GradeRow {
    /// The grade.
    pub grade: Grade,
    /// The word for it in a scenario file and in reports.
    pub name: &'static str,
    /// What it means, in one sentence.
    pub meaning: &'static str,
    /// What takes the place of a failure or a missed threshold; none: it stays what it is.
    unmet: Option<CaseOutcome>,
}

/// Every grade, the gravest first.
pub const GRADES: &[GradeRow] = &[
    GradeRow { grade: Grade::Must, name: "must", meaning: "a failure fails the suite", unmet: None },
    GradeRow {
        grade: Grade::Should,
        name: "should",
        meaning: "a failure is reported as 'weak', and fails the suite only with --strict",
        unmet: Some(CaseOutcome::Weak),
    },
    GradeRow {
        grade: Grade::Info,
        name: "info",
        meaning: "the case can't fail: it reports a property of the server",
        unmet: Some(CaseOutcome::Info),
    },
];

impl Grade {
    /// The word for it in a scenario file and in reports.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The grade that counts: with `strict`, a *should* is a *must*.
    pub fn in_force(self, strict: bool) -> Grade {
        if strict && self == Grade::Should { Grade::Must } else { self }
    }

    /// Whether a case without a conclusive result keeps the suite from passing.
    pub(super) fn needs_a_result(self) -> bool {
        self == Grade::Must
    }

    fn row(self) -> &'static GradeRow {
        GRADES.iter().find(|row| row.grade == self).expect("every grade has a row: a test walks them")
    }

    /// The outcome of a check, or of a case, of this grade.
    pub(super) fn weighed(self, outcome: CaseOutcome) -> CaseOutcome {
        match outcome {
            CaseOutcome::Fail | CaseOutcome::ThresholdMissed => self.row().unmet.unwrap_or(outcome),
            _ => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grade_has_one_row_and_its_word_is_that_of_the_file() {
        for grade in [Grade::Must, Grade::Should, Grade::Info] {
            assert_eq!(GRADES.iter().filter(|row| row.grade == grade).count(), 1);
            assert_eq!(serde_json::to_value(grade).expect("a word"), grade.name());
            assert!(!grade.row().meaning.is_empty() && !grade.row().meaning.ends_with('.'));
        }
        assert_eq!(GRADES.len(), 3);
    }

    #[test]
    fn a_should_becomes_a_must_when_the_run_is_strict_and_an_info_never_does() {
        let in_force = |strict| GRADES.iter().map(|row| row.grade.in_force(strict)).collect::<Vec<_>>();
        assert_eq!(in_force(false), [Grade::Must, Grade::Should, Grade::Info]);
        assert_eq!(in_force(true), [Grade::Must, Grade::Must, Grade::Info]);
    }
}
