//! The code that runs in the process of a connection, from fork to exit, and nothing else.
//!
//! The program has other threads, so the child may call only what is async-signal-safe (signal-safety(7)). The calls
//! here are: sigaction, sigprocmask, close, close_range and prctl (plain system calls), getppid, recv, send, shutdown,
//! setsockopt and _exit. Those of std are thin wrappers of these: they allocate nothing and take no lock, and their
//! errors are the numbers of the system. The slices below are in bounds, and nothing else could panic.

#![expect(unsafe_code, reason = "fork and what must follow it have no safe wrapper")]

use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use libc::c_int;
use rustix::process::Pid;

use super::slots::ByteSlot;

/// Exit codes.
pub(super) const OVER: c_int = 0;
pub(super) const BROKEN: c_int = 1;
pub(super) const IDLE: c_int = 2;
pub(super) const ABORTED: c_int = 3;

/// The signal that ends a child, with a reset of its connection.
pub(super) const ABORT_SIGNAL: c_int = libc::SIGUSR1;

/// Signals that a terminal or a service manager sends to all processes of a server. The parent decides what they mean.
const FOR_THE_PARENT: [c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// Bytes that a child receives at once at first. It doubles up to the buffer while its client fills it: pages of the
/// buffer become real memory of the child when it writes to them.
const FIRST_RECEIVE: usize = 4096;

/// The connection of this process, for the handler of the signal. A parent never sets it.
static CONNECTION: AtomicI32 = AtomicI32::new(-1);

/// What a child needs, made ready by its parent.
pub(super) struct Birth<'p> {
    pub(super) stream: &'p TcpStream,
    /// The child writes to its own copy of it.
    pub(super) buffer: &'p mut [u8],
    pub(super) slot: &'p ByteSlot,
    /// The descriptors of the process are smaller.
    pub(super) descriptors: c_int,
}

/// Forks, and serves the connection in the child, which never returns from here. The parent gets the child's id.
///
/// # Errors
/// The system's: EAGAIN when there are too many processes, ENOMEM.
pub(super) fn fork(birth: Birth<'_>) -> io::Result<Pid> {
    let all = every_signal();
    let mut former = MaybeUninit::uninit();
    // SAFETY: both sets live during the call. No handler of the parent runs in the child, since all are blocked until
    // the child has set its own.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, former.as_mut_ptr()) };
    let parent = rustix::process::getpid();
    // SAFETY: the child runs `serve_and_exit` alone, which calls only what is async-signal-safe: see the head of this
    // file.
    let forked = match unsafe { libc::fork() } {
        0 => serve_and_exit(birth, parent),
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid).expect("a process has an id")),
    };
    // SAFETY: the first call has filled `former`, which it does unless its arguments are wrong.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, former.as_ptr(), ptr::null_mut()) };
    forked
}

fn every_signal() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: zeroed, so that it is whole whatever part of it the call writes (musl leaves some out).
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// All that a child does.
fn serve_and_exit(birth: Birth<'_>, parent: Pid) -> ! {
    let Birth { stream, buffer, slot, descriptors } = birth;
    let _guard = NeverUnwind;
    set_signals(stream.as_raw_fd());
    close_all_but(stream.as_raw_fd(), descriptors);
    end_with(parent);
    unblock_signals();
    exit(serve(stream, |stream| stream.shutdown(Shutdown::Write), buffer, slot))
}

/// If the child panicked after all, it must not unwind into the code of the parent.
struct NeverUnwind;

impl Drop for NeverUnwind {
    fn drop(&mut self) {
        // SAFETY: the call has no condition, and does not return.
        unsafe { libc::abort() }
    }
}

fn exit(code: c_int) -> ! {
    // SAFETY: the call has no condition. It runs no destructor and no handler of the parent, as exit would.
    unsafe { libc::_exit(code) }
}

/// Receives, sends all of it, and so on, until the client's FIN or an error; `finish` sends ours. Returns the exit
/// code.
fn serve<S: Read + Write>(
    mut stream: S,
    finish: impl FnOnce(&mut S) -> io::Result<()>,
    buffer: &mut [u8],
    slot: &ByteSlot,
) -> c_int {
    let mut size = FIRST_RECEIVE.min(buffer.len());
    loop {
        let received = match stream.read(&mut buffer[..size]) {
            Ok(0) => return if finish(&mut stream).is_ok() { OVER } else { BROKEN },
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return end_of(&e),
        };
        slot.received(received);
        let mut rest = &buffer[..received];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(n) => {
                    slot.sent(n);
                    rest = &rest[n..];
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return end_of(&e),
            }
        }
        if received == size {
            size = (size * 2).min(buffer.len());
        }
    }
}

fn end_of(error: &io::Error) -> c_int {
    // SO_RCVTIMEO or SO_SNDTIMEO has passed, which is set with `--idle-timeout` alone.
    if error.kind() == ErrorKind::WouldBlock { IDLE } else { BROKEN }
}

fn set_signals(connection: RawFd) {
    CONNECTION.store(connection, Ordering::SeqCst);
    for signal in FOR_THE_PARENT {
        set_action(signal, libc::SIG_IGN);
    }
    set_action(libc::SIGCHLD, libc::SIG_DFL);
    set_action(ABORT_SIGNAL, abort as extern "C" fn(c_int) as usize);
}

fn set_action(signal: c_int, action: libc::sighandler_t) {
    // SAFETY: zeroed is an action without flags, which blocks nothing else while it runs. It lives during the call, and
    // what is set as the handler is one, or a constant for none. The call fails only for a signal that does not exist.
    unsafe {
        let mut wanted: libc::sigaction = MaybeUninit::zeroed().assume_init();
        wanted.sa_sigaction = action;
        libc::sigaction(signal, &raw const wanted, ptr::null_mut());
    }
}

/// The handler of [`ABORT_SIGNAL`]. It interrupts a call that blocks and can't miss one that is about to, since it ends
/// the process itself.
extern "C" fn abort(_signal: c_int) {
    let connection = CONNECTION.load(Ordering::SeqCst);
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (value, length) = ((&raw const linger).cast(), size_of::<libc::linger>() as libc::socklen_t);
    // SAFETY: `value` has this length and lives during the call. A wrong descriptor would only be refused.
    unsafe { libc::setsockopt(connection, libc::SOL_SOCKET, libc::SO_LINGER, value, length) };
    exit(ABORTED)
}

/// Closes every descriptor but one.
fn close_all_but(kept: RawFd, descriptors: c_int) {
    #[cfg(target_os = "linux")]
    {
        let close = |first: c_int, last: u32| {
            // SAFETY: the child uses none of these descriptors any more. The call takes numbers.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
        };
        let below = kept == 0 || close(0, kept.unsigned_abs() - 1);
        if below && close(kept + 1, u32::MAX) {
            return;
        }
        // A kernel before 5.9, or a filter.
    }
    for descriptor in (0..descriptors).filter(|descriptor| *descriptor != kept) {
        // SAFETY: as above; one that is not open is refused.
        unsafe { libc::close(descriptor) };
    }
}

/// On Linux a child ends with its parent. Elsewhere it serves its client to the end.
fn end_with(parent: Pid) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: the call takes numbers. The thread that forks ends after its children.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, ABORT_SIGNAL) };
        if rustix::process::getppid() != Some(parent) {
            exit(ABORTED);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
}

fn unblock_signals() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: the first call makes a whole set of it, which lives during the second.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that takes three bytes by one call, as a send that SO_SNDTIMEO ends takes a part.
    struct ShortSends<'i> {
        input: &'i [u8],
        output: Vec<u8>,
    }

    impl Read for ShortSends<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.input.read(buffer)
        }
    }

    impl Write for ShortSends<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.output.write(&bytes[..bytes.len().min(3)])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_short_send_has_left_is_sent_next() {
        let input: Vec<u8> = (0..20_000_u32).map(|n| n as u8).collect();
        let (slot, mut echo) = (ByteSlot::default(), Vec::new());
        let stream = ShortSends { input: &input, output: Vec::new() };
        let finish = |stream: &mut ShortSends<'_>| {
            echo = std::mem::take(&mut stream.output);
            Ok(())
        };
        assert_eq!(serve(stream, finish, &mut [0; 8192], &slot), OVER);
        assert!(echo == input, "{} bytes came back", echo.len());
    }
}
