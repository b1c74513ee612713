//! What a connection does once everything is written: the table of endings, as pure functions.

use std::net::Shutdown;

use super::turn::WaitsFor;
use crate::plan::Close;

/// What the next step of an ending depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndingFacts {
    /// Whether the connection never reads.
    pub(super) never_reads: bool,
    /// Whether every connection with an end of its own has ended.
    pub(super) others_rest: bool,
    /// Whether all connections of the group have had their echo at one moment.
    pub(super) group_arrived: bool,
    /// Whether there is something to read.
    pub(super) readable: bool,
    /// Whether the FIN of this side was sent.
    pub(super) fin_sent: bool,
    /// Bytes sent.
    pub(super) sent: u64,
    /// Bytes received, right or wrong.
    pub(super) received: u64,
    /// Where in the stream the echo is, counting bytes that are wrong in a way not yet known.
    pub(super) reached: u64,
    /// Bytes that came back right.
    pub(super) verified: u64,
}

/// The next step of an ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndingStep {
    /// Something else must happen first.
    Wait,
    /// Send the FIN, and read until the peer's.
    HalfClose,
    /// Shut down a direction, or both, and close the socket a moment later.
    ShutDown(Shutdown),
    /// Close the socket with a reset.
    Reset,
    /// Close the socket.
    Close,
}

/// The next step of an ending, once everything is written.
pub(super) fn next_step(close: Close, facts: &EndingFacts) -> EndingStep {
    let EndingFacts { sent, received, .. } = *facts;
    match close {
        // Such a connection is reset once all others have ended; see `ClientConnection::advance`.
        _ if facts.never_reads => EndingStep::Wait,
        Close::Keep if !facts.others_rest => EndingStep::Wait,
        Close::Together if !facts.group_arrived => EndingStep::Wait,
        Close::AfterEcho | Close::Together if facts.reached < sent => EndingStep::Wait,
        // What is unread is an EOF or surplus bytes, and the next read tells which.
        Close::AfterEcho | Close::Together if facts.readable => EndingStep::Wait,
        Close::AfterEcho | Close::Together if received == sent && facts.verified == sent => EndingStep::Close,
        // Under the last three something was wrong, and the bytes that still come help to name it.
        Close::HalfClose | Close::Keep | Close::AfterEcho | Close::Together => EndingStep::HalfClose,
        Close::HalfCloseReset if !facts.fin_sent => EndingStep::HalfClose,
        Close::HalfCloseReset if received < sent / 2 => EndingStep::Wait,
        Close::Reset | Close::HalfCloseReset => EndingStep::Reset,
        Close::ShutdownRead => EndingStep::ShutDown(Shutdown::Read),
        Close::ShutdownBoth => EndingStep::ShutDown(Shutdown::Both),
        // The close means something only while echo lies unread. With nothing owed there is none to wait for.
        Close::Abandon if received < sent && !facts.readable => EndingStep::Wait,
        Close::Abandon => EndingStep::Close,
    }
}

/// What the next step of a half depends on besides.
#[derive(Clone, Copy, Debug)]
pub(super) struct OtherHalfFacts {
    /// Whether the connection has reached the other half.
    pub(super) is_reached: bool,
    /// Whether everything from the other half has come.
    pub(super) is_done: bool,
    /// Whether every reply has come that it waited for.
    pub(super) is_answered: bool,
    /// Bytes that the other half has sent.
    pub(super) expected: u64,
}

/// The same for the half of a pair.
pub(super) fn next_step_of_half(close: Close, facts: &EndingFacts, other: &OtherHalfFacts) -> EndingStep {
    let OtherHalfFacts { is_reached, is_done, is_answered, expected } = *other;
    match close {
        // Such a connection is reset once all others have ended.
        _ if facts.never_reads => EndingStep::Wait,
        Close::Keep if !facts.others_rest => EndingStep::Wait,
        // The replies show that all requests have come, so no FIN of the other side is waited for.
        Close::AfterEcho if is_answered => EndingStep::Close,
        Close::AfterEcho if !is_done => EndingStep::Wait,
        // An end that overtakes the opening would show nothing of what becomes of it.
        Close::Reset | Close::Abandon if !is_reached => EndingStep::Wait,
        Close::Reset => EndingStep::Reset,
        // The close means something only while bytes lie unread.
        Close::Abandon if facts.received < expected && !facts.readable => EndingStep::Wait,
        Close::Abandon => EndingStep::Close,
        _ => EndingStep::HalfClose,
    }
}

/// Whose move a connection that waits is waiting for. `all_written`: it is in state `Ending`. `echo_missing`: bytes
/// that it sent have not come back. `has_more`: it never reads, but has time or writes left.
pub(super) fn waits_for(
    close: Close,
    never_reads: bool,
    has_more: bool,
    all_written: bool,
    echo_missing: bool,
) -> WaitsFor {
    match close {
        _ if never_reads && has_more => WaitsFor::Itself,
        _ if never_reads => WaitsFor::Run,
        Close::Keep if all_written && !echo_missing => WaitsFor::Run,
        Close::Together if all_written && !echo_missing => WaitsFor::Group,
        _ => WaitsFor::Itself,
    }
}

#[cfg(test)]
mod tests {
    use super::EndingStep::{HalfClose, Reset, Wait};
    use super::*;

    #[test]
    fn a_half_ends_by_what_the_other_half_has_sent() {
        let step = |close, is_done, received| {
            let other = OtherHalfFacts { is_reached: true, is_done, is_answered: false, expected: 10 };
            next_step_of_half(close, &EndingFacts { received, ..DONE }, &other)
        };
        for (is_done, after_echo) in [(false, Wait), (true, HalfClose)] {
            assert_eq!(
                [Close::HalfClose, Close::AfterEcho].map(|close| step(close, is_done, 10)),
                [HalfClose, after_echo]
            );
        }
        assert_eq!((step(Close::Abandon, false, 9), step(Close::Abandon, false, 10)), (Wait, EndingStep::Close));
        assert_eq!((step(Close::Reset, false, 0), step(Close::Keep, false, 0)), (Reset, HalfClose));
        let kept = EndingFacts { others_rest: false, ..DONE };
        let unreached = OtherHalfFacts { is_reached: false, is_done: false, is_answered: false, expected: 0 };
        assert_eq!(next_step_of_half(Close::Keep, &kept, &unreached), Wait);
        assert_eq!(next_step_of_half(Close::Reset, &DONE, &unreached), Wait);
    }

    const CLOSES: [Close; 6] =
        [Close::HalfClose, Close::Keep, Close::AfterEcho, Close::Together, Close::Abandon, Close::Reset];

    #[test]
    fn abrupt_ends_take_their_steps_whatever_has_come_back() {
        let step = |close, received, fin_sent| {
            next_step(close, &EndingFacts { received, fin_sent, others_rest: false, group_arrived: false, ..DONE })
        };
        assert_eq!([0, 4, 5, 10].map(|received| step(Close::HalfCloseReset, received, false)), [HalfClose; 4]);
        let after_fin = [0, 4, 5, 10].map(|received| step(Close::HalfCloseReset, received, true));
        assert_eq!(after_fin, [Wait, Wait, Reset, Reset], "of ten bytes, five are half");
        for received in [0, 10] {
            assert_eq!(step(Close::ShutdownRead, received, false), EndingStep::ShutDown(Shutdown::Read));
            assert_eq!(step(Close::ShutdownBoth, received, false), EndingStep::ShutDown(Shutdown::Both));
        }
    }

    /// All echo has come and was right, and no other connection is waited for.
    const DONE: EndingFacts = EndingFacts {
        never_reads: false,
        others_rest: true,
        group_arrived: true,
        readable: false,
        fin_sent: false,
        sent: 10,
        received: 10,
        reached: 10,
        verified: 10,
    };

    #[test]
    fn each_ending_takes_the_step_that_the_table_says() {
        let close = EndingStep::Close;
        let cases = [
            ("all echo came", DONE, [HalfClose, HalfClose, close, close, close, Reset]),
            (
                "echo is missing",
                EndingFacts { received: 9, reached: 9, verified: 9, ..DONE },
                [HalfClose, HalfClose, Wait, Wait, Wait, Reset],
            ),
            (
                "echo is missing, and some is unread",
                EndingFacts { received: 9, reached: 9, verified: 9, readable: true, ..DONE },
                [HalfClose, HalfClose, Wait, Wait, close, Reset],
            ),
            (
                "more is unread than was sent",
                EndingFacts { readable: true, ..DONE },
                [HalfClose, HalfClose, Wait, Wait, close, Reset],
            ),
            (
                "a byte was wrong",
                EndingFacts { verified: 9, ..DONE },
                [HalfClose, HalfClose, HalfClose, HalfClose, close, Reset],
            ),
            (
                "others still work",
                EndingFacts { others_rest: false, group_arrived: false, ..DONE },
                [HalfClose, Wait, close, Wait, close, Reset],
            ),
            ("it never reads", EndingFacts { never_reads: true, ..DONE }, [Wait; 6]),
        ];
        for (name, facts, steps) in cases {
            assert_eq!(CLOSES.map(|close| next_step(close, &facts)), steps, "{name}");
        }
    }

    #[test]
    fn only_keep_together_and_never_reading_wait_for_other_connections() {
        use WaitsFor::{Group, Itself, Run};
        let all = |never_reads, has_more, all_written, echo_missing| {
            CLOSES.map(|close| waits_for(close, never_reads, has_more, all_written, echo_missing))
        };
        assert_eq!(all(false, false, true, false), [Itself, Run, Itself, Group, Itself, Itself]);
        assert_eq!(all(false, false, true, true), [Itself; 6], "the peer owes echo");
        assert_eq!(all(false, false, false, false), [Itself; 6], "there is more to send");
        assert_eq!(all(true, true, false, true), [Itself; 6]);
        assert_eq!(all(true, false, false, true), [Run; 6]);
    }
}
