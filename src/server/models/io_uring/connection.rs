//! One connection: its socket, its rules, where its bytes are, and what the kernel holds of it.
//!
//! Bytes travel in one of two ways.
//!
//! - *In transit.* They stay in the worker's buffers that they were received into, and are sent from there, without a
//!   copy, by a send that does not wait (MSG_DONTWAIT). Such a send completes while it is submitted, so a worker's
//!   buffer is never held over a wait, and clients that do not read can't use up the few buffers that all share.
//! - *In the backlog.* If the socket does not take them all, the rest is copied to memory of the connection's own, of
//!   [`Options::buffer`](crate::server::Options::buffer) bytes, and sent from there by a send that waits. What is
//!   received meanwhile is copied behind it. When the backlog is empty, its memory is freed.
//!
//! So an idle connection holds no buffer at all, and one whose client does not read holds exactly one.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::buffers::{Filled, Memory};
use crate::server::Session;

/// A connection. It may be dropped only when [`outstanding`](Self::outstanding) is 0: the kernel reads its memory.
pub(super) struct Connection {
    socket: OwnedFd,
    pub(super) session: Session,
    bytes: Bytes,
    /// The buffer of the receive that is outstanding.
    pub(super) receiving: Option<Filled>,
    /// Bytes that the next receive is expected to bring: as many as the last one.
    pub(super) expected: usize,
    /// It waits for its turn to receive, in the worker's queue.
    pub(super) queued: bool,
    /// Receives in a row, while others waited.
    pub(super) turns: u8,
    /// Something may be received: bytes, a FIN, an error.
    pub(super) readable: bool,
    /// The kernel has said so since the receive that is outstanding was pushed.
    pub(super) readable_again: bool,
    /// The client has ended its direction, or broken the connection: there is something to receive until that is
    /// received.
    pub(super) hung_up: bool,
    /// A send is outstanding.
    pub(super) sending: bool,
    /// To be closed as soon as nothing is outstanding.
    pub(super) closing: bool,
    outstanding: u32,
}

enum Bytes {
    /// Oldest first.
    Transit(VecDeque<Filled>),
    /// At the places that [`Session`] says.
    Backlog(Memory),
}

/// What to send: an address and a length that stay good until the send completes, and whether the send may wait.
pub(super) struct Piece {
    pub(super) start: *const u8,
    pub(super) len: u32,
    pub(super) wait: bool,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, session: Session) -> Connection {
        Connection {
            socket,
            session,
            bytes: Bytes::Transit(VecDeque::new()),
            receiving: None,
            expected: 0,
            queued: false,
            turns: 0,
            readable: false,
            readable_again: false,
            hung_up: false,
            sending: false,
            closing: false,
            outstanding: 0,
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Operations of this connection that the kernel has, cancellations included.
    pub(super) fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// One more was pushed.
    pub(super) fn began(&mut self) {
        self.outstanding += 1;
    }

    /// One was completed for good.
    pub(super) fn ended(&mut self) {
        self.outstanding -= 1;
    }

    /// Bytes that a receive may bring.
    pub(super) fn space(&self) -> usize {
        self.session.capacity() - self.session.backlog()
    }

    /// Takes received bytes, not more than [`space`](Self::space).
    pub(super) fn received(&mut self, filled: Filled) {
        let len = filled.len();
        match &mut self.bytes {
            Bytes::Transit(buffers) => buffers.push_back(filled),
            Bytes::Backlog(memory) => memory.write_around(self.session.space()[0].start, &filled),
        }
        self.session.received(len);
    }

    /// What to send next. Not while a send is outstanding. `None`: nothing.
    ///
    /// The memory stays where it is until [`sent`](Self::sent) or [`would_block`](Self::would_block) is told: what is
    /// received meanwhile is put behind it.
    pub(super) fn piece(&self) -> Option<Piece> {
        debug_assert!(!self.sending);
        match &self.bytes {
            Bytes::Transit(buffers) => {
                buffers.front().map(|filled| Piece { start: filled.as_ptr(), len: filled.len() as u32, wait: false })
            }
            Bytes::Backlog(memory) => {
                let [first, _] = self.session.pending();
                Some(Piece { start: memory.at(first.start), len: first.len() as u32, wait: true })
            }
        }
    }

    /// The socket took the first `n` bytes of the [`piece`](Self::piece).
    pub(super) fn sent(&mut self, n: usize) {
        self.session.sent(n);
        match &mut self.bytes {
            Bytes::Transit(buffers) => {
                let filled = buffers.front_mut().expect("a send from transit was outstanding");
                filled.advance(n);
                if filled.is_empty() {
                    buffers.pop_front();
                } else {
                    self.would_block();
                }
            }
            Bytes::Backlog(_) if self.session.backlog() == 0 => self.bytes = Bytes::Transit(VecDeque::new()),
            Bytes::Backlog(_) => {}
        }
        self.session.rewind();
    }

    /// The socket takes no more for now: what is in transit moves to the backlog, and the buffers go back.
    pub(super) fn would_block(&mut self) {
        let Bytes::Transit(buffers) = &self.bytes else { return };
        let memory = Memory::new(self.session.capacity());
        let mut at = self.session.pending()[0].start;
        for filled in buffers {
            memory.write_around(at, filled);
            at = (at + filled.len()) % self.session.capacity();
        }
        self.bytes = Bytes::Backlog(memory);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        debug_assert!(
            self.outstanding == 0 || std::thread::panicking(),
            "the kernel still has operations on this memory"
        );
    }
}
