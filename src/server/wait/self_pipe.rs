//! The self-pipe trick (D. J. Bernstein): a wait that watches descriptors also watches one end of a pipe, and a write
//! to the other end interrupts it. It works on every Unix; Linux's eventfd does the same with one descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A pipe from this process to itself.
pub(in crate::server) struct SelfPipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl SelfPipe {
    pub(in crate::server) fn new() -> io::Result<SelfPipe> {
        let (reader, writer) = io::pipe()?;
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        rustix::io::ioctl_fionbio(&reader, true)?;
        rustix::io::ioctl_fionbio(&writer, true)?;
        Ok(SelfPipe { reader, writer })
    }

    /// Interrupts the wait. When the pipe is full the write fails, and the wait is interrupted already.
    pub(in crate::server) fn wake(&self) {
        let _ = rustix::io::write(&self.writer, &[1]);
    }

    /// The end to write to, for a signal handler, which may do little more than that.
    pub(in crate::server) fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// Takes back what was written, so that the next wait waits. If it leaves some, that wait returns once more.
    pub(in crate::server) fn clear(&self) {
        let _ = rustix::io::read(&self.reader, &mut [0; 256]);
    }
}

impl AsFd for SelfPipe {
    /// The end to watch.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
