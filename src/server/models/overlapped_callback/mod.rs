//! `overlapped-callback`: overlapped operations whose completion the system reports by calling a function of ours.
//!
//! # The model
//!
//! WSARecv and WSASend take a *completion routine*. The call returns at once. When the operation has completed, the
//! system queues an *asynchronous procedure call* (APC) to the thread that made the call, and the routine runs there.
//! So the program never asks what is ready and never collects results: it says what it wants, and is called.
//!
//! **When a routine runs.** An APC does not interrupt a thread in the middle of its work: a routine that ran between
//! any two instructions could touch nothing safely. It runs only while the thread is in an *alertable* wait, such as
//! `SleepEx(INFINITE, TRUE)`. A thread that never waits alertably is never called, however much has completed. This
//! wait is the model's message loop, and the only one that a worker here makes. Alertable are SleepEx,
//! WaitForSingleObjectEx, WaitForMultipleObjectsEx, SignalObjectAndWait, WSAWaitForMultipleEvents and
//! GetQueuedCompletionStatusEx when they are asked to be, MsgWaitForMultipleObjectsEx with MWMO_ALERTABLE, and Winsock
//! calls that block. (A *special* user APC of QueueUserAPC2 is another thing: it does interrupt running code. No
//! completion routine is one.)
//!
//! **On which thread.** Each thread has its own APC queue, and a routine runs on the thread that began the operation.
//! Nothing balances the load between threads. In return, a connection belongs to one thread and needs no lock. That
//! thread must live: its end cancels the operations that it began, and drops the APCs that are queued to it, so no
//! routine ever tells of them. A worker here ends when nothing of its own is outstanding.
//!
//! **What a routine is given.** The error (0: none, else as WSAGetLastError would say), the number of bytes, the
//! OVERLAPPED of the operation, and flags of the receive. Nothing else: no handle, no pointer of the caller's.
//!
//! **Why accept is different.** AcceptEx is overlapped but takes no completion routine; it reports by an event or to a
//! port. So one thread accepts (see `acceptor`) and hands each connection to a worker by QueueUserAPC, which is the
//! only way to run code on a thread that does nothing but wait alertably. The first receive is begun there, so all
//! routines of that connection run there.
//!
//! **What it costs.** Each APC takes a transition into the kernel and back, where a port hands over many packets in one
//! call. Threads can't help each other, and the rules below apply. In return the code needs no locks and no port, and
//! has no limit of 64 handles.
//!
//! # The rules
//!
//! - **The way back.** A routine gets the OVERLAPPED and nothing else. The OVERLAPPED is the first field of a `repr(C)`
//!   block, so its pointer can be cast to the block, which holds the connection's key. A receive and a send are
//!   outstanding together, so there are two blocks. The other way back is `hEvent`: with a routine the system ignores
//!   that field, so a program may keep a pointer of its own there.
//! - **Never wait in a routine.** An alertable wait in a routine runs further routines inside it, deeper and deeper on
//!   the stack. Outside of a routine a wait can surprise too: blocking Winsock calls wait alertably. A routine then
//!   finds the worker borrowed, and defers its work to the loop.
//! - **A wait may never return.** It runs the queued APCs and those that they queue, which can go on for ever under
//!   load. So after [`CALLS_PER_WAIT`] calls, routines only note what has completed and begin nothing. The queue runs
//!   empty, the wait returns, and the loop does the rest: the noted completions, closing, the phase, idle connections.
//! - **An APC may run early.** An APC that says 'stop' may run in an earlier alertable wait than the one that it should
//!   end. So it leaves a mark, and the loop looks at the mark before it waits (Raymond Chen, 'The case of the APC that
//!   never arrives').
//! - **Never unwind into the system.** Each routine catches panics; the connection that caused one is reset.
//! - **Free nothing that is outstanding.** The loop closes a connection after both of its operations have completed.
//!
//! # What the classic lesson gets wrong
//!
//! The usual example accepts in a busy loop; here the acceptor waits for an event. It serves one client at a time. It
//! lets the socket handle land in the OVERLAPPED. When a call succeeds at once, it begins the next operation on the
//! same OVERLAPPED, although the first one's routine is still to be called: immediate success queues the APC too. It
//! never notices a receive of 0 bytes. And it never echoes. The tests check each of these.
//!
//! Sources: Microsoft, 'Asynchronous Procedure Calls', 'Alertable I/O', 'SleepEx', 'QueueUserAPC', 'WSARecv'.

#![expect(unsafe_code, reason = "completion routines and APCs are called by the system")]

use std::cell::{Cell, RefCell};
use std::io;
use std::mem;
use std::net::TcpListener;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::{Duration, Instant};

use slab::Slab;
use socket2::Socket;
use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::Threading::{GetCurrentThread, QueueUserAPC, SleepEx, WaitForSingleObject};

use crate::server::completion::CompletionResult;
use crate::server::completion::acceptor::accept_until_drain;
use crate::server::completion::operation::owner_of;
use crate::server::completion::overlapped_connection::{Notify, OverlappedConnection, Routines};
use crate::server::pool::{IdleTimer, WorkerGroup, WorkerThreads};
use crate::server::wait::Waker;
use crate::server::wait::event_set::wake_event;
use crate::server::{Context, ServerPhase, Session};
use crate::sys::event::milliseconds;

/// The number of calls that one alertable wait handles at once. Later ones are only noted.
const CALLS_PER_WAIT: u32 = 256;

/// The pause before a call that could not be queued, because memory is short, is queued again.
const QUEUE_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A connection whose operations are owned by its key in [`ApcWorker::connections`].
type ApcConnection = OverlappedConnection<usize>;

/// Serves until told to stop. This thread accepts; `--workers` threads serve.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let (wake, waker) = wake_event()?;
    let workers = ApcWorkers::start(&context)?;
    workers.group.add_waker(&waker);
    context.ready(workers.group.wake_all());
    let mut next = 0;
    let accepted = accept_until_drain(
        listener,
        &context,
        wake,
        || workers.group.phase(),
        |socket, session| {
            next += 1;
            let threads = &workers.alertable.threads;
            let thread = &threads[next % threads.len()];
            tolerate(thread.hand_over(socket, session), thread, &context)
        },
    );
    workers.finish(accepted)
}

/// Counts a failed handover. It is an error only if the worker has ended, because its connections are then not served.
/// If it failed for another reason, such as lack of memory, only that connection is lost.
fn tolerate(handed_over: io::Result<()>, thread: &AlertableThread, context: &Context) -> io::Result<()> {
    handed_over.or_else(|e| {
        if thread.has_ended() {
            return Err(e);
        }
        context.accept_failed(&e);
        Ok(())
    })
}

/// The worker threads.
struct ApcWorkers {
    group: WorkerGroup,
    // Before the threads, which are waited for when they are dropped.
    alertable: AlertableThreads,
    threads: WorkerThreads,
}

impl ApcWorkers {
    fn start(context: &Arc<Context>) -> io::Result<ApcWorkers> {
        ApcWorkers::start_on(context, |i| Builder::new().name(format!("overlapped-callback-{i}")))
    }

    /// `thread` configures the thread of a worker, by its number. If one can't be started, the others are ended.
    fn start_on(context: &Arc<Context>, thread: impl Fn(usize) -> Builder) -> io::Result<ApcWorkers> {
        let group = WorkerGroup::new(context);
        let alertable = AlertableThreads { threads: Vec::new(), last_phase: ServerPhase::Abort };
        let mut workers = ApcWorkers { threads: WorkerThreads::new(&group), group, alertable };
        for i in 0..context.options().workers.max(1) {
            let (tell, this) = channel();
            let prepare = move || {
                let this = Arc::new(AlertableThread::current()?);
                // The thread that started this one waits for it.
                let _ = tell.send(Arc::clone(&this));
                Ok(Arc::new(move || this.wake()) as Waker)
            };
            let of_worker = workers.group.clone();
            // An APC that is queued to a thread before it runs is called before the thread's first line. None is queued
            // before the worker has prepared.
            workers.threads.start_without_mailbox(thread(i), prepare, move || serve(&of_worker))?;
            workers.alertable.threads.push(this.recv().expect("a worker that has prepared has sent its handle"));
        }
        Ok(workers)
    }

    /// Tells the workers that no more connections will come, and waits until their connections have ended. If the
    /// acceptor has failed, they abort, because nobody else will tell them to.
    ///
    /// # Errors
    /// That of the acceptor, or of the first worker that failed.
    fn finish(self, accepted: io::Result<()>) -> io::Result<()> {
        let ApcWorkers { mut alertable, threads, .. } = self;
        if accepted.is_ok() {
            alertable.last_phase = ServerPhase::Drain;
        }
        drop(alertable);
        threads.join(accepted)
    }
}

/// The threads of the workers, to queue APCs to. Dropping this tells them that the acceptor has ended, even by a panic.
struct AlertableThreads {
    /// Shared with the wakers, which may be called after the threads have ended.
    threads: Vec<Arc<AlertableThread>>,
    last_phase: ServerPhase,
}

impl Drop for AlertableThreads {
    fn drop(&mut self) {
        for thread in &self.threads {
            // Without this call a thread waits for ever, so it is repeated while memory is short.
            while queue(thread.0.as_handle(), Call::AcceptorEnded(self.last_phase)).is_err() && !thread.has_ended() {
                std::thread::sleep(QUEUE_AGAIN_AFTER);
            }
        }
    }
}

/// A call that other threads queue to a worker.
enum Call {
    /// Serve this connection.
    Adopt(Box<(Socket, Session)>),
    /// Look at the phase.
    Wake,
    /// No more connections come: serve the rest to its end, or abort.
    AcceptorEnded(ServerPhase),
}

/// Queues a call to a thread, as an APC. A thread that ends before it has waited alertably never runs it; the
/// connection of an [`Adopt`](Call::Adopt) is then leaked, and stays open until the process ends.
///
/// # Errors
/// The system's: the thread has ended, or memory is short. The connection of an [`Adopt`](Call::Adopt) is closed then.
fn queue(thread: BorrowedHandle<'_>, call: Call) -> io::Result<()> {
    match call {
        Call::Adopt(connection) => {
            let connection = Box::into_raw(connection);
            // SAFETY: `adopt` takes a pointer that was made from a box of this type, and is called at most once. A
            // socket and a session may go to another thread.
            unsafe { queue_apc(thread, adopt, connection as usize) }.inspect_err(|_| {
                // SAFETY: the pointer was made from a box above, and no call was queued that could use it.
                drop(unsafe { Box::from_raw(connection) });
            })
        }
        // SAFETY: `wake` ignores its parameter.
        Call::Wake => unsafe { queue_apc(thread, wake, 0) },
        // SAFETY: `acceptor_ended` takes any number.
        Call::AcceptorEnded(phase) => unsafe {
            queue_apc(thread, acceptor_ended, usize::from(phase == ServerPhase::Abort))
        },
    }
}

/// # Safety
/// `function` is sound to call at most once with this parameter, on any thread.
unsafe fn queue_apc(
    thread: BorrowedHandle<'_>,
    function: unsafe extern "system" fn(usize),
    parameter: usize,
) -> io::Result<()> {
    // SAFETY: the handle is borrowed, so it is open during the call, and the caller guarantees the function.
    let queued = unsafe { QueueUserAPC(Some(function), thread.as_raw_handle(), parameter) };
    if queued == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A thread that waits alertably.
struct AlertableThread(OwnedHandle);

impl AlertableThread {
    /// The thread that calls this.
    fn current() -> io::Result<AlertableThread> {
        // SAFETY: the pseudo handle of the current thread is always valid, and needs no closing.
        let this = unsafe { BorrowedHandle::borrow_raw(GetCurrentThread()) };
        Ok(AlertableThread(this.try_clone_to_owned()?))
    }

    /// Ends its wait, so that it looks at the phase.
    fn wake(&self) {
        // It fails for a thread that has ended, which needs no call, or if memory is short. Then the thread looks at
        // the phase after its next completion, and the harness reports a server that hangs until its time limit.
        let _ = queue(self.0.as_handle(), Call::Wake);
    }

    /// Has the thread serve a connection. See [`queue`].
    fn hand_over(&self, socket: Socket, session: Session) -> io::Result<()> {
        queue(self.0.as_handle(), Call::Adopt(Box::new((socket, session))))
    }

    fn has_ended(&self) -> bool {
        // SAFETY: the handle is open as long as `self` lives. With a limit of 0 the call does not wait.
        unsafe { WaitForSingleObject(self.0.as_raw_handle(), 0) == WAIT_OBJECT_0 }
    }
}

/// A message to the worker, from an APC or a routine.
enum Notice {
    Adopted(Socket, Session),
    Received(RoutineCall),
    Sent(RoutineCall),
}

/// The arguments of one call of a completion routine.
struct RoutineCall {
    key: usize,
    result: CompletionResult,
}

impl RoutineCall {
    /// # Safety
    /// The system has called a completion routine with these arguments, for an operation that is owned by a key. The
    /// operation lives as long as its connection was not told.
    unsafe fn of(error: u32, bytes: u32, overlapped: *mut OVERLAPPED) -> RoutineCall {
        // SAFETY: the caller guarantees that the owner is a key. It is copied while the operation lives.
        let key = *unsafe { owner_of::<usize>(overlapped) };
        let result = if error == 0 { Ok(bytes as usize) } else { Err(io::Error::from_raw_os_error(error as i32)) };
        RoutineCall { key, result }
    }
}

thread_local! {
    /// The worker of this thread. Its routines and APCs run on this thread, so they find it here.
    static WORKER: RefCell<ApcWorker> = RefCell::new(ApcWorker::default());
    /// Notices for the loop to handle after the wait. Never borrowed during a call that could wait.
    static DEFERRED: RefCell<Vec<Notice>> = const { RefCell::new(Vec::new()) };
    /// The number of notices that this wait may still handle at once.
    static CALLS_LEFT: Cell<u32> = const { Cell::new(CALLS_PER_WAIT) };
    /// The loop must look at the phase before it waits again.
    static WOKEN: Cell<bool> = const { Cell::new(false) };
    /// `Run` until the acceptor has ended.
    static ACCEPTOR_PHASE: Cell<ServerPhase> = const { Cell::new(ServerPhase::Run) };
}

/// The connections of one thread.
#[derive(Default)]
struct ApcWorker {
    connections: Slab<ApcConnection>,
    /// The keys of connections that are over, for the loop to close.
    over: Vec<usize>,
    /// All connections are aborted, including those that are still to be adopted.
    aborting: bool,
}

impl ApcWorker {
    fn handle(&mut self, notice: Notice) {
        match notice {
            Notice::Adopted(socket, session) => self.adopt(socket, session),
            Notice::Received(RoutineCall { key, result }) => self.advance(key, |connection| {
                // SAFETY: the routine of this connection's receive was called with this result; see `RoutineCall`.
                unsafe { connection.received(result) };
            }),
            Notice::Sent(RoutineCall { key, result }) => self.advance(key, |connection| {
                // SAFETY: the routine of this connection's send was called with this result; see `RoutineCall`.
                unsafe { connection.sent(result) };
            }),
        }
    }

    fn adopt(&mut self, socket: Socket, session: Session) {
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        // SAFETY: the routines take the owner of an operation for a key, and the owners here are keys.
        let routines = unsafe { Routines::new(Some(received), Some(sent)) };
        entry.insert(ApcConnection::new(socket, session, [key, key], Notify::Routines(routines)));
        let aborting = self.aborting;
        self.advance(key, |connection| {
            if aborting {
                connection.abort();
            }
        });
    }

    fn advance(&mut self, key: usize, tell: impl FnOnce(&mut ApcConnection)) {
        let connection = &mut self.connections[key];
        let over = catch_unwind(AssertUnwindSafe(|| {
            tell(connection);
            connection.advance()
        }));
        // A panic concerns this connection alone, so the others go on.
        let over = over.unwrap_or_else(|_| {
            connection.fail();
            connection.advance()
        });
        if over {
            self.over.push(key);
        }
    }

    /// Takes out the connections that are over. Drop them, which closes them, while the worker is not borrowed.
    fn take_over(&mut self) -> Vec<ApcConnection> {
        let over = mem::take(&mut self.over).into_iter().map(|key| self.connections.remove(key));
        over.inspect(|connection| debug_assert_eq!(connection.outstanding(), 0, "it is closed too early")).collect()
    }

    fn abort_all(&mut self) {
        if mem::replace(&mut self.aborting, true) {
            return;
        }
        for (_, connection) in &mut self.connections {
            connection.abort();
        }
    }

    fn close_idle(&mut self, now: Instant) {
        for (_, connection) in &mut self.connections {
            connection.close_if_idle(now);
        }
    }
}

/// The loop of a worker thread: does what is due, then waits alertably.
fn serve(group: &WorkerGroup) -> io::Result<()> {
    serve_and_close(group, drop)
}

/// `close` gets the connections that are over. Routines may run inside it, because a Winsock call that waits does so
/// alertably.
fn serve_and_close(group: &WorkerGroup, mut close: impl FnMut(Vec<ApcConnection>)) -> io::Result<()> {
    let mut idle = IdleTimer::new(group.context());
    loop {
        WOKEN.set(false);
        CALLS_LEFT.set(CALLS_PER_WAIT);
        for notice in DEFERRED.take() {
            WORKER.with_borrow_mut(|worker| worker.handle(notice));
        }
        let aborted = group.phase() == ServerPhase::Abort || ACCEPTOR_PHASE.get() == ServerPhase::Abort;
        let over = WORKER.with_borrow_mut(|worker| {
            if aborted {
                worker.abort_all();
            }
            if let Some(now) = idle.due() {
                worker.close_idle(now);
            }
            worker.take_over()
        });
        // The worker is not borrowed here, so a routine that runs inside is handled at once.
        close(over);
        if has_more_to_do() {
            continue;
        }
        if ACCEPTOR_PHASE.get() != ServerPhase::Run && WORKER.with_borrow(|worker| worker.connections.is_empty()) {
            return Ok(());
        }
        // SAFETY: nothing is borrowed here. The APCs of this thread are the functions below, queued with the parameters
        // that they expect, and the routines of operations that the worker keeps until they have completed.
        unsafe { SleepEx(milliseconds(idle.timeout()), 1) };
    }
}

/// Whether calls that the loop itself made have left something to do. It must neither wait nor return then.
fn has_more_to_do() -> bool {
    WOKEN.get() || !DEFERRED.with_borrow(Vec::is_empty) || !WORKER.with_borrow(|worker| worker.over.is_empty())
}

/// Handles a notice now, or defers it to the loop: if the worker is borrowed, because one of its own calls waits
/// alertably, or if this wait has handled enough.
fn notify(notice: Notice) {
    // A panic must not unwind into the system. Its message was printed.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        WORKER.with(|worker| match (worker.try_borrow_mut(), CALLS_LEFT.get()) {
            (Ok(mut worker), 1..) => {
                CALLS_LEFT.set(CALLS_LEFT.get() - 1);
                worker.handle(notice);
            }
            _ => DEFERRED.with_borrow_mut(|deferred| deferred.push(notice)),
        });
    }));
}

/// Completion routine of WSARecv.
unsafe extern "system" fn received(error: u32, bytes: u32, overlapped: *mut OVERLAPPED, _flags: u32) {
    // SAFETY: the system calls this routine for the receives to which `ApcWorker::adopt` gave it. Their owners are
    // keys, and they live until `ApcWorker::handle` has told the connection.
    notify(Notice::Received(unsafe { RoutineCall::of(error, bytes, overlapped) }));
}

/// Completion routine of WSASend.
unsafe extern "system" fn sent(error: u32, bytes: u32, overlapped: *mut OVERLAPPED, _flags: u32) {
    // SAFETY: as in `received`.
    notify(Notice::Sent(unsafe { RoutineCall::of(error, bytes, overlapped) }));
}

/// APC of [`Call::Adopt`].
unsafe extern "system" fn adopt(parameter: usize) {
    // SAFETY: `queue` has made the parameter from a box for this one call.
    let (socket, session) = *unsafe { Box::from_raw(parameter as *mut (Socket, Session)) };
    notify(Notice::Adopted(socket, session));
}

/// APC of [`Call::Wake`].
unsafe extern "system" fn wake(_: usize) {
    WOKEN.set(true);
}

/// APC of [`Call::AcceptorEnded`]. It is queued after the last `adopt`, so it runs after it.
unsafe extern "system" fn acceptor_ended(aborts: usize) {
    ACCEPTOR_PHASE.set(if aborts == 0 { ServerPhase::Drain } else { ServerPhase::Abort });
    WOKEN.set(true);
}

#[cfg(test)]
mod tests;
