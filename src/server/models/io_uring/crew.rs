//! What the workers share: how they are woken, how accepted connections are handed over, and that one has failed.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::server::{Context, Phase};

/// See above.
pub(super) struct Crew {
    members: Vec<Member>,
    failed: AtomicBool,
}

struct Member {
    /// Readable when the worker is to look around: a new phase, or sockets in the inbox.
    event: OwnedFd,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    sockets: Vec<OwnedFd>,
    closed: bool,
}

impl Crew {
    /// A crew of `size`.
    ///
    /// # Errors
    /// No descriptors.
    pub(super) fn new(size: usize) -> io::Result<Crew> {
        let member = |_| {
            let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            Ok(Member { event, inbox: Mutex::default() })
        };
        Ok(Crew { members: (0..size).map(member).collect::<io::Result<_>>()?, failed: AtomicBool::new(false) })
    }

    /// How many workers there are.
    pub(super) fn size(&self) -> usize {
        self.members.len()
    }

    /// The descriptor that wakes a worker.
    pub(super) fn event(&self, worker: usize) -> RawFd {
        self.members[worker].event.as_raw_fd()
    }

    fn inbox(&self, worker: usize) -> MutexGuard<'_, Inbox> {
        self.members[worker].inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, worker: usize) {
        // It fails only when the count is at its limit, and then the worker is awake.
        let _ = rustix::io::write(&self.members[worker].event, &1u64.to_ne_bytes());
    }

    /// Interrupts the waits of all workers.
    pub(super) fn wake_all(&self) {
        (0..self.size()).for_each(|worker| self.wake(worker));
    }

    /// Gives a connection to a worker.
    pub(super) fn hand(&self, worker: usize, socket: OwnedFd) {
        let mut inbox = self.inbox(worker);
        inbox.sockets.push(socket);
        // With others before it, the worker is on its way.
        if inbox.sockets.len() == 1 {
            self.wake(worker);
        }
    }

    /// What was given to a worker that was woken.
    pub(super) fn take(&self, worker: usize) -> Vec<OwnedFd> {
        // First this, then the inbox: what comes in between wakes again.
        let _ = rustix::io::read(&self.members[worker].event, &mut [0; 8]);
        std::mem::take(&mut self.inbox(worker).sockets)
    }

    /// Nothing will be handed over any more.
    pub(super) fn no_more(&self) {
        (0..self.size()).for_each(|worker| self.inbox(worker).closed = true);
        self.wake_all();
    }

    /// Whether a worker need not wait for more connections.
    pub(super) fn nothing_comes(&self, worker: usize) -> bool {
        let inbox = self.inbox(worker);
        inbox.closed && inbox.sockets.is_empty()
    }

    /// One worker can't go on, so none shall: half a server would let clients hang.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.wake_all();
    }

    /// The phase, as far as the workers go on.
    pub(super) fn phase(&self, context: &Context) -> Phase {
        if self.failed.load(Ordering::Acquire) { Phase::Abort } else { context.phase() }
    }
}
