//! The sending side of a connection: takes one step of the plan after another, and carries out its end.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use super::ending::{self, EndingFacts, EndingStep, OtherHalfFacts};
use super::half::{Begin, Half};
use super::in_flight::InFlight;
use super::op_log::OpLog;
use super::receiver::Receiver;
use super::turn::{Transport, TurnContext};
use super::write_stall::WriteStall;
use crate::client::clock::nanos;
use crate::client::pair::HalfEnd;
use crate::measure::{LoadStats, OpenLoopStats};
use crate::plan::{Close, ConnectionPlan, PlanStep, Profile, Read};
use crate::stream::{ConnId, OpKind};

/// How long a socket stays open after a direction was shut down while echo is owed, so that more of it comes.
const LINGER: Duration = Duration::from_millis(200);

/// The state of the sending side. Times are nanoseconds since the start of the run.
enum SendState {
    /// The schedule of an open loop has not started, so nothing is due.
    Unscheduled,
    /// The next step of the plan is to be taken.
    NextStep,
    /// A message of `len` bytes may begin once the pipeline has room and the message is due (0: at once).
    Begin { len: u64, due: u64 },
    /// This many bytes of a write are left.
    Fragment { left: usize },
    /// A pause.
    Pause { until: u64 },
    /// All is written; the connection is to be ended in this way.
    Ending(Close),
    /// A direction was shut down while echo is owed; the connection is over at this time.
    Lingering { until: u64 },
    /// The FIN was sent, or nothing more will be.
    Ended,
}

/// What a call of [`Sender::send`] came to.
pub(super) enum SendProgress {
    /// Bytes or a FIN were sent.
    Moved,
    /// Something must happen first.
    Nothing,
    /// The end was carried out: the connection is over.
    Over(HalfEnd),
}

/// Whether the next message of a half has begun.
enum HalfBegin {
    Begun,
    /// Something must come first.
    Waits,
    /// There is none: the plan was stopped.
    Stopped,
}

/// The sending side of a connection.
pub(super) struct Sender {
    plan: ConnectionPlan,
    state: SendState,
    sent: u64,
    in_flight: InFlight,
    /// When the first byte was handed to the socket; 0: not yet.
    first_write: u64,
    writes: WriteStall,
    /// Only what has ended its direction needs the memory.
    own_fin: Option<Box<SentFin>>,
    /// The time of the group or of the connection is up: the message that has begun is finished without pauses.
    is_stopped: bool,
    /// The wire may still have other bytes than the stream, or more of them.
    has_marks: bool,
}

/// The FIN of this side.
pub(super) struct SentFin {
    /// When it was sent.
    pub(super) at: u64,
    /// Bytes that had come before it.
    pub(super) received: u64,
    /// If it was sent ahead of the plan, as a probe: how long the silence had lasted, in nanoseconds.
    pub(super) probe_after: Option<u64>,
}

impl Sender {
    pub(super) fn new(plan: ConnectionPlan) -> Sender {
        let state = if plan.profile().rate.is_some() { SendState::Unscheduled } else { SendState::NextStep };
        Sender {
            has_marks: plan.profile().marked_until() > 0,
            plan,
            state,
            sent: 0,
            in_flight: InFlight::default(),
            first_write: 0,
            writes: WriteStall::default(),
            own_fin: None,
            is_stopped: false,
        }
    }

    #[inline]
    pub(super) fn profile(&self) -> &Arc<Profile> {
        self.plan.profile()
    }

    pub(super) fn plan(&self) -> &ConnectionPlan {
        &self.plan
    }

    /// Bytes handed to the socket.
    #[inline]
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Messages that wait for their echo.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.len()
    }

    /// How long its writes have been blocked.
    #[inline]
    pub(super) fn writes(&self) -> &WriteStall {
        &self.writes
    }

    pub(super) fn is_fin_sent(&self) -> bool {
        self.own_fin.is_some()
    }

    /// The FIN of this side, if it was sent.
    pub(super) fn own_fin(&self) -> Option<&SentFin> {
        self.own_fin.as_deref()
    }

    /// Bytes of the message that has begun, and of those before it, that are sent when the plan is stopped.
    pub(super) fn end_of_message(&self) -> u64 {
        let left = if let SendState::Fragment { left } = self.state { left as u64 } else { 0 };
        self.sent + left + self.plan.unwritten()
    }

    /// Whether everything is written.
    #[inline]
    pub(super) fn has_written_all(&self) -> bool {
        matches!(self.state, SendState::Ending(_) | SendState::Lingering { .. } | SendState::Ended)
    }

    /// Whether nothing more may be written before echo comes.
    pub(super) fn awaits_echo(&self) -> bool {
        matches!(self.state, SendState::Begin { .. }) && self.in_flight.len() >= self.profile().pipeline
    }

    /// Whether everything is written and the end is still to be carried out.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.state, SendState::Ending(_))
    }

    /// Whether it waits for echo that it will leave unread.
    pub(super) fn is_abandoning(&self) -> bool {
        matches!(self.state, SendState::Ending(Close::Abandon))
    }

    /// Whether it has shut down a direction while echo is owed, and reads no more.
    #[inline]
    pub(super) fn is_lingering(&self) -> bool {
        matches!(self.state, SendState::Lingering { .. })
    }

    /// Whether a write is under way.
    pub(super) fn is_writing(&self) -> bool {
        matches!(self.state, SendState::Fragment { .. })
    }

    /// When it has something to send again, if only the time is missing.
    pub(super) fn continues_at(&self, now: u64) -> Option<u64> {
        match self.state {
            SendState::Begin { due, .. } if due > now => Some(due),
            SendState::Pause { until } | SendState::Lingering { until } => Some(until),
            _ => None,
        }
    }

    /// The time of the group or of the connection is up: ends the plan, after the message that has begun.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        self.plan.stop();
        if matches!(self.state, SendState::Unscheduled | SendState::Begin { .. } | SendState::Pause { .. }) {
            self.state = SendState::NextStep;
        }
    }

    /// Half-closes ahead of the plan, because the silence has lasted for `silence` nanoseconds, and sends nothing more.
    /// Returns whether that was possible.
    pub(super) fn probe(&mut self, socket: &mut impl Transport, received: u64, silence: u64, now: u64) -> bool {
        let possible = socket.shutdown(Shutdown::Write).is_ok();
        if possible {
            self.own_fin = Some(Box::new(SentFin { at: now, received, probe_after: Some(silence) }));
            self.state = SendState::Ended;
        }
        possible
    }

    /// Notes the messages that are due at `end`, when sending stops, and have not begun.
    pub(super) fn leave_unsent(&self, end: u64, schedule: &mut OpenLoopStats) {
        let so_far = end.saturating_sub(schedule.began.unwrap_or(u64::MAX));
        schedule.leave_unsent(self.plan.unsent(Duration::from_nanos(so_far)), end);
    }

    /// A write would block.
    pub(super) fn note_blocked(&mut self, now: u64) {
        self.writes.block(now);
    }

    /// Counts the connection among those whose writes have stalled, if they have. One that did not read knows then what
    /// the path holds; one that reads after its stall moves no more.
    pub(super) fn count_stall(&mut self, stats: &mut LoadStats, now: u64) {
        if !self.writes.take_stall(now) {
            return;
        }
        stats.counters.write_stalls += 1;
        if matches!(self.profile().read, Read::AfterStall | Read::Never) || self.profile().is_read_late() {
            stats.buffered.record(self.sent);
        }
        if self.profile().read == Read::AfterStall {
            self.stop();
        }
    }

    /// Completes the messages whose echo has come, and measures their round trips. `is_first`: these are the first
    /// bytes that came back.
    #[inline]
    pub(super) fn take_echo(&mut self, reached: u64, is_first: bool, now: u64, stats: &mut LoadStats) {
        if self.first_write != 0 && is_first {
            stats.first_byte.record(now.saturating_sub(self.first_write));
        }
        while let Some(began) = self.in_flight.complete(reached) {
            stats.counters.messages_echoed += 1;
            let rtt = now.saturating_sub(began);
            stats.rtt.record(rtt);
            stats.unmarked.record(rtt);
            stats.open_loop.last_echo = now;
        }
    }

    /// Takes steps of the plan until it has written, or must wait for something.
    // Called from one place, for each message: apart, the calls would cost 3 % of a message of 64 B (scripts/cost).
    #[inline(always)]
    pub(super) fn send(
        &mut self,
        socket: &mut impl Transport,
        turn: &mut TurnContext<'_>,
        (receiver, mut half): (&Receiver, Option<&mut Half>),
        log: &mut OpLog,
        now: u64,
    ) -> io::Result<SendProgress> {
        loop {
            match self.state {
                SendState::Unscheduled if turn.stats.open_loop.began.is_none() => return Ok(SendProgress::Nothing),
                SendState::Unscheduled => self.state = SendState::NextStep,
                SendState::NextStep => self.take_step(now, &turn.stats.open_loop),
                SendState::Begin { len, due } => {
                    if due > now || self.in_flight.len() >= self.profile().pipeline {
                        return Ok(SendProgress::Nothing);
                    }
                    match half.as_deref_mut() {
                        None => self.begin(self.sent + len, due, now),
                        Some(half) => match self.begin_of_half(half, due, now) {
                            HalfBegin::Begun => {}
                            HalfBegin::Waits => return Ok(SendProgress::Nothing),
                            HalfBegin::Stopped => continue,
                        },
                    }
                    turn.stats.counters.messages_sent += 1;
                    turn.stats.open_loop.due_until = now;
                    if due != 0 {
                        turn.stats.sent_after_due.record(now - due);
                    }
                }
                SendState::Pause { until } => {
                    if now < until {
                        return Ok(SendProgress::Nothing);
                    }
                    self.state = SendState::NextStep;
                }
                SendState::Fragment { left } => {
                    let n = self.write(socket, turn, receiver, left, now)?;
                    log.push(OpKind::Write, n, now);
                    self.state = if n < left { SendState::Fragment { left: left - n } } else { SendState::NextStep };
                    return Ok(SendProgress::Moved);
                }
                SendState::Ending(close) => {
                    let had_fin = self.own_fin.is_some();
                    let progress = self.carry_out_end(close, socket, turn, (receiver, half), now)?;
                    if self.own_fin.is_some() && !had_fin {
                        log.push(OpKind::HalfClose, 0, now);
                    }
                    return Ok(progress);
                }
                SendState::Lingering { until } if now >= until => return Ok(SendProgress::Over(HalfEnd::Abrupt)),
                SendState::Lingering { .. } | SendState::Ended => return Ok(SendProgress::Nothing),
            }
        }
    }

    /// Begins a message that is complete when everything before `end` has come.
    #[inline(always)]
    fn begin(&mut self, end: u64, due: u64, now: u64) {
        self.state = SendState::NextStep;
        // Under an open-loop rate the round trip counts from when the message was due, not from when there was time for
        // it. Otherwise the waits that overload causes would be left out (coordinated omission).
        self.in_flight.begin(end, if due == 0 { now } else { due });
    }

    /// The same where both ends are ours: what completes the message, and whether it may begin, the half says.
    fn begin_of_half(&mut self, half: &mut Half, due: u64, now: u64) -> HalfBegin {
        match half.begin() {
            Begin::AwaitingReply(end) => self.begin(end, due, now),
            Begin::Now => self.state = SendState::NextStep,
            Begin::NotYet => return HalfBegin::Waits,
            Begin::NoMore => {
                self.stop();
                return HalfBegin::Stopped;
            }
        }
        HalfBegin::Begun
    }

    #[inline(always)]
    fn take_step(&mut self, now: u64, schedule: &OpenLoopStats) {
        self.state = match self.plan.next() {
            Some(PlanStep::Message { len, due, .. }) => {
                SendState::Begin { len, due: due.map_or(0, |due| schedule.time_of(nanos(due)).max(1)) }
            }
            Some(PlanStep::Write { len }) => SendState::Fragment { left: len },
            Some(PlanStep::Gap(_)) if self.is_stopped => SendState::NextStep,
            Some(PlanStep::Gap(gap)) => SendState::Pause { until: now + nanos(gap) },
            Some(PlanStep::Close(close)) => SendState::Ending(close),
            None => SendState::Ended,
        };
    }

    /// Writes at most `left` bytes of the stream. The ledger is told before the write, because the echo may come to
    /// another connection before this call returns.
    #[inline(always)]
    fn write(
        &mut self,
        socket: &mut impl Transport,
        turn: &mut TurnContext<'_>,
        receiver: &Receiver,
        left: usize,
        now: u64,
    ) -> io::Result<usize> {
        let mut most = left.min(turn.scratch.len());
        let conn = receiver.conn();
        if self.has_marks {
            most = self.mark(socket, turn, conn, most)?;
        } else {
            turn.stream.fill(conn, self.sent, &mut turn.scratch[..most]);
        }
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
        self.count_stall(turn.stats, now);
        self.sent += n as u64;
        self.writes.unblock();
        turn.stats.counters.bytes_sent += n as u64;
        turn.stats.counters.writes += 1;
        Ok(n)
    }

    /// Fills what the write begins with where the wire has other bytes than the stream: the first bytes, and the urgent
    /// byte, which goes before its offset. Returns how many bytes of the stream there are to write, at most `most`.
    #[cold]
    fn mark(
        &mut self,
        socket: &mut impl Transport,
        turn: &mut TurnContext<'_>,
        conn: ConnId,
        most: usize,
    ) -> io::Result<usize> {
        let mut most = most;
        self.has_marks = self.sent < self.profile().marked_until();
        if let Some(at) = self.profile().urgent.filter(|_| self.has_marks) {
            let before = at.saturating_sub(self.sent);
            if before == 0 {
                self.write_urgent(socket, turn, conn)?;
            } else {
                most = most.min(usize::try_from(before).unwrap_or(most));
            }
        }
        turn.stream.fill(conn, self.sent, &mut turn.scratch[..most]);
        if let Some(first) = self.profile().first_bytes {
            first.overwrite(self.sent, &mut turn.scratch[..most]);
        }
        Ok(most)
    }

    /// Sends the urgent byte, which goes before the next byte of the stream, or behind the last.
    #[cold]
    fn write_urgent(&mut self, socket: &mut impl Transport, turn: &TurnContext<'_>, conn: ConnId) -> io::Result<()> {
        let mut own = [0];
        turn.stream.fill(conn, self.sent, &mut own);
        // Not the byte of the stream at its place, so that it can be told from it if it comes back.
        socket.write_urgent(!own[0])?;
        self.has_marks = false;
        Ok(())
    }

    /// Takes the next step of the ending.
    fn carry_out_end(
        &mut self,
        close: Close,
        socket: &mut impl Transport,
        turn: &TurnContext<'_>,
        (receiver, half): (&Receiver, Option<&mut Half>),
        now: u64,
    ) -> io::Result<SendProgress> {
        if self.has_marks && self.profile().urgent == Some(self.sent) {
            self.write_urgent(socket, turn, receiver.conn())?;
        }
        let facts = EndingFacts {
            never_reads: self.profile().read == Read::Never,
            others_rest: turn.others_rest,
            group_arrived: turn.group_arrived,
            readable: socket.is_readable(),
            fin_sent: self.own_fin.is_some(),
            sent: self.sent,
            received: receiver.received(),
            reached: receiver.reached(),
            verified: receiver.verified(),
        };
        let step = match half {
            None => ending::next_step(close, &facts),
            Some(half) => {
                let is_answered = half.awaits_replies() && self.in_flight.len() == 0;
                ending::next_step_of_half(
                    close,
                    &facts,
                    &OtherHalfFacts {
                        is_reached: half.pair().is_reached(),
                        is_done: half.is_read_to_end(),
                        is_answered,
                        expected: half.expected(),
                    },
                )
            }
        };
        match step {
            EndingStep::Wait => Ok(SendProgress::Nothing),
            EndingStep::HalfClose => {
                socket.shutdown(Shutdown::Write)?;
                let (at, received) = (turn.clock.last(), receiver.received());
                self.own_fin = Some(Box::new(SentFin { at, received, probe_after: None }));
                let has_more = close == Close::HalfCloseReset;
                self.state = if has_more { SendState::Ending(close) } else { SendState::Ended };
                Ok(SendProgress::Moved)
            }
            EndingStep::ShutDown(how) => {
                socket.shutdown(how)?;
                self.state = SendState::Lingering { until: now + nanos(LINGER) };
                Ok(SendProgress::Nothing)
            }
            EndingStep::Reset => {
                socket.close_with_reset();
                Ok(SendProgress::Over(HalfEnd::Reset))
            }
            EndingStep::Close => Ok(SendProgress::Over(HalfEnd::Abrupt)),
        }
    }
}
