//! How a connection is over: what its end is called, and what is read before that.

use std::io;

use super::ClientConnection;
use super::end_names::{self, EndFacts, OwnFin, ended_by};
use super::half::Half;
use super::turn::{Transport, TurnContext, TurnResult};
use crate::client::pair::HalfEnd;
use crate::measure::LoadStats;
use crate::plan::{ExpectedEcho, Verify};
use crate::stream::{Divergence, End, EndedBy, Ending, FindingKind};

impl ClientConnection {
    #[cold]
    pub(super) fn over_as_planned(&mut self, turn: &mut TurnContext<'_>, end: HalfEnd) -> TurnResult {
        self.end(turn, End::STOPPED);
        self.note_end(end, turn);
        TurnResult::Over(None)
    }

    /// The connection is over, and not as planned unless everything has come.
    #[cold]
    pub(super) fn over(&mut self, turn: &mut TurnContext<'_>, by: EndedBy, error: Option<io::Error>) -> TurnResult {
        self.over_after(turn, by, error, false)
    }

    /// The same. `write_failed`: a write has shown it.
    fn over_after(
        &mut self,
        turn: &mut TurnContext<'_>,
        by: EndedBy,
        error: Option<io::Error>,
        write_failed: bool,
    ) -> TurnResult {
        let own_fin = match self.sender.own_fin() {
            None => OwnFin::NotSent,
            Some(fin) if fin.probe_after.is_some() => OwnFin::Probe,
            Some(_) => OwnFin::Sent,
        };
        let expected = self.profile().expected_echo();
        let keeps_half_closed = turn.half_close.shows_that_they_stay_open();
        let is_unserved = self.half.as_deref().is_some_and(Half::end_unserved);
        let end = match &self.half {
            None => {
                let has_more = !self.sender.has_written_all() && !self.never_reads();
                end_names::name(&EndFacts { by, own_fin, expected, has_more, keeps_half_closed })
            }
            // The time was up before it had anything to send, so nobody could know which connection it is.
            Some(half) if own_fin == OwnFin::Sent && !half.pair().is_reached() && self.is_nameless() => End::STOPPED,
            // The backend was down, so whatever the proxy does is shown, and is no finding.
            Some(_) if is_unserved => End::STOPPED,
            Some(half) => end_names::name_of_half(by, half.other_state()),
        };
        let ending = Ending { write_failed, ..self.ending(by, turn.clock.last()) };
        let before = turn.found.len();
        self.end(turn, end);
        let of_the_end = [end.missing, end.complete];
        for divergence in turn.found[before..].iter_mut().filter(|found| of_the_end.contains(&Some(found.kind))) {
            divergence.ending = Some(Box::new(ending));
        }
        if is_unserved && self.findings == 0 && turn.found.len() == before {
            let after = turn.clock.read().saturating_sub(self.receiver.opened());
            count_unserved(turn.stats, by, after);
        }
        if self.half.is_some() {
            let is_whole = by == EndedBy::Fin && own_fin == OwnFin::Sent;
            let end = match (turn.found.len() > before, is_whole) {
                (true, _) => HalfEnd::Failed,
                (false, true) => HalfEnd::Whole,
                (false, false) => HalfEnd::Abrupt,
            };
            self.note_end(end, turn);
            return TurnResult::Over(error);
        }
        let is_exact = expected == ExpectedEcho::Exact;
        let owed_at_fin = is_exact && self.sender.own_fin().is_some_and(|fin| fin.received < self.sender.sent());
        if by == EndedBy::Fin && owed_at_fin {
            turn.half_close.note(turn.found.len() == before);
        }
        TurnResult::Over(error)
    }

    /// What is known of an end that comes now.
    fn ending(&self, by: EndedBy, now: u64) -> Ending {
        let own_fin = self.sender.own_fin();
        let probe_after = own_fin.and_then(|fin| fin.probe_after);
        let (sent, received) = (self.expected(), self.receiver.received());
        Ending {
            by,
            own_fin_ms: own_fin.map(|fin| now.saturating_sub(fin.at) as f64 / 1e6),
            probed: probe_after.is_some(),
            silent_ms: probe_after.unwrap_or_else(|| self.receiver.silence(now)) as f64 / 1e6,
            received_after_fin: own_fin.map_or(0, |fin| received - fin.received),
            writes_blocked: self.sender.is_writing() && self.sender.writes().stall_at().is_some(),
            write_failed: false,
            sent,
            received,
        }
    }

    /// A write or the half-close has failed, which says nothing about the bytes that came before. They are read first,
    /// so that a verdict names the right place.
    ///
    /// Where both ends are ours, what this half can't write is missing at the other one, even if all of that one's
    /// bytes have come.
    ///
    /// The error of a socket is reported once. After a write that was told of a reset, a read returns 0 as if a FIN had
    /// come. EPIPE is different: the peer's FIN came first, and a reset answered what was written after it (tcp(7);
    /// Linux, `tcp_reset`).
    #[cold]
    pub(super) fn over_by_write_error(
        &mut self,
        socket: &mut impl Transport,
        turn: &mut TurnContext<'_>,
        error: io::Error,
    ) -> TurnResult {
        let mut now = turn.clock.read();
        let mut error = Some(error).filter(|error| error.kind() != io::ErrorKind::NotConnected);
        socket.assume_ready();
        while !self.never_reads() {
            match self.read(socket, turn, &mut now) {
                Ok(0) if self.half.is_none() && error.as_ref().is_none_or(follows_a_fin) => {
                    return self.over(turn, EndedBy::Fin, None);
                }
                Ok(0) => break,
                Ok(_) => {}
                Err(later) => {
                    // What TLS was told says more than that the system has closed the connection.
                    let is_told = |first: &io::Error| first.raw_os_error().is_none() || later.raw_os_error().is_some();
                    if later.kind() != io::ErrorKind::WouldBlock && !error.as_ref().is_some_and(is_told) {
                        error = Some(later);
                    }
                    break;
                }
            }
        }
        let by = error.as_ref().map_or(EndedBy::Reset, ended_by);
        self.over_after(turn, by, error, true)
    }

    /// The peer seems to send forever, and nothing that could still come would say more.
    #[cold]
    pub(super) fn over_by_surplus(&mut self, turn: &mut TurnContext<'_>) -> TurnResult {
        let before = turn.found.len();
        self.end(turn, End::STOPPED);
        if self.findings == 0 && turn.found.len() == before {
            let sent = self.expected();
            let extent = self.receiver.received() - sent;
            turn.found.push(Divergence::of_connection(FindingKind::Surplus, self.conn(), sent, extent));
        }
        self.note_end(HalfEnd::Failed, turn);
        TurnResult::Over(None)
    }

    pub(super) fn end(&mut self, turn: &mut TurnContext<'_>, end: End) {
        self.sender.count_stall(turn.stats, turn.clock.last());
        if self.profile().verify == Verify::Full || end != End::STOPPED {
            let expected = self.expected();
            self.receiver.end(turn, self.sender.profile(), expected, end);
        }
        if self.half.is_none() {
            // Of two halves the worker knows when both are over.
            turn.ledger.close(self.conn());
        }
    }

    /// Tells the other half, if there is one, that this one is over.
    fn note_end(&self, end: HalfEnd, turn: &TurnContext<'_>) {
        if let Some(half) = &self.half {
            half.note_end(if self.findings > 0 { HalfEnd::Failed } else { end }, turn.clock.last());
        }
    }
}

/// A connection has ended in this way that never reached the backend, `after` nanoseconds after its opening.
fn count_unserved(stats: &mut LoadStats, by: EndedBy, after: u64) {
    stats.unserved_after.record(after);
    let counters = &mut stats.counters;
    counters.unserved += 1;
    match by {
        EndedBy::Fin => {}
        EndedBy::Reset => counters.unserved_resets += 1,
        EndedBy::Silence | EndedBy::Vanished | EndedBy::Overtime => counters.unserved_silent += 1,
    }
}

/// Whether the peer's FIN came before what this error of a write reports.
fn follows_a_fin(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
