//! A world of a few connections between the real client and the real server, over simulated kernels, in a time of its
//! own. What happens next, and how much of it, the seed decides.

#![cfg(all(test, unix))]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::dice::Dice;
use super::kernel::{KernelSocket, Link, LinkEnd};
use super::plan::WorldPlan;
use crate::client::clock::{NEVER, RunClock, millis, nanos};
use crate::client::close_barrier::CloseBarrier;
use crate::client::connection::{ClientConnection, TurnContext, TurnResult, WaitsFor};
use crate::client::half_close_evidence::HalfCloseEvidence;
use crate::client::run_plan::deadline;
use crate::client::sent_ledger::SentLedger;
use crate::client::slot::SlotState;
use crate::client::socket::{RegisteredSocket, Reported};
use crate::client::timer_heap::TimerHeap;
use crate::client::worker::{MAX_PROBE_MS, SWEEP_INTERVAL};
use crate::measure::LoadStats;
use crate::plan::{ConnectionPlan, Shard, Slots};
use crate::server::simulated::{Report, SimulatedServer};
use crate::stream::{Divergence, Stream};

/// More steps than this, and a world does not end.
const MOST_STEPS: u64 = 1_000_000;
/// More time than this, in nanoseconds, and a world does not end.
const MOST_TIME: u64 = 3_600_000_000_000;

/// One connection, as the client's worker keeps it.
pub(super) struct Client {
    pub(super) connection: ClientConnection,
    /// None once it is closed.
    socket: Option<RegisteredSocket<KernelSocket>>,
    slot: SlotState,
    pub(super) found: Vec<Divergence>,
    pub(super) group: usize,
}

/// What can happen next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Carry(usize, LinkEnd),
    /// A server's wait reports this.
    Server(usize, Report),
    /// The client's wait reports something.
    Event(usize),
    /// The client's queue has this one.
    Queued(usize),
}

/// The world.
pub(super) struct World {
    pub(super) plan: WorldPlan,
    dice: Rc<Dice>,
    pub(super) links: Vec<Rc<RefCell<Link>>>,
    pub(super) clients: Vec<Client>,
    pub(super) server: SimulatedServer<KernelSocket>,
    pub(super) stream: Stream,
    ledger: SentLedger,
    half_close: HalfCloseEvidence,
    barrier: CloseBarrier,
    others_rest: bool,
    arrived: Vec<bool>,
    deadlines: Vec<u64>,
    clock: RunClock,
    timers: TimerHeap,
    queue: Vec<usize>,
    sweep_at: u64,
    stopped: bool,
    scratch: Vec<u8>,
    pub(super) stats: LoadStats,
    pub(super) steps: u64,
    options: Vec<Step>,
}

impl World {
    pub(super) fn new(plan: WorldPlan) -> World {
        let dice = Rc::new(Dice::new(plan.seed ^ 0x5EED));
        let profiles = plan.groups.iter().map(|group| &**group);
        let slots = Slots::new(profiles).expect("there are ids for so few connections");
        let stream = Stream::new(plan.seed);
        let ledger = SentLedger::new(slots.clone(), Shard::WHOLE);
        let clock = RunClock::simulated(plan.tick);
        let mut server = SimulatedServer::new(plan.server_buffer);
        let (mut links, mut clients) = (Vec::new(), Vec::new());
        for index in 0..slots.total() {
            let slot = slots.slot(index);
            let conn = slots.id(slot, 0).expect("the slot has a first connection");
            let link = Link::new(&dice, plan.moods, plan.ways(index as usize));
            server.accept(KernelSocket::new(&link, LinkEnd::Server), plan.server_is_noticed);
            ledger.open(conn, 0);
            let profile = &plan.groups[slot.group as usize];
            let of_plan = ConnectionPlan::new(Arc::clone(profile), plan.seed, slot, conn);
            clients.push(Client {
                connection: ClientConnection::new(of_plan, conn, clock.read()),
                socket: Some(RegisteredSocket::new(KernelSocket::new(&link, LinkEnd::Client))),
                slot: SlotState::new(slot.group as u16, 0),
                found: Vec::new(),
                group: slot.group as usize,
            });
            links.push(link);
        }
        let counts: Vec<u32> = plan.groups.iter().map(|group| group.conns).collect();
        World {
            barrier: CloseBarrier::new(&counts),
            arrived: vec![false; counts.len()],
            deadlines: plan.groups.iter().map(|profile| deadline(profile)).collect(),
            queue: (0..clients.len()).collect(),
            plan,
            dice,
            links,
            clients,
            server,
            stream,
            ledger,
            half_close: HalfCloseEvidence::default(),
            others_rest: false,
            clock,
            timers: TimerHeap::default(),
            sweep_at: 0,
            stopped: false,
            scratch: vec![0; 8192],
            stats: LoadStats::default(),
            steps: 0,
            options: Vec::new(),
        }
    }

    /// Runs the world to its end.
    pub(super) fn run(&mut self) -> Result<(), String> {
        // The worker notes all as queued that it has begun.
        self.clients.iter_mut().for_each(|client| {
            client.slot.set_queued();
        });
        if let Some(began) = self.plan.schedule_begins {
            self.stats.open_loop.began = Some(began);
        }
        while !self.is_over() {
            self.steps += 1;
            if self.steps > MOST_STEPS || self.clock.last() > MOST_TIME {
                return Err(format!(
                    "it does not end: {} steps, {} ns\n{}",
                    self.steps,
                    self.clock.last(),
                    self.describe()
                ));
            }
            self.step();
            self.pass_time();
        }
        // What a fault has cut off from its client is never told of its end.
        self.server.abort();
        Ok(())
    }

    /// The state of every connection.
    pub(super) fn describe(&self) -> String {
        let plan = &self.plan;
        let server = if plan.server_is_noticed { "notices once" } else { "reports what lasts" };
        let head = format!("the server, with {} B, {server}; {:?}", plan.server_buffer, plan.moods);
        let client = |(index, client): (usize, &Client)| {
            let (load, link) = (&plan.groups[client.group], self.links[index].borrow());
            let faults = (&plan.faults[index], plan.totals[index]);
            format!("{index}: {load}, read {:?}; {faults:?}; next {:?}\n{link}", load.read, self.server.awaits(index))
        };
        let clients: Vec<String> = self.clients.iter().enumerate().map(client).collect();
        format!("{head}\n{}", clients.join("\n"))
    }

    /// Whether all clients have ended, and the server all that it knows to have ended.
    fn is_over(&mut self) -> bool {
        if self.clients.iter().any(|client| client.socket.is_some()) {
            return false;
        }
        self.list_steps();
        self.options.is_empty()
    }

    /// Lists what can happen.
    fn list_steps(&mut self) {
        self.options.clear();
        for (index, link) in self.links.iter().enumerate() {
            let link = link.borrow();
            for end in [LinkEnd::Client, LinkEnd::Server] {
                if link.can_carry(end) {
                    self.options.push(Step::Carry(index, end));
                }
            }
            if let Some(awaited) = self.server.awaits(index) {
                let report =
                    if self.plan.server_is_noticed { link.notify_server() } else { link.report_to_server(awaited) };
                self.options.extend(report.map(|report| Step::Server(index, report)));
            }
            if self.clients[index].socket.is_some() && link.has_news(LinkEnd::Client) {
                self.options.push(Step::Event(index));
            }
        }
        self.options.extend(self.queue.iter().map(|index| Step::Queued(*index)));
    }

    fn step(&mut self) {
        self.swap();
        self.list_steps();
        if self.dice.chance(self.plan.spurious) {
            self.wake_for_nothing();
        }
        if self.options.is_empty() {
            return self.jump();
        }
        match self.dice.pick(&self.options) {
            Step::Carry(index, end) => {
                self.links[index].borrow_mut().carry(end);
            }
            Step::Server(index, report) => {
                self.links[index].borrow_mut().told_server(report);
                self.server.turn(index, report);
            }
            Step::Event(index) => {
                let reported = self.links[index].borrow_mut().report_to_client();
                self.notice(index, reported);
            }
            Step::Queued(index) => {
                self.queue.retain(|queued| *queued != index);
                self.clients[index].slot.unset_queued();
                self.drive(index);
            }
        }
    }

    /// Something is reported that does not hold.
    fn wake_for_nothing(&mut self) {
        let index = self.dice.below(self.clients.len());
        let (read, write) = (self.dice.chance(500), self.dice.chance(500));
        if self.dice.chance(500) {
            self.server.turn(index, Report { read, write, hangup: false });
        } else {
            self.notice(index, Reported { readable: read, writable: write, ..Reported::default() });
        }
    }

    fn notice(&mut self, index: usize, reported: Reported) {
        if let Some(socket) = &mut self.clients[index].socket {
            socket.notice(reported);
            self.drive(index);
        }
    }

    /// Lets connections whose bytes wait at a swap change them.
    fn swap(&mut self) {
        let Some([one, two]) = self.plan.swap else { return };
        let (mut a, mut b) = (self.links[one].borrow_mut(), self.links[two].borrow_mut());
        let way = self.plan.swap_way as usize;
        let places = [a.ways[way].place(), b.ways[way].place()];
        let (Some((most_a, bytes_a)), Some((most_b, bytes_b))) = (a.ways[way].at_swap(), b.ways[way].at_swap()) else {
            return;
        };
        let len = most_a.min(most_b);
        for i in 0..len {
            std::mem::swap(&mut bytes_a[i], &mut bytes_b[i]);
        }
        a.ways[way].swapped(len, (two, places[1]));
        b.ways[way].swapped(len, (one, places[0]));
    }

    /// Nothing can happen now: on to the next time at which something is due.
    fn jump(&mut self) {
        let now = self.clock.last();
        let next = self.timers.next().unwrap_or(NEVER).min(self.sweep_at).max(now + 1);
        self.clock.set(next);
        self.clock.read();
    }

    /// Time passes, and what is due happens.
    fn pass_time(&mut self) {
        let passed = self.dice.below(self.plan.most_step_ns as usize) as u64;
        self.clock.set(self.clock.last() + passed);
        let now = self.clock.read();
        for link in &self.links {
            link.borrow_mut().ways.iter_mut().for_each(|way| way.give_up_at(now));
        }
        while let Some((at, index)) = self.timers.pop_due(now) {
            if self.clients[index as usize].slot.take_timer(at) {
                self.drive(index as usize);
            }
        }
        if now >= self.sweep_at {
            self.sweep(now);
            self.sweep_at = self.clock.last() + nanos(SWEEP_INTERVAL);
        }
        self.stopped |= self.steps == self.plan.stops_after;
    }

    /// As the worker's sweep.
    fn sweep(&mut self, now: u64) {
        let mut wakes_all = self.stopped;
        if !self.others_rest && self.barrier.all_rest() {
            (self.others_rest, wakes_all) = (true, true);
        }
        for (group, arrived) in self.arrived.iter_mut().enumerate().filter(|(_, arrived)| !**arrived) {
            *arrived = self.barrier.all_arrived(group);
            wakes_all |= *arrived;
        }
        for deadline in self.deadlines.iter_mut().filter(|deadline| **deadline <= now) {
            (*deadline, wakes_all) = (u64::MAX, true);
        }
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            if client.socket.is_some() && (client.slot.check_stalled(now) || wakes_all) {
                self.enqueue(index);
            }
        }
    }

    fn enqueue(&mut self, index: usize) {
        if !self.clients[index].slot.set_queued() {
            self.queue.push(index);
        }
    }

    /// As the worker's `drive`: gives a connection its turn, and does what its result asks for.
    fn drive(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(socket) = &mut client.socket else { return };
        let stalled = client.slot.take_stalled();
        let profile = &self.plan.groups[client.group];
        let before = client.found.len();
        let mut turn = TurnContext {
            stream: &self.stream,
            ledger: &self.ledger,
            incoming: &self.stream,
            incoming_ledger: &self.ledger,
            half_close: &self.half_close,
            scratch: &mut self.scratch,
            found: &mut client.found,
            stats: &mut self.stats,
            clock: &self.clock,
            others_rest: self.others_rest,
            group_arrived: self.arrived[client.group],
            deadline: deadline(profile),
        };
        if self.stopped || client.connection.has_had_enough() {
            client.connection.cut_short(socket, &mut turn);
            return self.end(index, before);
        }
        let result = match stalled {
            true => client.connection.stalled(socket, &mut turn),
            false => client.connection.advance(socket, &mut turn),
        };
        let limit = if client.connection.is_probing() { MAX_PROBE_MS } else { u32::MAX };
        let (limit_ms, now) = (millis(profile.stall_timeout).min(limit), self.clock.last());
        client.connection.fail(client.found.len() - before);
        match result {
            TurnResult::Yield { owed, progress } => {
                client.slot.owes(owed, now, limit_ms, progress);
                self.enqueue(index);
            }
            TurnResult::Wait { timer, owed, waits_for, progress } => {
                client.slot.owes(owed, now, limit_ms, progress);
                match waits_for {
                    WaitsFor::Itself => {}
                    WaitsFor::Group => self.arrive(index),
                    WaitsFor::Run => self.rest(index),
                }
                if let Some(at) = timer
                    && self.clients[index].slot.set_timer(at)
                {
                    self.timers.push(index as u32, at);
                }
            }
            TurnResult::Over(_) => self.end(index, self.clients[index].found.len()),
        }
    }

    /// The connection is over.
    fn end(&mut self, index: usize, counted: usize) {
        let client = &mut self.clients[index];
        client.connection.fail(client.found.len() - counted);
        client.socket = None;
        client.slot.owes_nothing();
        self.arrive(index);
        self.rest(index);
    }

    fn arrive(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.slot.take_awaited() {
            self.barrier.arrive(client.group);
        }
    }

    fn rest(&mut self, index: usize) {
        if self.clients[index].slot.take_working() {
            self.barrier.rest();
        }
    }
}
