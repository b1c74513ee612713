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
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use super::by_descriptor::ByDescriptor;
use super::timespec;
use crate::server::context::{Context, Phase};
use crate::server::crew::{self, Worker};
use crate::server::reactor::{Connection, Interest, Ready, Turn};

/// Events taken over in one wait.
const EVENTS: usize = 256;

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
                sockets.connections.extract(|_| true).into_iter().for_each(Connection::abort);
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
            let fd = event.data.u64() as RawFd;
            if fd == sockets.wake.as_raw_fd() {
                // Whatever the counter says: the loop looks at everything that a wake can mean.
                let _ = rustix::io::read(&sockets.wake, &mut [0; 8]);
            } else if Some(fd) == sockets.listener {
                worker.accept();
            } else {
                sockets.turn(fd, event.flags, worker);
            }
        }
        if let Some(now) = worker.sweep_due() {
            drop(sockets.connections.extract(|connection| connection.is_idle(now)));
        }
    }
}

/// One worker's epoll instance and what is registered there, each under its descriptor's number.
struct Sockets {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    listener: Option<RawFd>,
    listening: bool,
    connections: ByDescriptor,
}

impl Sockets {
    fn new() -> io::Result<Sockets> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, data(wake.as_raw_fd()), EventFlags::IN)?;
        Ok(Sockets {
            epoll,
            wake: Arc::new(wake),
            listener: None,
            listening: false,
            connections: ByDescriptor::default(),
        })
    }

    /// Watches the listener, or stops for a moment. A closed one has left the instance by itself.
    fn watch_listener(&mut self, worker: &Worker) -> io::Result<()> {
        let Some(listener) = worker.listener() else {
            self.listener = None;
            return Ok(());
        };
        let fd = listener.as_raw_fd();
        let listening = worker.listening().is_some();
        let flags = if listening { EventFlags::IN } else { EventFlags::empty() };
        if self.listener.is_none() {
            epoll::add(&self.epoll, listener, data(fd), flags)?;
        } else if listening != self.listening {
            epoll::modify(&self.epoll, listener, data(fd), flags)?;
        }
        self.listener = Some(fd);
        self.listening = listening;
        Ok(())
    }

    /// Registers a connection. One that can't be (max_user_watches) is closed.
    fn add(&mut self, connection: Connection) {
        let stream = connection.stream();
        let flags = flags(connection.interest());
        if epoll::add(&self.epoll, stream, data(stream.as_raw_fd()), flags).is_ok() {
            self.connections.insert(connection);
        } else {
            connection.abort();
        }
    }

    fn turn(&mut self, fd: RawFd, events: EventFlags, worker: &mut Worker) {
        let Some(connection) = self.connections.get_mut(fd) else { return };
        let ready = Ready {
            read: events.contains(EventFlags::IN),
            write: events.contains(EventFlags::OUT),
            hangup: events.intersects(EventFlags::HUP | EventFlags::ERR),
        };
        let keep = match connection.turn(ready, &mut worker.pool) {
            Turn::Keep => true,
            Turn::Watch(interest) => epoll::modify(&self.epoll, connection.stream(), data(fd), flags(interest)).is_ok(),
            Turn::Close => false,
        };
        if !keep {
            // The last descriptor of the socket: its close takes it out of the instance.
            drop(self.connections.remove(fd));
        }
    }
}

fn data(fd: RawFd) -> EventData {
    EventData::new_u64(fd as u64)
}

fn flags(interest: Interest) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, interest.read);
    flags.set(EventFlags::OUT, interest.write);
    flags
}
