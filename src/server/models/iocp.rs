//! `iocp`: overlapped operations that report to a completion port.
//!
//! # The model
//!
//! A completion port is a queue in the kernel. A socket is bound to it once; from then on each of its operations that
//! completes puts a *packet* there, and any thread may take it. The threads wait for the port alone, the last one that
//! began to wait is woken first (its cache is warm), and the port lets only as many run at once as there are
//! processors. It is the one model of Windows in which threads share the load of all connections, and it has no limit
//! of handles.
//!
//! Even accepting goes through it: some AcceptEx wait in advance, their packets come like any others, and whoever takes
//! one serves the new connection and begins the next accept. No thread is there to accept.
//!
//! # What must be kept
//!
//! - **A packet for each operation that was begun**, also if the call succeeded at once.
//!   FILE_SKIP_COMPLETION_PORT_ON_SUCCESS would save those packets, and make a thread go on with one lively connection
//!   while others wait in the queue; a program that skips some and waits for others loses or doubles completions. Here
//!   none is skipped.
//! - **Who took a packet looks at its operation and no other.** The other one may be complete too, but its packet is
//!   still to come.
//! - **One receive and one send a connection.** Packets leave in order, but two threads may overtake each other. The
//!   two operations belong to different directions, and a lock a connection keeps the threads apart.
//! - **A packet that tells of a failure is still a packet.** GetQueuedCompletionStatus returns FALSE with an OVERLAPPED
//!   then; taken for a time-out, it would leak the connection. GetQueuedCompletionStatusEx, used here, hands it over
//!   like the others, and fails only if the wait does.
//! - **No connection is freed before its packets are taken.** It stands in the registry until both operations are
//!   reaped, and who takes a packet holds a reference of its own.
//!
//! A supervisor, the thread that called [`run`], does what packets don't cause: it drains, aborts, ends idle
//! connections, and begins accepts again that failed for want of memory or sockets.
//!
//! Sources: Microsoft, 'I/O Completion Ports', 'GetQueuedCompletionStatusEx', 'AcceptEx', 'CreateIoCompletionPort'.

#![expect(unsafe_code, reason = "completion ports have no safe wrapper in std or socket2")]

use std::io;
use std::net::TcpListener;
use std::os::windows::io::{AsRawHandle, AsRawSocket, FromRawHandle, OwnedHandle};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use slab::Slab;
use socket2::Socket;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED, OVERLAPPED_ENTRY, PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::Threading::INFINITE;

use crate::server::completion::acceptor::{Accepting, Listener};
use crate::server::completion::overlapped::{Operation, raw};
use crate::server::completion::overlapped_connection::{Duplex, Routines};
use crate::server::pool::IdleTimer;
use crate::server::{Accept, Context, Phase, Session};
use crate::sys::event::Event;

/// Accepts that wait in advance. Each one's packet stands in line behind those of all connections, so under load only
/// so many connections are accepted each time that the queue has gone round: with few, clients wait for seconds in the
/// backlog.
const ACCEPTS: usize = 128;
/// Packets that a thread takes at once. What it has taken no other thread can.
const BATCH: usize = 16;

/// Serves until told to stop. The calling thread supervises; `--workers` threads take packets.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let shared = Arc::new(Shared::new(listener, &context)?);
    let workers = start(&shared)?;
    for index in 0..ACCEPTS {
        shared.begin_accept(index);
    }
    let bell = shared.bell.try_clone()?;
    context.ready(move || bell.set());
    let supervised = shared.supervise();
    for _ in &workers {
        shared.port.dismiss()?;
    }
    workers.into_iter().fold(supervised, |result, worker| {
        result.and(worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked"))))
    })
}

fn start(shared: &Arc<Shared>) -> io::Result<Vec<JoinHandle<io::Result<()>>>> {
    let mut workers = Vec::new();
    for i in 0..shared.workers.load(Ordering::Relaxed) {
        let of_worker = Arc::clone(shared);
        match std::thread::Builder::new().name(format!("iocp-{i}")).spawn(move || of_worker.work()) {
            Ok(worker) => workers.push(worker),
            Err(e) => {
                for _ in &workers {
                    shared.port.dismiss()?;
                }
                return Err(e);
            }
        }
    }
    Ok(workers)
}

/// The completion port.
struct Port(OwnedHandle);

impl Port {
    fn new() -> io::Result<Port> {
        // SAFETY: without a file it only makes a port. It may run as many threads at once as there are processors.
        let handle = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 0) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just made this handle, and nobody else has it.
        Ok(Port(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// From now on each operation of the socket puts a packet here.
    fn bind(&self, socket: &impl AsRawSocket) -> io::Result<()> {
        // SAFETY: both handles are open. The key is not used: the OVERLAPPED leads back.
        let handle = unsafe { CreateIoCompletionPort(raw(socket) as HANDLE, self.0.as_raw_handle(), 0, 0) };
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for packets; what it returns are the OVERLAPPEDs of operations that have completed, null for a dismissal.
    fn take<'p>(
        &self,
        packets: &'p mut [OVERLAPPED_ENTRY; BATCH],
    ) -> io::Result<impl Iterator<Item = *mut OVERLAPPED> + 'p> {
        let mut count = 0;
        // SAFETY: there are BATCH entries to write, and the count is live.
        let taken = unsafe {
            let (port, packets) = (self.0.as_raw_handle(), packets.as_mut_ptr());
            GetQueuedCompletionStatusEx(port, packets, BATCH as u32, &raw mut count, INFINITE, 0)
        };
        if taken == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(packets[..count as usize].iter().map(|packet| packet.lpOverlapped))
    }

    /// Puts a packet there that ends one worker.
    fn dismiss(&self) -> io::Result<()> {
        // SAFETY: the port is open, and a null OVERLAPPED is allowed: it is only handed through.
        let posted = unsafe { PostQueuedCompletionStatus(self.0.as_raw_handle(), 0, 0, ptr::null()) };
        if posted == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The way back from an OVERLAPPED.
enum Way {
    Accept(usize),
    Receive(Weak<Connection>),
    Send(Weak<Connection>),
}

struct Connection {
    key: usize,
    duplex: Mutex<Duplex<Way>>,
}

/// One of the accepts that wait in advance. The listener is closed with the last of them.
struct Slot {
    accepting: Accepting<Way>,
    listener: Arc<Listener>,
}

/// What the threads share. Locks are taken in this order: a slot, the registry, a connection.
struct Shared {
    context: Arc<Context>,
    port: Port,
    /// Wakes the supervisor.
    bell: Event,
    /// `None`: this accept has ended, because the server drains.
    slots: Vec<Mutex<Option<Slot>>>,
    /// Accepts that the supervisor is to begin at a later time.
    later: Mutex<Vec<(Instant, usize)>>,
    /// All connections of which an operation may be outstanding.
    registry: Mutex<Slab<Arc<Connection>>>,
    /// Workers that have not ended.
    workers: AtomicUsize,
}

impl Shared {
    fn new(listener: TcpListener, context: &Arc<Context>) -> io::Result<Shared> {
        let (port, listener) = (Port::new()?, Arc::new(Listener::new(listener)?));
        port.bind(listener.socket())?;
        let slot =
            |index| Slot { accepting: Accepting::new(Way::Accept(index), None), listener: Arc::clone(&listener) };
        Ok(Shared {
            context: Arc::clone(context),
            port,
            bell: Event::auto()?,
            slots: (0..ACCEPTS).map(|index| Mutex::new(Some(slot(index)))).collect(),
            later: Mutex::default(),
            registry: Mutex::default(),
            workers: AtomicUsize::new(context.options().workers.max(1)),
        })
    }

    /// A worker's life.
    fn work(&self) -> io::Result<()> {
        let _ended = Ended(self);
        let mut packets = [OVERLAPPED_ENTRY::default(); BATCH];
        loop {
            let mut dismissals = 0;
            for overlapped in self.port.take(&mut packets)? {
                if overlapped.is_null() {
                    dismissals += 1;
                } else {
                    self.answer(overlapped);
                }
            }
            // One is for this worker; others that it has taken along go back.
            for _ in 1..dismissals {
                self.port.dismiss()?;
            }
            if dismissals > 0 {
                return Ok(());
            }
        }
    }

    fn answer(&self, overlapped: *mut OVERLAPPED) {
        // SAFETY: every operation on this port is an `Operation<Way>`, and it lives until the packet was reaped, which
        // only the functions called here do; the reference is not used after that.
        let way = unsafe { Operation::<Way>::way_back(overlapped) };
        match way {
            &Way::Accept(index) => self.accepted(index),
            Way::Receive(connection) => self.advance(connection.upgrade(), Duplex::collect_receive),
            Way::Send(connection) => self.advance(connection.upgrade(), Duplex::collect_send),
        }
    }

    fn advance(&self, connection: Option<Arc<Connection>>, tell: impl FnOnce(&mut Duplex<Way>)) {
        let connection = connection.expect("the registry holds a connection until its operations are reaped");
        let over = {
            let mut duplex = lock(&connection.duplex);
            let over = catch_unwind(AssertUnwindSafe(|| {
                tell(&mut duplex);
                duplex.advance()
            }));
            // A panic can only be a fault in the rules of this one connection. It is ended, since a worker that died of
            // it would leave it in the registry for ever; its message was printed.
            over.unwrap_or_else(|_| {
                duplex.fail();
                duplex.advance()
            })
        };
        if over {
            let none_left = {
                let mut registry = lock(&self.registry);
                registry.remove(connection.key);
                registry.is_empty()
            };
            // Closed now, with the last reference, so that whoever is woken finds it counted.
            drop(connection);
            if none_left && self.context.phase() != Phase::Run {
                self.bell.set();
            }
        }
    }

    fn accepted(&self, index: usize) {
        let mut slot = lock(&self.slots[index]);
        let Some(Slot { accepting, listener }) = &mut *slot else { return };
        let mut pause = None;
        match accepting.finish(listener) {
            None => return,
            Some(Ok(socket)) => self.adopt(socket),
            // Not the client's failure but our own cancellation.
            Some(Err(_)) if self.context.phase() != Phase::Run => {}
            Some(Err(e)) => pause = self.pause(&e),
        }
        self.begin_again(index, slot, pause);
    }

    fn begin_accept(&self, index: usize) {
        self.begin_again(index, lock(&self.slots[index]), None);
    }

    /// Begins an accept, now or after a pause. Under the lock of its slot: the supervisor, which cancels what is
    /// outstanding after the phase has changed, comes either after it or before it looks at the phase.
    fn begin_again(&self, index: usize, mut slot: MutexGuard<'_, Option<Slot>>, mut pause: Option<Instant>) {
        loop {
            let Some(Slot { accepting, listener }) = &mut *slot else { return };
            if self.context.phase() != Phase::Run {
                *slot = None;
                self.bell.set();
                return;
            }
            if let Some(time) = pause {
                lock(&self.later).push((time, index));
                self.bell.set();
                return;
            }
            match accepting.begin(listener) {
                Ok(()) => return,
                Err(e) => pause = self.pause(&e),
            }
        }
    }

    fn pause(&self, error: &io::Error) -> Option<Instant> {
        match self.context.accept_failed(error) {
            Accept::Again => None,
            Accept::After(pause) => Some(Instant::now() + pause),
        }
    }

    fn adopt(&self, socket: Socket) {
        // Not admitted: the socket is closed here.
        let Some(session) = Session::admit(&self.context) else { return };
        let bound = self.port.bind(&socket);
        let connection = {
            let mut registry = lock(&self.registry);
            let entry = registry.vacant_entry();
            let connection = Arc::new_cyclic(|way: &Weak<Connection>| {
                let receive = Operation::new(Way::Receive(way.clone()), None);
                let send = Operation::new(Way::Send(way.clone()), None);
                let duplex = Duplex::new(socket, session, receive, send, Routines::default());
                Connection { key: entry.key(), duplex: Mutex::new(duplex) }
            });
            Arc::clone(entry.insert(connection))
        };
        self.advance(Some(connection), |duplex| {
            if bound.is_err() {
                duplex.fail();
            }
            // After it was registered: either the supervisor, when it aborts, finds it there, or the phase is seen
            // here.
            if self.context.phase() == Phase::Abort {
                duplex.abort();
            }
        });
    }

    /// The supervisor's life: returns when the server has drained or was aborted, with nothing outstanding.
    fn supervise(&self) -> io::Result<()> {
        let mut sweep = IdleTimer::new(&self.context);
        let mut aborted = false;
        loop {
            let phase = self.context.phase();
            if phase != Phase::Run {
                self.end_accepts();
            }
            if phase == Phase::Abort && !aborted {
                aborted = true;
                self.connections().iter().for_each(|connection| lock(&connection.duplex).abort());
            }
            if let Some(now) = sweep.due() {
                for connection in self.connections() {
                    lock(&connection.duplex).end_if_idle(now);
                }
            }
            let due = self.begin_what_is_due();
            if phase != Phase::Run && self.is_over() {
                return Ok(());
            }
            if self.workers.load(Ordering::Acquire) == 0 {
                return Err(io::Error::other("all workers have ended"));
            }
            let due = due.map(|due| due.saturating_duration_since(Instant::now()));
            let wait = [sweep.timeout(), due].into_iter().flatten().min();
            Event::wait_any(std::slice::from_ref(&self.bell), wait)?;
        }
    }

    /// Cancels the accepts that wait; those that wait for their time end at once.
    fn end_accepts(&self) {
        lock(&self.later).clear();
        for slot in &self.slots {
            let mut slot = lock(slot);
            match &*slot {
                Some(Slot { accepting, listener }) if accepting.is_outstanding() => accepting.cancel(listener),
                _ => *slot = None,
            }
        }
    }

    /// Begins the accepts whose time has come; returns the time of the next one.
    fn begin_what_is_due(&self) -> Option<Instant> {
        let now = Instant::now();
        let due: Vec<_> = lock(&self.later).extract_if(.., |(time, _)| *time <= now).collect();
        for (_, index) in due {
            self.begin_accept(index);
        }
        lock(&self.later).iter().map(|(time, _)| *time).min()
    }

    fn is_over(&self) -> bool {
        // In this order: a connection is registered before its accept ends.
        self.slots.iter().all(|slot| lock(slot).is_none()) && lock(&self.registry).is_empty()
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        lock(&self.registry).iter().map(|(_, connection)| Arc::clone(connection)).collect()
    }
}

/// Tells the supervisor that a worker has ended, be it by a panic.
struct Ended<'s>(&'s Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.workers.fetch_sub(1, Ordering::AcqRel);
        self.0.bell.set();
    }
}

/// A panic in a worker was reported by its end; the others go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::server::Options;

    #[test]
    fn a_panic_ends_its_connection_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("bound");
        let context = Arc::new(Context::new(Options { workers: 1, ..Options::default() }, channel().0));
        let shared = Arc::new(Shared::new(listener.try_clone().expect("a handle"), &context).expect("a port"));
        let clients = [(); 2].map(|()| TcpStream::connect(address).expect("a connection"));
        for _ in &clients {
            shared.adopt(listener.accept().expect("a connection").0.into());
        }
        let broken = shared.connections().swap_remove(0);
        shared.advance(Some(broken), |_| panic!("a test's panic"));
        let workers = start(&shared).expect("threads");
        context.advance(Phase::Drain);
        let (ended, has_ended) = channel();
        let supervised = Arc::clone(&shared);
        std::thread::spawn(move || ended.send(supervised.supervise()));
        drop(clients);
        has_ended.recv_timeout(Duration::from_secs(20)).expect("it ends").expect("without an error");
        shared.port.dismiss().expect("it is posted");
        workers.into_iter().for_each(|worker| worker.join().expect("no panic").expect("without an error"));
        let counters = context.snapshot();
        assert_eq!((counters.closed, counters.connection_errors), (2, 1));
    }

    #[test]
    fn a_worker_that_takes_the_dismissals_of_others_gives_them_back() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let context = Arc::new(Context::new(Options { workers: 3, ..Options::default() }, channel().0));
        let shared = Arc::new(Shared::new(listener, &context).expect("a port"));
        for _ in 0..3 {
            shared.port.dismiss().expect("it is posted");
        }
        // Begun after all three were posted, the first one takes them in one batch.
        let (ended, has_ended) = channel();
        for worker in start(&shared).expect("threads") {
            let ended = ended.clone();
            std::thread::spawn(move || ended.send(worker.join().expect("no panic")));
        }
        for _ in 0..3 {
            has_ended.recv_timeout(Duration::from_secs(20)).expect("it ends").expect("without an error");
        }
        assert_eq!(shared.workers.load(Ordering::Acquire), 0);
    }
}
