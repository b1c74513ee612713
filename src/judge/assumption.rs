//! What a user knows of a target before it is judged, and which failures follow from it. Pure.

use crate::stream::FindingKind;

/// Something that the target is known not to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assumption {
    /// It ends both directions of a connection at the client's FIN, or never answers the FIN: as many proxies do.
    NoHalfClose,
}

/// One row of [`ASSUMPTIONS`].
pub struct AssumptionRow {
    /// The assumption.
    pub assumption: Assumption,
    /// Its name on the command line.
    pub name: &'static str,
    /// The findings that follow from it.
    kinds: &'static [FindingKind],
    /// What it says, as the end of a sentence.
    words: &'static str,
}

/// Every assumption.
pub const ASSUMPTIONS: &[AssumptionRow] = &[AssumptionRow {
    assumption: Assumption::NoHalfClose,
    name: "no-half-close",
    kinds: &[FindingKind::Truncated, FindingKind::Reset, FindingKind::Stalled, FindingKind::NoFin],
    words: "does not keep a connection open that the client has half-closed",
}];

impl Assumption {
    /// The assumption of this name.
    pub fn named(name: &str) -> Option<Assumption> {
        ASSUMPTIONS.iter().find(|row| row.name == name).map(|row| row.assumption)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Why a case failed as it had to, if it failed by these kinds of finding alone: `None` if any of them does not
    /// follow from the assumption.
    pub(super) fn excuse(self, kinds: impl IntoIterator<Item = FindingKind>) -> Option<String> {
        let row = self.row();
        let mut kinds = kinds.into_iter().peekable();
        kinds.peek()?;
        let follows = kinds.all(|kind| row.kinds.contains(&kind));
        follows.then(|| format!("expected by --assume {}: the target {}", row.name, row.words))
    }

    fn row(self) -> &'static AssumptionRow {
        ASSUMPTIONS.iter().find(|row| row.assumption == self).expect("every assumption has a row: a test walks them")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_assumption_has_one_row_and_is_found_by_its_name() {
        for row in ASSUMPTIONS {
            match row.assumption {
                Assumption::NoHalfClose => assert_eq!(Assumption::named(row.name), Some(row.assumption)),
            }
        }
        assert_eq!((ASSUMPTIONS.len(), Assumption::named("half-close")), (1, None));
    }

    #[test]
    fn only_what_follows_from_an_assumption_is_expected() {
        let excuse = |kinds: &[FindingKind]| Assumption::NoHalfClose.excuse(kinds.iter().copied());
        assert!(excuse(&[FindingKind::Truncated, FindingKind::Reset]).is_some());
        assert_eq!(excuse(&[FindingKind::Truncated, FindingKind::Crosstalk]), None);
        assert_eq!(excuse(&[]), None, "a missed threshold");
    }
}
