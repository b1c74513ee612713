//! The Unix half. A set is a bit map with one bit for each descriptor, and the call reads as many bits as its first
//! argument says. So the maps here are vectors that grow with the highest descriptor, and 1,024 is a number like any
//! other. (What breaks there is the C library's FD_SET on a fixed `fd_set`, which writes past its end. On macOS the
//! call itself refuses larger maps unless it is the variant that `_DARWIN_UNLIMITED_SELECT` names, which rustix calls.)

#![expect(unsafe_code, reason = "select takes descriptors as numbers")]

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{FdSetElement, FdSetIter, fd_set_bound, fd_set_insert, fd_set_num_elements, fd_set_remove, select};
use rustix::io::Errno;
use socket2::SockRef;

use crate::server::readiness::connection::{Interest, Ready};
use crate::server::readiness::event_loop::{Selector, Token};
use crate::server::readiness::timespec;
use crate::server::wait::Waker;
use crate::server::wait::self_pipe::SelfPipe;

/// The sockets to be watched, and what the last call found.
pub(super) struct Select {
    pipe: Arc<SelfPipe>,
    tokens: HashMap<RawFd, Token>,
    /// Watched for reading, the pipe among them. Every descriptor here and in `writable` is that of the pipe or of a
    /// registered socket, so it is open: see [`Selector::register`].
    readable: DescriptorSet,
    /// Watched for writing.
    writable: DescriptorSet,
    /// A socket that is ready for both stands here twice.
    ready: Vec<(RawFd, Ready)>,
    /// How many of these were dealt with.
    done: usize,
}

impl Selector for Select {
    fn new() -> io::Result<(Select, Waker)> {
        let pipe = Arc::new(SelfPipe::new()?);
        let of_waker = Arc::clone(&pipe);
        let mut readable = DescriptorSet::default();
        readable.set(pipe.as_fd().as_raw_fd(), true);
        let select = Select {
            pipe,
            tokens: HashMap::new(),
            readable,
            writable: DescriptorSet::default(),
            ready: Vec::new(),
            done: 0,
        };
        Ok((select, Arc::new(move || of_waker.wake())))
    }

    unsafe fn register(&mut self, token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()> {
        self.tokens.insert(socket.as_raw_fd(), token);
        self.modify(token, socket, interest)
    }

    fn modify(&mut self, token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()> {
        // The sets hold the descriptors of registered sockets alone.
        if self.tokens.get(&socket.as_raw_fd()) != Some(&token) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.readable.set(socket.as_raw_fd(), interest.read);
        self.writable.set(socket.as_raw_fd(), interest.write);
        Ok(())
    }

    fn deregister(&mut self, _token: Token, socket: SockRef<'_>) {
        let descriptor = socket.as_raw_fd();
        self.tokens.remove(&descriptor);
        self.readable.set(descriptor, false);
        self.writable.set(descriptor, false);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.ready.clear();
        self.done = 0;
        // The call overwrites its sets with the answer.
        let (mut read, mut write) = (self.readable.clone(), self.writable.clone());
        let bound = read.bound().max(write.bound());
        read.reach(bound);
        write.reach(bound);
        // SAFETY: every descriptor in the sets is open. The pipe is ours; a socket stays open until `deregister` has
        // taken it out, as the caller of `register` has promised. Both maps hold `bound` bits.
        let result =
            unsafe { select(bound, Some(&mut read.bits), Some(&mut write.bits), None, timeout.map(timespec).as_ref()) };
        match result {
            Ok(_) => {
                let (can_read, can_write) =
                    (Ready { read: true, ..Ready::default() }, Ready { write: true, ..Ready::default() });
                self.ready.extend(FdSetIter::new(&write.bits).map(|descriptor| (descriptor, can_write)));
                self.ready.extend(FdSetIter::new(&read.bits).map(|descriptor| (descriptor, can_read)));
                Ok(())
            }
            // The sets are undefined then.
            Err(Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn next_ready(&mut self) -> Option<(Token, Ready)> {
        loop {
            let (descriptor, ready) = *self.ready.get(self.done)?;
            self.done += 1;
            if let Some(token) = self.tokens.get(&descriptor) {
                return Some((*token, ready));
            }
            // Not registered: the pipe, or a connection that its other turn has closed.
            if descriptor == self.pipe.as_fd().as_raw_fd() {
                self.pipe.clear();
            }
        }
    }
}

/// A set of descriptors of any size.
#[derive(Clone, Default)]
struct DescriptorSet {
    bits: Vec<FdSetElement>,
}

impl DescriptorSet {
    fn set(&mut self, descriptor: RawFd, is_in: bool) {
        if is_in {
            self.reach(descriptor + 1);
            fd_set_insert(&mut self.bits, descriptor);
        } else if self.bits.len() >= fd_set_num_elements(1, descriptor + 1) {
            fd_set_remove(&mut self.bits, descriptor);
        }
    }

    /// One more than the highest descriptor in it.
    fn bound(&self) -> RawFd {
        fd_set_bound(&self.bits)
    }

    /// Makes room for descriptors below `bound`.
    fn reach(&mut self, bound: RawFd) {
        let elements = fd_set_num_elements(bound as usize, bound);
        if self.bits.len() < elements {
            self.bits.resize(elements, FdSetElement::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn members(set: &DescriptorSet) -> Vec<RawFd> {
        FdSetIter::new(&set.bits).collect()
    }

    #[test]
    fn a_set_grows_past_fd_setsize() {
        let mut set = DescriptorSet::default();
        for descriptor in [0, 63, 64, 1023, 1024, 19_999] {
            set.set(descriptor, true);
        }
        assert_eq!(members(&set), [0, 63, 64, 1023, 1024, 19_999]);
        assert_eq!(set.bound(), 20_000);
    }

    #[test]
    fn taking_a_descriptor_out_of_a_set_leaves_the_others() {
        let mut set = DescriptorSet::default();
        set.set(5, true);
        set.set(1500, true);
        set.set(1500, false);
        set.set(90_000, false);
        assert_eq!(members(&set), [5]);
        assert_eq!(set.bound(), 6);
        assert!(set.bits.len() < 100, "taking out makes no room");
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no sockets and no select")]
    fn a_socket_is_reported_until_it_is_deregistered_and_the_pipe_never_is() {
        let (mut select, waker) = Select::new().expect("a pipe");
        let sockets = [(); 2].map(|()| UdpSocket::bind(("127.0.0.1", 0)).expect("a socket"));
        for (token, socket) in sockets.iter().enumerate() {
            let interest = Interest { read: true, write: true };
            // SAFETY: the sockets outlive the last wait of `select`.
            unsafe { select.register(token, SockRef::from(socket), interest) }.expect("it is registered");
        }
        waker();
        select.wait(None).expect("a wait");
        let can_write = Ready { write: true, ..Ready::default() };
        let first = select.next_ready().expect("a socket without data can be written to");
        assert_eq!(first.1, can_write);
        let other = 1 - first.0;
        select.deregister(other, SockRef::from(&sockets[other]));
        assert_eq!(select.next_ready(), None, "it was ready too, and is deregistered");
        select.wait(None).expect("a wait");
        assert_eq!((select.next_ready(), select.next_ready()), (Some(first), None));
    }
}
