//! What a model sees of the harness: options, counters, the phase, and the way to be woken.
//!
//! A model never learns why it stops. It calls [`Context::ready`] once, when a connection would be served, with a
//! closure that interrupts its own wait (eventfd, PostMessage, SetEvent, QueueUserAPC, PostQueuedCompletionStatus …),
//! and after each wait it looks at [`Context::phase`].

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Options;

/// How far the server is from its end. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accept and serve.
    Run,
    /// Accept no more; serve what is connected until each connection has ended by itself, then return.
    Drain,
    /// Close everything at once (a reset is right), then return.
    Abort,
}

/// What the acceptor does after a failed accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// The connection is gone, the listener is well: go on at once.
    Again,
    /// Descriptors or memory are short, and would be at the next call too: go on after this time, without spinning.
    After(Duration),
}

/// The counters of one server. All are totals since its start.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
    idle_closed: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    bytes_discarded: AtomicU64,
    accept_errors: AtomicU64,
    connection_errors: AtomicU64,
}

/// The counters at one moment. At the end `accepted = closed` and `bytes_in = bytes_out + bytes_discarded`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CountersSnapshot {
    /// Connections taken on.
    pub accepted: u64,
    /// Of these, closed, in whatever way.
    pub closed: u64,
    /// Connections turned away because `--max-conns` were open, or because the model can serve no more.
    pub refused: u64,
    /// Of the closed ones, those closed by `--idle-timeout`.
    pub idle_closed: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent back, as far as the system took them.
    pub bytes_out: u64,
    /// Bytes received and not sent back, because the connection broke or the server was aborted.
    pub bytes_discarded: u64,
    /// Failed accepts that were survived.
    pub accept_errors: u64,
    /// Connections that ended by an error, resets included.
    pub connection_errors: u64,
}

impl CountersSnapshot {
    /// Connections open at that moment.
    pub fn active(&self) -> u64 {
        self.accepted.saturating_sub(self.closed)
    }

    /// Whether they add up, as they must once the server has stopped.
    pub fn add_up(&self) -> bool {
        self.accepted == self.closed && self.bytes_in == self.bytes_out + self.bytes_discarded
    }

    /// Adds those of another server.
    pub fn add(&mut self, other: &CountersSnapshot) {
        self.accepted += other.accepted;
        self.closed += other.closed;
        self.refused += other.refused;
        self.idle_closed += other.idle_closed;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.bytes_discarded += other.bytes_discarded;
        self.accept_errors += other.accept_errors;
        self.connection_errors += other.connection_errors;
    }
}

type Wake = Box<dyn Fn() + Send + Sync>;

/// All that a model sees of the harness.
pub struct Context {
    options: Options,
    counters: Counters,
    phase: AtomicU8,
    wake: OnceLock<Wake>,
    announce: Mutex<Option<Sender<()>>>,
}

impl Context {
    pub(super) fn new(options: Options, announce: Sender<()>) -> Self {
        Context {
            options,
            counters: Counters::default(),
            phase: AtomicU8::new(Phase::Run as u8),
            wake: OnceLock::new(),
            announce: Mutex::new(Some(announce)),
        }
    }

    /// What the server was told.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Run, drain or abort: look after each wait.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Run,
            1 => Phase::Drain,
            _ => Phase::Abort,
        }
    }

    /// Called once, by the model, when a connection would be served. `wake` interrupts the waits of *all* its workers,
    /// may be called from any thread, at any time until `run` has returned and after, and any number of times; it must
    /// not block.
    pub fn ready(&self, wake: impl Fn() + Send + Sync + 'static) {
        let first = self.wake.set(Box::new(wake)).is_ok();
        debug_assert!(first, "ready() is called once");
        // A phase set before this call had nobody to wake.
        if self.phase() != Phase::Run {
            self.wake();
        }
        if let Some(announce) = self.announce.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The harness may have given up waiting; then nobody needs to know.
            let _ = announce.send(());
        }
    }

    /// The model has ended: if it was not ready by now, it never will be.
    pub(super) fn never_ready(&self) {
        drop(self.announce.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// What to do after accept failed, counted.
    ///
    /// A client that resets before it is accepted (ECONNABORTED, WSAECONNRESET, under Wine WSAENOTCONN) must not end
    /// the listener, and running out of descriptors (EMFILE) must not become a busy loop, since the listener stays
    /// readable: accept(2), 'Error handling'.
    pub fn accept_failed(&self, error: &io::Error) -> Accept {
        self.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
        match error.kind() {
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::Interrupted => Accept::Again,
            _ => Accept::After(Duration::from_millis(20)),
        }
    }

    /// Takes what waits at a listener that is about to be closed, since that would reset it: clients who know
    /// themselves connected, and may have sent. For the begin of a drain; the listener must not block.
    ///
    /// It takes no more than the backlog can hold, so that clients who go on connecting don't put the end off; and when
    /// descriptors are short it leaves the rest.
    pub fn accept_rest(&self, listener: &TcpListener, mut take: impl FnMut(TcpStream)) {
        // Linux lets one more wait than it was told.
        for _ in 0..=self.options.backlog {
            match listener.accept() {
                Ok((stream, _)) => take(stream),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if self.accept_failed(&e) == Accept::Again => {}
                Err(_) => return,
            }
        }
    }

    /// The counters now.
    pub fn snapshot(&self) -> CountersSnapshot {
        let c = &self.counters;
        // `closed` before `accepted`, so that a connection in between never makes the difference negative.
        let closed = c.closed.load(Ordering::Acquire);
        CountersSnapshot {
            accepted: c.accepted.load(Ordering::Acquire),
            closed,
            refused: c.refused.load(Ordering::Relaxed),
            idle_closed: c.idle_closed.load(Ordering::Relaxed),
            bytes_in: c.bytes_in.load(Ordering::Relaxed),
            bytes_out: c.bytes_out.load(Ordering::Relaxed),
            bytes_discarded: c.bytes_discarded.load(Ordering::Relaxed),
            accept_errors: c.accept_errors.load(Ordering::Relaxed),
            connection_errors: c.connection_errors.load(Ordering::Relaxed),
        }
    }

    pub(super) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.wake();
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// Takes a connection on if `--max-conns` allows: never one more, however many threads ask.
    pub(super) fn admit(&self) -> bool {
        let c = &self.counters;
        let mut accepted = c.accepted.load(Ordering::Acquire);
        loop {
            // Since `accepted` was read others may have been accepted, and even closed: then the exchange fails.
            let open = accepted.saturating_sub(c.closed.load(Ordering::Acquire));
            if open >= self.options.max_conns as u64 {
                self.refuse();
                return false;
            }
            match c.accepted.compare_exchange_weak(accepted, accepted + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => accepted = now,
            }
        }
    }

    /// Counts a connection that was turned away without asking [`admit`](Self::admit).
    pub(super) fn refuse(&self) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: u64) {
        self.counters.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.counters.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.counters.connection_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn idle(&self) {
        self.counters.idle_closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self, discarded: u64) {
        self.counters.bytes_discarded.fetch_add(discarded, Ordering::Relaxed);
        self.counters.closed.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn no_more_than_max_conns_are_open_however_many_threads_admit() {
        // Enough for an unlucky moment or two.
        const EACH: u64 = 1_000_000;
        let most = 3;
        let context = Context::new(Options { max_conns: most, ..Options::default() }, channel().0);
        let open = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        if context.admit() {
                            assert!(open.fetch_add(1, Ordering::AcqRel) < most as u64, "one too many");
                            open.fetch_sub(1, Ordering::AcqRel);
                            context.closed(0);
                        }
                    }
                });
            }
        });
        let counters = context.snapshot();
        assert_eq!((counters.accepted + counters.refused, counters.active()), (4 * EACH, 0), "{counters:?}");
        assert_eq!([(); 4].map(|()| context.admit()), [true, true, true, false]);
    }
}
