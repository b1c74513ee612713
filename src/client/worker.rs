//! One worker: a thread with a `current_thread` runtime, a task a slot, one sweep, one pacer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

use super::Shared;
use super::connection::{Connection, Desk, Turn, nanos};
use super::pacer::Pacer;
use super::share::Share;
use super::slot::SlotState;
use super::socket::TaskSocket;
use crate::bytes::{ConnId, Divergence, Finding, Kind};
use crate::measure::Figures;
use crate::plan::{self, Profile};
use crate::sys;

/// Between two looks for stalls, deadlines and interrupts.
const SWEEP: Duration = Duration::from_millis(50);
/// Connects under way at a time in one worker: fewer than a common listener's queue holds, past which the system drops
/// SYNs and the client waits a second to try again.
const CONNECTING: u32 = 256;
/// Bytes that are made or taken in by one call. More than a socket takes at once gains nothing, and this stays in the
/// second-level cache.
const SCRATCH: usize = 128 * 1024;
/// A probe after a stall is given no longer than this.
const PROBE_MS: u32 = 2_000;

/// What a worker brings back.
pub(super) struct Work {
    pub(super) groups: Vec<(Figures, Vec<Finding>)>,
    pub(super) busy: Option<f64>,
}

struct Worker {
    shared: Arc<Shared>,
    shares: Vec<Share>,
    index: usize,
    slots: Vec<SlotState>,
    pacer: Pacer,
    state: RefCell<State>,
    connecting: Cell<u32>,
    connected: Notify,
    remaining: Cell<usize>,
    done: Notify,
    finish: Cell<bool>,
    stop: Cell<bool>,
}

struct State {
    scratch: Box<[u8]>,
    found: Vec<Divergence>,
    groups: Vec<(Figures, Vec<Finding>)>,
    /// Of each group the messages and bytes that its time line holds.
    marked: Vec<(u64, u64)>,
}

/// The body of a worker's thread.
pub(super) fn work(shared: Arc<Shared>, index: usize, shares: Vec<Share>) -> io::Result<Work> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let groups: Vec<_> = shared.plan.groups.iter().map(|_| (Figures::default(), Vec::new())).collect();
    let marked = vec![(0, 0); groups.len()];
    let state = State { scratch: vec![0; SCRATCH].into(), found: Vec::new(), groups, marked };
    let worker = Rc::new(Worker {
        slots: shares.iter().map(|_| SlotState::default()).collect(),
        pacer: Pacer::default(),
        state: RefCell::new(state),
        connecting: Cell::new(0),
        connected: Notify::new(),
        remaining: Cell::new(shares.len()),
        done: Notify::new(),
        finish: Cell::new(false),
        stop: Cell::new(false),
        shared,
        shares,
        index,
    });
    let served = LocalSet::new().block_on(&runtime, Worker::serve(&worker));
    served.inspect_err(|_| worker.shared.order.give_up())?;
    // Two clocks that need not begin together: what counts is their ratio over the whole of the thread's life.
    let busy = sys::thread_cpu_time().map(|cpu| cpu.as_secs_f64() / worker.shared.epoch.elapsed().as_secs_f64());
    // What came since the last sweep, which in a short run is all of it.
    worker.mark_time(worker.now());
    worker.publish();
    let groups = std::mem::take(&mut worker.state.borrow_mut().groups);
    Ok(Work { groups, busy })
}

impl Worker {
    async fn serve(worker: &Rc<Worker>) -> io::Result<()> {
        if worker.shares.is_empty() {
            return Ok(());
        }
        let opener = {
            let worker = Rc::clone(worker);
            spawn_local(async move { Worker::open_all(&worker).await })
        };
        let result = tokio::select! {
            () = worker.done.notified() => Ok(()),
            () = worker.sweep() => Ok(()),
            failed = worker.pacer.run(&worker.slots, worker.shared.epoch) => failed,
        };
        opener.abort();
        result
    }

    fn now(&self) -> u64 {
        self.shared.epoch.elapsed().as_nanos() as u64
    }

    async fn open_all(worker: &Rc<Worker>) {
        // Spawned and not yet counted in `connecting`. A yield lets all of them begin, and everybody else have a turn:
        // one for each connection would take as long as all that are open take to talk, ten thousand times.
        let mut spawned = 0;
        for (index, share) in worker.shares.iter().enumerate() {
            let at = worker.shared.epoch + share.opens_at(&worker.shared.plan);
            if at > std::time::Instant::now() {
                tokio::time::sleep_until(at.into()).await;
            }
            while worker.connecting.get() + spawned >= CONNECTING {
                if std::mem::take(&mut spawned) > 0 {
                    tokio::task::yield_now().await;
                } else {
                    worker.connected.notified().await;
                }
            }
            let ticket = worker.shared.order.wait(worker.index, index).await;
            spawn_local(Worker::run_slot(Rc::clone(worker), index as u32));
            spawned += 1;
            if ticket.is_some() {
                // It is to have begun to connect before the next one may.
                tokio::task::yield_now().await;
                spawned = 0;
            }
            drop(ticket);
        }
    }

    fn slot_ended(&self) {
        self.remaining.set(self.remaining.get() - 1);
        if self.remaining.get() == 0 {
            self.done.notify_one();
        }
    }

    /// One connection after the other, until the plan has no more for this slot. What it keeps while a connection is
    /// open is kept for each of tens of thousands: hence the boxes, which are gone when what they do is done.
    async fn run_slot(worker: Rc<Worker>, index: u32) {
        let mut working = Working::new(&worker.shared);
        let mut arrival = 0;
        let mut generation = worker.shares[index as usize].first;
        loop {
            match Box::pin(worker.open_next(index as usize, generation)).await {
                Opening::Opened(stream) => {
                    let follow = Follow::new(&worker, &mut working, index as usize, generation, arrival, stream);
                    arrival = Box::pin(follow).await;
                }
                Opening::Failed => {}
                Opening::NoMore => break,
            }
            generation += 1;
        }
        drop(working);
        worker.slot_ended();
    }

    /// Opens a slot's connection of this generation, if there is to be one.
    async fn open_next(&self, index: usize, generation: u32) -> Opening {
        let plan = &self.shared.plan;
        let share = self.shares[index];
        let slot = share.slot(plan);
        let profile = &plan.groups[slot.group as usize];
        let again = generation > share.first;
        if generation > share.last || (again && self.is_over(profile)) {
            return Opening::NoMore;
        }
        let Some(conn) = plan.slots.id(slot, generation) else { return Opening::NoMore };
        if again && !self.pause_before_reconnect(index, profile).await {
            return Opening::NoMore;
        }
        match self.open(index, generation, conn, profile).await {
            Ok(stream) => Opening::Opened(stream),
            Err(()) => Opening::Failed,
        }
    }

    /// False: the time was up meanwhile.
    async fn pause_before_reconnect(&self, index: usize, profile: &Profile) -> bool {
        if !profile.reconnect_delay.is_zero() {
            let until = self.now() + nanos(profile.reconnect_delay);
            poll_fn(|cx| {
                self.slots[index].attach(cx.waker());
                if self.now() >= until || self.is_over(profile) {
                    return Poll::Ready(());
                }
                self.pacer.wake_at(&self.slots, index, until);
                Poll::Pending
            })
            .await;
        }
        !self.is_over(profile)
    }

    fn is_over(&self, profile: &Profile) -> bool {
        self.stop.get() || self.now() >= self.deadline(profile)
    }

    fn deadline(&self, profile: &Profile) -> u64 {
        profile.duration.map_or(u64::MAX, nanos)
    }

    /// Opens a connection, within its time. What fails is counted and becomes a finding here.
    async fn open(&self, index: usize, generation: u32, conn: ConnId, profile: &Profile) -> Result<TcpStream, ()> {
        let plan = &self.shared.plan;
        let share = self.shares[index];
        let of = share.slot(plan);
        let target = plan.targets[conn.get() as usize % plan.targets.len()];
        let source = plan.sources.of(of.number, generation, plan.slots.total());
        let group = of.group as usize;
        self.state.borrow_mut().groups[group].0.counters.connects += 1;
        self.connecting.set(self.connecting.get() + 1);
        let begun = self.now();
        let slot = &self.slots[index];
        let mut connect = Box::pin(connect(target, source, profile));
        let result = poll_fn(|cx: &mut Context<'_>| {
            slot.attach(cx.waker());
            if let Poll::Ready(result) = connect.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            if self.stop.get() {
                return Poll::Ready(None);
            }
            if slot.take_stalled() {
                let limit = profile.connect_timeout;
                let error = io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"));
                return Poll::Ready(Some(Err(error)));
            }
            slot.owed(self.now(), millis(profile.connect_timeout), false);
            Poll::Pending
        })
        .await;
        slot.settled();
        self.connecting.set(self.connecting.get() - 1);
        self.connected.notify_one();
        let now = self.now();
        let mut state = self.state.borrow_mut();
        let figures = &mut state.groups[group].0;
        match result {
            Some(Ok(stream)) => {
                figures.counters.opened += 1;
                figures.counters.reconnects += u64::from(generation > share.first);
                figures.connect.record(now - begun);
                figures.timeline.at(Duration::from_nanos(now)).opened += 1;
                self.shared.ledger.set(conn, 0);
                Ok(stream)
            }
            Some(Err(error)) => {
                figures.counters.connect_failures += 1;
                figures.counters.failed += 1;
                drop(state);
                let divergence = Divergence::of_connection(Kind::ConnectFailed, conn, 0, 0);
                let remote = Some(target.to_string());
                let finding =
                    self.finding(divergence, now, (source.map(|s| s.to_string()), remote), Vec::new(), Some(&error));
                self.keep(group, profile, finding, now);
                Err(())
            }
            None => {
                figures.counters.cut_short += 1;
                Err(())
            }
        }
    }

    /// Runs the connection to its end; gives where the slot's schedule goes on.
    fn drive(
        &self,
        index: usize,
        group: usize,
        connection: &mut Connection,
        socket: &mut TaskSocket<'_, '_>,
        working: &mut Working<'_>,
    ) -> Poll<()> {
        let slot = &self.slots[index];
        let profile = &self.shared.plan.groups[group];
        let mut state = self.state.borrow_mut();
        let State { scratch, found, groups, .. } = &mut *state;
        let mut desk = Desk {
            stream: &self.shared.stream,
            ledger: &self.shared.ledger,
            scratch,
            found,
            figures: &mut groups[group].0,
            clock: &|| self.now(),
            finish: self.finish.get(),
            deadline: self.deadline(profile),
        };
        if self.stop.get() {
            connection.cut_short(&mut desk);
            desk.figures.counters.cut_short += 1;
            drop(state);
            self.take_findings(group, connection, socket, None);
            sys::close_with_reset(&*socket.stream);
            return Poll::Ready(());
        }
        let (turn, limit) = if slot.take_stalled() {
            (connection.stalled(socket, &mut desk), millis(profile.stall_timeout).min(PROBE_MS))
        } else {
            (connection.advance(socket, &mut desk), millis(profile.stall_timeout))
        };
        drop(state);
        let over = matches!(turn, Turn::Over(_));
        let error = if let Turn::Over(error) = &turn { error.as_ref() } else { None };
        if self.take_findings(group, connection, socket, error) {
            connection.fail();
        }
        match turn {
            Turn::Yield => {
                socket.cx.waker().wake_by_ref();
                slot.settled();
            }
            Turn::Wait { timer, owed, idle, moved } => {
                if owed {
                    slot.owed(self.now(), limit, moved)
                } else {
                    slot.settled()
                }
                if let Some(at) = timer {
                    self.pacer.wake_at(&self.slots, index, at);
                }
                if idle {
                    working.rest();
                }
            }
            Turn::Over(_) => {
                let counters = &mut self.state.borrow_mut().groups[group].0.counters;
                if connection.has_failed() { counters.failed += 1 } else { counters.passed += 1 }
            }
        }
        if over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Makes findings of what the last turn found wrong. Whether there was any.
    fn take_findings(
        &self,
        group: usize,
        connection: &Connection,
        socket: &TaskSocket<'_, '_>,
        error: Option<&io::Error>,
    ) -> bool {
        let found = std::mem::take(&mut self.state.borrow_mut().found);
        if found.is_empty() {
            return false;
        }
        let now = self.now();
        let text = |address: io::Result<SocketAddr>| address.ok().map(|address| address.to_string());
        let target = || {
            let targets = &self.shared.plan.targets;
            targets[connection.conn().get() as usize % targets.len()].to_string()
        };
        let addresses = (
            text(socket.stream.local_addr()),
            // After a reset the socket does not know it any more.
            text(socket.stream.peer_addr()).or_else(|| Some(target())),
        );
        for divergence in found {
            let recent = connection.recent(now);
            let finding = self.finding(divergence, now, addresses.clone(), recent, error);
            self.keep(group, &self.shared.plan.groups[group], finding, now);
        }
        true
    }

    fn finding(
        &self,
        mut divergence: Divergence,
        now: u64,
        (local, remote): (Option<String>, Option<String>),
        recent: Vec<crate::bytes::Op>,
        error: Option<&io::Error>,
    ) -> Finding {
        let replay = self.shared.plan.replay.as_ref().map(|command| match divergence.source {
            Some(source) if source.conn != divergence.conn => {
                format!("{command} --only-conn {},{}", divergence.conn, source.conn)
            }
            _ => format!("{command} --only-conn {}", divergence.conn),
        });
        let source_shard = divergence.source.and_then(|source| self.shared.ledger.other_shard(source.conn));
        let cause = error.map(ToString::to_string);
        // What surrounded the wrong bytes is not what surrounds the moment in which it became certain what they are.
        let (at_ms, recent) = match divergence.circumstances.take() {
            Some(then) => (then.at_ms, then.recent.clone()),
            None => (now as f64 / 1e6, recent),
        };
        Finding {
            divergence,
            source_shard: source_shard.map(|shard| shard.to_string()),
            local,
            remote,
            at_ms,
            cause,
            recent,
            replay,
        }
    }

    /// Counts a finding, and keeps it if there are not too many.
    fn keep(&self, group: usize, profile: &Profile, finding: Finding, now: u64) {
        let (figures, findings) = &mut self.state.borrow_mut().groups[group];
        figures.counters.found(finding.divergence.kind);
        figures.timeline.at(Duration::from_nanos(now)).findings += 1;
        if findings.len() < self.shared.plan.findings {
            findings.push(finding);
        }
        if profile.fail_fast {
            self.shared.failed_fast.store(true, Ordering::Relaxed);
        }
    }

    /// Looks for stalls, deadlines, interrupts and the end, without end.
    async fn sweep(&self) {
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut deadlines: Vec<u64> = self.shared.plan.groups.iter().map(|group| self.deadline(group)).collect();
        loop {
            ticks.tick().await;
            let now = self.now();
            self.mark_time(now);
            self.publish();
            let mut wake_all = false;
            if !self.stop.get()
                && (self.shared.control.is_interrupted() || self.shared.failed_fast.load(Ordering::Relaxed))
            {
                self.stop.set(true);
                wake_all = true;
            }
            if !self.finish.get() && self.shared.working.load(Ordering::Relaxed) == 0 {
                self.finish.set(true);
                wake_all = true;
            }
            for deadline in deadlines.iter_mut().filter(|deadline| **deadline <= now) {
                *deadline = u64::MAX;
                wake_all = true;
            }
            for slot in &self.slots {
                if slot.check_stalled(now) || wake_all {
                    slot.wake();
                }
            }
            if self.stop.get() {
                self.end_unopened();
            }
        }
    }

    /// After a stop, slots that were not opened yet never will be.
    fn end_unopened(&self) {
        let opened = self.slots.iter().filter(|slot| slot.is_attached()).count();
        let unopened = self.slots.len() - opened;
        if self.remaining.get() <= unopened {
            self.done.notify_one();
        }
    }

    /// Counts on the time line what came since the last look.
    fn mark_time(&self, now: u64) {
        let at = Duration::from_nanos(now.saturating_sub(nanos(SWEEP) / 2));
        let State { groups, marked, .. } = &mut *self.state.borrow_mut();
        for ((figures, _), marked) in groups.iter_mut().zip(marked) {
            let (messages, bytes) = (figures.counters.messages_echoed, figures.counters.bytes_verified);
            if (messages, bytes) != *marked {
                let point = figures.timeline.at(at);
                point.messages += messages - marked.0;
                point.bytes_verified += bytes - marked.1;
                point.rtt_max_ns = point.rtt_max_ns.max(std::mem::take(&mut figures.rtt_unmarked_ns));
                *marked = (messages, bytes);
            }
        }
    }

    fn publish(&self) {
        let mut sum = crate::measure::Counters::default();
        for (figures, _) in &self.state.borrow().groups {
            sum.add(&figures.counters);
        }
        self.shared.control.publish(self.index, sum);
    }
}

/// What came of opening a slot's next connection.
enum Opening {
    Opened(TcpStream),
    /// Counted already; the next one may do better.
    Failed,
    NoMore,
}

/// An open connection until its end; gives where the slot's schedule goes on.
///
/// Written out, and put on the heap when the connection is open: an `async fn` would keep its arguments beside the
/// variables that they are moved into, and hold room for all of it from the start. There are tens of thousands of
/// these.
struct Follow<'a, 'w> {
    worker: &'a Worker,
    working: &'a mut Working<'w>,
    index: usize,
    group: usize,
    connection: Connection,
    stream: TcpStream,
}

impl<'a, 'w> Follow<'a, 'w> {
    fn new(
        worker: &'a Worker,
        working: &'a mut Working<'w>,
        index: usize,
        generation: u32,
        arrival: u64,
        stream: TcpStream,
    ) -> Self {
        let run = &worker.shared.plan;
        let slot = worker.shares[index].slot(run);
        let group = slot.group as usize;
        let conn = run.slots.id(slot, generation).expect("it was opened under this id");
        let mut plan = plan::Plan::new(Arc::clone(&run.groups[group]), run.seed, slot, conn);
        plan.resume_schedule(arrival);
        Follow { worker, working, index, group, connection: Connection::new(plan, conn, worker.now()), stream }
    }
}

impl Future for Follow<'_, '_> {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let Follow { worker, working, index, group, connection, stream } = &mut *self;
        worker.slots[*index].attach(cx.waker());
        let socket = &mut TaskSocket { stream, cx };
        worker.drive(*index, *group, connection, socket, working).map(|()| {
            worker.slots[*index].settled();
            connection.plan().next_arrival()
        })
    }
}

/// Counts a slot among those that have something to do of their own, until it ends or only waits for the others.
struct Working<'a>(Option<&'a Shared>);

impl<'a> Working<'a> {
    /// The slots were all counted before the first of them began.
    fn new(shared: &'a Shared) -> Self {
        Working(Some(shared))
    }

    fn rest(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.working.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.rest();
    }
}

/// Connects from `source`, with the options of the profile.
async fn connect(target: SocketAddr, source: Option<std::net::IpAddr>, profile: &Profile) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(profile.nodelay)?;
    if let Some(bytes) = profile.sndbuf {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = profile.rcvbuf {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = source {
        sys::choose_port_at_connect(SockRef::from(&socket));
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    TcpSocket::from_std_stream(socket.into()).connect(target).await
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
