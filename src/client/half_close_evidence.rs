//! Whether the target keeps half-closed connections open, as far as the run has shown.

use std::sync::atomic::{AtomicU32, Ordering};

/// A target that cuts some connections short is in time for others by chance, and a faulty server that keeps them open
/// may have lost the last bytes of some. So this many must be kept for each one that was cut.
const KEPT_FOR_EACH_CUT: u32 = 4;

/// What the connections of a run have seen of the target after their own FIN.
#[derive(Default)]
pub(super) struct HalfCloseEvidence {
    /// Connections that were owed bytes when they half-closed, and got all of them before the target's FIN.
    kept: AtomicU32,
    /// Connections that were owed bytes when they half-closed, and the target's FIN came first.
    cut: AtomicU32,
}

impl HalfCloseEvidence {
    /// The target's FIN has come to a connection that had half-closed while bytes were owed to it. `all_came`: whether
    /// they came before the FIN.
    pub(super) fn note(&self, all_came: bool) {
        let count = if all_came { &self.kept } else { &self.cut };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the run has shown that the target keeps half-closed connections open.
    pub(super) fn shows_that_they_stay_open(&self) -> bool {
        self.kept.load(Ordering::Relaxed) > KEPT_FOR_EACH_CUT * self.cut.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_open_for_one_connection_must_do_so_for_nearly_all() {
        let evidence = HalfCloseEvidence::default();
        assert!(!evidence.shows_that_they_stay_open(), "nothing is known yet");
        evidence.note(true);
        assert!(evidence.shows_that_they_stay_open());
        evidence.note(false);
        (0..3).for_each(|_| evidence.note(true));
        assert!(!evidence.shows_that_they_stay_open(), "one of five was cut");
        evidence.note(true);
        assert!(evidence.shows_that_they_stay_open(), "one of six was cut");
    }
}
