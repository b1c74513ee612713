//! The accept of every model that does not accept by an operation (AcceptEx, io_uring).
//!
//! It does not ask for the client's address, which no model needs. `TcpListener::accept` asks, and the address of a
//! client that has reset the connection in the backlog may have a length of 0: under Wine 10 always, on macOS for IPv6
//! (dotnet/runtime #121848). std asserts that the length is right, so such a client would end the server.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::fd::OwnedFd;

use socket2::SockRef;

use crate::sys;

/// Accepts a connection. Child processes do not inherit it where the system can say so in the same call.
///
/// # Errors
/// The system's: see [`Context::accept_failed`](super::Context::accept_failed).
pub(super) fn accept<'s>(listener: impl Into<SockRef<'s>>) -> io::Result<TcpStream> {
    let listener = listener.into();
    sys::retry_interrupted(|| listener.accept()).map(|(socket, _)| socket.into())
}

/// A listener in a tokio runtime, which has a type for each kind of socket. It is made in the runtime, and does not
/// block.
pub(super) enum RuntimeListener {
    /// At an address of TCP.
    Tcp(tokio::net::TcpListener),
    /// At any other stream socket, whose address the accept of std and of mio would refuse. Only its descriptor is
    /// used, and the runtime's type for a stream is one that tells when a descriptor is readable.
    #[cfg(unix)]
    Other(tokio::net::TcpStream),
}

impl RuntimeListener {
    /// # Errors
    /// The runtime can't watch it.
    pub(super) fn new(listener: TcpListener) -> io::Result<RuntimeListener> {
        #[cfg(unix)]
        if SockRef::from(&listener).local_addr()?.as_socket().is_none() {
            let listener = TcpStream::from(OwnedFd::from(listener));
            return tokio::net::TcpStream::from_std(listener).map(RuntimeListener::Other);
        }
        tokio::net::TcpListener::from_std(listener).map(RuntimeListener::Tcp)
    }

    /// The next connection, out of the runtime; it does not block.
    ///
    /// # Errors
    /// As for [`accept`].
    pub(super) async fn next(&self) -> io::Result<TcpStream> {
        match self {
            RuntimeListener::Tcp(listener) => accept_in_runtime(listener).await?.0.into_std(),
            #[cfg(unix)]
            RuntimeListener::Other(listener) => {
                let stream = listener.async_io(tokio::io::Interest::READABLE, || accept(listener)).await?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            }
        }
    }

    /// The listener, out of the runtime.
    ///
    /// # Errors
    /// The runtime's.
    pub(super) fn into_std(self) -> io::Result<TcpListener> {
        match self {
            RuntimeListener::Tcp(listener) => listener.into_std(),
            #[cfg(unix)]
            RuntimeListener::Other(listener) => Ok(OwnedFd::from(listener.into_std()?).into()),
        }
    }
}

/// The same in a tokio runtime, whose own accept asks for the address by std's; so it is given too. A panic of it is
/// the end of that client alone: the socket is closed, and the listener is as it was.
///
/// # Errors
/// As for [`accept`]; 'aborted' after a panic.
pub(super) async fn accept_in_runtime(
    listener: &tokio::net::TcpListener,
) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    poll_fn(|context| sys::accepted_without_panic(|| listener.poll_accept(context))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_reset_in_the_backlog_does_not_end_the_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let gone = TcpStream::connect(address).expect("the backlog has room");
        sys::close_with_reset(&gone);
        drop(gone);
        let client = TcpStream::connect(address).expect("the backlog has room");
        // The system may give the connection that is gone, or an error, or neither.
        let from = |stream: &TcpStream| stream.peer_addr().ok();
        let accepted =
            (0..2).filter_map(|_| accept(&listener).ok()).find(|stream| from(stream) == client.local_addr().ok());
        assert!(accepted.is_some(), "the next client is served");
    }
}
