//! AcceptEx: an accept that is an overlapped operation like any other.
//!
//! It differs from accept in three ways. The socket of the connection is made before and handed in. It can wait for the
//! client's first bytes too, which nobody should ask for: a client that connects and sends nothing would hold the
//! accept for ever, so the receive length is 0. And the accepted socket knows nothing of its listener until
//! SO_UPDATE_ACCEPT_CONTEXT tells it; before that shutdown and getpeername fail.
//!
//! It has no completion routine: it completes by an event or to a port. It lives in no import library that one can rely
//! on; WSAIoctl returns its address.
//!
//! Sources: Microsoft, 'AcceptEx', 'SOL_SOCKET socket options', 'WSAIoctl' (SIO_GET_EXTENSION_FUNCTION_POINTER).

#![expect(unsafe_code, reason = "AcceptEx has no safe wrapper in std or socket2")]

use std::io;
use std::mem;
use std::net::TcpListener;
use std::ptr;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use windows_sys::Win32::Foundation::ERROR_NETNAME_DELETED;
use windows_sys::Win32::Networking::WinSock::{
    LPFN_ACCEPTEX, SIO_GET_EXTENSION_FUNCTION_POINTER, SO_UPDATE_ACCEPT_CONTEXT, SOCKADDR_STORAGE, SOCKET,
    SOCKET_ERROR, SOL_SOCKET, WSAECONNABORTED, WSAECONNRESET, WSAENOTCONN, WSAID_ACCEPTEX, WSAIoctl, setsockopt,
};

use super::overlapped::{Operation, Ring, raw, unless_pending};
use crate::server::{Accept, Context, Phase, Session};
use crate::sys::event::Event;

/// 'At least 16 bytes more than the maximum address length for the transport protocol in use'.
const ADDRESS: usize = size_of::<SOCKADDR_STORAGE>() + 16;

/// A listener with its AcceptEx.
pub(in crate::server) struct Listener {
    socket: TcpListener,
    domain: Domain,
    accept_ex: LPFN_ACCEPTEX,
}

impl Listener {
    /// Looks AcceptEx up for this listener's provider.
    ///
    /// # Errors
    /// The system's.
    pub(in crate::server) fn new(socket: TcpListener) -> io::Result<Listener> {
        let domain = Domain::for_address(socket.local_addr()?);
        let accept_ex = accept_ex_of(&socket)?;
        Ok(Listener { socket, domain, accept_ex })
    }

    /// The listening socket, to be bound to a port.
    pub(in crate::server) fn socket(&self) -> &TcpListener {
        &self.socket
    }
}

fn accept_ex_of(socket: &TcpListener) -> io::Result<LPFN_ACCEPTEX> {
    let (guid, mut function): (_, LPFN_ACCEPTEX) = (WSAID_ACCEPTEX, None);
    let mut bytes = 0u32;
    // SAFETY: the GUID is read and the function pointer written at their own sizes; both live through the call, which
    // is not overlapped. A null function pointer is `None`.
    let result = unsafe {
        WSAIoctl(
            raw(socket),
            SIO_GET_EXTENSION_FUNCTION_POINTER,
            (&raw const guid).cast(),
            size_of_val(&guid) as u32,
            (&raw mut function).cast(),
            size_of_val(&function) as u32,
            &raw mut bytes,
            ptr::null_mut(),
            None,
        )
    };
    if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(function) }
}

/// One accept at a time, again and again.
pub(in crate::server) struct Accepting<W> {
    operation: Operation<W>,
    /// AcceptEx writes the two addresses here; nobody reads them.
    addresses: Option<Ring>,
    /// The socket that the next connection gets.
    socket: Option<Socket>,
}

impl<W> Accepting<W> {
    /// Nothing was begun yet.
    pub(in crate::server) fn new(way_back: W, event: Option<&Event>) -> Self {
        Accepting { operation: Operation::new(way_back, event), addresses: Some(Ring::new(2 * ADDRESS)), socket: None }
    }

    /// See [`Operation::is_outstanding`].
    pub(in crate::server) fn is_outstanding(&self) -> bool {
        self.operation.is_outstanding()
    }

    /// Begins to wait for a connection. Without an error a completion comes.
    ///
    /// # Errors
    /// Out of sockets or memory; or a client that was reset while it waited in the backlog: the listener is well.
    pub(in crate::server) fn begin(&mut self, listener: &Listener) -> io::Result<()> {
        // Overlapped and not inheritable, as socket2 makes them.
        let socket = Socket::new(listener.domain, Type::STREAM, Some(Protocol::TCP))?;
        let accept_ex = listener.accept_ex.ok_or(io::ErrorKind::Unsupported)?;
        let addresses = self.addresses.as_ref().expect("only drop takes the addresses").start();
        // SAFETY: the addresses have room for twice ADDRESS bytes and live, as the socket does, until the operation is
        // reaped: see `drop`. The flags of the block serve as the byte count, which is only written at once.
        unsafe {
            self.operation.begin(|overlapped, bytes| {
                let size = ADDRESS as u32;
                let done =
                    accept_ex(raw(&listener.socket), raw(&socket), addresses.cast(), 0, size, size, bytes, overlapped);
                if done != 0 { Ok(()) } else { unless_pending(io::Error::last_os_error()).map_err(or_client_gone) }
            })?;
        }
        self.socket = Some(socket);
        Ok(())
    }

    /// The connection, after its completion has come. TCP_NODELAY is set. `None`: it has not completed.
    ///
    /// # Errors
    /// The client was reset before it was accepted, or the accept was cancelled.
    pub(in crate::server) fn finish(&mut self, listener: &Listener) -> Option<io::Result<Socket>> {
        let outcome = self.operation.poll(&listener.socket)?;
        let socket = self.socket.take().expect("an accept that has completed was begun with a socket");
        Some(outcome.map_err(or_client_gone).and_then(|_| {
            // The listener is well whatever fails on this one socket.
            update_accept_context(&socket, listener).map_err(client_gone)?;
            socket.set_tcp_nodelay(true).map_err(client_gone)?;
            Ok(socket)
        }))
    }

    /// See [`Operation::cancel`].
    pub(in crate::server) fn cancel(&self, listener: &Listener) {
        self.operation.cancel(&listener.socket);
    }
}

impl<W> Drop for Accepting<W> {
    fn drop(&mut self) {
        if self.operation.is_outstanding() {
            // The kernel still uses them; it happens only when a panic unwinds.
            mem::forget(self.addresses.take());
            mem::forget(self.socket.take());
        }
    }
}

/// A failed accept that is only the client's: it was reset while it waited in the backlog. The next one may be there
/// already, so there is no reason to pause.
fn or_client_gone(error: io::Error) -> io::Error {
    const NETNAME_DELETED: i32 = ERROR_NETNAME_DELETED as i32;
    match error.raw_os_error() {
        // Windows says the first two, and the third by way of the port; Wine says the last.
        Some(WSAECONNRESET | WSAECONNABORTED | NETNAME_DELETED | WSAENOTCONN) => client_gone(error),
        _ => error,
    }
}

fn client_gone(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

/// Gives an accepted socket the properties of its listener; shutdown needs it.
fn update_accept_context(socket: &Socket, listener: &Listener) -> io::Result<()> {
    let of: SOCKET = raw(&listener.socket);
    let size = size_of_val(&of) as i32;
    // SAFETY: the option is the listener's SOCKET, read at its own size from a live variable.
    let result = unsafe { setsockopt(raw(socket), SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (&raw const of).cast(), size) };
    if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Accepts on the calling thread, one at a time by an event, until the phase is no longer `Run`; each connection that
/// is admitted goes to `serve`. Then the listener is closed, with nothing outstanding. `wake` ends the waits, for
/// `phase` to be looked at.
///
/// # Errors
/// `serve`'s, or a wait that fails.
pub(in crate::server) fn accept_until_drain(
    listener: TcpListener,
    context: &Arc<Context>,
    wake: Event,
    phase: impl Fn() -> Phase,
    serve: impl FnMut(Socket, Session) -> io::Result<()>,
) -> io::Result<()> {
    accept_on(&Listener::new(listener)?, context, wake, phase, serve)
}

fn accept_on(
    listener: &Listener,
    context: &Arc<Context>,
    wake: Event,
    phase: impl Fn() -> Phase,
    mut serve: impl FnMut(Socket, Session) -> io::Result<()>,
) -> io::Result<()> {
    // It resets itself: an accept that was found complete without a wait signals it late, perhaps when the next one has
    // begun, and as long as an event stays signalled every wait returns at once.
    let events = [wake, Event::auto()?];
    let [_, accepted] = &events;
    let mut accepting = Accepting::new((), Some(accepted));
    let mut take = |result: io::Result<Socket>| match result {
        // Not admitted: the socket is closed here.
        Ok(socket) => Session::admit(context).map_or(Ok(None), |session| serve(socket, session).map(|()| None)),
        Err(e) => Ok(Some(context.accept_failed(&e))),
    };
    let result = loop {
        if phase() != Phase::Run {
            break Ok(());
        }
        let step = if accepting.is_outstanding() {
            // Under a load of clients it has completed by now, and the wait is saved.
            match accepting.finish(listener) {
                Some(result) => take(result),
                None => Event::wait_any(&events, None).map(|_| None),
            }
        } else {
            accepting.begin(listener).map_or_else(|e| take(Err(e)), |()| Ok(None))
        };
        match step {
            Ok(None | Some(Accept::Again)) => {}
            // A wake ends the pause early; then the phase has changed.
            Ok(Some(Accept::After(pause))) => {
                if let Err(e) = Event::wait_any(&events[..1], Some(pause)) {
                    break Err(e);
                }
            }
            Err(e) => break Err(e),
        }
    };
    // A cancelled accept still completes, perhaps with a connection, which is then served like any other.
    accepting.cancel(listener);
    while accepting.is_outstanding() {
        match accepting.finish(listener) {
            Some(result) => {
                result.map_or(Ok(None), |socket| take(Ok(socket)))?;
            }
            None => {
                Event::wait_any(&events[1..], None)?;
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use windows_sys::Win32::Networking::WinSock::{WSAEMFILE, WSAENOBUFS};

    use super::*;
    use crate::server::Options;

    /// How often AcceptEx is tried by a listener that has none, and fails; and the time of all of it.
    fn failures(until: u64, wake: Event) -> (u64, Duration) {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let listener = Listener { socket, domain: Domain::IPV4, accept_ex: None };
        let context = Arc::new(Context::new(Options::default(), channel().0));
        let phase = || if context.snapshot().accept_errors < until { Phase::Run } else { Phase::Drain };
        let begin = Instant::now();
        accept_on(&listener, &context, wake, phase, |_, _| unreachable!("nothing is accepted")).expect("it drains");
        (context.snapshot().accept_errors, begin.elapsed())
    }

    #[test]
    fn an_accept_that_fails_for_want_of_something_is_tried_again_after_a_pause() {
        let (tries, time) = failures(5, Event::auto().expect("an event"));
        // Five pauses of 20 ms, of which a wait may end one tick of 15.6 ms early.
        assert!(tries == 5 && time >= 5 * Duration::from_millis(4), "{tries} tries in {time:?}");
    }

    #[test]
    fn a_wake_ends_the_pause() {
        let bell = Event::manual().expect("an event");
        bell.set();
        let begin = Instant::now();
        let (tries, _) = failures(1000, bell);
        // 20 s with their pauses.
        assert!(tries == 1000 && begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }

    #[test]
    fn a_client_that_has_gone_is_no_reason_to_pause() {
        let context = Context::new(Options::default(), channel().0);
        let after = |code| context.accept_failed(&or_client_gone(io::Error::from_raw_os_error(code)));
        for gone in [WSAECONNRESET, WSAECONNABORTED, ERROR_NETNAME_DELETED as i32, WSAENOTCONN] {
            assert_eq!(after(gone), Accept::Again, "{gone}");
        }
        for short in [WSAEMFILE, WSAENOBUFS] {
            assert!(matches!(after(short), Accept::After(_)), "{short}");
        }
        assert_eq!(context.snapshot().accept_errors, 6);
    }
}
