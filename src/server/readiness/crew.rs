//! How a reactor shares its connections among `--workers`: each worker is a thread with a wait of its own; the first
//! one also accepts, and deals the connections out in turn.
//!
//! A connection stays with its worker, so no socket is ever touched by two threads. Dealing in turn keeps the workers
//! even; letting each of them accept would not (epoll(7) wakes the last waiter first).
//!
//! A model gives [`run`] its loop:
//!
//! ```text
//! worker.ready(waker)                  // how to interrupt this worker's wait
//! loop {
//!     worker.adopt()                   // connections dealt to this worker: register them
//!     worker.phase()                   // Drain: return when no connection is left and is_done(); Abort: reset all
//!     wait(worker.listening(), connections, worker.timeout())
//!     worker.accept(), connection.turn(…), worker.sweep_due()
//! }
//! ```

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{BufferPool, NonblockingConnection};
use crate::server::context::{Accept, Context, Phase};
use crate::server::session::Session;

/// Accepts in one go, before the connections that are there already get their turn. Many: when the queue of those that
/// wait overflows, Linux drops the end of the handshake, and the client waits for seconds.
const ACCEPTS_A_TURN: usize = 256;

type Waker = Box<dyn Fn() + Send + Sync>;

/// What the workers of one server share.
struct Crew {
    desks: Vec<Desk>,
    /// Workers that have not yet said how to wake them.
    not_ready: AtomicUsize,
    /// The first worker may still deal connections out.
    accepting: AtomicBool,
    /// A worker ended with an error: the others abort.
    failed: AtomicBool,
}

/// Where one worker is reached.
#[derive(Default)]
struct Desk {
    waker: OnceLock<Waker>,
    inbox: Mutex<Vec<NonblockingConnection>>,
}

impl Desk {
    fn inbox(&self) -> MutexGuard<'_, Vec<NonblockingConnection>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // One that has no waker yet looks at everything before its first wait.
        if let Some(wake) = self.waker.get() {
            wake();
        }
    }
}

impl Crew {
    fn wake_all(&self) {
        self.desks.iter().for_each(Desk::wake);
    }
}

/// One worker, as its model's loop sees it.
pub(in crate::server) struct Worker {
    crew: Arc<Crew>,
    context: Arc<Context>,
    index: usize,
    /// The first worker's, until it drains.
    listener: Option<TcpListener>,
    /// Accepting was given up until then, for want of descriptors or memory.
    resume_at: Option<Instant>,
    /// Who gets the next connection.
    next: usize,
    sweep_at: Option<Instant>,
    /// Its loop returned without an error.
    ended_well: bool,
    /// The buffers of this worker's connections.
    pub(in crate::server) pool: BufferPool,
}

/// Serves with [`workers`](crate::server::Options::workers) threads, this one among them, until all of them have
/// returned.
///
/// # Errors
/// The first worker's error; the others were aborted then.
pub(in crate::server) fn run(
    listener: TcpListener,
    context: Arc<Context>,
    serve: fn(&mut Worker) -> io::Result<()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let count = context.options().workers.max(1);
    let crew = Arc::new(Crew {
        desks: (0..count).map(|_| Desk::default()).collect(),
        not_ready: AtomicUsize::new(count),
        accepting: AtomicBool::new(true),
        failed: AtomicBool::new(false),
    });
    let name = thread::current().name().unwrap_or("serve").to_owned();
    let worker = |index, listener| Worker::new(Arc::clone(&crew), Arc::clone(&context), index, listener);
    thread::scope(|scope| {
        let mut result = Ok(());
        let mut handles = Vec::with_capacity(count);
        for index in 1..count {
            let worker = worker(index, None);
            match thread::Builder::new().name(format!("{name}-{index}")).spawn_scoped(scope, move || worker.work(serve))
            {
                Ok(handle) => handles.push(handle),
                // The workers that are there already see this one fail, and end.
                Err(e) => result = Err(e),
            }
        }
        let first = worker(0, Some(listener));
        result = result.and_then(|()| first.work(serve));
        for handle in handles {
            let ended = handle.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            result = result.and(ended);
        }
        result
    })
}

impl Worker {
    fn new(crew: Arc<Crew>, context: Arc<Context>, index: usize, listener: Option<TcpListener>) -> Worker {
        Worker {
            pool: BufferPool::new(context.options().buffer),
            sweep_at: Session::idle_check_interval(&context).map(|every| Instant::now() + every),
            next: 0,
            resume_at: None,
            ended_well: false,
            crew,
            context,
            index,
            listener,
        }
    }

    fn work(mut self, serve: fn(&mut Worker) -> io::Result<()>) -> io::Result<()> {
        let result = serve(&mut self);
        self.ended_well = result.is_ok();
        result
    }

    /// Tells how to interrupt this worker's wait: from any thread, at any time, any number of times, without blocking.
    /// Call it once, before the loop. The server is ready when its last worker is.
    pub(in crate::server) fn ready(&self, waker: impl Fn() + Send + Sync + 'static) {
        let first = self.crew.desks[self.index].waker.set(Box::new(waker)).is_ok();
        debug_assert!(first, "ready() is called once a worker");
        if self.crew.not_ready.fetch_sub(1, Ordering::AcqRel) == 1 {
            let crew = Arc::clone(&self.crew);
            self.context.ready(move || crew.wake_all());
        }
    }

    /// Run, drain or abort: look before each wait. The first worker closes the listener here, and to drain it first
    /// deals out what waits there.
    pub(in crate::server) fn phase(&mut self) -> Phase {
        let failed = self.crew.failed.load(Ordering::Acquire);
        let phase = if failed { Phase::Abort } else { self.context.phase() };
        if phase != Phase::Run
            && let Some(listener) = self.listener.take()
        {
            if phase == Phase::Drain {
                let context = Arc::clone(&self.context);
                context.accept_rest(&listener, |stream| self.take_on(stream));
            }
            drop(listener);
            self.crew.accepting.store(false, Ordering::Release);
            self.crew.wake_all();
        }
        phase
    }

    /// Whether no connection will be dealt to this worker any more. When it also has none left, a draining worker
    /// returns.
    pub(in crate::server) fn is_done(&self) -> bool {
        // In this order: what was dealt before accepting ended is in the inbox by then.
        !self.crew.accepting.load(Ordering::Acquire) && self.desk().inbox().is_empty()
    }

    /// The connections dealt to this worker since the last call. Register each.
    pub(in crate::server) fn adopt(&mut self) -> Vec<NonblockingConnection> {
        std::mem::take(&mut *self.desk().inbox())
    }

    /// The first worker's listener, until it drains.
    pub(in crate::server) fn listener(&self) -> Option<&TcpListener> {
        self.listener.as_ref()
    }

    /// The listener, if it is to be watched now: not while accepting is given up for a moment.
    pub(in crate::server) fn listening(&self) -> Option<&TcpListener> {
        self.listener().filter(|_| self.resume_at.is_none())
    }

    /// Accepts what waits at the listener, and deals it out. Call it when the listener is ready, or at any time.
    pub(in crate::server) fn accept(&mut self) {
        for _ in 0..ACCEPTS_A_TURN {
            let Some(listener) = self.listening() else { return };
            match listener.accept() {
                Ok((stream, _)) => self.take_on(stream),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => match self.context.accept_failed(&e) {
                    Accept::Again => {}
                    Accept::After(pause) => self.resume_at = Some(Instant::now() + pause),
                },
            }
        }
    }

    fn take_on(&mut self, stream: TcpStream) {
        if let Some(connection) = NonblockingConnection::new(stream, &self.context) {
            self.deal(connection);
        }
    }

    fn deal(&mut self, connection: NonblockingConnection) {
        let index = self.next;
        self.next = (self.next + 1) % self.crew.desks.len();
        let desk = &self.crew.desks[index];
        let was_empty = {
            let mut inbox = desk.inbox();
            inbox.push(connection);
            inbox.len() == 1
        };
        // It adopts before its next wait, all at once; so the first of several wakes it. This worker is awake.
        if was_empty && index != self.index {
            desk.wake();
        }
    }

    /// How long the wait may last: without end, unless idle connections must be looked for or accepting goes on later.
    pub(in crate::server) fn timeout(&mut self) -> Option<Duration> {
        let until = match (self.resume_at, self.sweep_at) {
            (None, None) => return None,
            (Some(one), Some(other)) => one.min(other),
            (one, other) => one.or(other)?,
        };
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Call it after each wait. `Some`: look for idle connections, as of this time.
    pub(in crate::server) fn sweep_due(&mut self) -> Option<Instant> {
        if self.resume_at.is_none() && self.sweep_at.is_none() {
            return None;
        }
        let now = Instant::now();
        self.resume_at = self.resume_at.filter(|at| *at > now);
        let due = self.sweep_at.is_some_and(|at| at <= now);
        if due {
            self.sweep_at = Session::idle_check_interval(&self.context).map(|every| now + every);
        }
        due.then_some(now)
    }

    fn desk(&self) -> &Desk {
        &self.crew.desks[self.index]
    }
}

impl Drop for Worker {
    /// However the loop ended, by a panic too: if not well, the others abort. A connection dealt at the last moment is
    /// closed.
    fn drop(&mut self) {
        if !self.ended_well {
            self.crew.failed.store(true, Ordering::Release);
            self.crew.wake_all();
        }
        self.desk().inbox().drain(..).for_each(NonblockingConnection::abort);
    }
}
