//! `threadpool-io`: overlapped operations that are handed to the system's thread pool.
//!
//! # The model
//!
//! CreateThreadpoolIo binds a socket to the thread pool of the process. When an operation on it completes, a thread of
//! the pool calls a function of the program. Below is a completion port, as in `iocp`; but its threads are the
//! system's, which starts another one when all are busy or blocked, and ends it when there is nothing to do. So the
//! program has no loop, no wait and no number of threads. Since Windows Vista; before it there was
//! BindIoCompletionCallback, which can't be undone.
//!
//! # The rules
//!
//! - **Each operation is announced before its call** (StartThreadpoolIo). If the call begins none, the announcement is
//!   withdrawn (CancelThreadpoolIo), or the pool keeps memory for it for ever. Without the announcement a completion
//!   would find nothing, and corrupt memory. Success at once still brings a callback; with
//!   FILE_SKIP_COMPLETION_PORT_ON_SUCCESS it would not, and would be withdrawn too. Here nothing is skipped.
//! - **CancelThreadpoolIo cancels no operation.** That is CancelIoEx, after which the callback still comes.
//! - **The object is closed last** (CloseThreadpoolIo): after all operations have completed, and after the socket was
//!   closed. A callback may close the object that has called it. It must not wait for its own end, so
//!   WaitForThreadpoolIoCallbacks belongs to a thread that is not of the pool. Here nothing calls it: callbacks are
//!   counted, and when all connections have ended, the supervisor waits until none runs.
//! - **A callback must not block for long, and not unwind.** The threads are everybody's.
//!
//! The others are those of all servers whose completions come to any thread: see `completion_server`. The thread that
//! called [`run`] is its supervisor.
//!
//! # The drawback
//!
//! An object for each socket, two more calls for each operation, and one packet for each wake of a thread:
//! GetQueuedCompletionStatusEx takes many at once. How many threads there are is the system's choice.
//!
//! Sources: Microsoft, 'CreateThreadpoolIo', 'StartThreadpoolIo', 'CancelThreadpoolIo', 'CloseThreadpoolIo',
//! 'WaitForThreadpoolIoCallbacks', 'Thread Pools'.

#![expect(unsafe_code, reason = "the thread pool has no safe wrapper in std or socket2")]

use std::ffi::c_void;
use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use socket2::Socket;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Threading::{
    CancelThreadpoolIo, CloseThreadpoolIo, CreateThreadpoolIo, PTP_CALLBACK_INSTANCE, PTP_IO, StartThreadpoolIo,
};

use crate::server::completion::completion_server::{CompletionServer, Delivered, Delivery};
use crate::server::completion::overlapped_connection::Binding;
use crate::server::completion::winsock::raw;
use crate::server::{Context, ServerPhase};

/// Serves until told to stop. This thread supervises; the pool's threads do the rest.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let server = CompletionServer::new(listener, &context, SystemPool::default())?;
    server.begin_accepts();
    context.ready(server.group().wake_all());
    server.supervise()
}

/// The thread pool of the process, as one server uses it.
#[derive(Default)]
struct SystemPool {
    /// Callbacks of this server that run now.
    running: AtomicUsize,
    has_panicked: AtomicBool,
}

impl Delivery for SystemPool {
    fn bind(&self, server: &Weak<CompletionServer<Self>>, socket: &Socket) -> io::Result<Box<dyn Binding>> {
        Ok(Box::new(PoolIo::new(server, socket)?))
    }

    fn has_ended(&self) -> bool {
        self.has_panicked.load(Ordering::Acquire)
    }

    fn is_at_rest(&self) -> bool {
        self.running.load(Ordering::SeqCst) == 0
    }
}

/// What a callback is given.
struct PoolContext {
    server: Weak<CompletionServer<SystemPool>>,
    /// Announced operations whose callback has not counted itself yet.
    outstanding: AtomicUsize,
}

/// The object that binds one socket to the pool.
struct PoolIo {
    io: PTP_IO,
    /// Shared with the callbacks that are still to come.
    bound: NonNull<PoolContext>,
}

// SAFETY: any thread may use and close the object, and `PoolContext` may be shared by threads.
unsafe impl Send for PoolIo {}
// SAFETY: as above.
unsafe impl Sync for PoolIo {}

impl PoolIo {
    fn new(server: &Weak<CompletionServer<SystemPool>>, socket: &Socket) -> io::Result<PoolIo> {
        let bound = Box::new(PoolContext { server: Weak::clone(server), outstanding: AtomicUsize::new(0) });
        let bound = NonNull::from(Box::leak(bound));
        // SAFETY: the socket is open during the call. `bound` lives until the last callback has counted itself: see
        // `drop`.
        let io =
            unsafe { CreateThreadpoolIo(raw(socket) as HANDLE, Some(completed), bound.as_ptr().cast(), ptr::null()) };
        if io == 0 {
            let error = io::Error::last_os_error();
            // SAFETY: it was leaked above, and nobody else knows it.
            drop(unsafe { Box::from_raw(bound.as_ptr()) });
            return Err(error);
        }
        Ok(PoolIo { io, bound })
    }

    fn outstanding(&self) -> &AtomicUsize {
        // SAFETY: `bound` lives at least as long as `self`.
        unsafe { &self.bound.as_ref().outstanding }
    }
}

impl Binding for PoolIo {
    fn announce(&self) {
        self.outstanding().fetch_add(1, Ordering::SeqCst);
        // SAFETY: the object is open as long as `self` lives.
        unsafe { StartThreadpoolIo(self.io) };
    }

    fn withdraw(&self) {
        // SAFETY: as above, and the operation that was announced was not begun.
        unsafe { CancelThreadpoolIo(self.io) };
        self.outstanding().fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for PoolIo {
    /// The socket is closed. An operation is outstanding only if the server ends early, because a wait has failed. Then
    /// its callback is still to come, and both are left to it.
    fn drop(&mut self) {
        if self.outstanding().load(Ordering::SeqCst) == 0 {
            // SAFETY: no callback is still to come. One that runs has counted itself, and uses neither any more.
            unsafe {
                CloseThreadpoolIo(self.io);
                drop(Box::from_raw(self.bound.as_ptr()));
            }
        }
    }
}

/// What the pool calls when an operation has completed.
unsafe extern "system" fn completed(
    _instance: PTP_CALLBACK_INSTANCE,
    bound: *mut c_void,
    overlapped: *mut c_void,
    _result: u32,
    _bytes: usize,
    _io: PTP_IO,
) {
    // SAFETY: the pool passes on what `PoolIo::new` has given it. It lives, because this callback was not counted yet.
    let bound = unsafe { &*bound.cast::<PoolContext>() };
    let server = bound.server.upgrade();
    let running = server.as_ref().map(|server| RunningCallback::new(server));
    // The last use of `bound`: what follows may drop it.
    bound.outstanding.fetch_sub(1, Ordering::SeqCst);
    // Without a server, it has ended early, and has leaked the memory of its outstanding operations.
    let Some(server) = &server else { return };
    // SAFETY: an operation that was begun has one callback, and this is it. Only this server's operations are begun on
    // sockets that `SystemPool` has bound.
    let completion = unsafe { Delivered::new(overlapped.cast()) };
    if catch_unwind(AssertUnwindSafe(|| server.handle(completion))).is_err() {
        server.delivery().has_panicked.store(true, Ordering::Release);
        server.wake_supervisor();
    }
    drop(running);
}

/// Counts a callback while it runs.
struct RunningCallback<'server>(&'server CompletionServer<SystemPool>);

impl<'server> RunningCallback<'server> {
    fn new(server: &'server CompletionServer<SystemPool>) -> Self {
        server.delivery().running.fetch_add(1, Ordering::SeqCst);
        RunningCallback(server)
    }
}

impl Drop for RunningCallback<'_> {
    fn drop(&mut self) {
        let was_last = self.0.delivery().running.fetch_sub(1, Ordering::SeqCst) == 1;
        if was_last && self.0.group().phase() != ServerPhase::Run {
            self.0.wake_supervisor();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;
    use std::time::{Duration, Instant};

    use windows_sys::Win32::System::Threading::WaitForThreadpoolIoCallbacks;

    use super::*;
    use crate::server::Options;
    use crate::server::completion::completion_server::Owner;
    use crate::server::completion::operation::Operation;

    const LIMIT: Duration = Duration::from_secs(20);
    /// The weak references to a server without connections: its own, and that of its listener's object.
    const OWN_REFERENCES: usize = 2;

    type PoolServer = CompletionServer<SystemPool>;

    /// A server that accepts, with its supervisor on a thread of its own.
    struct Supervised {
        server: Arc<PoolServer>,
        context: Arc<Context>,
        address: SocketAddr,
        ended: Receiver<io::Result<()>>,
    }

    impl Supervised {
        fn start() -> Supervised {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let address = listener.local_addr().expect("the listener is bound");
            // Of those who connect while it drains, it takes few.
            let options = Options { backlog: 0, ..Options::default() };
            let context = Arc::new(Context::new(options, channel().0));
            let server = CompletionServer::new(listener, &context, SystemPool::default()).expect("it can be bound");
            server.begin_accepts();
            context.ready(server.group().wake_all());
            let (end, ended) = channel();
            let supervised = Arc::clone(&server);
            thread::spawn(move || end.send(supervised.supervise()));
            Supervised { server, context, address, ended }
        }

        fn round_trip(&self) -> TcpStream {
            let mut client = TcpStream::connect(self.address).expect("it accepts");
            client.write_all(b"x").expect("it reads");
            client.read_exact(&mut [0]).expect("it echoes");
            client
        }

        /// Begins to drain, and waits until the accepts have ended, which closes the listener.
        fn drain(&self) {
            self.context.advance(ServerPhase::Drain);
            let until = Instant::now() + LIMIT;
            while TcpStream::connect(self.address).is_ok() {
                assert!(Instant::now() < until, "it still accepts");
            }
        }

        fn end(&self) -> io::Result<()> {
            self.ended.recv_timeout(LIMIT).expect("the supervisor returns")
        }
    }

    /// An object for a socket of its own.
    fn bound(server: &Arc<PoolServer>) -> (PoolIo, TcpListener) {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let io = PoolIo::new(&Arc::downgrade(server), &socket.try_clone().expect("a handle").into());
        (io.expect("it can be bound"), socket)
    }

    #[test]
    fn nothing_is_left_of_connections_that_have_ended() {
        let supervised = Supervised::start();
        for _ in 0..10 {
            drop(supervised.round_trip());
        }
        supervised.drain();
        supervised.end().expect("it drains");
        assert_eq!(supervised.context.snapshot().active(), 0);
        supervised.context.nothing_outstanding().expect("all completions were taken");
        assert_eq!(Arc::weak_count(&supervised.server), OWN_REFERENCES, "a callback's context was not freed");
    }

    #[test]
    fn an_announcement_that_was_withdrawn_leaves_nothing_to_wait_for() {
        let supervised = Supervised::start();
        let (io, _socket) = bound(&supervised.server);
        io.announce();
        io.withdraw();
        let (returned, has_returned) = channel();
        thread::spawn(move || {
            // SAFETY: the object is open, and this is no thread of the pool.
            unsafe { WaitForThreadpoolIoCallbacks(io.io, 0) };
            drop(io);
            returned.send(())
        });
        has_returned.recv_timeout(LIMIT).expect("no callback is still to come");
        assert_eq!(Arc::weak_count(&supervised.server), OWN_REFERENCES, "its context was not freed");
    }

    #[test]
    fn an_object_that_is_dropped_early_is_left_to_its_callback() {
        let supervised = Supervised::start();
        let (io, _socket) = bound(&supervised.server);
        let context = io.bound;
        io.announce();
        drop(io);
        assert_eq!(Arc::weak_count(&supervised.server), OWN_REFERENCES + 1, "its context was freed under an operation");
        // SAFETY: it was just shown to live, and nobody else uses it. No operation was begun, so no callback comes.
        let context = unsafe { Box::from_raw(context.as_ptr()) };
        assert_eq!(context.outstanding.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn the_supervisor_stays_until_no_callback_runs() {
        let supervised = Supervised::start();
        let running = RunningCallback::new(&supervised.server);
        supervised.drain();
        // Nothing would report that it does not return.
        let early = supervised.ended.recv_timeout(Duration::from_millis(200));
        assert!(early.is_err(), "the server was given up while a callback ran");
        drop(running);
        supervised.end().expect("it drains");
    }

    #[test]
    fn a_panic_in_a_callback_ends_the_server_with_an_error() {
        let supervised = Supervised::start();
        // While it drains, the end of each callback would wake the supervisor.
        let _client = supervised.round_trip();
        // A completion whose connection is gone is a defect, and panics.
        let owner = Owner::Receive(Weak::new());
        let mut operation = Operation::new(&supervised.context, owner, (), None);
        let mut overlapped = ptr::null_mut();
        // SAFETY: no operation is begun, so nobody uses the memory; it stays outstanding, and is leaked.
        let begun = unsafe {
            operation.begin(|of_operation, _| {
                overlapped = of_operation;
                Ok(())
            })
        };
        begun.expect("it says so");
        let bound = PoolContext { server: Arc::downgrade(&supervised.server), outstanding: AtomicUsize::new(1) };
        // SAFETY: both pointers lead to live values of the types that the callback expects. It ignores the others.
        unsafe { completed(0, (&raw const bound).cast_mut().cast(), overlapped.cast(), 0, 0, 0) };
        assert_eq!(bound.outstanding.load(Ordering::SeqCst), 0);
        supervised.end().expect_err("nobody knows what the callback has left undone");
    }
}
