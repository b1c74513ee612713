//! What the grade of a case makes of its checks. Pure.
//!
//! Two things are no matter of grade: a stream that is not exact, and a server that is gone.

use super::check::CheckReport;
use super::grade::Grade;
use super::outcome::CaseOutcome;
use crate::measure::Counters;
use crate::stream::FindingKind;

/// Whether a run fails its case whatever the grade of the case is: bytes were wrong that the case did not ask for. A
/// server may end or delay a connection for reasons of its own, which may be a property; a stream that is not exact is
/// none.
fn is_grave(total: &Counters, expected: &[FindingKind]) -> bool {
    total.findings.keys().any(|kind| kind.is_of_bytes() && !expected.contains(kind))
}

/// Gives the checks of a case the outcomes that its grade gives them. A server that died or does not serve any more is
/// never excused, and nothing is where bytes were wrong: the sentence says so.
pub(super) fn weigh(
    checks: &mut [CheckReport],
    grade: Grade,
    total: &Counters,
    expected: &[FindingKind],
) -> Option<String> {
    if is_grave(total, expected) {
        let name = grade.name();
        let is_excused = |check: &CheckReport| grade.weighed(check.outcome) != check.outcome;
        return checks
            .iter()
            .any(is_excused)
            .then(|| format!("wrong bytes fail the run even in a case of the grade '{name}': a stream must be exact"));
    }
    for check in checks.iter_mut().filter(|check| !check.is_of_server()) {
        check.outcome = grade.weighed(check.outcome);
    }
    None
}

/// The outcome of a case of this grade: one that reports a property and found nothing wrong is *info*, not *pass*.
pub(super) fn outcome_of_case(grade: Grade, outcome: CaseOutcome) -> CaseOutcome {
    if grade == Grade::Info && outcome == CaseOutcome::Pass { CaseOutcome::Info } else { outcome }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::FINDING_KINDS;

    #[test]
    fn wrong_bytes_are_grave_and_a_slow_or_closed_connection_is_not() {
        let grave = |kind| {
            let mut total = Counters::default();
            total.found(kind);
            (is_grave(&total, &[]), is_grave(&total, &[kind]))
        };
        let kinds = FINDING_KINDS.iter().map(|row| row.kind);
        let of_bytes: Vec<_> = kinds.filter(|kind| grave(*kind).0).map(FindingKind::name).collect();
        assert_eq!(of_bytes, ["corrupt", "lost", "duplicated", "reordered", "crosstalk", "stale", "surplus"]);
        assert!(!grave(FindingKind::Lost).1, "the case asked for it");
    }
}
