//! One connection of a readiness model (reactor): how a ready socket is served. How a model learns that a socket is
//! ready stands in the model's own file.
//!
//! A [`NonblockingConnection`] is a non-blocking socket, its [`Session`], and, only while bytes wait to be sent, a
//! buffer out of its worker's [`BufferPool`]: an idle connection holds none. [`NonblockingConnection::turn`] moves
//! bytes and returns what to wait for next.
//!
//! It serves level-triggered waits (select, poll, epoll: a socket is reported for as long as it is ready), and those
//! that report once and are re-armed by a call (WSAAsyncSelect, WSAEventSelect: FD_READ by recv, FD_WRITE by a send
//! that would block, FD_CLOSE never). Therefore:
//! - a report is remembered until a call shows that it no longer holds: the socket gave less than there was room for,
//!   or a send would block. A short receive is believed, without a second call that only answers 'would
//!   block';
//! - a turn that ends because its share is used up has just received, which re-arms; after a hangup nothing re-arms, so
//!   then it goes on to the end;
//! - sending goes on until nothing waits or a send would block.
//!
//! One that reports each change once, whatever the program does (sigio), may report a FIN before the turn that receives
//! the bytes before it. There a short receive is not believed: see
//! [`receive_until_it_would_block`](NonblockingConnection::receive_until_it_would_block).

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use crate::server::context::Context;
use crate::server::echo::Pieces;
use crate::server::session::Session;
use crate::sys;

/// Receives in one turn, so that a peer that sends without pause does not starve the others of its worker.
const RECEIVES_PER_TURN: usize = 8;
/// Buffers that a pool keeps for the next connections. Others, after a burst, go back to the allocator.
const POOLED_BUFFERS: usize = 64;
/// Bytes that the kept buffers may have together. One buffer is always kept.
const POOLED_BYTES: usize = 4 << 20;

/// The readiness that the system reported of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Ready {
    /// A receive would not block.
    pub(in crate::server) read: bool,
    /// A send would not block.
    pub(in crate::server) write: bool,
    /// The connection broke or was closed by its peer, and the system may not report it again: receive until that
    /// shows.
    pub(in crate::server) hangup: bool,
}

/// The readiness to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Interest {
    /// Until a receive would not block.
    pub(in crate::server) read: bool,
    /// Until a send would not block.
    pub(in crate::server) write: bool,
}

/// How to go on after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum TurnOutcome {
    /// Wait for the same as before.
    Keep,
    /// Wait for this from now on.
    Watch(Interest),
    /// The connection has ended, by both FINs or by an error: drop it.
    Close,
}

/// The system calls of a non-blocking socket. A simulation has a kernel of its own behind them.
pub(in crate::server) trait NonblockingSocket {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize>;
    fn receive_vectored(&self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize>;
    fn send(&self, from: &[u8]) -> io::Result<usize>;
    fn send_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Sends the FIN.
    fn send_fin(&self) -> io::Result<()>;
}

impl NonblockingSocket for TcpStream {
    #[inline]
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut &*self, into)
    }

    #[inline]
    fn receive_vectored(&self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        Read::read_vectored(&mut &*self, into)
    }

    #[inline]
    fn send(&self, from: &[u8]) -> io::Result<usize> {
        Write::write(&mut &*self, from)
    }

    #[inline]
    fn send_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        Write::write_vectored(&mut &*self, from)
    }

    fn send_fin(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// One connection of a readiness model. Dropping it closes the socket and counts it as closed.
pub(in crate::server) struct NonblockingConnection<S = TcpStream> {
    // The order matters: the socket is closed before the session counts it as closed.
    stream: S,
    session: Session,
    storage: Option<Box<[u8]>>,
    interest: Interest,
    readable: bool,
    writable: bool,
    hung_up: bool,
    one_receive_per_notice: bool,
    believes_short_receives: bool,
}

impl NonblockingConnection {
    /// Takes an accepted socket on. `None`: it was closed, because `--max-conns` are open (counted as refused), or
    /// because it is broken already.
    pub(in crate::server) fn new(stream: TcpStream, context: &Arc<Context>) -> Option<NonblockingConnection> {
        let mut session = Session::admit(context, &stream)?;
        if stream.set_nonblocking(true).is_err() {
            session.failed();
            return None;
        }
        Some(NonblockingConnection::with_session(stream, session))
    }

    /// Closes it with a reset, for the end in `Abort`.
    pub(in crate::server) fn abort(self) {
        sys::close_with_reset(&self.stream);
    }
}

impl<S: NonblockingSocket> NonblockingConnection<S> {
    /// A non-blocking socket that was admitted.
    pub(in crate::server) fn with_session(stream: S, session: Session) -> NonblockingConnection<S> {
        NonblockingConnection {
            stream,
            session,
            storage: None,
            interest: Interest { read: true, write: false },
            readable: false,
            writable: true,
            hung_up: false,
            one_receive_per_notice: false,
            believes_short_receives: true,
        }
    }

    /// For a wait that queues a notice each time a receive leaves something behind: a turn receives once, and the next
    /// notice leads to the next turn.
    #[cfg(any(windows, test))]
    pub(in crate::server) fn with_one_receive_per_notice(mut self) -> NonblockingConnection<S> {
        self.one_receive_per_notice = true;
        self
    }

    /// For a wait that reports changes: only a receive that would block shows that nothing is left.
    pub(in crate::server) fn receive_until_it_would_block(&mut self) {
        self.believes_short_receives = false;
    }

    /// Whether the last turn has ended although more can be received and there is room. A wait that reports changes
    /// does not say so.
    pub(in crate::server) fn has_more_to_do(&self) -> bool {
        self.readable && self.session.due().receive
    }

    /// The socket, to register it.
    pub(in crate::server) fn stream(&self) -> &S {
        &self.stream
    }

    /// The readiness to wait for now.
    pub(in crate::server) fn interest(&self) -> Interest {
        self.interest
    }

    /// Moves what can be moved without blocking, within a fair share.
    pub(in crate::server) fn turn(&mut self, ready: Ready, pool: &mut BufferPool) -> TurnOutcome {
        self.hung_up |= ready.hangup;
        self.readable |= ready.read | ready.hangup;
        self.writable |= ready.write | ready.hangup;
        let moved = self.pump(pool);
        if self.session.backlog() == 0 || moved.is_err() {
            self.session.rewind();
            pool.put(self.storage.take());
        }
        if moved.is_err() {
            self.session.failed();
            return TurnOutcome::Close;
        }
        if self.session.is_over() {
            return TurnOutcome::Close;
        }
        let due = self.session.due();
        let interest = Interest { read: due.receive, write: due.send };
        if interest == self.interest {
            return TurnOutcome::Keep;
        }
        self.interest = interest;
        TurnOutcome::Watch(interest)
    }

    /// The system reported an error of the connection: it is counted, and to be dropped.
    #[cfg(windows)]
    pub(in crate::server) fn fail(&mut self) -> TurnOutcome {
        self.session.failed();
        TurnOutcome::Close
    }

    /// Whether `--idle-timeout` has passed; then drop it. It is counted, so ask once.
    pub(in crate::server) fn is_idle(&self, now: Instant) -> bool {
        self.session.is_idle(now)
    }

    fn pump(&mut self, pool: &mut BufferPool) -> io::Result<()> {
        let mut receives = 0;
        loop {
            if self.readable && self.session.due().receive {
                self.receive(pool)?;
                receives += 1;
            }
            while self.writable && self.session.due().send {
                self.send()?;
            }
            // After a hangup no more comes than the system holds already; and it may not report that again.
            if !(self.readable && self.session.due().receive) || (receives >= RECEIVES_PER_TURN && !self.hung_up) {
                break;
            }
        }
        if self.session.due().finish {
            self.stream.send_fin()?;
            self.session.fin_sent();
        }
        Ok(())
    }

    fn receive(&mut self, pool: &mut BufferPool) -> io::Result<()> {
        self.session.rewind();
        let storage = self.storage.get_or_insert_with(|| pool.take());
        let [first, second] = slices_mut(storage, self.session.space());
        let room = first.len() + second.len();
        let result = if second.is_empty() {
            self.stream.receive(first)
        } else {
            self.stream.receive_vectored(&mut [IoSliceMut::new(first), IoSliceMut::new(second)])
        };
        match result {
            Ok(n) => {
                self.session.received(n);
                let is_full = n == room || !self.believes_short_receives;
                self.readable = self.hung_up || (is_full && !self.one_receive_per_notice);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        let storage = self.storage.as_ref().expect("pending bytes are in the storage");
        let [first, second] = slices(storage, self.session.pending());
        let result = if second.is_empty() {
            self.stream.send(first)
        } else {
            self.stream.send_vectored(&[IoSlice::new(first), IoSlice::new(second)])
        };
        match result {
            Ok(n) => self.session.sent(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writable = false,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

/// The buffers of one worker. The one that was given back last is given out first: it is still in the cache.
pub(in crate::server) struct BufferPool {
    free: Vec<Box<[u8]>>,
    size: usize,
    keep: usize,
}

impl BufferPool {
    /// For buffers of `size` bytes each.
    pub(in crate::server) fn new(size: usize) -> Self {
        BufferPool { free: Vec::new(), size, keep: (POOLED_BYTES / size.max(1)).clamp(1, POOLED_BUFFERS) }
    }

    /// A buffer, with any bytes that were left in it.
    pub(in crate::server) fn take(&mut self) -> Box<[u8]> {
        self.free.pop().unwrap_or_else(|| vec![0; self.size].into_boxed_slice())
    }

    /// Gives a buffer back.
    pub(in crate::server) fn put(&mut self, storage: Option<Box<[u8]>>) {
        if self.free.len() < self.keep {
            self.free.extend(storage);
        }
    }
}

/// The ring's free pieces as memory to receive into. The second is empty unless the ring wraps.
pub(in crate::server) fn slices_mut(storage: &mut [u8], [first, second]: Pieces) -> [&mut [u8]; 2] {
    let (front, back) = storage.split_at_mut(first.start);
    [&mut back[..first.len()], &mut front[second]]
}

/// The ring's pending pieces as memory to send from. The second is empty unless the ring wraps.
pub(in crate::server) fn slices(storage: &[u8], [first, second]: Pieces) -> [&[u8]; 2] {
    [&storage[first], &storage[second]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_few_large_buffers_and_not_many_small_ones() {
        for (size, kept) in [(1, 64), (64 << 10, 64), (1 << 20, 4), (3 << 20, 1), (8 << 20, 1)] {
            let mut pool = BufferPool::new(size);
            let out: Vec<_> = (0..100).map(|_| pool.take()).collect();
            out.into_iter().for_each(|storage| pool.put(Some(storage)));
            assert_eq!(pool.free.len(), kept, "of {size} bytes");
        }
    }
}
