//! One worker of the client: a thread with one wait for all its sockets, one heap for all its times, and one sweep for
//! all stalls, deadlines and interrupts.
//!
//! It is a loop and not an async runtime. With a task for each connection, each round trip went through a waker, two
//! queues and a lock or two, and each connection had a task, a registration and a future beside what it needs. That was
//! a fifth of the client's time and a third of its memory. Here an event carries the number of the slot, and the slot
//! holds the rest.
//!
//! A slot gets a *turn* when the wait reports something of its socket, when a time that it asked for has come, when its
//! last turn ended so that others could have theirs, or when the sweep has something for it. A turn with nothing to do
//! does no harm.
//!
//! The worker only puts its parts together; each of them keeps its own state:
//!
//! - [`EventWait`]: the poll, and the queue of slots that get a turn without an event;
//! - [`Timers`]: when slots want their turns;
//! - [`Connector`]: which slots have begun, and how they connect;
//! - [`GroupStats`] and [`Findings`]: what was measured, and what was found wrong;
//! - [`RunSignals`]: what is known of the run as a whole.

mod backend;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token};

use super::backend_slots::{self, BackendSlots};
use super::clock::{NEVER, RunClock, millis, nanos};
use super::connection::{TurnContext, TurnResult, WaitsFor};
use super::connector::{ConnectContext, ConnectFailure, Connector, SlotAction};
use super::cpu_saturation::CpuSaturation;
use super::cpu_starvation::CpuStarvation;
use super::findings::{FindingContext, Findings};
use super::group_stats::GroupStats;
use super::outcome::WorkerTime;
use super::pair::Side;
use super::run_plan::deadline;
use super::run_state::RunState;
use super::signals::RunSignals;
use super::slot::{SlotStage, SlotState};
use super::slot_assignment::SlotAssignment;
use super::stand_still::StandStill;
use super::tcp_shortage::TcpShortage;
use super::timers::Timers;
use super::wait::{ALARM, EventWait, WAKE};
use crate::measure::LoadStats;
use crate::plan::RECOGNIZED_BY_BYTES;
use crate::stream::{Divergence, Finding, FindingKind, StreamDirection};
use crate::sys;

/// The time between two sweeps for stalls, deadlines and interrupts.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_millis(50);
/// How long `--fail-fast` waits for bytes that are only late, or out of order.
const LONGEST_UNDECIDED: Duration = Duration::from_millis(500);
/// How many bytes one call writes or reads at most. A socket does not take more at once, and this much stays in the
/// second-level cache.
const SCRATCH_BYTES: usize = 128 * 1024;
/// The longest time, in milliseconds, that a peer has to react to the probe after a stall.
pub(super) const MAX_PROBE_MS: u32 = 2_000;
/// How many slots a worker begins before the open connections have their turns.
const BEGUN_PER_ROUND: usize = 64;
/// A connection is brought into the cache this many events before its own …
const PREFETCH_CONNECTION_EVENTS: usize = 2;
/// … and its slot, which says where the connection is, this many events before.
const PREFETCH_SLOT_EVENTS: usize = 4;

/// Aligned to a cache line, so that no vector spans two.
#[repr(align(64))]
struct Scratch([u8; SCRATCH_BYTES]);

/// What a worker measured and found.
pub(super) struct WorkerResult {
    /// LoadStats and findings by group, in the order of the plan.
    pub(super) groups: Vec<(LoadStats, Vec<Finding>)>,
    /// What the server's halves of each group measured, where both ends are ours.
    pub(super) backend: Vec<LoadStats>,
    /// What it says of its own time.
    pub(super) time: WorkerTime,
}

/// One worker.
struct ClientWorker {
    run: Arc<RunState>,
    /// Its number.
    index: usize,
    clock: RunClock,
    slots: Vec<SlotState>,
    wait: EventWait,
    timers: Timers,
    connector: Connector,
    /// The slots of the server's halves, which come after those of the connector.
    backend: BackendSlots,
    stats: GroupStats,
    findings: Findings,
    signals: RunSignals,
    saturation: CpuSaturation,
    starvation: CpuStarvation,
    /// The same for silences, which leave such times out.
    short_starvation: CpuStarvation,
    stand_still: StandStill,
    tcp_shortage: TcpShortage,
    scratch: Box<Scratch>,
    /// When bytes were wrong first, as far as a sweep has seen; [`NEVER`]: they were not.
    wrong_since: u64,
    /// When the next sweep is due.
    sweep_at: u64,
}

/// The body of a worker's thread: runs the slots of worker `index` to their ends.
pub(super) fn work(
    run: &Arc<RunState>,
    index: usize,
    assignments: Vec<SlotAssignment>,
    poll: Poll,
) -> io::Result<WorkerResult> {
    let result = || -> io::Result<WorkerResult> {
        let mut worker = ClientWorker::new(Arc::clone(run), index, assignments, poll)?;
        worker.serve()?;
        Ok(worker.finish())
    };
    result().inspect_err(|_| run.connect_order.give_up())
}

impl ClientWorker {
    fn new(run: Arc<RunState>, index: usize, assignments: Vec<SlotAssignment>, poll: Poll) -> io::Result<ClientWorker> {
        let plan = &run.plan;
        let now = nanos(run.start.elapsed());
        let starvation = || CpuStarvation::new(now, sys::thread_cpu_time(), sys::thread_run_delay());
        let slot = |of: &SlotAssignment| SlotState::new(of.slot(plan).group as u16, of.first_generation());
        Ok(ClientWorker {
            timers: Timers::new(poll.registry())?,
            slots: assignments.iter().map(slot).collect(),
            clock: RunClock::new(run.start),
            saturation: CpuSaturation::new(now, sys::thread_cpu_time()),
            starvation: starvation(),
            short_starvation: starvation().in_short_windows(),
            stand_still: StandStill::new(nanos(SWEEP_INTERVAL), now),
            tcp_shortage: TcpShortage::new(now, sys::tcp_memory()),
            scratch: Box::new(Scratch([0; SCRATCH_BYTES])),
            backend: BackendSlots::new(assignments.len()),
            stats: GroupStats::new(plan.groups.len() * if run.two_sides.is_some() { 2 } else { 1 }),
            findings: Findings::new(plan.groups.len()),
            signals: RunSignals::new(&run),
            connector: Connector::new(index, assignments),
            wait: EventWait::new(poll),
            wrong_since: NEVER,
            sweep_at: 0,
            index,
            run,
        })
    }

    /// Runs all slots to their ends.
    fn serve(&mut self) -> io::Result<()> {
        let mut events = EventWait::events();
        loop {
            self.begin_due_slots();
            self.take_over_reached();
            if self.connector.is_done(self.signals.is_stopped()) && self.backend.is_empty() {
                return Ok(());
            }
            self.wait(&mut events)?;
            self.clock.read();
            let mut to_connection = events.iter().skip(PREFETCH_CONNECTION_EVENTS);
            let mut to_slot = events.iter().skip(PREFETCH_SLOT_EVENTS);
            for event in &events {
                to_slot.next().inspect(|event| self.prefetch_slot(event));
                to_connection.next().inspect(|event| self.prefetch_connection(event));
                match event.token() {
                    ALARM => self.timers.alarm_rang(),
                    WAKE => self.begin_schedules(),
                    Token(slot) => self.turn(slot, Some(event)),
                }
            }
            self.give_turns();
            if self.clock.last() >= self.sweep_at {
                self.sweep();
                self.sweep_at = self.clock.last() + nanos(SWEEP_INTERVAL);
            }
        }
    }

    /// What is left to do once all slots have ended.
    fn finish(mut self) -> WorkerResult {
        // Everything since the last sweep, which in a short run is all of it.
        let now = self.clock.read();
        self.mark_time(now);
        self.tcp_shortage.look(now, sys::tcp_memory);
        if let Some(gap) = self.stand_still.look(now) {
            self.stats.stood_still(Duration::from_nanos(gap), Duration::from_nanos(now));
        }
        self.publish();
        let mut groups = self.stats.into_groups();
        let backend = groups.split_off(self.run.plan.groups.len());
        WorkerResult {
            backend,
            groups: groups.into_iter().zip(self.findings.into_groups()).collect(),
            time: WorkerTime {
                saturation: self.saturation.finish(self.clock.last(), sys::thread_cpu_time()),
                starved: self.starvation.finish(),
                tcp_memory_short: self.tcp_shortage.total(),
                stood_still: Duration::from_nanos(self.stand_still.total()),
            },
        }
    }

    /// Begins the slots whose time has come.
    fn begin_due_slots(&mut self) {
        for _ in 0..BEGUN_PER_ROUND {
            let stopped = self.signals.is_stopped();
            let Some(index) = self.connector.begin_due(&self.run, &self.clock, stopped) else { return };
            self.connect(index, None);
            self.connector.has_connected(&self.run, index);
        }
        self.connector.begin_more_soon();
    }

    /// Brings the slot of a coming event into the cache. Of thousands of connections none is still there when its turn
    /// comes, and the turns before it take longer than memory does.
    fn prefetch_slot(&self, event: &Event) {
        if let Some(slot) = self.slots.get(event.token().0) {
            sys::prefetch(slot);
        }
    }

    /// The same with the connection to which the slot points.
    fn prefetch_connection(&self, event: &Event) {
        if let Some(SlotState { stage: SlotStage::Open(open), .. }) = self.slots.get(event.token().0) {
            sys::prefetch(&**open);
        }
    }

    /// Waits for events until the next time at which there is something to do.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let next = self.timers.next().min(self.connector.opens_at());
        let now = if next == NEVER { self.clock.last() } else { self.clock.read() };
        let mut timeout = Duration::ZERO;
        if self.wait.queued() == 0 && next > now {
            if next < self.sweep_at {
                self.timers.set_alarm(next, now)?;
            }
            timeout = Duration::from_nanos(next.min(self.sweep_at).saturating_sub(now));
        }
        self.wait.wait(events, timeout)
    }

    /// Gives a turn to the slots whose time has come, and to those that are in the queue now.
    fn give_turns(&mut self) {
        let now = if self.timers.next() == NEVER { 0 } else { self.clock.read() };
        while let Some(index) = self.timers.pop_due(&mut self.slots, now) {
            self.turn(index, None);
        }
        for _ in 0..self.wait.queued() {
            let Some(index) = self.wait.dequeue(&mut self.slots) else { return };
            self.turn(index, None);
        }
    }

    fn turn(&mut self, index: usize, event: Option<&Event>) {
        let SlotStage::Open(open) = &mut self.slots[index].stage else { return self.connect(index, event) };
        if let Some(event) = event {
            open.socket.notice(event.into());
        }
        self.drive(index);
    }

    /// Lets the connector take a slot without an open connection one step on.
    fn connect(&mut self, index: usize, event: Option<&Event>) {
        let ClientWorker { run, clock, slots, wait, connector, stats, signals, .. } = self;
        let context = ConnectContext { run, clock, registry: wait.registry(), stopped: signals.is_stopped() };
        let slot = &mut slots[index];
        let stats = stats.of(slot.group());
        match connector.advance((index, slot), stats, event, &context) {
            SlotAction::AwaitEvent => {}
            SlotAction::WakeAt(at) => self.timers.wake_at(&mut self.slots, index, at),
            SlotAction::Enqueue => self.wait.enqueue(&mut self.slots, index),
            SlotAction::Drive => self.drive(index),
            SlotAction::Report(failure) => {
                self.report(index, failure);
                self.wait.enqueue(&mut self.slots, index);
            }
            SlotAction::End => self.end(index),
        }
    }

    /// Makes a finding of a connect that failed, unless the backend is down on purpose.
    fn report(&mut self, index: usize, failure: ConnectFailure) {
        let group = self.slots[index].group();
        if self.run.is_backend_down() {
            backend_slots::count_unserved(&mut self.stats.of(group).counters, &failure);
            return;
        }
        // Of a server that speaks first, its first bytes may be wrong as a whole.
        let is_wrong = matches!(failure.kind, FindingKind::Corrupt | FindingKind::Crosstalk);
        let extent = if is_wrong { RECOGNIZED_BY_BYTES } else { 0 };
        let way = failure.damage.is_some().then_some(StreamDirection::Down);
        let of_connection = || Divergence::of_connection(failure.kind, failure.conn, 0, extent);
        let divergence = failure.damage.map_or_else(of_connection, |damage| *damage);
        let context = FindingContext {
            now: self.clock.last(),
            local: failure.source.map(|source| source.to_string()),
            remote: Some(failure.target.to_string()),
            recent: Vec::new(),
            other: None,
            way,
            error: Some(&failure.error),
        };
        self.findings.add(&self.run, (group, self.stats.of(group)), divergence, context);
    }

    /// Lets an open connection move what it can.
    fn drive(&mut self, index: usize) {
        let ClientWorker { run, slots, clock, scratch, findings, stats, signals, connector, wait, .. } = self;
        let slot = &mut slots[index];
        let stalled = slot.take_stalled();
        let group = slot.group();
        let SlotStage::Open(open) = &mut slot.stage else { return };
        let profile = &*run.plan.groups[group];
        let side = open.connection.side();
        let is_paced = profile.paces_ends() && side != Some(Side::Backend);
        let delay = if is_paced { connector.end_delay(run, index) } else { 0 };
        let others_rest_since = signals.others_rest_since().saturating_add(delay);
        let deadline = deadline(profile).saturating_add(delay);
        let streams = run.streams(side);
        let mut turn = TurnContext {
            stream: streams.sent.0,
            ledger: streams.sent.1,
            incoming: streams.received.0,
            incoming_ledger: streams.received.1,
            half_close: &run.half_close,
            scratch: &mut scratch.0,
            found: findings.found(),
            stats: stats.of(backend_slots::stats_index(group, side, run.plan.groups.len())),
            clock,
            others_rest: others_rest_since <= clock.last(),
            group_arrived: signals.has_arrived(group),
            deadline,
        };
        if signals.is_stopped() || open.connection.has_had_enough() {
            open.connection.cut_short(&mut open.socket, &mut turn);
            self.take_findings(index, None);
            return self.close(index);
        }
        let result = open.turn(&mut turn, stalled, (wait.registry(), Token(index)));
        let limit_ms =
            millis(profile.stall_timeout).min(if open.connection.is_probing() { MAX_PROBE_MS } else { u32::MAX });
        let error = if let TurnResult::Over(error) = &result { error.as_ref() } else { None };
        self.note_schedule(index, side);
        self.take_findings(index, error);
        let (slot, now) = (&mut self.slots[index], self.clock.last());
        match result {
            TurnResult::Yield { owed, progress } => {
                slot.owes(owed, now, limit_ms, progress);
                self.wait.enqueue(&mut self.slots, index);
            }
            TurnResult::Wait { timer, owed, waits_for, progress } => {
                slot.owes(owed, now, limit_ms, progress);
                match waits_for {
                    WaitsFor::Itself => {}
                    WaitsFor::Group => self.arrive(index),
                    WaitsFor::Run => self.rest(index),
                }
                // Without a pace the sweep tells all slots at once.
                let paced = if delay > 0 { earliest([deadline, others_rest_since], now) } else { None };
                if let Some(at) = timer.into_iter().chain(paced).min() {
                    self.timers.wake_at(&mut self.slots, index, at);
                }
            }
            TurnResult::Over(_) => self.close(index),
        }
    }

    /// Makes findings of what the slot's last turn found wrong.
    #[inline]
    fn take_findings(&mut self, index: usize, error: Option<&io::Error>) {
        if self.findings.found().is_empty() {
            return;
        }
        let now = self.clock.read();
        let slot = &mut self.slots[index];
        let group = slot.group();
        if let SlotStage::Open(open) = &mut slot.stage {
            self.findings.take_found(&self.run, open, (group, self.stats.of(group)), now, error);
        }
    }

    /// Counts and closes the slot's connection, which is over; on to its next one.
    fn close(&mut self, index: usize) {
        let is_of_backend = self.backend.owns(index);
        let slot = &mut self.slots[index];
        if let SlotStage::Open(open) = &slot.stage {
            let stats = self.stats.of(slot.group());
            let failed = match open.connection.pair() {
                None => Some(open.connection.has_failed()),
                Some(_) => backend_slots::ended(&self.run, &open.connection, self.clock.last()),
            };
            if !is_of_backend {
                stats.timeline.at(Duration::from_nanos(self.clock.last())).closed += 1;
            }
            let counters = &mut stats.counters;
            // A connection with which something was wrong has failed, whatever ended it. The first half of a pair to
            // end leaves the count to the other one.
            let was_unserved = open.connection.pair().is_some_and(|pair| pair.was_unserved());
            match (failed, self.signals.is_stopped()) {
                (None, _) => {}
                // It was counted when it ended.
                (Some(false), _) if was_unserved => {}
                (Some(true), _) => counters.failed += 1,
                (Some(false), true) => counters.cut_short += 1,
                (Some(false), false) => counters.passed += 1,
            }
            if !is_of_backend && self.run.plan.groups[slot.group()].fast_open {
                counters.fast_open += u64::from(sys::was_opened_fast(open.socket.stream()));
            }
        }
        if let Some(mut stream) = slot.close() {
            // Closing the socket does the same on most systems.
            let _ = self.wait.registry().deregister(&mut stream);
        }
        if is_of_backend {
            self.slots[index].stage = SlotStage::Ended;
            return self.backend.give_back(index);
        }
        self.connect(index, None);
    }

    /// The slot has nothing left to do of its own: it has ended, or only waits for the others.
    fn rest(&mut self, index: usize) {
        if self.slots[index].take_working() {
            self.run.close_barrier.rest();
        }
    }

    /// Connections that close together no longer wait for this slot.
    fn arrive(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.take_awaited() {
            self.run.close_barrier.arrive(slot.group());
        }
    }

    /// The slot has had its last connection.
    fn end(&mut self, index: usize) {
        self.arrive(index);
        self.rest(index);
        self.slots[index].owes_nothing();
        self.slots[index].stage = SlotStage::Ended;
        self.connector.slot_ended();
    }

    /// Looks for stalls, deadlines, interrupts and the end.
    fn sweep(&mut self) {
        let now = self.clock.read();
        self.mark_time(now);
        self.publish();
        self.begin_schedules();
        self.fail_fast_if_undecided(now);
        if let Some(began) = self.saturation.sample(now, sys::thread_cpu_time) {
            self.stats.saturated(Duration::from_nanos(began), Duration::from_nanos(now));
        }
        self.starvation.sample(now, sys::thread_cpu_time, sys::thread_run_delay);
        if let Some(gap) = self.short_starvation.sample(now, sys::thread_cpu_time, sys::thread_run_delay) {
            self.leave_out(gap);
        }
        if let Some(gap) = self.stand_still.look(now) {
            self.stats.stood_still(Duration::from_nanos(gap), Duration::from_nanos(now));
            self.leave_out(gap);
            self.note_stand_still(gap, now);
        }
        let wake_all = self.signals.look(&self.run, now);
        for index in self.begun() {
            if self.slots[index].check_stalled(now) || wake_all {
                self.wait.enqueue(&mut self.slots, index);
            }
        }
    }

    /// Ends a run that fails fast some time after the first wrong bytes, even if it is not certain yet what happened to
    /// them: a gap may be filled by late bytes as long as 16 MiB later, which can be hours.
    fn fail_fast_if_undecided(&mut self, now: u64) {
        let ClientWorker { run, stats, wrong_since, .. } = self;
        let mut groups = run.plan.groups.iter().enumerate();
        if !groups.any(|(group, profile)| profile.fail_fast && stats.of(group).counters.undecided > 0) {
            return;
        }
        if *wrong_since == NEVER {
            *wrong_since = now;
        } else if now >= wrong_since.saturating_add(nanos(LONGEST_UNDECIDED)) {
            run.fail_fast();
        }
    }

    /// The slots that have begun: the client's, and those of the server's halves.
    fn begun(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.connector.begun()).chain(self.backend.first()..self.slots.len())
    }

    /// The worker had no processor for `gap` nanoseconds, which have just ended: no connection is blamed for that time.
    fn leave_out(&mut self, gap: u64) {
        for index in self.begun() {
            let slot = &mut self.slots[index];
            slot.leave_out(gap);
            if let SlotStage::Open(open) = &mut slot.stage {
                open.connection.leave_out(gap);
            }
        }
    }

    /// The worker stood still for `gap` nanoseconds, until `now`: findings show it.
    fn note_stand_still(&mut self, gap: u64, now: u64) {
        for index in self.begun() {
            if let SlotStage::Open(open) = &mut self.slots[index].stage {
                open.connection.note_stand_still(gap, now);
            }
        }
    }

    /// Takes over the starts of open-loop schedules that are known by now, and wakes the slots that waited for them.
    fn begin_schedules(&mut self) {
        let groups = self.run.plan.groups.len();
        for (group, profile) in self.run.plan.groups.iter().enumerate() {
            if !profile.has_schedule() || self.stats.of(group).open_loop.began.is_some() {
                continue;
            }
            let began = self.run.start_schedule.began(group);
            if began.is_none() {
                continue;
            }
            self.stats.of(group).open_loop.began = began;
            if self.run.two_sides.is_some() {
                let of_backend = backend_slots::stats_index(group, Some(Side::Backend), groups);
                self.stats.of(of_backend).open_loop.began = began;
            }
            for index in self.begun() {
                if self.slots[index].group() == group {
                    self.wait.enqueue(&mut self.slots, index);
                }
            }
        }
    }

    /// Puts what was measured since the last sweep on the time line, halfway between the two.
    fn mark_time(&mut self, now: u64) {
        self.stats.mark_time(Duration::from_nanos(now.saturating_sub(nanos(SWEEP_INTERVAL) / 2)));
    }

    /// Shows the counters to other threads.
    fn publish(&self) {
        let counters = self.stats.counters();
        self.run.ledger.note(counters.bytes_sent);
        self.run.control.publish(self.index, counters);
        self.run.control.publish_round_trips(self.index, || self.stats.round_trips());
    }
}

/// The earliest of these times that is still to come.
#[cold]
fn earliest(times: [u64; 2], now: u64) -> Option<u64> {
    times.into_iter().filter(|at| (now..NEVER).contains(at)).min()
}
