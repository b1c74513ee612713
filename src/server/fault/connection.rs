//! One connection of the faulty server: passes what it receives to the [`Injector`], and performs the actions of its
//! script.

mod reactions;

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, Interest, Ready};
use tokio::net::TcpStream;
use tokio::sync::{Notify, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::injector::Injector;
use super::kind::FaultKind;
use super::registry::PREFIX_LEN;
use super::schedule::draw;
use super::script::{Action, InjectedFault, Script};
use super::send_side::SendSide;
use super::shared::{MAX_RECEIVE_BYTES, Registration, SharedState};
use crate::server::phase::ServerPhase;
use crate::sys;

/// How long bytes are held back for later bytes to overtake them, which may never come.
const MAX_HOLD_BACK: Duration = Duration::from_millis(100);
/// Time for sent bytes to arrive before a reset, which discards everything undelivered.
const RESET_GRACE: Duration = Duration::from_millis(50);

/// How often a connection that receives nothing any more looks whether its client has gone.
const DEAF_POLL: Duration = Duration::from_millis(250);
/// `trickle`: a write has the bytes of this part of a second, but at least one.
const TRICKLE_STEPS_PER_SECOND: u64 = 10;

/// An open connection. The order of the fields matters: the socket is closed before the connection counts as closed.
pub(super) struct FaultyConnection {
    stream: TcpStream,
    injector: Injector,
    script: Script,
    prefix: Vec<u8>,
    /// Nothing is sent or done before this time.
    pause_until: Option<Instant>,
    /// The number of the `limit` that was reached when the connection was accepted.
    ignored_by: Option<usize>,
    /// Nothing is sent or done any more.
    held: bool,
    fin_received: bool,
    fin_sent: bool,
    send_side: SendSide,
    /// `lockup`: nothing is received any more; when to look whether the client has gone.
    deaf_poll: Option<Instant>,
    /// `idle-drop`: the connection was idle for too long.
    is_forgotten: bool,
    /// `urgent-cut`: the bytes of the next receive are dropped.
    drops_next: bool,
    /// `rdhup`: the socket is closed once nothing waits.
    closes_when_flushed: bool,
    /// `close-timer`: when the socket is closed.
    close_at: Option<Instant>,
    session: watch::Receiver<()>,
    last_progress: Instant,
    moved_bytes_wait: Rc<Notify>,
    phase: watch::Receiver<()>,
    registration: Registration,
}

impl FaultyConnection {
    /// Takes on an accepted connection. `None`: `--max-conns` connections are open.
    pub(super) fn admit(
        shared: &Rc<SharedState>,
        stream: TcpStream,
        peer: SocketAddr,
        phase: watch::Receiver<()>,
    ) -> Option<FaultyConnection> {
        if !shared.context.admit(&stream) {
            return None;
        }
        let ignored_by = shared.ignored_by();
        let (registration, moved_bytes_wait) = Registration::new(shared, peer);
        if ignored_by.is_some() {
            shared.registry_mut().ignore(registration.id);
        }
        Some(FaultyConnection {
            stream,
            injector: Injector::new(Rc::clone(&shared.faults), shared.seed, registration.conn, peer),
            script: Script::default(),
            prefix: Vec::with_capacity(PREFIX_LEN),
            pause_until: None,
            ignored_by,
            held: false,
            fin_received: false,
            fin_sent: false,
            send_side: SendSide::default(),
            deaf_poll: None,
            is_forgotten: false,
            drops_next: false,
            closes_when_flushed: false,
            close_at: None,
            session: shared.session(),
            last_progress: Instant::now(),
            moved_bytes_wait,
            phase,
            registration,
        })
    }

    /// Serves the connection to its end.
    pub(super) async fn serve(mut self) {
        let shared = Rc::clone(&self.registration.shared);
        let _permit = self.wait_in_queue(&shared).await;
        self.ignore_beyond_limit();
        if let Err(error) = self.run().await {
            shared.context.failed();
            use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
            if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset) {
                shared.end_session();
            }
        }
    }

    /// `one-at-a-time`, or `limit` with a queue: waits until enough earlier connections have ended.
    async fn wait_in_queue<'s>(&self, shared: &'s SharedState) -> Option<SemaphorePermit<'s>> {
        let (fault, permits) = shared.queue()?;
        if let Ok(permit) = permits.try_acquire() {
            return Some(permit);
        }
        self.registration.log(InjectedFault { fault, ..InjectedFault::default() });
        permits.acquire().await.ok()
    }

    /// `limit`: a connection beyond it is never served.
    fn ignore_beyond_limit(&mut self) {
        if let Some(fault) = self.ignored_by {
            self.injector.silence();
            self.script.push(Action::Log(InjectedFault { fault, ..InjectedFault::default() }));
            self.script.push(Action::Hold);
        }
    }

    async fn run(&mut self) -> io::Result<()> {
        loop {
            self.insert_moved_bytes();
            if self.perform_actions().await? {
                return Ok(());
            }
            if self.held && self.fin_received {
                // The client is done with it, so the next connection that begins alike is a replay.
                self.registration.leave();
            }
            self.join_writers();
            let may_receive = self.has_room() && !self.fin_received && self.deaf_poll.is_none();
            let may_lock_up = !self.has_room() && !self.held && self.injector.fault(FaultKind::Lockup).is_some();
            tokio::select! {
                ready = self.stream.ready(Interest::READABLE), if may_receive => {
                    if self.receive(ready?)? {
                        return Ok(());
                    }
                }
                ready = self.stream.readable(), if may_lock_up => {
                    ready?;
                    self.lock_up()?;
                }
                ready = self.stream.writable(), if self.may_send() => {
                    ready?;
                    self.send()?;
                }
                () = at(self.next_timer()) => {
                    if self.perform_timers().await? {
                        return Ok(());
                    }
                }
                () = self.moved_bytes_wait.notified() => {}
                _ = self.session.changed() => {
                    self.reset_with_session();
                    return Ok(());
                }
                _ = self.phase.changed(), if self.held => {
                    // A drain waits for connections to end; this one never would.
                    return Ok(());
                }
            }
            // Connections alternate after each step, so that bytes that pass between them find all of them under way.
            tokio::task::yield_now().await;
        }
    }

    /// When bytes that are held back are sent nevertheless.
    fn release_at(&self) -> Option<Instant> {
        self.injector.holds_back().then(|| self.last_progress + MAX_HOLD_BACK)
    }

    /// When `--idle-timeout` closes the connection.
    fn idle_at(&self) -> Option<Instant> {
        self.registration.shared.context.options().idle_timeout.map(|limit| self.last_progress + limit)
    }

    /// When `idle-drop` forgets the connection.
    fn forget_at(&self) -> Option<Instant> {
        let (_, fault) = self.injector.fault(FaultKind::IdleDrop)?;
        let may_forget = !self.is_forgotten && !self.held && !self.fin_received && self.script.backlog() == 0;
        may_forget.then(|| self.last_progress + fault.time)
    }

    fn next_timer(&self) -> Option<Instant> {
        let timers =
            [self.pause_until, self.release_at(), self.idle_at(), self.forget_at(), self.close_at, self.deaf_poll];
        timers.into_iter().flatten().min()
    }

    /// Does what is due by now. True: the connection is over.
    async fn perform_timers(&mut self) -> io::Result<bool> {
        let now = Instant::now();
        let is_due = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if is_due(self.pause_until) {
            self.pause_until = None;
        }
        if is_due(self.release_at()) {
            self.injector.release_held_back(&mut self.script);
        }
        if is_due(self.forget_at()) {
            self.is_forgotten = true;
        }
        if is_due(self.idle_at()) {
            self.registration.shared.context.idle();
            return Ok(true);
        }
        if is_due(self.close_at) {
            self.drop_unsent(FaultKind::CloseTimer);
            return Ok(true);
        }
        if is_due(self.deaf_poll) {
            self.deaf_poll = Some(now + DEAF_POLL);
            // Bytes are unread, so it is ready at once. A FIN alone changes nothing: nobody reads it.
            let ready = self.stream.ready(Interest::READABLE | Interest::WRITABLE).await?;
            return Ok(ready.is_write_closed());
        }
        Ok(false)
    }

    /// Receives once. True: the connection is over.
    fn receive(&mut self, ready: Ready) -> io::Result<bool> {
        if self.is_forgotten && self.answer_when_forgotten() || self.cut_at_urgent_byte() {
            return Ok(true);
        }
        let shared = Rc::clone(&self.registration.shared);
        let mut scratch = shared.scratch();
        let mut room = (self.capacity() - self.script.backlog()).min(MAX_RECEIVE_BYTES);
        let hangs_up = self.injector.fault(FaultKind::Rdhup).filter(|_| ready.is_read_closed());
        let hangs_up = hangs_up.map(|(number, fault)| {
            room = room.min(fault.len as usize);
            number
        });
        let n = match self.stream.try_read(&mut scratch[..room]) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        self.last_progress = Instant::now();
        if n == 0 {
            self.end_of_input(&shared)?;
        } else {
            let bytes = &scratch[..n];
            shared.context.received(n as u64);
            self.registration.received += n as u64;
            self.send_side.received();
            shared.registry_mut().received(self.registration.id, bytes);
            self.recognise(bytes);
            if std::mem::take(&mut self.drops_next) {
                self.injector.discard(n);
                self.log_dropped(FaultKind::UrgentCut, n);
            } else {
                let registry = shared.registry();
                self.injector.received(bytes, &self.registration.view(&registry), &mut self.script);
            }
        }
        self.registration.added = self.injector.added();
        if let Some(fault) = hangs_up.filter(|_| n > 0) {
            self.hang_up(fault);
        }
        Ok(false)
    }

    /// The client's FIN, or what is taken for it.
    fn end_of_input(&mut self, shared: &SharedState) -> io::Result<()> {
        self.fin_received = true;
        shared.registry_mut().fin_received(self.registration.id);
        if self.injector.fault(FaultKind::EarlyFin).is_some() {
            // Bytes that the socket takes at once are not in the pipe any more.
            while self.may_send() && self.send()? {}
            self.pause_until = None;
        }
        self.injector.fin(&mut self.script);
        self.close_at = self.injector.fault(FaultKind::CloseTimer).map(|(_, fault)| Instant::now() + fault.time);
        Ok(())
    }

    /// Collects the first bytes of the connection; when they are complete, the registry tells its number.
    fn recognise(&mut self, bytes: &[u8]) {
        let missing = PREFIX_LEN - self.prefix.len();
        if missing == 0 {
            return;
        }
        self.prefix.extend(bytes.iter().take(missing));
        let Ok(prefix) = self.prefix.as_slice().try_into() else { return };
        let number = self.registration.shared.registry_mut().recognise(self.registration.id, prefix);
        if let Some(conn) = number.filter(|conn| *conn != self.registration.conn) {
            self.registration.conn = conn;
            self.injector.renumber(conn);
        }
    }

    /// Whether bytes are due, and nothing keeps them.
    fn may_send(&self) -> bool {
        let is_due = self.pause_until.is_none() && !self.held && !self.script.to_send().is_empty();
        is_due && self.send_side.may_send()
    }

    /// Tries to send what is due. False: the socket takes nothing.
    fn send(&mut self) -> io::Result<bool> {
        let rate = self.injector.fault(FaultKind::Trickle).map(|(_, fault)| fault.rate);
        let step = rate.map_or(u64::MAX, |rate| (rate / TRICKLE_STEPS_PER_SECOND).max(1));
        let waiting = self.script.to_send();
        let offered = waiting.len().min(usize::try_from(step).unwrap_or(usize::MAX));
        let n = match self.stream.try_write(&waiting[..offered]) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked();
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        self.last_progress = Instant::now();
        self.script.sent(n);
        self.registration.sent += n as u64;
        self.registration.shared.context.sent(n as u64);
        if n < offered && self.injector.fault(FaultKind::ShortSend).is_some() {
            let lost = self.script.drop_next();
            self.log_dropped(FaultKind::ShortSend, lost);
        }
        if self.script.to_send().is_empty() {
            self.send_side.drained();
            self.registration.ends_writing();
        }
        if let Some(rate) = rate {
            self.pause_until = Some(self.last_progress + Duration::from_secs_f64(n as f64 / rate as f64));
        }
        Ok(true)
    }

    /// The most bytes that wait here.
    fn capacity(&self) -> usize {
        let lockup = self.injector.fault(FaultKind::Lockup).map(|(_, fault)| fault.len as usize);
        lockup.unwrap_or(self.registration.shared.context.options().buffer)
    }

    /// Whether more bytes may be queued, received or moved here.
    fn has_room(&self) -> bool {
        self.script.backlog() < self.capacity()
    }

    fn insert_moved_bytes(&mut self) {
        while !self.injector.is_busy() && self.has_room() {
            let moved = self.registration.shared.registry_mut().take_moved(self.registration.id);
            let Some(moved) = moved else { break };
            self.injector.insert_moved(moved, &mut self.script);
            self.registration.added = self.injector.added();
        }
    }

    /// Performs the actions that are due before the next byte. True: the connection is over.
    async fn perform_actions(&mut self) -> io::Result<bool> {
        while self.pause_until.is_none() && !self.held {
            match self.script.take_action() {
                None => break,
                Some(Action::Send(_)) => unreachable!("take_action never returns bytes to send"),
                Some(Action::Log(injected)) => self.registration.log(injected),
                Some(Action::Pause(time)) => self.pause_until = Some(Instant::now() + time),
                Some(Action::Move(moved)) => {
                    let shared = &self.registration.shared;
                    let pick = draw(shared.seed, &[self.registration.conn, moved.bytes.source.offset]);
                    shared.registry_mut().move_bytes(self.registration.id, moved, pick);
                }
                Some(Action::Fin) => {
                    self.stream.shutdown().await?;
                    self.fin_sent = true;
                }
                Some(Action::Hold) => self.held = true,
                Some(Action::Reset) => {
                    tokio::time::sleep(RESET_GRACE).await;
                    sys::close_with_reset(&self.stream);
                    return Ok(true);
                }
            }
        }
        let is_flushed = self.closes_when_flushed && self.script.is_done();
        Ok(is_flushed || self.fin_sent && self.fin_received)
    }
}

impl Drop for FaultyConnection {
    fn drop(&mut self) {
        if self.registration.shared.context.phase() == ServerPhase::Abort {
            sys::close_with_reset(&self.stream);
        }
    }
}

/// Waits until this time; without one, for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
