//! `epoll` (Linux): the kernel keeps the list of sockets and returns those that are ready.
//!
//! **Mechanism.** `select` and `poll` hand the whole list over at each call, and the kernel looks at every entry. Here
//! each socket is registered once (`epoll_ctl`); the kernel hangs it on a ready list when something happens to it, and
//! `epoll_wait` returns that list: its cost is that of what is ready, not of what is open.
//!
//! Level-triggered: a socket that is still ready is returned again. So a short read needs no second call to see that
//! nothing is left, and a connection that has used up its share is found again by the next wait. What is waited for is
//! changed (`EPOLL_CTL_MOD`) only when it changes: a round trip is one `epoll_wait`, one `recv`, one `send`.
//!
//! **Drawbacks.** Linux alone. A system call for each change of interest. It reports descriptions, not descriptors: a
//! duplicated descriptor keeps reporting after its close. It says that a call would not block, and the call is still to
//! be made: one that completes operations (io-uring, IOCP) saves that.
//!
//! **Limit.** None that matters: descriptors, and `/proc/sys/fs/epoll/max_user_watches`.
//!
//! Source: epoll(7), epoll_ctl(2), epoll_wait(2), eventfd(2).

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use slab::Slab;

use crate::server::context::{Context, Phase};
use crate::server::readiness::connection::{Connection, Interest, Ready, Turn};
use crate::server::readiness::crew::{self, Worker};
use crate::server::readiness::timespec;

/// Events taken over in one wait.
const EVENTS: usize = 256;
/// What the events of the eventfd and of the listener are known by; those of a connection by its key.
const WAKE: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    crew::run(listener, context, serve)
}

fn serve(worker: &mut Worker) -> io::Result<()> {
    let mut sockets = Sockets::new()?;
    let wake = Arc::clone(&sockets.wake);
    worker.ready(move || {
        // It fails only when the counter is full, and then the wait is interrupted already.
        let _ = rustix::io::write(&wake, &1u64.to_ne_bytes());
    });
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
    loop {
        for connection in worker.adopt() {
            sockets.add(connection);
        }
        match worker.phase() {
            Phase::Run => {}
            Phase::Drain if sockets.connections.is_empty() && worker.is_done() => return Ok(()),
            Phase::Drain => {}
            Phase::Abort => {
                sockets.connections.drain().for_each(Connection::abort);
                return Ok(());
            }
        }
        sockets.watch_listener(worker)?;

        events.clear();
        let timeout = worker.timeout().map(timespec);
        match epoll::wait(&sockets.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }

        for event in &events {
            match event.data.u64() {
                WAKE => {
                    // Whatever the counter says: the loop looks at everything that a wake can mean.
                    let _ = rustix::io::read(&sockets.wake, &mut [0; 8]);
                }
                LISTENER => worker.accept(),
                key => sockets.turn(key as usize, event.flags, worker),
            }
        }
        if let Some(now) = worker.sweep_due() {
            sockets.connections.retain(|_, connection| !connection.is_idle(now));
        }
    }
}

/// One worker's epoll instance and what is registered there.
struct Sockets {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    /// The listener is registered; and whether to be watched.
    listener: Option<bool>,
    /// As large as the most connections that this worker ever had; a table by descriptor would be, in each worker, as
    /// large as the highest descriptor of the process. A key that was given back is given out again only before the
    /// next wait, when no event for the old one is left.
    connections: Slab<Connection>,
}

impl Sockets {
    fn new() -> io::Result<Sockets> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Sockets { epoll, wake: Arc::new(wake), listener: None, connections: Slab::new() })
    }

    /// Watches the listener, or stops for a moment. A closed one has left the instance by itself.
    fn watch_listener(&mut self, worker: &Worker) -> io::Result<()> {
        let Some(listener) = worker.listener() else {
            self.listener = None;
            return Ok(());
        };
        let listening = worker.listening().is_some();
        let flags = if listening { EventFlags::IN } else { EventFlags::empty() };
        match self.listener.replace(listening) {
            None => epoll::add(&self.epoll, listener, EventData::new_u64(LISTENER), flags)?,
            Some(before) if before != listening => {
                epoll::modify(&self.epoll, listener, EventData::new_u64(LISTENER), flags)?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Registers a connection. One that can't be (max_user_watches) is closed.
    fn add(&mut self, connection: Connection) {
        let entry = self.connections.vacant_entry();
        if epoll::add(&self.epoll, connection.stream(), data(entry.key()), flags(connection.interest())).is_ok() {
            entry.insert(connection);
        } else {
            connection.abort();
        }
    }

    fn turn(&mut self, key: usize, events: EventFlags, worker: &mut Worker) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let ready = Ready {
            read: events.contains(EventFlags::IN),
            write: events.contains(EventFlags::OUT),
            hangup: events.intersects(EventFlags::HUP | EventFlags::ERR),
        };
        let keep = match connection.turn(ready, &mut worker.pool) {
            Turn::Keep => true,
            Turn::Watch(interest) => {
                epoll::modify(&self.epoll, connection.stream(), data(key), flags(interest)).is_ok()
            }
            Turn::Close => false,
        };
        if !keep {
            // The last descriptor of the socket: its close takes it out of the instance.
            drop(self.connections.remove(key));
        }
    }
}

fn data(key: usize) -> EventData {
    EventData::new_u64(key as u64)
}

fn flags(interest: Interest) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, interest.read);
    flags.set(EventFlags::OUT, interest.write);
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Options;
    use std::net::TcpStream;

    #[test]
    fn a_worker_keeps_room_for_its_connections_and_not_for_all_descriptors() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let high = rustix::io::fcntl_dupfd_cloexec(&stream, 1000).expect("fewer descriptors are allowed nowhere");
        let context = Arc::new(Context::new(Options::default(), std::sync::mpsc::channel().0));
        let mut sockets = Sockets::new().expect("descriptors");
        sockets.add(Connection::new(high.into(), &context).expect("it is the first"));
        assert_eq!(sockets.connections.len(), 1);
        assert!(sockets.connections.capacity() < 100, "{}", sockets.connections.capacity());
    }
}
