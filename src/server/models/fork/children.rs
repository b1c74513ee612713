//! The children as their parent knows them: starting them, learning that some have ended, reaping and ending them.

#![expect(unsafe_code, reason = "a signal handler and waitid have no safe wrapper that tells what is needed")]

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};

use libc::c_int;
use rustix::process::{Pid, Resource, Signal, WaitOptions, WaitStatus, getrlimit, kill_process, waitpid};

use super::child::{self, Birth};
use super::slots::ByteSlots;
use crate::server::wait::self_pipe::SelfPipe;
use crate::sync::lock;

/// Forks: [`child::fork`], or what a test has instead.
pub(super) type ForkFn = fn(Birth<'_>) -> io::Result<Pid>;

/// How the connection of a child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChildEnd {
    /// In order.
    Over,
    /// By an error, such as a reset.
    Broken,
    /// By `--idle-timeout`.
    Idle,
    /// By [`Children::tell_to_abort`].
    Aborted,
    /// Somebody has killed it.
    Killed,
    /// By a fault of its own.
    Crashed,
}

/// The children of one server. All calls come from the thread that has made this.
pub(super) struct Children {
    slots: Arc<Mutex<ByteSlots>>,
    /// The slot of each child that was not reaped yet. Until then its number is given to no other process.
    alive: HashMap<Pid, usize>,
    /// Each child writes to its own copy. Nobody writes to this one, so its pages are shared until then.
    buffer: Box<[u8]>,
    /// The descriptors of this process are smaller.
    descriptors: c_int,
    fork: ForkFn,
    _notices: Notices,
}

impl Children {
    /// None yet. When one has ended, `pipe` is written to.
    ///
    /// # Errors
    /// The system's, or there are too many such servers in this process.
    pub(super) fn new(pipe: &Arc<SelfPipe>, buffer: usize, fork: ForkFn) -> io::Result<Children> {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Ok(Children {
            slots: Arc::default(),
            alive: HashMap::new(),
            buffer: vec![0; buffer].into_boxed_slice(),
            descriptors: c_int::try_from(limit).unwrap_or(1 << 20),
            fork,
            _notices: Notices::new(pipe)?,
        })
    }

    /// Tells the bytes received and sent by all children, at any time.
    pub(super) fn bytes(&self) -> impl Fn() -> [u64; 2] + Send + Sync + 'static {
        let slots = Arc::clone(&self.slots);
        move || lock(&slots).bytes()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.alive.is_empty()
    }

    /// Starts the child that serves this connection. Then close it here.
    ///
    /// # Errors
    /// The system's: EAGAIN when there are too many processes, or out of memory.
    pub(super) fn start(&mut self, stream: &TcpStream) -> io::Result<()> {
        let mut slots = lock(&self.slots);
        let index = slots.take()?;
        let birth = Birth { stream, buffer: &mut self.buffer, slot: slots.get(index), descriptors: self.descriptors };
        match (self.fork)(birth) {
            Ok(child) => {
                self.alive.insert(child, index);
                Ok(())
            }
            Err(e) => {
                slots.put_back(index);
                Err(e)
            }
        }
    }

    /// Reaps the children that have ended: `ended` is told how, and how many bytes were received and not sent. Returns
    /// whether there were any.
    pub(super) fn reap(&mut self, mut ended: impl FnMut(ChildEnd, u64)) -> bool {
        let before = self.alive.len();
        while let Some(pid) = one_that_has_ended() {
            if self.alive.contains_key(&pid) {
                self.reap_if_ended(pid, &mut ended);
                continue;
            }
            // A child of somebody else in this program, who has not waited for it yet. It hides ours.
            let all: Vec<Pid> = self.alive.keys().copied().collect();
            all.into_iter().for_each(|pid| self.reap_if_ended(pid, &mut ended));
            break;
        }
        self.alive.len() < before
    }

    fn reap_if_ended(&mut self, pid: Pid, ended: &mut impl FnMut(ChildEnd, u64)) {
        let end = match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(None) => return,
            Ok(Some((_, status))) => end_of(status),
            // Somebody else has waited for it.
            Err(_) => ChildEnd::Killed,
        };
        if let Some(index) = self.alive.remove(&pid) {
            ended(end, lock(&self.slots).put_back(index));
        }
    }

    /// Tells all of them to end, with a reset.
    pub(super) fn tell_to_abort(&self) {
        self.signal(Signal::USR1);
    }

    /// Ends all of them, even one that is stopped.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        for child in self.alive.keys() {
            // It may have ended, but its number is still its own.
            let _ = kill_process(*child, signal);
        }
    }
}

/// A child that has ended and was not waited for, of anybody in this program. It can still be waited for.
fn one_that_has_ended() -> Option<Pid> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` has room for the answer.
    let result =
        unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) };
    if result == -1 {
        return None; // There is no child at all.
    }
    // SAFETY: zeroed at first, so it is initialized, and it is the information of a child that has ended. If there is
    // none, the number is 0.
    Pid::from_raw(unsafe { info.assume_init_ref().si_pid() })
}

fn end_of(status: WaitStatus) -> ChildEnd {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(child::OVER), _) => ChildEnd::Over,
        (Some(child::BROKEN), _) => ChildEnd::Broken,
        (Some(child::IDLE), _) => ChildEnd::Idle,
        (Some(child::ABORTED), _) => ChildEnd::Aborted,
        (None, Some(libc::SIGKILL)) => ChildEnd::Killed,
        _ => ChildEnd::Crashed,
    }
}

/// Servers of this kind in one process.
const MOST_SERVERS: usize = 64;
/// The pipes to write to when a child has ended; -1: none.
static PIPES: [AtomicI32; MOST_SERVERS] = [const { AtomicI32::new(-1) }; MOST_SERVERS];
/// Handlers that run now, in any thread.
static RUNNING_HANDLERS: AtomicUsize = AtomicUsize::new(0);

/// As long as this lives, its pipe is written to when any child of this process has ended.
struct Notices {
    place: &'static AtomicI32,
    _pipe: Arc<SelfPipe>,
}

impl Notices {
    fn new(pipe: &Arc<SelfPipe>) -> io::Result<Notices> {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(install_handler);
        unblock();
        let writer = pipe.writer().as_raw_fd();
        let claim = |place: &&AtomicI32| place.compare_exchange(-1, writer, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        match PIPES.iter().find(claim) {
            Some(place) => Ok(Notices { place, _pipe: Arc::clone(pipe) }),
            None => Err(io::Error::other("there are too many such servers in this process")),
        }
    }
}

impl Drop for Notices {
    /// Waits until no handler can still write to the pipe, whose number another descriptor may get.
    fn drop(&mut self) {
        self.place.store(-1, Ordering::SeqCst);
        while RUNNING_HANDLERS.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
    }
}

/// For the whole process and its life: nothing else here uses SIGCHLD. Calls that the signal interrupts go on.
fn install_handler() {
    // SAFETY: zeroed is an action that blocks nothing else while it runs. It lives during the call, and its handler
    // calls only what is async-signal-safe. The call fails only for a signal that does not exist.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = on_child as extern "C" fn(c_int) as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_NOCLDSTOP;
        libc::sigaction(libc::SIGCHLD, &raw const action, ptr::null_mut());
    }
}

/// Lets this thread get SIGCHLD, which a process may have blocked before it started this program.
fn unblock() {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the first call makes a whole set, to which the second adds; it lives during the third.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
    }
}

extern "C" fn on_child(_signal: c_int) {
    RUNNING_HANDLERS.fetch_add(1, Ordering::SeqCst);
    for pipe in PIPES.iter().map(|place| place.load(Ordering::SeqCst)).filter(|pipe| *pipe >= 0) {
        // SAFETY: the number is that of a pipe which is open: who takes it out of the table waits for this handler
        // before it can close the pipe.
        let writer = unsafe { BorrowedFd::borrow_raw(pipe) };
        // The pipe does not block. If it is full, its reader is woken already.
        let _ = keeping_errno(|| rustix::io::write(writer, &[1]));
    }
    RUNNING_HANDLERS.fetch_sub(1, Ordering::SeqCst);
}

/// On Linux rustix makes the system call itself, and leaves errno alone, which the interrupted code may be about to
/// read.
#[cfg(target_os = "linux")]
fn keeping_errno<R>(call: impl FnOnce() -> R) -> R {
    call()
}

#[cfg(not(target_os = "linux"))]
fn keeping_errno<R>(call: impl FnOnce() -> R) -> R {
    #[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
    use libc::__errno as errno;
    #[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
    use libc::__error as errno;
    // SAFETY: the call returns the address of this thread's errno.
    let errno = unsafe { errno() };
    // SAFETY: it is this thread's own.
    let before = unsafe { errno.read() };
    let result = call();
    // SAFETY: as above.
    unsafe { errno.write(before) };
    result
}
