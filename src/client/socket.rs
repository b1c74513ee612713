//! A tokio socket as [`Socket`] sees it.
//!
//! The calls are `poll_read` and `poll_write` and not `try_read` and `try_write`: after a short read tokio then knows
//! that the socket is empty, and the next call waits without a system call that only answers EAGAIN.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection::Socket;
use crate::sys;

/// A socket and the task that its readiness wakes.
pub(super) struct TaskSocket<'a, 'b> {
    pub(super) stream: &'a mut TcpStream,
    pub(super) cx: &'a mut Context<'b>,
}

fn ready<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Socket for TaskSocket<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(into);
        ready(Pin::new(&mut *self.stream).poll_read(self.cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }

    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        ready(Pin::new(&mut *self.stream).poll_write(self.cx, from))
    }

    fn shutdown(&mut self) -> io::Result<()> {
        SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write)
    }

    fn is_readable(&mut self) -> bool {
        matches!(self.stream.poll_read_ready(self.cx), Poll::Ready(Ok(())))
    }

    fn close_with_reset(&mut self) {
        sys::close_with_reset(&*self.stream);
    }
}
