//! One connection of the faulty server: hands what it receives to the [`Injector`], and carries its script out.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::Faulty;
use super::injector::Injector;
use super::log::{FaultLog, Record, now};
use super::roster::{Id, PREFIX, Roster, View};
use super::schedule::draw;
use super::script::{Event, Item, Script};
use super::spec::{Fault, FaultKind};
use crate::server::context::{Context, Phase};
use crate::sys;

/// Bytes that one receive takes at most.
const RECEIVE: usize = 64 * 1024;
/// Of each connection at least so many last bytes are remembered for faults that send them again, and at least four
/// times what one of those sends.
const HISTORY: usize = 16 * 1024;
/// Bytes are kept back for those that overtake them no longer than this: they may never come.
const KEEP_BACK: Duration = Duration::from_millis(100);
/// What was sent before a reset gets so much time to arrive, since a reset takes everything undelivered with it.
const BEFORE_RESET: Duration = Duration::from_millis(50);

/// What all connections share.
pub(super) struct Desk {
    pub(super) context: Arc<Context>,
    faults: Rc<[Fault]>,
    seed: u64,
    roster: RefCell<Roster>,
    log: RefCell<FaultLog>,
    /// Why the log can't be written, and the word to whoever waits for that.
    broken: RefCell<Option<io::Error>>,
    has_broken: Notify,
    /// `one-at-a-time`, `limit` with a queue: who has one is served. With the number of the fault.
    turns: Option<(usize, Semaphore)>,
    scratch: RefCell<Box<[u8]>>,
}

impl Desk {
    pub(super) fn new(faulty: Faulty, context: Arc<Context>) -> Desk {
        let remembers = |fault: &&Fault| matches!(fault.kind, FaultKind::Crosstalk | FaultKind::Stale);
        let longest = faulty.faults.iter().filter(remembers).map(|fault| fault.len as usize).max();
        let queue = faulty.faults.iter().enumerate().find_map(|(fault, what)| Some((fault, what.turns()?)));
        let permits = |turns: u64| usize::try_from(turns).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Desk {
            context,
            faults: faulty.faults.into(),
            seed: faulty.seed,
            roster: RefCell::new(Roster::new(longest.map_or(0, |len| HISTORY.max(4 * len)))),
            log: RefCell::new(faulty.log),
            broken: RefCell::new(None),
            has_broken: Notify::new(),
            turns: queue.map(|(fault, turns)| (fault, Semaphore::new(permits(turns)))),
            scratch: RefCell::new(vec![0; RECEIVE].into()),
        }
    }

    /// Waits until the log can't be written: what is injected unseen is worse than no server.
    pub(super) async fn log_failed(&self) -> io::Error {
        loop {
            if let Some(error) = self.broken.take() {
                return io::Error::new(error.kind(), format!("the fault log can't be written: {error}"));
            }
            self.has_broken.notified().await;
        }
    }

    fn fault_of(&self, kind: FaultKind) -> Option<usize> {
        self.faults.iter().position(|fault| fault.kind == kind)
    }
}

/// One connection. The order matters: the socket is closed before the connection is counted as closed.
pub(super) struct Link {
    stream: TcpStream,
    injector: Injector,
    script: Script,
    peer: SocketAddr,
    prefix: Vec<u8>,
    /// Nothing is done before this time.
    pause: Option<Instant>,
    /// The `limit` that it was accepted beyond.
    beyond: Option<usize>,
    /// Nothing is done any more.
    held: bool,
    fin_received: bool,
    fin_sent: bool,
    /// When something last moved.
    active: Instant,
    gifts: Rc<Notify>,
    phase: watch::Receiver<()>,
    seat: Seat,
}

/// A connection's place among the others, and its accounting; dropping it gives both back.
struct Seat {
    desk: Rc<Desk>,
    id: Id,
    conn: u64,
    received: u64,
    added: u64,
    sent: u64,
}

impl Seat {
    fn leave(&self) {
        self.desk.roster.borrow_mut().leave(self.id, std::time::Instant::now());
    }
}

impl Drop for Seat {
    /// Bytes that were put in are not received; so here, and only here, `received + added = sent + discarded`.
    fn drop(&mut self) {
        self.leave();
        self.desk.context.closed((self.received + self.added).saturating_sub(self.sent));
    }
}

impl Link {
    /// Takes an accepted connection on. `None`: `--max-conns` are open.
    pub(super) fn admit(
        desk: &Rc<Desk>,
        stream: TcpStream,
        peer: SocketAddr,
        phase: watch::Receiver<()>,
    ) -> Option<Link> {
        if !desk.context.admit() {
            return None;
        }
        // Best effort: some systems refuse it on a connection that was reset meanwhile.
        let _ = stream.set_nodelay(true);
        let mut roster = desk.roster.borrow_mut();
        let limit = desk.fault_of(FaultKind::Limit);
        let limit = limit.filter(|fault| desk.faults[*fault].turns().is_none());
        let beyond = limit.filter(|fault| roster.served() as u64 >= desk.faults[*fault].n);
        let (id, conn, gifts) = roster.enter(peer, std::time::Instant::now());
        if beyond.is_some() {
            roster.ignore(id);
        }
        Some(Link {
            stream,
            injector: Injector::new(Rc::clone(&desk.faults), desk.seed, conn, peer),
            script: Script::default(),
            peer,
            prefix: Vec::with_capacity(PREFIX),
            pause: None,
            beyond,
            held: false,
            fin_received: false,
            fin_sent: false,
            active: Instant::now(),
            gifts,
            phase,
            seat: Seat { desk: Rc::clone(desk), id, conn, received: 0, added: 0, sent: 0 },
        })
    }

    /// Serves it to its end.
    pub(super) async fn serve(mut self) {
        let desk = Rc::clone(&self.seat.desk);
        let _turn = self.take_turn(&desk).await;
        self.obey_limit();
        if self.run().await.is_err() {
            desk.context.failed();
        }
    }

    /// `one-at-a-time`, `limit` with a queue: waits until enough of the ones before it have ended.
    async fn take_turn<'d>(&self, desk: &'d Desk) -> Option<SemaphorePermit<'d>> {
        let (fault, turns) = desk.turns.as_ref()?;
        if let Ok(turn) = turns.try_acquire() {
            return Some(turn);
        }
        self.log(Event { fault: *fault, ..Event::default() });
        turns.acquire().await.ok()
    }

    /// `limit`: it was one too many when it was accepted.
    fn obey_limit(&mut self) {
        if let Some(fault) = self.beyond {
            self.injector.silence();
            self.script.push(Item::Log(Event { fault, ..Event::default() }));
            self.script.push(Item::Hold);
        }
    }

    async fn run(&mut self) -> io::Result<()> {
        loop {
            self.take_gifts();
            if self.carry_out().await? {
                return Ok(());
            }
            if self.held && self.fin_received {
                // For the client it is over, and the next connection that begins like this one is a replay.
                self.seat.leave();
            }
            let may_receive = self.has_room() && !self.fin_received;
            let may_send = self.pause.is_none() && !self.script.to_send().is_empty();
            let settle = self.injector.keeps_back().then(|| self.active + KEEP_BACK);
            let idle = self.seat.desk.context.options().idle_timeout.map(|limit| self.active + limit);
            tokio::select! {
                ready = self.stream.readable(), if may_receive => {
                    ready?;
                    self.receive()?;
                }
                ready = self.stream.writable(), if may_send => {
                    ready?;
                    self.send()?;
                }
                () = at(self.pause) => self.pause = None,
                () = at(settle) => self.injector.settle(&mut self.script),
                () = self.gifts.notified() => {}
                () = at(idle) => {
                    self.seat.desk.context.idle();
                    return Ok(());
                }
                _ = self.phase.changed(), if self.held => {
                    // Draining waits for connections that end; this one would not.
                    return Ok(());
                }
            }
            // Connections take turns after each step, so that what is to pass between them finds them all under way.
            tokio::task::yield_now().await;
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let desk = Rc::clone(&self.seat.desk);
        let mut scratch = desk.scratch.borrow_mut();
        let room = (desk.context.options().buffer - self.script.backlog()).min(RECEIVE);
        let n = match self.stream.try_read(&mut scratch[..room]) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        self.active = Instant::now();
        if n == 0 {
            self.fin_received = true;
            desk.roster.borrow_mut().ending(self.seat.id);
            self.injector.fin(&mut self.script);
        } else {
            let bytes = &scratch[..n];
            desk.context.received(n as u64);
            self.seat.received += n as u64;
            desk.roster.borrow_mut().received(self.seat.id, bytes);
            self.recognise(bytes);
            let roster = desk.roster.borrow();
            let view = View { roster: &roster, me: self.seat.id, now: std::time::Instant::now() };
            self.injector.received(bytes, &view, &mut self.script);
        }
        self.seat.added = self.injector.added();
        Ok(())
    }

    /// Once enough bytes have come to know the connection again, asks which one it is.
    fn recognise(&mut self, bytes: &[u8]) {
        let missing = PREFIX - self.prefix.len();
        if missing == 0 {
            return;
        }
        self.prefix.extend(bytes.iter().take(missing));
        let Ok(prefix) = self.prefix.as_slice().try_into() else { return };
        let number = self.seat.desk.roster.borrow_mut().recognise(self.seat.id, prefix);
        if let Some(conn) = number.filter(|conn| *conn != self.seat.conn) {
            self.seat.conn = conn;
            self.injector.renumber(conn);
        }
    }

    fn send(&mut self) -> io::Result<()> {
        match self.stream.try_write(self.script.to_send()) {
            Ok(n) => {
                self.active = Instant::now();
                self.script.sent(n);
                self.seat.sent += n as u64;
                self.seat.desk.context.sent(n as u64);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether more may be put into the script: what is received, or given by others.
    fn has_room(&self) -> bool {
        self.script.backlog() < self.seat.desk.context.options().buffer
    }

    fn take_gifts(&mut self) {
        while !self.injector.is_busy() && self.has_room() {
            let gift = self.seat.desk.roster.borrow_mut().take_gift(self.seat.id);
            let Some((passage, fault)) = gift else { break };
            self.injector.receive_gift(fault, passage, &mut self.script);
            self.seat.added = self.injector.added();
        }
    }

    /// Does what is due before the next byte. True: the connection is over.
    async fn carry_out(&mut self) -> io::Result<bool> {
        while self.pause.is_none() && !self.held {
            match self.script.take_deed() {
                None => break,
                Some(Item::Send(_)) => unreachable!("bytes are no deed"),
                Some(Item::Log(event)) => self.log(event),
                Some(Item::Pause(time)) => self.pause = Some(Instant::now() + time),
                Some(Item::GiveAway(passage, fault)) => {
                    let pick = draw(self.seat.desk.seed, &[self.seat.conn, passage.source.offset]);
                    self.seat.desk.roster.borrow_mut().give(self.seat.id, (passage, fault), pick);
                }
                Some(Item::Fin) => {
                    self.stream.shutdown().await?;
                    self.fin_sent = true;
                }
                Some(Item::Hold) => self.held = true,
                Some(Item::Reset) => {
                    tokio::time::sleep(BEFORE_RESET).await;
                    sys::close_with_reset(&self.stream);
                    return Ok(true);
                }
            }
        }
        Ok(self.fin_sent && self.fin_received)
    }

    fn log(&self, event: Event) {
        let desk = &self.seat.desk;
        let fault = desk.faults[event.fault].clone();
        let record = Record {
            time: now(),
            kind: event.effect.unwrap_or(fault.kind),
            fault,
            conn: self.seat.conn,
            peer: self.peer,
            offset: event.offset,
            extent: event.extent,
            replaced: event.replaced,
            over: event.over,
            bits: event.bits,
            source: event.source,
        };
        if let Err(error) = desk.log.borrow_mut().write(record) {
            *desk.broken.borrow_mut() = Some(error);
            desk.has_broken.notify_one();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.seat.desk.context.phase() == Phase::Abort {
            sys::close_with_reset(&self.stream);
        }
    }
}

/// Waits until then; without a time, for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
