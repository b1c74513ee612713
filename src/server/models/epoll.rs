//! `epoll` (Linux): the kernel keeps the list of sockets and returns those that are ready.
//!
//! **Mechanism.** `select` and `poll` hand the whole list over at each call, and the kernel looks at every entry. Here
//! each socket is registered once (`epoll_ctl`). When something happens to it the kernel puts it on a ready list, and
//! `epoll_wait` returns that list: the cost depends on how many sockets are ready, not on how many are open.
//!
//! Level-triggered: a socket that is still ready is returned again. So a short read needs no second call to see that
//! nothing is left, and the next wait finds a connection again that has used up its share. The events that are waited
//! for are modified (`EPOLL_CTL_MOD`) only when they change: a round trip is one `epoll_wait`, one `recv`, one `send`.
//!
//! **Drawbacks.** Linux only. A system call for each change of interest. It reports descriptions, not descriptors: a
//! duplicated descriptor keeps reporting after its close. It says that a call would not block, and the call must still
//! be made; models that complete operations (io-uring, IOCP) save that.
//!
//! **Limit.** None that matters: descriptors, and `/proc/sys/fs/epoll/max_user_watches`.
//!
//! Source: epoll(7), epoll_ctl(2), epoll_wait(2), eventfd(2).

#![expect(unsafe_code, reason = "registering a socket is unsafe for every selector")]

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use socket2::SockRef;

use crate::server::Context;
use crate::server::readiness::connection::{Interest, Ready};
use crate::server::readiness::event_loop::{self, LISTENER, Selector, Token};
use crate::server::readiness::timespec;
use crate::server::wait::Waker;
use crate::server::wait::eventfd::EventFd;

/// Events that one wait may return.
const EVENTS_PER_WAIT: usize = 256;
/// The eventfd's token.
const WAKE_TOKEN: u64 = u64::MAX;

pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    event_loop::run::<Epoll>(listener, context)
}

/// An epoll instance, and what its last wait returned.
struct Epoll {
    epoll: OwnedFd,
    wake: Arc<EventFd>,
    events: Vec<Event>,
    /// Events that were dealt with.
    done: usize,
}

impl Selector for Epoll {
    fn new() -> io::Result<(Epoll, Waker)> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = Arc::new(EventFd::new()?);
        epoll::add(&epoll, wake.as_fd(), EventData::new_u64(WAKE_TOKEN), EventFlags::IN)?;
        let of_waker = Arc::clone(&wake);
        let events = Vec::with_capacity(EVENTS_PER_WAIT);
        Ok((Epoll { epoll, wake, events, done: 0 }, Arc::new(move || of_waker.wake())))
    }

    unsafe fn register(&mut self, token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, &*socket, data(token), flags(interest))?)
    }

    fn modify(&mut self, token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, &*socket, data(token), flags(interest))?)
    }

    /// Only the listener. Closing the last descriptor of a connection takes it out of the instance, which saves a call.
    fn deregister(&mut self, token: Token, socket: SockRef<'_>) {
        if token == LISTENER {
            // It fails only for a socket that is not registered.
            let _ = epoll::delete(&self.epoll, &*socket);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        self.done = 0;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.map(timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// A connection has one event in each wait, and is closed only while that event is handled. So no event of a closed
    /// connection remains.
    fn next_ready(&mut self) -> Option<(Token, Ready)> {
        loop {
            let event = self.events.get(self.done)?;
            self.done += 1;
            let (token, flags) = (event.data.u64(), event.flags);
            if token != WAKE_TOKEN {
                let hangup = flags.intersects(EventFlags::HUP | EventFlags::ERR);
                let (read, write) = (flags.contains(EventFlags::IN), flags.contains(EventFlags::OUT));
                return Some((token as Token, Ready { read, write, hangup }));
            }
            self.wake.clear();
        }
    }
}

fn data(token: Token) -> EventData {
    EventData::new_u64(token as u64)
}

fn flags(interest: Interest) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, interest.read);
    flags.set(EventFlags::OUT, interest.write);
    flags
}
