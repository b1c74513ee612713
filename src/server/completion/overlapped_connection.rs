//! One connection of a proactor: a receive and a send outstanding at the same time over one bounded ring.
//!
//! [`Duplex`] decides what to begin next and when the connection is over. How completions come back is the model's own
//! business: by completion routines, by events, or by a port. It makes no wait and is used by one thread at a time.
//!
//! Rules kept here for all of them (Microsoft, 'WSARecv', 'WSASend', 'closesocket', 'CancelIoEx'):
//!
//! - The socket is closed, and memory freed, only after both operations were reaped. Closing earlier can send a reset.
//! - Whether we end the connection is told by `ending`, our own word, never by an error code: after CancelIoEx an
//!   operation may complete with success, with WSA_OPERATION_ABORTED or with something else.
//! - A receive of 0 bytes is the peer's FIN. What is pending goes out first, then our FIN, then the close.
//! - A send may take less than it was given; the rest stays pending and is due again.
//!
//! # Memory
//!
//! The kernel locks the pages of a buffer as long as an operation is outstanding on it, and a server's receives are
//! outstanding nearly always. So a connection starts with a ring of [`SMALL`] bytes, and gets one of `--buffer` bytes
//! the first time that the small one was filled to the brim: 2,000 idle connections lock 8 MiB, not 125. It grows only
//! at a moment when nothing is outstanding. The other way, a receive of 0 bytes to wait for data, would cost each
//! message one more operation.

#![expect(unsafe_code, reason = "hands the ring to the kernel, and vouches for it until the operations are reaped")]

use std::io;
use std::mem;
use std::net::Shutdown;
use std::time::Instant;

use socket2::Socket;
use windows_sys::Win32::Networking::WinSock::LPWSAOVERLAPPED_COMPLETION_ROUTINE;

use super::overlapped::{Operation, Outcome, Ring};
use crate::server::Session;
use crate::sys;

/// The ring that a connection starts with: a page.
const SMALL: usize = 4096;

/// The completion routines of a model that uses them.
#[derive(Clone, Copy, Default)]
pub(in crate::server) struct Routines {
    /// Called when a receive has completed.
    pub(in crate::server) received: LPWSAOVERLAPPED_COMPLETION_ROUTINE,
    /// Called when a send has completed.
    pub(in crate::server) sent: LPWSAOVERLAPPED_COMPLETION_ROUTINE,
}

/// Why a connection ends, once that is decided. From then on nothing is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Both directions have ended and everything was sent back.
    Complete,
    /// Nothing moved for `--idle-timeout`.
    Idle,
    /// It broke, or the server is aborted.
    Reset,
}

/// One connection. Dropping it closes the socket and counts the connection as closed.
pub(in crate::server) struct Duplex<W> {
    socket: Socket,
    session: Session,
    /// `None` only after a drop that had to leave it to the kernel.
    ring: Option<Ring>,
    /// The small ring was full: receive no more before there is a large one.
    cramped: bool,
    receive: Operation<W>,
    send: Operation<W>,
    routines: Routines,
    /// One operation at a time.
    in_turns: bool,
    ending: Option<Ending>,
}

impl<W> Duplex<W> {
    /// A connection on which nothing was begun yet; [`advance`](Self::advance) begins.
    pub(in crate::server) fn new(
        socket: Socket,
        mut session: Session,
        receive: Operation<W>,
        send: Operation<W>,
        routines: Routines,
    ) -> Self {
        session.moved(SMALL.min(session.limit()));
        let ring = Some(Ring::new(session.capacity()));
        Duplex { socket, session, ring, cramped: false, receive, send, routines, in_turns: false, ending: None }
    }

    /// The same, but with one operation at a time: a receive begins when everything was sent back.
    pub(in crate::server) fn in_turns(mut self) -> Self {
        self.in_turns = true;
        self
    }

    /// The receive has completed.
    pub(in crate::server) fn received(&mut self, outcome: Outcome) {
        self.receive.reaped();
        self.take_received(outcome);
    }

    /// The send has completed.
    pub(in crate::server) fn sent(&mut self, outcome: Outcome) {
        self.send.reaped();
        self.take_sent(outcome);
    }

    /// The receive has completed, if it has, with an outcome that is to be asked for.
    pub(in crate::server) fn collect_receive(&mut self) {
        if self.receive.is_outstanding()
            && let Some(outcome) = self.receive.poll(&self.socket)
        {
            self.take_received(outcome);
        }
    }

    /// The same for the send.
    pub(in crate::server) fn collect_send(&mut self) {
        if self.send.is_outstanding()
            && let Some(outcome) = self.send.poll(&self.socket)
        {
            self.take_sent(outcome);
        }
    }

    fn take_received(&mut self, outcome: Outcome) {
        match outcome {
            // Bytes that came although we are closing are counted, and discarded with the session.
            Ok(n) => self.session.received(n),
            Err(_) => self.fail(),
        }
        self.cramped =
            self.session.backlog() == self.session.capacity() && self.session.capacity() < self.session.limit();
    }

    fn take_sent(&mut self, outcome: Outcome) {
        match outcome {
            Ok(n) => self.session.sent(n),
            Err(_) => self.fail(),
        }
    }

    /// Begins what is due. `true`: the connection is over and nothing is outstanding, so drop it.
    pub(in crate::server) fn advance(&mut self) -> bool {
        if self.ending.is_none() && self.begin_what_is_due().is_err() {
            self.fail();
        }
        self.ending.is_some() && self.outstanding() == 0
    }

    fn begin_what_is_due(&mut self) -> io::Result<()> {
        if self.cramped && self.outstanding() == 0 {
            self.grow();
        }
        let due = self.session.due();
        if due.finish {
            self.socket.shutdown(Shutdown::Write)?;
            self.session.fin_sent();
            self.ending = Some(Ending::Complete);
            return Ok(());
        }
        if due.send && !self.send.is_outstanding() {
            self.begin_send()?;
        }
        let sends_first = self.in_turns && due.send;
        if due.receive && !(sends_first || self.cramped || self.receive.is_outstanding()) {
            self.begin_receive()?;
        }
        Ok(())
    }

    fn begin_send(&mut self) -> io::Result<()> {
        let buffers = self.ring().buffers(&self.session.pending());
        // SAFETY: the pending pieces stay in place until `sent`, and nobody writes them: a receive gets the free
        // pieces. The ring is dropped only with nothing outstanding: see `grow` and `drop`.
        unsafe { self.send.send(&self.socket, &buffers, self.routines.sent) }
    }

    fn begin_receive(&mut self) -> io::Result<()> {
        // Nothing pending means that no send is outstanding either: one piece instead of two.
        self.session.rewind();
        let buffers = self.ring().buffers(&self.session.space());
        // SAFETY: the free pieces stay free until `received`, whatever is sent in between, and nobody reads them
        // before. The ring is dropped only with nothing outstanding: see `grow` and `drop`.
        unsafe { self.receive.receive(&self.socket, &buffers, self.routines.received) }
    }

    fn grow(&mut self) {
        let capacity = self.session.limit();
        // SAFETY: nothing is outstanding, and the pending bytes were written by receives that have completed.
        self.ring = Some(unsafe { self.ring().copied(&self.session.pending(), capacity) });
        self.session.moved(capacity);
        self.cramped = false;
    }

    fn ring(&self) -> &Ring {
        self.ring.as_ref().expect("only drop takes the ring")
    }

    /// Operations that were not reaped yet.
    pub(in crate::server) fn outstanding(&self) -> usize {
        usize::from(self.receive.is_outstanding()) + usize::from(self.send.is_outstanding())
    }

    /// The connection broke. An error that comes after we began to close is our own doing.
    pub(in crate::server) fn fail(&mut self) {
        if self.ending.is_none() {
            self.session.failed();
            self.end(Ending::Reset);
        }
    }

    /// Ends it with a reset; over when [`advance`](Self::advance) says so.
    pub(in crate::server) fn abort(&mut self) {
        if self.ending != Some(Ending::Complete) {
            self.end(Ending::Reset);
        }
    }

    /// Ends it if nothing moved for `--idle-timeout`. Says whether it did.
    pub(in crate::server) fn end_if_idle(&mut self, now: Instant) -> bool {
        let idle = self.ending.is_none() && self.session.is_idle(now);
        if idle {
            self.end(Ending::Idle);
        }
        idle
    }

    fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.receive.cancel(&self.socket);
        self.send.cancel(&self.socket);
    }
}

impl<W> Drop for Duplex<W> {
    fn drop(&mut self) {
        if self.outstanding() > 0 {
            // A worker dies of a panic: the kernel still uses the ring. It can't be waited for here, so it is leaked,
            // as the operations are.
            mem::forget(self.ring.take());
        }
        // A close without bytes owed sends a FIN; anything else must not look like one.
        let orderly = match self.ending {
            Some(Ending::Complete) => true,
            Some(Ending::Idle) => self.session.backlog() == 0,
            Some(Ending::Reset) | None => false,
        };
        if !orderly {
            sys::close_with_reset(&self.socket);
        }
    }
}
