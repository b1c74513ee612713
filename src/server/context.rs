//! The harness as a model sees it: the options, the counters, the phase, and how it is woken.
//!
//! A model never learns why it stops. It calls [`Context::ready`] once, when it would serve a connection, with a
//! closure that interrupts its own waits (eventfd, PostMessage, SetEvent, QueueUserAPC, PostQueuedCompletionStatus …),
//! and it looks at [`Context::phase`] after each wait.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::SockRef;

use super::Options;
use super::accepting::accept;
use super::admission::Admission;
use super::phase::{PhaseSignal, ServerPhase};
use crate::sync::lock;
use crate::sys;

/// How the acceptor goes on after a failed accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// The connection is gone and the listener is fine: go on at once.
    Again,
    /// Descriptors or memory are short, and would be at the next call too: go on after this time, so as not to spin.
    After(Duration),
}

/// The counters of one server. All are totals since its start.
#[derive(Debug, Default)]
pub struct ServerCounters {
    admission: Admission,
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
    /// Connections admitted.
    pub accepted: u64,
    /// Admitted connections that were closed, for any reason.
    pub closed: u64,
    /// Connections turned away, because `--max-conns` were open or because the model could serve no more.
    pub refused: u64,
    /// Connections closed by `--idle-timeout`.
    pub idle_closed: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent back: those that the system took.
    pub bytes_out: u64,
    /// Bytes received and not sent back, because the connection broke or the server was aborted.
    pub bytes_discarded: u64,
    /// Failed accepts. The server went on after each.
    pub accept_errors: u64,
    /// Connections that ended by an error, resets included.
    pub connection_errors: u64,
}

impl CountersSnapshot {
    /// Connections open at that moment.
    pub fn active(&self) -> u64 {
        self.accepted.saturating_sub(self.closed)
    }

    /// Whether they add up, as they must when the server has stopped.
    pub fn add_up(&self) -> bool {
        self.accepted == self.closed && self.bytes_in == self.bytes_out + self.bytes_discarded
    }

    /// Adds those of another server.
    pub fn add(&mut self, other: &CountersSnapshot) {
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.closed = self.closed.saturating_add(other.closed);
        self.refused = self.refused.saturating_add(other.refused);
        self.idle_closed = self.idle_closed.saturating_add(other.idle_closed);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        self.bytes_discarded = self.bytes_discarded.saturating_add(other.bytes_discarded);
        self.accept_errors = self.accept_errors.saturating_add(other.accept_errors);
        self.connection_errors = self.connection_errors.saturating_add(other.connection_errors);
    }
}

/// Tells the bytes received and the bytes sent, in all.
type BytesElsewhere = Box<dyn Fn() -> [u64; 2] + Send + Sync>;

/// Is told of the first connection that could not be accepted or served for lack of something.
type Complaint = Box<dyn Fn(&io::Error) + Send + Sync>;

/// All that a model sees of the harness.
pub struct Context {
    options: Options,
    counters: ServerCounters,
    phase: PhaseSignal,
    /// Bytes received and sent by other processes of this server.
    bytes_elsewhere: OnceLock<BytesElsewhere>,
    /// Overlapped operations that were begun, and whose completion was not taken. The system still uses their memory.
    outstanding: AtomicUsize,
    announce: Mutex<Option<Sender<()>>>,
    /// `None`: nobody wants to know, or somebody was told.
    complaint: Mutex<Option<Complaint>>,
}

impl Context {
    pub(super) fn new(options: Options, announce: Sender<()>) -> Self {
        Context {
            options,
            counters: ServerCounters::default(),
            phase: PhaseSignal::default(),
            bytes_elsewhere: OnceLock::new(),
            outstanding: AtomicUsize::new(0),
            announce: Mutex::new(Some(announce)),
            complaint: Mutex::new(None),
        }
    }

    /// The options of the server.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether to run, drain or abort. Look after each wait.
    pub fn phase(&self) -> ServerPhase {
        self.phase.get()
    }

    /// The model calls it once, when it would serve a connection. `wake` interrupts the waits of *all* its workers. It
    /// may be called from any thread, any number of times, and even after `run` has returned; it must not block.
    pub fn ready(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.phase.on_change(Arc::new(wake));
        if let Some(announce) = lock(&self.announce).take() {
            // The harness may have given up waiting for it.
            let _ = announce.send(());
        }
    }

    /// The model has ended. If it is not ready by now, it never will be.
    pub(super) fn never_ready(&self) {
        drop(lock(&self.announce).take());
    }

    /// Counts a failed accept, and says how to go on.
    ///
    /// A client that resets before it is accepted (ECONNABORTED, WSAECONNRESET, under Wine WSAENOTCONN) must not end
    /// the listener. Running out of descriptors (EMFILE) must not become a busy loop, although the listener stays
    /// readable: accept(2), 'Error handling'.
    pub fn accept_failed(&self, error: &io::Error) -> Accept {
        self.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
        match error.kind() {
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::Interrupted => Accept::Again,
            _ => {
                if let Some(complain) = lock(&self.complaint).take() {
                    complain(error);
                }
                Accept::After(Duration::from_millis(20))
            }
        }
    }

    /// Calls this, once, when descriptors, memory, threads or processes are short for a connection.
    pub(super) fn on_shortage(&self, complain: impl Fn(&io::Error) + Send + Sync + 'static) {
        *lock(&self.complaint) = Some(Box::new(complain));
    }

    /// Takes the connections that wait at a listener, and then closes it, if it was given by value. To close it alone
    /// would reset them, and their clients are connected and may have sent. Call it when a drain begins; the listener
    /// must not block.
    ///
    /// Serve them only when the listener is closed. A client that is not served yet does not connect again, so clients
    /// that do so for ever are soon all here. In any case it takes no more than the backlog can hold. When descriptors
    /// are short, it leaves the rest.
    pub fn accept_rest<Listener>(&self, listener: Listener) -> Vec<TcpStream>
    where
        for<'l> SockRef<'l>: From<&'l Listener>,
    {
        let socket = SockRef::from(&listener);
        let mut rest = Vec::new();
        // On Linux one more may wait than the backlog says.
        for _ in 0..=self.options.backlog {
            match accept(&*socket) {
                Ok(stream) => rest.push(stream),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if self.accept_failed(&e) == Accept::Again => {}
                Err(_) => break,
            }
        }
        rest
    }

    /// For a model whose connections are served by other processes, which can't count here: `bytes` tells what they
    /// have received and sent since the start. The model calls it once.
    #[cfg(unix)]
    pub(super) fn count_bytes_elsewhere(&self, bytes: impl Fn() -> [u64; 2] + Send + Sync + 'static) {
        let first = self.bytes_elsewhere.set(Box::new(bytes)).is_ok();
        debug_assert!(first, "count_bytes_elsewhere() is called once");
    }

    /// Counts an overlapped operation that is about to be begun.
    #[cfg(any(windows, test))]
    pub(super) fn operation_begins(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    /// An operation has ended: its completion was taken, or it was not begun after all.
    #[cfg(any(windows, test))]
    pub(super) fn operation_ended(&self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }

    /// Checks that a model which has returned has taken the completion of each operation that it has begun. If it has
    /// not, the system may still write to memory of the server, which is never freed.
    ///
    /// # Errors
    /// Some are outstanding.
    pub(super) fn nothing_outstanding(&self) -> io::Result<()> {
        // The model has waited for its threads, and so for what they have counted.
        match self.outstanding.load(Ordering::Relaxed) {
            0 => Ok(()),
            count => Err(io::Error::other(format!(
                "the model has ended with overlapped operations outstanding ({count}): this is a defect of echo-tester, \
                 please report it"
            ))),
        }
    }

    /// The counters now.
    pub fn snapshot(&self) -> CountersSnapshot {
        let c = &self.counters;
        let [received, sent] = self.bytes_elsewhere.get().map_or([0, 0], |bytes| bytes());
        let (accepted, closed) = c.admission.counts();
        CountersSnapshot {
            accepted,
            closed,
            refused: c.refused.load(Ordering::Relaxed),
            idle_closed: c.idle_closed.load(Ordering::Relaxed),
            bytes_in: c.bytes_in.load(Ordering::Relaxed) + received,
            bytes_out: c.bytes_out.load(Ordering::Relaxed) + sent,
            bytes_discarded: c.bytes_discarded.load(Ordering::Relaxed),
            accept_errors: c.accept_errors.load(Ordering::Relaxed),
            connection_errors: c.connection_errors.load(Ordering::Relaxed),
        }
    }

    pub(super) fn advance(&self, phase: ServerPhase) {
        self.phase.advance(phase);
    }

    /// The door that every accepted socket passes, whatever serves it. `true`: it is counted as accepted, TCP_NODELAY
    /// is set, and child processes don't inherit it. `false`: `--max-conns` are open; close the socket at once (it is
    /// counted as refused).
    pub(super) fn admit<'s>(&self, accepted: impl Into<SockRef<'s>>) -> bool {
        let is_admitted = self.count_accepted();
        if is_admitted {
            sys::prepare_accepted(accepted);
        }
        is_admitted
    }

    /// The half of [`admit`](Self::admit) that needs no socket, which tests may not have. Counts a connection as
    /// accepted if `--max-conns` allows it. However many threads ask, never more are open.
    pub(super) fn count_accepted(&self) -> bool {
        let is_admitted = self.counters.admission.admit(self.options.max_conns as u64);
        if !is_admitted {
            self.refuse();
        }
        is_admitted
    }

    /// Counts a connection that was turned away.
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
        self.counters.admission.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn no_more_than_max_conns_are_open_however_many_threads_accept() {
        // Enough calls for a race to show.
        const EACH: u64 = 1_000_000;
        let most = 3;
        let context = Context::new(Options { max_conns: most, ..Options::default() }, channel().0);
        let open = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        if context.count_accepted() {
                            assert!(
                                open.fetch_add(1, Ordering::AcqRel) < most as u64,
                                "more than --max-conns are open"
                            );
                            open.fetch_sub(1, Ordering::AcqRel);
                            context.closed(0);
                        }
                    }
                });
            }
        });
        let counters = context.snapshot();
        assert_eq!((counters.accepted + counters.refused, counters.active()), (4 * EACH, 0), "{counters:?}");
        assert_eq!([(); 4].map(|()| context.count_accepted()), [true, true, true, false]);
    }
}
