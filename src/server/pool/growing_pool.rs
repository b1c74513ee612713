//! A pool of threads that grows, for models whose wait, queue or set belongs to one thread and takes only a limited
//! number of connections.
//!
//! The model's own thread accepts, and hands each connection to the thread that serves the fewest. When all are full
//! another thread is started, so the number of threads grows with the connections; a thread that has become empty stays
//! and fills up again.
//!
//! No Winsock here, and no decision about bytes: what a thread waits for, and how it serves, is the model's
//! [`PoolWorker`].

use std::io;
use std::sync::Arc;
use std::thread::Builder;

use super::mailbox::{MailSender, Mailbox};
use super::slots::{SlotCount, SlotGuard};
use super::worker_threads::{WorkerGroup, WorkerThreads};
use crate::server::wait::Waker;
use crate::server::{Context, ServerPhase};

/// A connection and its slot in the thread that serves it. The slot is to be dropped after the connection.
pub(in crate::server) type Assigned<C> = (C, SlotGuard);

/// A serving thread of a model.
pub(in crate::server) trait PoolWorker: Sized + 'static {
    /// The name of the thread.
    const NAME: &'static str;
    /// Connections that one thread can serve.
    const CAPACITY: usize;
    /// An accepted connection, as it is handed over.
    type Connection: Send + 'static;

    /// Makes what the thread waits with, on that thread, and the waker that interrupts the wait.
    ///
    /// # Errors
    /// The system's.
    fn prepare() -> io::Result<(Self, Waker)>;

    /// Serves the connections from the mailbox, until the phase is `Abort`, or the mailbox is over and no connection is
    /// left.
    ///
    /// # Errors
    /// A wait that fails; never the error of one connection.
    fn serve(self, mailbox: Mailbox<Assigned<Self::Connection>>, group: &WorkerGroup) -> io::Result<()>;
}

/// The serving threads of one server, as its accepting thread sees them.
pub(in crate::server) struct GrowingPool<W: PoolWorker> {
    group: WorkerGroup,
    // Before the senders: dropped first, it aborts the threads.
    threads: WorkerThreads,
    members: Vec<PoolThread<W::Connection>>,
}

struct PoolThread<C> {
    slots: SlotCount,
    sender: MailSender<Assigned<C>>,
}

impl<W: PoolWorker> GrowingPool<W> {
    /// Starts as many threads as `--workers` asks for. `waker` is that of the accepting thread.
    ///
    /// # Errors
    /// A thread can't be started, or can't make what it waits with.
    pub(in crate::server) fn start(context: &Arc<Context>, waker: &Waker) -> io::Result<Self> {
        let group = WorkerGroup::new(context);
        group.add_waker(waker);
        let mut pool = GrowingPool { threads: WorkerThreads::new(&group), group, members: Vec::new() };
        for _ in 0..context.options().workers.max(1) {
            pool.grow()?;
        }
        Ok(pool)
    }

    /// The group of the threads, which the accepting thread belongs to.
    pub(in crate::server) fn group(&self) -> &WorkerGroup {
        &self.group
    }

    /// For the accepting thread, to look at after each wait. It is `Abort` too when a thread has failed.
    pub(in crate::server) fn phase(&self) -> ServerPhase {
        self.group.phase()
    }

    /// Has a connection served.
    ///
    /// # Errors
    /// All threads are full and no other one can be started. The connection is closed then.
    pub(in crate::server) fn hand_over(&mut self, connection: W::Connection) -> io::Result<()> {
        let loads: Vec<usize> = self.members.iter().map(|member| member.slots.in_use()).collect();
        let member = match least_loaded(&loads, W::CAPACITY) {
            Some(index) => &self.members[index],
            None => self.grow()?,
        };
        member.sender.send((connection, member.slots.take()));
        Ok(())
    }

    fn grow(&mut self) -> io::Result<&PoolThread<W::Connection>> {
        let group = self.group.clone();
        let thread = Builder::new().name(format!("serve-{}", W::NAME));
        let serve = move |worker: W, mailbox| worker.serve(mailbox, &group);
        let sender = self.threads.start(thread, W::prepare, serve)?;
        self.members.push(PoolThread { slots: SlotCount::default(), sender });
        Ok(self.members.last().expect("a member was just pushed"))
    }

    /// Call it when no more connections come. Waits until each thread has served its connections to their ends, or has
    /// aborted. If the accepting thread has failed, all abort.
    ///
    /// # Errors
    /// The error of the accepting thread, or of the first thread that failed.
    pub(in crate::server) fn finish(self, accepting: io::Result<()>) -> io::Result<()> {
        drop(self.members);
        self.threads.join(accepting)
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
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::time::{Duration, Instant};

    #[test]
    fn the_thread_with_the_fewest_connections_gets_the_next_one() {
        assert_eq!(least_loaded(&[3, 1, 2], 4), Some(1));
        assert_eq!(least_loaded(&[2, 2], 4), Some(0));
        assert_eq!(least_loaded(&[4, 3], 4), Some(1));
        assert_eq!(least_loaded(&[4, 4], 4), None, "a full thread gets no more");
        assert_eq!(least_loaded(&[], 4), None);
    }

    /// A connection that tells which thread serves it.
    struct Call {
        served_by: Sender<std::thread::ThreadId>,
        /// Its thread is to end with an error.
        broken: bool,
        hang_up: Arc<AtomicBool>,
    }

    /// Serves calls until they are hung up.
    struct Operator(Receiver<()>);

    impl PoolWorker for Operator {
        const NAME: &'static str = "operator";
        const CAPACITY: usize = 3;
        type Connection = Call;

        fn prepare() -> io::Result<(Self, Waker)> {
            let (wake, woken) = channel();
            // The thread may have ended.
            let waker = move || wake.send(()).unwrap_or_default();
            Ok((Operator(woken), Arc::new(waker)))
        }

        fn serve(self, mut mailbox: Mailbox<Assigned<Call>>, group: &WorkerGroup) -> io::Result<()> {
            let mut served: Vec<Assigned<Call>> = Vec::new();
            loop {
                for (call, slot) in mailbox.take() {
                    assert!(served.len() < Self::CAPACITY, "more than this thread can serve");
                    if call.broken {
                        return Err(io::Error::other("the line is cut"));
                    }
                    call.served_by.send(std::thread::current().id()).expect("the test listens");
                    served.push((call, slot));
                }
                served.retain(|(call, _)| !call.hang_up.load(Ordering::Acquire));
                if group.phase() == ServerPhase::Abort || mailbox.is_over() && served.is_empty() {
                    return Ok(());
                }
                self.0.recv_timeout(Duration::from_secs(20)).expect("the thread is woken");
            }
        }
    }

    struct Exchange {
        context: Arc<Context>,
        pool: GrowingPool<Operator>,
        served_by: (Sender<std::thread::ThreadId>, Receiver<std::thread::ThreadId>),
        hang_up: Arc<AtomicBool>,
        /// Receives each call of the accepting thread's waker.
        woken: Receiver<()>,
    }

    impl Exchange {
        fn of(workers: usize) -> Exchange {
            let context = Arc::new(Context::new(Options { workers, ..Options::default() }, channel().0));
            let (wake, woken) = channel();
            let waker: Waker = Arc::new(move || wake.send(()).unwrap_or_default());
            let pool = GrowingPool::start(&context, &waker).expect("threads start");
            context.ready(pool.group().wake_all());
            Exchange { context, pool, served_by: channel(), hang_up: Arc::default(), woken }
        }

        fn call(&mut self, broken: bool) {
            let call = Call { served_by: self.served_by.0.clone(), broken, hang_up: Arc::clone(&self.hang_up) };
            self.pool.hand_over(call).expect("a thread is found or started");
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
        assert_ne!(threads[0], threads[1], "both threads have work");
        threads.sort_by_key(|id| format!("{id:?}"));
        let shares: Vec<usize> = threads.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
        assert_eq!(shares, [3, 3, 3, 1]);
        exchange.hang_up.store(true, Ordering::Release);
        exchange.pool.finish(Ok(())).expect("all threads end once nothing is served");
    }

    #[test]
    fn a_slot_is_free_again_when_its_connection_has_gone() {
        let mut exchange = Exchange::of(1);
        for _ in 0..3 {
            exchange.call(false);
            exchange.thread();
        }
        exchange.hang_up.store(true, Ordering::Release);
        (exchange.pool.group().wake_all())();
        let slots = exchange.pool.members[0].slots.clone();
        let until = Instant::now() + Duration::from_secs(20);
        while slots.in_use() > 0 && Instant::now() < until {
            std::thread::yield_now();
        }
        exchange.call(false);
        assert_eq!(exchange.pool.members.len(), 1, "no other thread is needed");
        exchange.pool.finish(Ok(())).expect("the thread ends");
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
        let finish = std::thread::spawn(move || say.send(exchange.pool.finish(Ok(()))));
        context.advance(ServerPhase::Drain);
        assert!(matches!(ended.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout)));
        context.advance(ServerPhase::Abort);
        ended.recv_timeout(Duration::from_secs(20)).expect("the pool ends").expect("it ends without an error");
        finish.join().expect("no panic").expect("the test listens");
    }

    #[test]
    fn one_thread_that_fails_ends_them_all_with_its_error() {
        let mut exchange = Exchange::of(2);
        exchange.call(false);
        exchange.call(true);
        while exchange.pool.phase() != ServerPhase::Abort {
            exchange.woken.recv_timeout(Duration::from_secs(20)).expect("the accepting thread is woken");
        }
        let error = exchange.pool.finish(Ok(())).expect_err("it failed");
        assert_eq!(error.to_string(), "the line is cut");
    }
}
