//! Which of several outcomes decides. Pure.
//!
//! There are two rankings, because an interrupt means two things:
//!
//! - **Cases of a suite, servers of a comparison** ([`gravest`]): an interrupt comes first. What comes after it has no
//!   result, and a CI system must not take the exit code for that of the whole. The report still shows each case that
//!   failed.
//! - **Runs of equal weight** ([`worst_run`]): processes of one run, rounds of one server. A failure comes first.
//!   Wrong bytes are a fact that no further run can undo, and the program that started the processes may end all of
//!   them when one has failed.

use super::grade::Grade;
use super::outcome::CaseOutcome;
use super::verdict::Verdict;
use crate::exit::Exit;

/// The first of these that occurs decides. A case without a result is not a success. Cases that were left out count
/// only if there is nothing else.
const GRAVEST_FIRST: [CaseOutcome; 14] = [
    CaseOutcome::Interrupted,
    CaseOutcome::Fail,
    CaseOutcome::Stale,
    CaseOutcome::ThresholdMissed,
    CaseOutcome::Inconclusive,
    CaseOutcome::NotRun,
    CaseOutcome::Weak,
    CaseOutcome::Info,
    CaseOutcome::BackendsOwn,
    CaseOutcome::Known,
    CaseOutcome::Expected,
    CaseOutcome::Pass,
    CaseOutcome::Unsupported,
    CaseOutcome::Skipped,
];

/// The first of these that occurs decides. A threshold is worth less than a verdict that is missing: it was measured in
/// one of the runs alone.
const WORST_RUN_FIRST: [Verdict; 5] =
    [Verdict::Fail, Verdict::Interrupted, Verdict::Inconclusive, Verdict::ThresholdMissed, Verdict::Pass];

/// The gravest of these outcomes; `None` if there are none.
pub fn gravest(outcomes: impl Iterator<Item = CaseOutcome> + Clone) -> Option<CaseOutcome> {
    GRAVEST_FIRST.into_iter().find(|grave| outcomes.clone().any(|outcome| outcome == *grave))
}

/// How the process ends after cases with these grades and outcomes. `interrupted`: the suite as a whole was stopped.
///
/// A case that is no *must* may be inconclusive, and the others still pass: it counts only if it is all there is.
pub fn suite_exit(cases: impl Iterator<Item = (Grade, CaseOutcome)> + Clone, interrupted: bool) -> Exit {
    if interrupted {
        return Exit::Interrupted;
    }
    let is_minor =
        |(grade, outcome): &(Grade, CaseOutcome)| *outcome == CaseOutcome::Inconclusive && !grade.needs_a_result();
    let major = cases.clone().filter(|case| !is_minor(case)).map(|(_, outcome)| outcome);
    let decides = gravest(major).filter(|outcome| !outcome.is_left_out());
    let decides = decides.or_else(|| gravest(cases.map(|(_, outcome)| outcome)));
    decides.map_or(Exit::Inconclusive, CaseOutcome::exit)
}

/// The worst of several runs of equal weight. Without a run, nothing is known.
pub fn worst_run(verdicts: impl Iterator<Item = Verdict> + Clone) -> Verdict {
    let worst = WORST_RUN_FIRST.into_iter().find(|worst| verdicts.clone().any(|verdict| verdict == *worst));
    worst.unwrap_or(Verdict::Inconclusive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::outcome::OUTCOMES;

    #[test]
    fn every_outcome_has_a_rank() {
        for row in OUTCOMES {
            assert_eq!(GRAVEST_FIRST.iter().filter(|ranked| **ranked == row.outcome).count(), 1, "{}", row.name);
        }
        assert_eq!(OUTCOMES.len(), GRAVEST_FIRST.len());
    }

    #[test]
    fn the_gravest_outcome_is_the_exit_code() {
        use CaseOutcome::{
            BackendsOwn, Expected, Fail, Inconclusive, Info, Interrupted, Known, NotRun, Pass, Skipped, Stale,
            ThresholdMissed, Unsupported, Weak,
        };
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
            (vec![Pass, Weak, Info, Unsupported], 0),
            (vec![Unsupported, Skipped], 4),
            (vec![Known, Expected, BackendsOwn, Pass], 0),
            (vec![Known], 0),
            (vec![Known, Stale], 1),
            (vec![Expected, Inconclusive], 4),
        ] {
            let cases = outcomes.iter().map(|outcome| (Grade::Must, *outcome));
            assert_eq!(suite_exit(cases.clone(), false).code(), code, "{outcomes:?}");
            assert_eq!(suite_exit(cases, true).code(), 130, "{outcomes:?}");
        }
    }

    #[test]
    fn a_minor_case_may_be_inconclusive_unless_it_is_all_there_is() {
        use CaseOutcome::{Inconclusive, NotRun, Pass, Skipped};
        let code = |cases: &[(Grade, CaseOutcome)]| suite_exit(cases.iter().copied(), false).code();
        for grade in [Grade::Should, Grade::Info] {
            assert_eq!(code(&[(Grade::Must, Pass), (grade, Inconclusive)]), 0);
            assert_eq!(code(&[(grade, Inconclusive)]), 4);
            assert_eq!(code(&[(Grade::Must, Skipped), (grade, Inconclusive)]), 4, "nothing was judged");
            assert_eq!(code(&[(Grade::Must, Pass), (grade, NotRun)]), 4, "the suite is not complete");
        }
    }

    #[test]
    fn a_failure_of_one_run_outranks_an_interrupt_of_another() {
        let worst = |verdicts: &[Verdict]| worst_run(verdicts.iter().copied());
        assert_eq!(worst(&[Verdict::Interrupted, Verdict::Fail, Verdict::Pass]), Verdict::Fail);
        assert_eq!(worst(&[Verdict::Pass, Verdict::Inconclusive]), Verdict::Inconclusive);
        assert_eq!(worst(&[]), Verdict::Inconclusive);
    }
}
