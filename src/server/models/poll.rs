//! `poll` (Unix): one call watches a list of descriptors.
//!
//! **Mechanism.** The program hands over an array of (descriptor, events wanted). The kernel looks at each entry,
//! sleeps until one is ready, and writes what it saw into the same array, which the program then searches. Descriptors
//! may be any number, so there is no FD_SETSIZE; that is why it was made, after `select`.
//!
//! **Drawback and limit.** Each call costs O(connections), in the kernel (it looks at every entry, and enters and
//! leaves a wait queue) and in the program (it searches the array), however few are ready: with 10,000 idle
//! connections, the one that speaks pays for all. Only another model avoids that: epoll or kqueue, whose kernel keeps
//! the list.
//!
//! Source: poll(2); POSIX, `poll`.

#![expect(unsafe_code, reason = "the array holds descriptors from one call to the next, and so no borrow of them")]

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use socket2::SockRef;

use crate::server::Context;
use crate::server::readiness::connection::{Interest, Ready};
use crate::server::readiness::event_loop::{self, Selector, Token};
use crate::server::readiness::timespec;
use crate::server::wait::Waker;
use crate::server::wait::self_pipe::SelfPipe;

/// Where the pipe stands in the array: first, and it is never taken out.
const PIPE: usize = 0;

pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    event_loop::run::<Poll>(listener, context)
}

/// The array, and how far the answers of the last call were searched.
struct Poll {
    pipe: Arc<SelfPipe>,
    /// The descriptors are those of the pipe and of registered sockets, so they are open: see [`Selector::register`].
    list: Vec<PollFd<'static>>,
    /// By position in the array. The pipe's means nothing.
    tokens: Vec<Token>,
    /// By token.
    positions: Vec<usize>,
    /// Positions below this were not searched yet.
    unsearched: usize,
    /// Ready entries that were not found yet.
    unfound: usize,
}

impl Selector for Poll {
    fn new() -> io::Result<(Poll, Waker)> {
        let pipe = Arc::new(SelfPipe::new()?);
        let of_waker = Arc::clone(&pipe);
        let mut poll = Poll {
            pipe: Arc::clone(&pipe),
            list: Vec::new(),
            tokens: vec![0],
            positions: Vec::new(),
            unsearched: 0,
            unfound: 0,
        };
        // SAFETY: the pipe is open as long as `Poll` lives, which holds a share of it.
        poll.list.push(unsafe { entry(pipe.as_fd(), PollFlags::IN) });
        Ok((poll, Arc::new(move || of_waker.wake())))
    }

    unsafe fn register(&mut self, token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()> {
        if self.positions.len() <= token {
            self.positions.resize(token + 1, 0);
        }
        self.positions[token] = self.list.len();
        // SAFETY: the caller keeps the socket open until it is deregistered, which takes the entry out.
        self.list.push(unsafe { entry(socket.as_fd(), events(interest)) });
        self.tokens.push(token);
        Ok(())
    }

    fn modify(&mut self, token: Token, _socket: SockRef<'_>, interest: Interest) -> io::Result<()> {
        let changed = &mut self.list[self.positions[token]];
        // SAFETY: the descriptor is that of the entry, so it is open as long as the entry is used.
        *changed = unsafe { entry(changed.as_fd(), events(interest)) };
        Ok(())
    }

    fn deregister(&mut self, token: Token, _socket: SockRef<'_>) {
        let position = self.positions[token];
        self.list.swap_remove(position);
        self.tokens.swap_remove(position);
        if let Some(&moved) = self.tokens.get(position) {
            self.positions[moved] = position;
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        (self.unsearched, self.unfound) = match poll(&mut self.list, timeout.map(timespec).as_ref()) {
            Ok(ready) => (self.list.len(), ready),
            // The answers of the call before are still there then.
            Err(Errno::INTR) => (0, 0),
            Err(e) => return Err(e.into()),
        };
        Ok(())
    }

    /// From the back, so that an entry that takes the place of a closed connection's was searched before.
    fn next_ready(&mut self) -> Option<(Token, Ready)> {
        while self.unfound > 0 && self.unsearched > 0 {
            self.unsearched -= 1;
            let answer = self.list[self.unsearched].revents();
            if answer.is_empty() {
                continue;
            }
            self.unfound -= 1;
            if self.unsearched == PIPE {
                self.pipe.clear();
                continue;
            }
            return Some((self.tokens[self.unsearched], ready(answer)));
        }
        None
    }
}

/// An entry of the array, without an answer.
///
/// # Safety
/// The descriptor stays open as long as the entry is used.
unsafe fn entry(descriptor: BorrowedFd<'_>, events: PollFlags) -> PollFd<'static> {
    // SAFETY: the caller's promise is this function's own.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor.as_raw_fd()) };
    PollFd::from_borrowed_fd(descriptor, events)
}

fn events(interest: Interest) -> PollFlags {
    let mut events = PollFlags::empty();
    events.set(PollFlags::IN, interest.read);
    events.set(PollFlags::OUT, interest.write);
    events
}

fn ready(answer: PollFlags) -> Ready {
    Ready {
        read: answer.contains(PollFlags::IN),
        write: answer.contains(PollFlags::OUT),
        hangup: answer.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    const READ: Interest = Interest { read: true, write: false };
    const WRITE: Interest = Interest { read: false, write: true };

    fn found(poll: &mut Poll) -> Vec<Token> {
        poll.wait(Some(Duration::ZERO)).expect("a wait");
        std::iter::from_fn(|| poll.next_ready()).map(|(token, _)| token).collect()
    }

    #[test]
    fn a_socket_is_reported_under_its_token_after_others_were_taken_out() {
        let (mut poll, waker) = Poll::new().expect("a pipe");
        // A socket without data is ready to be written to, and not to be read from.
        let sockets = [(); 5].map(|()| UdpSocket::bind(("127.0.0.1", 0)).expect("a socket"));
        for (token, socket) in sockets.iter().enumerate() {
            // SAFETY: the sockets outlive `poll`'s last wait.
            unsafe { poll.register(token, SockRef::from(socket), WRITE) }.expect("it is registered");
        }
        assert_eq!(found(&mut poll), [4, 3, 2, 1, 0]);
        poll.deregister(1, SockRef::from(&sockets[1]));
        poll.modify(4, SockRef::from(&sockets[4]), READ).expect("it is registered");
        waker();
        assert_eq!(found(&mut poll), [3, 2, 0], "the last one has moved, and the pipe is not reported");
        poll.deregister(3, SockRef::from(&sockets[3]));
        // SAFETY: as above.
        unsafe { poll.register(1, SockRef::from(&sockets[1]), WRITE) }.expect("it is registered");
        poll.modify(4, SockRef::from(&sockets[4]), WRITE).expect("it is registered");
        assert_eq!(found(&mut poll), [1, 2, 4, 0]);
    }
}
