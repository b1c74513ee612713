//! The socket of a connection up to its handshake: its options, its source, and the connect that begins.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use mio::{Registry, Token};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::socket::INTEREST;
use super::target::bind_address;
use crate::plan::Profile;
use crate::sys::{self, advice};
use crate::transport::Endpoint;

/// A connection that answers none of this many keep-alive probes is dead. Windows sends ten: it knows TCP_KEEPCNT only
/// since Windows 10, version 1703, and Wine does not know it.
#[cfg(not(windows))]
const KEEPALIVE_PROBES: u32 = 3;

/// Where a connection comes from, as far as it is not left to the system, and where it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'d> {
    pub(super) source: Option<IpAddr>,
    pub(super) source_port: Option<u16>,
    pub(super) target: &'d Endpoint,
}

/// A connect that has begun.
pub(super) enum Begun {
    /// The wait reports the end of the handshake.
    Handshake(TcpStream),
    /// The first write sends the SYN (Fast Open), so it can be written at once.
    WithFirstWrite(TcpStream),
}

/// Begins to connect, and has the wait report the end of the handshake under this token.
///
/// # Errors
/// The system's. `WouldBlock`: the queue of a Unix domain socket's listener is full (connect(2), EAGAIN).
pub(super) fn begin_connect(
    registry: &Registry,
    token: Token,
    route: Route<'_>,
    profile: &Profile,
) -> io::Result<Begun> {
    let (socket, is_connected) = match route.target {
        Endpoint::Tcp(target) => begin_tcp(*target, route, profile)?,
        Endpoint::Unix(_) => (connect_unix(route.target, profile)?, true),
        Endpoint::Vsock { .. } => begin_vsock(route.target, profile)?,
    };
    let mut stream = TcpStream::from_std(socket.into());
    registry.register(&mut stream, token, INTEREST)?;
    Ok(if is_connected && profile.fast_open { Begun::WithFirstWrite(stream) } else { Begun::Handshake(stream) })
}

/// A Unix domain socket connects at once, or not at all. On Unix any stream socket can stand in a `TcpStream`: it is a
/// descriptor, and only calls that all of them know are made.
fn connect_unix(target: &Endpoint, profile: &Profile) -> io::Result<Socket> {
    let (socket, address) = target.socket()?;
    socket.set_nonblocking(true)?;
    set_buffers(&socket, profile)?;
    socket.connect(&address)?;
    Ok(socket)
}

/// A socket of vsock, and whether it is connected already. It has one buffer, that of what it receives: the sender may
/// send as much as fits there.
fn begin_vsock(target: &Endpoint, profile: &Profile) -> io::Result<(Socket, bool)> {
    let (socket, address) = target.socket()?;
    socket.set_nonblocking(true)?;
    // The kernel's own limit is not to end the connect before that of the load does.
    sys::set_vsock_connect_timeout(&socket, profile.connect_timeout)?;
    if let Some(bytes) = profile.rcvbuf {
        sys::set_vsock_buffer(&socket, bytes)?;
    }
    connected_or_begun(socket, &address)
}

/// A socket of TCP, and whether it is connected already.
fn begin_tcp(target: SocketAddr, route: Route<'_>, profile: &Profile) -> io::Result<(Socket, bool)> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let SocketAddr::V6(target) = target
        && target.ip().to_ipv4_mapped().is_some()
    {
        // Windows, and some settings of Linux, keep such a socket from IPv4 (RFC 3493, 5.3).
        socket.set_only_v6(false)?;
    }
    set_options(&socket, profile)?;
    bind(&socket, route, target)?;
    connected_or_begun(socket, &target.into())
}

fn connected_or_begun(socket: Socket, address: &SockAddr) -> io::Result<(Socket, bool)> {
    match socket.connect(address) {
        Ok(()) => Ok((socket, true)),
        Err(error) if sys::is_connect_in_progress(&error) => Ok((socket, false)),
        Err(error) => Err(error),
    }
}

/// The window scale and the MSS go with the SYN, so all options are set before it.
fn set_options(socket: &Socket, profile: &Profile) -> io::Result<()> {
    socket.set_tcp_nodelay(profile.nodelay)?;
    set_buffers(socket, profile)?;
    if let Some(bytes) = profile.mss {
        sys::limit_segments(socket, bytes)?;
    }
    if let Some(time) = profile.keepalive {
        let probes = TcpKeepalive::new().with_time(time).with_interval(time);
        #[cfg(not(windows))]
        let probes = probes.with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&probes)?;
    }
    if profile.fast_open {
        sys::open_fast(socket)?;
    }
    Ok(())
}

fn set_buffers(socket: &Socket, profile: &Profile) -> io::Result<()> {
    if let Some(bytes) = profile.sndbuf {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = profile.rcvbuf {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}

fn bind(socket: &Socket, route: Route<'_>, target: SocketAddr) -> io::Result<()> {
    let Route { source, source_port, .. } = route;
    let any = if target.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let mut address = bind_address(source.unwrap_or(any), target);
    match (source, source_port) {
        (None, None) => return Ok(()),
        (Some(_), None) => sys::choose_port_at_connect(SockRef::from(socket)),
        (_, Some(port)) => {
            sys::share_port_with_closed(socket)?;
            address.set_port(port);
        }
    }
    socket.bind(&address.into()).map_err(|error| bind_error(error, address))
}

/// A source that can't be bound is not a shortage: this machine has no such address, or denies the port.
fn bind_error(error: io::Error, source: SocketAddr) -> io::Error {
    let what = match error.kind() {
        io::ErrorKind::AddrNotAvailable => format!("this machine has no address {}: {error}", source.ip()),
        io::ErrorKind::PermissionDenied if source.port() != 0 => {
            let why = advice::HERE.bind_denied;
            format!("the source port {} is denied ({why}): {error}", source.port())
        }
        _ => return error,
    };
    io::Error::new(error.kind(), what)
}

/// How the handshake of this socket ended; `None`: it has not.
pub(super) fn handshake_result(stream: &TcpStream) -> Option<io::Result<()>> {
    match stream.take_error() {
        Ok(Some(error)) | Err(error) => Some(Err(error)),
        Ok(None) => match SockRef::from(stream).peer_addr() {
            Ok(_) => Some(Ok(())),
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Some(Err(error)),
            Err(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::LoadArgs;

    /// A socket with the options of this load that has begun to connect to the listener.
    fn begun(toml: &str, target: SocketAddr, source_port: Option<u16>) -> io::Result<TcpStream> {
        let args: LoadArgs = toml::from_str(toml).expect("the load of a test is well-formed");
        let profile = args.resolve("load").expect("the load of a test is valid");
        let poll = mio::Poll::new()?;
        let endpoint = Endpoint::Tcp(target);
        let route = Route { source: None, source_port, target: &endpoint };
        begin_connect(poll.registry(), Token(0), route, &profile).map(|begun| match begun {
            Begun::Handshake(stream) | Begun::WithFirstWrite(stream) => stream,
        })
    }

    #[test]
    fn keep_alive_and_the_source_port_are_as_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let target = listener.local_addr().expect("the listener is bound");
        // Bound for a moment, so that it is known to be free.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free");
        let stream = begun("keepalive = '7s'", target, Some(free.port())).expect("the connect begins");
        assert_eq!(stream.local_addr().expect("it is bound").port(), free.port());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("the option can be read"));
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_keepalive_time().expect("the option can be read").as_secs(), 7);
    }

    #[test]
    #[cfg(unix)]
    fn a_small_mss_holds_for_both_directions() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let target = listener.local_addr().expect("the listener is bound");
        let client = begun("mss = 256", target, None).expect("the connect begins");
        let (server, _) = listener.accept().expect("the client has connected");
        // The server sends no larger segments because the SYN asked for it; options of TCP take some of the bytes.
        let of = |socket: SockRef<'_>| socket.tcp_mss().expect("the option can be read");
        assert!(of(SockRef::from(&server)) <= 256 && of(SockRef::from(&client)) <= 256);
    }
}
