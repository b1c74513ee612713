//! One overlapped operation and the memory that the kernel writes for it: the unsafe pieces that all proactors of
//! Windows share.
//!
//! An overlapped call returns before it is done. From then until its completion has been delivered the kernel owns what
//! it was given: the OVERLAPPED, the flags, and the buffers. Three rules follow, and this file is built so that they
//! can't be broken from outside of it and `duplex`:
//!
//! - **One operation, one OVERLAPPED.** [`Operation`] refuses to begin while it is outstanding. Success at once is no
//!   exception: its completion is still to come, and to reuse the OVERLAPPED before that is the classic fault.
//! - **It lives until its completion.** Neither closesocket nor CancelIoEx ends an operation; both only make it
//!   complete soon. Memory that is dropped too early is leaked rather than freed under the kernel's feet.
//! - **No reference of Rust's covers it.** A `&mut [u8]` promises that nobody else writes there, and the kernel does.
//!   So the block and the ring are reached by raw pointers, and what is outstanding is never turned into a reference.
//!
//! Sources: Microsoft, 'WSARecv', 'WSASend', 'WSAOVERLAPPED', 'CancelIoEx', 'WSAGetOverlappedResult'.

#![expect(unsafe_code, reason = "overlapped calls hand memory to the kernel and have no safe wrapper")]

use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::os::windows::io::AsRawSocket;
use std::ptr::{self, NonNull};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock::{
    LPWSAOVERLAPPED_COMPLETION_ROUTINE, SOCKET, SOCKET_ERROR, WSA_IO_INCOMPLETE, WSA_IO_PENDING, WSABUF,
    WSAGetOverlappedResult, WSARecv, WSASend,
};
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED};

use crate::server::echo::Pieces;
use crate::sys::event::Event;

/// Bytes moved (0 from a receive is the peer's FIN), or why none were.
pub(in crate::server) type Outcome = io::Result<usize>;

/// What the kernel writes, and the way back. `repr(C)` with the OVERLAPPED first, so that its address is the block's
/// and the pointer that a completion brings can be cast back.
#[repr(C)]
struct Block<W> {
    overlapped: OVERLAPPED,
    /// WSARecv reads its flags here, and may write them when it completes.
    flags: u32,
    /// Written once, when the block is made; the kernel doesn't know of it.
    way_back: W,
}

const _: () = assert!(offset_of!(Block<usize>, overlapped) == 0, "the cast back needs the OVERLAPPED first");

/// One operation that can be begun again each time it has completed. `W` is the way back from its OVERLAPPED to whom it
/// belongs.
pub(in crate::server) struct Operation<W> {
    block: NonNull<Block<W>>,
    outstanding: bool,
}

// SAFETY: the block is on the heap and belongs to this value alone; nothing in it is bound to a thread but, perhaps,
// `W`.
unsafe impl<W: Send> Send for Operation<W> {}

impl<W> Operation<W> {
    /// `event`, if any, is signalled at each completion; it must outlive the operation's last use.
    pub(in crate::server) fn new(way_back: W, event: Option<&Event>) -> Self {
        let hevent = event.map_or(ptr::null_mut(), Event::handle);
        let block = Block { overlapped: OVERLAPPED { hEvent: hevent, ..Default::default() }, flags: 0, way_back };
        let block = NonNull::from(Box::leak(Box::new(block)));
        Operation { block, outstanding: false }
    }

    /// Begun, and its completion was not told yet by [`reaped`](Self::reaped) or [`poll`](Self::poll).
    pub(in crate::server) fn is_outstanding(&self) -> bool {
        self.outstanding
    }

    /// Its completion was delivered: the memory is the program's again.
    pub(in crate::server) fn reaped(&mut self) {
        debug_assert!(self.outstanding, "a completion without an operation");
        self.outstanding = false;
    }

    /// The way back from the pointer that a completion brought.
    ///
    /// # Safety
    /// `overlapped` is that of a live `Operation<W>` of this very `W`, which stays alive as long as the result is used.
    pub(in crate::server) unsafe fn way_back<'a>(overlapped: *mut OVERLAPPED) -> &'a W {
        let block = overlapped.cast::<Block<W>>();
        // SAFETY: the OVERLAPPED is the first field of a `repr(C)` block, and the pointer was made from the whole
        // block's, so the cast leads back to it. The field is not written after it was made, and no reference to the
        // rest is made.
        unsafe { &(*block).way_back }
    }

    /// Begins the operation: `call` gets the OVERLAPPED and the flags, and says whether a completion will come.
    ///
    /// # Safety
    /// `call` starts at most one overlapped operation with these pointers, on memory that lives until it is reaped, and
    /// returns `Ok` if and only if a completion will be delivered.
    ///
    /// # Panics
    /// If the operation is outstanding.
    pub(in crate::server) unsafe fn begin(
        &mut self,
        call: impl FnOnce(*mut OVERLAPPED, *mut u32) -> io::Result<()>,
    ) -> io::Result<()> {
        assert!(!self.outstanding, "the last completion on this OVERLAPPED is still to come");
        let block = self.block.as_ptr();
        // SAFETY: the block is alive, and nothing is outstanding on it, so nobody else reads or writes it.
        unsafe {
            let hevent: HANDLE = (*block).overlapped.hEvent;
            (*block).overlapped = OVERLAPPED { hEvent: hevent, ..Default::default() };
            (*block).flags = 0;
            call(&raw mut (*block).overlapped, &raw mut (*block).flags)?;
        }
        self.outstanding = true;
        Ok(())
    }

    /// Begins a receive.
    ///
    /// # Safety
    /// The memory of `buffers` lives, and nobody reads or writes it, until the operation is reaped.
    pub(in crate::server) unsafe fn receive(
        &mut self,
        socket: &impl AsRawSocket,
        buffers: &Buffers,
        routine: LPWSAOVERLAPPED_COMPLETION_ROUTINE,
    ) -> io::Result<()> {
        let socket = raw(socket);
        // SAFETY: the caller vouches for the memory; the WSABUFs themselves are captured by the call. The byte count is
        // null, as it must be for an overlapped call ('to avoid potentially erroneous results').
        unsafe {
            self.begin(|overlapped, flags| {
                let (list, count) = buffers.list();
                pending(WSARecv(socket, list, count, ptr::null_mut(), flags, overlapped, routine))
            })
        }
    }

    /// Begins a send.
    ///
    /// # Safety
    /// The memory of `buffers` lives, and nobody writes it, until the operation is reaped.
    pub(in crate::server) unsafe fn send(
        &mut self,
        socket: &impl AsRawSocket,
        buffers: &Buffers,
        routine: LPWSAOVERLAPPED_COMPLETION_ROUTINE,
    ) -> io::Result<()> {
        let socket = raw(socket);
        // SAFETY: as for `receive`.
        unsafe {
            self.begin(|overlapped, _| {
                let (list, count) = buffers.list();
                pending(WSASend(socket, list, count, ptr::null_mut(), 0, overlapped, routine))
            })
        }
    }

    /// Asks for the operation to end soon. It still completes, perhaps even with success, and the socket is only good
    /// for closing afterwards.
    pub(in crate::server) fn cancel(&self, socket: &impl AsRawSocket) {
        if self.outstanding {
            // SAFETY: the block is alive, and only its address is used. It fails when the operation has just completed
            // (ERROR_NOT_FOUND), and then there is nothing to cancel.
            unsafe { CancelIoEx(raw(socket) as HANDLE, (&raw const (*self.block.as_ptr()).overlapped).cast()) };
        }
    }

    /// The outcome if it has completed, which reaps it; `None`: it still runs. For completions that tell only that
    /// something happened: an event, a packet of a port.
    pub(in crate::server) fn poll(&mut self, socket: &impl AsRawSocket) -> Option<Outcome> {
        let (mut bytes, mut flags) = (0, 0);
        // SAFETY: the block is alive; bytes and flags are live and of the types that are written. It does not wait.
        let done = unsafe {
            let overlapped = &raw const (*self.block.as_ptr()).overlapped;
            WSAGetOverlappedResult(raw(socket), overlapped, &raw mut bytes, 0, &raw mut flags)
        };
        let outcome = if done != 0 { Ok(bytes as usize) } else { Err(io::Error::last_os_error()) };
        if matches!(&outcome, Err(e) if e.raw_os_error() == Some(WSA_IO_INCOMPLETE)) {
            return None;
        }
        self.reaped();
        Some(outcome)
    }
}

impl<W> Drop for Operation<W> {
    fn drop(&mut self) {
        if self.outstanding {
            // The kernel still writes there, so it is leaked. It happens only when a worker dies; not an assertion,
            // since a thread's variables are dropped when it no longer panics, and a panic there ends the process.
            return;
        }
        // SAFETY: the block came from a box, and nothing is outstanding on it.
        drop(unsafe { Box::from_raw(self.block.as_ptr()) });
    }
}

/// Zero and WSA_IO_PENDING alike mean that a completion will come; any other error, that none will.
fn pending(result: i32) -> io::Result<()> {
    if result != SOCKET_ERROR {
        return Ok(());
    }
    unless_pending(io::Error::last_os_error())
}

/// The same for calls that return a BOOL.
pub(in crate::server) fn unless_pending(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(WSA_IO_PENDING) { Ok(()) } else { Err(error) }
}

/// The socket as Winsock names it.
pub(in crate::server) fn raw(socket: &impl AsRawSocket) -> SOCKET {
    socket.as_raw_socket() as SOCKET
}

/// Memory for the kernel to write into: bytes on the heap that no reference ever covers.
///
/// A receive may be outstanding on its free pieces while a send is on its pending ones. That is sound because all
/// access is by raw pointer, and the pieces that [`Echo`](crate::server::echo::Echo) gives out for the two never
/// overlap.
pub(in crate::server) struct Ring {
    bytes: NonNull<[MaybeUninit<u8>]>,
}

// SAFETY: the bytes are on the heap and belong to this value alone.
unsafe impl Send for Ring {}

impl Ring {
    /// Memory of `capacity` bytes, not initialized: only what the kernel has written is ever read.
    pub(in crate::server) fn new(capacity: usize) -> Self {
        Ring { bytes: NonNull::from(Box::leak(Box::new_uninit_slice(capacity))) }
    }

    /// Where it starts.
    pub(in crate::server) fn start(&self) -> *mut u8 {
        self.bytes.as_ptr().cast()
    }

    /// The pieces as the kernel wants them.
    ///
    /// # Panics
    /// If a piece lies outside of the ring.
    pub(in crate::server) fn buffers(&self, pieces: &Pieces) -> Buffers {
        Buffers(pieces.clone().map(|piece| {
            assert!(piece.start <= piece.end && piece.end <= self.bytes.len(), "{piece:?} of {}", self.bytes.len());
            // SAFETY: the offset lies within the allocation, as was just checked.
            let buf = unsafe { self.start().add(piece.start) };
            // A longer piece than fits a u32 is used in part, as any call may do.
            WSABUF { len: u32::try_from(piece.len()).unwrap_or(u32::MAX), buf }
        }))
    }

    /// Another ring of `capacity` bytes with a copy of the pieces, in order, at its front.
    ///
    /// # Safety
    /// The pieces were written by the kernel, and nothing is outstanding on this ring.
    pub(in crate::server) unsafe fn copied(&self, pieces: &Pieces, capacity: usize) -> Ring {
        let new = Ring::new(capacity);
        let Buffers(from) = self.buffers(pieces);
        let [first, second] = from.map(|piece| (piece.buf, piece.len as usize));
        assert!(first.1 + second.1 <= capacity, "the copy is too small");
        // SAFETY: both pieces lie in the old ring, together they fit the new one, and two allocations don't overlap.
        unsafe {
            ptr::copy_nonoverlapping(first.0, new.start(), first.1);
            ptr::copy_nonoverlapping(second.0, new.start().add(first.1), second.1);
        }
        new
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the bytes came from a box. Who owns a ring drops it only with nothing outstanding on it.
        drop(unsafe { Box::from_raw(self.bytes.as_ptr()) });
    }
}

/// Up to two pieces of a ring for one call: scatter-gather.
pub(in crate::server) struct Buffers([WSABUF; 2]);

impl Buffers {
    fn list(&self) -> (*const WSABUF, u32) {
        (self.0.as_ptr(), if self.0[1].len == 0 { 1 } else { 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_finds_its_way_back_from_the_overlapped_alone() {
        let mut operation = Operation::new(4711usize, None);
        let mut seen = ptr::null_mut();
        // SAFETY: no call is made, so none is outstanding, and the error says so.
        let result = unsafe {
            operation.begin(|overlapped, _| {
                seen = overlapped;
                Err(io::ErrorKind::Other.into())
            })
        };
        assert!(result.is_err() && !operation.is_outstanding(), "an error brings no completion");
        // SAFETY: the pointer is that of the operation above.
        assert_eq!(*unsafe { Operation::<usize>::way_back(seen) }, 4711);
    }

    #[test]
    #[should_panic(expected = "still to come")]
    fn an_overlapped_is_not_used_again_before_its_completion() {
        let mut operation = Operation::new((), None);
        // SAFETY: no call is made; the block is leaked at the end as if one were outstanding.
        unsafe {
            operation.begin(|_, _| Ok(())).expect("it begins");
            let _ = operation.begin(|_, _| Ok(()));
        }
    }

    #[test]
    fn a_copied_ring_holds_the_pieces_in_order() {
        let ring = Ring::new(4);
        // SAFETY: within the ring of 4 bytes, which nobody else uses.
        unsafe { ptr::copy_nonoverlapping(b"cdab".as_ptr(), ring.start(), 4) };
        // SAFETY: all 4 bytes were written, and nothing is outstanding.
        let new = unsafe { ring.copied(&[2..4, 0..2], 8) };
        // SAFETY: the first 4 of its 8 bytes were just written.
        assert_eq!(unsafe { std::slice::from_raw_parts(new.start(), 4) }, b"abcd");
    }
}
