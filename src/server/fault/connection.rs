//! One connection of the faulty server: passes what it receives to the [`Injector`], and performs the actions of its
//! script.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::injector::Injector;
use super::registry::PREFIX_LEN;
use super::schedule::draw;
use super::script::{Action, InjectedFault, Script};
use super::shared::{MAX_RECEIVE_BYTES, Registration, SharedState};
use crate::server::context::ServerPhase;
use crate::sys;

/// How long bytes are held back for later bytes to overtake them, which may never come.
const MAX_HOLD_BACK: Duration = Duration::from_millis(100);
/// Time for sent bytes to arrive before a reset, which discards everything undelivered.
const RESET_GRACE: Duration = Duration::from_millis(50);

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
        let ignored_by = shared.ignoring_limit();
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
        if self.run().await.is_err() {
            shared.context.failed();
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
            let may_receive = self.has_room() && !self.fin_received;
            let may_send = self.pause_until.is_none() && !self.script.to_send().is_empty();
            let release_at = self.injector.holds_back().then(|| self.last_progress + MAX_HOLD_BACK);
            let idle_timeout = self.registration.shared.context.options().idle_timeout;
            let idle_at = idle_timeout.map(|limit| self.last_progress + limit);
            tokio::select! {
                ready = self.stream.readable(), if may_receive => {
                    ready?;
                    self.receive()?;
                }
                ready = self.stream.writable(), if may_send => {
                    ready?;
                    self.send()?;
                }
                () = at(self.pause_until) => self.pause_until = None,
                () = at(release_at) => self.injector.release_held_back(&mut self.script),
                () = self.moved_bytes_wait.notified() => {}
                () = at(idle_at) => {
                    self.registration.shared.context.idle();
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

    fn receive(&mut self) -> io::Result<()> {
        let shared = Rc::clone(&self.registration.shared);
        let mut scratch = shared.scratch();
        let room = (shared.context.options().buffer - self.script.backlog()).min(MAX_RECEIVE_BYTES);
        let n = match self.stream.try_read(&mut scratch[..room]) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        self.last_progress = Instant::now();
        if n == 0 {
            self.fin_received = true;
            shared.registry_mut().fin_received(self.registration.id);
            self.injector.fin(&mut self.script);
        } else {
            let bytes = &scratch[..n];
            shared.context.received(n as u64);
            self.registration.received += n as u64;
            shared.registry_mut().received(self.registration.id, bytes);
            self.recognise(bytes);
            let registry = shared.registry();
            self.injector.received(bytes, &self.registration.view(&registry), &mut self.script);
        }
        self.registration.added = self.injector.added();
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

    fn send(&mut self) -> io::Result<()> {
        match self.stream.try_write(self.script.to_send()) {
            Ok(n) => {
                self.last_progress = Instant::now();
                self.script.sent(n);
                self.registration.sent += n as u64;
                self.registration.shared.context.sent(n as u64);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether more bytes may be queued, received or moved here.
    fn has_room(&self) -> bool {
        self.script.backlog() < self.registration.shared.context.options().buffer
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
        Ok(self.fin_sent && self.fin_received)
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
