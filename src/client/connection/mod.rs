//! One connection: follows its plan over a non-blocking socket.
//!
//! This is the engine's whole protocol, and it has no runtime in it. [`ClientConnection::advance`] is called when the
//! socket may have become ready or a time has come. It moves bytes until nothing moves, and says what it waits for. It
//! never stops reading because it has something to write, so no echo server can deadlock it. It owns no buffer, since
//! any byte of the stream can be made when it is needed. It sets no timer for stalls: the worker's sweep finds them.
//!
//! # Sending (`sender`)
//!
//! | state | leaves it when | then |
//! | --- | --- | --- |
//! | `Unscheduled` | the schedule of its open loop has started | `NextStep` |
//! | `NextStep` | at once | the state that the next step of the plan asks for |
//! | `Begin` | the message is due and the pipeline has room | `NextStep` |
//! | `Fragment` | the socket has taken all of the write | `NextStep` |
//! | `Pause` | its time has come | `NextStep` |
//! | `Ending` | the table of endings says so | `Ended`, or the connection is over |
//! | `Ended` | never | |
//!
//! When the time of the group or of the connection is up, the plan is stopped: `Unscheduled`, `Begin` and `Pause` go to
//! `NextStep`, which finds the end; `Fragment` first finishes the message that it is in.
//!
//! # Endings (`ending`): what state `Ending` does
//!
//! | `close` | waits until | then |
//! | --- | --- | --- |
//! | `half-close` | | FIN |
//! | `keep` | all other connections of the run have ended | FIN |
//! | `after-echo` | all echo has come and nothing is unread | closes; FIN if something was wrong |
//! | `together` | all connections of the group have had their echo at one moment | as `after-echo` |
//! | `half-close-reset` | | FIN; resets once half of the echo has come |
//! | `abandon` | echo lies unread, or none is owed | closes |
//! | `reset` | | resets |
//! | `shutdown-read`, `shutdown-both` | | shuts down that direction; closes 200 ms later |
//! | any, with `read = "never"` | all other connections of the run have ended | resets |
//!
//! After its FIN a connection reads until the peer's.
//!
//! # Reading (`receiver`)
//!
//! | `read` | may read |
//! | --- | --- |
//! | `normal` | always |
//! | `pause` | once its pause is over, which begins with the opening |
//! | `dribble` | as `pause`, then a byte a millisecond until 1,000 have come |
//! | `slow` | when a twentieth of a second's bytes are allowed |
//! | `after-stall` | once its own writes have stalled, which ends its plan, or wait for echo, or are all done |
//! | `never` | never |
//!
//! While it may read, silence is a stall if echo is missing, if the peer's FIN is missing after its own, or if a write
//! is blocked. Silence is also a stall while an `abandon` waits for echo, unless it never reads.
//!
//! Where both ends are ours, a connection is one half of a pair (`half`, `halves`): it sends a stream of its own, and
//! receives the other half's. It may go on writing after the other half's FIN, and what it may expect follows from what
//! the other half has done.
//!
//! # How a connection is over (`over`)
//!
//! | what happened | what is asserted |
//! | --- | --- |
//! | it carried out its ending, or the run was stopped | nothing about bytes that had not come |
//! | the peer seems to send forever | that there is no surplus |
//! | anything else (`EndedBy`) | what the table of names says (`end_names`) |
//!
//! Of abrupt ends (see [`Profile::expected_echo`]) only the bytes that came are asserted, not that all of them did.
//!
//! A connection that stalls before it has sent its FIN half-closes ahead of the plan, as a probe: a server that has
//! forgotten to look for more wakes up, and one that hangs does not. If the silence goes on after that, the connection
//! is over.
//!
//! When its time is up, a connection finishes its message, without further pauses, and ends. If the grace after that is
//! over too, it is over as well.

mod end_names;
mod ending;
mod half;
mod halves;
mod in_flight;
mod op_log;
mod over;
mod receiver;
mod sender;
mod turn;
mod write_stall;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use end_names::ended_by;
pub(super) use half::Half;
use op_log::OpLog;
use receiver::{ReadAllowance, Receiver};
use sender::{SendProgress, Sender};
pub(super) use turn::{Transport, TurnContext, TurnResult, WaitsFor};

use super::clock::{NEVER, nanos};
use super::pair::{HalfEnd, Pair, Side};
use crate::plan::{ConnectionPlan, ExpectedEcho, Profile, Read};
use crate::stream::{Circumstances, ConnId, Divergence, EndedBy, FindingKind, MAX_FINDINGS, Op, OpKind, OtherSide};

/// How often a turn reads and writes at most, so that a fast connection does not keep the others of its worker waiting.
const PASSES_PER_TURN: u32 = 64;
/// Surplus bytes after which the peer is assumed to send forever; no fault repeats this much.
const ENDLESS_SURPLUS_BYTES: u64 = 1 << 20;

/// One connection of a run.
pub(super) struct ClientConnection {
    sender: Sender,
    receiver: Receiver,
    /// Where both ends are ours: its other half. In an echo it has none.
    half: Option<Box<Half>>,
    /// When its age is reached, in nanoseconds since the start of the run; [`NEVER`] if never, or if that is over.
    expires: u64,
    /// When the grace after its time is over; [`NEVER`]: its time is not up.
    must_end_by: u64,
    log: OpLog,
    /// How much was found wrong, up to 255.
    findings: u8,
}

/// How far a connection has come.
struct TransferProgress {
    received: u64,
    sent: u64,
    /// Bytes that came back right, or are accounted for.
    right: u64,
}

impl ClientConnection {
    /// A connection that was opened at `opened`, in nanoseconds since the start of the run.
    pub(super) fn new(plan: ConnectionPlan, conn: ConnId, opened: u64) -> Self {
        ClientConnection {
            expires: plan.max_age().map_or(NEVER, |age| opened.saturating_add(nanos(age))),
            receiver: Receiver::new(conn, opened, plan.profile().marked_until() > 0),
            sender: Sender::new(plan),
            half: None,
            must_end_by: NEVER,
            log: OpLog::default(),
            findings: 0,
        }
    }

    /// The same connection as the half of a pair.
    pub(super) fn paired(self, half: Half) -> Self {
        ClientConnection { half: Some(Box::new(half)), ..self }
    }

    pub(super) fn conn(&self) -> ConnId {
        self.receiver.conn()
    }

    /// Which end it is, where both ends are ours.
    #[inline]
    pub(super) fn side(&self) -> Option<Side> {
        self.half.as_deref().map(Half::side)
    }

    /// The pair that it is a half of.
    pub(super) fn pair(&self) -> Option<&Arc<Pair>> {
        self.half.as_deref().map(Half::pair)
    }

    /// The other half, for a finding.
    pub(super) fn other_side(&self) -> Option<OtherSide> {
        self.half.as_deref().map(Half::shown_other)
    }

    /// Where both ends are ours: where the connection to the backend came from.
    pub(super) fn seen_from(&self) -> Option<SocketAddr> {
        self.half.as_deref().and_then(Half::seen_from)
    }

    /// Where the open-loop schedule of its slot continues.
    pub(super) fn next_arrival(&self) -> u64 {
        self.sender.plan().next_arrival()
    }

    /// The last writes and reads, for a finding.
    pub(super) fn recent_ops(&self, now: u64) -> Vec<Op> {
        self.log.list(self.sender.sent(), self.receiver.received(), now)
    }

    /// Whether anything was found wrong so far.
    pub(super) fn has_failed(&self) -> bool {
        self.findings > 0
    }

    /// Whether so much was wrong that more would tell nothing new.
    #[inline]
    pub(super) fn has_had_enough(&self) -> bool {
        u64::from(self.findings) >= MAX_FINDINGS
    }

    /// Notes that so much was found wrong.
    pub(super) fn fail(&mut self, findings: usize) {
        self.findings = self.findings.saturating_add(u8::try_from(findings).unwrap_or(u8::MAX));
    }

    /// Whether it has half-closed ahead of the plan, after a stall.
    pub(super) fn is_probing(&self) -> bool {
        self.sender.own_fin().is_some_and(|fin| fin.probe_after.is_some())
    }

    /// The client itself had no processor for `gap` nanoseconds, which have just ended: that time counts for nobody.
    pub(super) fn leave_out(&mut self, gap: u64) {
        self.receiver.leave_out(gap);
        if self.must_end_by != NEVER {
            self.must_end_by = self.must_end_by.saturating_add(gap);
        }
    }

    /// Findings show that the client stood still for `gap` nanoseconds, until `now`.
    pub(super) fn note_stand_still(&mut self, gap: u64, now: u64) {
        self.log.push(OpKind::StoodStill, (gap / 1_000_000) as usize, now);
    }

    /// Moves whatever can be moved.
    pub(super) fn advance(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>) -> TurnResult {
        let mut readable = !self.sender.is_lingering() && !self.is_read_to_end();
        let mut writable = true;
        // May lag by some microseconds: a read that brings something reads the clock, and so does a turn without one.
        let mut now = turn.clock.last();
        if turn.others_rest && self.rests_unread(now) {
            // Nothing is asserted about echo that is never read, so it leaves once all others have ended.
            socket.close_with_reset();
            return self.over_as_planned(turn, HalfEnd::Reset);
        }
        self.take_urgent(socket, turn);
        let before = self.progress();
        for pass in 0..PASSES_PER_TURN {
            self.check_time(now, turn);
            let mut moved = false;
            let may_read = self.allowance(now).may_read();
            if readable && may_read {
                match self.read(socket, turn, &mut now) {
                    Ok(0) if self.may_go_on_after_fin() => (readable, moved) = (false, true),
                    Ok(0) => return self.over(turn, EndedBy::Fin, None),
                    Ok(_) => moved = true,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        readable = false;
                        if pass == 0 {
                            now = turn.clock.read();
                        }
                    }
                    Err(e) => return self.over(turn, ended_by(&e), Some(e)),
                }
            }
            if writable {
                match self.sender.send(socket, turn, (&self.receiver, self.half.as_deref_mut()), &mut self.log, now) {
                    Ok(SendProgress::Moved) => {
                        moved = true;
                        if self.half.is_some() && self.note_sent(now) {
                            return self.over(turn, EndedBy::Fin, None);
                        }
                    }
                    Ok(SendProgress::Nothing) => readable &= !self.sender.is_lingering(),
                    Ok(SendProgress::Over(end)) => return self.over_as_planned(turn, end),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        writable = false;
                        self.sender.note_blocked(now);
                    }
                    Err(e) => return self.over_by_write_error(socket, turn, e),
                }
            }
            if now >= self.must_end_by && self.is_owed(now) {
                return self.over(turn, EndedBy::Overtime, None);
            }
            // A message that may not begin may have allowed to read. The wait does not report again what lies there.
            if !moved && (may_read || !readable || !self.allowance(now).may_read()) {
                return self.wait(now, turn.deadline, self.has_progressed(&before));
            }
        }
        if self.receiver.received() > self.expected().saturating_add(ENDLESS_SURPLUS_BYTES) {
            return self.over_by_surplus(turn);
        }
        TurnResult::Yield { owed: self.is_owed(now), progress: self.has_progressed(&before) }
    }

    /// The silence has lasted for the stall time-out, as far as the sweep knows. What lies in the socket is read first.
    /// Then, the first time, a connection that was still to send half-closes, to wake a server that forgot to look for
    /// more. The second time it is given up.
    pub(super) fn stalled(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>) -> TurnResult {
        socket.assume_ready();
        match self.advance(socket, turn) {
            TurnResult::Wait { owed: true, progress: false, .. } => {}
            TurnResult::Yield { owed: true, progress: false } => {}
            not_stalled => return not_stalled,
        }
        let now = turn.clock.last();
        let is_exact = self.profile().expected_echo() == ExpectedEcho::Exact;
        let may_probe = !self.sender.is_fin_sent() && is_exact && self.half.is_none();
        let (received, silence) = (self.receiver.received(), self.receiver.silence(now));
        if may_probe && self.sender.probe(socket, received, silence, now) {
            self.log.push(OpKind::Probe, 0, now);
            return TurnResult::Wait { timer: None, owed: true, waits_for: WaitsFor::Itself, progress: true };
        }
        self.over(turn, EndedBy::Silence, None)
    }

    /// The run was stopped: resets the connection, and asserts nothing more.
    pub(super) fn cut_short(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>) {
        turn.stats.counters.given_up += u64::from(self.has_had_enough());
        self.sender.leave_unsent(turn.clock.last().min(turn.deadline), &mut turn.stats.open_loop);
        let _ = self.over_as_planned(turn, HalfEnd::Reset);
        socket.close_with_reset();
    }

    #[inline]
    pub(super) fn profile(&self) -> &Profile {
        self.sender.profile()
    }

    fn never_reads(&self) -> bool {
        self.profile().read == Read::Never
    }

    /// How much it may read now.
    #[inline]
    fn allowance(&self, now: u64) -> ReadAllowance {
        let read = self.profile().read;
        // Writes that wait for echo never stall, so a connection that waited for their stall would never read.
        let all_written = self.sender.has_written_all() || (read == Read::AfterStall && self.sender.awaits_echo());
        self.receiver.allowance(read, now, self.sender.writes(), all_written)
    }

    /// Ends the plan when the time of the group or of the connection is up.
    #[inline]
    fn check_time(&mut self, now: u64, turn: &mut TurnContext<'_>) {
        if now >= turn.deadline || now >= self.expires {
            self.time_is_up(now, turn);
        }
    }

    #[cold]
    fn time_is_up(&mut self, now: u64, turn: &mut TurnContext<'_>) {
        if now >= turn.deadline {
            self.sender.leave_unsent(turn.deadline, &mut turn.stats.open_loop);
        }
        if self.must_end_by == NEVER {
            let end = if self.half.is_some() { self.expected() } else { self.sender.end_of_message() };
            let own_delay = self.receiver.own_delay(self.profile().read, end, now);
            self.must_end_by = now.saturating_add(own_delay).saturating_add(nanos(self.profile().grace));
        }
        if !self.half.as_deref().is_some_and(Half::answers) {
            self.sender.stop();
        }
        self.expires = NEVER;
    }

    fn progress(&self) -> TransferProgress {
        let right = self.receiver.position().min(self.expected());
        TransferProgress { received: self.receiver.received(), sent: self.sender.sent(), right }
    }

    /// Whether the peer has done something since then.
    fn has_progressed(&self, before: &TransferProgress) -> bool {
        let now = self.progress();
        if self.half.is_some() {
            return self.has_half_progressed(before, &now);
        }
        // Bytes that may turn out to be the connection's own are progress while more can follow. Others never are.
        let came = now.received > before.received && now.received <= now.sent && !self.sender.is_fin_sent();
        // An open loop writes while it can, so that the peer takes bytes says nothing while an older message is owed.
        let took = now.sent > before.sent && self.sender.in_flight() <= 1;
        now.right > before.right || came || took
    }

    /// Takes urgent data, which is none of the stream: a finding for each byte.
    #[inline]
    fn take_urgent(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>) {
        while let Some(byte) = socket.take_urgent() {
            self.note_urgent(byte, turn);
        }
    }

    /// A byte of urgent data has come. The client's own may come back so.
    #[cold]
    fn note_urgent(&mut self, byte: u8, turn: &mut TurnContext<'_>) {
        let mut own = [0];
        if let Some(at) = self.profile().urgent {
            turn.stream.fill(self.conn(), at, &mut own);
            if byte == !own[0] {
                return;
            }
        }
        let of_connection = Divergence::of_connection(FindingKind::Surplus, self.conn(), self.receiver.reached(), 1);
        turn.found.push(Divergence { urgent: true, received: vec![byte], ..of_connection });
    }

    /// Reads and checks what may be read, and completes the messages whose echo has come.
    fn read(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>, now: &mut u64) -> io::Result<usize> {
        let most = match self.allowance(*now) {
            ReadAllowance::Bytes(most) => most,
            // Only after a write that failed: then everything that came is read.
            ReadAllowance::NotBefore(_) | ReadAllowance::Nothing => usize::MAX,
        };
        let sent = self.expected();
        let n = self.receiver.receive(socket, turn, most, self.sender.profile(), sent)?;
        if n == 0 {
            return Ok(0);
        }
        // After the check: the round trip of a message ends when its last byte is verified.
        *now = turn.clock.read();
        turn.stats.active_time.echoed(*now);
        self.receiver.came(*now);
        self.log.push(OpKind::Read, n, *now);
        let (log, received, sent) = (&self.log, self.receiver.received(), self.sender.sent());
        if let Some(half) = &mut self.half {
            half.note_received(received, self.receiver.reached(), *now, turn.stats);
        }
        let half = self.half.as_deref();
        let then = || Circumstances {
            at_ms: *now as f64 / 1e6,
            recent: log.list(sent, received, *now),
            other: half.map(Half::shown_other),
        };
        turn.stats.counters.undecided += u64::from(self.receiver.note(then));
        // Wrong bytes that are not named yet count as echo. Otherwise a wrong byte at the end of a message would hold
        // up the bytes that would name it.
        self.sender.take_echo(self.receiver.reached(), received == n as u64, *now, turn.stats);
        Ok(n)
    }

    /// Whether bytes that it sent have not come back.
    fn is_echo_missing(&self) -> bool {
        self.receiver.reached() < self.expected()
    }

    /// Whether silence counts as a stall.
    fn is_owed(&self, now: u64) -> bool {
        if let Some(half) = self.half.as_deref() {
            return self.is_half_owed(half, now);
        }
        let owes = self.is_echo_missing() || self.sender.is_fin_sent() || self.sender.is_writing();
        (self.allowance(now).may_read() && owes && !self.sender.is_lingering())
            || (self.sender.is_abandoning() && !self.never_reads())
    }

    /// What it waits for when nothing moves any more.
    fn wait(&self, now: u64, deadline: u64, progress: bool) -> TurnResult {
        let reads_at = match self.allowance(now) {
            ReadAllowance::NotBefore(at) => at,
            ReadAllowance::Bytes(_) | ReadAllowance::Nothing => NEVER,
        };
        let (never_reads, owed) = (self.never_reads() || self.is_never_read(), self.is_owed(now));
        let still_moves = never_reads && !self.rests_unread(now);
        let expires = if self.sender.is_fin_sent() { NEVER } else { self.expires };
        let must_end_by = if owed { self.must_end_by } else { NEVER };
        let writes = self.sender.writes();
        let stalls = if never_reads { writes.stall_at().filter(|at| *at > now).unwrap_or(NEVER) } else { NEVER };
        let continues_at = self.sender.continues_at(now).unwrap_or(NEVER);
        // Of plain numbers: this is done for each message, and an iterator over options takes 40 instructions more.
        let at = reads_at.min(continues_at).min(expires).min(must_end_by).min(stalls);
        let at = if self.half.is_some() { at.min(self.looks_again_at(now)) } else { at };
        let timer = (at != NEVER).then_some(at);
        // A connection that never reads has a time of its own if it was given one, and until its writes stall.
        let has_more =
            (now < deadline && deadline != u64::MAX) || (self.sender.is_writing() && !writes.have_stalled(now));
        let waits_for = ending::waits_for(
            self.profile().close,
            never_reads,
            has_more || still_moves,
            self.sender.is_ending(),
            self.is_echo_missing(),
        );
        if let Some(half) = self.half.as_deref().filter(|_| self.never_reads()) {
            half.note_rests(waits_for == WaitsFor::Run);
        }
        TurnResult::Wait { timer, owed, waits_for, progress }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod sizes {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<ClientConnection>() <= 336, "{}", size_of::<ClientConnection>());
    }
}
