//! Connections shared out among serving threads, for models whose wait, queue or set is private to one thread and takes
//! only so many of them.
//!
//! The model's own thread accepts, and hands each connection to the serving thread that has the fewest. When all are
//! full another thread is started, so the number of threads grows with the connections; a thread that has become empty
//! stays and fills up again. A serving thread is woken by its *bell* (SetEvent, PostMessage, a datagram …), which also
//! tells it to look at the phase.
//!
//! No Winsock here, and no decision about bytes: what a thread waits for, and how it serves, is the model's [`Worker`].

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::server::readiness::connection::Connection;
use crate::server::{Accept, Context, Phase, Session};

/// Interrupts the wait of one thread, now or when it begins. It never blocks.
pub(in crate::server) type Bell = Arc<dyn Fn() + Send + Sync>;

/// A serving thread of a model.
pub(in crate::server) trait Worker: Sized {
    /// What the thread is called.
    const NAME: &'static str;
    /// Connections that one thread can serve.
    const CAPACITY: usize;
    /// An accepted connection, as it is handed over.
    type Connection: Send + 'static;

    /// Makes what the wait needs, on the thread that will wait, and the bell that interrupts it.
    ///
    /// # Errors
    /// The system's.
    fn prepare() -> io::Result<(Self, Bell)>;

    /// Serves what comes through the inbox until [`Inbox::phase`] is `Abort`, or the inbox is over and nothing is
    /// served.
    ///
    /// # Errors
    /// A wait that fails; never the error of one connection.
    fn serve(self, inbox: Inbox<Self::Connection>) -> io::Result<()>;
}

/// A place in a serving thread, free again when this is dropped.
pub(in crate::server) struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(load: &Arc<AtomicUsize>) -> Seat {
        load.fetch_add(1, Ordering::AcqRel);
        Seat(Arc::clone(load))
    }

    /// In a thread that nobody else knows of, and the number of its seats that are taken.
    #[cfg(test)]
    pub(in crate::server) fn alone() -> (Seat, Arc<AtomicUsize>) {
        let load = Arc::default();
        (Seat::take(&load), load)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a serving thread sees of the rest.
pub(in crate::server) struct Inbox<C> {
    shared: Arc<Shared>,
    accepted: Receiver<(C, Seat)>,
    over: bool,
}

impl<C> Inbox<C> {
    /// The next connection to serve, if one waits, and its place in this thread: to be dropped after the connection.
    pub(in crate::server) fn next(&mut self) -> Option<(C, Seat)> {
        match self.accepted.try_recv() {
            Ok(accepted) => Some(accepted),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.over = true;
                None
            }
        }
    }

    /// No connection will come any more. True at the earliest when [`next`](Self::next) has said `None`.
    pub(in crate::server) fn is_over(&self) -> bool {
        self.over
    }

    /// To be looked at after each wait. `Abort` also when another thread of this server has failed.
    pub(in crate::server) fn phase(&self) -> Phase {
        self.shared.phase()
    }

    /// What the harness told the server.
    pub(in crate::server) fn context(&self) -> &Context {
        &self.shared.context
    }
}

struct Shared {
    context: Arc<Context>,
    /// Of the accepting thread, then of each serving one.
    bells: Mutex<Vec<Bell>>,
    failed: AtomicBool,
}

impl Shared {
    fn phase(&self) -> Phase {
        if self.failed.load(Ordering::Acquire) { Phase::Abort } else { self.context.phase() }
    }

    fn ring(&self) {
        for bell in self.bells.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            bell();
        }
    }
}

/// Tells all others when a serving thread ends otherwise than it should, be it by a panic.
struct Guard {
    shared: Arc<Shared>,
    well: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.well {
            self.shared.failed.store(true, Ordering::Release);
            self.shared.ring();
        }
    }
}

struct Shard<C> {
    load: Arc<AtomicUsize>,
    inbox: Sender<(C, Seat)>,
    bell: Bell,
    thread: JoinHandle<io::Result<()>>,
}

/// The serving threads of one server, as its accepting thread sees them.
pub(in crate::server) struct Shards<W: Worker> {
    shared: Arc<Shared>,
    shards: Vec<Shard<W::Connection>>,
}

impl<W: Worker> Shards<W> {
    /// Starts as many serving threads as `--workers` asks for. `bell` is that of the accepting thread.
    ///
    /// # Errors
    /// A thread can't be started, or can't make what it waits with.
    pub(in crate::server) fn start(context: &Arc<Context>, bell: Bell) -> io::Result<Self> {
        let shared =
            Shared { context: Arc::clone(context), bells: Mutex::new(vec![bell]), failed: AtomicBool::new(false) };
        let mut shards = Shards { shared: Arc::new(shared), shards: Vec::new() };
        for _ in 0..context.options().workers.max(1) {
            if let Err(e) = shards.grow() {
                return Err(shards.finish(Err(e)).expect_err("it gives the error back"));
            }
        }
        Ok(shards)
    }

    /// For [`Context::ready`]: rings all bells, also those of threads that are started later.
    pub(in crate::server) fn wake(&self) -> impl Fn() + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.ring()
    }

    /// To be looked at after each wait of the accepting thread. `Abort` also when a serving thread has failed.
    pub(in crate::server) fn phase(&self) -> Phase {
        self.shared.phase()
    }

    /// The same, for an accepting loop that borrows the threads to hand connections over.
    pub(in crate::server) fn watch_phase(&self) -> impl Fn() -> Phase + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.phase()
    }

    /// Has a connection served.
    ///
    /// # Errors
    /// All threads are full and the system gives no other one. The connection is closed then.
    pub(in crate::server) fn hand_over(&mut self, connection: W::Connection) -> io::Result<()> {
        let loads: Vec<usize> = self.shards.iter().map(|shard| shard.load.load(Ordering::Acquire)).collect();
        let shard = match least_loaded(&loads, W::CAPACITY) {
            Some(index) => &self.shards[index],
            None => self.grow()?,
        };
        // A thread that is gone has failed; the phase says so at the next look, and the connection is closed by the
        // drop.
        let _ = shard.inbox.send((connection, Seat::take(&shard.load)));
        (shard.bell)();
        Ok(())
    }

    fn grow(&mut self) -> io::Result<&Shard<W::Connection>> {
        let (inbox, accepted) = channel();
        let (send_bell, bell) = channel();
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(format!("serve-{}", W::NAME)).spawn(move || {
            let (worker, bell) = W::prepare()?;
            let mut guard = Guard { shared: Arc::clone(&shared), well: false };
            // The receiver waits for it.
            let _ = send_bell.send(bell);
            let result = worker.serve(Inbox { shared, accepted, over: false });
            guard.well = result.is_ok();
            result
        })?;
        let Ok(bell) = bell.recv() else {
            return Err(match thread.join() {
                Ok(Err(e)) => e,
                _ => io::Error::other("a serving thread ended before it began"),
            });
        };
        self.shared.bells.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&bell));
        // The phase may have changed before the bell was there to be rung.
        bell();
        self.shards.push(Shard { load: Arc::default(), inbox, bell, thread });
        Ok(self.shards.last().expect("it was pushed just now"))
    }

    /// No connection will come any more: waits until each thread has served what it has, or was told to abort. If the
    /// accepting thread has failed all are told so.
    ///
    /// # Errors
    /// That of the accepting thread, or of the first thread that failed.
    pub(in crate::server) fn finish(self, accepting: io::Result<()>) -> io::Result<()> {
        if accepting.is_err() {
            self.shared.failed.store(true, Ordering::Release);
        }
        let mut threads = Vec::new();
        for Shard { inbox, bell, thread, .. } in self.shards {
            drop(inbox);
            bell();
            threads.push(thread);
        }
        // All are waited for, whatever the first one says.
        threads.into_iter().fold(accepting, |result, thread| {
            let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("a serving thread panicked")));
            result.and(ended)
        })
    }
}

impl<W: Worker<Connection = Connection>> Shards<W> {
    /// Accepts one connection and has it served: once for each FD_ACCEPT, which it re-arms. The listener must be
    /// nonblocking.
    ///
    /// Not until nobody waits: on Windows an accept that would block re-arms FD_ACCEPT too, under Wine 8.0 it does not,
    /// and a notice that came too late for its client would then be the last one.
    pub(in crate::server) fn accept(&mut self, listener: &TcpListener) {
        // While the system is short of something the client waits in the backlog, and no other notice comes for it.
        while let Err(Accept::After(pause)) = self.try_accept(listener)
            && self.phase() == Phase::Run
        {
            std::thread::sleep(pause);
        }
    }

    fn try_accept(&mut self, listener: &TcpListener) -> Result<(), Accept> {
        let result = match listener.accept() {
            Ok((stream, _)) => match Connection::new(stream, &self.shared.context) {
                Some(connection) => self.hand_over(connection),
                None => Ok(()),
            },
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e),
        };
        result.map_err(|e| self.shared.context.accept_failed(&e))
    }
}

/// When to look for idle connections.
pub(in crate::server) struct Sweep {
    every: Option<Duration>,
    at: Option<Instant>,
}

impl Sweep {
    /// As `--idle-timeout` asks for.
    pub(in crate::server) fn new(context: &Context) -> Sweep {
        let every = Session::sweep_every(context);
        Sweep { every, at: every.map(|every| Instant::now() + every) }
    }

    /// How long to wait at most; `None`, without end, where no sweep was asked for.
    pub(in crate::server) fn timeout(&self) -> Option<Duration> {
        self.at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// The time, if the moment has come; the next one is set then.
    pub(in crate::server) fn due(&mut self) -> Option<Instant> {
        let (every, at) = (self.every?, self.at?);
        let now = Instant::now();
        (at <= now).then(|| {
            self.at = Some(now + every);
            now
        })
    }
}

/// The thread with the fewest connections, the first of equals; `None`: all are full.
fn least_loaded(loads: &[usize], capacity: usize) -> Option<usize> {
    let (index, load) = loads.iter().enumerate().min_by_key(|&(_, load)| load)?;
    (*load < capacity).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Options;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::RecvTimeoutError;

    #[test]
    fn the_thread_with_the_fewest_connections_gets_the_next_one() {
        assert_eq!(least_loaded(&[3, 1, 2], 4), Some(1));
        assert_eq!(least_loaded(&[2, 2], 4), Some(0));
        assert_eq!(least_loaded(&[4, 3], 4), Some(1));
        assert_eq!(least_loaded(&[4, 4], 4), None, "a full one gets no more");
        assert_eq!(least_loaded(&[], 4), None);
    }

    /// A connection that tells which thread serves it.
    struct Call {
        served_by: Sender<std::thread::ThreadId>,
        /// Its thread is to break with an error.
        broken: bool,
        hang_up: Arc<AtomicBool>,
    }

    /// Serves calls until they are hung up.
    struct Operator(Receiver<()>);

    impl Worker for Operator {
        const NAME: &'static str = "operator";
        const CAPACITY: usize = 3;
        type Connection = Call;

        fn prepare() -> io::Result<(Self, Bell)> {
            let (ring, rung) = channel();
            // A bell that nobody hears any more.
            let bell = move || ring.send(()).unwrap_or_default();
            Ok((Operator(rung), Arc::new(bell)))
        }

        fn serve(self, mut inbox: Inbox<Call>) -> io::Result<()> {
            let mut served: Vec<(Call, Seat)> = Vec::new();
            loop {
                while let Some((call, seat)) = inbox.next() {
                    assert!(served.len() < Self::CAPACITY, "more than this thread can serve");
                    if call.broken {
                        return Err(io::Error::other("the line is cut"));
                    }
                    call.served_by.send(std::thread::current().id()).expect("the test listens");
                    served.push((call, seat));
                }
                served.retain(|(call, _)| !call.hang_up.load(Ordering::Acquire));
                if inbox.phase() == Phase::Abort || inbox.is_over() && served.is_empty() {
                    return Ok(());
                }
                self.0.recv_timeout(Duration::from_secs(20)).expect("somebody rings");
            }
        }
    }

    struct Exchange {
        context: Arc<Context>,
        shards: Shards<Operator>,
        served_by: (Sender<std::thread::ThreadId>, Receiver<std::thread::ThreadId>),
        hang_up: Arc<AtomicBool>,
        /// The accepting thread's bell.
        rung: Receiver<()>,
    }

    impl Exchange {
        fn of(workers: usize) -> Exchange {
            let context = Arc::new(Context::new(Options { workers, ..Options::default() }, channel().0));
            let (ring, rung) = channel();
            let bell = move || ring.send(()).unwrap_or_default();
            let shards = Shards::start(&context, Arc::new(bell)).expect("threads start");
            context.ready(shards.wake());
            Exchange { context, shards, served_by: channel(), hang_up: Arc::default(), rung }
        }

        fn call(&mut self, broken: bool) {
            let call = Call { served_by: self.served_by.0.clone(), broken, hang_up: Arc::clone(&self.hang_up) };
            self.shards.hand_over(call).expect("a thread is found or started");
        }

        fn thread(&self) -> std::thread::ThreadId {
            self.served_by.1.recv_timeout(Duration::from_secs(20)).expect("it is served")
        }
    }

    #[test]
    fn threads_grow_with_the_connections_and_none_gets_more_than_it_can_serve() {
        let mut exchange = Exchange::of(2);
        let mut threads: Vec<_> = (0..10)
            .map(|_| {
                exchange.call(false);
                exchange.thread()
            })
            .collect();
        assert_ne!(threads[0], threads[1], "both of the threads that were asked for have work");
        threads.sort_by_key(|id| format!("{id:?}"));
        let shares: Vec<usize> = threads.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
        assert_eq!(shares, [3, 3, 3, 1]);
        exchange.hang_up.store(true, Ordering::Release);
        exchange.shards.finish(Ok(())).expect("all threads end once nothing is served");
    }

    #[test]
    fn a_seat_is_free_again_when_its_connection_has_gone() {
        let mut exchange = Exchange::of(1);
        for _ in 0..3 {
            exchange.call(false);
            exchange.thread();
        }
        exchange.hang_up.store(true, Ordering::Release);
        (exchange.shards.wake())();
        let load = Arc::clone(&exchange.shards.shards[0].load);
        let until = Instant::now() + Duration::from_secs(20);
        while load.load(Ordering::Acquire) > 0 && Instant::now() < until {
            std::thread::yield_now();
        }
        exchange.call(false);
        assert_eq!(exchange.shards.shards.len(), 1, "it needs no other thread");
        exchange.shards.finish(Ok(())).expect("the thread ends");
    }

    #[test]
    fn draining_serves_on_and_aborting_ends_every_thread() {
        let mut exchange = Exchange::of(1);
        for _ in 0..4 {
            exchange.call(false);
            exchange.thread();
        }
        let context = Arc::clone(&exchange.context);
        let (say, ended) = channel();
        let finish = std::thread::spawn(move || say.send(exchange.shards.finish(Ok(()))));
        context.advance(Phase::Drain);
        assert!(matches!(ended.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout)));
        context.advance(Phase::Abort);
        ended.recv_timeout(Duration::from_secs(20)).expect("it ends").expect("without an error");
        finish.join().expect("no panic").expect("the test listens");
    }

    #[test]
    fn one_thread_that_fails_ends_them_all_with_its_error() {
        let mut exchange = Exchange::of(2);
        exchange.call(false);
        exchange.call(true);
        while exchange.shards.phase() != Phase::Abort {
            exchange.rung.recv_timeout(Duration::from_secs(20)).expect("the accepting thread is told");
        }
        let error = exchange.shards.finish(Ok(())).expect_err("it failed");
        assert_eq!(error.to_string(), "the line is cut");
    }
}
