//! The bare epoll echo pump: what an echo server costs when it does nothing but echo.
//!
//! One thread, one buffer for all connections, level-triggered epoll(7): receive, send the same bytes. No statistics,
//! no limit of a connection, no half-close beyond closing, no stopping in order. Only what a socket does not take at
//! once is kept, since it would not be an echo otherwise. It is the reference for the models of `serve`, and what the
//! clients are measured against. It must not become a good server.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use socket2::{Domain, Protocol, Socket, Type};

/// The same as `serve --buffer` has by default.
const BUFFER: usize = 64 << 10;
/// As `serve --backlog`.
const BACKLOG: i32 = 4096;
const EVENTS: usize = 256;
/// Receives of a connection in a row: one alone lets bytes lie in its queue until they are cold.
const IN_A_ROW: usize = 8;

struct Connection {
    stream: TcpStream,
    /// Received, and not taken by the socket.
    rest: Vec<u8>,
}

/// Listens on a free port, says where on a line of its own, and echoes until standard input ends.
pub(crate) fn run() -> io::Result<()> {
    echo_tester::sys::raise_descriptor_limit();
    let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    listener.listen(BACKLOG)?;
    listener.set_nonblocking(true)?;
    let listener: std::net::TcpListener = listener.into();
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;

    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let stdin = io::stdin();
    let (of_listener, of_stdin) = (listener.as_raw_fd(), stdin.as_raw_fd());
    epoll::add(&epoll, &listener, data(of_listener), EventFlags::IN)?;
    epoll::add(&epoll, &stdin, data(of_stdin), EventFlags::IN)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            let fd = event.data.u64() as RawFd;
            if fd == of_stdin {
                return Ok(());
            }
            if fd == of_listener {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let fd = stream.as_raw_fd();
                    epoll::add(&epoll, &stream, data(fd), EventFlags::IN)?;
                    if connections.len() <= fd as usize {
                        connections.resize_with(fd as usize + 1, || None);
                    }
                    connections[fd as usize] = Some(Connection { stream, rest: Vec::new() });
                }
                continue;
            }
            let Some(connection) = &mut connections[fd as usize] else { continue };
            let had_rest = !connection.rest.is_empty();
            let has_rest = match connection.echo(&mut buffer) {
                Ok(has_rest) => has_rest,
                Err(_) => {
                    connections[fd as usize] = None;
                    continue;
                }
            };
            if had_rest != has_rest {
                let wanted = if has_rest { EventFlags::OUT } else { EventFlags::IN };
                epoll::modify(&epoll, &connection.stream, data(fd), wanted)?;
            }
        }
    }
}

impl Connection {
    /// Echoes what is there, within a share; whether something is left over. An error ends the connection, EOF among
    /// them.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        if !self.rest.is_empty() {
            let sent = send(&self.stream, &self.rest)?;
            self.rest.drain(..sent);
            return Ok(!self.rest.is_empty());
        }
        for _ in 0..IN_A_ROW {
            let n = match (&self.stream).read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                received => received?,
            };
            let sent = send(&self.stream, &buffer[..n])?;
            self.rest.extend_from_slice(&buffer[sent..n]);
            // A short receive has emptied the socket.
            if sent < n || n < buffer.len() {
                break;
            }
        }
        Ok(!self.rest.is_empty())
    }
}

fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        sent => sent,
    }
}

fn data(fd: RawFd) -> EventData {
    EventData::new_u64(fd as u64)
}
