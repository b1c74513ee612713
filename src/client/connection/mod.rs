//! One connection: interprets a plan over a socket that does not block.
//!
//! This is the engine's whole protocol and has no runtime in it: [`ClientConnection::advance`] is called when the socket may
//! have become ready or a time has come, moves bytes until nothing moves, and says what it waits for. It never stops
//! reading because it has something to write, so no echo server can deadlock it; it owns no buffer, since any byte of
//! the stream can be made when it is needed; and it sets no timer for stalls, which the worker's sweep finds.

mod in_flight;
mod op_log;
mod turn;
mod write_stall;

use std::io;

use in_flight::InFlight;
use op_log::OpLog;
pub(super) use turn::{TurnResult, WaitsFor};
use write_stall::WriteStall;

use super::clock::{RunClock, nanos};
use crate::measure::{Figures, Schedule};
use crate::plan::{Close, Plan, Profile, Read, Step, Verify};
use crate::stream::{Circumstances, ConnId, Divergence, End, Expect, Kind, OpKind, Stream, Verifier};

use super::sent_ledger::{LedgerOf, SentLedger};

/// What the connection needs of a socket. `WouldBlock` is not an error here: it ends the turn, and the driver arranges
/// to be called again.
pub(super) trait Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;
    fn write(&mut self, from: &[u8]) -> io::Result<usize>;
    /// Sends the FIN.
    fn shutdown(&mut self) -> io::Result<()>;
    /// Whether something can be read, without reading it.
    fn is_readable(&mut self) -> bool;
    /// Makes the coming close a reset.
    fn close_with_reset(&mut self);
}

/// What all connections of a worker share. Times are nanoseconds since the start of the run.
pub(super) struct TurnContext<'a> {
    pub stream: &'a Stream,
    pub ledger: &'a SentLedger,
    pub scratch: &'a mut [u8],
    pub found: &'a mut Vec<Divergence>,
    pub figures: &'a mut Figures,
    pub clock: &'a RunClock,
    /// All that has an end of its own has ended: what only waited for that closes.
    pub others_rest: bool,
    /// All connections of the group have had their echo at one time: what only waited for that closes.
    pub group_arrived: bool,
    /// When the group's time is up.
    pub deadline: u64,
}

/// Where the sending side is.
enum Sending {
    /// The schedule of an open loop has not begun: nothing is due.
    Unscheduled,
    /// The next step of the plan is to be taken.
    Next,
    /// A message of `len` bytes may begin when the pipeline has room and it is due (0: at once).
    Begin { len: u64, due: u64 },
    /// So many bytes of a write are left.
    Fragment { left: usize },
    /// A pause.
    Pause { until: u64 },
    /// All is written; the end is to be made so.
    Ending(Close),
    /// The FIN is out, or nothing more will be sent.
    Ended,
}

/// How far a stall has been looked into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stall {
    No,
    /// Half-closed ahead of the plan, to see whether the missing bytes or at least an EOF come.
    Probing,
}

/// Moves in one turn, so that a fast connection does not keep the others of its worker waiting.
const MOVES: u32 = 64;
/// So many bytes more than were sent are more than any fault repeats: the peer will never end. In bytes.
const ENDLESS: u64 = 1 << 20;
/// The smallest part of a second that a slow reader reads at once.
const SLOW_PARTS: u64 = 20;

/// One connection of a run.
pub(super) struct ClientConnection {
    plan: Plan,
    verifier: Verifier,
    sent: u64,
    received: u64,
    sending: Sending,
    in_flight: InFlight,
    /// When it was opened, for lifetimes, pauses and slow reading.
    opened: u64,
    /// When the first byte was handed over; 0: not yet.
    first_write: u64,
    writes: WriteStall,
    /// When its age is reached.
    expires: u64,
    recent: OpLog,
    stall: Stall,
    /// `read = "after-stall"`: the stall has been seen.
    seen_blocked: bool,
    fin_sent: bool,
    /// Something was found wrong.
    failed: bool,
}

impl ClientConnection {
    pub(super) fn new(plan: Plan, conn: ConnId, opened: u64) -> Self {
        let expires = plan.max_age().map_or(u64::MAX, |age| opened.saturating_add(nanos(age)));
        let sending = if plan.profile().rate.is_some() { Sending::Unscheduled } else { Sending::Next };
        ClientConnection {
            plan,
            verifier: Verifier::new(conn),
            sent: 0,
            received: 0,
            sending,
            in_flight: InFlight::default(),
            opened,
            first_write: 0,
            writes: WriteStall::default(),
            expires,
            recent: OpLog::default(),
            stall: Stall::No,
            seen_blocked: false,
            fin_sent: false,
            failed: false,
        }
    }

    pub(super) fn conn(&self) -> ConnId {
        self.verifier.conn()
    }

    /// Where the open-loop schedule of its slot continues.
    pub(super) fn next_arrival(&self) -> u64 {
        self.plan.next_arrival()
    }

    /// The last writes and reads, for a finding.
    pub(super) fn recent_ops(&self, now: u64) -> Vec<crate::stream::Op> {
        self.recent.list(self.sent, self.received, now)
    }

    /// Whether anything was found wrong so far.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Something was found wrong.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    fn profile(&self) -> &Profile {
        self.plan.profile()
    }

    /// Moves what can be moved.
    pub(super) fn advance(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>) -> TurnResult {
        let mut readable = true;
        let mut writable = true;
        // May be some microseconds behind: a read that brings something reads the clock, and so does a turn without.
        let mut now = turn.clock.last();
        if turn.others_rest && self.profile().read == Read::Never {
            // Nothing is to be asserted about echo that is never read: once all others have ended, it leaves.
            socket.close_with_reset();
            return self.over_as_planned(turn);
        }
        let before = self.moved_so_far();
        for pass in 0..MOVES {
            self.mind_the_time(now, turn);
            let mut moved = false;
            if readable && self.may_read(now).is_ok() {
                match self.read(socket, turn, &mut now) {
                    Ok(0) => return self.over_by_eof(turn),
                    Ok(_) => moved = true,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        readable = false;
                        if pass == 0 {
                            now = turn.clock.read();
                        }
                    }
                    Err(e) => return self.over_by_error(turn, e),
                }
            }
            if writable {
                match self.send(socket, turn, now) {
                    Ok(SendProgress::Moved) => moved = true,
                    Ok(SendProgress::Nothing) => {}
                    Ok(SendProgress::Over) => return self.over_as_planned(turn),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        writable = false;
                        self.writes.block(now);
                    }
                    Err(e) => return self.over_by_write_error(socket, turn, e),
                }
            }
            if !moved {
                return self.wait(now, turn.deadline, self.has_progressed(&before));
            }
        }
        if self.received > self.sent.saturating_add(ENDLESS) {
            return self.over_by_surplus(turn);
        }
        TurnResult::Yield { owed: self.is_owed(now), progress: self.has_progressed(&before) }
    }

    fn moved_so_far(&self) -> Moved {
        Moved { received: self.received, sent: self.sent, right: self.verifier.position().min(self.sent) }
    }

    /// Whether the other side has done something in this turn.
    fn has_progressed(&self, before: &Moved) -> bool {
        let now = self.moved_so_far();
        // Bytes that may turn out to be its own are progress as long as more can follow; others never.
        let came = now.received > before.received && now.received <= now.sent && !self.fin_sent;
        // That it takes what is written says nothing while an older message is owed: an open loop writes while it can.
        let took = now.sent > before.sent && self.in_flight.len() <= 1;
        now.right > before.right || came || took
    }

    /// The silence has lasted for the stall time-out. The first time, a connection that still was to send half-closes,
    /// which tells a server that lost bytes from one that does not answer; the second time it is given up.
    pub(super) fn stalled(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>) -> TurnResult {
        let probe = self.stall == Stall::No && !self.fin_sent && self.asserts() == Expect::Exact;
        if probe && socket.shutdown().is_ok() {
            self.stall = Stall::Probing;
            self.fin_sent = true;
            self.sending = Sending::Ended;
            return TurnResult::Wait { timer: None, owed: true, waits_for: WaitsFor::Itself, progress: true };
        }
        let half_closed = self.fin_sent && self.stall == Stall::No;
        self.end(turn, End::Stalled { half_closed });
        TurnResult::Over(None)
    }

    /// Notes the messages that are due at the end of sending and were not begun.
    fn leave_unsent(&self, end: u64, turn: &mut TurnContext<'_>) {
        let schedule = &mut turn.figures.schedule;
        let so_far = end.saturating_sub(schedule.began.unwrap_or(u64::MAX));
        schedule.leave_unsent(self.plan.unsent(std::time::Duration::from_nanos(so_far)), end);
    }

    /// The run was interrupted: nothing more is asserted.
    pub(super) fn cut_short(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>) {
        self.leave_unsent(turn.clock.last().min(turn.deadline), turn);
        self.end(turn, End::Stopped);
        socket.close_with_reset();
    }

    fn asserts(&self) -> Expect {
        self.profile().expect()
    }

    /// Ends the plan when the group's time or the connection's own is up.
    fn mind_the_time(&mut self, now: u64, turn: &mut TurnContext<'_>) {
        if now < turn.deadline && now < self.expires {
            return;
        }
        if now >= turn.deadline {
            self.leave_unsent(turn.deadline, turn);
        }
        self.plan.stop();
        self.expires = u64::MAX;
        if matches!(self.sending, Sending::Unscheduled | Sending::Begin { .. } | Sending::Pause { .. }) {
            self.sending = Sending::Next;
        }
    }

    /// How much its way of reading lets it read now; if nothing, when to ask again (`None`: something else must
    /// happen).
    fn may_read(&self, now: u64) -> Result<usize, Option<u64>> {
        match self.profile().read {
            Read::Normal => Ok(usize::MAX),
            Read::Pause(pause) => {
                let until = self.opened + nanos(pause);
                if now >= until { Ok(usize::MAX) } else { Err(Some(until)) }
            }
            Read::Slow { bytes_per_second } => {
                let rate = bytes_per_second.max(1);
                let quantum = (rate / SLOW_PARTS).max(1);
                let allowed = ((u128::from(now - self.opened) * u128::from(rate)) / 1_000_000_000) as u64;
                if self.received + quantum <= allowed {
                    return Ok((allowed - self.received) as usize);
                }
                let due = u128::from(self.received + quantum) * 1_000_000_000 / u128::from(rate);
                Err(Some(self.opened + due as u64 + 1))
            }
            Read::AfterStall => {
                let written = matches!(self.sending, Sending::Ending(_) | Sending::Ended);
                if self.seen_blocked || written || self.writes.have_stalled(now) {
                    Ok(usize::MAX)
                } else {
                    Err(self.writes.stall_at())
                }
            }
            Read::Never => Err(None),
        }
    }

    fn read(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>, now: &mut u64) -> io::Result<usize> {
        let most = self.may_read(*now).unwrap_or(usize::MAX).min(turn.scratch.len());
        let n = socket.read(&mut turn.scratch[..most])?;
        if n == 0 {
            return Ok(0);
        }
        if self.profile().read == Read::AfterStall {
            self.seen_blocked = true;
        }
        self.received += n as u64;
        turn.figures.counters.bytes_received += n as u64;
        turn.figures.counters.reads += 1;
        match self.profile().verify {
            Verify::Full => {
                let before = self.verifier.verified();
                let ledger = LedgerOf { all: turn.ledger, conn: self.conn(), sent: self.sent };
                self.verifier.check(turn.stream, &ledger, &turn.scratch[..n], turn.found);
                turn.figures.counters.bytes_verified += self.verifier.verified().saturating_sub(before);
            }
            Verify::Off => self.verifier.trust(n as u64),
        }
        // After the check: a message's round trip ends when its last byte is verified.
        *now = turn.clock.read();
        turn.figures.span.echoed(*now);
        self.recent.push(OpKind::Read, n, *now);
        let (recent, sent, received) = (&self.recent, self.sent, self.received);
        self.verifier.note(|| Circumstances { at_ms: *now as f64 / 1e6, recent: recent.list(sent, received, *now) });
        if self.first_write != 0 && self.received == n as u64 {
            turn.figures.first_byte.record(now.saturating_sub(self.first_write));
        }
        // Bytes that are not named yet count as come, or a wrong byte at a message's end would hold up what would name
        // it.
        while let Some(begun) = self.in_flight.complete(self.verifier.reached()) {
            turn.figures.counters.messages_echoed += 1;
            let rtt = now.saturating_sub(begun);
            turn.figures.rtt.record(rtt);
            turn.figures.rtt_unmarked_ns = turn.figures.rtt_unmarked_ns.max(rtt);
            turn.figures.schedule.last_echo = *now;
        }
        Ok(n)
    }

    /// Takes steps of the plan until a write was made or something must be waited for.
    fn send(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>, now: u64) -> io::Result<SendProgress> {
        loop {
            match self.sending {
                Sending::Unscheduled if turn.figures.schedule.began.is_none() => return Ok(SendProgress::Nothing),
                Sending::Unscheduled => self.sending = Sending::Next,
                Sending::Next => self.take_step(now, &turn.figures.schedule),
                Sending::Begin { len, due } => {
                    if due > now || self.in_flight.len() >= self.profile().pipeline {
                        return Ok(SendProgress::Nothing);
                    }
                    self.sending = Sending::Next;
                    // Under an open-loop rate the round trip counts from when the message was due, not from when there
                    // was time for it: else the waits that overload causes would be left out (coordinated omission).
                    self.in_flight.begin(self.sent + len, if due == 0 { now } else { due });
                    turn.figures.counters.messages_sent += 1;
                    turn.figures.schedule.due_until = now;
                }
                Sending::Pause { until } => {
                    if now < until {
                        return Ok(SendProgress::Nothing);
                    }
                    self.sending = Sending::Next;
                }
                Sending::Fragment { left } => {
                    let n = self.write(socket, turn, left, now)?;
                    self.sending = if n < left { Sending::Fragment { left: left - n } } else { Sending::Next };
                    return Ok(SendProgress::Moved);
                }
                Sending::Ending(close) => return self.make_the_end(close, socket, turn),
                Sending::Ended => return Ok(SendProgress::Nothing),
            }
        }
    }

    fn take_step(&mut self, now: u64, schedule: &Schedule) {
        self.sending = match self.plan.next() {
            Some(Step::Message { len, due, .. }) => {
                Sending::Begin { len, due: due.map_or(0, |due| schedule.time_of(nanos(due)).max(1)) }
            }
            Some(Step::Write { len }) => Sending::Fragment { left: len },
            Some(Step::Gap(gap)) => Sending::Pause { until: now + nanos(gap) },
            Some(Step::Close(close)) => Sending::Ending(close),
            None => Sending::Ended,
        };
    }

    fn write(
        &mut self,
        socket: &mut impl Transport,
        turn: &mut TurnContext<'_>,
        left: usize,
        now: u64,
    ) -> io::Result<usize> {
        let most = left.min(turn.scratch.len());
        let conn = self.conn();
        turn.stream.fill(conn, self.sent, &mut turn.scratch[..most]);
        turn.ledger.set(conn, self.sent + most as u64);
        let result = socket.write(&turn.scratch[..most]);
        let n = *result.as_ref().unwrap_or(&0);
        if n < most {
            turn.ledger.set(conn, self.sent + n as u64);
        }
        let n = result?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if self.first_write == 0 {
            self.first_write = now.max(1);
        }
        self.sent += n as u64;
        self.count_stall(turn, now);
        self.writes.unblock();
        self.recent.push(OpKind::Write, n, now);
        turn.figures.counters.bytes_sent += n as u64;
        turn.figures.counters.writes += 1;
        Ok(n)
    }

    /// Counts the connection among those whose writes have stalled.
    fn count_stall(&mut self, turn: &mut TurnContext<'_>, now: u64) {
        turn.figures.counters.write_stalls += u64::from(self.writes.take_stall(now));
    }

    fn make_the_end(
        &mut self,
        close: Close,
        socket: &mut impl Transport,
        turn: &TurnContext<'_>,
    ) -> io::Result<SendProgress> {
        let never_reads = self.profile().read == Read::Never;
        match close {
            // It leaves once all others have ended.
            _ if never_reads => Ok(SendProgress::Nothing),
            Close::Keep if !turn.others_rest => Ok(SendProgress::Nothing),
            Close::Together if !turn.group_arrived => Ok(SendProgress::Nothing),
            Close::AfterEcho | Close::Together if self.verifier.reached() < self.sent => Ok(SendProgress::Nothing),
            // What lies unread is an EOF or bytes too many, and the next read says which.
            Close::AfterEcho | Close::Together if socket.is_readable() => Ok(SendProgress::Nothing),
            Close::AfterEcho | Close::Together
                if self.received == self.sent && self.verifier.verified() == self.sent =>
            {
                Ok(SendProgress::Over)
            }
            // Something was wrong, and what still comes helps to name it: so a half-close after all.
            Close::HalfClose | Close::AfterEcho | Close::Together | Close::Keep => {
                socket.shutdown()?;
                self.fin_sent = true;
                self.sending = Sending::Ended;
                Ok(SendProgress::Moved)
            }
            Close::Reset => {
                socket.close_with_reset();
                Ok(SendProgress::Over)
            }
            // Echo must lie unread in the socket for the close to mean anything; with nothing owed there is none to
            // wait for.
            Close::Abandon if self.received < self.sent && !socket.is_readable() => Ok(SendProgress::Nothing),
            Close::Abandon => Ok(SendProgress::Over),
        }
    }

    /// Whether silence counts as a stall.
    fn is_owed(&self, now: u64) -> bool {
        let missing = self.verifier.reached() < self.sent;
        let blocked = matches!(self.sending, Sending::Fragment { .. });
        let abandons = matches!(self.sending, Sending::Ending(Close::Abandon)) && self.profile().read != Read::Never;
        (self.may_read(now).is_ok() && (missing || self.fin_sent || blocked)) || abandons
    }

    fn wait(&self, now: u64, deadline: u64, progress: bool) -> TurnResult {
        let reading = self.may_read(now);
        let sending = match self.sending {
            Sending::Begin { due, .. } if due > now => Some(due),
            Sending::Pause { until } => Some(until),
            _ => None,
        };
        let expires = Some(self.expires).filter(|&at| at != u64::MAX && !self.fin_sent);
        let never_reads = self.profile().read == Read::Never;
        let stalls = if never_reads { self.writes.stall_at().filter(|at| *at > now) } else { None };
        let timer = [reading.err().flatten(), sending, expires, stalls].into_iter().flatten().min();
        let missing = self.verifier.reached() < self.sent;
        let writing = matches!(self.sending, Sending::Fragment { .. });
        // One that never reads has a time of its own if it was given one, and until its writes stall.
        let has_more = (now < deadline && deadline != u64::MAX) || (writing && !self.writes.have_stalled(now));
        let ending = matches!(self.sending, Sending::Ending(_));
        let waits_for = match self.profile().close {
            _ if never_reads && has_more => WaitsFor::Itself,
            _ if never_reads => WaitsFor::Run,
            Close::Keep if ending && !missing => WaitsFor::Run,
            Close::Together if ending && !missing => WaitsFor::Group,
            _ => WaitsFor::Itself,
        };
        TurnResult::Wait { timer, owed: self.is_owed(now), waits_for, progress }
    }

    fn over_by_eof(&mut self, turn: &mut TurnContext<'_>) -> TurnResult {
        let (position, missing) = (self.verifier.position(), self.sent - self.verifier.position().min(self.sent));
        let before = turn.found.len();
        self.end(turn, End::Fin { expect: self.asserts(), after_stall: self.stall == Stall::Probing });
        if turn.found.len() == before && self.asserts() == Expect::Exact {
            // Every byte came, but too late, or the other side ended a connection that was still to be used.
            if self.stall == Stall::Probing {
                turn.found.push(Divergence::of_connection(Kind::Stalled, self.conn(), position, missing));
            } else if !self.fin_sent {
                turn.found.push(Divergence::of_connection(Kind::Truncated, self.conn(), position, missing));
            }
        }
        TurnResult::Over(None)
    }

    /// It sends without end, and nothing that could still come would tell more.
    fn over_by_surplus(&mut self, turn: &mut TurnContext<'_>) -> TurnResult {
        let before = turn.found.len();
        self.end(turn, End::Fin { expect: Expect::Prefix, after_stall: false });
        if !self.failed && turn.found.len() == before {
            let extent = self.received - self.sent;
            turn.found.push(Divergence::of_connection(Kind::Surplus, self.conn(), self.sent, extent));
        }
        TurnResult::Over(None)
    }

    fn over_as_planned(&mut self, turn: &mut TurnContext<'_>) -> TurnResult {
        self.end(turn, End::Stopped);
        TurnResult::Over(None)
    }

    fn over_by_error(&mut self, turn: &mut TurnContext<'_>, error: io::Error) -> TurnResult {
        self.end(turn, End::Reset { expect: self.asserts() });
        TurnResult::Over(Some(error))
    }

    /// A write that fails says nothing of what had come before: read that first, so that a verdict names the right
    /// place.
    fn over_by_write_error(
        &mut self,
        socket: &mut impl Transport,
        turn: &mut TurnContext<'_>,
        error: io::Error,
    ) -> TurnResult {
        let mut now = turn.clock.read();
        while self.profile().read != Read::Never {
            match self.read(socket, turn, &mut now) {
                Ok(0) => return self.over_by_eof(turn),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.over_by_error(turn, error)
    }

    fn end(&mut self, turn: &mut TurnContext<'_>, end: End) {
        self.count_stall(turn, turn.clock.last());
        if self.profile().verify == Verify::Full || !matches!(end, End::Stopped) {
            let before = self.verifier.verified();
            let ledger = LedgerOf { all: turn.ledger, conn: self.conn(), sent: self.sent };
            self.verifier.end(turn.stream, &ledger, end, turn.found);
            turn.figures.counters.bytes_verified += self.verifier.verified().saturating_sub(before);
        }
        turn.ledger.close(self.conn());
    }
}

/// How far a connection has come.
struct Moved {
    received: u64,
    sent: u64,
    /// Bytes that came back right, or are accounted for.
    right: u64,
}

enum SendProgress {
    Moved,
    Nothing,
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<ClientConnection>() <= 320, "{}", size_of::<ClientConnection>());
    }
}
