//! One worker: a thread with one wait for all its sockets, one heap for all its times, and one sweep for all stalls,
//! deadlines and interrupts.
//!
//! A loop and not a runtime, because that is what a fifth of the client's own time and a third of its memory were spent
//! on: with a task a connection each round trip goes through a waker, two queues and a lock or two, and each connection
//! has a task, a registration and a future beside what it needs. Here an event carries the slot's number, and the slot
//! holds the rest.
//!
//! A slot gets a *turn* when the wait says something of its socket, when a time that it asked for has come, when its
//! last turn ended because others should have theirs, or when the sweep has something for it. Turns in vain do no harm.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token};

use super::Shared;
use super::busy::Busy;
use super::clock::Clock;
use super::connection::{Desk, Socket, nanos};
use super::pacer::Pacer;
use super::share::Share;
use super::slot::{Open, Slot, Stage};
use super::turn::{Awaits, Turn};
use crate::measure::Figures;
use crate::plan::Profile;
use crate::stream::{Divergence, Finding};
use crate::sys::{self, Alarm};

/// Between two looks for stalls, deadlines and interrupts.
pub(super) const SWEEP: Duration = Duration::from_millis(50);
/// Bytes that are made or taken in by one call. More than a socket takes at once gains nothing, and this stays in the
/// second-level cache.
const SCRATCH: usize = 128 * 1024;
/// A probe after a stall is given no longer than this.
const PROBE_MS: u32 = 2_000;
/// Events taken over in one wait. More would be older when their turn comes.
const EVENTS: usize = 256;
/// So many events ahead the connection is brought into the cache …
const SOON: usize = 2;
/// … and before it the slot, which says where the connection is.
const LATER: usize = 4;

/// What interrupts the wait without being a slot's socket.
pub(super) const WAKE: Token = Token(usize::MAX - 1);
const ALARM: Token = Token(usize::MAX - 2);

/// Begins with a cache line, so that no vector lies across two.
#[repr(align(64))]
struct Scratch([u8; SCRATCH]);

/// What a worker brings back.
pub(super) struct Work {
    pub(super) groups: Vec<(Figures, Vec<Finding>)>,
    pub(super) busy: Option<f64>,
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) index: usize,
    pub(super) shares: Vec<Share>,
    pub(super) poll: Poll,
    pub(super) slots: Vec<Slot>,
    pub(super) clock: Clock,
    pacer: Pacer,
    busy: Busy,
    alarm: Alarm,
    /// When the alarm rings; `u64::MAX`: it is not set.
    alarm_at: u64,
    scratch: Box<Scratch>,
    pub(super) found: Vec<Divergence>,
    pub(super) groups: Vec<(Figures, Vec<Finding>)>,
    /// Slots that are to have a turn without an event.
    queue: VecDeque<u32>,
    /// Handshakes under way.
    pub(super) connecting: usize,
    /// The first slot that was not begun yet, and when it may be; 0: now, `u64::MAX`: an event will tell.
    pub(super) unopened: usize,
    pub(super) opens_at: u64,
    /// Slots begun and not ended.
    pub(super) live: usize,
    /// All that has an end of its own has ended.
    finish: bool,
    /// For each group, whether all its connections have had their echo at one time.
    together: Vec<bool>,
    /// The run was interrupted, or has failed fast.
    pub(super) stop: bool,
    sweep_at: u64,
    /// For each group, when its time is up; `u64::MAX` once that was told to its slots.
    deadlines: Vec<u64>,
    /// For each group, the messages and bytes that stand on the time line.
    seen: Vec<(u64, u64)>,
}

/// The body of a worker's thread.
pub(super) fn work(shared: Arc<Shared>, index: usize, shares: Vec<Share>, poll: Poll) -> io::Result<Work> {
    let run = || -> io::Result<_> {
        let mut worker = Worker::new(Arc::clone(&shared), index, shares, poll)?;
        worker.serve()?;
        // What came since the last sweep, which in a short run is all of it.
        worker.mark_time(worker.clock.read());
        worker.publish();
        let busy = worker.busy.finish(worker.clock.last(), sys::thread_cpu_time());
        Ok(Work { groups: worker.groups, busy })
    };
    run().inspect_err(|_| shared.order.give_up())
}

impl Worker {
    fn new(shared: Arc<Shared>, index: usize, shares: Vec<Share>, poll: Poll) -> io::Result<Worker> {
        let plan = &shared.plan;
        let slot = |share: &Share| Slot::new(share.slot(plan).group as u16, share.first);
        Ok(Worker {
            alarm: Alarm::new(poll.registry(), ALARM)?,
            alarm_at: u64::MAX,
            slots: shares.iter().map(slot).collect(),
            clock: Clock::new(shared.epoch),
            pacer: Pacer::default(),
            busy: Busy::new(nanos(shared.epoch.elapsed()), sys::thread_cpu_time()),
            scratch: Box::new(Scratch([0; SCRATCH])),
            found: Vec::new(),
            groups: plan.groups.iter().map(|_| (Figures::default(), Vec::new())).collect(),
            queue: VecDeque::new(),
            connecting: 0,
            unopened: 0,
            opens_at: 0,
            live: 0,
            finish: false,
            together: vec![false; plan.groups.len()],
            stop: false,
            sweep_at: 0,
            deadlines: plan.groups.iter().map(|group| deadline(group)).collect(),
            seen: vec![(0, 0); plan.groups.len()],
            index,
            shares,
            poll,
            shared,
        })
    }

    /// Runs all slots to their ends.
    fn serve(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.open_due();
            if self.live == 0 && (self.stop || self.unopened == self.slots.len()) {
                return Ok(());
            }
            self.wait(&mut events)?;
            self.clock.read();
            let mut soon = events.iter().skip(SOON);
            let mut later = events.iter().skip(LATER);
            for event in &events {
                later.next().inspect(|event| self.fetch_slot(event));
                soon.next().inspect(|event| self.fetch_connection(event));
                match event.token() {
                    ALARM => self.alarm_at = u64::MAX,
                    WAKE => self.begin_schedules(),
                    Token(slot) => self.turn(slot, Some(event)),
                }
            }
            self.give_turns();
            if self.clock.last() >= self.sweep_at {
                self.sweep();
                self.sweep_at = self.clock.last() + nanos(SWEEP);
            }
        }
    }

    /// Brings the slot of a coming event into the cache: of thousands of connections none is there any more when its
    /// turn comes, and the turns before it take longer than memory does.
    fn fetch_slot(&self, event: &Event) {
        if let Some(slot) = self.slots.get(event.token().0) {
            sys::prefetch(slot);
        }
    }

    /// The same with the connection, which stands in the slot.
    fn fetch_connection(&self, event: &Event) {
        if let Some(Slot { stage: Stage::Open(open), .. }) = self.slots.get(event.token().0) {
            sys::prefetch(&**open);
        }
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let next = self.pacer.next().unwrap_or(u64::MAX).min(self.opens_at);
        let now = if next == u64::MAX { self.clock.last() } else { self.clock.read() };
        let mut timeout = Duration::ZERO;
        if self.queue.is_empty() && next > now {
            if next < self.sweep_at && next != self.alarm_at {
                self.alarm.ring_in(Duration::from_nanos(next - now))?;
                self.alarm_at = next;
            }
            timeout = Duration::from_nanos(next.min(self.sweep_at).saturating_sub(now));
        }
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// The turns of those whose time has come, and of those that stand in the queue now.
    fn give_turns(&mut self) {
        let now = if self.pacer.next().is_some() { self.clock.read() } else { 0 };
        while let Some((at, index)) = self.pacer.pop_due(now) {
            let slot = &mut self.slots[index as usize];
            // A time that was replaced by another stays in the heap, and is passed over here.
            if slot.timer == at {
                slot.timer = u64::MAX;
                self.turn(index as usize, None);
            }
        }
        for _ in 0..self.queue.len() {
            let Some(index) = self.queue.pop_front() else { return };
            self.slots[index as usize].queued = false;
            self.turn(index as usize, None);
        }
    }

    /// Gives the slot a turn soon.
    pub(super) fn enqueue(&mut self, index: usize) {
        if !std::mem::replace(&mut self.slots[index].queued, true) {
            self.queue.push_back(index as u32);
        }
    }

    /// Gives the slot a turn at that time, or soon after.
    pub(super) fn wake_at(&mut self, index: usize, at: u64) {
        if std::mem::replace(&mut self.slots[index].timer, at) != at {
            self.pacer.wake_at(index as u32, at);
            if self.pacer.is_cluttered() {
                let slots = &self.slots;
                self.pacer.clear(|at, index| slots[index as usize].timer == at);
            }
        }
    }

    fn turn(&mut self, index: usize, event: Option<&Event>) {
        match &mut self.slots[index].stage {
            Stage::Open(open) => {
                if let Some(event) = event {
                    open.link.notice(event);
                }
                self.drive(index);
            }
            Stage::Connecting(_) => self.look_at_handshake(index, event),
            // An event of a socket that is closed by now.
            Stage::Next { .. } | Stage::Pausing { .. } if event.is_some() => {}
            Stage::Next { .. } | Stage::Pausing { .. } => self.open_next(index),
            Stage::Ended => {}
        }
    }

    /// Lets an open connection move what it can.
    pub(super) fn drive(&mut self, index: usize) {
        let Worker { shared, slots, clock, scratch, found, groups, .. } = self;
        let slot = &mut slots[index];
        let stalled = slot.take_stalled();
        let Stage::Open(open) = &mut slot.stage else { return };
        let Open { connection, link } = &mut **open;
        let group = usize::from(slot.group);
        let profile = &*shared.plan.groups[group];
        let mut desk = Desk {
            stream: &shared.stream,
            ledger: &shared.ledger,
            scratch: &mut scratch.0,
            found,
            figures: &mut groups[group].0,
            clock,
            finish: self.finish,
            together: self.together[group],
            deadline: deadline(profile),
        };
        if self.stop {
            connection.cut_short(&mut desk);
            link.close_with_reset();
            self.take_findings(index, None);
            self.count_end(index);
            return self.close(index);
        }
        let turn = if stalled { connection.stalled(link, &mut desk) } else { connection.advance(link, &mut desk) };
        let limit = millis(profile.stall_timeout).min(if stalled { PROBE_MS } else { u32::MAX });
        if !self.found.is_empty() {
            let error = if let Turn::Over(error) = &turn { error.as_ref() } else { None };
            self.take_findings(index, error);
        }
        let slot = &mut self.slots[index];
        match turn {
            Turn::Yield { owed, progress } => {
                slot.owes(owed, self.clock.last(), limit, progress);
                self.enqueue(index);
            }
            Turn::Wait { timer, owed, awaits, progress } => {
                slot.owes(owed, self.clock.last(), limit, progress);
                match awaits {
                    Awaits::Itself => {}
                    Awaits::Load => self.arrive(index),
                    Awaits::Run => self.rest(index),
                }
                if let Some(at) = timer {
                    self.wake_at(index, at);
                }
            }
            Turn::Over(_) => {
                self.count_end(index);
                self.close(index);
            }
        }
    }

    /// Counts the slot's open connection by how it ended. What was found wrong with it is found, whatever ended it.
    fn count_end(&mut self, index: usize) {
        let slot = &self.slots[index];
        let Stage::Open(open) = &slot.stage else { return };
        let counters = &mut self.groups[usize::from(slot.group)].0.counters;
        let count = match (open.connection.has_failed(), self.stop) {
            (true, _) => &mut counters.failed,
            (false, true) => &mut counters.cut_short,
            (false, false) => &mut counters.passed,
        };
        *count += 1;
    }

    /// The slot's connection is over; on to its next one.
    fn close(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if let Stage::Open(mut open) = std::mem::replace(&mut slot.stage, Stage::Next { paused: false }) {
            slot.arrival = open.connection.plan().next_arrival();
            // The close that follows does the same, on most systems.
            let _ = self.poll.registry().deregister(&mut open.link.stream);
        }
        slot.settled();
        slot.generation += 1;
        self.open_next(index);
    }

    /// The slot has nothing more to do of its own: it has ended, or only waits for the others.
    pub(super) fn rest(&mut self, index: usize) {
        if std::mem::take(&mut self.slots[index].working) {
            self.shared.working.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Those of its load that end together need not wait for the slot any more.
    pub(super) fn arrive(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if std::mem::take(&mut slot.missing) {
            self.shared.together.one_less(usize::from(slot.group));
        }
    }

    pub(super) fn is_over(&self, profile: &Profile) -> bool {
        self.stop || self.clock.last() >= deadline(profile)
    }

    /// Looks for stalls, deadlines, interrupts and the end.
    fn sweep(&mut self) {
        let now = self.clock.read();
        self.mark_time(now);
        self.publish();
        self.begin_schedules();
        self.busy.look(now, sys::thread_cpu_time);
        let mut wake_all = false;
        if !self.stop && (self.shared.control.is_interrupted() || self.shared.failed_fast.load(Ordering::Relaxed)) {
            self.stop = true;
            wake_all = true;
        }
        if !self.finish && self.shared.working.load(Ordering::Relaxed) == 0 {
            self.finish = true;
            wake_all = true;
        }
        for (group, together) in self.together.iter_mut().enumerate().filter(|(_, together)| !**together) {
            *together = self.shared.together.is_complete(group);
            wake_all |= *together;
        }
        for deadline in self.deadlines.iter_mut().filter(|deadline| **deadline <= now) {
            *deadline = u64::MAX;
            wake_all = true;
        }
        for index in 0..self.unopened {
            if self.slots[index].check_stalled(now) || wake_all {
                self.enqueue(index);
            }
        }
    }

    /// Takes over the beginnings of open-loop schedules that are known by now, and lets those begin that waited for it.
    fn begin_schedules(&mut self) {
        for group in 0..self.groups.len() {
            let began = &mut self.groups[group].0.schedule.began;
            if began.is_some() || self.shared.plan.groups[group].rate.is_none() {
                continue;
            }
            *began = self.shared.arrivals.began(group);
            if began.is_some() {
                let waiting = |index: &usize| usize::from(self.slots[*index].group) == group;
                let waiting: Vec<usize> = (0..self.unopened).filter(waiting).collect();
                waiting.into_iter().for_each(|index| self.enqueue(index));
            }
        }
    }

    /// The first connection of a slot is open, or has failed.
    pub(super) fn first_is_settled(&self, group: usize) {
        if self.shared.arrivals.one_less(group, self.clock.last()) && self.shared.plan.groups[group].rate.is_some() {
            self.shared.order.wake_all();
        }
    }

    /// Counts on the time line what came since the last look.
    fn mark_time(&mut self, now: u64) {
        let at = Duration::from_nanos(now.saturating_sub(nanos(SWEEP) / 2));
        for ((figures, _), seen) in self.groups.iter_mut().zip(&mut self.seen) {
            let (messages, bytes) = (figures.counters.messages_echoed, figures.counters.bytes_verified);
            if (messages, bytes) != *seen {
                let point = figures.timeline.at(at);
                point.messages += messages - seen.0;
                point.bytes_verified += bytes - seen.1;
                point.rtt_max_ns = point.rtt_max_ns.max(std::mem::take(&mut figures.rtt_unmarked_ns));
                *seen = (messages, bytes);
            }
        }
    }

    fn publish(&self) {
        let mut sum = crate::measure::Counters::default();
        for (figures, _) in &self.groups {
            sum.add(&figures.counters);
        }
        self.shared.ledger.note(sum.bytes_sent);
        self.shared.control.publish(self.index, sum);
    }
}

/// When the time of a group is up.
fn deadline(profile: &Profile) -> u64 {
    profile.duration.map_or(u64::MAX, nanos)
}

pub(super) fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
