//! The bare epoll client: what a client costs that sends and receives and looks at nothing.
//!
//! One thread, one buffer for all connections, edge-triggered epoll(7), so that no call is spent on changing what is
//! waited for. Each connection keeps `pipeline` messages in flight and takes any bytes that come back for its echo. It
//! is the reference for `blast`, and the load under which the servers are compared.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use super::workload::Workload;

/// As the engine's.
const BUFFER: usize = 128 << 10;
const EVENTS: usize = 256;
/// Connections that are opened between two waits.
const OPENS: usize = 32;

/// What it says of itself at its end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

struct Connection {
    stream: TcpStream,
    /// Bytes that may be sent now: of messages that have begun.
    due: usize,
    /// Of the current message, not yet echoed.
    missing: usize,
    /// What the wait has said, until a call shows that it is no longer so.
    readable: bool,
    writable: bool,
}

/// Loads `target` until standard input ends, then prints its [`Report`] as a line of JSON.
pub(crate) fn run(target: SocketAddr, workload: &Workload) -> io::Result<()> {
    echo_tester::sys::raise_descriptor_limit();
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let stdin = io::stdin();
    epoll::add(&epoll, &stdin, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    let mut client = Client {
        workload,
        epoll,
        connections: Vec::with_capacity(workload.conns),
        events: Vec::with_capacity(EVENTS),
        buffer: vec![0x5a; BUFFER],
        report: Report { bytes_sent: 0, bytes_received: 0 },
    };
    // Each begins when it is open, as the engine's do. If all began at once, they would have their turns for ever after
    // in the order in which the system laid them out in memory, and thousands would cost the server less than those do
    // that come as they please.
    let mut goes_on = true;
    while goes_on && client.connections.len() < workload.conns {
        for _ in client.connections.len()..workload.conns.min(client.connections.len() + OPENS) {
            client.open(target)?;
        }
        goes_on = client.serve(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    }
    while goes_on {
        goes_on = client.serve(None)?;
    }
    writeln!(io::stdout(), "{}", serde_json::to_string(&client.report)?)
}

struct Client<'w> {
    workload: &'w Workload,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    events: Vec<Event>,
    /// What is sent, and where what comes is received.
    buffer: Vec<u8>,
    report: Report,
}

impl Client<'_> {
    /// Opens one more connection, and begins it.
    fn open(&mut self, target: SocketAddr) -> io::Result<()> {
        let stream = TcpStream::connect_timeout(&target, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        // The close is a reset: ten thousand ports in TIME_WAIT would be missing in the next round.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        let events = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&self.epoll, &stream, EventData::new_u64(self.connections.len() as u64), events)?;
        let (due, missing) = (self.workload.size * self.workload.pipeline, self.workload.size);
        let mut connection = Connection { stream, due, missing, readable: false, writable: true };
        while connection.send(self.workload, &self.buffer, &mut self.report)? {}
        self.connections.push(connection);
        Ok(())
    }

    /// Waits once, and gives those that it names their turns; whether to go on.
    fn serve(&mut self, timeout: Option<&Timespec>) -> io::Result<bool> {
        self.events.clear();
        epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout)?;
        for event in &self.events {
            let (index, flags) = (event.data.u64(), event.flags);
            if index == u64::MAX {
                return Ok(false);
            }
            let connection = &mut self.connections[index as usize];
            connection.readable |= flags.contains(EventFlags::IN);
            connection.writable |= flags.contains(EventFlags::OUT);
            // One of each in turn: who first receives all and then sends all drives the bytes out of the cache.
            while connection.turn(self.workload, &mut self.buffer, &mut self.report)? {}
        }
        Ok(true)
    }
}

impl Connection {
    /// Receives once and sends once; whether one of them moved anything.
    fn turn(&mut self, workload: &Workload, buffer: &mut [u8], report: &mut Report) -> io::Result<bool> {
        let received = self.readable && self.receive(workload, buffer, report)?;
        Ok(self.send(workload, buffer, report)? || received)
    }

    /// Receives once; each message that is back lets another begin. A short receive has emptied the socket.
    fn receive(&mut self, workload: &Workload, buffer: &mut [u8], report: &mut Report) -> io::Result<bool> {
        let mut n = match (&self.stream).read(buffer) {
            Ok(0) => return Err(io::Error::other("the server has closed a connection")),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.readable = n == buffer.len();
        report.bytes_received += n as u64;
        let moved = n > 0;
        while n >= self.missing {
            n -= self.missing;
            self.missing = workload.size;
            self.due += workload.size;
        }
        self.missing -= n;
        Ok(moved)
    }

    /// Sends a fragment, if one is due and the socket takes it; whether it did.
    fn send(&mut self, workload: &Workload, bytes: &[u8], report: &mut Report) -> io::Result<bool> {
        if self.due == 0 || !self.writable {
            return Ok(false);
        }
        // A fragment ends with its message, wherever the last call stopped.
        let of_message = (self.due - 1) % workload.size + 1;
        let fragment = of_message.min(workload.fragment);
        match (&self.stream).write(&bytes[..fragment]) {
            Ok(n) => {
                self.writable = n == fragment;
                self.due -= n;
                report.bytes_sent += n as u64;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
