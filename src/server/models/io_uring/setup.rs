//! The sizes of a worker, its ring and its eventfd.

use std::io;
use std::sync::Arc;

use super::ring::UringQueues;
use crate::server::wait::Waker;
use crate::server::wait::eventfd::EventFd;

/// Sizes of one worker.
#[derive(Clone, Debug)]
pub(super) struct Tuning {
    /// Entries of the submission queue.
    pub(super) submissions: u32,
    /// Entries of the completion queue.
    pub(super) completions: u32,
    /// Bytes of a buffer, if [`Options::buffer`](crate::server::Options::buffer) is not less.
    pub(super) buffer: usize,
    /// Buffers at most.
    pub(super) buffers: usize,
    /// Bytes that the outstanding receives are expected to bring together. One receive may bring more.
    pub(super) batch: usize,
    /// Bytes of a worker's stack, by the worker's number. The first worker runs on the calling thread.
    pub(super) stack: fn(usize) -> usize,
}

/// Measured with messages of 64 bytes to 64 KiB on 10 and 100 connections. The batch matters most: small enough that
/// received bytes are still in the cache when they are sent, and large enough that short messages share a call.
pub(super) const TUNING: Tuning = Tuning {
    submissions: 1024,
    completions: 4096,
    buffer: 64 * 1024,
    buffers: 64,
    batch: 96 * 1024,
    stack: |_| 2 * 1024 * 1024,
};

/// The ring and the eventfd of a worker, made on its own thread, since a ring belongs to the thread that makes it.
pub(super) struct Prepared {
    pub(super) ring: UringQueues,
    /// Readable when the worker must look at the phase and its mailbox.
    pub(super) wake: Arc<EventFd>,
}

/// Makes a ring, and the waker that interrupts its wait.
///
/// # Errors
/// No ring can be made, or descriptors are short.
pub(super) fn prepare(tuning: &Tuning) -> io::Result<(Prepared, Waker)> {
    let ring = UringQueues::new(tuning.submissions, tuning.completions)?;
    let wake = Arc::new(EventFd::new()?);
    let of_waker = Arc::clone(&wake);
    Ok((Prepared { ring, wake }, Arc::new(move || of_waker.wake())))
}
