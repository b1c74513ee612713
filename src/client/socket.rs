//! A registered socket as [`Socket`] sees it.
//!
//! The wait speaks once for what has come (epoll(7), EPOLLET; kqueue(2), EV_CLEAR), so what it said is remembered until
//! a call shows that it is no longer so. There a call that moves less than it could is believed, and saves the one that
//! only answers EAGAIN; Windows is asked until it says WSAEWOULDBLOCK, which is what arms its wait anew (mio's
//! documentation of `Poll`, 'Portability').

use std::io;

use mio::event::Event;
use mio::net::TcpStream;
use socket2::SockRef;

use super::connection::Socket;
use crate::sys;

/// Whether a call that moved less than it could has emptied or filled the socket.
const SHORT_IS_LAST: bool = cfg!(unix);

/// A connected socket, and what the wait has said of it.
pub(super) struct Link {
    pub(super) stream: TcpStream,
    readable: bool,
    writable: bool,
    /// A FIN or an error has come: the wait will not say more, so a short read is not believed.
    ended: bool,
}

impl Link {
    /// A socket that has just connected: it can be written to.
    pub(super) fn new(stream: TcpStream) -> Link {
        Link { stream, readable: false, writable: true, ended: false }
    }

    /// Takes in what the wait says.
    pub(super) fn notice(&mut self, event: &Event) {
        self.ended |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.ended;
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }
}

impl Socket for Link {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = again(|| sys::receive(&self.stream, into));
        match &result {
            Ok(n) if SHORT_IS_LAST && *n < into.len() => self.readable = self.ended,
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
        let result = again(|| sys::send(&self.stream, from));
        match &result {
            Ok(n) if SHORT_IS_LAST && *n < from.len() => self.writable = false,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writable = false,
            _ => {}
        }
        result
    }

    fn shutdown(&mut self) -> io::Result<()> {
        SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write)
    }

    fn is_readable(&mut self) -> bool {
        self.readable
    }

    fn close_with_reset(&mut self) {
        sys::close_with_reset(&self.stream);
    }
}

/// A call that a signal has interrupted has done nothing.
fn again(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
