//! The buffers that a worker lends to the kernel, and that come back filled, one connection's bytes in each.
//!
//! A *provided buffer ring* (IORING_REGISTER_PBUF_RING, since 5.19, io_uring_register_buf_ring(3)) is a ring of
//! descriptors (address, length, id) in memory shared with the kernel. A receive names no buffer: when bytes are there,
//! the kernel takes the oldest one from the ring and tells its id in the completion. So a connection that waits holds
//! no buffer. When the ring is empty, the receive ends with ENOBUFS.
//!
//! The classic defect of this scheme is a buffer that is given back twice: then two receives are given the same memory,
//! and one client is sent the bytes of another. Here a buffer that the kernel handed out is a [`Lease`]. It can't be
//! copied, it is made only from a completion, and its drop is the only thing that gives a buffer back; that a completion
//! names a buffer which the kernel does not have is checked each time, and fails loudly.

#![expect(unsafe_code, reason = "memory that the kernel writes into while the program holds it")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The buffer group that all receives name; each ring has only this one.
pub(super) const GROUP: u16 = 0;

/// Memory from the allocator, zeroed, so that no byte of it is ever uninitialized. Touched pages alone cost memory.
pub(super) struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// `bytes` bytes, which must not be 0, at a multiple of `align`.
    pub(super) fn new(bytes: usize, align: usize) -> Memory {
        let layout = Layout::from_size_align(bytes, align).expect("a size that an allocation can have");
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

    /// Copies `bytes` to byte `at` and on, and what passes the end to the beginning. No reference to the memory is made,
    /// so the kernel may read other parts of it at the same time.
    ///
    /// # Panics
    /// If they don't fit.
    pub(super) fn write_around(&self, at: usize, bytes: &[u8]) {
        let size = self.layout.size();
        assert!(at < size && bytes.len() <= size);
        let (head, tail) = bytes.split_at(bytes.len().min(size - at));
        // SAFETY: both targets are within the allocation. They can't overlap with the source: nobody has a reference
        // into memory that is written here, since nothing hands one out but `Lease`, of other memory.
        unsafe {
            self.start.as_ptr().add(at).copy_from_nonoverlapping(head.as_ptr(), head.len());
            self.start.as_ptr().copy_from_nonoverlapping(tail.as_ptr(), tail.len());
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, and freed nowhere else.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// The buffers of one ring. A clone is the same buffers.
#[derive(Clone)]
pub(super) struct Buffers {
    shared: Rc<Shared>,
}

struct Shared {
    /// The descriptors; the kernel reads them.
    ring: Memory,
    /// Descriptors in the ring, a power of two: no fewer than there are buffers, so that it is never overrun.
    entries: u16,
    /// Buffers that there is memory for.
    most: usize,
    /// Where the next descriptor goes, modulo 2^16.
    tail: Cell<u16>,
    /// All buffers; number `id` begins at `id * stride`.
    memory: Memory,
    stride: usize,
    size: usize,
    /// For each buffer in use (the others wait for [`Buffers::grow`]): whether it is out, as a [`Lease`].
    leased: RefCell<Vec<bool>>,
    /// How many are out.
    out: Cell<usize>,
}

impl Buffers {
    /// Registers a ring for up to `most` buffers (rounded up to a power of two) of `size` bytes, and provides `first`.
    ///
    /// # Errors
    /// The kernel has no buffer rings (before 5.19).
    pub(super) fn new(submitter: &Submitter<'_>, size: usize, first: u16, most: u16) -> io::Result<Buffers> {
        assert!(size > 0 && first > 0 && first <= most && most <= 1 << 15, "the kernel's limit is 2^15 descriptors");
        let entries = most.next_power_of_two();
        // A line more than the size: else the beginnings of all buffers fall into the same few sets of the caches, and
        // short messages, which touch only beginnings, push each other out.
        let stride = size.next_multiple_of(CACHE_LINE) + CACHE_LINE;
        let ring = Memory::new(usize::from(entries) * size_of::<BufRingEntry>(), rustix::param::page_size());
        // SAFETY: the memory is of that length, aligned to a page, and lives as long as `Buffers`, which outlives every
        // operation of the ring: the worker reaps all of them before it drops anything, or else leaks both.
        unsafe { submitter.register_buf_ring_with_flags(ring.at(0) as u64, entries, GROUP, 0)? };
        let buffers = Buffers {
            shared: Rc::new(Shared {
                ring,
                entries,
                most: usize::from(most),
                tail: Cell::new(0),
                memory: Memory::new(stride * usize::from(most), CACHE_LINE),
                stride,
                size,
                leased: RefCell::new(Vec::with_capacity(usize::from(most))),
                out: Cell::new(0),
            }),
        };
        buffers.provide_new(usize::from(first));
        Ok(buffers)
    }

    /// Bytes of one buffer.
    pub(super) fn size(&self) -> usize {
        self.shared.size
    }

    /// Buffers that the kernel has, or has filled and not told yet.
    pub(super) fn provided(&self) -> usize {
        self.shared.leased.borrow().len() - self.shared.out.get()
    }

    /// Twice the buffers, as long as there are more.
    pub(super) fn grow(&self) {
        let now = self.shared.leased.borrow().len();
        self.provide_new(now);
    }

    fn provide_new(&self, count: usize) {
        let shared = &*self.shared;
        let now = shared.leased.borrow().len();
        for id in now..(now + count).min(shared.most) {
            shared.leased.borrow_mut().push(false);
            shared.provide(id as u16);
        }
    }

    /// The buffer `id`, into which the kernel has put `len` bytes, as a completion says.
    ///
    /// # Panics
    /// If the kernel can't have had it: then two owners would share it.
    pub(super) fn claim(&self, id: u16, len: usize) -> Lease {
        let shared = &*self.shared;
        assert!(len <= shared.size, "{len} bytes in a buffer of {}", shared.size);
        let was = std::mem::replace(&mut shared.leased.borrow_mut()[usize::from(id)], true);
        assert!(!was, "buffer {id} came from the kernel, which does not have it");
        shared.out.set(shared.out.get() + 1);
        Lease { of: Rc::clone(&self.shared), id, from: 0, to: len as u32 }
    }
}

impl Shared {
    fn buffer(&self, id: u16) -> *mut u8 {
        self.memory.at(usize::from(id) * self.stride)
    }

    /// Puts a descriptor of the buffer into the ring.
    fn provide(&self, id: u16) {
        let tail = self.tail.get();
        let at = usize::from(tail & (self.entries - 1));
        let base = self.ring.at(0).cast::<BufRingEntry>();
        // SAFETY: `at` is within the ring, which is zeroed memory of `entries` entries, all integers. The kernel reads
        // only entries before the tail that it has not taken yet, and this one is not: there are no more buffers than
        // entries, and this buffer is not in the ring.
        let entry = unsafe { &mut *base.add(at) };
        entry.set_addr(self.buffer(id) as u64);
        entry.set_len(self.size as u32);
        entry.set_bid(id);
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: the tail is a u16 within the first entry, aligned, and nobody but this thread writes it. The kernel
        // loads it with acquire; the release store shows it the entry first.
        unsafe {
            AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()).store(tail.wrapping_add(1), Ordering::Release)
        };
    }
}

/// A buffer that the kernel has filled: the bytes not yet dealt with. Dropping it gives the buffer back, once.
pub(super) struct Lease {
    of: Rc<Shared>,
    id: u16,
    from: u32,
    to: u32,
}

impl Lease {
    /// The first `n` bytes are done with.
    ///
    /// # Panics
    /// If there are fewer.
    pub(super) fn advance(&mut self, n: usize) {
        assert!(n <= self.len());
        self.from += n as u32;
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: within the buffer (`claim` checked it), initialized (zeroed at first, then written by the kernel), and
        // the kernel does not write it again before the drop puts its descriptor back into the ring. A send that reads
        // it meanwhile is no writer.
        unsafe {
            slice::from_raw_parts(self.of.buffer(self.id).add(self.from as usize), (self.to - self.from) as usize)
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.of.leased.borrow_mut()[usize::from(self.id)] = false;
        self.of.out.set(self.of.out.get() - 1);
        self.of.provide(self.id);
    }
}

const CACHE_LINE: usize = 64;
