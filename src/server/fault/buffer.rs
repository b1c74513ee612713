//! The fixed buffer of a server that sends back the whole buffer instead of what it received: which old bytes lie in
//! it, and where in the stream they were received. Pure.

use std::ops::Range;

/// A buffer that is filled from the front by every receive.
#[derive(Debug)]
pub(super) struct FixedBuffer {
    bytes: Vec<u8>,
    capacity: usize,
    /// Ranges of the buffer, in order and without gaps, each with the stream offset of its first byte.
    pieces: Vec<(Range<usize>, u64)>,
}

impl FixedBuffer {
    pub(super) fn new(capacity: usize) -> FixedBuffer {
        FixedBuffer { bytes: Vec::new(), capacity, pieces: Vec::new() }
    }

    /// The most bytes that one receive takes.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Records a receive of at most [`capacity`](Self::capacity) bytes, the first of them at stream offset `offset`.
    pub(super) fn received(&mut self, bytes: &[u8], offset: u64) {
        let n = bytes.len();
        if self.bytes.len() < n {
            self.bytes.resize(n, 0);
        }
        self.bytes[..n].copy_from_slice(bytes);
        let old = std::mem::take(&mut self.pieces);
        self.pieces.push((0..n, offset));
        for (range, at) in old.into_iter().filter(|(range, _)| range.end > n) {
            let start = range.start.max(n);
            self.pieces.push((start..range.end, at + (start - range.start) as u64));
        }
    }

    /// The old bytes behind the last receive, each run with the stream offset at which it was received.
    pub(super) fn old(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.pieces.iter().skip(1).map(|(range, offset)| (&self.bytes[range.clone()], *offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_short_receive_lie_the_bytes_that_longer_ones_left() {
        let mut buffer = FixedBuffer::new(8);
        let old = |buffer: &FixedBuffer| -> Vec<(String, u64)> {
            buffer.old().map(|(bytes, at)| (String::from_utf8_lossy(bytes).into_owned(), at)).collect()
        };
        buffer.received(b"abcdefgh", 0);
        assert_eq!(old(&buffer), []);
        buffer.received(b"ijklm", 8);
        assert_eq!(old(&buffer), [("fgh".to_owned(), 5)]);
        buffer.received(b"no", 13);
        assert_eq!(old(&buffer), [("klm".to_owned(), 10), ("fgh".to_owned(), 5)]);
        buffer.received(b"pqrst", 15);
        assert_eq!(old(&buffer), [("fgh".to_owned(), 5)]);
        buffer.received(b"uvwxyz", 20);
        assert_eq!(old(&buffer), [("gh".to_owned(), 6)]);
    }
}
