//! A socket that is registered with the wait, as a connection sees it.
//!
//! The wait reports each change once (epoll(7), EPOLLET; kqueue(2), EV_CLEAR), so its report is remembered until a call
//! shows that it no longer holds. On these systems a call that moves less than it could has shown that, which saves the
//! call that would only answer EAGAIN. Windows must be asked until it says WSAEWOULDBLOCK, because that is what makes
//! its wait report again (mio's documentation of `Poll`, 'Portability'). There mio then asks for all that the socket is
//! registered for, and a socket that can be written to is reported at once, for each message that is read. So on
//! Windows a socket is registered for writing only while a write is blocked ([`RegisteredSocket::renew_interest`]).

use std::io;
use std::net::Shutdown;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use super::connection::Transport;
use crate::sys;

/// Whether a call that moved less than it could has emptied or filled the socket.
const SHORT_CALL_IS_LAST: bool = cfg!(unix);

/// What a socket is registered for. Urgent data is reported where the wait can: a read ends at its mark, with more
/// behind it.
pub(super) const INTEREST: Interest = {
    let both = Interest::READABLE.add(Interest::WRITABLE);
    #[cfg(target_os = "linux")]
    let both = both.add(Interest::PRIORITY);
    both
};

/// The system calls of a connected socket. A simulation has a kernel of its own behind them.
pub(super) trait SystemSocket {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize>;
    fn send(&self, from: &[u8]) -> io::Result<usize>;
    fn send_urgent(&self, byte: u8) -> io::Result<usize>;
    fn receive_urgent(&self) -> io::Result<u8>;
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
    /// Makes the close that follows a reset.
    fn close_with_reset(&self);
}

impl SystemSocket for TcpStream {
    #[inline]
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        sys::receive(self, into)
    }

    #[inline]
    fn send(&self, from: &[u8]) -> io::Result<usize> {
        sys::send(self, from)
    }

    fn send_urgent(&self, byte: u8) -> io::Result<usize> {
        SockRef::from(self).send_out_of_band(&[byte])
    }

    fn receive_urgent(&self) -> io::Result<u8> {
        sys::receive_urgent(self)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(self).shutdown(how)
    }

    fn close_with_reset(&self) {
        sys::close_with_reset(self);
    }
}

/// What the wait reports of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) read_closed: bool,
    pub(super) write_closed: bool,
    pub(super) error: bool,
    /// Urgent data has come, or comes.
    pub(super) urgent: bool,
}

impl From<&Event> for Reported {
    #[inline]
    fn from(event: &Event) -> Reported {
        Reported {
            readable: event.is_readable(),
            writable: event.is_writable(),
            read_closed: event.is_read_closed(),
            write_closed: event.is_write_closed(),
            error: event.is_error(),
            urgent: event.is_priority(),
        }
    }
}

/// A connected socket, and what the wait has reported of it.
pub(super) struct RegisteredSocket<S = TcpStream> {
    stream: S,
    readable: bool,
    writable: bool,
    /// A FIN or an error has come, and the wait will report nothing more; or urgent data may come. A short read does
    /// not count as the last.
    ended: bool,
    /// Urgent data has come, or comes.
    urgent: bool,
    /// It is registered for writing too.
    #[cfg(windows)]
    awaits_writable: bool,
}

impl<S> RegisteredSocket<S> {
    /// A socket that has just connected, or that connects with its first write (Fast Open): it can be written to. It is
    /// registered for reading and writing.
    pub(super) fn new(stream: S) -> RegisteredSocket<S> {
        RegisteredSocket {
            stream,
            readable: false,
            writable: true,
            ended: false,
            urgent: false,
            #[cfg(windows)]
            awaits_writable: true,
        }
    }

    /// Remembers what the wait reports.
    #[inline]
    pub(super) fn notice(&mut self, reported: Reported) {
        self.ended |= reported.read_closed || reported.error || reported.urgent;
        self.urgent |= reported.urgent;
        self.readable |= reported.readable || self.ended;
        self.writable |= reported.writable || reported.write_closed || reported.error;
    }

    /// The socket itself.
    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    /// The socket itself, to be closed.
    pub(super) fn into_stream(self) -> S {
        self.stream
    }
}

impl RegisteredSocket {
    /// Registers the socket for what it waits for, after a turn. Only Windows needs that.
    ///
    /// # Errors
    /// Never on this system.
    #[cfg(not(windows))]
    #[inline(always)]
    pub(super) fn renew_interest(&mut self, _registry: &Registry, _token: Token) -> io::Result<()> {
        Ok(())
    }

    /// Registers the socket for writing as long as a write is blocked, and for reading alone otherwise.
    ///
    /// # Errors
    /// The system's.
    #[cfg(windows)]
    pub(super) fn renew_interest(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        if self.awaits_writable != self.writable {
            return Ok(());
        }
        self.awaits_writable = !self.writable;
        let more = self.awaits_writable.then_some(Interest::WRITABLE);
        let interest = more.map_or(Interest::READABLE, |more| Interest::READABLE | more);
        registry.reregister(&mut self.stream, token, interest)
    }
}

impl<S: SystemSocket> Transport for RegisteredSocket<S> {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = sys::retry_interrupted(|| self.stream.receive(into));
        match &result {
            Ok(n) if SHORT_CALL_IS_LAST && *n < into.len() => self.readable = self.ended,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            _ => {}
        }
        result
    }

    #[inline]
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        if !self.writable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = sys::retry_interrupted(|| self.stream.send(from));
        match &result {
            Ok(n) if SHORT_CALL_IS_LAST && *n < from.len() => self.writable = false,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writable = false,
            // The write has begun the handshake (Fast Open), and took nothing along.
            Err(e) if sys::is_connect_in_progress(e) => {
                self.writable = false;
                return Err(io::ErrorKind::WouldBlock.into());
            }
            _ => {}
        }
        result
    }

    fn write_urgent(&mut self, byte: u8) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = sys::retry_interrupted(|| self.stream.send_urgent(byte));
        self.writable = result.is_ok();
        // If urgent data comes back, a read ends at its mark, with more behind it (tcp(7)). So, as after an end, a
        // short read does not count as the last.
        self.ended = true;
        result.map(drop)
    }

    #[inline]
    fn take_urgent(&mut self) -> Option<u8> {
        if !self.urgent {
            return None;
        }
        let result = sys::retry_interrupted(|| self.stream.receive_urgent());
        // It was announced, and comes later: that is reported again. Any other error: there is none, or no other.
        self.urgent = result.is_ok();
        result.ok()
    }

    fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how)
    }

    fn is_readable(&mut self) -> bool {
        self.readable
    }

    fn assume_ready(&mut self) {
        (self.readable, self.writable) = (true, true);
    }

    fn close_with_reset(&mut self) {
        self.stream.close_with_reset();
    }
}

#[cfg(all(test, windows))]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use mio::{Events, Poll};

    use super::*;

    const TOKEN: Token = Token(3);

    /// The first that is reported of the socket within this time: that it can be read, that it can be written to. A
    /// wait may end with nothing to report, when the registration has changed.
    fn reported(poll: &mut Poll, time: Duration) -> (bool, bool) {
        let (mut events, until) = (Events::with_capacity(8), Instant::now() + time);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            poll.poll(&mut events, Some(left)).expect("the wait works");
            let of = |is: fn(&Event) -> bool| events.iter().any(is);
            match (of(Event::is_readable), of(Event::is_writable)) {
                (false, false) if !left.is_zero() => {}
                reported => return reported,
            }
        }
    }

    #[test]
    fn a_socket_is_reported_as_writable_only_after_a_write_was_blocked() {
        let soon = Duration::from_secs(20);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let mut poll = Poll::new().expect("the system has a wait");
        let mut stream = TcpStream::connect(address).expect("the connect begins");
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, TOKEN, both).expect("a socket can be registered");
        let (mut peer, _) = listener.accept().expect("the client has connected");
        assert_eq!(reported(&mut poll, soon), (false, true), "the handshake is over");

        let mut socket = RegisteredSocket::new(stream);
        socket.renew_interest(poll.registry(), TOKEN).expect("the registration can be changed");
        socket.readable = true;
        let empty = socket.read(&mut [0; 8]).expect_err("nothing was sent");
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(reported(&mut poll, Duration::from_millis(100)), (false, false), "it waits for reading alone");

        while socket.write(&[0; 65_536]).is_ok() {}
        assert!(!socket.writable);
        socket.renew_interest(poll.registry(), TOKEN).expect("the registration can be changed");
        // Reads until the socket has room again, and the rest beside it.
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            while matches!(peer.read(&mut buffer), Ok(1..)) {}
        });
        assert!(reported(&mut poll, soon).1, "the write can go on");
        socket.shutdown(Shutdown::Both).expect("it is connected");
        drop(socket);
        reader.join().expect("the peer does not panic");
    }
}
