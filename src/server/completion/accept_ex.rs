//! AcceptEx: an accept that is an overlapped operation like any other.
//!
//! It differs from accept in three ways:
//!
//! - The program makes the socket for the connection beforehand and hands it in.
//! - It can also wait for the client's first bytes. A client that connects and sends nothing would then block the
//!   accept for ever, so the receive length here is always 0.
//! - The accepted socket does not know its listener until SO_UPDATE_ACCEPT_CONTEXT names it. Before that, shutdown and
//!   getpeername fail.
//!
//! AcceptEx has no completion routine: it reports by an event or to a port. Not every import library contains it, so
//! WSAIoctl has to return its address.
//!
//! Sources: Microsoft, 'AcceptEx', 'SOL_SOCKET socket options', 'WSAIoctl'
//! (SIO_GET_EXTENSION_FUNCTION_POINTER).

#![expect(unsafe_code, reason = "AcceptEx has no safe wrapper in std or socket2")]

use std::io;
use std::net::TcpListener;
use std::ptr;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use windows_sys::Win32::Foundation::ERROR_NETNAME_DELETED;
use windows_sys::Win32::Networking::WinSock::{
    LPFN_ACCEPTEX, SIO_GET_EXTENSION_FUNCTION_POINTER, SO_UPDATE_ACCEPT_CONTEXT, SOCKADDR_STORAGE, SOCKET,
    SOCKET_ERROR, SOL_SOCKET, WSAECONNABORTED, WSAECONNRESET, WSAENOTCONN, WSAID_ACCEPTEX, WSAIoctl, setsockopt,
};

use super::kernel_buffer::KernelBuffer;
use super::operation::Operation;
use super::winsock::{Event, raw, unless_pending};
use crate::server::Context;

/// Bytes for one address: 'at least 16 bytes more than the maximum address length for the transport protocol in use'.
const ADDRESS_BYTES: usize = size_of::<SOCKADDR_STORAGE>() + 16;

/// A listener with its AcceptEx.
pub(in crate::server) struct AcceptExListener {
    socket: Socket,
    domain: Domain,
    /// `None` only in tests.
    accept_ex: LPFN_ACCEPTEX,
}

impl AcceptExListener {
    /// Looks up AcceptEx for the provider of this listener.
    ///
    /// # Errors
    /// The system's.
    pub(in crate::server) fn new(listener: TcpListener) -> io::Result<AcceptExListener> {
        let domain = Domain::for_address(listener.local_addr()?);
        let socket = Socket::from(listener);
        let accept_ex = look_up_accept_ex(&socket)?;
        Ok(AcceptExListener { socket, domain, accept_ex })
    }

    /// A listener whose accepts all fail.
    #[cfg(test)]
    pub(super) fn without_accept_ex(listener: TcpListener) -> AcceptExListener {
        AcceptExListener { socket: listener.into(), domain: Domain::IPV4, accept_ex: None }
    }

    /// The listening socket, for a port to bind.
    pub(in crate::server) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Accepts the connections that wait when a drain begins: see [`Context::accept_rest`]. Call it when no accept is
    /// outstanding, then close the listener, and only then serve them.
    ///
    /// It does not use AcceptEx, which would wait for the next client if this one had reset its connection meanwhile.
    pub(in crate::server) fn accept_rest(&self, context: &Context) -> Vec<Socket> {
        if self.socket.set_nonblocking(true).is_err() {
            return Vec::new();
        }
        let rest = context.accept_rest(&self.socket).into_iter();
        // An accepted socket is like its listener. One that refuses is broken, and is closed.
        rest.filter(|stream| stream.set_nonblocking(false).is_ok()).map(Socket::from).collect()
    }

    /// Gives an accepted socket the properties of this listener. Without that, shutdown fails.
    fn update_accept_context(&self, accepted: &Socket) -> io::Result<()> {
        let listener: SOCKET = raw(&self.socket);
        let (option, size) = ((&raw const listener).cast(), size_of::<SOCKET>() as i32);
        // SAFETY: the accepted socket is borrowed, so it is open during the call, which reads the listener's SOCKET
        // from a live variable of the given size.
        let result = unsafe { setsockopt(raw(accepted), SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, option, size) };
        if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn look_up_accept_ex(socket: &Socket) -> io::Result<LPFN_ACCEPTEX> {
    let guid = WSAID_ACCEPTEX;
    let mut function: LPFN_ACCEPTEX = None;
    let mut bytes = 0u32;
    // SAFETY: the socket is borrowed, so it is open during the call, which is not overlapped. The call reads the live
    // GUID and writes the live function pointer, each of the given size, and the live byte count. For this GUID the
    // pointer is that of AcceptEx, whose type is the one of `function`; a null pointer is `None`.
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

/// The memory that an accept uses until it has completed.
struct AcceptMemory {
    /// The socket that the next connection gets.
    socket: Option<Socket>,
    /// AcceptEx writes two addresses here; nobody reads them.
    addresses: KernelBuffer,
}

/// An accept that can be begun again after each completion. The listener stays open as long as this lives.
pub(in crate::server) struct PendingAccept<Owner> {
    operation: Operation<Owner, AcceptMemory>,
    listener: Arc<AcceptExListener>,
    /// It reports by an event, not to a port.
    has_event: bool,
}

impl<Owner> PendingAccept<Owner> {
    /// Makes an accept of the server with this `context`, which was not begun yet. It reports by the `event`, or to the
    /// port to which the listener is bound.
    pub(in crate::server) fn new(
        context: &Arc<Context>,
        listener: Arc<AcceptExListener>,
        owner: Owner,
        event: Option<Arc<Event>>,
    ) -> Self {
        let memory = AcceptMemory { socket: None, addresses: KernelBuffer::new(2 * ADDRESS_BYTES) };
        let has_event = event.is_some();
        PendingAccept { operation: Operation::new(context, owner, memory, event), listener, has_event }
    }

    /// See [`Operation::is_outstanding`].
    pub(in crate::server) fn is_outstanding(&self) -> bool {
        self.operation.is_outstanding()
    }

    /// Begins to wait for a connection. After `Ok` a completion will come.
    ///
    /// # Errors
    /// Out of sockets or memory. Or a client was reset while it waited in the backlog; then the listener is fine.
    ///
    /// # Panics
    /// If the accept is outstanding.
    pub(in crate::server) fn begin(&mut self) -> io::Result<()> {
        let accept_ex = self.listener.accept_ex.ok_or(io::ErrorKind::Unsupported)?;
        // socket2 makes it overlapped and not inheritable.
        let socket = Socket::new(self.listener.domain, Type::STREAM, Some(Protocol::TCP))?;
        let (listener, accepted) = (raw(&self.listener.socket), raw(&socket));
        let memory = self.operation.memory_mut();
        memory.socket = Some(socket);
        let (addresses, size) = (memory.addresses.start().cast(), ADDRESS_BYTES as u32);
        // SAFETY: this begins one accept, and the result says whether a completion will come. Both sockets are open.
        // The operation owns the accepted socket, the buffer, which has room for two addresses, and the OVERLAPPED, so
        // all of them live until the completion. The flags of the block take the byte count.
        let begun = unsafe {
            self.operation.begin(|overlapped, byte_count| {
                let complete = accept_ex(listener, accepted, addresses, 0, size, size, byte_count, overlapped);
                if complete != 0 { Ok(()) } else { unless_pending(io::Error::last_os_error()) }
            })
        };
        begun.map_err(|error| {
            self.operation.memory_mut().socket = None;
            accept_error(error)
        })
    }

    /// Takes the connection of an accept that reports by an event. `None` while it is incomplete.
    ///
    /// # Errors
    /// The client was reset before it was accepted, or the accept was cancelled.
    ///
    /// # Panics
    /// If the accept is not outstanding, or reports to a port: its completion would be delivered once more.
    pub(in crate::server) fn finish_signalled(&mut self) -> Option<io::Result<Socket>> {
        assert!(self.has_event, "only an event leaves an accept to be asked");
        // SAFETY: the event is all that reports the completion.
        unsafe { self.finish() }
    }

    /// Takes the connection of an accept. `None` while it is incomplete.
    ///
    /// # Errors
    /// The client was reset before it was accepted, or the accept was cancelled.
    ///
    /// # Panics
    /// If the accept is not outstanding.
    ///
    /// # Safety
    /// The completion is not also delivered as a pointer later: the accept reports by an event, or its packet was taken
    /// from the port.
    pub(in crate::server) unsafe fn finish(&mut self) -> Option<io::Result<Socket>> {
        // SAFETY: the accept was begun on this listener, and the caller guarantees the rest.
        let result = unsafe { self.operation.poll(&self.listener.socket) }?;
        let socket = self.operation.memory_mut().socket.take().expect("an accept is begun with a socket");
        Some(result.map_err(accept_error).and_then(|_| {
            // Only this one socket fails here, so the listener is fine.
            self.listener.update_accept_context(&socket).map_err(client_gone)?;
            Ok(socket)
        }))
    }

    /// See [`Operation::cancel`].
    pub(in crate::server) fn cancel(&self) {
        self.operation.cancel(&self.listener.socket);
    }
}

/// Marks an error that concerns one client only, which was reset while it waited in the backlog. The next client may be
/// there already, so there is no reason to pause.
pub(super) fn accept_error(error: io::Error) -> io::Error {
    const NETNAME_DELETED: i32 = ERROR_NETNAME_DELETED as i32;
    match error.raw_os_error() {
        // Windows reports the first two, and the third to a port. Wine reports the last.
        Some(WSAECONNRESET | WSAECONNABORTED | NETNAME_DELETED | WSAENOTCONN) => client_gone(error),
        _ => error,
    }
}

fn client_gone(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use windows_sys::Win32::Networking::WinSock::{WSAEMFILE, WSAENOBUFS};

    use super::*;
    use crate::server::{Accept, Options};

    #[test]
    fn a_client_that_was_reset_is_no_reason_to_pause() {
        let context = Context::new(Options::default(), channel().0);
        let after = |code| context.accept_failed(&accept_error(io::Error::from_raw_os_error(code)));
        for gone in [WSAECONNRESET, WSAECONNABORTED, ERROR_NETNAME_DELETED as i32, WSAENOTCONN] {
            assert_eq!(after(gone), Accept::Again, "{gone}");
        }
        for shortage in [WSAEMFILE, WSAENOBUFS] {
            assert!(matches!(after(shortage), Accept::After(_)), "{shortage}");
        }
        assert_eq!(context.snapshot().accept_errors, 6);
    }
}
