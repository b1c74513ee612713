//! How a worker opens connections: when their time has come, no more handshakes at once than a listener's queue holds,
//! and one generation of a slot after the other.
//!
//! The connector does not know the worker. It takes a slot one step on, and says what the worker is to do next.

mod preamble;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Registry, Token};

use super::clock::{NEVER, RunClock, millis, nanos};
use super::connection::ClientConnection;
use super::run_plan::{RunPlan, deadline};
use super::run_state::RunState;
use super::slot::{Handshake, LiveConnection, SlotStage, SlotState};
use super::slot_assignment::SlotAssignment;
use super::socket::RegisteredSocket;
use super::socket_options::{Begun, Route, begin_connect, handshake_result};
use super::tls_session::TlsSession;
use crate::measure::{Counters, LoadStats};
use crate::plan::{ConnectionPlan, Profile};
use crate::stream::{ConnId, Divergence, FindingKind};
use crate::sys::{self, Shortage};
use crate::transport::Destination;

/// The most handshakes of a worker that are under way at a time. That is fewer than a common listener's queue holds:
/// when the queue is full the system drops SYNs, and the client waits a second before it tries again.
const MAX_HANDSHAKES: usize = 256;
/// The pause after the first connect that fails. It doubles with each further one, up to [`LONGEST_BACK_OFF`].
const FIRST_BACK_OFF: Duration = Duration::from_millis(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// A connection that could not be opened this many times, because this machine was short of something, is given up.
/// That takes two minutes, which is as long as any system keeps the port of a closed connection by default.
const MAX_ATTEMPTS: u8 = 126;
/// A connect that meets its own socket this often in a row is refused: nothing listens there.
const MAX_SELF_CONNECTS: u8 = 3;

/// A socket whose next byte is one of the stream, or of TLS with the stream in it.
type OpenSocket = (RegisteredSocket, Option<Box<TlsSession>>);

/// Opens the connections of a worker's slots.
pub(super) struct Connector {
    /// The number of the worker.
    worker: usize,
    /// What each slot is to open. Slots begin in this order.
    assignments: Vec<SlotAssignment>,
    /// Slots that have begun.
    begun: usize,
    /// Slots that have begun and not ended.
    live: usize,
    /// Handshakes under way.
    handshakes: usize,
    /// When the next slot may begin: 0: now; `NEVER`: an event will tell.
    opens_at: u64,
}

/// What the connector needs of its worker and of the run.
pub(super) struct ConnectContext<'a> {
    pub(super) run: &'a RunState,
    pub(super) clock: &'a RunClock,
    pub(super) registry: &'a Registry,
    /// Whether the run was interrupted or has failed fast.
    pub(super) stopped: bool,
}

/// What the worker is to do next with a slot.
pub(super) enum SlotAction {
    /// Nothing until an event of its socket, or the sweep, has something for it.
    AwaitEvent,
    /// Give it a turn at this time.
    WakeAt(u64),
    /// Give it a turn soon.
    Enqueue,
    /// Let its connection, which is open now, move what it can.
    Drive,
    /// Make a finding of the connect that failed, and give it a turn soon.
    Report(ConnectFailure),
    /// End it: it has had its last connection.
    End,
}

/// A connection that failed before its stream began.
pub(super) struct ConnectFailure {
    pub(super) conn: ConnId,
    pub(super) kind: FindingKind,
    pub(super) source: Option<IpAddr>,
    pub(super) target: Destination,
    pub(super) error: io::Error,
    /// The first bytes of a server that speaks first came, and are wrong.
    pub(super) damage: Option<Box<Divergence>>,
}

impl ConnectFailure {
    /// A connect of TCP that failed.
    fn of_connect(conn: ConnId, source: Option<IpAddr>, target: Destination, error: io::Error) -> ConnectFailure {
        let error = target.first_connect_failed(error);
        ConnectFailure { conn, kind: FindingKind::ConnectFailed, source, target, error, damage: None }
    }
}

impl Connector {
    /// The connector of a worker with these slots.
    pub(super) fn new(worker: usize, assignments: Vec<SlotAssignment>) -> Connector {
        Connector { worker, assignments, begun: 0, live: 0, handshakes: 0, opens_at: 0 }
    }

    /// How many slots have begun.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    /// When the next slot may begin, in nanoseconds since the start of the run; [`NEVER`]: an event will tell.
    pub(super) fn opens_at(&self) -> u64 {
        self.opens_at
    }

    /// Whether every slot has ended, apart from those that a stopped run does not begin.
    pub(super) fn is_done(&self, stopped: bool) -> bool {
        self.live == 0 && (stopped || self.begun == self.assignments.len())
    }

    /// Begins the next slot, if its time has come and there is room for its handshake, and returns it. Otherwise notes
    /// when to ask again.
    pub(super) fn begin_due(&mut self, run: &RunState, clock: &RunClock, stopped: bool) -> Option<usize> {
        self.opens_at = NEVER;
        if stopped || self.begun == self.assignments.len() || self.handshakes >= MAX_HANDSHAKES {
            return None;
        }
        let index = self.begun;
        let at = nanos(self.assignments[index].opens_at(&run.plan));
        if at > clock.last() && at > clock.read() {
            self.opens_at = at;
            return None;
        }
        if !run.connect_order.may_connect(self.worker, index) {
            return None;
        }
        self.begun += 1;
        self.live += 1;
        Some(index)
    }

    /// A slot has taken its first step after it was begun: the next slot in the order may connect.
    pub(super) fn has_connected(&self, run: &RunState, index: usize) {
        run.connect_order.has_connected(self.worker, index);
    }

    /// More slots may be due: the wait must not sleep before they have begun.
    pub(super) fn begin_more_soon(&mut self) {
        self.opens_at = 0;
    }

    /// How long after the first ones of its group a slot ends, if all end at one time.
    pub(super) fn end_delay(&self, run: &RunState, index: usize) -> u64 {
        let slot = self.assignments[index].slot(&run.plan);
        nanos(run.plan.groups[slot.group as usize].ends_after(slot.index))
    }

    /// A slot has ended.
    pub(super) fn slot_ended(&mut self) {
        self.live -= 1;
    }

    /// Takes a slot without an open connection one step on.
    pub(super) fn advance(
        &mut self,
        (index, slot): (usize, &mut SlotState),
        stats: &mut LoadStats,
        event: Option<&Event>,
        context: &ConnectContext<'_>,
    ) -> SlotAction {
        match &slot.stage {
            SlotStage::Connecting(_) => self.finish_handshake((index, slot), stats, event, context),
            SlotStage::Negotiating(_) => self.negotiate((index, slot), stats, event, context),
            // The event is of a socket that is closed by now.
            SlotStage::Next | SlotStage::Pausing { .. } if event.is_some() => SlotAction::AwaitEvent,
            SlotStage::Next | SlotStage::Pausing { .. } => self.open_next((index, slot), stats, context),
            SlotStage::Open(_) | SlotStage::Ended => SlotAction::AwaitEvent,
        }
    }

    /// Opens the connection of the slot's generation, if there is to be one, after the pause that may come before it.
    fn open_next(
        &mut self,
        (index, slot): (usize, &mut SlotState),
        stats: &mut LoadStats,
        context: &ConnectContext<'_>,
    ) -> SlotAction {
        let ConnectContext { run, clock, registry, stopped } = *context;
        let (plan, assignment, counters) = (&run.plan, self.assignments[index], &mut stats.counters);
        let profile = &*plan.groups[slot.group()];
        let generation = slot.generation();
        let is_reconnect = generation > assignment.first_generation();
        let is_over = stopped || clock.last() >= deadline(profile);
        if generation > assignment.last_generation() || is_over {
            let is_late = !is_reconnect && is_over && !stopped;
            counters.not_in_time += u64::from(is_late);
            return SlotAction::End;
        }
        let Some(conn) = plan.slots.id(assignment.slot(plan), generation) else {
            counters.out_of_ids += 1;
            return SlotAction::End;
        };
        let until = begins_at(slot, is_reconnect.then_some(profile), clock);
        if until > clock.last() {
            slot.stage = SlotStage::Pausing { until };
            return SlotAction::WakeAt(until);
        }
        let target = plan.target(conn).clone();
        let route = route(plan, assignment, generation, &target);
        let source = route.source;
        let began = clock.read();
        let started = begin_connect(registry, Token(index), route, profile);
        if let Some(shortage) = started.as_ref().err().and_then(sys::shortage) {
            return self.put_off((index, slot), counters, shortage, context);
        }
        if started.as_ref().is_err_and(|error| has_full_queue(error, slot, profile)) {
            return self.try_later((index, slot), context);
        }
        counters.connects += 1;
        match started {
            Ok(Begun::WithFirstWrite(stream)) => {
                let handshake = Handshake { stream, target, source, began };
                self.connected((index, slot), stats, (conn, handshake, None), context)
            }
            Ok(Begun::Handshake(stream)) => {
                self.handshakes += 1;
                slot.owes(true, began, millis(profile.connect_timeout), true);
                slot.stage = SlotStage::Connecting(Box::new(Handshake { stream, target, source, began }));
                SlotAction::AwaitEvent
            }
            Err(error) => {
                let failure = ConnectFailure::of_connect(conn, source, target, error);
                self.connect_failed((index, slot), counters, failure, context)
            }
        }
    }

    /// Looks whether the handshake is over, and how it ended.
    fn finish_handshake(
        &mut self,
        (index, slot): (usize, &mut SlotState),
        stats: &mut LoadStats,
        event: Option<&Event>,
        context: &ConnectContext<'_>,
    ) -> SlotAction {
        let limit = context.run.plan.groups[slot.group()].connect_timeout;
        context.clock.read();
        let timed_out = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"));
        let timed_out = slot.take_stalled().then(timed_out);
        let SlotStage::Connecting(handshake) = &slot.stage else { return SlotAction::AwaitEvent };
        let result = handshake_result(&handshake.stream);
        let result = match self.step_ended(slot, stats, (result, timed_out), context) {
            Ok(result) => result,
            Err(action) => return action,
        };
        let SlotStage::Connecting(handshake) = std::mem::replace(&mut slot.stage, SlotStage::Next) else {
            return SlotAction::AwaitEvent;
        };
        let Handshake { mut stream, target, source, began } = *handshake;
        let conn = self.conn_of((index, slot), context);
        match result {
            Ok(()) if sys::refuses_itself(&stream) => {
                let _ = context.registry.deregister(&mut stream);
                drop(stream);
                self.met_itself((index, slot), &mut stats.counters, (conn, source, target), context)
            }
            Ok(()) => {
                if target.preamble().is_none() {
                    stats.connect.record(context.clock.last() - began);
                }
                let handshake = Handshake { stream, target, source, began };
                self.connected((index, slot), stats, (conn, handshake, event), context)
            }
            Err(error) => {
                let _ = context.registry.deregister(&mut stream);
                let failure = ConnectFailure::of_connect(conn, source, target, error);
                self.connect_failed((index, slot), &mut stats.counters, failure, context)
            }
        }
    }

    /// How a step of an opening has ended: with this result, or with `timed_out`, because its time is over. While it
    /// has not ended, what the worker is to do.
    fn step_ended(
        &mut self,
        slot: &mut SlotState,
        stats: &mut LoadStats,
        (result, timed_out): (Option<io::Result<()>>, Option<io::Error>),
        context: &ConnectContext<'_>,
    ) -> Result<io::Result<()>, SlotAction> {
        let result = match (result, timed_out) {
            (Some(result), _) => result,
            (None, _) if context.stopped => {
                self.handshakes -= 1;
                stats.counters.cut_short += 1;
                return Err(SlotAction::End);
            }
            (None, Some(timed_out)) => {
                stats.counters.connect_timeouts += 1;
                Err(timed_out)
            }
            (None, None) => {
                let limit = context.run.plan.groups[slot.group()].connect_timeout;
                slot.owes(true, context.clock.last(), millis(limit), false);
                return Err(SlotAction::AwaitEvent);
            }
        };
        slot.owes_nothing();
        self.handshakes -= 1;
        Ok(result)
    }

    /// The id of the connection that a slot is opening.
    fn conn_of(&self, (index, slot): (usize, &SlotState), context: &ConnectContext<'_>) -> ConnId {
        let plan = &context.run.plan;
        let place = self.assignments[index].slot(plan);
        plan.slots.id(place, slot.generation()).expect("the connection began to connect under this id")
    }

    /// The connection is open.
    fn opened(
        &self,
        (index, slot): (usize, &mut SlotState),
        stats: &mut LoadStats,
        (conn, (socket, session), began): (ConnId, OpenSocket, u64),
        context: &ConnectContext<'_>,
    ) -> SlotAction {
        let ConnectContext { run, clock, .. } = *context;
        let now = clock.last();
        let assignment = self.assignments[index];
        stats.counters.opened += 1;
        stats.counters.reconnects += u64::from(slot.generation() > assignment.first_generation());
        stats.counters.without_alpn += u64::from(session.as_ref().is_some_and(|session| session.is_without_alpn()));
        stats.active_time.opened(began);
        stats.timeline.at(Duration::from_nanos(now)).opened += 1;
        let settles = self.settles_first(index, slot);
        slot.clear_failures();
        run.ledger.open(conn, slot.generation());
        let profile = Arc::clone(&run.plan.groups[slot.group()]);
        let mut plan = ConnectionPlan::new(profile, run.plan.seed, assignment.slot(&run.plan), conn);
        plan.resume_schedule(slot.next_arrival());
        let mut connection = ClientConnection::new(plan, conn, now);
        if let Some(two_sides) = &run.two_sides {
            let place = ((self.worker, index), socket.stream().local_addr().ok(), began);
            connection = two_sides.opened(connection, assignment.slot(&run.plan), place);
        }
        slot.stage = SlotStage::Open(Box::new(LiveConnection { connection, socket, session }));
        if settles {
            run.first_is_settled(slot.group(), now);
        }
        SlotAction::Drive
    }

    /// Counts a connect that failed. The slot's next connection has its turn later, and may do better.
    fn connect_failed(
        &self,
        (index, slot): (usize, &mut SlotState),
        counters: &mut Counters,
        failure: ConnectFailure,
        context: &ConnectContext<'_>,
    ) -> SlotAction {
        counters.connect_failures += 1;
        counters.failed += 1;
        let settles = self.settles_first(index, slot);
        slot.next_generation();
        slot.count_failure();
        if settles {
            context.run.first_is_settled(slot.group(), context.clock.last());
        }
        SlotAction::Report(failure)
    }

    /// TCP has connected the socket to itself, so nothing listens on the port, at least at this moment: the same
    /// connection is tried again, from another port.
    fn met_itself(
        &self,
        (index, slot): (usize, &mut SlotState),
        counters: &mut Counters,
        (conn, source, target): (ConnId, Option<IpAddr>, Destination),
        context: &ConnectContext<'_>,
    ) -> SlotAction {
        if slot.failures() >= MAX_SELF_CONNECTS {
            let why = "nothing listens there, so TCP connected the socket to itself";
            let error = io::Error::new(io::ErrorKind::ConnectionRefused, format!("connection refused: {why}"));
            return self.connect_failed(
                (index, slot),
                counters,
                ConnectFailure { conn, kind: FindingKind::ConnectFailed, source, target, error, damage: None },
                context,
            );
        }
        counters.connects -= 1;
        self.try_later((index, slot), context)
    }

    /// This machine lacks what it takes to open the connection now, so the same one is tried again later.
    fn put_off(
        &self,
        (index, slot): (usize, &mut SlotState),
        counters: &mut Counters,
        shortage: Shortage,
        context: &ConnectContext<'_>,
    ) -> SlotAction {
        let profile = &*context.run.plan.groups[slot.group()];
        match shortage {
            Shortage::Ports if profile.source_port.is_some() => counters.source_ports_refused += 1,
            Shortage::Ports => counters.port_shortages += 1,
            Shortage::Resources => counters.resource_shortages += 1,
        }
        if slot.failures() >= max_attempts(profile) - 1 {
            self.settle_first(index, slot, context);
            counters.not_opened += 1;
            slot.clear_failures();
            slot.next_generation();
            return SlotAction::Enqueue;
        }
        self.try_later((index, slot), context)
    }

    /// The slot tries the same connection again, after a pause that grows with each attempt.
    fn try_later(&self, (index, slot): (usize, &mut SlotState), context: &ConnectContext<'_>) -> SlotAction {
        // An open loop does not wait for it, since this may take minutes.
        self.settle_first(index, slot, context);
        slot.count_failure();
        let until = context.clock.read() + nanos(back_off(slot.failures()));
        slot.stage = SlotStage::Pausing { until };
        SlotAction::WakeAt(until)
    }

    /// Tells the run if only now it is known whether the slot's first connection opens.
    fn settle_first(&self, index: usize, slot: &SlotState, context: &ConnectContext<'_>) {
        if self.settles_first(index, slot) {
            context.run.first_is_settled(slot.group(), context.clock.last());
        }
    }

    /// Whether this settles the slot's first connection: the slot is at it, and has not put it off before.
    fn settles_first(&self, index: usize, slot: &SlotState) -> bool {
        slot.generation() == self.assignments[index].first_generation() && slot.failures() == 0
    }
}

/// Where a connection comes from and where it goes. With source ports, a slot keeps its source address: a reconnect
/// that comes to a port again then has the addresses and ports of the connection before it.
fn route<'d>(plan: &RunPlan, assignment: SlotAssignment, generation: u32, target: &'d Destination) -> Route<'d> {
    let slot = assignment.slot(plan);
    let profile = &plan.groups[slot.group as usize];
    let source_port = profile.source_port.map(|ports| {
        let nth = u64::from(slot.index) + u64::from(generation) * u64::from(profile.conns);
        ports.nth(nth)
    });
    let generation = if source_port.is_some() { 0 } else { generation };
    let nth = u64::from(slot.number) + u64::from(generation) * u64::from(plan.slots.total());
    let source = plan.sources.of(nth, plan.shard.count(), plan.targets.len());
    Route { source, source_port, target: target.endpoint() }
}

/// How often opening one connection is tried while this machine is short of something. A source port that it still
/// keeps for the connection before is asked for as long as a connect may take.
fn max_attempts(profile: &Profile) -> u8 {
    if profile.source_port.is_none() {
        return MAX_ATTEMPTS;
    }
    attempts_within(profile.connect_timeout)
}

/// When the next connect may begin; `reconnects`: the slot has had a connection, so it pauses first.
fn begins_at(slot: &SlotState, reconnects: Option<&Profile>, clock: &RunClock) -> u64 {
    match (&slot.stage, reconnects) {
        (SlotStage::Next, Some(profile)) => {
            clock.read() + nanos(profile.reconnect_delay.max(back_off(slot.failures())))
        }
        (SlotStage::Pausing { until }, _) => *until,
        _ => 0,
    }
}

/// Whether the listener of a Unix domain socket takes no more connections now: nothing will tell when it does again.
fn has_full_queue(error: &io::Error, slot: &SlotState, profile: &Profile) -> bool {
    error.kind() == io::ErrorKind::WouldBlock && slot.failures() < attempts_within(profile.connect_timeout)
}

/// How often opening one connection can be tried within this time.
fn attempts_within(limit: Duration) -> u8 {
    let mut waited = Duration::ZERO;
    let is_in_time = |attempt: &u8| {
        waited += back_off(*attempt);
        waited <= limit
    };
    1 + (1..MAX_ATTEMPTS).take_while(is_in_time).count() as u8
}

/// How long to wait after this many connects in a row that failed.
fn back_off(failures: u8) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    FIRST_BACK_OFF.saturating_mul(1 << doublings.min(16)).min(LONGEST_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_after_failed_connects_double_up_to_1_s_and_add_up_to_two_minutes() {
        let pauses: Vec<u128> = (0..=9).map(|failures| back_off(failures).as_millis()).collect();
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(back_off(u8::MAX), LONGEST_BACK_OFF);
        let all: Duration = (1..MAX_ATTEMPTS).map(back_off).sum();
        assert!(all.as_secs().abs_diff(120) <= 1, "{all:?}");
    }
}
