//! Event loops that lose an event (Linux): what they forget shows only under the load of one case.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};

use super::{failed, would_block};

/// Starts a server with all its connections on one thread.
fn event_loop(serve: impl FnOnce(TcpListener) -> io::Result<()> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    listener.set_nonblocking(true).expect("it can be non-blocking");
    thread::spawn(move || serve(listener));
    address
}

/// A connection, and the bytes that its socket did not take.
struct Connection {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, unsent: Vec::new() })
    }

    /// Sends what it can. Returns whether nothing is left.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(error) if would_block(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// What a connection waits for next.
enum Next {
    Arm(EventFlags),
    /// The defect: no event is armed.
    Nothing,
    End,
}

/// One-shot events. The handler of a send that was blocked reads on once it has drained, but arms no event for the next
/// bytes.
fn forget_after_a_drained_send(connection: &mut Connection, buffer: &mut [u8]) -> io::Result<Next> {
    let has_drained = !connection.unsent.is_empty();
    if !connection.flush()? {
        return Ok(Next::Arm(EventFlags::OUT));
    }
    loop {
        match connection.stream.read(buffer) {
            Ok(0) => {
                connection.stream.shutdown(Shutdown::Write)?;
                return Ok(Next::End);
            }
            Ok(n) => connection.unsent.extend_from_slice(&buffer[..n]),
            Err(error) if would_block(&error) && has_drained => return Ok(Next::Nothing),
            Err(error) if would_block(&error) => return Ok(Next::Arm(EventFlags::IN)),
            Err(error) => return Err(error),
        }
        if !connection.flush()? {
            return Ok(Next::Arm(EventFlags::OUT));
        }
    }
}

fn serve_one_shot(listener: TcpListener) -> io::Result<()> {
    let epoll: OwnedFd = epoll::create(CreateFlags::CLOEXEC)?;
    let listens = u64::MAX;
    epoll::add(&epoll, &listener, EventData::new_u64(listens), EventFlags::IN)?;
    let (mut connections, mut buffer) = (HashMap::new(), vec![0; 1 << 16]);
    let mut events: Vec<Event> = Vec::with_capacity(64);
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            let id = event.data.u64();
            if id == listens {
                while let Ok((stream, _)) = listener.accept() {
                    let id = stream.as_raw_fd() as u64;
                    epoll::add(&epoll, &stream, EventData::new_u64(id), EventFlags::IN | EventFlags::ONESHOT)?;
                    connections.insert(id, Connection::new(stream)?);
                }
                continue;
            }
            let Some(connection) = connections.get_mut(&id) else { continue };
            match forget_after_a_drained_send(connection, &mut buffer) {
                Ok(Next::Arm(flags)) => {
                    epoll::modify(&epoll, &connection.stream, EventData::new_u64(id), flags | EventFlags::ONESHOT)?;
                }
                Ok(Next::Nothing) => {}
                Ok(Next::End) | Err(_) => drop(connections.remove(&id)),
            }
        }
    }
}

#[test]
fn a_send_that_drains_and_arms_no_event_fails_where_back_pressure_comes_again() {
    assert_eq!(failed(event_loop(serve_one_shot), &["1.5", "2.4"]), ["2.4"]);
}

/// Connections that a round serves.
const BUDGET: usize = 32;

/// Reads in one round and sends in the next one. Connections beyond the budget of a round lose their interest in
/// writes.
fn serve_within_a_budget(listener: TcpListener) -> io::Result<()> {
    let (mut connections, mut buffer): (Vec<(Connection, bool)>, _) = (Vec::new(), vec![0; 1 << 14]);
    loop {
        let ready: Vec<PollFlags> = {
            let mut watched = vec![PollFd::new(&listener, PollFlags::IN)];
            watched.extend(connections.iter().map(|(connection, sends)| {
                PollFd::new(&connection.stream, if *sends { PollFlags::OUT } else { PollFlags::IN })
            }));
            poll(&mut watched, None)?;
            watched.iter().map(PollFd::revents).collect()
        };
        let mut budget = BUDGET;
        let mut ready_connections = ready[1..].iter();
        connections.retain_mut(|(connection, sends)| {
            let is_ready = ready_connections.next().is_some_and(|flags| !flags.is_empty());
            if !is_ready {
                return true;
            }
            if budget == 0 {
                *sends = false;
                return true;
            }
            budget -= 1;
            if *sends {
                return connection.flush().is_ok_and(|all| {
                    *sends = !all;
                    true
                });
            }
            match connection.stream.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    connection.unsent.extend_from_slice(&buffer[..n]);
                    *sends = true;
                    true
                }
                _ => false,
            }
        });
        while let Ok((stream, _)) = listener.accept() {
            connections.push((Connection::new(stream)?, false));
        }
    }
}

#[test]
fn a_round_that_forgets_those_beyond_its_budget_fails_where_many_are_busy() {
    assert_eq!(failed(event_loop(serve_within_a_budget), &["5.1", "5.5"]), ["5.5"]);
}
