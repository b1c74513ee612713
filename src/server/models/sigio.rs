//! `sigio` (Linux): a queued signal says which socket has changed.
//!
//! **Mechanism.** A descriptor with O_ASYNC makes the kernel send a signal to its owner when something happens on it:
//! bytes or a FIN have come, there is room to send again, an error. The owner is set by F_SETOWN; F_SETOWN_EX can name
//! one thread, so each worker gets the signals of its own sockets. The signal is SIGIO, which is not queued and says
//! nothing about the descriptor, unless F_SETSIG names another. A real-time signal is queued, and carries the number of
//! the descriptor (`si_fd`) and what happened (`si_band`). The worker blocks the signals and takes them one by one by
//! sigtimedwait(2). So no handler ever runs, and nothing is interrupted.
//!
//! It was Linux's answer to `poll` before epoll existed (2.4; phhttpd and 'the C10K problem' made it known), and SIGIO
//! itself came from 4.2BSD. signalfd(2) is another thing: it turns signals into a descriptor that a `poll` can watch.
//! So it brings back the wait that this model replaces.
//!
//! The rules:
//! - **A signal reports a change, not a state** (edge-triggered): nothing reports the bytes that were left. So a
//!   connection receives until a receive would block, and what had come before O_ASYNC was set is looked for once.
//! - **The queue is bounded** (RLIMIT_SIGPENDING, for all processes of a user). When it is full the kernel sends a
//!   plain SIGIO instead: some signals are lost, and it does not say whose. Then all queued signals are taken, and one
//!   `poll` of all sockets finds what is ready. SIGIO has the smaller number, so it is taken first.
//! - **A signal may be stale.** It names a number, and the descriptor may have been closed since, and the number used
//!   again. So a signal only means 'try': a call that would block is no error.
//! - **A wake must not be lost to a full queue.** Other threads wake a worker by a pipe that is watched like a socket:
//!   if its signal finds no room, SIGIO comes, and the pipe is polled with the rest.
//!
//! **Drawbacks.** A call for each signal; epoll returns hundreds of events by one. A socket sends a signal for each
//! segment that comes, wanted or not: there is no interest to take back. Three calls set a socket up, and each turn
//! ends by a receive that finds nothing. The BSDs and macOS know O_ASYNC without F_SETSIG, which leaves only the SIGIO
//! that says nothing.
//!
//! **Limit.** RLIMIT_SIGPENDING (`ulimit -i`), which is survived as said above.
//!
//! Source: fcntl(2) ('Managing signals'), sigwaitinfo(2), signal(7), socket(7); D. Kegel, 'The C10K problem'.

#![expect(unsafe_code, reason = "signals have no safe wrapper, and the table holds descriptors without a borrow")]

use std::collections::HashMap;
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use libc::{c_int, c_long, sigset_t};
use rustix::event::{PollFd, PollFlags, poll};
use socket2::SockRef;

use crate::server::Context;
use crate::server::readiness::connection::{Interest, Ready};
use crate::server::readiness::event_loop::{self, Selector, Token};
use crate::server::wait::Waker;
use crate::server::wait::self_pipe::SelfPipe;

/// Signals that one wait takes, so that a flood of them does not keep connections from their turns.
const SIGNALS_PER_WAIT: usize = 64;
/// What libc does not name: `asm-generic/fcntl.h`.
const F_SETSIG: c_int = 10;
const F_SETOWN_EX: c_int = 15;
const F_OWNER_TID: c_int = 0;

const NOTHING: Ready = Ready { read: false, write: false, hangup: false };
const EVERYTHING: Ready = Ready { read: true, write: true, hangup: false };

pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    event_loop::run::<Sigio>(listener, context)
}

/// Whether a descriptor can be given a signal and an owner here.
pub(super) fn probe() -> io::Result<()> {
    own(SelfPipe::new()?.as_fd())
}

/// The sockets that send signals to this thread, and what the last wait has taken.
struct Sigio {
    pipe: Arc<SelfPipe>,
    signals: Signals,
    /// Each descriptor is that of a registered socket, so it is open: see [`Selector::register`].
    watched: HashMap<RawFd, WatchedDescriptor>,
    /// Descriptors to report after the next wait, or after this one; some may be closed by now.
    reported: Vec<RawFd>,
}

struct WatchedDescriptor {
    token: Token,
    /// What is to be reported.
    ready: Ready,
}

impl Selector for Sigio {
    const IS_EDGE_TRIGGERED: bool = true;

    fn new() -> io::Result<(Sigio, Waker)> {
        let signals = Signals::block()?;
        let pipe = Arc::new(SelfPipe::new()?);
        send_signals_of(pipe.as_fd())?;
        let of_waker = Arc::clone(&pipe);
        let sigio = Sigio { pipe, signals, watched: HashMap::new(), reported: Vec::new() };
        Ok((sigio, Arc::new(move || of_waker.wake())))
    }

    /// What has come before is told by no signal, so the socket is reported once.
    unsafe fn register(&mut self, token: Token, socket: SockRef<'_>, _interest: Interest) -> io::Result<()> {
        send_signals_of(socket.as_fd())?;
        self.watched.insert(socket.as_raw_fd(), WatchedDescriptor { token, ready: NOTHING });
        self.note(socket.as_raw_fd(), EVERYTHING);
        Ok(())
    }

    /// There is no interest: every change is reported.
    fn modify(&mut self, _token: Token, _socket: SockRef<'_>, _interest: Interest) -> io::Result<()> {
        Ok(())
    }

    /// It may still send signals until it is closed. They find no entry, or one of a later socket, which then finds
    /// nothing to do.
    fn deregister(&mut self, _token: Token, socket: SockRef<'_>) {
        self.watched.remove(&socket.as_raw_fd());
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let mut timeout = if self.reported.is_empty() { timeout } else { Some(Duration::ZERO) };
        for _ in 0..SIGNALS_PER_WAIT {
            match self.signals.take(timeout)? {
                None => break,
                Some(Signal::Of { descriptor, band }) => self.note(descriptor, ready(band)),
                Some(Signal::Overflow) => {
                    while let Some(Signal::Of { .. }) = self.signals.take(Some(Duration::ZERO))? {}
                    self.poll_all()?;
                }
            }
            timeout = Some(Duration::ZERO);
        }
        Ok(())
    }

    fn next_ready(&mut self) -> Option<(Token, Ready)> {
        while let Some(descriptor) = self.reported.pop() {
            if let Some(watched) = self.watched.get_mut(&descriptor)
                && watched.ready != NOTHING
            {
                return Some((watched.token, mem::replace(&mut watched.ready, NOTHING)));
            }
        }
        None
    }

    fn report_again(&mut self, _token: Token, socket: SockRef<'_>) {
        self.note(socket.as_raw_fd(), Ready { read: true, ..NOTHING });
    }
}

impl Sigio {
    /// Adds to what is to be reported of a descriptor. A socket that has sent several signals gets one turn.
    fn note(&mut self, descriptor: RawFd, ready: Ready) {
        if let Some(watched) = self.watched.get_mut(&descriptor) {
            if watched.ready == NOTHING {
                self.reported.push(descriptor);
            }
            watched.ready.read |= ready.read;
            watched.ready.write |= ready.write;
        } else if descriptor == self.pipe.as_fd().as_raw_fd() {
            self.pipe.clear();
        }
    }

    /// Some signals were lost: asks all sockets.
    fn poll_all(&mut self) -> io::Result<()> {
        let every = PollFlags::IN | PollFlags::OUT;
        let watched = self.watched.keys().map(|descriptor| {
            // SAFETY: the socket is registered, so it is open, as the caller of `register` has promised.
            PollFd::from_borrowed_fd(unsafe { BorrowedFd::borrow_raw(*descriptor) }, every)
        });
        let mut list: Vec<PollFd<'_>> = watched.collect();
        poll(&mut list, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let answers: Vec<(RawFd, PollFlags)> =
            list.iter().map(|entry| (entry.as_fd().as_raw_fd(), entry.revents())).collect();
        for (descriptor, flags) in answers.into_iter().filter(|(_, flags)| !flags.is_empty()) {
            self.note(descriptor, ready(c_long::from(flags.bits())));
        }
        // Without a look whether it was written to: the loop looks at everything after each wait.
        self.pipe.clear();
        Ok(())
    }
}

/// What the bits of `si_band`, which are those of `poll`, let a connection try.
fn ready(band: c_long) -> Ready {
    let has = |flags: PollFlags| band & c_long::from(flags.bits()) != 0;
    let broken = has(PollFlags::ERR | PollFlags::HUP);
    // Never as a hangup: the signal may be that of a closed socket whose number this one has.
    Ready { read: has(PollFlags::IN) || broken, write: has(PollFlags::OUT) || broken, hangup: false }
}

/// Has the signals of a descriptor sent to this thread, which blocks them. The descriptor does not block.
fn send_signals_of(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    own(descriptor)?;
    // SAFETY: the descriptor is open. Its other flags that F_SETFL can change are not in use.
    checked(unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK | libc::O_ASYNC) })
}

/// Sets which signal a descriptor sends, and that this thread gets it. It sends none before O_ASYNC is set.
fn own(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct SignalOwner {
        kind: c_int,
        id: libc::pid_t,
    }
    let owner = SignalOwner { kind: F_OWNER_TID, id: rustix::thread::gettid().as_raw_nonzero().get() };
    // SAFETY: the descriptor is open, and the call takes a number.
    checked(unsafe { libc::fcntl(descriptor.as_raw_fd(), F_SETSIG, libc::SIGRTMIN()) })?;
    // SAFETY: the descriptor is open, and `owner` is laid out as `struct f_owner_ex` and lives during the call.
    checked(unsafe { libc::fcntl(descriptor.as_raw_fd(), F_SETOWN_EX, &raw const owner) })
}

fn checked(result: c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The signals that sockets send to this thread: blocked, so that they wait to be taken.
struct Signals(sigset_t);

enum Signal {
    /// Something has happened on a descriptor.
    Of { descriptor: RawFd, band: c_long },
    /// The queue was full, and some signals were lost.
    Overflow,
}

/// The part of `siginfo_t` that a descriptor's signal has.
#[repr(C)]
struct SignalOfDescriptor {
    _numbers: [c_int; 3],
    band: c_long,
    descriptor: c_int,
}

const _: () = assert!(size_of::<SignalOfDescriptor>() <= size_of::<libc::siginfo_t>());
const _: () = assert!(align_of::<SignalOfDescriptor>() <= align_of::<libc::siginfo_t>());

impl Signals {
    /// Blocks them in this thread. Without that, the first one would end the process.
    fn block() -> io::Result<Signals> {
        let mut set = MaybeUninit::<sigset_t>::zeroed();
        // SAFETY: zeroed, so that it is whole whatever part of it the calls write. All three write to `set` alone.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGIO);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGRTMIN());
            set.assume_init()
        };
        // SAFETY: the set is whole; the former mask is not asked for.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) } {
            0 => Ok(Signals(set)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Takes the next signal. `None`: none came within the time, or a handler of another signal has run.
    fn take(&self, timeout: Option<Duration>) -> io::Result<Option<Signal>> {
        let timeout = timeout.map(|time| libc::timespec {
            tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the set is whole, `info` has room for the answer, and the time-out is null or lives during the call.
        let signal = unsafe { libc::sigtimedwait(&raw const self.0, info.as_mut_ptr(), timeout) };
        if signal == -1 {
            let error = io::Error::last_os_error();
            let is_over = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR));
            return if is_over { Ok(None) } else { Err(error) };
        }
        if signal == libc::SIGIO {
            return Ok(Some(Signal::Overflow));
        }
        // SAFETY: `info` is larger, zeroed at first, and no less aligned, as asserted above; any bytes are such
        // numbers. If somebody else sent the signal, they mean nothing, and a wrong descriptor does no harm.
        let SignalOfDescriptor { band, descriptor, .. } = unsafe { info.as_ptr().cast::<SignalOfDescriptor>().read() };
        Ok(Some(Signal::Of { descriptor, band }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::net::UdpSocket;

    fn found(sigio: &mut Sigio) -> Vec<Token> {
        sigio.wait(Some(Duration::ZERO)).expect("a wait");
        let mut found: Vec<Token> = std::iter::from_fn(|| sigio.next_ready()).map(|(token, _)| token).collect();
        found.sort_unstable();
        found
    }

    fn send(to: &UdpSocket) {
        to.send_to(&[1], to.local_addr().expect("bound")).expect("it is sent");
    }

    /// One test, since the limit is that of the process.
    #[test]
    fn each_change_is_reported_once_even_if_no_signal_can_be_queued() {
        let (mut sigio, waker) = Sigio::new().expect("a pipe");
        let sockets = [(); 5].map(|()| UdpSocket::bind(("127.0.0.1", 0)).expect("a socket"));
        send(&sockets[3]);
        for (token, socket) in sockets.iter().enumerate() {
            // SAFETY: the sockets outlive `sigio`'s last wait.
            unsafe { sigio.register(token, SockRef::from(socket), Interest { read: true, write: false }) }
                .expect("it sends signals");
        }
        assert_eq!(found(&mut sigio), [0, 1, 2, 3, 4], "what had come before is looked for");
        assert!(found(&mut sigio).is_empty(), "a socket that stays ready is not reported again");
        send(&sockets[1]);
        send(&sockets[1]);
        waker();
        assert_eq!(found(&mut sigio), [1], "two signals, one turn");
        sigio.report_again(1, SockRef::from(&sockets[1]));
        sigio.deregister(0, SockRef::from(&sockets[0]));
        send(&sockets[0]);
        assert_eq!(found(&mut sigio), [1], "and that of a socket that is not watched is dropped");

        let limit = getrlimit(Resource::Sigpending);
        setrlimit(Resource::Sigpending, Rlimit { current: Some(0), ..limit }).expect("less is always allowed");
        send(&sockets[2]);
        waker();
        let ready = found(&mut sigio);
        setrlimit(Resource::Sigpending, limit).expect("it was the limit before");
        assert_eq!(ready, [1, 2, 3, 4], "all are asked, and all can be written to");
        assert!(rustix::io::read(sigio.pipe.as_fd(), &mut [0; 8]).is_err(), "the pipe was emptied");
        assert!(found(&mut sigio).is_empty(), "the overflow is over");
    }

    #[test]
    fn the_band_says_what_to_try() {
        let tries = |flags: PollFlags| (ready(flags.bits().into()).read, ready(flags.bits().into()).write);
        assert_eq!(tries(PollFlags::IN | PollFlags::RDNORM), (true, false));
        assert_eq!(tries(PollFlags::OUT), (false, true));
        for broken in [PollFlags::ERR, PollFlags::HUP | PollFlags::ERR] {
            assert_eq!(tries(broken), (true, true));
        }
    }
}
