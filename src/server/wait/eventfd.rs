//! An eventfd (Linux): one descriptor that a wait watches, and that a write makes readable. See eventfd(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::EventfdFlags;

/// A descriptor to watch, and to wake the watching thread by.
pub(in crate::server) struct EventFd(OwnedFd);

impl EventFd {
    /// # Errors
    /// The system's: out of descriptors or memory.
    pub(in crate::server) fn new() -> io::Result<EventFd> {
        Ok(EventFd(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Interrupts the wait. The write fails only when the counter is full, and then the wait is interrupted already.
    pub(in crate::server) fn wake(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Takes back all that was written, so that the next wait waits. Clear it first, and then look at what a wake can
    /// mean: otherwise a wake in between is lost.
    pub(in crate::server) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
