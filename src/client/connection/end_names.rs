//! What the end of a connection is called: the table, as a pure function.
//!
//! | ended by | own FIN | bytes are missing | all came |
//! | --- | --- | --- | --- |
//! | FIN | not sent | truncated | truncated: the connection was still to be used |
//! | FIN | sent | truncated | |
//! | FIN | probe | stalled, or lost | stalled: it came too late |
//! | reset | not sent, or sent | reset | reset |
//! | reset | probe | stalled | stalled |
//! | silence, vanished | not sent | stalled | stalled |
//! | silence, vanished | sent | stalled | no-fin |
//! | silence, vanished | probe | stalled | stalled |
//! | overtime | any | too-slow | too-slow |
//!
//! What ends a connection during the probe may be an answer to the probe alone: many proxies close both directions when
//! one of them ends. So the silence before it gives the name. The bytes were *lost* only if the run has shown that the
//! target keeps half-closed connections open: then its FIN says that nothing more was to come.
//!
//! Where a prefix of the echo is all that is asserted, only silence and overtime have a name once all is written: then
//! the connection ends abruptly itself. Before that the other side has no reason to end, and its FIN or reset is named
//! as in the table. A connection that never reads may be ended at any time.
//!
//! Where both ends are ours, the other half says what could still come:
//!
//! | ended by | it may still send | it has sent its FIN | it has ended otherwise, as planned | with a finding |
//! | --- | --- | --- | --- | --- |
//! | FIN | truncated | truncated, if bytes are missing | | |
//! | reset, or a write that failed | reset | reset | | |
//! | silence, vanished | stalled | stalled, or no-fin if all came | no-fin | |
//! | overtime | too-slow | too-slow | too-slow | |
//!
//! A half that ends with a finding breaks the other one, whose end follows from it. One fault is one finding, so that
//! end has no name.
//!
//! A connection that was open while the backend was down on purpose, and has not reached it, may end in any way.

use std::io;

use crate::client::pair::OtherState;
use crate::plan::ExpectedEcho;
use crate::stream::{End, EndedBy, FindingKind};

/// Whether this side has sent its FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnFin {
    NotSent,
    /// As the plan says.
    Sent,
    /// Ahead of the plan, after a stall.
    Probe,
}

/// What the name of an end depends on, besides missing bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndFacts {
    pub(super) by: EndedBy,
    pub(super) own_fin: OwnFin,
    pub(super) expected: ExpectedEcho,
    /// Whether there is more to write, on a connection that reads.
    pub(super) has_more: bool,
    /// Whether the run has shown that the target keeps half-closed connections open.
    pub(super) keeps_half_closed: bool,
}

/// What such an end is called.
pub(super) fn name(facts: &EndFacts) -> End {
    use EndedBy::{Fin, Overtime, Reset, Silence, Vanished};
    use FindingKind::{Lost, NoFin, Stalled, TooSlow, Truncated};
    let (missing, complete) = match (facts.by, facts.own_fin) {
        (Fin, OwnFin::NotSent) => (Truncated, Some(Truncated)),
        (Fin, OwnFin::Sent) => (Truncated, None),
        (Fin, OwnFin::Probe) if facts.keeps_half_closed => (Lost, Some(Stalled)),
        (Fin | Reset, OwnFin::Probe) => (Stalled, Some(Stalled)),
        (Reset, _) => (FindingKind::Reset, Some(FindingKind::Reset)),
        (Silence | Vanished, OwnFin::Sent) => (Stalled, Some(NoFin)),
        (Silence | Vanished, _) => (Stalled, Some(Stalled)),
        (Overtime, _) => (TooSlow, Some(TooSlow)),
    };
    match (facts.expected, facts.by) {
        (ExpectedEcho::Exact, _) => End { missing: Some(missing), complete },
        (ExpectedEcho::Prefix, Silence | Overtime) => End { missing: Some(missing), complete: None },
        (ExpectedEcho::Prefix, Fin | Reset) if facts.has_more => End { missing: Some(missing), complete },
        (ExpectedEcho::Prefix, _) => End::STOPPED,
    }
}

/// What the end of a half is called.
pub(super) fn name_of_half(by: EndedBy, other: OtherState) -> End {
    use EndedBy::{Fin, Overtime, Reset, Silence, Vanished};
    use FindingKind::{NoFin, Stalled, TooSlow, Truncated};
    use OtherState::{Broken, Failed, Finished, Open};
    let (missing, complete) = match (by, other) {
        (_, Failed) | (Fin | Reset, Broken) => (None, None),
        (Fin, Open) => (Some(Truncated), Some(Truncated)),
        (Fin, Finished) => (Some(Truncated), None),
        (Reset, Open | Finished) => (Some(FindingKind::Reset), Some(FindingKind::Reset)),
        (Silence | Vanished, Open) => (Some(Stalled), Some(Stalled)),
        (Silence | Vanished, Finished) => (Some(Stalled), Some(NoFin)),
        // Not every byte need come, but an end must.
        (Silence | Vanished, Broken) => (Some(NoFin), Some(NoFin)),
        (Overtime, _) => (Some(TooSlow), Some(TooSlow)),
    };
    End { missing, complete }
}

/// What an error of a read or a write says about the end.
pub(super) fn ended_by(error: &io::Error) -> EndedBy {
    match error.kind() {
        io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => EndedBy::Vanished,
        _ => EndedBy::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_half_is_named_by_what_the_other_half_had_done() {
        const NONE: [&str; 2] = ["", ""];
        let text = |kind: Option<FindingKind>| kind.map_or("", FindingKind::name);
        let names = |by| {
            [OtherState::Open, OtherState::Finished, OtherState::Broken, OtherState::Failed].map(|other| {
                let end = name_of_half(by, other);
                [text(end.missing), text(end.complete)]
            })
        };
        assert_eq!(names(EndedBy::Fin), [["truncated", "truncated"], ["truncated", ""], NONE, NONE]);
        assert_eq!(names(EndedBy::Reset), [["reset", "reset"], ["reset", "reset"], NONE, NONE]);
        let silence = [["stalled", "stalled"], ["stalled", "no-fin"], ["no-fin", "no-fin"], NONE];
        assert_eq!([names(EndedBy::Silence), names(EndedBy::Vanished)], [silence; 2]);
        let late = ["too-slow", "too-slow"];
        assert_eq!(names(EndedBy::Overtime), [late, late, late, NONE]);
    }

    /// The names in the order not sent, sent, probe: if bytes are missing, and if all came.
    fn names(by: EndedBy, expected: ExpectedEcho, keeps_half_closed: bool) -> [[&'static str; 2]; 3] {
        names_of(EndFacts { by, own_fin: OwnFin::NotSent, expected, has_more: false, keeps_half_closed })
    }

    fn names_of(facts: EndFacts) -> [[&'static str; 2]; 3] {
        let text = |kind: Option<FindingKind>| kind.map_or("", FindingKind::name);
        [OwnFin::NotSent, OwnFin::Sent, OwnFin::Probe].map(|own_fin| {
            let end = name(&EndFacts { own_fin, ..facts });
            [text(end.missing), text(end.complete)]
        })
    }

    #[test]
    fn each_end_has_the_name_that_the_table_says() {
        let exact = |by| names(by, ExpectedEcho::Exact, false);
        let (truncated, stalled, reset, late) = ("truncated", "stalled", "reset", "too-slow");
        assert_eq!(exact(EndedBy::Fin), [[truncated, truncated], [truncated, ""], [stalled, stalled]]);
        assert_eq!(exact(EndedBy::Reset), [[reset, reset], [reset, reset], [stalled, stalled]]);
        for by in [EndedBy::Silence, EndedBy::Vanished] {
            assert_eq!(exact(by), [[stalled, stalled], [stalled, "no-fin"], [stalled, stalled]]);
        }
        assert_eq!(exact(EndedBy::Overtime), [[late, late]; 3]);
    }

    #[test]
    fn bytes_are_lost_at_the_probe_only_if_half_closed_connections_stay_open() {
        let shown = |by| names(by, ExpectedEcho::Exact, true)[2];
        assert_eq!(shown(EndedBy::Fin), ["lost", "stalled"]);
        assert_eq!(shown(EndedBy::Silence), ["stalled", "stalled"]);
        assert_eq!(shown(EndedBy::Reset), ["stalled", "stalled"]);
    }

    #[test]
    fn where_a_prefix_is_expected_an_end_is_wrong_only_before_the_own_one_begins() {
        let prefix = |by| names(by, ExpectedEcho::Prefix, false);
        for by in [EndedBy::Fin, EndedBy::Reset, EndedBy::Vanished] {
            assert_eq!(prefix(by), [["", ""]; 3]);
        }
        assert_eq!(prefix(EndedBy::Silence), [["stalled", ""]; 3]);
        let (expected, own_fin) = (ExpectedEcho::Prefix, OwnFin::NotSent);
        let begun = |by| names_of(EndFacts { by, own_fin, expected, has_more: true, keeps_half_closed: false })[0];
        let own_end = [begun(EndedBy::Fin), begun(EndedBy::Reset), begun(EndedBy::Vanished)];
        assert_eq!(own_end, [["truncated"; 2], ["reset"; 2], [""; 2]], "the other side ended it on its own");
        assert_eq!(prefix(EndedBy::Overtime), [["too-slow", ""]; 3]);
    }
}
