//! The Windows half: accept blocks, and is woken by a connection from the server to itself, which is not served. (No
//! SO_REUSEPORT here could lead that to another process.)

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use crate::server::context::{Context, ServerPhase};

/// A listener whose wait can be interrupted.
pub(super) struct WakeableListener {
    listener: TcpListener,
    wake: Arc<WakeConnection>,
}

impl WakeableListener {
    /// # Errors
    /// No sockets.
    pub(super) fn new(listener: TcpListener) -> io::Result<WakeableListener> {
        let wake = Arc::new(WakeConnection::new(listener.local_addr()?)?);
        Ok(WakeableListener { listener, wake })
    }

    /// Interrupts [`accept`](Self::accept), from any thread and at any time.
    pub(super) fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let connection = Arc::clone(&self.wake);
        move || connection.wake()
    }

    /// The next connection. `None`: look at the phase, and come again.
    ///
    /// # Errors
    /// See [`Context::accept_failed`].
    pub(super) fn accept(&self, context: &Context) -> io::Result<Option<TcpStream>> {
        let (stream, _) = self.listener.accept()?;
        // It may be our own, which woke this thread; and in any case no more are accepted.
        Ok(Some(stream).filter(|_| context.phase() == ServerPhase::Run))
    }

    /// Takes nothing: our own connection, which woke the accepting thread, can't be told from others behind it.
    pub(super) fn accept_rest(&self, _context: &Context, _take: impl FnMut(TcpStream)) {}
}

/// Wakes the thread that is blocked in accept, by connecting to its listener. The socket is made beforehand, so that
/// the server can be stopped even when sockets are short.
struct WakeConnection {
    socket: Socket,
    address: SocketAddr,
}

impl WakeConnection {
    fn new(mut address: SocketAddr) -> io::Result<WakeConnection> {
        // Nobody can connect to 'any address'.
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        Ok(WakeConnection { socket, address })
    }

    /// Works once, which is enough: after it the listener is closed. A connect that does not block returns 'in
    /// progress'. If it fails because the backlog is full, accept is not blocked.
    fn wake(&self) {
        let _ = self.socket.connect(&self.address.into());
    }
}
