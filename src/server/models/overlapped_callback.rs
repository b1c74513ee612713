//! `overlapped-callback`: overlapped operations whose completion the system tells by calling a function of ours.
//!
//! # The model
//!
//! WSARecv and WSASend take a *completion routine*. The call returns at once; when the operation is complete, the
//! system queues an *asynchronous procedure call* (APC) to the thread that made the call, and the routine runs there.
//! So the program never asks what is ready and never collects results: it says what it wants, and is called.
//!
//! **When it is called.** An APC does not interrupt a thread in the middle of its work; a routine that ran between any
//! two instructions could touch nothing safely. It runs only while the thread waits, and has said that it may be
//! disturbed: an *alertable* wait, such as `SleepEx(INFINITE, TRUE)`. A thread that never waits alertably is never
//! called, however much is complete. Such a wait is the model's message loop, and all that a worker here ever waits
//! for.
//!
//! **On which thread.** Each thread has an APC queue of its own, and a routine runs on the thread that began its
//! operation. Nothing balances the load between threads. In return a connection belongs to one thread, and needs no
//! lock.
//!
//! **Why accept is different.** AcceptEx is overlapped but takes no completion routine; it completes by an event or to
//! a port. So a thread accepts (see `acceptor`) and gives each connection to a worker by QueueUserAPC: the one way to
//! have code run on a thread that does nothing but wait alertably. The first receive is begun there, hence all routines
//! of that connection run there.
//!
//! **What it costs.** A transition into the kernel and back for each APC, one at a time, where a port hands over many
//! packets in one call; threads that can't help each other; and the rules below. It buys code without locks, without a
//! port, without a limit of 64 handles.
//!
//! # What must be kept
//!
//! - **The way back.** The routine gets the OVERLAPPED and nothing else. It stands first in a `repr(C)` block, so the
//!   pointer can be cast back to the block, which holds the connection's key. A receive and a send are outstanding
//!   together, so there are two blocks.
//! - **Never wait in a routine.** A wait there that is alertable runs further routines inside of it, and so on down the
//!   stack. Even a wait outside of one can run them by surprise: blocking Winsock calls wait alertably. So the worker
//!   is found borrowed then, and what was to be done is left to the loop.
//! - **The wait may not return by itself.** It runs what is queued, and what that queues, and under load it can go on
//!   like that. So after [`BUDGET`] calls the routines only note what has completed; nothing new is begun, the queue
//!   runs dry, the wait returns, and the loop does the rest: what was noted, closing, the phase, idle connections.
//! - **A call may come early.** An APC that says 'stop' may have run in an earlier alertable wait than the one that it
//!   was meant to end. So it leaves a mark, and the loop looks for the mark before it waits (Raymond Chen, 'The case of
//!   the APC that never arrives').
//! - **No unwinding into the system.** Each routine catches panics; the connection that caused one is reset.
//! - **Free nothing that is outstanding.** Connections are closed by the loop, after both operations were reaped.
//!
//! # What the classic lesson gets wrong
//!
//! It accepts in a busy loop (here the acceptor waits for an event); it serves one client at a time; it lets the socket
//! handle land in the OVERLAPPED; when a call succeeds at once it begins the next one on the same OVERLAPPED, although
//! the first one's routine is still to be called (success at once queues the APC all the same); it never notices a
//! receive of 0 bytes; and it never echoes. The tests go through these.
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
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use slab::Slab;
use socket2::Socket;
use windows_sys::Win32::Foundation::{PAPCFUNC, WAIT_OBJECT_0};
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::Threading::{QueueUserAPC, SleepEx, WaitForSingleObject};

use crate::server::completion::acceptor::accept_until_drain;
use crate::server::completion::overlapped::{Operation, Outcome};
use crate::server::completion::overlapped_connection::{Duplex, Routines};
use crate::server::pool::IdleTimer;
use crate::server::{Context, Phase, Session};
use crate::sys::event::{Event, milliseconds};

/// Calls that one alertable wait answers by beginning further operations; after that it only notes them.
const BUDGET: u32 = 256;

/// Serves until told to stop. The calling thread accepts; `--workers` threads serve.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let wake = Event::auto()?;
    let workers = Workers::start(&context)?;
    let (bell, threads) = (wake.try_clone()?, Arc::clone(&workers.threads));
    context.ready(move || {
        bell.set();
        threads.iter().for_each(|thread| thread.nudge());
    });
    let mut next = 0;
    let accepted = accept_until_drain(
        listener,
        &context,
        wake,
        || context.phase(),
        |socket, session| {
            next += 1;
            let thread = &workers.threads[next % workers.threads.len()];
            survive(thread.hand_over(socket, session), thread, &context)
        },
    );
    workers.finish(accepted)
}

/// Connections of a worker that has ended can't be served; a call that was refused for any other reason, such as want
/// of memory, costs the one that it was for.
fn survive(handed_over: io::Result<()>, thread: &Thread, context: &Context) -> io::Result<()> {
    handed_over.or_else(|e| {
        if thread.has_ended() {
            return Err(e);
        }
        context.accept_failed(&e);
        Ok(())
    })
}

/// The worker threads.
struct Workers {
    /// Shared with the closure that wakes them, which may be called after they have ended.
    threads: Arc<Vec<Thread>>,
    joins: Vec<JoinHandle<io::Result<()>>>,
}

impl Workers {
    fn start(context: &Arc<Context>) -> io::Result<Workers> {
        let count = context.options().workers.max(1);
        Workers::start_by(count, |i, running| {
            let context = Arc::clone(context);
            let name = format!("overlapped-callback-{i}");
            std::thread::Builder::new().name(name).spawn(move || serve(&context, running))
        })
    }

    /// `spawn` begins worker `i`, which says that it runs. If one of them can't be begun, the others are ended.
    fn start_by(
        count: usize,
        spawn: impl Fn(usize, Sender<()>) -> io::Result<JoinHandle<io::Result<()>>>,
    ) -> io::Result<Workers> {
        let (running, is_running) = channel();
        let mut workers = Workers { threads: Arc::default(), joins: Vec::new() };
        let begun = (0..count).try_for_each(|i| {
            workers.joins.push(spawn(i, running.clone())?);
            Ok(())
        });
        drop(running);
        let threads = begun.and_then(|()| {
            // An APC that is queued before a thread begins to run is called before its first line. None is queued
            // before this:
            for _ in &workers.joins {
                is_running.recv().map_err(|_| io::Error::other("a worker ended before it was ready"))?;
            }
            workers.joins.iter().map(|join| Ok(Thread(join.as_handle().try_clone_to_owned()?))).collect()
        });
        match threads {
            Ok(threads) => Ok(Workers { threads: Arc::new(threads), ..workers }),
            Err(e) => Err(workers.finish(Err(e)).expect_err("it gives the error back")),
        }
    }

    /// Tells the workers that no more connections come, and waits until theirs have ended. If the acceptor has failed
    /// they abort, since nobody else will tell them to.
    ///
    /// # Errors
    /// The acceptor's, or the first worker's.
    fn finish(self, accepted: io::Result<()>) -> io::Result<()> {
        for join in &self.joins {
            // It fails only for a thread that has ended.
            let _ = queue(join.as_handle(), Some(last), usize::from(accepted.is_err()));
        }
        // All are waited for, whatever the first one says.
        self.joins.into_iter().fold(accepted, |result, join| {
            let ended = join.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            result.and(ended)
        })
    }
}

/// Queues a call of `function(parameter)` on a thread: one of the functions below, with what it asks for.
fn queue(thread: BorrowedHandle<'_>, function: PAPCFUNC, parameter: usize) -> io::Result<()> {
    // SAFETY: the handle is open for the length of the call, with all rights. The function takes any thread that waits
    // alertably for a worker, and the parameter is what it asks for. For a thread that has ended the call fails.
    let queued = unsafe { QueueUserAPC(function, thread.as_raw_handle(), parameter) };
    if queued == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A thread that waits alertably.
struct Thread(OwnedHandle);

impl Thread {
    fn queue(&self, function: PAPCFUNC, parameter: usize) -> io::Result<()> {
        queue(self.0.as_handle(), function, parameter)
    }

    /// Ends its wait, so that it looks at the phase.
    fn nudge(&self) {
        // It fails only for a thread that has ended.
        let _ = self.queue(Some(nudged), 0);
    }

    /// # Errors
    /// The system's: the thread has ended, or memory is short. The connection is closed then.
    fn hand_over(&self, socket: Socket, session: Session) -> io::Result<()> {
        let parameter = Box::into_raw(Box::new((socket, session)));
        self.queue(Some(adopt), parameter as usize).inspect_err(|_| {
            // SAFETY: the call was not queued, so the box is still ours alone.
            drop(unsafe { Box::from_raw(parameter) });
        })
    }

    fn has_ended(&self) -> bool {
        // SAFETY: the handle is open, and the call does not wait.
        unsafe { WaitForSingleObject(self.0.as_raw_handle(), 0) == WAIT_OBJECT_0 }
    }
}

/// What the system calls, when it can't be done at once.
enum Call {
    Adopt(Socket, Session),
    Received(usize, Outcome),
    Sent(usize, Outcome),
}

thread_local! {
    /// The worker of this thread. Routines and APCs run on it by definition, so this is how they find it.
    static WORKER: RefCell<Worker> = RefCell::new(Worker::default());
    /// What the loop is to do after the wait. Never borrowed while anything is called that could wait.
    static LATER: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
    /// Calls that this wait may still answer at once.
    static LEFT: Cell<u32> = const { Cell::new(BUDGET) };
    /// Somebody wants the loop to look before it waits again.
    static NUDGED: Cell<bool> = const { Cell::new(false) };
    /// What the acceptor's last word was, once it has spoken.
    static LAST: Cell<Option<Last>> = const { Cell::new(None) };
}

/// The acceptor's last word to a worker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Serve what there is to its end.
    Drain,
    /// End at once.
    Abort,
}

/// The connections of one thread.
#[derive(Default)]
struct Worker {
    connections: Slab<Duplex<usize>>,
    /// Those of them that are over, for the loop to close.
    over: Vec<usize>,
    /// Connections are ended at once, also those that are still to come.
    aborting: bool,
}

impl Worker {
    fn answer(&mut self, call: Call) {
        match call {
            Call::Adopt(socket, session) => self.adopt(socket, session),
            Call::Received(key, outcome) => self.advance(key, |connection| connection.received(outcome)),
            Call::Sent(key, outcome) => self.advance(key, |connection| connection.sent(outcome)),
        }
    }

    fn adopt(&mut self, socket: Socket, session: Session) {
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let (receive, send) = (Operation::new(key, None), Operation::new(key, None));
        let routines = Routines { received: Some(received), sent: Some(sent) };
        entry.insert(Duplex::new(socket, session, receive, send, routines));
        let aborting = self.aborting;
        self.advance(key, |connection| {
            if aborting {
                connection.abort();
            }
        });
    }

    fn advance(&mut self, key: usize, tell: impl FnOnce(&mut Duplex<usize>)) {
        let connection = &mut self.connections[key];
        let over = catch_unwind(AssertUnwindSafe(|| {
            tell(connection);
            connection.advance()
        }));
        // A panic can only be a fault in the rules of this one connection; the others go on.
        let over = over.unwrap_or_else(|_| {
            connection.fail();
            connection.advance()
        });
        if over {
            self.over.push(key);
        }
    }

    /// Takes out the connections that are over. To be dropped, which closes them, when the worker is not borrowed.
    fn take_over(&mut self) -> Vec<Duplex<usize>> {
        let over = mem::take(&mut self.over).into_iter().map(|key| self.connections.remove(key));
        over.inspect(|connection| debug_assert_eq!(connection.outstanding(), 0, "given up too early")).collect()
    }

    fn abort_all(&mut self) {
        if mem::replace(&mut self.aborting, true) {
            return;
        }
        for (_, connection) in &mut self.connections {
            connection.abort();
        }
    }

    fn end_idle(&mut self, now: Instant) {
        for (_, connection) in &mut self.connections {
            connection.end_if_idle(now);
        }
    }
}

/// A worker thread's life: look what is to be done, then wait alertably.
fn serve(context: &Context, running: Sender<()>) -> io::Result<()> {
    // Nobody listens only if another worker could not be started.
    let _ = running.send(());
    serve_and_close(context, drop)
}

/// `close` is given the connections that are over. It may call routines: a Winsock call that waits does so alertably.
fn serve_and_close(context: &Context, mut close: impl FnMut(Vec<Duplex<usize>>)) -> io::Result<()> {
    let mut sweep = IdleTimer::new(context);
    loop {
        NUDGED.set(false);
        LEFT.set(BUDGET);
        for call in LATER.take() {
            WORKER.with_borrow_mut(|worker| worker.answer(call));
        }
        let aborted = context.phase() == Phase::Abort || LAST.get() == Some(Last::Abort);
        let over = WORKER.with_borrow_mut(|worker| {
            if aborted {
                worker.abort_all();
            }
            if let Some(now) = sweep.due() {
                worker.end_idle(now);
            }
            worker.take_over()
        });
        // Not while the worker is borrowed, so a routine that is called here answers at once.
        close(over);
        if is_there_more_to_do() {
            continue;
        }
        if LAST.get().is_some() && WORKER.with_borrow(|worker| worker.connections.is_empty()) {
            return Ok(());
        }
        // SAFETY: nothing is borrowed here. Every APC of this thread is one of the functions below, or a routine of an
        // operation that its worker keeps until it is reaped.
        unsafe { SleepEx(milliseconds(sweep.timeout()), 1) };
    }
}

/// What came since the loop has looked, by calls that it made. It may neither wait nor return then.
fn is_there_more_to_do() -> bool {
    NUDGED.get() || !LATER.with_borrow(Vec::is_empty) || !WORKER.with_borrow(|worker| worker.over.is_empty())
}

/// Answers a call now, or leaves it to the loop: if the worker is borrowed, since then some call of its own waited
/// alertably, or if this wait has answered enough.
fn answer(call: Call) {
    // The panic of a routine must not unwind into the system; its message was printed.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        WORKER.with(|worker| match (worker.try_borrow_mut(), LEFT.get()) {
            (Ok(mut worker), 1..) => {
                LEFT.set(LEFT.get() - 1);
                worker.answer(call);
            }
            _ => LATER.with_borrow_mut(|later| later.push(call)),
        });
    }));
}

/// Completion routine of WSARecv.
unsafe extern "system" fn received(error: u32, bytes: u32, overlapped: *mut OVERLAPPED, _flags: u32) {
    // SAFETY: all receives with this routine are of an `Operation<usize>`, alive until `received` has reaped it.
    let key = *unsafe { Operation::<usize>::way_back(overlapped) };
    answer(Call::Received(key, outcome(error, bytes)));
}

/// Completion routine of WSASend.
unsafe extern "system" fn sent(error: u32, bytes: u32, overlapped: *mut OVERLAPPED, _flags: u32) {
    // SAFETY: as for `received`.
    let key = *unsafe { Operation::<usize>::way_back(overlapped) };
    answer(Call::Sent(key, outcome(error, bytes)));
}

fn outcome(error: u32, bytes: u32) -> Outcome {
    if error == 0 { Ok(bytes as usize) } else { Err(io::Error::from_raw_os_error(error as i32)) }
}

/// APC: takes a connection on.
unsafe extern "system" fn adopt(parameter: usize) {
    // SAFETY: `hand_over` made the box for this one call.
    let (socket, session) = *unsafe { Box::from_raw(parameter as *mut (Socket, Session)) };
    answer(Call::Adopt(socket, session));
}

/// APC: ends the wait.
unsafe extern "system" fn nudged(_: usize) {
    NUDGED.set(true);
}

/// APC: no more connections come. Queued after the last `adopt`, hence called after it.
unsafe extern "system" fn last(broken: usize) {
    LAST.set(Some(if broken == 0 { Last::Drain } else { Last::Abort }));
    NUDGED.set(true);
}

#[cfg(test)]
mod tests;
