//! One overlapped operation, and the ownership of the memory that the kernel uses for it.
//!
//! An overlapped call returns before the operation is complete. From then until the completion the kernel owns what it
//! was given: the OVERLAPPED, the flags and the buffers. Three rules follow:
//!
//! - **One operation, one OVERLAPPED.** An [`Operation`] that is outstanding can't be begun again. Immediate success is
//!   no exception, because its completion is still to come. To reuse the OVERLAPPED before that is the classic mistake.
//! - **The memory lives until the completion.** Neither closesocket nor CancelIoEx ends an operation; they only make it
//!   complete soon. So one heap block holds the OVERLAPPED, the flags, the event and a share of the buffers. If the
//!   operation is dropped while outstanding, the block is leaked.
//! - **No reference covers what the kernel writes.** The program reaches it through raw pointers only.
//!
//! The [`Context`] counts the operations that are outstanding, so that a server which ends before they have completed
//! is found at each stop.
//!
//! This file does not know what an operation is for, and does not wait.
//!
//! Sources: Microsoft, 'WSAOVERLAPPED', 'OVERLAPPED', 'WSARecv', 'WSASend', 'CancelIoEx'.

#![expect(unsafe_code, reason = "overlapped calls hand memory to the kernel")]

use std::io;
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::CompletionResult;
use super::kernel_buffer::KernelBuffer;
use super::winsock::{self, CompletionRoutine, Event, OVERLAPPED, Socket};
use crate::server::Context;
use crate::server::echo::Pieces;

/// The front of a block, which can be found from the pointer that a completion brings: `repr(C)` puts the OVERLAPPED
/// first, so both have the same address.
#[repr(C)]
struct Header<Owner> {
    overlapped: OVERLAPPED,
    /// WSARecv reads its flags here, and may write them. AcceptEx may write its byte count here.
    flags: u32,
    owner: Owner,
}

/// All memory that the kernel uses for an operation, or that keeps it valid.
#[repr(C)]
struct Block<Owner, Memory> {
    header: Header<Owner>,
    /// Keeps `hEvent` of the OVERLAPPED open.
    _event: Option<Arc<Event>>,
    memory: Memory,
}

const _: () = assert!(offset_of!(Header<usize>, overlapped) == 0, "a completion's pointer is cast to the header");
const _: () = assert!(offset_of!(Block<usize, usize>, header) == 0, "a completion's pointer is cast to the header");

/// An operation that can be begun again after each completion.
///
/// `Owner` says to whom the operation belongs, for completions that bring nothing but the OVERLAPPED. `Memory` is the
/// further memory that the kernel uses, or a share of it.
pub(in crate::server) struct Operation<Owner, Memory> {
    block: NonNull<Block<Owner, Memory>>,
    /// Begun, and its completion was not taken yet.
    outstanding: bool,
    /// Counts it while it is outstanding.
    context: Arc<Context>,
}

// SAFETY: the block is on the heap, and only the kernel shares it. `Event`, `OVERLAPPED` and `Context` are bound to no
// thread, and threads may share the first and the last.
unsafe impl<Owner: Send, Memory: Send> Send for Operation<Owner, Memory> {}

impl<Owner, Memory> Operation<Owner, Memory> {
    /// Makes an operation of the server with this `context`. Each completion signals the `event`, if there is one.
    pub(in crate::server) fn new(
        context: &Arc<Context>,
        owner: Owner,
        memory: Memory,
        event: Option<Arc<Event>>,
    ) -> Self {
        let event_handle = event.as_deref().map_or(ptr::null_mut(), Event::handle);
        let overlapped = OVERLAPPED { hEvent: event_handle, ..Default::default() };
        let block = Block { header: Header { overlapped, flags: 0, owner }, _event: event, memory };
        let block = NonNull::from(Box::leak(Box::new(block)));
        Operation { block, outstanding: false, context: Arc::clone(context) }
    }

    /// Whether it was begun and its completion was not taken yet, by [`complete`](Self::complete) or
    /// [`poll`](Self::poll).
    pub(in crate::server) fn is_outstanding(&self) -> bool {
        self.outstanding
    }

    /// The memory, while the kernel does not use it.
    ///
    /// # Panics
    /// If the operation is outstanding.
    pub(in crate::server) fn memory_mut(&mut self) -> &mut Memory {
        assert!(!self.outstanding, "the kernel still uses the memory of an outstanding operation");
        // SAFETY: the block lives as long as `self`, which is borrowed mutably, and this is the only way to the field.
        unsafe { &mut (*self.block.as_ptr()).memory }
    }

    /// Begins the operation by `call`, which gets the OVERLAPPED and the flags.
    ///
    /// # Errors
    /// Those of `call`: the operation is not outstanding then.
    ///
    /// # Panics
    /// If the operation is outstanding.
    ///
    /// # Safety
    /// `call` begins at most one overlapped operation, with these pointers and with memory that `Memory` keeps alive.
    /// It returns `Ok` if and only if the completion is still to be delivered.
    pub(in crate::server) unsafe fn begin(
        &mut self,
        call: impl FnOnce(*mut OVERLAPPED, *mut u32) -> io::Result<()>,
    ) -> io::Result<()> {
        assert!(!self.outstanding, "the last completion on this OVERLAPPED is still to come");
        // Set before the call: if the call panics, the block is leaked and not freed under an operation.
        self.outstanding = true;
        self.context.operation_begins();
        let block = self.block.as_ptr();
        // SAFETY: the block lives as long as `self`. Nothing was outstanding, so nobody else uses the OVERLAPPED and
        // the flags. The caller guarantees what `call` does.
        let begun = unsafe {
            let header = &raw mut (*block).header;
            (*header).overlapped = OVERLAPPED { hEvent: (*header).overlapped.hEvent, ..Default::default() };
            (*header).flags = 0;
            call(&raw mut (*header).overlapped, &raw mut (*header).flags)
        };
        begun.inspect_err(|_| self.ended())
    }

    /// Takes the completion, so that the program owns the memory again.
    ///
    /// # Panics
    /// If the operation is not outstanding.
    ///
    /// # Safety
    /// The completion was delivered: its routine was called, or its packet was taken from the port.
    pub(in crate::server) unsafe fn complete(&mut self) {
        assert!(self.outstanding, "a completion belongs to an outstanding operation");
        self.ended();
    }

    /// Takes the completion if there is one, and returns its result; `None` while the operation is incomplete.
    ///
    /// # Panics
    /// If the operation is not outstanding.
    ///
    /// # Safety
    /// The operation was begun on this `socket`. Its completion is not also delivered as a pointer later: the operation
    /// reports by an event, or its packet was taken from the port.
    pub(in crate::server) unsafe fn poll(&mut self, socket: &Socket) -> Option<CompletionResult> {
        assert!(self.outstanding, "only an outstanding operation can be polled");
        // SAFETY: the block lives as long as `self`, and the caller guarantees the socket.
        let result = unsafe { winsock::result(socket, &raw const (*self.block.as_ptr()).header.overlapped) }?;
        self.ended();
        Some(result)
    }

    /// The kernel uses nothing of it any more.
    fn ended(&mut self) {
        self.outstanding = false;
        self.context.operation_ended();
    }

    /// Asks for the operation to end soon, if it is outstanding. It still completes, perhaps even with success. After
    /// that the socket is only good for closing.
    pub(in crate::server) fn cancel(&self, socket: &Socket) {
        if self.outstanding {
            // SAFETY: the block lives as long as `self`. With a socket on which it was not begun, nothing is cancelled.
            unsafe { winsock::cancel(socket, &raw const (*self.block.as_ptr()).header.overlapped) };
        }
    }
}

impl<Owner> Operation<Owner, Arc<KernelBuffer>> {
    /// Begins a receive into some pieces of its buffer.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Panics
    /// If the operation is outstanding, or a piece lies outside of the buffer.
    ///
    /// # Safety
    /// Nobody reads or writes these pieces until the completion. `routine`, if any, is sound to call with an operation
    /// of this `Owner`.
    pub(in crate::server) unsafe fn receive(
        &mut self,
        socket: &Socket,
        pieces: &Pieces,
        routine: CompletionRoutine,
    ) -> io::Result<()> {
        let buffers = self.memory_mut().buffers(pieces);
        // SAFETY: this begins one receive, and the result says whether a completion will come. The pointers lead into
        // the block and into the buffer. The block owns a share of the buffer, so both live until the completion. The
        // caller guarantees that nobody uses the pieces, and that the routine is sound.
        unsafe {
            self.begin(|overlapped, flags| winsock::receive(socket, buffers.as_slice(), flags, overlapped, routine))
        }
    }

    /// Begins a send from some pieces of its buffer.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Panics
    /// If the operation is outstanding, or a piece lies outside of the buffer.
    ///
    /// # Safety
    /// Nobody writes these pieces until the completion. `routine`, if any, is sound to call with an operation of this
    /// `Owner`.
    pub(in crate::server) unsafe fn send(
        &mut self,
        socket: &Socket,
        pieces: &Pieces,
        routine: CompletionRoutine,
    ) -> io::Result<()> {
        let buffers = self.memory_mut().buffers(pieces);
        // SAFETY: as in `receive`, with one send.
        unsafe { self.begin(|overlapped, _| winsock::send(socket, buffers.as_slice(), overlapped, routine)) }
    }
}

impl<Owner, Memory> Drop for Operation<Owner, Memory> {
    fn drop(&mut self) {
        if self.outstanding {
            // The kernel still writes to the block, so it is leaked, and stays counted. This happens if a worker ends
            // early, by a panic or because a wait has failed. It must not be asserted here: a second panic would abort
            // the process.
            return;
        }
        // SAFETY: `new` has leaked the block from a box, nothing is outstanding on it, and it is freed here only.
        drop(unsafe { Box::from_raw(self.block.as_ptr()) });
    }
}

/// Finds the owner of an operation from the pointer that its completion has brought.
///
/// # Safety
/// `overlapped` is that of an `Operation<Owner, _>` of this very `Owner`, which lives as long as the result is used. If
/// another thread may use the operation meanwhile, `Owner` is `Sync`.
pub(in crate::server) unsafe fn owner_of<'operation, Owner>(overlapped: *mut OVERLAPPED) -> &'operation Owner {
    let header = overlapped.cast::<Header<Owner>>();
    // SAFETY: `begin` has made the pointer from a pointer to the whole block, whose `repr(C)` puts the header first and
    // the OVERLAPPED first in it. So the cast leads back to the header. `owner` is never written after it was made, and
    // the reference covers no other field.
    unsafe { &(*header).owner }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::channel;

    use super::*;
    use crate::server::Options;

    fn context() -> Arc<Context> {
        Arc::new(Context::new(Options::default(), channel().0))
    }

    #[test]
    fn the_owner_is_found_from_the_overlapped_alone() {
        let context = context();
        let mut operation = Operation::new(&context, 4711usize, (), None);
        let mut seen = ptr::null_mut();
        // SAFETY: no operation is begun, and the error says so.
        let result = unsafe {
            operation.begin(|overlapped, _| {
                seen = overlapped;
                Err(io::ErrorKind::Other.into())
            })
        };
        assert!(result.is_err() && !operation.is_outstanding(), "an error brings no completion");
        context.nothing_outstanding().expect("none was begun");
        // SAFETY: the pointer is that of the operation above, whose owner is a `usize`.
        assert_eq!(*unsafe { owner_of::<usize>(seen) }, 4711);
    }

    #[test]
    fn an_overlapped_is_not_used_again_before_its_completion() {
        let context = context();
        let mut operation = Operation::new(&context, (), 1, None);
        // SAFETY: no operation is begun, so nobody uses the memory. The completion is made up below.
        unsafe { operation.begin(|_, _| Ok(())) }.expect("the first begin succeeds");
        let again = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: as above.
            unsafe { operation.begin(|_, _| unreachable!("nothing is begun")) }
        }));
        again.expect_err("an outstanding operation is not begun again");
        let memory = catch_unwind(AssertUnwindSafe(|| *operation.memory_mut()));
        memory.expect_err("the memory of an outstanding operation is not given out");
        context.nothing_outstanding().expect_err("one is counted");
        // SAFETY: no operation was begun, so none uses the memory.
        unsafe { operation.complete() };
        context.nothing_outstanding().expect("its completion was taken");
    }

    #[test]
    #[should_panic(expected = "a completion belongs to an outstanding operation")]
    fn a_completion_of_an_operation_that_is_not_outstanding_is_refused() {
        // SAFETY: the call panics before it does anything.
        unsafe { Operation::new(&context(), (), (), None).complete() };
    }
}
