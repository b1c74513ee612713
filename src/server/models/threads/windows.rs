//! The Windows half: accept blocks, and CancelIoEx on the listener ends it: 'any outstanding I/O for the handle,
//! regardless of which thread issued it'. It misses an accept that is just about to block, so it is repeated until the
//! accepting thread is out.
//!
//! Source: Microsoft, 'CancelIoEx'. Wine 8 and 10 end the accept with error 995 (ERROR_OPERATION_ABORTED).

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::server::accepting::accept;
use crate::server::context::Context;
use crate::server::phase::ServerPhase;
use crate::sync::{lock, whole};
use crate::sys;

/// A cancelled accept returns at once. This is the time until one is cancelled that was about to block.
const CANCEL_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A listener whose wait can be interrupted.
pub(super) struct WakeableListener {
    listener: Arc<TcpListener>,
    accepting: Arc<Accepting>,
}

/// What the accepting thread and those that stop it share.
struct Accepting {
    /// The thread that accepts.
    thread: ThreadId,
    /// It has seen that the phase has changed, and accepts no more in a call that blocks.
    is_out: Mutex<bool>,
    went_out: Condvar,
}

impl WakeableListener {
    /// To be made by the thread that accepts.
    ///
    /// # Errors
    /// None on this system.
    pub(super) fn new(listener: TcpListener) -> io::Result<WakeableListener> {
        let thread = thread::current().id();
        let accepting = Accepting { thread, is_out: Mutex::new(false), went_out: Condvar::new() };
        Ok(WakeableListener { listener: Arc::new(listener), accepting: Arc::new(accepting) })
    }

    /// Interrupts [`accept`](Self::accept), once the phase has changed. Returns when the accepting thread has noticed.
    pub(super) fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        // The waker outlives the listener, which must close when accepting ends.
        let (listener, accepting) = (Arc::downgrade(&self.listener), Arc::clone(&self.accepting));
        move || accepting.interrupt(&listener)
    }

    /// The next connection. `None`: look at the phase, and come again.
    ///
    /// # Errors
    /// See [`Context::accept_failed`].
    pub(super) fn accept(&self, context: &Context) -> io::Result<Option<TcpStream>> {
        match accept(&self.listener) {
            // It was cancelled.
            Err(_) if context.phase() != ServerPhase::Run => Ok(None),
            result => result.map(Some),
        }
    }

    /// See [`Context::accept_rest`].
    pub(super) fn accept_rest(self, context: &Context) -> Vec<TcpStream> {
        self.accepting.leave();
        if self.listener.set_nonblocking(true).is_err() {
            return Vec::new();
        }
        let rest = context.accept_rest(&*self.listener).into_iter();
        // An accepted socket is like its listener. One that refuses is broken, and is closed.
        rest.filter(|stream| stream.set_nonblocking(false).is_ok()).collect()
    }
}

impl Drop for WakeableListener {
    fn drop(&mut self) {
        self.accepting.leave();
    }
}

impl Accepting {
    fn leave(&self) {
        *lock(&self.is_out) = true;
        self.went_out.notify_all();
    }

    fn interrupt(&self, listener: &Weak<TcpListener>) {
        // If the phase has changed before the model is ready, this is called by the thread that would accept.
        if thread::current().id() == self.thread {
            return;
        }
        let mut is_out = lock(&self.is_out);
        while !*is_out {
            if let Some(listener) = listener.upgrade() {
                sys::cancel_accept(&listener);
            }
            is_out = whole(self.went_out.wait_timeout(is_out, CANCEL_AGAIN_AFTER)).0;
        }
    }
}
