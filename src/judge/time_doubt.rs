//! Whether a run can be trusted in what it says about time. Pure.
//!
//! A client that stood still, or a machine without a processor to spare, makes every server look slow. Then what
//! depends on time (a stall, a missing FIN, a round trip) is inconclusive: it accuses nobody. Wrong bytes stay wrong.

use std::time::Duration;

use super::measured::RunResources;
use crate::measure::Counters;
use crate::stream::FINDING_KINDS;
use crate::units::Time;

/// A client that stood still for less than this has figures that are still about the server.
const SHORTEST_GAP: Duration = Duration::from_secs(1);
/// The same for a client that waited for a processor.
const SHORTEST_STARVATION: Duration = Duration::from_secs(2);

/// Why figures of time say nothing about the server, as a sentence; `None`: they do.
pub fn sentence(stood_still: Duration, starved: Option<Duration>) -> Option<String> {
    let rounded = |time: Duration| Time(Duration::from_millis(time.as_millis() as u64 / 100 * 100));
    if stood_still >= SHORTEST_GAP {
        let gap = rounded(stood_still);
        return Some(format!("the client itself stood still for {gap}: stopped, suspended, or held up by its machine"));
    }
    let starved = starved.filter(|starved| *starved >= SHORTEST_STARVATION)?;
    Some(format!("the machine had no processor for the client for {}: other processes had them", rounded(starved)))
}

/// The same of a run that has ended.
pub(super) fn of(resources: &RunResources) -> Option<String> {
    sentence(resources.stood_still, resources.starved)
}

/// Whether all that was found wrong depends on time: the other side did not answer soon enough.
pub(super) fn explains_all(counters: &Counters) -> bool {
    let is_of_time = |(kind, count): (&crate::stream::FindingKind, &u64)| {
        let row = FINDING_KINDS.iter().find(|row| row.kind == *kind);
        let by_kind = row.is_some_and(|row| row.depends_on_time);
        by_kind || (*kind == crate::stream::FindingKind::ConnectFailed && *count <= counters.connect_timeouts)
    };
    counters.findings.iter().all(is_of_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::FindingKind;

    #[test]
    fn a_short_pause_is_no_reason_to_doubt() {
        let (ms, second) = (Duration::from_millis, Duration::from_secs);
        assert_eq!(sentence(ms(900), Some(second(1))), None);
        let still = sentence(ms(6_130), None).expect("a reason to doubt");
        assert!(still.contains("stood still for 6.1s"), "{still}");
        let starved = sentence(ms(0), Some(second(12))).expect("a reason to doubt");
        assert!(starved.contains("for 12s"), "{starved}");
    }

    #[test]
    fn wrong_bytes_are_never_explained_by_time() {
        let mut counters = Counters::default();
        counters.found(FindingKind::Stalled);
        counters.found(FindingKind::NoFin);
        assert!(explains_all(&counters));
        counters.found(FindingKind::ConnectFailed);
        assert!(!explains_all(&counters), "the connect was refused");
        counters.connect_timeouts = 1;
        assert!(explains_all(&counters), "nobody answered in time");
        counters.found(FindingKind::Lost);
        assert!(!explains_all(&counters));
    }
}
