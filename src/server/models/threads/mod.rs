//! `threads` (every OS): blocking calls, one thread a connection.
//!
//! **Mechanism.** `recv` blocks the thread until bytes come, `send` until the system has taken them. The state of a
//! connection is where its thread stands in the code. It is the easiest model to read, and back-pressure comes for
//! free: a thread that is blocked in `send` receives nothing.
//!
//! **Drawbacks.** A stack, a scheduler's entry and a context switch for each connection. A blocked thread notices
//! nothing: it must be woken from outside. `threads/unix.rs` and `threads/windows.rs` say how the accepting thread is
//! woken; [`sys::interrupt`] wakes a thread in `recv` or `send`.
//!
//! **Limit.** The system's number of threads (`ulimit -u`, `/proc/sys/kernel/threads-max`) and memory for stacks.
//! Stacks are small here, and a buffer starts small and grows with what its client sends. If the system refuses a
//! thread, only that connection is lost, and accepting goes on a moment later. On Linux there is a limit that does not
//! refuse but kills: [`sys::thread_limit`] knows it, and a connection beyond it is closed at once and counted as
//! refused.
//!
//! **TLS.** A connection that blocks is the simplest place for it: the records that a call needs are received or sent
//! in that call, the handshake in the first one. So this is the model of `serve --tls`. Its stacks are larger there.
//!
//! Idle connections are found by SO_RCVTIMEO and SO_SNDTIMEO, which suits this model and no other: after the time-out
//! the connection is closed, as Windows demands ('the socket is in an indeterminate state').
//!
//! Source: accept(2), recv(2), shutdown(2), socket(7); Microsoft, 'SO_RCVTIMEO', 'CancelIoEx'.

#[cfg(unix)]
#[path = "unix.rs"]
mod os;
#[cfg(windows)]
#[path = "windows.rs"]
mod os;

mod blocking_stream;

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::Duration;

use crate::server::Session;
use crate::server::context::{Accept, Context};
use crate::server::phase::ServerPhase;
use crate::server::pool::{SlotCount, SlotGuard};
use crate::server::tls::{TlsOverBlocking, TlsServer};
use crate::sync::{lock, whole};
use crate::sys;
use blocking_stream::BlockingStream;
use os::WakeableListener;

/// Bytes of a thread's stack. It reads and writes a few frames deep; debug builds and a panic's message need some room.
const STACK_SIZE: usize = 128 * 1024;
/// The same with TLS, whose handshake computes with large numbers.
const TLS_STACK_SIZE: usize = 512 * 1024;
/// Bytes that a buffer starts with. It doubles up to `--buffer` while its client fills it.
const FIRST_BUFFER_SIZE: usize = 4 * 1024;
/// An interrupted call returns at once. This is the time until those are interrupted again that were about to block.
const INTERRUPT_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// The error of a call when SO_RCVTIMEO or SO_SNDTIMEO has passed. Unix has another error for a peer that no longer
/// acknowledges, which is a failure; Windows has one error for both.
const TIMED_OUT: ErrorKind = if cfg!(windows) { ErrorKind::TimedOut } else { ErrorKind::WouldBlock };

pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let most_threads = most_threads(&context);
    run_with_threads(listener, context, None, most_threads)
}

/// The same over TLS.
pub(super) fn run_tls(listener: TcpListener, context: Arc<Context>, tls: TlsServer) -> io::Result<()> {
    let most_threads = most_threads(&context);
    run_with_threads(listener, context, Some(tls), most_threads)
}

fn most_threads(context: &Context) -> Option<usize> {
    sys::thread_limit(context.options().buffer)
}

/// Serves at most `most_threads` connections at a time, since each has a thread.
fn run_with_threads(
    listener: TcpListener,
    context: Arc<Context>,
    tls: Option<TlsServer>,
    most_threads: Option<usize>,
) -> io::Result<()> {
    let server = ThreadServer {
        context: Arc::clone(&context),
        tls,
        open: Arc::default(),
        threads: SlotCount::default(),
        most_threads: most_threads.unwrap_or(usize::MAX),
    };
    let listener = WakeableListener::new(listener)?;
    let (wake, open) = (listener.waker(), Arc::clone(&server.open));
    context.ready(move || {
        wake();
        open.notify();
    });
    let mut id = 0;
    let mut take = |stream| {
        id += 1;
        if let Err(e) = server.start(id, stream) {
            server.pause(&e);
        }
    };
    while context.phase() == ServerPhase::Run {
        match listener.accept(&context) {
            Ok(None) => {}
            Ok(Some(stream)) => take(stream),
            Err(e) => server.pause(&e),
        }
    }
    match context.phase() {
        ServerPhase::Drain => listener.accept_rest(&context).into_iter().for_each(take),
        ServerPhase::Run | ServerPhase::Abort => drop(listener),
    }
    server.open.wait_for_the_end(&context)
}

/// The other threads, as the accepting thread knows them.
struct ThreadServer {
    context: Arc<Context>,
    tls: Option<TlsServer>,
    open: Arc<OpenConnections>,
    /// Threads that connections have.
    threads: SlotCount,
    most_threads: usize,
}

impl ThreadServer {
    /// Gives a connection its thread. If there is none for it, the connection is closed.
    ///
    /// # Errors
    /// The system refuses a thread.
    fn start(&self, id: u64, stream: TcpStream) -> io::Result<()> {
        // Only this thread takes slots, so none is taken in between.
        if self.threads.in_use() >= self.most_threads {
            self.context.refuse();
            return Ok(());
        }
        let slot = self.threads.take();
        let Some(session) = Session::admit(&self.context, &stream) else { return Ok(()) };
        let stream = Arc::new(stream);
        let entry = self.open.enter(id, &stream);
        let context = Arc::clone(&self.context);
        let connection = BlockingConnection { stream, session, tls: self.tls.clone(), context, _entry: entry };
        let stack_size = if self.tls.is_some() { TLS_STACK_SIZE } else { STACK_SIZE };
        let serve = move || {
            THREAD_SLOT.set(Some(slot));
            connection.serve();
        };
        thread::Builder::new().name(format!("echo-{id}")).stack_size(stack_size).spawn(serve)?;
        Ok(())
    }

    /// After a failed accept or a refused thread.
    fn pause(&self, error: &io::Error) {
        if let Accept::After(time) = self.context.accept_failed(error) {
            let entries = lock(&self.open.entries);
            // Ended early by a change of phase, and by any connection that closes: it may have freed the scarce
            // resource.
            drop(self.open.changed.wait_timeout_while(entries, time, |_| self.context.phase() == ServerPhase::Run));
        }
    }
}

thread_local! {
    /// A thread-local value is dropped after everything that the thread's closure owns, and after the alternate stack
    /// that std gives it. Among thousands of threads that end, one whose connection has ended may linger.
    static THREAD_SLOT: Cell<Option<SlotGuard>> = const { Cell::new(None) };
}

/// The possessions of a connection's thread. The order matters: the socket is closed before the session counts it as
/// closed, and only then is its entry removed.
struct BlockingConnection {
    stream: Arc<TcpStream>,
    session: Session,
    tls: Option<TlsServer>,
    context: Arc<Context>,
    _entry: OpenEntry,
}

impl BlockingConnection {
    fn serve(mut self) {
        let ended = self.echo();
        if self.context.phase() == ServerPhase::Abort {
            sys::close_with_reset(&*self.stream);
        } else if ended.is_err() {
            self.session.failed();
        }
    }

    fn echo(&mut self) -> io::Result<()> {
        let idle_timeout = self.context.options().idle_timeout;
        self.stream.set_read_timeout(idle_timeout)?;
        self.stream.set_write_timeout(idle_timeout)?;
        let socket = Arc::clone(&self.stream);
        match self.tls.take() {
            None => self.serve_until_over(&mut &*socket),
            Some(tls) => self.serve_until_over(&mut TlsOverBlocking::new(&tls, &socket)?),
        }
    }

    /// Receives into an empty buffer, sends all of it, and so on. Since nothing is pending at a receive, the ring never
    /// wraps, and its positions lie within a buffer that is smaller than its capacity.
    fn serve_until_over(&mut self, stream: &mut impl BlockingStream) -> io::Result<()> {
        let has_idle_timeout = self.context.options().idle_timeout.is_some();
        let capacity = self.session.capacity();
        let mut storage = vec![0; FIRST_BUFFER_SIZE.min(capacity)];
        let mut full = false;
        while !self.session.is_over() {
            let due = self.session.due();
            let called = if due.finish {
                stream.finish().map(|()| self.session.fin_sent())
            } else if due.send {
                let [pending, _] = self.session.pending();
                stream.send(&storage[pending]).map(|n| self.session.sent(n))
            } else {
                self.session.rewind();
                if full && storage.len() < capacity {
                    storage = vec![0; (storage.len() * 2).min(capacity)];
                }
                stream.receive(&mut storage).map(|n| {
                    full = n == storage.len();
                    self.session.received(n);
                })
            };
            // First, since on Windows our own interruption looks like a time-out.
            if self.context.phase() == ServerPhase::Abort {
                return Ok(());
            }
            match called {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // It counts as idle even if the clock disagrees, since a wait may end a tick early. Going on is wrong
                // on Windows: the number of bytes sent is unknown then, so bytes could be sent twice.
                Err(e) if e.kind() == TIMED_OUT && has_idle_timeout => {
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
struct OpenConnections {
    entries: Mutex<HashMap<u64, Weak<TcpStream>>>,
    changed: Condvar,
    /// A thread panicked. That ended its own connection, and is reported at the end.
    has_panicked: AtomicBool,
}

impl OpenConnections {
    /// Taking the lock here keeps the notice from falling between a waiter's look at the phase and its wait.
    fn notify(&self) {
        drop(lock(&self.entries));
        self.changed.notify_all();
    }

    fn enter(self: &Arc<Self>, id: u64, stream: &Arc<TcpStream>) -> OpenEntry {
        lock(&self.entries).insert(id, Arc::downgrade(stream));
        OpenEntry { id, open: Arc::clone(self) }
    }

    /// Until the last connection has ended; from `Abort` on, by making them end.
    ///
    /// # Errors
    /// A thread has panicked.
    fn wait_for_the_end(&self, context: &Context) -> io::Result<()> {
        let entries = lock(&self.entries);
        let unforced =
            self.changed.wait_while(entries, |open| !open.is_empty() && context.phase() != ServerPhase::Abort);
        let mut entries: MutexGuard<'_, _> = whole(unforced);
        // First only the receives, which sends no FIN: the close that follows is to be a reset. A thread that was
        // blocked in a send, or about to block, is still there the second time.
        let mut how = Shutdown::Read;
        while !entries.is_empty() {
            for stream in entries.values().filter_map(Weak::upgrade) {
                sys::close_with_reset(&*stream);
                sys::interrupt(&stream, how);
            }
            how = Shutdown::Both;
            let waited = self.changed.wait_timeout_while(entries, INTERRUPT_AGAIN_AFTER, |open| !open.is_empty());
            entries = whole(waited).0;
        }
        let has_panicked = self.has_panicked.load(Ordering::Acquire);
        if has_panicked { Err(io::Error::other("the thread of a connection panicked")) } else { Ok(()) }
    }
}

/// An entry of the open connections. Of what a connection's thread owns it is dropped last, which removes it.
struct OpenEntry {
    id: u64,
    open: Arc<OpenConnections>,
}

impl Drop for OpenEntry {
    fn drop(&mut self) {
        if thread::panicking() {
            self.open.has_panicked.store(true, Ordering::Release);
        }
        lock(&self.open.entries).remove(&self.id);
        self.open.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::SocketAddr;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;
    use crate::server::{Options, Server};

    /// The client, and a served connection with an idle time-out of an hour and a time-out of its calls of 20 ms.
    fn connection() -> (TcpStream, BlockingConnection) {
        let options = Options { idle_timeout: Some(Duration::from_secs(3600)), ..Options::default() };
        let context = Arc::new(Context::new(options, channel().0));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
        let stream = Arc::new(listener.accept().expect("accepted").0);
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        let session = Session::admit(&context, &*stream).expect("it is admitted");
        let entry = Arc::new(OpenConnections::default()).enter(1, &stream);
        (client, BlockingConnection { stream, session, tls: None, context, _entry: entry })
    }

    /// Serves it to its end, on a thread of its own. Returns how many connections were closed as idle.
    fn idle_at_the_end(mut connection: BlockingConnection) -> u64 {
        let (send, ended) = channel();
        thread::spawn(move || {
            send.send(
                connection
                    .serve_until_over(&mut &*Arc::clone(&connection.stream))
                    .map(|()| connection.context.snapshot()),
            )
        });
        let counters =
            ended.recv_timeout(Duration::from_secs(20)).expect("it ends").expect("ending idle is not a failure");
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
        connection.context.advance(ServerPhase::Abort);
        assert_eq!(idle_at_the_end(connection), 0);
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A new connection, if it echoes.
    fn served(address: SocketAddr) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time that is not 0");
        let echoed = stream.write_all(b"?").and_then(|()| stream.read_exact(&mut [0]));
        let timed_out = |e: &io::Error| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!echoed.as_ref().is_err_and(timed_out), "it was neither served nor closed");
        echoed.is_ok().then_some(stream)
    }

    #[test]
    fn beyond_the_limit_of_threads_only_the_new_connection_is_lost() {
        let run = |listener, context| run_with_threads(listener, context, None, Some(3));
        let server = Server::start_with(run, "threads", ([127, 0, 0, 1], 0).into(), Options::default());
        let server = server.expect("it starts");
        let address = server.address();
        let mut streams: Vec<TcpStream> = (0..3).map(|_| served(address).expect("there is a thread for it")).collect();
        for refused in 1..=5 {
            assert!(served(address).is_none(), "there is no fourth thread");
            assert_eq!(server.counters().refused, refused);
        }
        streams.pop();
        let begin = Instant::now();
        while streams.len() < 3 {
            assert!(begin.elapsed() < PATIENCE, "a thread that ended made no room");
            streams.extend(served(address));
        }
        drop(streams);
        let stopped = server.stop(PATIENCE);
        assert!(stopped.error.is_none() && !stopped.hung && stopped.counters.add_up(), "{stopped:?}");
        assert_eq!(stopped.counters.accepted, 4, "{stopped:?}");
    }

    #[test]
    fn a_thread_that_panics_is_reported_at_the_end() {
        let context = Arc::new(Context::new(Options::default(), channel().0));
        let open = Arc::new(OpenConnections::default());
        assert!(open.wait_for_the_end(&context).is_ok());
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let stream = Arc::new(TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens"));
        let entry = open.enter(1, &stream);
        let thread = thread::spawn(move || {
            let _entry = entry;
            panic!("a test's panic");
        });
        let error = open.wait_for_the_end(&context).expect_err("it panicked");
        assert_eq!(error.to_string(), "the thread of a connection panicked");
        assert!(thread.join().is_err());
    }
}
