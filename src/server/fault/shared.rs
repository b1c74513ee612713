//! What all connections of the faulty server share, and what each of them registers there.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, Semaphore, watch};

use super::kind::FaultKind;
use super::log::{FaultLog, FaultRecord, timestamp};
use super::registry::{Registry, RegistryId, RegistryView};
use super::script::InjectedFault;
use super::spec::Fault;
use crate::server::context::Context;

/// The most bytes that one receive takes.
pub(super) const MAX_RECEIVE_BYTES: usize = 64 * 1024;
/// Bytes remembered of each connection for faults that send them again: at least this many, and at least four times the
/// length of one such fault.
const MIN_HISTORY_BYTES: usize = 16 * 1024;

/// Faults, log, registry and counters of one faulty server.
pub(super) struct SharedState {
    pub(super) context: Arc<Context>,
    pub(super) faults: Rc<[Fault]>,
    pub(super) seed: u64,
    registry: RefCell<Registry>,
    log: RefCell<FaultLog>,
    /// Why the log can't be written.
    log_error: RefCell<Option<io::Error>>,
    log_has_failed: Notify,
    /// `one-at-a-time`, or `limit` with a queue: the number of the fault, and a permit for each connection that is
    /// served at a time.
    queue: Option<(usize, Semaphore)>,
    /// Connections accepted in total.
    accepted: Cell<u64>,
    /// Connections that have something to send.
    writers: Cell<u64>,
    /// `session-reset`: a client has reset its connection.
    session: watch::Sender<()>,
    scratch: RefCell<Box<[u8]>>,
}

impl SharedState {
    pub(super) fn new(faults: Vec<Fault>, seed: u64, log: FaultLog, context: Arc<Context>) -> SharedState {
        let needs_history = |fault: &&Fault| matches!(fault.kind, FaultKind::Crosstalk | FaultKind::Stale);
        let longest = faults.iter().filter(needs_history).map(|fault| fault.len as usize).max();
        let queue = faults.iter().enumerate().find_map(|(number, fault)| Some((number, fault.queue_limit()?)));
        let permits = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        SharedState {
            context,
            faults: faults.into(),
            seed,
            registry: RefCell::new(Registry::new(longest.map_or(0, |len| MIN_HISTORY_BYTES.max(4 * len)))),
            log: RefCell::new(log),
            log_error: RefCell::new(None),
            log_has_failed: Notify::new(),
            queue: queue.map(|(fault, limit)| (fault, Semaphore::new(permits(limit)))),
            accepted: Cell::new(0),
            writers: Cell::new(0),
            session: watch::channel(()).0,
            scratch: RefCell::new(vec![0; MAX_RECEIVE_BYTES].into()),
        }
    }

    pub(super) fn registry(&self) -> Ref<'_, Registry> {
        self.registry.borrow()
    }

    pub(super) fn registry_mut(&self) -> RefMut<'_, Registry> {
        self.registry.borrow_mut()
    }

    /// The buffer into which every connection receives.
    pub(super) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    /// The fault that makes connections wait for others, and the permits to be served.
    pub(super) fn queue(&self) -> Option<(usize, &Semaphore)> {
        self.queue.as_ref().map(|(fault, permits)| (*fault, permits))
    }

    /// Counts a connection accepted now. Returns the fault that ignores it, if one does.
    pub(super) fn ignored_by(&self) -> Option<usize> {
        let accepted = self.accepted.replace(self.accepted.get() + 1);
        let is_full = |fault: &Fault| fault.kind == FaultKind::SlotLeak && accepted >= fault.n;
        self.faults.iter().position(is_full).or_else(|| self.ignoring_limit())
    }

    /// The `limit` that ignores a connection accepted now, if the limit is reached.
    fn ignoring_limit(&self) -> Option<usize> {
        let limit = self.faults.iter().position(|fault| fault.kind == FaultKind::Limit)?;
        let fault = &self.faults[limit];
        let is_reached = self.registry().served() as u64 >= fault.n;
        (fault.queue_limit().is_none() && is_reached).then_some(limit)
    }

    /// Tells a connection when another one's client resets.
    pub(super) fn session(&self) -> watch::Receiver<()> {
        self.session.subscribe()
    }

    /// `session-reset`: ends every open connection, if that fault was requested.
    pub(super) fn end_session(&self) {
        if self.session_fault().is_some() {
            self.session.send_replace(());
        }
    }

    /// The number of the `session-reset`.
    pub(super) fn session_fault(&self) -> Option<usize> {
        self.faults.iter().position(|fault| fault.kind == FaultKind::SessionReset)
    }

    /// Waits until the log can't be written. A server that injects faults without a log of them is worse than none.
    pub(super) async fn log_failed(&self) -> io::Error {
        loop {
            if let Some(error) = self.log_error.take() {
                return io::Error::new(error.kind(), format!("the fault log can't be written: {error}"));
            }
            self.log_has_failed.notified().await;
        }
    }

    fn write_to_log(&self, record: FaultRecord) {
        if let Err(error) = self.log.borrow_mut().write(record) {
            *self.log_error.borrow_mut() = Some(error);
            self.log_has_failed.notify_one();
        }
    }
}

/// A connection's entry in the registry, and its accounting. Dropping it removes the connection from both.
pub(super) struct Registration {
    pub(super) shared: Rc<SharedState>,
    pub(super) id: RegistryId,
    pub(super) conn: u64,
    pub(super) peer: SocketAddr,
    pub(super) received: u64,
    pub(super) added: u64,
    pub(super) sent: u64,
    is_writer: bool,
}

impl Registration {
    /// Registers a connection that the context has admitted. Returns what wakes it when moved bytes wait for it.
    pub(super) fn new(shared: &Rc<SharedState>, peer: SocketAddr) -> (Registration, Rc<Notify>) {
        let (id, conn, wake) = shared.registry_mut().add(peer, Instant::now());
        let shared = Rc::clone(shared);
        (Registration { shared, id, conn, peer, received: 0, added: 0, sent: 0, is_writer: false }, wake)
    }

    /// The registry as this connection sees it.
    pub(super) fn view<'r>(&self, registry: &'r Registry) -> RegistryView<'r> {
        RegistryView { registry, me: self.id, now: Instant::now() }
    }

    /// The connection has something to send. If that is new, returns how many others do.
    pub(super) fn begins_to_write(&mut self) -> Option<u64> {
        let is_new = !std::mem::replace(&mut self.is_writer, true);
        is_new.then(|| self.shared.writers.replace(self.shared.writers.get() + 1))
    }

    /// The connection has nothing to send any more.
    pub(super) fn ends_writing(&mut self) {
        if std::mem::take(&mut self.is_writer) {
            self.shared.writers.set(self.shared.writers.get() - 1);
        }
    }

    /// Removes the connection from the registry before it is closed.
    pub(super) fn leave(&self) {
        self.shared.registry_mut().remove(self.id, Instant::now());
    }

    /// Logs a fault that was injected on this connection.
    pub(super) fn log(&self, injected: InjectedFault) {
        let fault = self.shared.faults[injected.fault].clone();
        self.shared.write_to_log(FaultRecord {
            time: timestamp(),
            kind: injected.effect.unwrap_or(fault.kind),
            fault,
            conn: self.conn,
            peer: self.peer,
            offset: injected.offset,
            extent: injected.extent,
            replaced: injected.replaced,
            over: injected.over,
            bits: injected.bits,
            source: injected.source,
        });
    }
}

impl Drop for Registration {
    /// Added bytes were never received, so here, and only here, `received + added = sent + discarded`.
    fn drop(&mut self) {
        self.leave();
        self.ends_writing();
        self.shared.context.closed((self.received + self.added).saturating_sub(self.sent));
    }
}
