//! The Unix half. A set is a bit map, one bit a descriptor, and the call reads as many bits as its first argument says;
//! so the maps here are vectors that grow with the highest descriptor, and 1,024 is a number like others. (The C
//! library's FD_SET over a fixed `fd_set` is what breaks there, by writing past its end. On macOS the call itself
//! refuses such maps unless it is the variant that `_DARWIN_UNLIMITED_SELECT` names, which rustix calls.)

#![expect(unsafe_code, reason = "select takes descriptors as numbers")]

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use rustix::event::{
    FdSetElement, FdSetIter, Timespec, fd_set_bound, fd_set_insert, fd_set_num_elements, fd_set_remove, select,
};
use rustix::io::Errno;

use crate::server::context::{Context, Phase};
use crate::server::readiness::connection::{Interest, NonblockingConnection, Ready, TurnOutcome};
use crate::server::readiness::crew::{self, Worker};
use crate::server::readiness::self_pipe::SelfPipe;
use crate::server::readiness::timespec;

pub(in crate::server::models) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    crew::run(listener, context, serve)
}

fn serve(worker: &mut Worker) -> io::Result<()> {
    let pipe = Arc::new(SelfPipe::new()?);
    let of_wake = Arc::clone(&pipe);
    worker.ready(move || of_wake.wake());
    let mut sockets = Sockets::default();
    loop {
        for connection in worker.adopt() {
            sockets.add(connection);
        }
        match worker.phase() {
            Phase::Run => {}
            Phase::Drain if sockets.connections.is_empty() && worker.is_done() => return Ok(()),
            Phase::Drain => {}
            Phase::Abort => {
                sockets.connections.into_values().for_each(NonblockingConnection::abort);
                return Ok(());
            }
        }

        let timeout = worker.timeout().map(timespec);
        let pipe_fd = pipe.as_fd().as_raw_fd();
        let listener_fd = worker.listening().map(AsRawFd::as_raw_fd);
        sockets.wait([Some(pipe_fd), listener_fd], timeout.as_ref())?;

        // One that is ready for both has two turns; the sockets that follow it wait that little longer.
        for at in 0..sockets.writable.ready.len() {
            sockets.turn(sockets.writable.ready[at], Ready { write: true, ..Ready::default() }, worker);
        }
        for at in 0..sockets.readable.ready.len() {
            let fd = sockets.readable.ready[at];
            if fd == pipe_fd {
                pipe.clear();
            } else if Some(fd) == listener_fd {
                worker.accept();
            } else {
                sockets.turn(fd, Ready { read: true, ..Ready::default() }, worker);
            }
        }
        if let Some(now) = worker.sweep_due() {
            let idle: Vec<RawFd> =
                sockets.connections.extract_if(|_, connection| connection.is_idle(now)).map(|(fd, _)| fd).collect();
            idle.into_iter().for_each(|fd| sockets.forget(fd));
        }
    }
}

/// One worker's connections, and the sets that watch them.
#[derive(Default)]
struct Sockets {
    /// By descriptor. One that was closed and given out again is a new entry; the answer for the old one costs a call
    /// that says 'would block'.
    connections: HashMap<RawFd, NonblockingConnection>,
    readable: Watched,
    writable: Watched,
}

impl Sockets {
    fn add(&mut self, connection: NonblockingConnection) {
        let fd = connection.stream().as_raw_fd();
        self.watch(fd, connection.interest());
        let before = self.connections.insert(fd, connection);
        debug_assert!(before.is_none(), "descriptor {fd} is open twice");
    }

    fn watch(&mut self, fd: RawFd, interest: Interest) {
        self.readable.wanted.set(fd, interest.read);
        self.writable.wanted.set(fd, interest.write);
    }

    fn forget(&mut self, fd: RawFd) {
        self.watch(fd, Interest { read: false, write: false });
    }

    fn turn(&mut self, fd: RawFd, ready: Ready, worker: &mut Worker) {
        let Some(connection) = self.connections.get_mut(&fd) else { return };
        match connection.turn(ready, &mut worker.pool) {
            TurnOutcome::Keep => {}
            TurnOutcome::Watch(interest) => self.watch(fd, interest),
            TurnOutcome::Close => {
                self.forget(fd);
                drop(self.connections.remove(&fd));
            }
        }
    }

    /// Waits for what is wanted, and for the `others` to be readable; lists what is ready.
    fn wait(&mut self, others: [Option<RawFd>; 2], timeout: Option<&Timespec>) -> io::Result<()> {
        let mut read = self.readable.wanted.clone();
        others.into_iter().flatten().for_each(|fd| read.set(fd, true));
        let mut write = self.writable.wanted.clone();
        let bound = read.bound().max(write.bound());
        read.reach(bound);
        write.reach(bound);
        // SAFETY: every descriptor in the sets is open: those of the connections are taken out before their connection
        // is dropped (`forget`), the others belong to the caller for the length of the call. Both maps hold `bound`
        // bits.
        match unsafe { select(bound, Some(&mut read.bits), Some(&mut write.bits), None, timeout) } {
            Ok(_) => {
                self.readable.list(&read);
                self.writable.list(&write);
                Ok(())
            }
            // The sets are then undefined.
            Err(Errno::INTR) => {
                self.readable.ready.clear();
                self.writable.ready.clear();
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// What is watched in one direction, and what the last call answered.
#[derive(Default)]
struct Watched {
    wanted: FdSet,
    ready: Vec<RawFd>,
}

impl Watched {
    fn list(&mut self, answer: &FdSet) {
        self.ready.clear();
        self.ready.extend(FdSetIter::new(&answer.bits));
    }
}

/// A set of descriptors of any size.
#[derive(Clone, Default)]
struct FdSet {
    bits: Vec<FdSetElement>,
}

impl FdSet {
    fn set(&mut self, fd: RawFd, on: bool) {
        if on {
            self.reach(fd + 1);
            fd_set_insert(&mut self.bits, fd);
        } else if self.bits.len() >= fd_set_num_elements(1, fd + 1) {
            fd_set_remove(&mut self.bits, fd);
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

    fn members(set: &FdSet) -> Vec<RawFd> {
        FdSetIter::new(&set.bits).collect()
    }

    #[test]
    fn a_set_grows_past_fd_setsize() {
        let mut set = FdSet::default();
        for fd in [0, 63, 64, 1023, 1024, 19_999] {
            set.set(fd, true);
        }
        assert_eq!(members(&set), [0, 63, 64, 1023, 1024, 19_999]);
        assert_eq!(set.bound(), 20_000);
    }

    #[test]
    fn what_is_taken_out_is_gone_and_nothing_else() {
        let mut set = FdSet::default();
        set.set(5, true);
        set.set(1500, true);
        set.set(1500, false);
        set.set(90_000, false);
        assert_eq!(members(&set), [5]);
        assert_eq!(set.bound(), 6);
        assert!(set.bits.len() < 100, "taking out makes no room");
    }
}
