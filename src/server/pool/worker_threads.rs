//! Worker threads: starting them, ending all of them when one fails, and waiting for them.
//!
//! A worker first *prepares* what it waits with, and a waker that interrupts the wait. It does so on its own thread,
//! since a ring, a window and an APC queue belong to the thread that made them. Then it *serves*. If it ends with an
//! error or a panic, the others see the phase `Abort` at their next look: half a server would leave clients waiting.
//!
//! This file does not know what a worker serves.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use super::mailbox::{MailSender, Mailbox, mailbox};
use crate::server::wait::Waker;
use crate::server::{Context, ServerPhase};
use crate::sync::lock;
use crate::sys::advice;

/// The state that the workers of one server share: the context, whether one of them has failed, and the wakers.
#[derive(Clone)]
pub(in crate::server) struct WorkerGroup {
    context: Arc<Context>,
    state: Arc<GroupState>,
}

/// Apart from the context, because the context holds a closure that holds this.
#[derive(Default)]
struct GroupState {
    wakers: Mutex<Vec<Waker>>,
    has_failed: AtomicBool,
}

impl GroupState {
    fn wake_all(&self) {
        lock(&self.wakers).iter().for_each(|wake| wake());
    }
}

impl WorkerGroup {
    /// A group without workers.
    pub(in crate::server) fn new(context: &Arc<Context>) -> WorkerGroup {
        WorkerGroup { context: Arc::clone(context), state: Arc::default() }
    }

    /// The context of the server.
    pub(in crate::server) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Whether to run, drain or abort. It is `Abort` too when a worker has failed. Look after each wait.
    pub(in crate::server) fn phase(&self) -> ServerPhase {
        if self.state.has_failed.load(Ordering::Acquire) { ServerPhase::Abort } else { self.context.phase() }
    }

    /// For [`Context::ready`]: wakes all workers, including those that are started later.
    pub(in crate::server) fn wake_all(&self) -> impl Fn() + Send + Sync + 'static {
        let state = Arc::clone(&self.state);
        move || state.wake_all()
    }

    /// Adds the waker of one worker, and calls it, because the phase may have changed before.
    pub(in crate::server) fn add_waker(&self, waker: &Waker) {
        lock(&self.state.wakers).push(Arc::clone(waker));
        waker();
    }

    /// Tells all workers to abort.
    pub(in crate::server) fn fail(&self) {
        self.state.has_failed.store(true, Ordering::Release);
        self.state.wake_all();
    }

    /// Runs a worker. If it ends with an error or a panic, the others abort.
    pub(super) fn guard(&self, serve: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut guard = FailureGuard { group: self, is_well: false };
        let result = serve();
        guard.is_well = result.is_ok();
        result
    }
}

struct FailureGuard<'g> {
    group: &'g WorkerGroup,
    is_well: bool,
}

impl Drop for FailureGuard<'_> {
    fn drop(&mut self) {
        if !self.is_well {
            self.group.fail();
        }
    }
}

/// The threads of one server, for the thread that started them. Dropping this aborts them, and waits for their end.
pub(in crate::server) struct WorkerThreads {
    group: WorkerGroup,
    handles: Vec<JoinHandle<io::Result<()>>>,
}

impl WorkerThreads {
    /// No threads.
    pub(in crate::server) fn new(group: &WorkerGroup) -> WorkerThreads {
        WorkerThreads { group: group.clone(), handles: Vec::new() }
    }

    /// How many threads there are.
    #[cfg(windows)]
    pub(in crate::server) fn count(&self) -> usize {
        self.handles.len()
    }

    /// Starts a thread, and returns when it has prepared, with the sender to its mailbox.
    ///
    /// # Errors
    /// The thread can't be started, or `prepare` failed.
    pub(in crate::server) fn start<W, T: Send + 'static>(
        &mut self,
        thread: Builder,
        prepare: impl FnOnce() -> io::Result<(W, Waker)> + Send + 'static,
        serve: impl FnOnce(W, Mailbox<T>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<MailSender<T>> {
        let (tell, prepared) = channel();
        let group = self.group.clone();
        let handle = thread.spawn(move || {
            let (worker, waker) = prepare()?;
            let (sender, mailbox) = mailbox(waker);
            // The thread that started this one waits for it.
            let _ = tell.send(sender);
            group.guard(|| serve(worker, mailbox))
        });
        let handle = handle.map_err(|error| advice::refused("thread", &error))?;
        match prepared.recv() {
            Ok(sender) => {
                self.group.add_waker(sender.waker());
                self.handles.push(handle);
                Ok(sender)
            }
            Err(_) => {
                Err(ended(handle).err().unwrap_or_else(|| io::Error::other("a worker ended before it was ready")))
            }
        }
    }

    /// Starts a thread that is handed its connections in another way than by a mailbox. See [`start`](Self::start).
    ///
    /// # Errors
    /// The thread can't be started, or `prepare` failed.
    #[cfg(windows)]
    pub(in crate::server) fn start_without_mailbox(
        &mut self,
        thread: Builder,
        prepare: impl FnOnce() -> io::Result<Waker> + Send + 'static,
        serve: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        self.start(thread, || Ok(((), prepare()?)), |(), _: Mailbox<()>| serve()).map(drop)
    }

    /// Waits for all threads. `result` is that of the calling thread: if it is an error, the threads abort. Drop their
    /// senders before, or they wait for more connections.
    ///
    /// # Errors
    /// `result`, or else the error of the first thread that failed.
    pub(in crate::server) fn join(mut self, result: io::Result<()>) -> io::Result<()> {
        if result.is_err() {
            self.group.fail();
        }
        // All threads are waited for, even after one has failed.
        mem::take(&mut self.handles).into_iter().fold(result, |result, handle| {
            let ended = ended(handle);
            result.and(ended)
        })
    }
}

impl Drop for WorkerThreads {
    /// Happens when a later thread could not be started, or when the thread that started them panics.
    fn drop(&mut self) {
        if !self.handles.is_empty() {
            self.group.fail();
            self.handles.drain(..).for_each(|handle| drop(ended(handle)));
        }
    }
}

fn ended(handle: JoinHandle<io::Result<()>>) -> io::Result<()> {
    handle.join().unwrap_or_else(|_| Err(io::Error::other("a worker thread panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Options;

    fn group() -> WorkerGroup {
        WorkerGroup::new(&Arc::new(Context::new(Options::default(), channel().0)))
    }

    /// Starts a thread that waits for its waker before each look at the phase, until that is `Abort`.
    fn start_one_that_waits(threads: &mut WorkerThreads) -> MailSender<()> {
        let group = threads.group.clone();
        let prepare = || {
            let (wake, woken) = channel();
            let waker: Waker = Arc::new(move || wake.send(()).unwrap_or_default());
            Ok((woken, waker))
        };
        let serve = move |woken: std::sync::mpsc::Receiver<()>, _mailbox| {
            while group.phase() != ServerPhase::Abort {
                woken.recv().expect("the group keeps the waker");
            }
            Ok(())
        };
        threads.start(Builder::new(), prepare, serve).expect("a thread starts")
    }

    fn start_one_that(
        threads: &mut WorkerThreads,
        serve: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<MailSender<()>> {
        threads.start(Builder::new(), || Ok(((), Arc::new(|| {}) as Waker)), move |(), _| serve())
    }

    #[test]
    fn one_that_fails_ends_all_and_its_error_is_the_result() {
        let mut threads = WorkerThreads::new(&group());
        let _waits = start_one_that_waits(&mut threads);
        let _fails =
            start_one_that(&mut threads, || Err(io::Error::other("a broken wait"))).expect("the thread starts");
        assert_eq!(threads.join(Ok(())).expect_err("one failed").to_string(), "a broken wait");
    }

    #[test]
    fn one_that_panics_ends_all_and_the_result_says_so() {
        let mut threads = WorkerThreads::new(&group());
        let _waits = start_one_that_waits(&mut threads);
        let _panics = start_one_that(&mut threads, || panic!("a test's panic")).expect("the thread starts");
        assert_eq!(threads.join(Ok(())).expect_err("one panicked").to_string(), "a worker thread panicked");
    }

    #[test]
    fn the_error_of_the_calling_thread_wins_and_ends_all() {
        let mut threads = WorkerThreads::new(&group());
        let _waits = start_one_that_waits(&mut threads);
        let error = threads.join(Err(io::Error::other("no listener"))).expect_err("it was given");
        assert_eq!(error.to_string(), "no listener");
    }

    #[test]
    fn dropping_the_threads_ends_them() {
        let group = group();
        let mut threads = WorkerThreads::new(&group);
        let _waits = start_one_that_waits(&mut threads);
        drop(threads);
        assert_eq!(group.phase(), ServerPhase::Abort);
    }

    #[test]
    fn a_worker_that_can_not_prepare_is_an_error_of_its_start_and_of_no_other() {
        let group = group();
        let mut threads = WorkerThreads::new(&group);
        let fails = threads.start::<(), ()>(Builder::new(), || Err(io::Error::other("no ring")), |(), _| Ok(()));
        assert_eq!(fails.err().expect("it has no ring").to_string(), "no ring");
        let panics = threads.start::<(), ()>(Builder::new(), || panic!("a test's panic"), |(), _| Ok(()));
        assert_eq!(panics.err().expect("it panicked").to_string(), "a worker thread panicked");
        assert_eq!(group.phase(), ServerPhase::Run);
        threads.join(Ok(())).expect("there is none to wait for");
    }

    #[test]
    fn a_thread_that_the_system_refuses_is_an_error_of_its_start() {
        let mut threads = WorkerThreads::new(&group());
        let thread = Builder::new().stack_size(1 << 60);
        let refused = threads.start::<(), ()>(thread, || Ok(((), Arc::new(|| {}) as Waker)), |(), _| Ok(()));
        assert!(refused.is_err(), "no address space holds such a stack");
    }
}
