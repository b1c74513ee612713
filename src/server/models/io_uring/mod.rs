//! `io-uring` (Linux): operations go to the kernel through one ring in shared memory, and results come back through
//! another.
//!
//! # The mechanism
//!
//! The program writes *submission queue entries* into a ring (SQ): 'receive on this socket into this memory', 'send
//! that', each with 64 bits of the program's own. One system call, io_uring_enter(2), hands over as many as there are,
//! and waits. The kernel carries them out, now or when the socket is ready, and writes a *completion queue entry* for
//! each into a second ring (CQ): the 64 bits, and what the system call would have returned. So this is a proactor: the
//! program hears that bytes *have been* moved, not that they could be. One call a batch takes the place of one call an
//! operation.
//!
//! A *multishot* operation stays and completes again and again (accept: once a connection; poll: once each time when a
//! socket becomes ready) until a completion comes without IORING_CQE_F_MORE; then it must be armed anew.
//!
//! # What this one does
//!
//! The classic price of a proactor is a buffer under each receive that waits. Here a multishot poll waits instead. Its
//! completion puts the connection in a queue; a receive with MSG_DONTWAIT follows, into one of few buffers that are hot
//! in the cache, and a send with MSG_DONTWAIT out of the same buffer. Both complete while they are submitted, many in
//! one call. Only what a socket does not take is copied, and waits in memory of the connection's own ([`connection`]).
//!
//! *Provided buffers* (io_uring_register_buf_ring(3)) do without the poll: a receive, single or multishot, names no
//! memory, and the kernel takes the oldest buffer of a shared ring when bytes are there. They were built, and measured
//! against this: as fast with 64 bytes a message, and with 16 KiB and more far slower. The kernel fills all the buffers
//! that it has before the program sees the first, so each copy misses the cache; with few of them receives end with
//! ENOBUFS, which costs as much. They also have the worst defect of this interface, a buffer given back twice.
//!
//! # What goes wrong, and what stands against it here
//!
//! - *Sending the whole buffer instead of the bytes received.* A [`buffers::Filled`] shows no more than those bytes.
//! - *One buffer under two receives*, so that one client is sent the bytes of another. A `Filled` owns its buffer and
//!   gives it back by its drop, once ([`buffers`]).
//! - *Memory freed, or a descriptor closed, with an operation outstanding.* A connection counts its operations and is
//!   dropped when none is left; closing it early cancels them, and waits for the completions ([`connection`],
//!   [`worker`]).
//! - *A full queue.* Nothing is lost in either direction ([`ring`]).
//! - *A client that does not read.* No receive is longer than the room that its connection has, and its bytes leave the
//!   shared buffers before any wait ([`connection`]).
//! - *A readiness that is lost*, since a poll speaks once for what came while it was not asked: see `on_receive` in
//!   [`worker`].
//!
//! # Workers
//!
//! Each has a ring and a thread. The first one accepts, for all, in turn; a connection stays with its worker.
//!
//! Sources: io_uring(7), io_uring_enter(2), io_uring_setup(2), io_uring_prep_recv(3), io_uring_prep_poll_multishot(3);
//! J. Axboe, 'Efficient IO with io_uring'; io_uring/net.c of the kernel.

mod buffers;
mod connection;
mod crew;
mod ring;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use ::io_uring::opcode;
use rustix::io::Errno;

use crew::Crew;
use ring::Ring;
use worker::Worker;

use crate::server::Context;

/// Sizes of one worker.
#[derive(Clone, Debug)]
struct Tuning {
    /// Entries of the submission queue.
    submissions: u32,
    /// Entries of the completion queue.
    completions: u32,
    /// Bytes of a buffer, if [`Options::buffer`](crate::server::Options::buffer) is not less.
    buffer: usize,
    /// Buffers at most.
    buffers: usize,
    /// Bytes that receives may be expected to bring at a time, unless it is only one.
    batch: usize,
    /// Bytes of a further worker's stack, by its number.
    stack: fn(usize) -> usize,
}

/// Measured with messages of 64 bytes to 64 KiB on 10 and 100 connections. The batch counts most: small enough that
/// what was received is still in the cache when it is sent, and large enough that short messages share a call.
const TUNING: Tuning = Tuning {
    submissions: 1024,
    completions: 4096,
    buffer: 64 * 1024,
    buffers: 64,
    batch: 96 * 1024,
    stack: |_| 2 * 1024 * 1024,
};

/// Serves until the context says stop.
///
/// # Errors
/// No ring can be made, or one broke, or the listener did.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    run_tuned(listener, &context, &TUNING)
}

fn run_tuned(listener: TcpListener, context: &Arc<Context>, tuning: &Tuning) -> io::Result<()> {
    let crew = Arc::new(Crew::new(context.options().workers.max(1))?);
    let name = thread::current().name().unwrap_or("serve").to_owned();
    thread::scope(|scope| {
        let (report, reports) = mpsc::channel();
        // A ring belongs to the thread that makes it.
        let start = |index| {
            let (report, crew) = (report.clone(), &crew);
            let work = move || match Worker::new(index, None, context, crew, tuning) {
                Ok(worker) => {
                    let _ = report.send(Ok(()));
                    worker.run()
                }
                Err(e) => {
                    let _ = report.send(Err(e));
                    Ok(())
                }
            };
            thread::Builder::new()
                .name(format!("{name}-{index}"))
                .stack_size((tuning.stack)(index))
                .spawn_scoped(scope, work)
        };
        let mut others = Vec::new();
        let mut started = Ok(());
        for index in 1..crew.size() {
            match start(index) {
                Ok(handle) => others.push(handle),
                // Those that are there already see by `fail` that they are not wanted.
                Err(e) => started = Err(e),
            }
        }
        let first = started.and_then(|()| Worker::new(0, Some(listener), context, &crew, tuning));
        // Without it, a worker that panics before its report would be waited for.
        drop(report);
        let ready =
            others.iter().map(|_| reports.recv().unwrap_or_else(|_| Err(io::Error::other("a worker panicked"))));
        let mut result = ready.collect::<io::Result<()>>().and(first).and_then(|first| {
            let crew = Arc::clone(&crew);
            context.ready(move || crew.wake_all());
            first.run()
        });
        if result.is_err() {
            crew.fail();
        }
        for other in others {
            let ended = other.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            result = result.and(ended);
        }
        result
    })
}

/// Whether this kernel lets a ring with provided buffers be made.
///
/// # Errors
/// A sentence that says what is in the way.
pub(super) fn probe() -> io::Result<()> {
    // Multishot accept and cancellation by descriptor can't be asked for by name; they came with this operation.
    let tried = Ring::new(4, 8)
        .and_then(|ring| ring.knows(opcode::Socket::CODE))
        .and_then(|new_enough| if new_enough { Ok(()) } else { Err(Errno::INVAL.into()) });
    tried.map_err(|e| {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        let why = why_not(&e, read("osrelease").trim(), read("io_uring_disabled").trim());
        io::Error::new(io::ErrorKind::Unsupported, why)
    })
}

/// Says in a sentence why there is no ring: the system's error number alone misleads.
fn why_not(error: &io::Error, kernel: &str, disabled: &str) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::PERM) if disabled == "1" || disabled == "2" => format!(
            "io_uring is switched off (sysctl kernel.io_uring_disabled = {disabled}); an administrator can set it to 0"
        ),
        Some(Errno::PERM | Errno::ACCESS) => {
            "io_uring is forbidden here, most likely by a seccomp filter, as container runtimes set by default".into()
        }
        Some(Errno::NOSYS) => format!("this kernel ({kernel}) has no io_uring, or a seccomp filter hides it"),
        Some(Errno::INVAL) => format!("this needs Linux 5.19 or later, and here is {kernel}"),
        Some(Errno::NOMEM) => "no memory for a ring: raise the limit of locked memory (ulimit -l)".into(),
        _ => format!("no ring can be made: {error}"),
    }
}
