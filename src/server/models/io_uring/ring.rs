//! One submission and completion ring, and the tokens by which operations are known.
//!
//! This file sets the ring up with what the kernel offers, loses no operation because a queue is full, and knows at
//! each moment how many operations the kernel still holds. It does not know what an operation means.
//!
//! Full queues: when the submission queue is full, [`UringQueues::push`] keeps the entry in a list, which the next
//! [`UringQueues::enter`] submits; order is kept. When the completion queue is full, the kernel keeps completions in a
//! list of its own and delivers them at the next call (IORING_FEAT_NODROP, since 5.5, io_uring_setup(2)), so a small
//! queue costs only time.
//!
//! Sources: io_uring_setup(2), io_uring_enter(2), io_uring_prep_cancel(3).

#![expect(unsafe_code, reason = "an entry carries addresses that the kernel uses until its completion")]

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, squeue};
use rustix::io::Errno;

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OperationKind {
    /// Multishot accept on the listener.
    Accept,
    /// The listener is readable: asked only after an accept failed because descriptors were short.
    Readable,
    /// The eventfd of this worker is readable.
    Wake,
    /// The cancellation of an operation.
    Cancel,
    /// A connection has something to receive.
    Ready,
    /// A receive of a connection.
    Receive,
    /// A send of a connection.
    Send,
}

const KINDS: [OperationKind; 7] = [
    OperationKind::Accept,
    OperationKind::Readable,
    OperationKind::Wake,
    OperationKind::Cancel,
    OperationKind::Ready,
    OperationKind::Receive,
    OperationKind::Send,
];

/// The 64 bits that the kernel hands back with each completion: the kind (8 bits), and which connection, as the index
/// of its slot (32 bits) with the slot's generation (24 bits), so that a completion can never be taken for one of the
/// connection that has the slot now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OperationToken {
    pub(super) kind: OperationKind,
    pub(super) key: ConnectionKey,
}

/// Which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionKey {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl ConnectionKey {
    /// Generations are counted modulo this.
    pub(super) const GENERATIONS: u32 = 1 << 24;
    /// No connection: generation 0 is never given to one.
    pub(super) const NONE: ConnectionKey = ConnectionKey { index: 0, generation: 0 };
}

impl OperationToken {
    /// An operation of the worker itself.
    pub(super) fn own(kind: OperationKind) -> OperationToken {
        OperationToken { kind, key: ConnectionKey::NONE }
    }

    /// As the entry's `user_data`.
    pub(super) fn pack(self) -> u64 {
        debug_assert!(self.key.generation < ConnectionKey::GENERATIONS);
        (self.kind as u64) << 56 | u64::from(self.key.generation) << 32 | u64::from(self.key.index)
    }

    fn unpack(user_data: u64) -> OperationToken {
        let kind = KINDS[(user_data >> 56) as usize];
        let generation = (user_data >> 32) as u32 & (ConnectionKey::GENERATIONS - 1);
        OperationToken { kind, key: ConnectionKey { index: user_data as u32, generation } }
    }
}

/// One completion, copied out of the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) token: OperationToken,
    /// The return value of the system call: a count, a descriptor, or a negative error number.
    result: i32,
    flags: u32,
}

impl Completion {
    /// The count or the descriptor, or the error.
    pub(super) fn result(&self) -> Result<u32, Errno> {
        u32::try_from(self.result).map_err(|_| Errno::from_raw_os_error(-self.result))
    }

    /// Whether the operation goes on, with more completions to come (multishot).
    pub(super) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// Whether the socket held more than was received. A FIN counts.
    pub(super) fn sock_nonempty(&self) -> bool {
        cqueue::sock_nonempty(self.flags)
    }
}

/// The ring.
pub(super) struct UringQueues {
    io: IoUring,
    /// Entries for which the submission queue had no room, oldest first.
    waiting: VecDeque<squeue::Entry>,
    /// Operations that were pushed and whose last completion was not reaped yet.
    outstanding: usize,
}

impl UringQueues {
    /// A ring with room for `entries` submissions and `completions` completions at a time.
    ///
    /// `SINGLE_ISSUER` and `DEFER_TASKRUN` (6.1): completions are worked out only when this thread waits for them, in
    /// one go, with no interrupt in between. `COOP_TASKRUN` (5.19): at least no interrupt. The ring belongs to the
    /// thread that makes it.
    ///
    /// # Errors
    /// The system's: no io_uring in this kernel, or it is forbidden.
    pub(super) fn new(entries: u32, completions: u32) -> io::Result<UringQueues> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_cqsize(completions);
        let io = builder
            .clone()
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(entries)
            .or_else(|_| builder.clone().setup_submit_all().setup_coop_taskrun().build(entries))
            .or_else(|_| builder.build(entries))?;
        Ok(UringQueues { io, waiting: VecDeque::new(), outstanding: 0 })
    }

    /// Whether this kernel knows an operation.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn knows(&self, operation: u8) -> io::Result<bool> {
        let mut probe = Probe::new();
        self.io.submitter().register_probe(&mut probe)?;
        Ok(probe.is_supported(operation))
    }

    /// Operations whose last completion has not been reaped.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Queues an operation; the next [`enter`](Self::enter) submits it.
    ///
    /// # Safety
    /// Memory that the entry points to must stay valid, and the descriptor in it open, until the last completion of the
    /// operation has been reaped.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) {
        self.outstanding += 1;
        // SAFETY: the caller's promise is this function's own.
        if !self.waiting.is_empty() || unsafe { self.io.submission().push(entry) }.is_err() {
            self.waiting.push_back(entry.clone());
        }
    }

    /// Submits what was pushed, and waits for a completion, for `timeout` at most (`None`: without end).
    ///
    /// # Errors
    /// The ring is broken. A signal, the end of the time and a queue that is full for now are not errors.
    pub(super) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        loop {
            self.refill();
            let last = self.waiting.is_empty();
            let entered = match (last, timeout) {
                (false, _) => self.io.submit(),
                (true, None) => self.io.submit_and_wait(1),
                (true, Some(time)) => {
                    let time = Timespec::from(time);
                    self.io.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
                }
            };
            match entered.map_err(|e| (Errno::from_io_error(&e), e)) {
                Ok(_) | Err((Some(Errno::INTR | Errno::TIME), _)) if last => return Ok(()),
                Ok(_) | Err((Some(Errno::INTR), _)) => {}
                // The kernel wants completions reaped, or has no memory for an operation at the moment.
                Err((Some(Errno::BUSY | Errno::AGAIN), _)) => return Ok(()),
                Err((_, e)) => return Err(e),
            }
        }
    }

    fn refill(&mut self) {
        let mut queue = self.io.submission();
        while let Some(entry) = self.waiting.front() {
            // SAFETY: the caller of `push` has promised what the kernel needs of this entry.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.waiting.pop_front();
        }
    }

    /// Takes all completions that are there, in order.
    pub(super) fn reap(&mut self, into: &mut Vec<Completion>) {
        for entry in self.io.completion() {
            let token = OperationToken::unpack(entry.user_data());
            let completion = Completion { token, result: entry.result(), flags: entry.flags() };
            if !completion.more() {
                self.outstanding -= 1;
            }
            into.push(completion);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::is_here;
    use super::*;
    use io_uring::opcode;

    #[test]
    fn a_token_comes_back_as_it_was() {
        for (kind, index, generation) in [
            (OperationKind::Accept, 0, 0),
            (OperationKind::Send, u32::MAX, ConnectionKey::GENERATIONS - 1),
            (OperationKind::Receive, 7, 0x00ab_cdef),
        ] {
            let token = OperationToken { kind, key: ConnectionKey { index, generation } };
            assert_eq!(OperationToken::unpack(token.pack()), token);
        }
        for (number, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, number, "{kind:?}");
        }
    }

    #[test]
    fn no_operation_is_lost_when_both_queues_are_far_too_small() {
        if !is_here() {
            return;
        }
        let mut ring = UringQueues::new(2, 4).expect("the kernel has io_uring");
        for index in 0..1000 {
            let token = OperationToken { kind: OperationKind::Cancel, key: ConnectionKey { index, generation: 0 } };
            // SAFETY: a no-op points to nothing.
            unsafe { ring.push(&opcode::Nop::new().build().user_data(token.pack())) };
        }
        let (mut batch, mut seen) = (Vec::new(), Vec::new());
        while ring.outstanding() > 0 {
            ring.enter(None).expect("the ring works");
            ring.reap(&mut batch);
            seen.extend(batch.drain(..).map(|completion| completion.token.key.index));
        }
        assert_eq!(seen, (0..1000).collect::<Vec<u32>>());
    }
}
