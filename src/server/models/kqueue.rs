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

#[cfg(not(libkqueue))]
use rustix::buffer::spare_capacity;
#[cfg(not(libkqueue))]
use rustix::event::kqueue::{Event, EventFilter, EventFlags, kevent, kqueue};
use rustix::io::Errno;
use socket2::SockRef;

use crate::server::Context;
use crate::server::readiness::connection::{Interest, Ready};
use crate::server::readiness::event_loop::{self, LISTENER, Selector, Token};
use crate::server::wait::Waker;
use crate::server::wait::self_pipe::SelfPipe;
#[cfg(libkqueue)]
use crate::sys::libkqueue::{Event, EventFilter, EventFlags, kevent, kqueue, spare_capacity};

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
        // SAFETY: the caller guarantees the descriptor while the filter is there. rustix asks for it as long as the
        // queue lives; but a close takes the filters out, so none refers to a later descriptor of that number
        // (libkqueue keeps them: see there). Without room for events the call does not wait, and an error of the change
        // is its own.
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
    use crate::server::{CountersSnapshot, Options, Server};
    use std::ffi::c_int;
    use std::io::Write;
    use std::net::{Shutdown, TcpStream, UdpSocket};
    use std::os::unix::thread::JoinHandleExt;
    use std::thread;
    use std::time::Instant;

    const READ: Interest = Interest { read: true, write: false };
    const WRITE: Interest = Interest { read: false, write: true };
    const BOTH: Interest = Interest { read: true, write: true };
    const READABLE: Ready = Ready { read: true, write: false, hangup: false };
    const WRITABLE: Ready = Ready { read: false, write: true, hangup: false };

    fn found(kqueue: &mut Kqueue) -> Vec<(Token, Ready)> {
        kqueue.wait(Some(Duration::ZERO)).expect("a wait");
        let mut found: Vec<_> = std::iter::from_fn(|| kqueue.next_ready()).collect();
        found.sort_unstable_by_key(|(token, ready)| (*token, ready.write));
        found
    }

    fn register<'s>(kqueue: &mut Kqueue, token: Token, socket: impl Into<SockRef<'s>>, interest: Interest) {
        // SAFETY: each test keeps its sockets open until after its last wait, or closes one, which takes it out.
        unsafe { kqueue.register(token, socket.into(), interest) }.expect("it has filters");
    }

    /// A socket, of which a datagram waits to be received.
    fn readable() -> UdpSocket {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
        let address = socket.local_addr().expect("it is bound");
        socket.send_to(&[1], address).expect("it is sent");
        socket
    }

    /// The two ends of a connection.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        (listener.accept().expect("it has connected").0, client)
    }

    #[test]
    fn each_filter_reports_for_as_long_as_it_is_wanted() {
        let (mut kqueue, _waker) = Kqueue::new().expect("a queue");
        let silent = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
        let sockets = [readable(), readable(), silent];
        for (token, socket) in sockets.iter().enumerate() {
            register(&mut kqueue, token, socket, READ);
        }
        for _ in 0..2 {
            assert_eq!(found(&mut kqueue), [(0, READABLE), (1, READABLE)], "as long as it is ready");
        }
        kqueue.modify(1, SockRef::from(&sockets[1]), BOTH).expect("it has filters");
        kqueue.modify(2, SockRef::from(&sockets[2]), WRITE).expect("it has filters");
        assert_eq!(found(&mut kqueue), [(0, READABLE), (1, READABLE), (1, WRITABLE), (2, WRITABLE)]);
        kqueue.modify(1, SockRef::from(&sockets[1]), NO_INTEREST).expect("it has filters");
        kqueue.deregister(LISTENER, SockRef::from(&sockets[LISTENER]));
        assert_eq!(found(&mut kqueue), [(2, WRITABLE)]);
        register(&mut kqueue, LISTENER, &sockets[LISTENER], READ);
        assert_eq!(found(&mut kqueue), [(0, READABLE), (2, WRITABLE)]);
        kqueue.modify(2, SockRef::from(&sockets[1]), READ).expect_err("this socket has no filter to take out");
    }

    #[test]
    fn the_pipe_ends_a_wait_and_is_not_reported() {
        let (mut kqueue, waker) = Kqueue::new().expect("a queue");
        waker();
        kqueue.wait(None).expect("the pipe ends it");
        assert_eq!((kqueue.events.len(), kqueue.next_ready()), (1, None));
        assert_eq!(found(&mut kqueue), []);
        assert!(kqueue.events.is_empty(), "the pipe was not cleared, so the next wait would not wait");
    }

    #[test]
    fn the_end_of_a_connection_is_a_hangup() {
        let (mut kqueue, _waker) = Kqueue::new().expect("a queue");
        let (finished, mut its_client) = connection();
        register(&mut kqueue, 1, &finished, READ);
        its_client.write_all(&[1]).and_then(|()| its_client.shutdown(Shutdown::Write)).expect("it is connected");
        let hangup = |ready| Ready { hangup: true, ..ready };
        let begin = Instant::now();
        while found(&mut kqueue) != [(1, hangup(READABLE))] {
            assert!(begin.elapsed() < Duration::from_secs(10), "no hangup");
        }
        let (broken, its_client) = connection();
        register(&mut kqueue, 2, &broken, WRITE);
        crate::sys::close_with_reset(&its_client);
        drop(its_client);
        while found(&mut kqueue) != [(1, hangup(READABLE)), (2, hangup(WRITABLE))] {
            assert!(begin.elapsed() < Duration::from_secs(20), "no hangup");
        }
    }

    #[test]
    fn the_filters_of_a_closed_socket_are_gone_with_it() {
        let (mut kqueue, _waker) = Kqueue::new().expect("a queue");
        let mut descriptor = OwnedFd::from(readable());
        register(&mut kqueue, 1, &descriptor, BOTH);
        assert_eq!(found(&mut kqueue), [(1, READABLE), (1, WRITABLE)]);
        for interest in [WRITE, READ] {
            // It closes the socket, and gives its number to another one.
            rustix::io::dup2(readable(), &mut descriptor).expect("the number is given");
            assert_eq!(found(&mut kqueue), []);
            register(&mut kqueue, 2, &descriptor, interest);
            assert_eq!(found(&mut kqueue), [(2, Ready { read: interest.read, write: interest.write, hangup: false })]);
            kqueue.modify(2, SockRef::from(&descriptor), BOTH).expect("it has filters");
            assert_eq!(found(&mut kqueue), [(2, READABLE), (2, WRITABLE)]);
        }
    }

    #[test]
    fn sockets_that_one_wait_has_no_room_for_come_with_the_next() {
        crate::sys::raise_descriptor_limit();
        let (mut kqueue, _waker) = Kqueue::new().expect("a queue");
        let sockets: Vec<_> = std::iter::repeat_with(readable).take(EVENTS_PER_WAIT + 3).collect();
        for (token, socket) in sockets.iter().enumerate() {
            register(&mut kqueue, token, socket, READ);
        }
        for expected in [EVENTS_PER_WAIT, 3, 0] {
            let found = found(&mut kqueue);
            assert_eq!(found.len(), expected);
            for (token, _) in found {
                kqueue.modify(token, SockRef::from(&sockets[token]), NO_INTEREST).expect("it has filters");
            }
        }
    }

    #[test]
    fn the_second_event_of_a_socket_that_the_first_has_closed_is_for_nobody() {
        const SENT: usize = 8 << 20;
        // Both filters are there while some of it waits to be sent back and there is room for more.
        let options = Options { workers: 1, buffer: 2 * SENT, ..Options::default() };
        let server = Server::start_with(run, "kqueue", ([127, 0, 0, 1], 0).into(), options).expect("it starts");
        let begin = Instant::now();
        let until = |what: &str, holds: &dyn Fn(&CountersSnapshot) -> bool| {
            while !holds(&server.counters()) {
                assert!(begin.elapsed() < Duration::from_secs(60), "{what}: {:?}", server.counters());
                thread::yield_now();
            }
        };
        let mut client = TcpStream::connect(server.address()).expect("it listens");
        client.write_all(&vec![1; SENT]).expect("the server takes it all");
        until("all is received", &|counters| counters.bytes_in == SENT as u64);
        assert!(server.counters().bytes_out < SENT as u64, "the sockets took everything, so nothing waits");
        crate::sys::close_with_reset(&client);
        drop(client);
        until("it is closed", &|counters| counters.closed == 1);
        drop(TcpStream::connect(server.address()));
        until("the next client is served", &|counters| counters.closed == 2);
        let stopped = server.stop(Duration::from_secs(20));
        assert!(stopped.error.is_none() && !stopped.hung, "{stopped:?}");
    }

    #[test]
    fn a_signal_that_interrupts_a_wait_is_no_error() {
        extern "C" fn nothing(_: c_int) {}
        let nothing: extern "C" fn(c_int) = nothing;
        // SAFETY: the handler does nothing. Without one this signal is ignored, so no other test sends it.
        unsafe { libc::signal(libc::SIGURG, nothing as libc::sighandler_t) };
        let waiter = thread::spawn(|| {
            let (mut kqueue, _waker) = Kqueue::new().expect("a queue");
            let outcome = kqueue.wait(Some(Duration::from_secs(10)));
            (outcome.map_err(|error| error.kind()), kqueue.events.len())
        });
        while !waiter.is_finished() {
            // SAFETY: the thread was not joined.
            unsafe { libc::pthread_kill(waiter.as_pthread_t(), libc::SIGURG) };
            thread::yield_now();
        }
        assert_eq!(waiter.join().expect("it has not panicked"), (Ok(()), 0));
    }
}
