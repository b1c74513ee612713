//! The address where a relay listens while its tester is there, and where connections are refused while it is not. It
//! stays bound all the time, so that no other program takes it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};

use crate::sys;

/// How many connections may wait to be accepted, as far as the system allows.
const BACKLOG: i32 = 1024;
/// The pause after an accept that failed for lack of something, such as descriptors: those that end give some back.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(20);

/// An address of this machine that is bound.
pub(super) struct Place {
    address: SocketAddr,
    state: PlaceState,
}

enum PlaceState {
    /// Bound and silent: the system refuses connections.
    Bound(Socket),
    Listening(TcpListener),
    /// It could not be bound again.
    Lost,
}

impl Place {
    /// Binds the address; port 0 is a free one.
    ///
    /// # Errors
    /// The system's: it is in use, or not of this machine.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Place> {
        let socket = sys::bound_socket(address, false)?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Place { address, state: PlaceState::Bound(socket) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes connections from now on.
    ///
    /// # Errors
    /// Another program has taken the address.
    pub(super) fn listen(&mut self) -> io::Result<()> {
        let socket = match std::mem::replace(&mut self.state, PlaceState::Lost) {
            PlaceState::Bound(socket) => socket,
            PlaceState::Lost => sys::bound_socket(self.address, false)?,
            listening => {
                self.state = listening;
                return Ok(());
            }
        };
        socket.listen(sys::listen_backlog(BACKLOG))?;
        socket.set_nonblocking(true)?;
        self.state = PlaceState::Listening(TcpListener::from_std(socket.into())?);
        Ok(())
    }

    /// Takes none from now on. Those that nobody has accepted are reset.
    pub(super) fn refuse(&mut self) {
        if matches!(self.state, PlaceState::Bound(_)) {
            return;
        }
        // Closed before the address can be bound again.
        self.state = PlaceState::Lost;
        if let Ok(socket) = sys::bound_socket(self.address, false) {
            self.state = PlaceState::Bound(socket);
        }
    }

    /// The next connection, and where it comes from; never, while it does not listen. It may be dropped at any time.
    pub(super) async fn accept(&self) -> (TcpStream, SocketAddr) {
        let PlaceState::Listening(listener) = &self.state else { return std::future::pending().await };
        loop {
            match std::future::poll_fn(|context| sys::accepted_without_panic(|| listener.poll_accept(context))).await {
                Ok(accepted) => return accepted,
                Err(_) => tokio::time::sleep(SHORTAGE_PAUSE).await,
            }
        }
    }

    /// A connection that waits to be accepted, if there is one. It asks the system: the reactor may not know it yet.
    pub(super) fn accept_waiting(&self) -> Option<(TcpStream, SocketAddr)> {
        let PlaceState::Listening(listener) = &self.state else { return None };
        let (socket, from) = sys::retry_interrupted(|| SockRef::from(listener).accept()).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(socket.into()).ok()?, from.as_socket()?))
    }
}
