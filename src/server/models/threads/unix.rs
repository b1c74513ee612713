//! The Unix half: poll(2) watches the listener and a pipe, and accept itself never blocks. So the thread that waits for
//! connections can be woken without making one, which under SO_REUSEPORT might reach another process.
//!
//! Source: poll(2), accept(2), socket(7) (SO_REUSEPORT).

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::server::accepting::accept;
use crate::server::context::Context;
use crate::server::wait::self_pipe::SelfPipe;

/// A listener whose wait can be interrupted.
pub(super) struct WakeableListener {
    listener: TcpListener,
    pipe: Arc<SelfPipe>,
}

impl WakeableListener {
    /// # Errors
    /// No descriptors.
    pub(super) fn new(listener: TcpListener) -> io::Result<WakeableListener> {
        listener.set_nonblocking(true)?;
        Ok(WakeableListener { listener, pipe: Arc::new(SelfPipe::new()?) })
    }

    /// Interrupts [`accept`](Self::accept), from any thread and at any time.
    pub(super) fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let pipe = Arc::clone(&self.pipe);
        move || pipe.wake()
    }

    /// The next connection. `None`: look at the phase, and come again.
    ///
    /// # Errors
    /// See [`Context::accept_failed`].
    pub(super) fn accept(&self, _context: &Context) -> io::Result<Option<TcpStream>> {
        match accept(&self.listener) {
            Ok(stream) => blocking(stream).map(Some),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait().map(|()| None),
            Err(e) => Err(e),
        }
    }

    /// See [`Context::accept_rest`].
    pub(super) fn accept_rest(self, context: &Context) -> Vec<TcpStream> {
        // A socket that refuses is broken, and is closed.
        context.accept_rest(self.listener).into_iter().filter_map(|stream| blocking(stream).ok()).collect()
    }

    fn wait(&self) -> io::Result<()> {
        let mut list = [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&self.pipe, PollFlags::IN)];
        match poll(&mut list, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        if !list[1].revents().is_empty() {
            self.pipe.clear();
        }
        Ok(())
    }
}

/// On Linux an accepted socket blocks, whatever the listener does; on the BSDs it is like the listener.
fn blocking(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(false)?;
    Ok(stream)
}
