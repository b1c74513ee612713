//! Which findings are kept in full, if there are more than is asked for: the first of each kind, and then the earliest.

use super::finding::{Finding, FindingKind};

/// Whether one more finding, of this kind, is to be kept besides these.
pub fn is_worth_keeping(kept: &[Finding], most: usize, kind: FindingKind) -> bool {
    kept.len() < most || (most > 0 && kept.iter().all(|finding| finding.divergence.kind != kind))
}

/// Drops findings, which are in the order of time, until there are at most `most`.
pub fn keep_first(findings: &mut Vec<Finding>, most: usize) {
    while findings.len() > most {
        let has_others = |finding: &Finding| {
            findings.iter().filter(|other| other.divergence.kind == finding.divergence.kind).count() > 1
        };
        let Some(last) = findings.iter().rposition(has_others) else { return findings.truncate(most) };
        findings.remove(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{ConnId, Divergence};

    fn finding(kind: FindingKind, at_ms: f64) -> Finding {
        Finding { at_ms, ..Finding::of(Divergence::of_connection(kind, ConnId::MAX, 0, 1)) }
    }

    #[test]
    fn one_of_each_kind_is_kept_and_then_the_earliest() {
        use FindingKind::{Corrupt, Lost, Reset};
        let kinds = [Lost, Lost, Lost, Corrupt, Lost, Reset];
        let all: Vec<Finding> = kinds.iter().zip(1u8..).map(|(kind, n)| finding(*kind, f64::from(n))).collect();
        let kept = |most| {
            let mut kept = all.clone();
            keep_first(&mut kept, most);
            kept.iter().map(|finding| finding.at_ms as u32).collect::<Vec<_>>()
        };
        assert_eq!((kept(9), kept(4), kept(3)), (vec![1, 2, 3, 4, 5, 6], vec![1, 2, 4, 6], vec![1, 4, 6]));
        assert_eq!((kept(2), kept(0)), (vec![1, 4], vec![]));
        assert!(is_worth_keeping(&all[..3], 3, Reset) && !is_worth_keeping(&all[..3], 3, Lost));
        assert!(is_worth_keeping(&all[..3], 4, Lost) && !is_worth_keeping(&[], 0, Lost));
    }
}
