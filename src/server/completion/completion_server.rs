//! A server whose completions come to any thread: what `iocp` and `threadpool-io` share.
//!
//! Both bind each socket to a queue of the system once, and learn of a completion by its OVERLAPPED alone, on one of
//! several threads. They differ in who those threads are, and in what must be said before a call: that is a
//! [`Delivery`]. Written once here are the accepts, which are operations like all others; the registry of connections;
//! and the supervisor, the thread that does the work that no completion causes: it drains, aborts, closes idle
//! connections, and repeats accepts that failed for lack of memory or sockets.
//!
//! The rules:
//!
//! - **A completion stands for its own operation.** The connection's other operation may have completed too, but its
//!   completion is still to come.
//! - **A connection has one receive and one send.** Completions are queued in order, but one thread can overtake
//!   another. The two operations belong to different directions, and each connection has a lock.
//! - **A connection lives until its completions were handled.** It stays in the registry until both operations have
//!   completed, and a thread that handles one holds its own reference.
//!
//! Sources: those of the models, and Microsoft, 'AcceptEx'.

#![expect(unsafe_code, reason = "takes completions, which the system delivers as pointers")]

use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Instant;

use slab::Slab;
use socket2::Socket;
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::accept_ex::{AcceptExListener, PendingAccept};
use super::operation::owner_of;
use super::overlapped_connection::{Binding, Notify, OverlappedConnection, announced};
use crate::server::pool::{IdleTimer, WorkerGroup};
use crate::server::wait::event_set::wake_event;
use crate::server::{Accept, Context, ServerPhase, Session};
use crate::sync::lock;
use crate::sys::event::Event;

/// Accepts that wait in advance. An accept's completion queues behind those of all connections, so under load only this
/// many connections are accepted each time that the queue is worked through. With few of them, clients wait for seconds
/// in the backlog.
const PENDING_ACCEPTS: usize = 128;

/// How the completions of a model come to [`CompletionServer::handle`].
pub(in crate::server) trait Delivery: Send + Sync + Sized + 'static {
    /// Binds a socket to the queue. From now on each operation on it that was begun, with whatever success, comes to
    /// `handle` of this server once.
    ///
    /// # Errors
    /// The system's.
    fn bind(&self, server: &Weak<CompletionServer<Self>>, socket: &Socket) -> io::Result<Box<dyn Binding>>;

    /// Nobody handles completions any more, so the server can't go on.
    fn has_ended(&self) -> bool;

    /// No thread handles a completion now. Whoever makes this true wakes the supervisor.
    fn is_at_rest(&self) -> bool;
}

/// A completion of one operation that the system has delivered, and that was not handled yet.
pub(in crate::server) struct Delivered(*mut OVERLAPPED);

impl Delivered {
    /// # Safety
    /// The system has delivered the completion of this operation, and this is the only value made for it. The operation
    /// was begun by a [`CompletionServer`] on a socket that its [`Delivery`] has bound.
    pub(in crate::server) unsafe fn new(overlapped: *mut OVERLAPPED) -> Delivered {
        Delivered(overlapped)
    }
}

/// To whom an operation belongs.
pub(in crate::server) enum Owner {
    /// The accept with this index.
    Accept(usize),
    /// The receive of this connection.
    Receive(Weak<RegisteredConnection>),
    /// The send of this connection.
    Send(Weak<RegisteredConnection>),
}

// Any thread reads the owner of an operation.
const _: () = {
    const fn is_sync<T: Sync>() {}
    is_sync::<Owner>();
};

pub(in crate::server) struct RegisteredConnection {
    /// Its place in the registry.
    key: usize,
    connection: Mutex<OverlappedConnection<Owner>>,
}

/// The state that the threads share. Locks are taken in this order: an accept, the registry, a connection.
pub(in crate::server) struct CompletionServer<D: Delivery> {
    itself: Weak<CompletionServer<D>>,
    context: Arc<Context>,
    group: WorkerGroup,
    delivery: D,
    /// Wakes the supervisor.
    wake: Event,
    /// `None` when an accept has ended because the server stops.
    accepts: Vec<Mutex<Option<PendingAccept<Owner>>>>,
    /// `None` when the supervisor has closed it, after the accepts have ended.
    listener: Mutex<Option<Arc<AcceptExListener>>>,
    /// The listener's.
    binding: Box<dyn Binding>,
    /// The indices of accepts that the supervisor is to begin, and when.
    paused_accepts: Mutex<Vec<(Instant, usize)>>,
    /// All connections that may have outstanding operations.
    registry: Mutex<Slab<Arc<RegisteredConnection>>>,
}

impl<D: Delivery> CompletionServer<D> {
    /// Binds the listener. Nothing is accepted before [`begin_accepts`](Self::begin_accepts).
    ///
    /// # Errors
    /// The system's.
    pub(in crate::server) fn new(listener: TcpListener, context: &Arc<Context>, delivery: D) -> io::Result<Arc<Self>> {
        let listener = Arc::new(AcceptExListener::new(listener)?);
        let accept = |index| PendingAccept::new(context, Arc::clone(&listener), Owner::Accept(index), None);
        let accepts = (0..PENDING_ACCEPTS).map(|index| Mutex::new(Some(accept(index)))).collect();
        let (wake, waker) = wake_event()?;
        let group = WorkerGroup::new(context);
        group.add_waker(&waker);
        let mut bound = Ok(());
        let server = Arc::new_cyclic(|itself| {
            let binding = delivery.bind(itself, listener.socket()).unwrap_or_else(|error| {
                bound = Err(error);
                Box::new(())
            });
            CompletionServer {
                itself: itself.clone(),
                context: Arc::clone(context),
                group,
                delivery,
                wake,
                accepts,
                listener: Mutex::new(Some(listener)),
                binding,
                paused_accepts: Mutex::default(),
                registry: Mutex::default(),
            }
        });
        bound.map(|()| server)
    }

    /// What brings the completions.
    pub(in crate::server) fn delivery(&self) -> &D {
        &self.delivery
    }

    /// The phase, and who is woken when it changes: the supervisor.
    pub(in crate::server) fn group(&self) -> &WorkerGroup {
        &self.group
    }

    /// Has the supervisor look at everything.
    pub(in crate::server) fn wake_supervisor(&self) {
        self.wake.set();
    }

    /// Begins to accept.
    pub(in crate::server) fn begin_accepts(&self) {
        (0..PENDING_ACCEPTS).for_each(|index| self.begin_accept(index));
    }

    /// Handles a completion, on any thread.
    pub(in crate::server) fn handle(&self, Delivered(overlapped): Delivered) {
        // SAFETY: every operation of this server is owned by an `Owner`. The operation lives until its completion is
        // taken, which happens below; the reference is not used after that. An `Owner` is `Sync`: see below it.
        let owner = unsafe { owner_of::<Owner>(overlapped) };
        match owner {
            &Owner::Accept(index) => self.accepted(index),
            // SAFETY: the completion of this connection's receive was just delivered.
            Owner::Receive(connection) => self.advance(connection.upgrade(), |c| unsafe { c.collect_receive() }),
            // SAFETY: the completion of this connection's send was just delivered.
            Owner::Send(connection) => self.advance(connection.upgrade(), |c| unsafe { c.collect_send() }),
        }
    }

    /// Tells a connection of a completion, and has it go on. It is removed when it is over.
    pub(in crate::server) fn advance(
        &self,
        registered: Option<Arc<RegisteredConnection>>,
        tell: impl FnOnce(&mut OverlappedConnection<Owner>),
    ) {
        let registered = registered.expect("the registry holds a connection until its operations have completed");
        let over = {
            let mut connection = lock(&registered.connection);
            let over = catch_unwind(AssertUnwindSafe(|| {
                tell(&mut connection);
                connection.advance()
            }));
            // A panic concerns this connection alone. The connection is closed here: if the panic ended the thread, the
            // connection would stay in the registry for ever. The message was printed.
            over.unwrap_or_else(|_| {
                connection.fail();
                connection.advance()
            })
        };
        if over {
            let none_left = {
                let mut registry = lock(&self.registry);
                registry.remove(registered.key);
                registry.is_empty()
            };
            // The last reference closes the connection, so that it is counted before the supervisor wakes.
            drop(registered);
            if none_left && self.group.phase() != ServerPhase::Run {
                self.wake.set();
            }
        }
    }

    fn accepted(&self, index: usize) {
        let mut accept = lock(&self.accepts[index]);
        let Some(pending) = &mut *accept else { return };
        let mut pause = None;
        // SAFETY: the completion of this accept was just delivered.
        match unsafe { pending.finish() } {
            None => return,
            Some(Ok(socket)) => self.adopt(socket),
            // We have cancelled it ourselves.
            Some(Err(_)) if self.group.phase() != ServerPhase::Run => {}
            Some(Err(e)) => pause = self.count_failed_accept(&e),
        }
        self.begin_again(index, accept, pause);
    }

    fn begin_accept(&self, index: usize) {
        self.begin_again(index, lock(&self.accepts[index]), None);
    }

    /// Begins an accept, or lets the supervisor begin it at the end of a pause. The lock of the accept orders this with
    /// [`end_accepts`](Self::end_accepts): either that comes later and cancels the accept, or the phase is seen here.
    fn begin_again(
        &self,
        index: usize,
        mut accept: MutexGuard<'_, Option<PendingAccept<Owner>>>,
        mut pause_end: Option<Instant>,
    ) {
        loop {
            let Some(pending) = &mut *accept else { return };
            if self.group.phase() != ServerPhase::Run {
                *accept = None;
                self.wake.set();
                return;
            }
            if let Some(time) = pause_end {
                lock(&self.paused_accepts).push((time, index));
                self.wake.set();
                return;
            }
            match announced(&*self.binding, || pending.begin()) {
                Ok(()) => return,
                Err(e) => pause_end = self.count_failed_accept(&e),
            }
        }
    }

    /// Counts a failed accept. Returns when to try again; `None` means at once.
    fn count_failed_accept(&self, error: &io::Error) -> Option<Instant> {
        match self.context.accept_failed(error) {
            Accept::Again => None,
            Accept::After(pause) => Some(Instant::now() + pause),
        }
    }

    /// Serves an accepted socket.
    pub(in crate::server) fn adopt(&self, socket: Socket) {
        // If the connection is not admitted, its socket is closed here.
        let Some(session) = Session::admit(&self.context, &socket) else { return };
        let (binding, is_bound) = match self.delivery.bind(&self.itself, &socket) {
            Ok(binding) => (binding, true),
            Err(_) => (Box::new(()) as Box<dyn Binding>, false),
        };
        let registered = {
            let mut registry = lock(&self.registry);
            let entry = registry.vacant_entry();
            let registered = Arc::new_cyclic(|itself: &Weak<RegisteredConnection>| {
                let owners = [Owner::Receive(itself.clone()), Owner::Send(itself.clone())];
                let connection = OverlappedConnection::new(socket, session, owners, Notify::Queue(binding));
                RegisteredConnection { key: entry.key(), connection: Mutex::new(connection) }
            });
            Arc::clone(entry.insert(registered))
        };
        self.advance(Some(registered), |connection| {
            if !is_bound {
                connection.fail();
            }
            // The connection is registered by now: either the supervisor finds it when it aborts, or the phase is seen
            // here.
            if self.group.phase() == ServerPhase::Abort {
                connection.abort();
            }
        });
    }

    /// The loop of the supervisor. Returns when the server has drained or was aborted, with nothing outstanding.
    ///
    /// # Errors
    /// A wait has failed, or nobody handles completions any more.
    pub(in crate::server) fn supervise(&self) -> io::Result<()> {
        let mut idle = IdleTimer::new(&self.context);
        let mut aborted = false;
        let mut has_ended_accepts = false;
        loop {
            let phase = self.group.phase();
            if phase != ServerPhase::Run {
                if !has_ended_accepts {
                    has_ended_accepts = true;
                    self.end_accepts();
                }
                self.close_listener_if_unused();
            }
            if phase == ServerPhase::Abort && !aborted {
                aborted = true;
                self.connections().iter().for_each(|registered| lock(&registered.connection).abort());
            }
            if let Some(now) = idle.due() {
                for registered in self.connections() {
                    lock(&registered.connection).close_if_idle(now);
                }
            }
            let next_accept = self.begin_due_accepts();
            if phase != ServerPhase::Run && self.is_over() {
                return Ok(());
            }
            if self.delivery.has_ended() {
                return Err(io::Error::other("all workers have ended"));
            }
            Event::wait_any(std::slice::from_ref(&self.wake), idle.timeout_or(next_accept))?;
        }
    }

    /// Cancels the outstanding accepts, and ends those that are paused.
    fn end_accepts(&self) {
        lock(&self.paused_accepts).clear();
        for accept in &self.accepts {
            let mut accept = lock(accept);
            match &*accept {
                Some(pending) if pending.is_outstanding() => pending.cancel(),
                _ => *accept = None,
            }
        }
    }

    /// Closes the listener when no accept is outstanding any more. A server that drains first takes those who wait, on
    /// this thread alone.
    fn close_listener_if_unused(&self) {
        if self.accepts.iter().any(|accept| lock(accept).is_some()) {
            return;
        }
        let Some(listener) = lock(&self.listener).take() else { return };
        if self.group.phase() == ServerPhase::Drain {
            let rest = listener.accept_rest(&self.context);
            drop(listener);
            rest.into_iter().for_each(|socket| self.adopt(socket));
        }
    }

    /// Begins the accepts whose pause is over. Returns when the next pause ends.
    fn begin_due_accepts(&self) -> Option<Instant> {
        let now = Instant::now();
        let due: Vec<_> = lock(&self.paused_accepts).extract_if(.., |(time, _)| *time <= now).collect();
        for (_, index) in due {
            self.begin_accept(index);
        }
        lock(&self.paused_accepts).iter().map(|(time, _)| *time).min()
    }

    fn is_over(&self) -> bool {
        // In this order, because the listener is closed when all accepts have ended, a connection is registered before
        // its accept ends, and it is removed by a thread at work.
        lock(&self.listener).is_none() && lock(&self.registry).is_empty() && self.delivery.is_at_rest()
    }

    /// All connections that may have outstanding operations.
    pub(in crate::server) fn connections(&self) -> Vec<Arc<RegisteredConnection>> {
        lock(&self.registry).iter().map(|(_, registered)| Arc::clone(registered)).collect()
    }
}
