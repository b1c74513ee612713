//! `io-uring` (Linux): operations go to the kernel through one ring in shared memory, and results come back through
//! another.
//!
//! # The mechanism
//!
//! The program writes *submission queue entries* into a ring (SQ): 'receive on this socket into this memory', 'send
//! that', each with 64 bits of the program's own. One system call, io_uring_enter(2), hands over all that are there,
//! and waits. The kernel carries them out, now or when the socket is ready, and writes a *completion queue entry* for
//! each into a second ring (CQ): the 64 bits, and the result of the system call. So this is a proactor: the program
//! hears that bytes *have been* moved, not that they could be. One call for many operations replaces one call for each.
//!
//! A *multishot* operation stays, and completes again and again (accept: once for each connection; poll: each time that
//! the socket becomes ready), until a completion comes without IORING_CQE_F_MORE. Then it must be started again.
//!
//! # What this one does
//!
//! The classic price of a proactor is a buffer under each receive that waits. Here a multishot poll waits instead. Its
//! completion puts the connection in a queue; a receive with MSG_DONTWAIT follows, into one of a few buffers that are
//! hot in the cache, and a send with MSG_DONTWAIT out of the same buffer. Both complete while they are submitted, many
//! in one call. Only bytes that a socket does not take are copied, and wait in memory of the connection's own
//! ([`connection`]).
//!
//! *Provided buffers* (io_uring_register_buf_ring(3)) do without the poll: a receive, single or multishot, names no
//! memory, and the kernel takes the oldest buffer of a shared ring when bytes are there. They were built, and measured
//! against this: as fast with 64 bytes a message, and far slower with 16 KiB and more. The kernel fills all the buffers
//! that it has before the program sees the first, so each copy misses the cache; with few buffers, receives end with
//! ENOBUFS, which costs as much. They also have the worst defect of this interface: a buffer that is given back twice.
//!
//! # What goes wrong, and what prevents it here
//!
//! - *Sending the whole buffer instead of the bytes received.* A [`buffers::FilledBuffer`] shows only those bytes.
//! - *One buffer under two receives*, so that one client is sent the bytes of another. A `FilledBuffer` owns its buffer
//!   and gives it back when it is dropped, once ([`buffers`]).
//! - *Memory freed, or a descriptor closed, with an operation outstanding.* A connection counts its operations and is
//!   dropped when none is left; closing it early cancels them, and waits for the completions ([`connection`],
//!   [`worker`]).
//! - *A full queue.* Nothing is lost in either direction ([`ring`]).
//! - *A client that does not read.* No receive is longer than the room that its connection has, and its bytes leave the
//!   shared buffers before any wait ([`connection`]).
//! - *A lost readiness*, since a poll reports once for everything that came while it was not asked: see `on_receive` in
//!   [`worker`].
//!
//! # Workers
//!
//! Each has a ring and a thread. The first one accepts, and deals the connections out in turn; a connection stays with
//! its worker.
//!
//! Sources: io_uring(7), io_uring_enter(2), io_uring_setup(2), io_uring_prep_recv(3), io_uring_prep_poll_multishot(3);
//! J. Axboe, 'Efficient IO with io_uring'; io_uring/net.c of the kernel.

mod buffers;
mod connection;
mod ring;
mod setup;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::Builder;

use ::io_uring::opcode;
use rustix::io::Errno;

use ring::UringQueues;
use setup::{TUNING, Tuning, prepare};
use worker::RingWorker;

use crate::server::Context;
use crate::server::pool::run_workers;

/// Serves until the context says stop.
///
/// # Errors
/// No ring can be made, or one broke, or the listener did.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    run_tuned(listener, &context, &TUNING)
}

fn run_tuned(listener: TcpListener, context: &Arc<Context>, tuning: &Tuning) -> io::Result<()> {
    let thread = |index| Builder::new().stack_size((tuning.stack)(index));
    let of_prepare = tuning.clone();
    let of_serve = tuning.clone();
    run_workers(
        listener,
        context,
        thread,
        move || prepare(&of_prepare),
        move |prepared, position| RingWorker::new(prepared, position, &of_serve).run(),
    )
}

/// Whether a ring that is new enough can be made here.
///
/// # Errors
/// A sentence that says what prevents it.
pub(super) fn probe() -> io::Result<()> {
    // The kernel can't be asked for multishot accept and cancellation by descriptor; they came with this operation.
    let tried = UringQueues::new(4, 8)
        .and_then(|ring| ring.knows(opcode::Socket::CODE))
        .and_then(|new_enough| if new_enough { Ok(()) } else { Err(Errno::INVAL.into()) });
    tried.map_err(|e| {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        let why = why_not(&e, read("osrelease").trim(), read("io_uring_disabled").trim());
        io::Error::new(io::ErrorKind::Unsupported, why)
    })
}

/// Why there is no ring, as a sentence: the system's error number alone misleads.
fn why_not(error: &io::Error, kernel: &str, disabled: &str) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::PERM) if disabled == "1" || disabled == "2" => format!(
            "io_uring is switched off (sysctl kernel.io_uring_disabled = {disabled}); an administrator can set it to 0"
        ),
        Some(Errno::PERM | Errno::ACCESS) => {
            "io_uring is forbidden here, most likely by a seccomp filter, as container runtimes set by default".into()
        }
        Some(Errno::NOSYS) => format!("this kernel ({kernel}) has no io_uring, or a seccomp filter hides it"),
        Some(Errno::INVAL) => format!("this needs Linux 5.19 or later; this kernel is {kernel}"),
        Some(Errno::NOMEM) => "no memory for a ring: raise the limit of locked memory (ulimit -l)".into(),
        _ => format!("no ring can be made: {error}"),
    }
}
