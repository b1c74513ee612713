//! Whether the target keeps half-closed connections open, as far as the run has shown.

use std::sync::atomic::{AtomicBool, Ordering};

/// What the connections of a run have seen of the target after their own FIN.
#[derive(Default)]
pub(super) struct HalfCloseEvidence {
    /// A connection was owed bytes when it half-closed, and got all of them before the target's FIN.
    kept: AtomicBool,
    /// A connection was owed bytes when it half-closed, and the target's FIN came first.
    cut: AtomicBool,
}

impl HalfCloseEvidence {
    /// The target's FIN has come to a connection that had half-closed while bytes were owed to it. `all_came`: whether
    /// they came before the FIN.
    pub(super) fn note(&self, all_came: bool) {
        let fact = if all_came { &self.kept } else { &self.cut };
        fact.store(true, Ordering::Relaxed);
    }

    /// Whether the run has shown that the target keeps half-closed connections open. One that cuts some connections
    /// short may still be in time for others.
    pub(super) fn shows_that_they_stay_open(&self) -> bool {
        self.kept.load(Ordering::Relaxed) && !self.cut.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_that_was_cut_outweighs_all_that_were_not() {
        let evidence = HalfCloseEvidence::default();
        assert!(!evidence.shows_that_they_stay_open(), "nothing is known yet");
        evidence.note(true);
        assert!(evidence.shows_that_they_stay_open());
        evidence.note(false);
        evidence.note(true);
        assert!(!evidence.shows_that_they_stay_open());
    }
}
