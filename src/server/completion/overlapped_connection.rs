//! One connection of a proactor: a receive and a send that are outstanding together, over one bounded buffer.
//!
//! [`OverlappedConnection`] decides what to begin next, and when the connection is over. How completions come back is
//! the model's business ([`Notify`]). A connection never waits, and is used by one thread at a time.
//!
//! It keeps these rules for all models (Microsoft, 'WSARecv', 'WSASend', 'closesocket', 'CancelIoEx'):
//!
//! - The socket is closed after both operations have completed. To close it earlier can send a reset.
//! - `close_reason` says that we are closing the connection, never an error code: after CancelIoEx an operation may
//!   complete with success, with WSA_OPERATION_ABORTED or with another error.
//! - A receive of 0 bytes is the peer's FIN. The pending bytes go out first, then our FIN, then the socket is closed.
//! - A send may transfer less than it was given. The rest stays pending and is sent next.
//!
//! # Memory
//!
//! The kernel locks the pages of a buffer while an operation is outstanding on it, and a server nearly always has
//! receives outstanding. So a connection starts with a small buffer of one page. When a receive has filled it, the
//! connection gets one of `--buffer` bytes. So 2,000 idle connections lock 8 MiB, not 125 MiB. The buffer is replaced
//! only while nothing is outstanding. The alternative, to wait for data with a receive of 0 bytes, would cost one more
//! operation for each message.

#![expect(unsafe_code, reason = "begins operations on its buffer and takes their completions")]

use std::io;
use std::marker::PhantomData;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Instant;

use super::CompletionResult;
use super::kernel_buffer::KernelBuffer;
use super::operation::Operation;
use super::winsock::{self, CompletionRoutine, Event, Socket};
use crate::server::Session;

/// Bytes of the buffer with which a connection starts: one page.
const SMALL_BUFFER_BYTES: usize = 4096;

/// How the system reports that an operation of a connection has completed.
pub(in crate::server) enum Notify<Owner> {
    /// It calls a completion routine on the thread that has begun the operation.
    Routines(Routines<Owner>),
    /// It signals an event. That does not tell which operation has completed, so one is outstanding at a time.
    Event(Arc<Event>),
    /// It puts the operation into the queue to which the socket is bound.
    Queue(Box<dyn Binding>),
}

impl<Owner> Notify<Owner> {
    /// What ties the socket to its queue, if there is one.
    fn binding(&self) -> &dyn Binding {
        if let Notify::Queue(binding) = self { &**binding } else { &() }
    }
}

/// What ties a socket to a queue of completions. It is dropped after the socket was closed.
pub(in crate::server) trait Binding: Send + Sync {
    /// An operation is about to be begun on the socket.
    fn announce(&self) {}

    /// None was begun after all, so no completion will come.
    fn withdraw(&self) {}
}

/// No queue, or one that need not be told, such as a completion port.
impl Binding for () {}

/// Completion routines for the operations of a connection.
pub(in crate::server) struct Routines<Owner> {
    received: CompletionRoutine,
    sent: CompletionRoutine,
    of: PhantomData<fn(&Owner)>,
}

impl<Owner> Routines<Owner> {
    /// The routines to call when a receive and when a send has completed.
    ///
    /// # Safety
    /// Both are sound to call with the OVERLAPPED of any completed operation of this `Owner`.
    pub(in crate::server) unsafe fn new(received: CompletionRoutine, sent: CompletionRoutine) -> Self {
        Routines { received, sent, of: PhantomData }
    }
}

/// Why a connection is being closed. Once that is decided, no operation is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CloseReason {
    /// Both directions have ended, and everything was sent back.
    Complete,
    /// Nothing moved for `--idle-timeout`.
    Idle,
    /// The connection broke, or the server is aborted.
    Reset,
}

/// One connection. Dropping it closes the socket and counts the connection as closed.
pub(in crate::server) struct OverlappedConnection<Owner> {
    socket: Socket,
    session: Session,
    /// Both operations own a share of it, so it lives as long as one of them is outstanding.
    buffer: Arc<KernelBuffer>,
    /// The small buffer was full: no receive is begun before the connection has a large one.
    must_grow: bool,
    receive: Operation<Owner, Arc<KernelBuffer>>,
    send: Operation<Owner, Arc<KernelBuffer>>,
    notify: Notify<Owner>,
    close_reason: Option<CloseReason>,
}

impl<Owner> OverlappedConnection<Owner> {
    /// Makes a connection, given the owners of its receive and of its send. The first [`advance`](Self::advance)
    /// begins.
    pub(in crate::server) fn new(
        socket: Socket,
        mut session: Session,
        owners: [Owner; 2],
        notify: Notify<Owner>,
    ) -> Self {
        session.moved(SMALL_BUFFER_BYTES.min(session.limit()));
        let buffer = Arc::new(KernelBuffer::new(session.capacity()));
        let operation = |owner| {
            let event = if let Notify::Event(event) = &notify { Some(Arc::clone(event)) } else { None };
            Operation::new(session.context(), owner, Arc::clone(&buffer), event)
        };
        let [receive, send] = owners.map(operation);
        OverlappedConnection { socket, session, buffer, must_grow: false, receive, send, notify, close_reason: None }
    }

    /// Takes the completion of the receive, which its routine was told.
    ///
    /// # Safety
    /// The system has called the routine for this receive, with this result.
    pub(in crate::server) unsafe fn received(&mut self, result: CompletionResult) {
        // SAFETY: the caller guarantees that the completion was delivered.
        unsafe { self.receive.complete() };
        self.take_received(result);
    }

    /// Takes the completion of the send, which its routine was told.
    ///
    /// # Safety
    /// The system has called the routine for this send, with this result.
    pub(in crate::server) unsafe fn sent(&mut self, result: CompletionResult) {
        // SAFETY: the caller guarantees that the completion was delivered.
        unsafe { self.send.complete() };
        self.take_sent(result);
    }

    /// Takes the completions that have come, for a connection that reports by an event.
    ///
    /// # Panics
    /// If it reports in another way: its completions would be delivered once more.
    pub(in crate::server) fn collect(&mut self) {
        assert!(matches!(self.notify, Notify::Event(_)), "only an event leaves completions to be collected");
        // SAFETY: the event is all that reports a completion.
        unsafe {
            self.collect_receive();
            self.collect_send();
        }
    }

    /// Takes the completion of the receive, if it has come.
    ///
    /// # Safety
    /// The completion is not also delivered as a pointer later: the operation reports by an event, or its packet was
    /// taken from the port.
    pub(in crate::server) unsafe fn collect_receive(&mut self) {
        if self.receive.is_outstanding()
            // SAFETY: the receive was begun on this socket, and the caller guarantees the rest.
            && let Some(result) = unsafe { self.receive.poll(&self.socket) }
        {
            self.take_received(result);
        }
    }

    /// Takes the completion of the send, if it has come.
    ///
    /// # Safety
    /// As for [`collect_receive`](Self::collect_receive).
    pub(in crate::server) unsafe fn collect_send(&mut self) {
        if self.send.is_outstanding()
            // SAFETY: the send was begun on this socket, and the caller guarantees the rest.
            && let Some(result) = unsafe { self.send.poll(&self.socket) }
        {
            self.take_sent(result);
        }
    }

    fn take_received(&mut self, result: CompletionResult) {
        match result {
            // Bytes that arrive while we are closing are counted too; the session then counts them as discarded.
            Ok(n) => self.session.received(n),
            Err(_) => self.fail(),
        }
        self.must_grow =
            self.session.backlog() == self.session.capacity() && self.session.capacity() < self.session.limit();
    }

    fn take_sent(&mut self, result: CompletionResult) {
        match result {
            Ok(n) => self.session.sent(n),
            Err(_) => self.fail(),
        }
    }

    /// Begins the operations that are due. Returns whether the connection is over, with nothing outstanding: then drop
    /// it.
    pub(in crate::server) fn advance(&mut self) -> bool {
        if self.close_reason.is_none() && self.begin_due_operations().is_err() {
            self.fail();
        }
        self.close_reason.is_some() && self.outstanding() == 0
    }

    fn begin_due_operations(&mut self) -> io::Result<()> {
        if self.must_grow && self.outstanding() == 0 {
            self.grow();
        }
        let due = self.session.due();
        if due.finish {
            self.socket.shutdown(Shutdown::Write)?;
            self.session.fin_sent();
            self.close_reason = Some(CloseReason::Complete);
            return Ok(());
        }
        if due.send && !self.send.is_outstanding() {
            self.begin_send()?;
        }
        let must_send_first = due.send && matches!(self.notify, Notify::Event(_));
        if due.receive && !(must_send_first || self.must_grow || self.receive.is_outstanding()) {
            self.begin_receive()?;
        }
        Ok(())
    }

    fn begin_send(&mut self) -> io::Result<()> {
        let routine = if let Notify::Routines(routines) = &self.notify { routines.sent } else { None };
        // SAFETY: nobody writes the pending pieces before the send has completed: the program writes to no buffer, and
        // a receive gets the free pieces, which stay apart from them. The routine belongs to this `Owner`.
        let begin = || unsafe { self.send.send(&self.socket, &self.session.pending(), routine) };
        announced(self.notify.binding(), begin)
    }

    fn begin_receive(&mut self) -> io::Result<()> {
        // If nothing is pending, no send is outstanding, and the free space becomes one piece instead of two.
        self.session.rewind();
        let routine = if let Notify::Routines(routines) = &self.notify { routines.received } else { None };
        // SAFETY: nobody uses the free pieces before the receive has completed: a send gets pending pieces only, which
        // stay apart from them, and `grow` reads the buffer only with nothing outstanding. The routine belongs to this
        // `Owner`.
        let begin = || unsafe { self.receive.receive(&self.socket, &self.session.space(), routine) };
        announced(self.notify.binding(), begin)
    }

    /// Replaces the small buffer by a large one. Panics if an operation is outstanding.
    fn grow(&mut self) {
        let (receive_share, send_share) = (self.receive.memory_mut(), self.send.memory_mut());
        let capacity = self.session.limit();
        // SAFETY: nothing is outstanding, or `memory_mut` would have panicked. Receives have written the pending bytes.
        let buffer = unsafe { self.buffer.copy_to_new(&self.session.pending(), capacity) };
        self.buffer = Arc::new(buffer);
        *receive_share = Arc::clone(&self.buffer);
        *send_share = Arc::clone(&self.buffer);
        self.session.moved(capacity);
        self.must_grow = false;
    }

    /// The number of operations whose completion was not taken yet.
    pub(in crate::server) fn outstanding(&self) -> usize {
        usize::from(self.receive.is_outstanding()) + usize::from(self.send.is_outstanding())
    }

    /// Closes a connection that broke. Errors while it is being closed are our own doing, and do not count.
    pub(in crate::server) fn fail(&mut self) {
        if self.close_reason.is_none() {
            self.session.failed();
            self.close(CloseReason::Reset);
        }
    }

    /// Closes the connection with a reset. It is over when [`advance`](Self::advance) says so.
    pub(in crate::server) fn abort(&mut self) {
        if self.close_reason != Some(CloseReason::Complete) {
            self.close(CloseReason::Reset);
        }
    }

    /// Closes the connection if nothing moved for `--idle-timeout`.
    pub(in crate::server) fn close_if_idle(&mut self, now: Instant) {
        if self.close_reason.is_none() && self.session.is_idle(now) {
            self.close(CloseReason::Idle);
        }
    }

    fn close(&mut self, reason: CloseReason) {
        self.close_reason = Some(reason);
        self.receive.cancel(&self.socket);
        self.send.cancel(&self.socket);
    }
}

/// Begins an operation on a socket, of which its queue is told first. If none was begun, that is taken back.
pub(super) fn announced(binding: &dyn Binding, begin: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    binding.announce();
    begin().inspect_err(|_| binding.withdraw())
}

impl<Owner> Drop for OverlappedConnection<Owner> {
    /// An operation is outstanding only if the worker ends early, by a panic or because a wait has failed. It leaks its
    /// block then, with its share of the buffer, and completes when the socket is closed.
    fn drop(&mut self) {
        // A plain close sends a FIN. A connection that still owes bytes must not look as if it had ended in order.
        let is_orderly = match self.close_reason {
            Some(CloseReason::Complete) => true,
            Some(CloseReason::Idle) => self.session.backlog() == 0,
            Some(CloseReason::Reset) | None => false,
        };
        if !is_orderly {
            winsock::close_with_reset(&self.socket);
        }
    }
}

#[cfg(all(test, not(windows)))]
mod tests;
