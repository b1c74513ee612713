//! One connection: its socket, its rules, where its bytes are, and which of its operations the kernel holds.
//!
//! Bytes travel in one of two ways.
//!
//! - *In transit.* They stay in the worker's buffers that they were received into, and are sent from there, without a
//!   copy, by a send that does not wait (MSG_DONTWAIT). Such a send completes while it is submitted, so a worker's
//!   buffer is never held during a wait, and clients that do not read can't use up the few buffers that all share.
//! - *In the backlog.* If the socket does not take them all, the rest is copied to memory of the connection's own, of
//!   [`Options::buffer`](crate::server::Options::buffer) bytes, and sent from there by a send that waits. Bytes that
//!   are received meanwhile are copied behind it. When the backlog is empty, its memory is freed.
//!
//! So an idle connection holds no buffer, and one whose client does not read holds exactly one.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::buffers::{FilledBuffer, Memory};
use crate::server::Session;

/// A connection. It may be dropped only when [`outstanding`](Self::outstanding) is 0: the kernel reads its memory.
pub(super) struct RingConnection {
    socket: OwnedFd,
    pub(super) session: Session,
    echo_bytes: EchoBytes,
    /// The buffer of the receive that is outstanding.
    pub(super) receiving: Option<FilledBuffer>,
    /// Bytes that the next receive is expected to bring: as many as the last one.
    pub(super) expected: usize,
    /// It stands in the worker's queue, to receive.
    pub(super) queued: bool,
    /// Receives in a row while others waited.
    pub(super) turns: u8,
    /// There may be something to receive: bytes, a FIN, an error.
    pub(super) readable: bool,
    /// The kernel has reported `readable` since the outstanding receive was pushed.
    pub(super) readable_again: bool,
    /// The client has ended its direction or broken the connection, so there is something to receive until that was
    /// received.
    pub(super) hung_up: bool,
    /// A send is outstanding.
    pub(super) sending: bool,
    /// To be closed as soon as nothing is outstanding.
    pub(super) closing: bool,
    outstanding: u32,
}

enum EchoBytes {
    /// Oldest first.
    Transit(VecDeque<FilledBuffer>),
    /// Where [`Session`] says.
    Backlog(Memory),
}

/// Bytes to send: an address and a length that stay valid until the send completes, and whether the send may wait.
pub(super) struct Piece {
    pub(super) start: *const u8,
    pub(super) len: u32,
    pub(super) wait: bool,
}

impl RingConnection {
    pub(super) fn new(socket: OwnedFd, session: Session) -> RingConnection {
        RingConnection {
            socket,
            session,
            echo_bytes: EchoBytes::Transit(VecDeque::new()),
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

    /// One has completed for good.
    pub(super) fn ended(&mut self) {
        self.outstanding -= 1;
    }

    /// Bytes that may still be received.
    pub(super) fn space(&self) -> usize {
        self.session.capacity() - self.session.backlog()
    }

    /// Takes received bytes, not more than [`space`](Self::space).
    #[inline(always)]
    pub(super) fn received(&mut self, filled: FilledBuffer) {
        let len = filled.len();
        match &mut self.echo_bytes {
            EchoBytes::Transit(buffers) => buffers.push_back(filled),
            EchoBytes::Backlog(memory) => memory.write_around(self.session.space()[0].start, &filled),
        }
        self.session.received(len);
    }

    /// The bytes to send next. Not while a send is outstanding. `None`: nothing.
    ///
    /// The memory stays where it is until [`sent`](Self::sent) or [`would_block`](Self::would_block) is called: bytes
    /// that are received meanwhile are put behind it.
    pub(super) fn piece(&self) -> Option<Piece> {
        debug_assert!(!self.sending);
        match &self.echo_bytes {
            EchoBytes::Transit(buffers) => {
                buffers.front().map(|filled| Piece { start: filled.as_ptr(), len: in_part(filled.len()), wait: false })
            }
            EchoBytes::Backlog(memory) => {
                let [first, _] = self.session.pending();
                Some(Piece { start: memory.at(first.start), len: in_part(first.len()), wait: true })
            }
        }
    }

    /// The socket took the first `n` bytes of the [`piece`](Self::piece).
    #[inline(always)]
    pub(super) fn sent(&mut self, n: usize) {
        self.session.sent(n);
        match &mut self.echo_bytes {
            EchoBytes::Transit(buffers) => {
                let filled = buffers.front_mut().expect("a send of bytes in transit was outstanding");
                filled.advance(n);
                if filled.is_empty() {
                    buffers.pop_front();
                } else {
                    self.would_block();
                }
            }
            EchoBytes::Backlog(_) if self.session.backlog() == 0 => {
                self.echo_bytes = EchoBytes::Transit(VecDeque::new())
            }
            EchoBytes::Backlog(_) => {}
        }
        self.session.rewind();
    }

    /// The socket takes no more for now: bytes in transit move to the backlog, and the buffers go back.
    pub(super) fn would_block(&mut self) {
        let EchoBytes::Transit(buffers) = &self.echo_bytes else { return };
        let mut memory = Memory::new(self.session.capacity());
        let mut at = self.session.pending()[0].start;
        for filled in buffers {
            memory.write_around(at, filled);
            at = (at + filled.len()) % self.session.capacity();
        }
        self.echo_bytes = EchoBytes::Backlog(memory);
    }
}

/// A length as an operation takes it. More than fits is sent in part, as any send may be.
fn in_part(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl Drop for RingConnection {
    fn drop(&mut self) {
        debug_assert!(
            self.outstanding == 0 || std::thread::panicking(),
            "the kernel still has operations on this memory"
        );
    }
}
