//! The fixed buffer of a server that sends all of it back and not only what it received: which old bytes lie in it, and
//! where in the stream they were received. Pure.

use std::ops::Range;

/// A buffer into whose front every receive goes.
#[derive(Debug)]
pub(super) struct FixedBuffer {
    bytes: Vec<u8>,
    capacity: usize,
    /// What lies where: ranges of the buffer, gapless and in order, with the stream offset of the first byte of each.
    pieces: Vec<(Range<usize>, u64)>,
}

impl FixedBuffer {
    pub(super) fn new(capacity: usize) -> FixedBuffer {
        FixedBuffer { bytes: Vec::new(), capacity, pieces: Vec::new() }
    }

    /// The most that one receive takes.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of stream offset `offset` and on were received; no more than fit.
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

    /// What lies behind the last receive: old bytes, each run with the stream offset at which it was received.
    pub(super) fn old(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.pieces.iter().skip(1).map(|(range, offset)| (&self.bytes[range.clone()], *offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_a_short_receive_is_what_earlier_longer_ones_left() {
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
