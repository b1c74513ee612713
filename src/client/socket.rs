//! A socket that is registered with the wait, as a connection sees it.
//!
//! The wait reports each change once (epoll(7), EPOLLET; kqueue(2), EV_CLEAR), so its report is remembered until a call
//! shows that it no longer holds. On these systems a call that moves less than it could has shown that, which saves the
//! call that would only answer EAGAIN. Windows must be asked until it says WSAEWOULDBLOCK, because that is what makes
//! its wait report again (mio's documentation of `Poll`, 'Portability').

use std::io;
use std::net::Shutdown;

use mio::event::Event;
use mio::net::TcpStream;
use socket2::SockRef;

use super::connection::Transport;
use crate::sys;

/// Whether a call that moved less than it could has emptied or filled the socket.
const SHORT_CALL_IS_LAST: bool = cfg!(unix);

/// A connected socket, and what the wait has reported of it.
pub(super) struct RegisteredSocket {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    /// A FIN or an error has come, and the wait will report nothing more; or urgent data may come. A short read does
    /// not count as the last.
    ended: bool,
}

impl RegisteredSocket {
    /// A socket that has just connected, or that connects with its first write (Fast Open): it can be written to.
    pub(super) fn new(stream: TcpStream) -> RegisteredSocket {
        RegisteredSocket { stream, readable: false, writable: true, ended: false }
    }

    /// Remembers what the wait reports.
    pub(super) fn notice(&mut self, event: &Event) {
        self.ended |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.ended;
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    /// The socket itself.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The socket itself, to be closed.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl Transport for RegisteredSocket {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = sys::retry_interrupted(|| sys::receive(&self.stream, into));
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
        let result = sys::retry_interrupted(|| sys::send(&self.stream, from));
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
        let result = sys::retry_interrupted(|| SockRef::from(&self.stream).send_out_of_band(&[byte]));
        self.writable = result.is_ok();
        // If urgent data comes back, a read ends at its mark, with more behind it (tcp(7)). So, as after an end, a
        // short read does not count as the last.
        self.ended = true;
        result.map(drop)
    }

    fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        SockRef::from(&self.stream).shutdown(how)
    }

    fn is_readable(&mut self) -> bool {
        self.readable
    }

    fn assume_ready(&mut self) {
        (self.readable, self.writable) = (true, true);
    }

    fn close_with_reset(&mut self) {
        sys::close_with_reset(&self.stream);
    }
}
