//! What the children count, in memory that they share with their parent: a slot for each, with the bytes received and
//! sent. A child only adds to its own slot, so even one that is killed leaves its numbers behind.

#![expect(unsafe_code, reason = "memory that processes share has no safe wrapper in std or rustix")]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots that are mapped at once: one page of most systems.
const SLOTS_PER_BLOCK: usize = 256;

/// The bytes of one child. Zeroed memory is a valid one.
#[repr(C)]
#[derive(Default)]
pub(super) struct ByteSlot {
    received: AtomicU64,
    sent: AtomicU64,
}

impl ByteSlot {
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The bytes received and sent. The second are never more.
    fn bytes(&self) -> [u64; 2] {
        let sent = self.sent.load(Ordering::Relaxed);
        [self.received.load(Ordering::Relaxed).max(sent), sent]
    }
}

/// All slots, and the bytes of the children that have ended.
#[derive(Default)]
pub(super) struct ByteSlots {
    blocks: Vec<SharedBlock>,
    free: Vec<usize>,
    ended: [u64; 2],
}

impl ByteSlots {
    /// A zeroed slot for one child.
    ///
    /// # Errors
    /// The system's: out of memory.
    pub(super) fn take(&mut self) -> io::Result<usize> {
        if self.free.is_empty() {
            let first = self.blocks.len() * SLOTS_PER_BLOCK;
            self.blocks.push(SharedBlock::map()?);
            self.free.extend((first..first + SLOTS_PER_BLOCK).rev());
        }
        Ok(self.free.pop().expect("there are free slots"))
    }

    pub(super) fn get(&self, index: usize) -> &ByteSlot {
        &self.blocks[index / SLOTS_PER_BLOCK].slots()[index % SLOTS_PER_BLOCK]
    }

    /// The child of a slot has ended. Returns the bytes that it has received and not sent.
    pub(super) fn put_back(&mut self, index: usize) -> u64 {
        let slot = self.get(index);
        let [received, sent] = slot.bytes();
        slot.received.store(0, Ordering::Relaxed);
        slot.sent.store(0, Ordering::Relaxed);
        self.free.push(index);
        self.ended = [self.ended[0] + received, self.ended[1] + sent];
        received - sent
    }

    /// The bytes received and sent by all children so far.
    pub(super) fn bytes(&self) -> [u64; 2] {
        // A free slot is zero.
        let slots = self.blocks.iter().flat_map(SharedBlock::slots).map(ByteSlot::bytes);
        slots.fold(self.ended, |[received, sent], [more_received, more_sent]| {
            [received + more_received, sent + more_sent]
        })
    }
}

/// Slots in a mapping of their own, which children inherit as the same memory.
struct SharedBlock(NonNull<[ByteSlot; SLOTS_PER_BLOCK]>);

// SAFETY: the slots are atomic, and the block owns their mapping.
unsafe impl Send for SharedBlock {}
// SAFETY: as above.
unsafe impl Sync for SharedBlock {}

impl SharedBlock {
    fn map() -> io::Result<SharedBlock> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANON);
        // SAFETY: a new mapping at an address of the system's choice touches no other memory.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), size_of::<[ByteSlot; SLOTS_PER_BLOCK]>(), protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(SharedBlock(NonNull::new(address.cast()).expect("the system never chooses address 0")))
    }

    fn slots(&self) -> &[ByteSlot; SLOTS_PER_BLOCK] {
        // SAFETY: the mapping is as large as this, zeroed at first, which is valid, and lives as long as `self`.
        // Other processes change it only by atomic operations.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedBlock {
    fn drop(&mut self) {
        // SAFETY: `map` has made this mapping, and nothing of this process borrows from it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<[ByteSlot; SLOTS_PER_BLOCK]>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_the_sums_stay() {
        let mut slots = ByteSlots::default();
        let indices: Vec<usize> = (0..SLOTS_PER_BLOCK + 2).map(|_| slots.take().expect("memory")).collect();
        assert_eq!(slots.blocks.len(), 2);
        for index in &indices {
            slots.get(*index).received(10);
            slots.get(*index).sent(7);
        }
        let count = indices.len() as u64;
        assert_eq!(slots.bytes(), [10 * count, 7 * count]);
        assert!(indices.iter().all(|index| slots.put_back(*index) == 3));
        assert_eq!(slots.bytes(), [10 * count, 7 * count], "of those that have ended");
        let again = slots.take().expect("memory");
        assert_eq!((slots.blocks.len(), slots.get(again).bytes()), (2, [0, 0]));
    }
}
