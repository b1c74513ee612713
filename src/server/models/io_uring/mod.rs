//! `io-uring` (Linux): operations go to the kernel through one ring in shared memory, and results come back through
//! another.
//!
//! # The mechanism
//!
//! The program writes *submission queue entries* into a ring (SQ): 'receive on this socket into this memory', 'send that',
//! each with 64 bits of the program's own. One system call, io_uring_enter(2), hands over as many as there are, and waits.
//! The kernel carries them out, now or when the socket is ready, and writes a *completion queue entry* for each into a
//! second ring (CQ): the 64 bits, and what the system call would have returned. So this is a proactor: the program hears
//! that bytes *have been* moved, not that they could be. One call a batch takes the place of one call an operation.
//!
//! Two refinements matter here. A *multishot* operation stays and completes again and again (accept: once a connection;
//! receive: once a piece) until a completion comes without IORING_CQE_F_MORE; then it must be armed anew. *Provided
//! buffers* ([`buffers`]): a receive names no memory, and the kernel takes a buffer from a shared ring at the moment when
//! bytes are there. That frees a proactor of its classic price, a buffer under each idle connection.
//!
//! # What goes wrong, and what stands against it here
//!
//! - *Sending the whole buffer instead of the bytes received.* A [`buffers::Lease`] knows no more than those bytes.
//! - *A provided buffer given back twice*, so that one client is sent the bytes of another. A lease is given back by its
//!   drop, once ([`buffers`]).
//! - *Memory freed, or a descriptor closed, with an operation outstanding.* A connection counts its operations and is
//!   dropped when none is left; closing it early cancels them, and waits for the completions ([`connection`], [`worker`]).
//! - *A full queue.* Nothing is lost in either direction ([`ring`]).
//! - *A client that does not read.* Receives are bounded by the room that the connection has, multishot ones too, and its
//!   bytes leave the shared buffers before any wait ([`connection`]).
//! - *No buffers left.* The receive ends with ENOBUFS; it waits in a queue, and there are more buffers next time.
//!
//! # Workers
//!
//! Each has a ring and a thread. The first one accepts, for all, in turn; a connection stays with its worker.
//!
//! Sources: io_uring(7), io_uring_enter(2), io_uring_setup(2), io_uring_prep_recv(3), io_uring_register_buf_ring(3);
//! J. Axboe, 'Efficient IO with io_uring'; io_uring/net.c of the kernel for the limit of a multishot receive.

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

use buffers::Buffers;
use crew::Crew;
use ring::Ring;
use worker::Worker;

use crate::server::Context;

/// Sizes of one worker, and what it tries of the kernel.
#[derive(Clone, Debug)]
struct Tuning {
    /// Entries of the submission queue.
    submissions: u32,
    /// Entries of the completion queue.
    completions: u32,
    /// Bytes of a provided buffer, if [`Options::buffer`](crate::server::Options::buffer) is not less.
    buffer: usize,
    /// Provided buffers at the start.
    first_buffers: u16,
    /// Provided buffers at most.
    most_buffers: u16,
    /// Whether to receive by multishot where the kernel can bound it.
    multishot: bool,
}

const TUNING: Tuning = Tuning {
    submissions: 1024,
    completions: 4096,
    buffer: 32 * 1024,
    first_buffers: 32,
    most_buffers: 1024,
    multishot: true,
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
    thread::scope(|scope| {
        let (report, reports) = mpsc::channel();
        let others: Vec<_> = (1..crew.size())
            .map(|index| {
                let (report, crew) = (report.clone(), &crew);
                // A ring belongs to the thread that makes it.
                scope.spawn(move || match Worker::new(index, None, context, crew, tuning) {
                    Ok(worker) => {
                        let _ = report.send(Ok(()));
                        worker.run()
                    }
                    Err(e) => {
                        let _ = report.send(Err(e));
                        Ok(())
                    }
                })
            })
            .collect();
        let first = Worker::new(0, Some(listener), context, &crew, tuning);
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
    let tried = Ring::new(4, 8).and_then(|ring| Buffers::new(&ring.submitter(), 4096, 1, 1).map(drop));
    tried.map_err(|e| {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        let why = why_not(&e, read("osrelease").trim(), read("io_uring_disabled").trim());
        io::Error::new(io::ErrorKind::Unsupported, why)
    })
}

/// Says in a sentence why there is no ring: the system's error number alone misleads.
fn why_not(error: &io::Error, kernel: &str, disabled: &str) -> String {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::PERM) if disabled == "1" || disabled == "2" => format!(
            "io_uring is switched off (sysctl kernel.io_uring_disabled = {disabled}); an administrator can set it to 0"
        ),
        Some(Errno::PERM | Errno::ACCESS) => {
            "io_uring is forbidden here, most likely by a seccomp filter, as container runtimes set by default".into()
        }
        Some(Errno::NOSYS) => format!("this kernel ({kernel}) has no io_uring, or a seccomp filter hides it"),
        Some(Errno::INVAL) => format!("provided buffer rings need Linux 5.19 or later, this is {kernel}"),
        Some(Errno::NOMEM) => "no memory for a ring: raise the limit of locked memory (ulimit -l)".into(),
        _ => format!("no ring can be made: {error}"),
    }
}
