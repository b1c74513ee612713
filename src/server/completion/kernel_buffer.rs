//! Memory that the kernel reads and writes while the program goes on: bytes that no reference ever covers.
//!
//! A `&mut [u8]` promises that nobody else touches the bytes, and a `&[u8]` that nobody writes them. The kernel breaks
//! both promises while an operation is outstanding. So the bytes are reached through raw pointers only.
//!
//! A receive may be outstanding on the free pieces of a buffer while a send is outstanding on the pending ones: the
//! pieces that [`Echo`](crate::server::echo::Echo) hands out for the two never overlap.

#![expect(unsafe_code, reason = "memory that is shared with the kernel is reached through raw pointers")]

use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use super::winsock::WSABUF;
use crate::server::echo::Pieces;

/// A fixed number of bytes on the heap, for the kernel to read and write.
pub(in crate::server) struct KernelBuffer {
    bytes: NonNull<[MaybeUninit<u8>]>,
}

// SAFETY: the buffer owns its bytes, and nothing about them is bound to a thread.
unsafe impl Send for KernelBuffer {}
// SAFETY: a shared `KernelBuffer` only hands out pointers. To access the bytes takes unsafe code, whose caller
// guarantees that nobody else accesses them at the same time.
unsafe impl Sync for KernelBuffer {}

impl KernelBuffer {
    /// Allocates `capacity` bytes. They are not initialized: only bytes that the kernel has written are ever read.
    pub(in crate::server) fn new(capacity: usize) -> Self {
        KernelBuffer { bytes: NonNull::from(Box::leak(Box::new_uninit_slice(capacity))) }
    }

    /// Its first byte.
    pub(in crate::server) fn start(&self) -> *mut u8 {
        self.bytes.as_ptr().cast()
    }

    /// Some of its pieces, as Winsock takes them.
    ///
    /// # Panics
    /// If a piece lies outside of the buffer, or is longer than a `u32` can say. A buffer has at most 1 GiB
    /// (`--buffer`). To cut the piece would be wrong: the next one would follow at the wrong place of the stream.
    pub(in crate::server) fn buffers(&self, pieces: &Pieces) -> BufferList {
        BufferList(pieces.clone().map(|piece| {
            assert!(piece.start <= piece.end && piece.end <= self.bytes.len(), "{piece:?} of {}", self.bytes.len());
            // SAFETY: the assertion has just shown that the piece lies within the allocation.
            let buf = unsafe { self.start().add(piece.start) };
            WSABUF { len: u32::try_from(piece.len()).expect("a buffer has at most 1 GiB"), buf }
        }))
    }

    /// Allocates another buffer of `capacity` bytes, with a copy of the pieces at its front, in order.
    ///
    /// # Safety
    /// The kernel has written every byte of the pieces, and no operation is outstanding on them.
    ///
    /// # Panics
    /// If a piece lies outside of the buffer, or the pieces do not fit in the new one.
    pub(in crate::server) unsafe fn copy_to_new(&self, pieces: &Pieces, capacity: usize) -> KernelBuffer {
        let copy = KernelBuffer::new(capacity);
        let mut filled = 0;
        for piece in pieces {
            assert!(piece.start <= piece.end && piece.end <= self.bytes.len(), "{piece:?} of {}", self.bytes.len());
            assert!(piece.len() <= capacity - filled, "the pieces do not fit in {capacity} bytes");
            // SAFETY: the first assertion has shown that the piece lies in this buffer, the second that it fits behind
            // what was copied before. Two allocations do not overlap. The caller guarantees that nobody writes the
            // piece.
            unsafe {
                let from = self.start().add(piece.start);
                ptr::copy_nonoverlapping(from, copy.start().add(filled), piece.len());
            }
            filled += piece.len();
        }
        copy
    }
}

impl Drop for KernelBuffer {
    fn drop(&mut self) {
        // SAFETY: `new` has leaked the bytes from a box, and they are freed here only. An `Operation` that is
        // outstanding on them owns this buffer or a share of it, so it would not be dropped.
        drop(unsafe { Box::from_raw(self.bytes.as_ptr()) });
    }
}

/// One or two pieces of a buffer for one call (scatter-gather).
pub(in crate::server) struct BufferList([WSABUF; 2]);

impl BufferList {
    /// As the array that a call takes: without the second piece if that is empty.
    pub(in crate::server) fn as_slice(&self) -> &[WSABUF] {
        if self.0[1].len == 0 { &self.0[..1] } else { &self.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer of 4 bytes, as if the kernel had written them.
    fn written(bytes: [u8; 4]) -> KernelBuffer {
        let buffer = KernelBuffer::new(4);
        // SAFETY: the buffer has 4 bytes, and nobody else knows of them.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.start(), 4) };
        buffer
    }

    #[test]
    fn a_copy_holds_the_pieces_in_order() {
        // SAFETY: all 4 bytes were written, and nothing is outstanding.
        let copy = unsafe { written(*b"cdab").copy_to_new(&[2..4, 0..2], 8) };
        // SAFETY: the copy has just written the first 4 of its 8 bytes.
        assert_eq!(unsafe { std::slice::from_raw_parts(copy.start(), 4) }, b"abcd");
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn pieces_that_do_not_fit_are_not_copied() {
        // SAFETY: all 4 bytes were written, and nothing is outstanding.
        unsafe { written(*b"abcd").copy_to_new(&[0..2, 2..4], 3) };
    }

    #[test]
    #[should_panic(expected = "2..5 of 4")]
    fn a_piece_outside_of_the_buffer_is_refused() {
        written(*b"abcd").buffers(&[2..5, 0..0]);
    }

    #[test]
    fn an_empty_second_piece_is_left_out() {
        let buffer = written(*b"abcd");
        let lengths = |pieces| buffer.buffers(&pieces).as_slice().iter().map(|piece| piece.len).collect::<Vec<_>>();
        assert_eq!(lengths([1..4, 0..0]), [3]);
        assert_eq!(lengths([3..4, 0..2]), [1, 2]);
    }
}
