//! `wsapoll` (Windows): one call watches a list of sockets.
//!
//! **Mechanism.** WSAPoll is `poll` as Windows has it since Vista: an array of (socket, events wanted), into which the
//! call writes what it saw. There is no FD_SETSIZE, and the sets of `select` need not be copied. It was made so that
//! programs from Unix are easy to port, and it is not quite `poll`:
//!
//! - **Only POLLRDNORM, POLLRDBAND and POLLWRNORM may be asked for.** POLLPRI, POLLHUP or POLLERR among the wanted
//!   events is an error (WSAEINVAL), and the whole call fails; `poll` ignores them.
//! - **A FIN is POLLHUP,** with POLLRDNORM only if there are bytes before it. On Unix a FIN makes the socket readable,
//!   and POLLHUP means that both directions have ended. A program that looks for POLLIN alone never sees the end.
//! - **POLLHUP can't be masked.** After a FIN it is reported by each call, wanted or not. A connection that has the FIN
//!   and waits only for room to send makes a loop that never sleeps. So such a connection is left out of the list for
//!   [`MUTED`], and then tries to send.
//! - **A connect that failed was not reported at all** before Windows 10 2004, so that the call waited for ever (D.
//!   Stenberg, 'WSAPoll is broken'; curl and libuv keep away from it for that). A server does not connect.
//! - It watches sockets alone, no events and no pipes: `wake_socket` is what interrupts it.
//!
//! **Drawback and limit.** Each call costs O(connections), as `poll`.
//!
//! Source: Microsoft, 'WSAPoll function', 'WSAPOLLFD structure'.

#![expect(unsafe_code, reason = "neither std nor socket2 has WSAPoll")]

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use windows_sys::Win32::Networking::WinSock::{
    POLLERR, POLLHUP, POLLNVAL, POLLRDNORM, POLLWRNORM, SOCKET, SOCKET_ERROR, WSAPOLLFD, WSAPoll,
};

use crate::server::Context;
use crate::server::readiness::connection::{Interest, Ready};
use crate::server::readiness::event_loop::{self, Selector, Token};
use crate::server::readiness::retry::only_sends;
use crate::server::wait::Waker;
use crate::server::wait::wake_socket::WakeSocket;
use crate::sys::event::raw;

/// How long a connection is left out that has the FIN and no room to send.
const MUTED: Duration = Duration::from_millis(20);

pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    event_loop::run::<WsaPoll>(listener, context)
}

/// The sockets to be watched, and what the last call found.
struct WsaPoll {
    wake: Arc<WakeSocket>,
    /// By token. Each socket is registered, so it is open: see [`Selector::register`].
    watched: Vec<Option<WatchedSocket>>,
    /// Made for each call from the sockets that are not left out; the wake socket is the first. An array that is kept
    /// would be cheaper, but which sockets are left out changes with time.
    list: Vec<WSAPOLLFD>,
    /// By position in the list.
    tokens: Vec<Token>,
    /// Those that were left out, and whose time is over.
    due: Vec<Token>,
    /// Entries from here on were not searched yet.
    unsearched: usize,
}

#[derive(Clone, Copy)]
struct WatchedSocket {
    socket: SOCKET,
    interest: Interest,
    /// Until when it is left out.
    muted: Option<Instant>,
}

impl Selector for WsaPoll {
    fn new() -> io::Result<(WsaPoll, Waker)> {
        let wake = Arc::new(WakeSocket::new()?);
        let of_waker = Arc::clone(&wake);
        let poll =
            WsaPoll { wake, watched: Vec::new(), list: Vec::new(), tokens: Vec::new(), due: Vec::new(), unsearched: 0 };
        Ok((poll, Arc::new(move || of_waker.wake())))
    }

    unsafe fn register(&mut self, token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()> {
        if self.watched.len() <= token {
            self.watched.resize(token + 1, None);
        }
        self.watched[token] = Some(WatchedSocket { socket: raw(&*socket), interest, muted: None });
        Ok(())
    }

    fn modify(&mut self, token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()> {
        self.watched[token] = Some(WatchedSocket { socket: raw(&*socket), interest, muted: None });
        Ok(())
    }

    fn deregister(&mut self, token: Token, _socket: SockRef<'_>) {
        self.watched[token] = None;
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let first_due = self.ask();
        let until_due = first_due.map(|due| due.saturating_duration_since(Instant::now()));
        let limit = [timeout, until_due].into_iter().flatten().min();
        // SAFETY: the list is live and borrowed mutably, and has as many entries as its length says. Its sockets are
        // open: the wake socket is ours, and the others are registered, so the caller of `register` keeps them open.
        let result = unsafe { WSAPoll(self.list.as_mut_ptr(), self.list.len() as u32, milliseconds(limit)) };
        if result == SOCKET_ERROR {
            return Err(io::Error::last_os_error());
        }
        if self.list[0].revents != 0 {
            self.wake.clear();
        }
        self.unsearched = 1;
        if first_due.is_some() {
            self.end_mutes(Instant::now());
        }
        Ok(())
    }

    fn next_ready(&mut self) -> Option<(Token, Ready)> {
        while let Some(entry) = self.list.get(self.unsearched) {
            let (token, seen) = (self.tokens[self.unsearched], entry.revents);
            self.unsearched += 1;
            // None if it was deregistered since.
            let Some(watched) = self.watched[token].as_mut().filter(|_| seen != 0) else { continue };
            let ready = ready(seen);
            if ready.hangup && !ready.write && only_sends(watched.interest) {
                watched.muted = Some(Instant::now() + MUTED);
            }
            return Some((token, ready));
        }
        let token = self.due.pop()?;
        // One that is to be closed fails at the try.
        Some((token, Ready { write: true, ..Ready::default() }))
    }
}

impl WsaPoll {
    /// Fills the list. Returns when the first of those that are left out is due.
    fn ask(&mut self) -> Option<Instant> {
        self.list.clear();
        self.tokens.clear();
        self.due.clear();
        self.list.push(WSAPOLLFD { fd: raw(&self.wake.0), events: POLLRDNORM, revents: 0 });
        self.tokens.push(0);
        for (token, watched) in self.watched.iter().enumerate() {
            if let Some(WatchedSocket { socket, interest, muted: None }) = watched {
                self.list.push(WSAPOLLFD { fd: *socket, events: wanted(*interest), revents: 0 });
                self.tokens.push(token);
            }
        }
        self.watched.iter().flatten().filter_map(|watched| watched.muted).min()
    }

    /// Those whose time is over try to send, and stand in the next list again.
    fn end_mutes(&mut self, now: Instant) {
        for (token, watched) in self.watched.iter_mut().enumerate() {
            let ended = watched.as_mut().and_then(|watched| watched.muted.take_if(|until| *until <= now));
            if ended.is_some() {
                self.due.push(token);
            }
        }
    }
}

fn wanted(interest: Interest) -> i16 {
    let (read, write) = (if interest.read { POLLRDNORM } else { 0 }, if interest.write { POLLWRNORM } else { 0 });
    read | write
}

fn ready(seen: i16) -> Ready {
    Ready {
        read: seen & POLLRDNORM != 0,
        write: seen & POLLWRNORM != 0,
        hangup: seen & (POLLHUP | POLLERR | POLLNVAL) != 0,
    }
}

/// Whole milliseconds, rounded up, so that a wait never ends before its time and spins; -1 is a wait without end.
fn milliseconds(limit: Option<Duration>) -> i32 {
    let Some(limit) = limit else { return -1 };
    i32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::server::readiness::connection::{BufferPool, TurnOutcome};
    use crate::server::readiness::retry::tests::{deaf_client, reset};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_connection_that_has_the_fin_and_no_room_to_send_keeps_no_loop_busy() {
        let (sending, mut connection, context) = deaf_client();
        let (mut poll, _) = WsaPoll::new().expect("a socket");
        let mut buffers = BufferPool::new(context.options().buffer);
        let socket = || SockRef::from(connection.stream());
        // SAFETY: the connection outlives the last wait of `poll`.
        unsafe { poll.register(7, socket(), connection.interest()) }.expect("it is registered");
        let end = Instant::now() + PATIENCE;
        let mut turn = |poll: &mut WsaPoll| {
            assert!(Instant::now() < end, "it takes too long");
            poll.wait(Some(PATIENCE)).expect("a wait");
            let mut outcome = TurnOutcome::Keep;
            while let Some((token, ready)) = poll.next_ready() {
                assert_eq!(token, 7);
                outcome = connection.turn(ready, &mut buffers);
                if let TurnOutcome::Watch(interest) = outcome {
                    poll.modify(7, SockRef::from(connection.stream()), interest).expect("it is registered");
                }
            }
            (outcome, connection.interest())
        };
        while !only_sends(turn(&mut poll).1) {}
        while poll.watched[7].expect("it is registered").muted.is_none() {
            turn(&mut poll);
        }
        // A call that reports it again and again would make thousands of turns.
        let begin = Instant::now();
        let turns = (0..).find(|_| {
            turn(&mut poll);
            begin.elapsed() > 10 * MUTED
        });
        assert!(turns.is_some_and(|turns| turns < 100), "{turns:?} turns");
        reset(sending.join().expect("no panic"));
        while turn(&mut poll).0 != TurnOutcome::Close {}
        assert_eq!(context.snapshot().connection_errors, 1);
    }

    #[test]
    fn every_end_of_a_connection_has_it_looked_at_and_only_data_makes_it_readable() {
        let [read, write, hangup] = [(true, false, false), (false, true, false), (false, false, true)];
        let seen = [POLLRDNORM, POLLWRNORM, POLLHUP, POLLERR, POLLNVAL];
        let expected = [read, write, hangup, hangup, hangup];
        for (bit, (read, write, hangup)) in seen.into_iter().zip(expected) {
            assert_eq!(ready(bit), Ready { read, write, hangup }, "{bit:#x}");
        }
        // The FIN behind the last bytes.
        assert_eq!(ready(POLLRDNORM | POLLHUP), Ready { read: true, write: false, hangup: true });
    }

    #[test]
    fn nothing_is_asked_for_that_the_call_refuses() {
        for (read, write) in [(false, false), (true, false), (false, true), (true, true)] {
            let asked = wanted(Interest { read, write });
            assert_eq!((asked & POLLRDNORM != 0, asked & POLLWRNORM != 0), (read, write));
            assert_eq!(asked & !(POLLRDNORM | POLLWRNORM), 0, "WSAPoll answers WSAEINVAL");
        }
    }

    #[test]
    fn a_socket_that_was_deregistered_is_watched_no_more() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
        let (mut poll, _) = WsaPoll::new().expect("a socket");
        for (token, listener) in listeners.iter().enumerate() {
            let interest = Interest { read: true, write: false };
            // SAFETY: the listeners outlive the last wait of `poll`.
            unsafe { poll.register(token, SockRef::from(listener), interest) }.expect("it is registered");
        }
        poll.deregister(event_loop::LISTENER, SockRef::from(&listeners[event_loop::LISTENER]));
        let connect = |listener: &TcpListener| TcpStream::connect(listener.local_addr().expect("bound"));
        let _clients = listeners.each_ref().map(|listener| connect(listener).expect("it is listening"));
        poll.wait(Some(PATIENCE)).expect("a wait");
        let reported: Vec<Token> = std::iter::from_fn(|| poll.next_ready()).map(|(token, _)| token).collect();
        assert_eq!((reported, poll.list.len()), (vec![1], 2), "the other one and the wake socket are left");
    }

    #[test]
    fn a_wait_is_never_shorter_than_asked() {
        assert_eq!(milliseconds(None), -1);
        assert_eq!(milliseconds(Some(Duration::from_nanos(1))), 1);
        assert_eq!(milliseconds(Some(Duration::MAX)), i32::MAX);
    }
}
