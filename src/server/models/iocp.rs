//! `iocp`: overlapped operations that report to a completion port.
//!
//! # The model
//!
//! A completion port is a queue in the kernel. A socket is bound to it once. From then on each operation of the socket
//! puts a *packet* there when it completes, and any thread may take the packet. All threads wait for the port alone.
//! The last one that began to wait is woken first, because its cache is warm, and the port lets only as many threads
//! run as there are processors. This is the only model of Windows in which threads share the load of all connections,
//! and it has no limit of handles.
//!
//! Accepts go through the port too. Some AcceptEx operations wait in advance, and their packets come like all others.
//! The thread that takes one serves the new connection and begins the next accept, so no thread is needed to accept.
//!
//! # The rules
//!
//! - **Each operation that was begun has one packet**, also if the call succeeded at once.
//!   FILE_SKIP_COMPLETION_PORT_ON_SUCCESS would save such packets, but a thread would then go on with one busy
//!   connection while others wait in the queue. A program that skips some packets and waits for others loses or doubles
//!   completions. Here no packet is skipped.
//! - **A packet stands for its own operation.** The connection's other operation may have completed too, but its packet
//!   is still to come.
//! - **A connection has one receive and one send.** Packets leave the port in order, but one thread can overtake
//!   another. The two operations belong to different directions, and each connection has a lock.
//! - **A packet of a failed operation is still a packet.** GetQueuedCompletionStatus returns FALSE with an OVERLAPPED
//!   then. A program that takes this for a time-out leaks the connection. GetQueuedCompletionStatusEx, which is used
//!   here, hands it over like the others, and fails only if the wait fails.
//! - **A connection lives until its packets were taken.** It stays in the registry until both operations have
//!   completed, and a thread that has taken a packet holds its own reference.
//!
//! The thread that called [`run`] is the supervisor. It does the work that no packet causes: it drains, aborts, closes
//! idle connections, and repeats accepts that failed for lack of memory or sockets.
//!
//! Sources: Microsoft, 'I/O Completion Ports', 'GetQueuedCompletionStatusEx', 'AcceptEx', 'CreateIoCompletionPort'.

#![expect(unsafe_code, reason = "completion ports have no safe wrapper in std or socket2")]

use std::io;
use std::net::TcpListener;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread::Builder;
use std::time::Instant;

use slab::Slab;
use socket2::Socket;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED, OVERLAPPED_ENTRY, PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::Threading::INFINITE;

use crate::server::completion::accept_ex::{AcceptExListener, PendingAccept};
use crate::server::completion::operation::owner_of;
use crate::server::completion::overlapped_connection::{Notify, OverlappedConnection};
use crate::server::completion::winsock::raw;
use crate::server::pool::{IdleTimer, WorkerGroup, WorkerThreads};
use crate::server::wait::Waker;
use crate::server::wait::event_set::wake_event;
use crate::server::{Accept, Context, ServerPhase, Session};
use crate::sync::lock;
use crate::sys::event::Event;

/// Accepts that wait in advance. An accept's packet queues behind those of all connections, so under load only this
/// many connections are accepted each time that the queue is worked through. With few of them, clients wait for seconds
/// in the backlog.
const PENDING_ACCEPTS: usize = 128;
/// Packets that a thread takes at once. No other thread can take these.
const PACKETS_PER_WAIT: usize = 16;

/// Serves until told to stop. This thread supervises; `--workers` threads take packets.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let server = Arc::new(IocpServer::new(listener, &context)?);
    let mut threads = WorkerThreads::new(&server.group);
    let result = start_workers(&server, &mut threads).and_then(|()| {
        for index in 0..PENDING_ACCEPTS {
            server.begin_accept(index);
        }
        context.ready(server.group.wake_all());
        server.supervise()
    });
    for _ in 0..threads.count() {
        // If memory is too short for a packet, a worker can't be stopped, and the harness reports that it hung.
        let _ = server.port.post_stop();
    }
    threads.join(result)
}

fn start_workers(server: &Arc<IocpServer>, threads: &mut WorkerThreads) -> io::Result<()> {
    for i in 0..server.workers.load(Ordering::Relaxed) {
        let of_worker = Arc::clone(server);
        let thread = Builder::new().name(format!("iocp-{i}"));
        // Nothing wakes a worker but packets: the supervisor looks at the phase for all of them.
        let prepare = || Ok(Arc::new(|| {}) as Waker);
        threads.start_without_mailbox(thread, prepare, move || of_worker.work())?;
    }
    Ok(())
}

/// The completion port. All operations that report to it are owned by an [`Owner`].
struct CompletionPort(OwnedHandle);

impl CompletionPort {
    fn new() -> io::Result<CompletionPort> {
        // SAFETY: without a file handle the call only makes a port. 0 threads means as many as there are processors.
        let handle = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 0) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just returned this open handle, and nobody else owns it.
        Ok(CompletionPort(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Binds a socket: from now on each of its operations puts a packet here.
    fn bind(&self, socket: &Socket) -> io::Result<()> {
        // SAFETY: both handles are open during the call. The completion key is not used: the OVERLAPPED leads to the
        // owner.
        let handle = unsafe { CreateIoCompletionPort(raw(socket) as HANDLE, self.0.as_raw_handle(), 0, 0) };
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for packets and takes them.
    fn take<'entries>(
        &self,
        entries: &'entries mut [OVERLAPPED_ENTRY; PACKETS_PER_WAIT],
    ) -> io::Result<impl Iterator<Item = Packet> + 'entries> {
        let mut count = 0;
        // SAFETY: the call writes at most PACKETS_PER_WAIT entries to the live array, and the live count.
        let taken = unsafe {
            let (port, entries) = (self.0.as_raw_handle(), entries.as_mut_ptr());
            GetQueuedCompletionStatusEx(port, entries, PACKETS_PER_WAIT as u32, &raw mut count, INFINITE, 0)
        };
        if taken == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(entries[..count as usize].iter().map(|entry| match entry.lpOverlapped {
            overlapped if overlapped.is_null() => Packet::Stop,
            overlapped => Packet::Completion(CompletionPacket(overlapped)),
        }))
    }

    /// Puts a packet there that stops one worker.
    fn post_stop(&self) -> io::Result<()> {
        // SAFETY: the handle is open as long as `self` lives. The system passes the OVERLAPPED on without using it, so
        // it may be null.
        let posted = unsafe { PostQueuedCompletionStatus(self.0.as_raw_handle(), 0, 0, ptr::null()) };
        if posted == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// A packet that was taken from the port.
enum Packet {
    /// The thread that takes it ends.
    Stop,
    /// An operation has completed.
    Completion(CompletionPacket),
}

/// The packet of one completed operation. [`CompletionPort::take`] alone makes it, once for each operation that was
/// begun, so the operation lives until this was handled.
struct CompletionPacket(*mut OVERLAPPED);

/// To whom an operation belongs.
enum Owner {
    /// The accept with this index.
    Accept(usize),
    /// The receive of this connection.
    Receive(Weak<RegisteredConnection>),
    /// The send of this connection.
    Send(Weak<RegisteredConnection>),
}

struct RegisteredConnection {
    /// Its place in the registry.
    key: usize,
    connection: Mutex<OverlappedConnection<Owner>>,
}

/// The state that the threads share. Locks are taken in this order: an accept, the registry, a connection.
struct IocpServer {
    context: Arc<Context>,
    group: WorkerGroup,
    port: CompletionPort,
    /// Wakes the supervisor.
    wake: Event,
    /// `None` when an accept has ended because the server drains. The last accept closes the listener.
    accepts: Vec<Mutex<Option<PendingAccept<Owner>>>>,
    /// The indices of accepts that the supervisor is to begin, and when.
    paused_accepts: Mutex<Vec<(Instant, usize)>>,
    /// All connections that may have outstanding operations.
    registry: Mutex<Slab<Arc<RegisteredConnection>>>,
    /// How many connections may still be accepted once the server drains.
    rest: AtomicUsize,
    /// Workers that have not ended.
    workers: AtomicUsize,
}

impl IocpServer {
    fn new(listener: TcpListener, context: &Arc<Context>) -> io::Result<IocpServer> {
        let (port, listener) = (CompletionPort::new()?, Arc::new(AcceptExListener::new(listener)?));
        port.bind(listener.socket())?;
        let accept = |index| PendingAccept::new(Arc::clone(&listener), Owner::Accept(index), None);
        let (wake, waker) = wake_event()?;
        let group = WorkerGroup::new(context);
        group.add_waker(&waker);
        Ok(IocpServer {
            context: Arc::clone(context),
            group,
            port,
            wake,
            accepts: (0..PENDING_ACCEPTS).map(|index| Mutex::new(Some(accept(index)))).collect(),
            paused_accepts: Mutex::default(),
            registry: Mutex::default(),
            rest: AtomicUsize::new(usize::try_from(context.options().backlog).unwrap_or(0) + 1),
            workers: AtomicUsize::new(context.options().workers.max(1)),
        })
    }

    /// The loop of a worker.
    fn work(&self) -> io::Result<()> {
        let _exit = WorkerExit(self);
        let mut entries = [OVERLAPPED_ENTRY::default(); PACKETS_PER_WAIT];
        loop {
            let mut stops = 0;
            for packet in self.port.take(&mut entries)? {
                match packet {
                    Packet::Stop => stops += 1,
                    Packet::Completion(packet) => self.handle(packet),
                }
            }
            // One stops this worker. The others were meant for other workers and go back.
            for _ in 1..stops {
                self.port.post_stop()?;
            }
            if stops > 0 {
                return Ok(());
            }
        }
    }

    fn handle(&self, CompletionPacket(overlapped): CompletionPacket) {
        // SAFETY: every operation that reports to this port is owned by an `Owner`. The operation lives until its
        // completion is taken, which happens below; the reference is not used after that.
        let owner = unsafe { owner_of::<Owner>(overlapped) };
        match owner {
            &Owner::Accept(index) => self.accepted(index),
            // SAFETY: the packet of this connection's receive was just taken from the port.
            Owner::Receive(connection) => self.advance(connection.upgrade(), |c| unsafe { c.collect_receive() }),
            // SAFETY: the packet of this connection's send was just taken from the port.
            Owner::Send(connection) => self.advance(connection.upgrade(), |c| unsafe { c.collect_send() }),
        }
    }

    fn advance(
        &self,
        registered: Option<Arc<RegisteredConnection>>,
        tell: impl FnOnce(&mut OverlappedConnection<Owner>),
    ) {
        let registered = registered.expect("the registry holds a connection until its operations have completed");
        let over = {
            let mut connection = lock(&registered.connection);
            let over = catch_unwind(AssertUnwindSafe(|| {
                tell(&mut connection);
                connection.advance()
            }));
            // A panic concerns this connection alone. The connection is closed here: if the panic ended the worker, the
            // connection would stay in the registry for ever. The message was printed.
            over.unwrap_or_else(|_| {
                connection.fail();
                connection.advance()
            })
        };
        if over {
            let none_left = {
                let mut registry = lock(&self.registry);
                registry.remove(registered.key);
                registry.is_empty()
            };
            // The last reference closes the connection, so that it is counted before the supervisor wakes.
            drop(registered);
            if none_left && self.group.phase() != ServerPhase::Run {
                self.wake.set();
            }
        }
    }

    fn accepted(&self, index: usize) {
        let mut accept = lock(&self.accepts[index]);
        let Some(pending) = &mut *accept else { return };
        let mut pause = None;
        // SAFETY: the packet of this accept was just taken from the port.
        match unsafe { pending.finish() } {
            None => return,
            Some(Ok(socket)) => self.adopt(socket),
            // We have cancelled it ourselves.
            Some(Err(_)) if self.group.phase() != ServerPhase::Run => {}
            Some(Err(e)) => pause = self.count_failed_accept(&e),
        }
        self.begin_again(index, accept, pause);
    }

    fn begin_accept(&self, index: usize) {
        self.begin_again(index, lock(&self.accepts[index]), None);
    }

    /// Begins an accept, or lets the supervisor begin it at the end of a pause. The lock of the accept orders this with
    /// [`end_accepts`](Self::end_accepts): either that comes later and cancels the accept, or the phase is seen here.
    fn begin_again(
        &self,
        index: usize,
        mut accept: MutexGuard<'_, Option<PendingAccept<Owner>>>,
        mut pause_end: Option<Instant>,
    ) {
        loop {
            let Some(pending) = &mut *accept else { return };
            let phase = self.group.phase();
            let takes_rest = phase == ServerPhase::Drain && pause_end.is_none() && self.may_take_one_more(pending);
            if phase != ServerPhase::Run && !takes_rest {
                *accept = None;
                self.wake.set();
                return;
            }
            if let Some(time) = pause_end {
                lock(&self.paused_accepts).push((time, index));
                self.wake.set();
                return;
            }
            match pending.begin() {
                Ok(()) => return,
                Err(e) => pause_end = self.count_failed_accept(&e),
            }
        }
    }

    /// Whether a connection waits at the listener, and a server that drains takes it: no more than the backlog can
    /// hold, so that clients that keep connecting do not delay the end.
    fn may_take_one_more(&self, pending: &PendingAccept<Owner>) -> bool {
        let take_one = |left: usize| left.checked_sub(1);
        pending.somebody_waits() && self.rest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one).is_ok()
    }

    /// Counts a failed accept. Returns when to try again; `None` means at once.
    fn count_failed_accept(&self, error: &io::Error) -> Option<Instant> {
        match self.context.accept_failed(error) {
            Accept::Again => None,
            Accept::After(pause) => Some(Instant::now() + pause),
        }
    }

    fn adopt(&self, socket: Socket) {
        // If the connection is not admitted, its socket is closed here.
        let Some(session) = Session::admit(&self.context, &socket) else { return };
        let bound = self.port.bind(&socket);
        let registered = {
            let mut registry = lock(&self.registry);
            let entry = registry.vacant_entry();
            let registered = Arc::new_cyclic(|itself: &Weak<RegisteredConnection>| {
                let owners = [Owner::Receive(itself.clone()), Owner::Send(itself.clone())];
                let connection = OverlappedConnection::new(socket, session, owners, Notify::Port);
                RegisteredConnection { key: entry.key(), connection: Mutex::new(connection) }
            });
            Arc::clone(entry.insert(registered))
        };
        self.advance(Some(registered), |connection| {
            if bound.is_err() {
                connection.fail();
            }
            // The connection is registered by now: either the supervisor finds it when it aborts, or the phase is seen
            // here.
            if self.group.phase() == ServerPhase::Abort {
                connection.abort();
            }
        });
    }

    /// The loop of the supervisor. Returns when the server has drained or was aborted, with nothing outstanding.
    fn supervise(&self) -> io::Result<()> {
        let mut idle = IdleTimer::new(&self.context);
        let mut aborted = false;
        let mut ended_accepts_in = None;
        loop {
            let phase = self.group.phase();
            // Once for each phase: what a draining server takes from the backlog then is not cancelled again.
            if phase != ServerPhase::Run && ended_accepts_in.replace(phase) != Some(phase) {
                self.end_accepts();
            }
            if phase == ServerPhase::Abort && !aborted {
                aborted = true;
                self.connections().iter().for_each(|registered| lock(&registered.connection).abort());
            }
            if let Some(now) = idle.due() {
                for registered in self.connections() {
                    lock(&registered.connection).close_if_idle(now);
                }
            }
            let next_accept = self.begin_due_accepts();
            if phase != ServerPhase::Run && self.is_over() {
                return Ok(());
            }
            if self.workers.load(Ordering::Acquire) == 0 {
                return Err(io::Error::other("all workers have ended"));
            }
            Event::wait_any(std::slice::from_ref(&self.wake), idle.timeout_or(next_accept))?;
        }
    }

    /// Cancels the outstanding accepts, and ends those that are paused.
    fn end_accepts(&self) {
        lock(&self.paused_accepts).clear();
        for accept in &self.accepts {
            let mut accept = lock(accept);
            match &*accept {
                Some(pending) if pending.is_outstanding() => pending.cancel(),
                _ => *accept = None,
            }
        }
    }

    /// Begins the accepts whose pause is over. Returns when the next pause ends.
    fn begin_due_accepts(&self) -> Option<Instant> {
        let now = Instant::now();
        let due: Vec<_> = lock(&self.paused_accepts).extract_if(.., |(time, _)| *time <= now).collect();
        for (_, index) in due {
            self.begin_accept(index);
        }
        lock(&self.paused_accepts).iter().map(|(time, _)| *time).min()
    }

    fn is_over(&self) -> bool {
        // In this order, because a connection is registered before its accept ends.
        self.accepts.iter().all(|accept| lock(accept).is_none()) && lock(&self.registry).is_empty()
    }

    fn connections(&self) -> Vec<Arc<RegisteredConnection>> {
        lock(&self.registry).iter().map(|(_, registered)| Arc::clone(registered)).collect()
    }
}

/// Tells the supervisor that a worker has ended, even if it has panicked.
struct WorkerExit<'server>(&'server IocpServer);

impl Drop for WorkerExit<'_> {
    fn drop(&mut self) {
        self.0.workers.fetch_sub(1, Ordering::AcqRel);
        self.0.wake.set();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::server::Options;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn a_panic_closes_its_connection_and_no_other() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let context = Arc::new(Context::new(Options { workers: 1, ..Options::default() }, channel().0));
        let of_server = listener.try_clone().expect("a handle can be duplicated");
        let server = Arc::new(IocpServer::new(of_server, &context).expect("a port can be made"));
        let clients = [(); 2].map(|()| TcpStream::connect(address).expect("the client connects"));
        for _ in &clients {
            server.adopt(listener.accept().expect("the client is accepted").0.into());
        }
        let broken = server.connections().swap_remove(0);
        server.advance(Some(broken), |_| panic!("the test panics"));
        let mut threads = WorkerThreads::new(&server.group);
        start_workers(&server, &mut threads).expect("threads can be started");
        context.advance(ServerPhase::Drain);
        let (ended, has_ended) = channel();
        let supervised = Arc::clone(&server);
        std::thread::spawn(move || ended.send(supervised.supervise()));
        drop(clients);
        has_ended.recv_timeout(LIMIT).expect("the server drains").expect("it ends without an error");
        server.port.post_stop().expect("a packet can be posted");
        threads.join(Ok(())).expect("the worker ends without an error");
        let counters = context.snapshot();
        assert_eq!((counters.closed, counters.connection_errors), (2, 1));
    }

    #[test]
    fn a_worker_that_takes_the_stop_packets_of_others_gives_them_back() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let context = Arc::new(Context::new(Options { workers: 3, ..Options::default() }, channel().0));
        let server = Arc::new(IocpServer::new(listener, &context).expect("a port can be made"));
        for _ in 0..3 {
            server.port.post_stop().expect("a packet can be posted");
        }
        // The workers start after the posts, so the first one takes all three packets at once.
        let mut threads = WorkerThreads::new(&server.group);
        start_workers(&server, &mut threads).expect("threads can be started");
        let (ended, have_ended) = channel();
        std::thread::spawn(move || ended.send(threads.join(Ok(()))));
        have_ended.recv_timeout(LIMIT).expect("all workers end").expect("they end without an error");
        assert_eq!(server.workers.load(Ordering::Acquire), 0);
    }
}
