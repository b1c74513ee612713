//! The Windows half: accept blocks, and is woken by a connection from the server to itself, which is not served. (There
//! is no SO_REUSEPORT here that could lead it astray.)

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use crate::server::context::{Context, Phase};

/// A listener whose wait can be interrupted.
pub(super) struct Acceptor {
    listener: TcpListener,
    doorbell: Arc<Doorbell>,
}

impl Acceptor {
    /// # Errors
    /// No sockets.
    pub(super) fn new(listener: TcpListener) -> io::Result<Acceptor> {
        let doorbell = Arc::new(Doorbell::new(listener.local_addr()?)?);
        Ok(Acceptor { listener, doorbell })
    }

    /// What interrupts [`accept`](Self::accept), from any thread and at any time.
    pub(super) fn bell(&self) -> impl Fn() + Send + Sync + 'static {
        let doorbell = Arc::clone(&self.doorbell);
        move || doorbell.ring()
    }

    /// The next connection. `None`: look at the phase, and come again.
    ///
    /// # Errors
    /// See [`Context::accept_failed`].
    pub(super) fn accept(&self, context: &Context) -> io::Result<Option<TcpStream>> {
        let (stream, _) = self.listener.accept()?;
        // It may be our own, from the doorbell; and in any case we accept no more.
        Ok(Some(stream).filter(|_| context.phase() == Phase::Run))
    }

    /// Nothing: our own connection, which woke the accepting thread, can't be told from what waits behind it.
    pub(super) fn accept_rest(&self, _context: &Context, _take: impl FnMut(TcpStream)) {}
}

/// Wakes the thread that is blocked in accept, by connecting to it. The socket is made beforehand: when sockets are
/// short, the server can still be stopped.
struct Doorbell {
    socket: Socket,
    address: SocketAddr,
}

impl Doorbell {
    fn new(mut address: SocketAddr) -> io::Result<Doorbell> {
        // 'Any address' is nowhere to connect to.
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        Ok(Doorbell { socket, address })
    }

    /// Works once, and once is enough: after it the listener is closed. 'In progress' is how a connect that does not
    /// block begins; with a backlog so full that it fails, accept is not blocked.
    fn ring(&self) {
        let _ = self.socket.connect(&self.address.into());
    }
}
