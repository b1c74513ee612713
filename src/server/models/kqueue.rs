//! `kqueue` (macOS and the BSDs): the kernel keeps a list of filters and returns those that have something to say.
//!
//! **Mechanism.** A *filter* is a question about a number: can this descriptor be read (EVFILT_READ), can it be written
//! to (EVFILT_WRITE), has this process ended, has this time passed. `kevent` takes a list of changes to the filters and
//! returns those that have fired. As with epoll, the cost depends on how many sockets are ready and not on how many are
//! open; it was there first (FreeBSD 4.1).
//!
//! What is different from epoll:
//! - Reading and writing are two filters, with an event each. So a socket that is ready for both is returned twice, and
//!   the first of its turns may have closed it.
//! - An event tells more: how many bytes wait, or how many connections wait at a listener. EV_EOF says that the other
//!   side has ended, while `data` bytes may still wait before that end.
//! - One call may change many filters and wait. Here each change is a call of its own: interest changes rarely, and a
//!   change to a socket that was closed meanwhile would fail the wait.
//! - Closing a descriptor takes its filters out, however many duplicates there are.
//!
//! Level-triggered, as without EV_CLEAR: a filter fires in each call for as long as its answer is yes.
//!
//! **Drawbacks.** Not on Linux. Two filters where one socket is watched for both.
//!
//! **Limit.** None that matters: descriptors, and memory in the kernel for the filters.
//!
//! Source: kqueue(2), kevent(2); J. Lemon, 'Kqueue: a generic and scalable event notification facility' (2001).

#![expect(unsafe_code, reason = "filters hold descriptors without a borrow")]

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::kqueue::{Event, EventFilter, EventFlags, kevent, kqueue};
use rustix::io::Errno;
use socket2::SockRef;

use crate::server::Context;
use crate::server::readiness::connection::{Interest, Ready};
use crate::server::readiness::event_loop::{self, LISTENER, Selector, Token};
use crate::server::wait::Waker;
use crate::server::wait::self_pipe::SelfPipe;

/// Events that one wait may return.
const EVENTS_PER_WAIT: usize = 256;
/// The pipe's token.
const WAKE_TOKEN: usize = usize::MAX;

const NO_INTEREST: Interest = Interest { read: false, write: false };

pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    event_loop::run::<Kqueue>(listener, context)
}

/// A kernel queue, and what its last wait returned.
struct Kqueue {
    kqueue: OwnedFd,
    pipe: Arc<SelfPipe>,
    /// By token: the filters that the socket has.
    interests: Vec<Interest>,
    events: Vec<Event>,
    /// Events that were dealt with.
    done: usize,
}

impl Selector for Kqueue {
    fn new() -> io::Result<(Kqueue, Waker)> {
        let pipe = Arc::new(SelfPipe::new()?);
        let of_waker = Arc::clone(&pipe);
        let events = Vec::with_capacity(EVENTS_PER_WAIT);
        let selector = Kqueue { kqueue: kqueue()?, pipe: Arc::clone(&pipe), interests: Vec::new(), events, done: 0 };
        let filter = EventFilter::Read(pipe.as_fd().as_raw_fd());
        // SAFETY: the pipe is open as long as the queue, since both belong to `selector`.
        unsafe { selector.change(filter, EventFlags::ADD, WAKE_TOKEN) }?;
        Ok((selector, Arc::new(move || of_waker.wake())))
    }

    unsafe fn register(&mut self, token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()> {
        if self.interests.len() <= token {
            self.interests.resize(token + 1, NO_INTEREST);
        }
        self.interests[token] = NO_INTEREST;
        self.modify(token, socket, interest)
    }

    fn modify(&mut self, token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()> {
        let descriptor = socket.as_fd().as_raw_fd();
        let before = std::mem::replace(&mut self.interests[token], interest);
        let filters = [
            (before.read, interest.read, EventFilter::Read(descriptor)),
            (before.write, interest.write, EventFilter::Write(descriptor)),
        ];
        for (had, wants, filter) in filters {
            if had != wants {
                let flags = if wants { EventFlags::ADD } else { EventFlags::DELETE };
                // SAFETY: the socket is registered. It stays open until it is deregistered, and its close takes the
                // filters out.
                unsafe { self.change(filter, flags, token) }?;
            }
        }
        Ok(())
    }

    /// Only the listener, which may be registered again. Closing a connection takes its filters out, which saves calls.
    fn deregister(&mut self, token: Token, socket: SockRef<'_>) {
        if token == LISTENER {
            // It fails only for a socket that has no filters.
            let _ = self.modify(token, socket, NO_INTEREST);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        self.done = 0;
        // SAFETY: no filter is changed.
        match unsafe { kevent(&self.kqueue, &[], spare_capacity(&mut self.events), timeout) } {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// The second event of a socket may come after its first has closed it. Its token is in no use then: connections
    /// are registered only before a wait.
    fn next_ready(&mut self) -> Option<(Token, Ready)> {
        loop {
            let event = self.events.get(self.done)?;
            self.done += 1;
            let token = event.udata().addr();
            if token != WAKE_TOKEN {
                return Some((token, ready(event.filter(), event.flags())));
            }
            self.pipe.clear();
        }
    }
}

impl Kqueue {
    /// Adds or takes out one filter.
    ///
    /// # Safety
    /// The descriptor of the filter stays open as long as the filter is there.
    unsafe fn change(&self, filter: EventFilter, flags: EventFlags, token: Token) -> io::Result<()> {
        let no_room: &mut [Event] = &mut [];
        let change = Event::new(filter, flags, ptr::without_provenance_mut(token));
        // SAFETY: the caller guarantees the descriptor. Without room for events the call does not wait, and an error of
        // the change is its own.
        unsafe { kevent(&self.kqueue, &[change], no_room, None) }?;
        Ok(())
    }
}

fn ready(filter: EventFilter, flags: EventFlags) -> Ready {
    let reads = matches!(filter, EventFilter::Read(_));
    // EV_EOF of the read filter is the peer's FIN, and the bytes before it are still there. A receive tells all.
    Ready { read: reads, write: !reads, hangup: flags.intersects(EventFlags::EOF | EventFlags::ERROR) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    const READ: Interest = Interest { read: true, write: false };
    const WRITE: Interest = Interest { read: false, write: true };
    const BOTH: Interest = Interest { read: true, write: true };

    fn found(kqueue: &mut Kqueue) -> Vec<(Token, Ready)> {
        kqueue.wait(Some(Duration::ZERO)).expect("a wait");
        let mut found: Vec<_> = std::iter::from_fn(|| kqueue.next_ready()).collect();
        found.sort_unstable_by_key(|(token, ready)| (*token, ready.write));
        found
    }

    #[test]
    fn each_filter_reports_for_as_long_as_it_is_wanted() {
        let (mut kqueue, waker) = Kqueue::new().expect("a queue");
        let sockets = [(); 3].map(|()| UdpSocket::bind(("127.0.0.1", 0)).expect("a socket"));
        for (token, socket) in sockets.iter().enumerate() {
            // SAFETY: the sockets outlive the last wait.
            unsafe { kqueue.register(token, SockRef::from(socket), READ) }.expect("it has filters");
        }
        waker();
        assert!(found(&mut kqueue).is_empty(), "the pipe is not reported");
        let address = sockets[1].local_addr().expect("bound");
        sockets[0].send_to(&[1], address).expect("it is sent");
        let (read, write) = (Ready { read: true, ..Ready::default() }, Ready { write: true, ..Ready::default() });
        for _ in 0..2 {
            assert_eq!(found(&mut kqueue), [(1, read)], "as long as it is ready");
        }
        kqueue.modify(1, SockRef::from(&sockets[1]), BOTH).expect("it has filters");
        kqueue.modify(2, SockRef::from(&sockets[2]), WRITE).expect("it has filters");
        assert_eq!(found(&mut kqueue), [(1, read), (1, write), (2, write)]);
        kqueue.modify(1, SockRef::from(&sockets[1]), NO_INTEREST).expect("it has filters");
        kqueue.deregister(LISTENER, SockRef::from(&sockets[0]));
        assert_eq!(found(&mut kqueue), [(2, write)]);
    }
}
