//! The memory that the kernel writes received bytes into, and reads sent ones from.
//!
//! A worker has few buffers, and gives out the one that came back last: it is still in the processor's cache, which
//! matters more than anything else here. A [`FilledBuffer`] owns its buffer, from before the receive until its last
//! byte was sent, and can't be copied; its drop gives the buffer back, once. (Provided buffers, which the kernel picks
//! from a shared ring, were tried: see the head of the model.)

#![expect(unsafe_code, reason = "memory that the kernel writes into while the program holds it")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;

/// Memory from the allocator, zeroed, so that no byte of it is ever uninitialized. Only the pages that are touched cost
/// memory.
pub(super) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// `bytes` bytes, which must not be 0.
    pub(super) fn new(bytes: usize) -> Memory {
        let layout = Layout::array::<u8>(bytes).expect("a size that an allocation can have");
        assert!(bytes > 0);
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        Memory { start: NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout)), layout }
    }

    /// The address of byte `at`.
    ///
    /// # Panics
    /// If there is no such byte.
    pub(super) fn at(&self, at: usize) -> *mut u8 {
        assert!(at < self.layout.size());
        // SAFETY: within the allocation.
        unsafe { self.start.as_ptr().add(at) }
    }

    /// Copies `bytes` to byte `at` and after it; those that would pass the end go to the beginning. No reference to the
    /// memory is made, so the kernel may read other parts of it at the same time.
    ///
    /// # Panics
    /// If they don't fit.
    pub(super) fn write_around(&mut self, at: usize, bytes: &[u8]) {
        let size = self.layout.size();
        assert!(at < size && bytes.len() <= size);
        let (head, tail) = bytes.split_at(bytes.len().min(size - at));
        // SAFETY: both targets are within the allocation, and `&mut` says that no other copy is under way. They can't
        // overlap with the source: only a `FilledBuffer` hands out references to its memory, and it is never written
        // through while it is borrowed.
        unsafe {
            self.start.as_ptr().add(at).copy_from_nonoverlapping(head.as_ptr(), head.len());
            self.start.as_ptr().copy_from_nonoverlapping(tail.as_ptr(), tail.len());
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, and freed nowhere else. The kernel uses none of it: what owns it
        // is dropped only with no operation outstanding on it, or leaked (`drop` of the worker).
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// The buffers of a worker.
pub(super) struct ReceiveBuffers {
    home: Rc<Home>,
    size: usize,
    /// Buffers that may still be made.
    unmade: usize,
    batch: usize,
}

/// Where buffers come back to.
#[derive(Default)]
struct Home {
    free: RefCell<Vec<Memory>>,
    /// Bytes in the buffers that are out, or expected there.
    bytes_out: Cell<usize>,
}

impl ReceiveBuffers {
    /// Up to `most` buffers of `size` bytes. Those that are out at a time hold no more than `batch` bytes, unless it is
    /// only one.
    pub(super) fn new(size: usize, most: usize, batch: usize) -> ReceiveBuffers {
        ReceiveBuffers { home: Rc::default(), size, unmade: most, batch }
    }

    /// Bytes of one buffer.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The buffer that came back last, for a receive that is expected to bring `expected` bytes. `None`: not now.
    #[inline]
    pub(super) fn take(&mut self, expected: usize) -> Option<FilledBuffer> {
        let out = self.home.bytes_out.get();
        if out > 0 && out + expected > self.batch {
            return None;
        }
        let memory = self.home.free.borrow_mut().pop();
        let memory = memory.or_else(|| {
            self.unmade = self.unmade.checked_sub(1)?;
            Some(Memory::new(self.size))
        })?;
        self.home.bytes_out.set(out + expected);
        Some(FilledBuffer { memory: Some(memory), from: 0, to: 0, counted: expected, home: Rc::clone(&self.home) })
    }
}

/// A buffer, and which of its bytes were received and not dealt with yet. Dropping it gives the buffer back.
pub(super) struct FilledBuffer {
    /// `None` only during the drop.
    memory: Option<Memory>,
    from: usize,
    to: usize,
    /// Its part of [`Home::bytes_out`].
    counted: usize,
    home: Rc<Home>,
}

impl FilledBuffer {
    fn memory(&self) -> &Memory {
        self.memory.as_ref().expect("only drop takes the memory")
    }

    fn count(&mut self, bytes: usize) {
        self.home.bytes_out.set(self.home.bytes_out.get() - self.counted + bytes);
        self.counted = bytes;
    }

    /// Where a receive puts its bytes: the whole buffer.
    pub(super) fn target(&mut self) -> *mut u8 {
        self.memory().at(0)
    }

    /// The receive brought `n` bytes.
    ///
    /// # Panics
    /// If the buffer is shorter.
    pub(super) fn received(&mut self, n: usize) {
        assert!(n <= self.memory().layout.size());
        (self.from, self.to) = (0, n);
        self.count(n);
    }

    /// The first `n` bytes were dealt with.
    ///
    /// # Panics
    /// If there are fewer.
    pub(super) fn advance(&mut self, n: usize) {
        assert!(n <= self.len());
        self.from += n;
    }
}

impl Deref for FilledBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.memory().start.as_ptr();
        // SAFETY: within the buffer (`received` checked it), and initialized (zeroed at first, written by the kernel
        // then). The receive is complete, and while there are bytes here no other is given this buffer; a send
        // only reads it.
        unsafe { slice::from_raw_parts(start.add(self.from), self.to - self.from) }
    }
}

impl Drop for FilledBuffer {
    #[inline]
    fn drop(&mut self) {
        self.count(0);
        self.home.free.borrow_mut().extend(self.memory.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_buffer_has_one_owner_and_comes_back_once() {
        let mut pool = ReceiveBuffers::new(100, 3, 1000);
        let mut out: Vec<FilledBuffer> = std::iter::from_fn(|| pool.take(10)).collect();
        assert_eq!(out.len(), 3);
        let mut targets: Vec<_> = out.iter_mut().map(FilledBuffer::target).collect();
        targets.sort_unstable();
        targets.dedup();
        assert_eq!(targets.len(), 3, "two owners share a buffer");
        out[1].received(77);
        out.clear();
        assert_eq!((pool.home.free.borrow().len(), pool.home.bytes_out.get()), (3, 0));
    }

    #[test]
    fn the_buffer_that_came_back_last_goes_out_first() {
        let mut pool = ReceiveBuffers::new(100, 3, 1000);
        let (first, mut second) = (pool.take(1), pool.take(1).expect("there are three"));
        let target = second.target();
        drop((first, second));
        assert_eq!(pool.take(1).expect("all are back").target(), target);
    }

    #[test]
    fn buffers_out_hold_no_more_than_a_batch_unless_it_is_one() {
        let mut pool = ReceiveBuffers::new(100, 9, 100);
        let one = pool.take(500).expect("one is always given out");
        assert!(pool.take(1).is_none());
        drop(one);
        let mut few = pool.take(10).expect("none is out");
        let more = pool.take(90).expect("it is no more than the batch");
        few.received(11);
        drop(more);
        assert!(pool.take(90).is_none(), "the bytes that came count, not the expected ones");
        assert!(pool.take(89).is_some());
    }

    #[test]
    fn only_the_bytes_received_are_there_to_be_sent() {
        let mut buffer = ReceiveBuffers::new(100, 1, 1).take(1).expect("there is one");
        assert!(buffer.is_empty());
        buffer.received(5);
        buffer.advance(2);
        assert_eq!(buffer.len(), 3);
    }

    #[test]
    #[should_panic(expected = "n <= self.memory")]
    fn more_bytes_than_the_buffer_holds_are_a_defect() {
        ReceiveBuffers::new(100, 1, 1).take(1).expect("there is one").received(101);
    }

    #[test]
    fn what_passes_the_end_of_a_backlog_goes_to_its_beginning() {
        let mut memory = Memory::new(5);
        memory.write_around(3, b"abcd");
        // SAFETY: five bytes, initialized, and nobody writes them now.
        assert_eq!(unsafe { slice::from_raw_parts(memory.at(0), 5) }, b"cd\0ab");
    }
}
