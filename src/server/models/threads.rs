//! `threads` (every OS): blocking calls, one thread a connection.
//!
//! **Mechanism.** `recv` blocks the thread until bytes come, `send` until the system has taken them. The state of a
//! connection is where its thread stands in the code: the easiest model to read, and back-pressure comes by itself,
//! since a thread that is blocked in `send` receives nothing.
//!
//! **Drawbacks.** A stack, a scheduler's entry and a context switch for each connection, and nothing can be told to a
//! thread that is blocked: it must be woken from outside. The thread that accepts is woken as `threads/unix.rs` and
//! `threads/windows.rs` tell; a thread in `recv` or `send` by [`sys::interrupt`].
//!
//! **Limit.** The system's count of threads (`ulimit -u`, `/proc/sys/kernel/threads-max`) and memory for stacks. Stacks
//! are small here, and a buffer starts small and grows with what its client sends. A thread that the system refuses
//! costs its connection, and accepting goes on a moment later. On Linux there is a limit that does not refuse but
//! kills: [`sys::thread_limit`] tells it, and a connection beyond it is closed at once and counted as refused.
//!
//! Idle connections are found by SO_RCVTIMEO and SO_SNDTIMEO, which suits this model and no other: after the time-out
//! the connection is closed, as Windows demands ('the socket is in an indeterminate state').
//!
//! Source: accept(2), recv(2), shutdown(2), socket(7); Microsoft, 'SO_RCVTIMEO', 'CancelIoEx'.

#[cfg(unix)]
#[path = "threads/unix.rs"]
mod os;
#[cfg(windows)]
#[path = "threads/windows.rs"]
mod os;

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crate::server::Session;
use crate::server::context::{Accept, Context, Phase};
use crate::sys;
use os::Acceptor;

/// A connection's thread reads and writes, a few frames deep; debug builds and a panic's message need some room.
const STACK: usize = 128 * 1024;
/// A buffer starts with so many bytes, and doubles up to `--buffer` while its client fills it.
const FIRST_BUFFER: usize = 4 * 1024;
/// An interrupted call returns at once; this is how long until those are interrupted again that were just about to
/// block.
const INTERRUPT_AGAIN: Duration = Duration::from_millis(20);
/// How a call says that SO_RCVTIMEO or SO_SNDTIMEO has passed. Unix has another name for a peer that acknowledges no
/// more, which is a failure; Windows has one name for both.
const TIMED_OUT: ErrorKind = if cfg!(windows) { ErrorKind::TimedOut } else { ErrorKind::WouldBlock };

pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let most = sys::thread_limit(context.options().buffer);
    run_with_threads(listener, context, most)
}

/// With that many connections at a time at most, since each has a thread.
fn run_with_threads(listener: TcpListener, context: Arc<Context>, most: Option<usize>) -> io::Result<()> {
    let crowd = Arc::new(Crowd::default());
    let threads = Threads { running: Arc::default(), most: most.unwrap_or(usize::MAX) };
    let acceptor = Acceptor::new(listener)?;
    let (bell, of_wake) = (acceptor.bell(), Arc::clone(&crowd));
    context.ready(move || {
        bell();
        of_wake.notify();
    });
    let mut id = 0;
    let mut take = |stream| {
        id += 1;
        if let Err(e) = start(id, stream, &context, &crowd, &threads) {
            pause(&context, &crowd, &e);
        }
    };
    while context.phase() == Phase::Run {
        match acceptor.accept(&context) {
            Ok(None) => {}
            Ok(Some(stream)) => take(stream),
            Err(e) => pause(&context, &crowd, &e),
        }
    }
    if context.phase() == Phase::Drain {
        acceptor.accept_rest(&context, take);
    }
    drop(acceptor);
    crowd.wait_for_the_end(&context)
}

/// Gives a connection its thread. When there is none to be had, the connection is closed.
fn start(id: u64, stream: TcpStream, context: &Arc<Context>, crowd: &Arc<Crowd>, threads: &Threads) -> io::Result<()> {
    let Some(place) = threads.place() else {
        context.refuse();
        return Ok(());
    };
    let Some(session) = Session::admit(context) else { return Ok(()) };
    let stream = Arc::new(stream);
    let member = crowd.join(id, &stream);
    let connection = Connection { stream, session, context: Arc::clone(context), _member: member };
    let serve = move || {
        PLACE.set(Some(place));
        connection.serve();
    };
    thread::Builder::new().name(format!("echo-{id}")).stack_size(STACK).spawn(serve)?;
    Ok(())
}

/// How many threads connections have, and may have.
struct Threads {
    running: Arc<AtomicUsize>,
    most: usize,
}

impl Threads {
    /// A place for one more. Only the accepting thread asks.
    fn place(&self) -> Option<Place> {
        if self.running.load(Ordering::Acquire) >= self.most {
            return None;
        }
        self.running.fetch_add(1, Ordering::AcqRel);
        Some(Place(Arc::clone(&self.running)))
    }
}

/// One thread, while it takes up what threads are limited by.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

thread_local! {
    /// What is local to a thread is dropped after all that its closure owns, and after the alternate stack that std
    /// gives it: a thread whose connection has ended may still be there a good while, among thousands that end.
    static PLACE: Cell<Option<Place>> = const { Cell::new(None) };
}

/// After a failed accept or a refused thread.
fn pause(context: &Context, crowd: &Crowd, error: &io::Error) {
    if let Accept::After(time) = context.accept_failed(error) {
        let members = crowd.lock();
        // Ended early by a change of phase, and by any connection that closes: it may have freed what was short.
        drop(crowd.changed.wait_timeout_while(members, time, |_| context.phase() == Phase::Run));
    }
}

/// What a connection's thread owns. The order matters: the socket is closed before the session counts it as closed, and
/// only then does the crowd forget it.
struct Connection {
    stream: Arc<TcpStream>,
    session: Session,
    context: Arc<Context>,
    _member: Member,
}

impl Connection {
    fn serve(mut self) {
        let ended = self.echo();
        if self.context.phase() == Phase::Abort {
            sys::close_with_reset(&*self.stream);
        } else if ended.is_err() {
            self.session.failed();
        }
    }

    fn echo(&mut self) -> io::Result<()> {
        sys::prepare_accepted(&*self.stream);
        let patience = self.context.options().idle_timeout;
        self.stream.set_read_timeout(patience)?;
        self.stream.set_write_timeout(patience)?;
        self.serve_until_over()
    }

    /// Receives into an empty buffer, sends all of it, and so on: with nothing pending at each receive the ring never
    /// wraps, and its positions lie within a buffer that is smaller than its capacity.
    fn serve_until_over(&mut self) -> io::Result<()> {
        let has_patience = self.context.options().idle_timeout.is_some();
        let capacity = self.session.capacity();
        let mut storage = vec![0; FIRST_BUFFER.min(capacity)];
        let mut full = false;
        while !self.session.is_over() {
            let due = self.session.due();
            let called = if due.finish {
                self.stream.shutdown(Shutdown::Write).map(|()| self.session.fin_sent())
            } else if due.send {
                let [pending, _] = self.session.pending();
                (&*self.stream).write(&storage[pending]).map(|n| self.session.sent(n))
            } else {
                self.session.rewind();
                if full && storage.len() < capacity {
                    storage = vec![0; (storage.len() * 2).min(capacity)];
                }
                (&*self.stream).read(&mut storage).map(|n| {
                    full = n == storage.len();
                    self.session.received(n);
                })
            };
            // First, since on Windows our own interruption looks like a time-out.
            if self.context.phase() == Phase::Abort {
                return Ok(());
            }
            match called {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // It is idleness whatever the clock says: a wait may end a tick early, and on Windows what was sent by
                // then is not known, so that to go on would send it twice.
                Err(e) if e.kind() == TIMED_OUT && has_patience => {
                    self.session.timed_out();
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// The connections that have a thread now, so that they can be waited for and interrupted.
#[derive(Default)]
struct Crowd {
    members: Mutex<HashMap<u64, Weak<TcpStream>>>,
    changed: Condvar,
    /// One of them panicked: that ended its own connection, and is said at the end.
    panicked: AtomicBool,
}

impl Crowd {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<TcpStream>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock lies between a waiter's look at the phase and its wait; taking it here keeps the notice from falling
    /// between.
    fn notify(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    fn join(self: &Arc<Self>, id: u64, stream: &Arc<TcpStream>) -> Member {
        self.lock().insert(id, Arc::downgrade(stream));
        Member { id, crowd: Arc::clone(self) }
    }

    /// Until the last connection has ended; from `Abort` on, by making them end.
    ///
    /// # Errors
    /// A thread has panicked.
    fn wait_for_the_end(&self, context: &Context) -> io::Result<()> {
        let members = self.lock();
        let unforced = self.changed.wait_while(members, |m| !m.is_empty() && context.phase() != Phase::Abort);
        let mut members = unforced.unwrap_or_else(PoisonError::into_inner);
        // First only the receives, which sends no FIN: the close that follows is to be a reset. A thread that was
        // blocked in a send, or about to block, is still there for the second time.
        let mut how = Shutdown::Read;
        while !members.is_empty() {
            for stream in members.values().filter_map(Weak::upgrade) {
                sys::close_with_reset(&*stream);
                sys::interrupt(&stream, how);
            }
            how = Shutdown::Both;
            let waited = self.changed.wait_timeout_while(members, INTERRUPT_AGAIN, |m| !m.is_empty());
            members = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let panicked = self.panicked.load(Ordering::Acquire);
        if panicked { Err(io::Error::other("the thread of a connection panicked")) } else { Ok(()) }
    }
}

/// A place in the crowd; dropped last of what a connection's thread owns.
struct Member {
    id: u64,
    crowd: Arc<Crowd>,
}

impl Drop for Member {
    fn drop(&mut self) {
        if thread::panicking() {
            self.crowd.panicked.store(true, Ordering::Release);
        }
        self.crowd.lock().remove(&self.id);
        self.crowd.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;
    use crate::server::{Options, Server};

    /// The client, and a served connection with an idle time-out of an hour and a time-out of its calls of 20 ms.
    fn connection() -> (TcpStream, Connection) {
        let options = Options { idle_timeout: Some(Duration::from_secs(3600)), ..Options::default() };
        let context = Arc::new(Context::new(options, channel().0));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
        let stream = Arc::new(listener.accept().expect("accepted").0);
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        let session = Session::admit(&context).expect("it is admitted");
        let member = Arc::new(Crowd::default()).join(1, &stream);
        (client, Connection { stream, session, context, _member: member })
    }

    /// Serves it to its end, on a thread like any other; says how many were idle.
    fn idle_at_the_end(mut connection: Connection) -> u64 {
        let (send, ended) = channel();
        thread::spawn(move || send.send(connection.serve_until_over().map(|()| connection.context.snapshot())));
        let counters = ended.recv_timeout(Duration::from_secs(20)).expect("it ends").expect("that is no failure");
        counters.idle_closed
    }

    #[test]
    fn a_call_that_times_out_is_the_last_one_however_early_it_was() {
        let (_client, connection) = connection();
        assert_eq!(idle_at_the_end(connection), 1);
    }

    #[test]
    fn a_call_that_times_out_while_the_server_is_aborted_is_not_idle() {
        let (_client, connection) = connection();
        connection.context.advance(Phase::Abort);
        assert_eq!(idle_at_the_end(connection), 0);
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Whether a new connection echoes; if so, the connection.
    fn served(address: SocketAddr) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time that is not 0");
        let echoed = stream.write_all(b"?").and_then(|()| stream.read_exact(&mut [0]));
        let timed_out = |e: &io::Error| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!echoed.as_ref().is_err_and(timed_out), "it was neither served nor closed");
        echoed.is_ok().then_some(stream)
    }

    #[test]
    fn a_connection_beyond_the_limit_of_threads_costs_itself_alone_until_a_thread_has_ended() {
        let run = |listener, context| run_with_threads(listener, context, Some(3));
        let server = Server::start_with(run, "threads", ([127, 0, 0, 1], 0).into(), Options::default());
        let server = server.expect("it starts");
        let address = server.address();
        let mut streams: Vec<TcpStream> = (0..3).map(|_| served(address).expect("there is a thread for it")).collect();
        for refused in 1..=5 {
            assert!(served(address).is_none(), "a fourth thread");
            assert_eq!(server.counters().refused, refused);
        }
        streams.pop();
        let begin = Instant::now();
        while streams.len() < 3 {
            assert!(begin.elapsed() < PATIENCE, "a thread that ended makes no room");
            streams.extend(served(address));
        }
        drop(streams);
        let stopped = server.stop(PATIENCE);
        assert!(stopped.error.is_none() && !stopped.hung && stopped.counters.add_up(), "{stopped:?}");
        assert_eq!(stopped.counters.accepted, 4, "{stopped:?}");
    }

    #[test]
    fn a_thread_that_panics_is_told_at_the_end() {
        let context = Arc::new(Context::new(Options::default(), channel().0));
        let crowd = Arc::new(Crowd::default());
        assert!(crowd.wait_for_the_end(&context).is_ok());
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let stream = Arc::new(TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens"));
        let member = crowd.join(1, &stream);
        let thread = thread::spawn(move || {
            let _member = member;
            panic!("a test's panic");
        });
        let error = crowd.wait_for_the_end(&context).expect_err("it panicked");
        assert_eq!(error.to_string(), "the thread of a connection panicked");
        assert!(thread.join().is_err());
    }
}
