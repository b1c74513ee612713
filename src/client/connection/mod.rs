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
//! | `abandon` | echo lies unread, or none is owed | closes |
//! | `reset` | | resets |
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
//! | `slow` | when a twentieth of a second's bytes are allowed |
//! | `after-stall` | once its own writes have stalled, or all is written |
//! | `never` | never |
//!
//! While it may read, silence is a stall if echo is missing, if the peer's FIN is missing after its own, or if a write
//! is blocked. Silence is also a stall while an `abandon` waits for echo, unless it never reads.
//!
//! # How a connection is over
//!
//! | what happened | `End` | what it asserts |
//! | --- | --- | --- |
//! | it carried out its ending, or the run was stopped | `Stopped` | nothing about bytes that had not come |
//! | the peer's FIN came | `Fin` | every byte came, and the FIN after its own |
//! | a read or a write failed | `Reset` | every byte came |
//! | the peer seems to send forever | `Fin` | there is no surplus |
//! | it stalled | `Stalled` | every byte came, and a FIN after its own |
//!
//! With `reset`, `abandon` and `read = "never"` only the bytes that came are asserted, not that all of them did.
//!
//! A connection that stalls before it has sent its FIN half-closes ahead of the plan, as a probe: a server that lost
//! bytes answers with its FIN, one that hangs does not. If the silence goes on after that, the connection is over.

mod ending;
mod in_flight;
mod op_log;
mod receiver;
mod sender;
mod turn;
mod write_stall;

use std::io;

use op_log::OpLog;
use receiver::{ReadAllowance, Receiver};
use sender::{SendProgress, Sender};
pub(super) use turn::{Transport, TurnContext, TurnResult, WaitsFor};

use super::clock::nanos;
use crate::plan::{ConnectionPlan, Profile, Read, Verify};
use crate::stream::{Circumstances, ConnId, Divergence, End, ExpectedEcho, FindingKind, Op, OpKind};

/// How often a turn reads and writes at most, so that a fast connection does not keep the others of its worker waiting.
const PASSES_PER_TURN: u32 = 64;
/// Surplus bytes after which the peer is assumed to send forever; no fault repeats this much.
const ENDLESS_SURPLUS_BYTES: u64 = 1 << 20;

/// One connection of a run.
pub(super) struct ClientConnection {
    sender: Sender,
    receiver: Receiver,
    /// When its age is reached, in nanoseconds since the start of the run; `u64::MAX` if never, or if that is over.
    expires: u64,
    log: OpLog,
    /// Whether it has half-closed ahead of the plan after a stall, to see whether missing bytes or a FIN come.
    probing: bool,
    /// Whether anything was found wrong.
    failed: bool,
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
            expires: plan.max_age().map_or(u64::MAX, |age| opened.saturating_add(nanos(age))),
            sender: Sender::new(plan),
            receiver: Receiver::new(conn, opened),
            log: OpLog::default(),
            probing: false,
            failed: false,
        }
    }

    pub(super) fn conn(&self) -> ConnId {
        self.receiver.conn()
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
        self.failed
    }

    /// Notes that something was found wrong.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    /// Moves whatever can be moved.
    pub(super) fn advance(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>) -> TurnResult {
        let mut readable = true;
        let mut writable = true;
        // May lag by some microseconds: a read that brings something reads the clock, and so does a turn without one.
        let mut now = turn.clock.last();
        if turn.others_rest && self.never_reads() {
            // Nothing is asserted about echo that is never read, so it leaves once all others have ended.
            socket.close_with_reset();
            return self.over_as_planned(turn);
        }
        let before = self.progress();
        for pass in 0..PASSES_PER_TURN {
            self.check_time(now, turn);
            let mut moved = false;
            if readable && self.allowance(now).may_read() {
                match self.read(socket, turn, &mut now) {
                    Ok(0) => return self.over_by_fin(turn),
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
                match self.sender.send(socket, turn, &self.receiver, &mut self.log, now) {
                    Ok(SendProgress::Moved) => moved = true,
                    Ok(SendProgress::Nothing) => {}
                    Ok(SendProgress::Over) => return self.over_as_planned(turn),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        writable = false;
                        self.sender.note_blocked(now);
                    }
                    Err(e) => return self.over_by_write_error(socket, turn, e),
                }
            }
            if !moved {
                return self.wait(now, turn.deadline, self.has_progressed(&before));
            }
        }
        if self.receiver.received() > self.sender.sent().saturating_add(ENDLESS_SURPLUS_BYTES) {
            return self.over_by_surplus(turn);
        }
        TurnResult::Yield { owed: self.is_owed(now), progress: self.has_progressed(&before) }
    }

    /// The silence has lasted for the stall time-out. The first time, a connection that was still to send half-closes,
    /// which distinguishes a server that lost bytes from one that does not answer. The second time it is given up.
    pub(super) fn stalled(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>) -> TurnResult {
        let may_probe =
            !self.probing && !self.sender.is_fin_sent() && self.profile().expected_echo() == ExpectedEcho::Exact;
        if may_probe && self.sender.half_close_early(socket) {
            self.probing = true;
            return TurnResult::Wait { timer: None, owed: true, waits_for: WaitsFor::Itself, progress: true };
        }
        let half_closed = self.sender.is_fin_sent() && !self.probing;
        self.end(turn, End::Stalled { half_closed });
        TurnResult::Over(None)
    }

    /// The run was stopped: resets the connection, and asserts nothing more.
    pub(super) fn cut_short(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>) {
        self.sender.leave_unsent(turn.clock.last().min(turn.deadline), &mut turn.stats.open_loop);
        self.end(turn, End::Stopped);
        socket.close_with_reset();
    }

    #[inline]
    fn profile(&self) -> &Profile {
        self.sender.profile()
    }

    fn never_reads(&self) -> bool {
        self.profile().read == Read::Never
    }

    /// How much it may read now.
    #[inline]
    fn allowance(&self, now: u64) -> ReadAllowance {
        let all_written = self.sender.has_written_all();
        self.receiver.allowance(self.profile().read, now, self.sender.writes(), all_written)
    }

    /// Ends the plan when the time of the group or of the connection is up.
    fn check_time(&mut self, now: u64, turn: &mut TurnContext<'_>) {
        if now < turn.deadline && now < self.expires {
            return;
        }
        if now >= turn.deadline {
            self.sender.leave_unsent(turn.deadline, &mut turn.stats.open_loop);
        }
        self.sender.stop();
        self.expires = u64::MAX;
    }

    fn progress(&self) -> TransferProgress {
        let sent = self.sender.sent();
        TransferProgress { received: self.receiver.received(), sent, right: self.receiver.position().min(sent) }
    }

    /// Whether the peer has done something since then.
    fn has_progressed(&self, before: &TransferProgress) -> bool {
        let now = self.progress();
        // Bytes that may turn out to be the connection's own are progress while more can follow. Others never are.
        let came = now.received > before.received && now.received <= now.sent && !self.sender.is_fin_sent();
        // An open loop writes while it can, so that the peer takes bytes says nothing while an older message is owed.
        let took = now.sent > before.sent && self.sender.in_flight() <= 1;
        now.right > before.right || came || took
    }

    /// Reads and checks what may be read, and completes the messages whose echo has come.
    fn read(&mut self, socket: &mut impl Transport, turn: &mut TurnContext<'_>, now: &mut u64) -> io::Result<usize> {
        let most = match self.allowance(*now) {
            ReadAllowance::Bytes(most) => most,
            // Only after a write that failed: then everything that came is read.
            ReadAllowance::NotBefore(_) | ReadAllowance::Nothing => usize::MAX,
        };
        let (verify, sent) = (self.profile().verify, self.sender.sent());
        let n = self.receiver.receive(socket, turn, most, verify, sent)?;
        if n == 0 {
            return Ok(0);
        }
        // After the check: the round trip of a message ends when its last byte is verified.
        *now = turn.clock.read();
        turn.stats.active_time.echoed(*now);
        self.log.push(OpKind::Read, n, *now);
        let (log, received) = (&self.log, self.receiver.received());
        self.receiver.note(|| Circumstances { at_ms: *now as f64 / 1e6, recent: log.list(sent, received, *now) });
        // Wrong bytes that are not named yet count as echo. Otherwise a wrong byte at the end of a message would hold
        // up the bytes that would name it.
        self.sender.take_echo(self.receiver.reached(), received == n as u64, *now, turn.stats);
        Ok(n)
    }

    /// Whether bytes that it sent have not come back.
    fn is_echo_missing(&self) -> bool {
        self.receiver.reached() < self.sender.sent()
    }

    /// Whether silence counts as a stall.
    fn is_owed(&self, now: u64) -> bool {
        let owes = self.is_echo_missing() || self.sender.is_fin_sent() || self.sender.is_writing();
        (self.allowance(now).may_read() && owes) || (self.sender.is_abandoning() && !self.never_reads())
    }

    /// What it waits for when nothing moves any more.
    fn wait(&self, now: u64, deadline: u64, progress: bool) -> TurnResult {
        let reads_at = match self.allowance(now) {
            ReadAllowance::NotBefore(at) => Some(at),
            ReadAllowance::Bytes(_) | ReadAllowance::Nothing => None,
        };
        let never_reads = self.never_reads();
        let expires = Some(self.expires).filter(|&at| at != u64::MAX && !self.sender.is_fin_sent());
        let writes = self.sender.writes();
        let stalls = if never_reads { writes.stall_at().filter(|at| *at > now) } else { None };
        let timer = [reads_at, self.sender.continues_at(now), expires, stalls].into_iter().flatten().min();
        // A connection that never reads has a time of its own if it was given one, and until its writes stall.
        let has_more =
            (now < deadline && deadline != u64::MAX) || (self.sender.is_writing() && !writes.have_stalled(now));
        let waits_for = ending::waits_for(
            self.profile().close,
            never_reads,
            has_more,
            self.sender.is_ending(),
            self.is_echo_missing(),
        );
        TurnResult::Wait { timer, owed: self.is_owed(now), waits_for, progress }
    }

    fn over_as_planned(&mut self, turn: &mut TurnContext<'_>) -> TurnResult {
        self.end(turn, End::Stopped);
        TurnResult::Over(None)
    }

    fn over_by_fin(&mut self, turn: &mut TurnContext<'_>) -> TurnResult {
        let (position, missing) = self.receiver.missing(self.sender.sent());
        let expected = self.profile().expected_echo();
        let before = turn.found.len();
        self.end(turn, End::Fin { expected, after_stall: self.probing });
        if turn.found.len() == before && expected == ExpectedEcho::Exact {
            // Every byte came, but too late, or the peer ended a connection that was still to be used.
            if self.probing {
                turn.found.push(Divergence::of_connection(FindingKind::Stalled, self.conn(), position, missing));
            } else if !self.sender.is_fin_sent() {
                turn.found.push(Divergence::of_connection(FindingKind::Truncated, self.conn(), position, missing));
            }
        }
        TurnResult::Over(None)
    }

    fn over_by_error(&mut self, turn: &mut TurnContext<'_>, error: io::Error) -> TurnResult {
        self.end(turn, End::Reset { expected: self.profile().expected_echo() });
        TurnResult::Over(Some(error))
    }

    /// A write that fails says nothing about the bytes that came before. They are read first, so that a verdict names
    /// the right place.
    fn over_by_write_error(
        &mut self,
        socket: &mut impl Transport,
        turn: &mut TurnContext<'_>,
        error: io::Error,
    ) -> TurnResult {
        let mut now = turn.clock.read();
        while !self.never_reads() {
            match self.read(socket, turn, &mut now) {
                Ok(0) => return self.over_by_fin(turn),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.over_by_error(turn, error)
    }

    /// The peer seems to send forever, and nothing that could still come would say more.
    fn over_by_surplus(&mut self, turn: &mut TurnContext<'_>) -> TurnResult {
        let before = turn.found.len();
        self.end(turn, End::Fin { expected: ExpectedEcho::Prefix, after_stall: false });
        if !self.failed && turn.found.len() == before {
            let sent = self.sender.sent();
            let extent = self.receiver.received() - sent;
            turn.found.push(Divergence::of_connection(FindingKind::Surplus, self.conn(), sent, extent));
        }
        TurnResult::Over(None)
    }

    fn end(&mut self, turn: &mut TurnContext<'_>, end: End) {
        self.sender.count_stall(turn.stats, turn.clock.last());
        if self.profile().verify == Verify::Full || !matches!(end, End::Stopped) {
            self.receiver.end(turn, self.sender.sent(), end);
        }
        turn.ledger.close(self.conn());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<ClientConnection>() <= 320, "{}", size_of::<ClientConnection>());
    }
}
