//! The pure half of an echo server: a bounded ring of positions, and the rules of half-close.
//!
//! It does no I/O and has no memory: [`Echo`] only says *where* in a buffer of `capacity` bytes the next received bytes
//! go, which bytes wait to be sent, and what is due next. A reactor uses it with a `Box<[u8]>`. A proactor, whose
//! kernel writes into the buffer while the program holds it, uses the same numbers with raw memory. Both pieces of the
//! ring are given at once, so that one scatter-gather call (readv, or WSARecv with two WSABUFs) can use them.
//!
//! The rules (RFC 9293, 3.6: closing is half-duplex): a peer's FIN ends only its own direction. Bytes that were
//! received before it are still owed; then our FIN follows; then the connection is over.

use std::ops::Range;

/// Two pieces of the buffer, in order; the second is empty unless the ring wraps.
pub type Pieces = [Range<usize>; 2];

/// The actions that are due on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Receive: there is room, and the peer has not ended its direction.
    pub receive: bool,
    /// Send: bytes wait.
    pub send: bool,
    /// Send the FIN (shut the send direction down), call [`Echo::fin_sent`], and close: the peer has ended its
    /// direction and everything was sent back.
    pub finish: bool,
}

/// The state of one echoed connection.
#[derive(Clone, Debug)]
pub struct Echo {
    capacity: usize,
    head: usize,
    len: usize,
    fin_received: bool,
    fin_sent: bool,
}

impl Echo {
    /// An empty ring over a buffer of `capacity` bytes.
    ///
    /// # Panics
    /// If `capacity` is 0: such a connection could never move a byte.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a ring of no bytes can move nothing");
        Echo { capacity, head: 0, len: 0, fin_received: false, fin_sent: false }
    }

    /// Bytes that the buffer must hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes received and not yet sent back.
    pub fn backlog(&self) -> usize {
        self.len
    }

    /// Where the next received bytes go.
    ///
    /// These pieces stay free until [`received`](Self::received), however much is sent in between: sending moves only
    /// the head. So a receive into them may be outstanding in the kernel while sends complete.
    pub fn space(&self) -> Pieces {
        self.pieces(self.head + self.len, self.capacity - self.len)
    }

    /// Which bytes wait to be sent, oldest first. They stay in place while receives complete.
    pub fn pending(&self) -> Pieces {
        self.pieces(self.head, self.len)
    }

    fn pieces(&self, start: usize, len: usize) -> Pieces {
        let start = self.wrapped(start);
        let first = len.min(self.capacity - start);
        [start..start + first, 0..len - first]
    }

    /// Maps a position of less than twice the capacity into the buffer. It avoids `%`: three divisions per
    /// round trip are measurable.
    fn wrapped(&self, position: usize) -> usize {
        if position >= self.capacity { position - self.capacity } else { position }
    }

    /// `n` bytes were received into [`space`](Self::space), first piece first.
    ///
    /// # Panics
    /// If `n` is more than the space: the ring would echo bytes that were never received.
    pub fn received(&mut self, n: usize) {
        assert!(n <= self.capacity - self.len, "received {n} bytes into {} free", self.capacity - self.len);
        self.len += n;
    }

    /// `n` of the [`pending`](Self::pending) bytes were sent, perhaps fewer than were given to the call.
    ///
    /// # Panics
    /// If `n` is more than were pending.
    pub fn sent(&mut self, n: usize) {
        assert!(n <= self.len, "sent {n} bytes of {} pending", self.len);
        self.head = self.wrapped(self.head + n);
        self.len -= n;
    }

    /// Starts again at the front of the buffer if nothing is pending, so that the next receive gets one whole piece.
    /// Not while a receive is outstanding: its pieces must stay where they are.
    pub fn rewind(&mut self) {
        if self.len == 0 {
            self.head = 0;
        }
    }

    /// The buffer was replaced by one of `capacity` bytes, and the pending bytes were copied to its front. Not while an
    /// operation is outstanding on the old one.
    ///
    /// # Panics
    /// If the new buffer can't hold what is pending, or nothing at all.
    pub fn moved(&mut self, capacity: usize) {
        assert!(capacity > 0 && self.len <= capacity, "{} pending bytes moved into {capacity}", self.len);
        self.capacity = capacity;
        self.head = 0;
    }

    /// The peer has ended its direction: a receive of 0 bytes.
    pub fn fin_received(&mut self) {
        self.fin_received = true;
    }

    /// Our own FIN was sent.
    pub fn fin_sent(&mut self) {
        self.fin_sent = true;
    }

    /// The actions that are due.
    pub fn due(&self) -> Due {
        Due {
            receive: !self.fin_received && self.len < self.capacity,
            send: self.len > 0,
            finish: self.fin_received && self.len == 0 && !self.fin_sent,
        }
    }

    /// Both directions have ended and nothing is owed.
    pub fn is_over(&self) -> bool {
        self.fin_received && self.fin_sent && self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fin_is_answered_only_after_the_backlog() {
        let mut echo = Echo::new(8);
        echo.received(5);
        echo.fin_received();
        assert_eq!(echo.due(), Due { receive: false, send: true, finish: false });
        echo.sent(4);
        assert!(!echo.due().finish, "one byte is still owed");
        echo.sent(1);
        assert_eq!(echo.due(), Due { receive: false, send: false, finish: true });
        echo.fin_sent();
        assert!(echo.is_over() && !echo.due().finish);
    }

    #[test]
    fn a_full_ring_stops_receiving_until_something_was_sent() {
        let mut echo = Echo::new(4);
        echo.received(4);
        assert!(!echo.due().receive);
        assert_eq!(echo.space(), [0..0, 0..0]);
        echo.sent(1);
        assert!(echo.due().receive);
        assert_eq!(echo.space(), [0..1, 0..0]);
    }

    #[test]
    fn space_given_to_the_kernel_stays_free_while_sends_complete() {
        let mut echo = Echo::new(8);
        echo.received(6);
        let outstanding = echo.space();
        echo.sent(3);
        let now = echo.space();
        assert_eq!(now[0].start, outstanding[0].start);
        echo.received(2);
        assert_eq!(echo.pending(), [3..8, 0..0]);
    }

    #[test]
    fn a_ring_that_moves_keeps_its_pending_bytes_in_order_at_the_front() {
        let mut echo = Echo::new(4);
        echo.received(4);
        echo.sent(3);
        echo.received(3);
        assert_eq!(echo.pending(), [3..4, 0..3], "it wraps");
        echo.moved(8);
        assert_eq!(echo.pending(), [0..4, 0..0]);
        assert_eq!(echo.space(), [4..8, 0..0]);
    }

    proptest! {
        /// The ring against a plain queue: in any order of receives and sends, the same bytes come out.
        #[test]
        fn bytes_leave_in_the_order_they_came(
            capacity in 1usize..40,
            moves in prop::collection::vec((any::<bool>(), 0usize..50), 1..200),
        ) {
            let mut echo = Echo::new(capacity);
            let mut memory = vec![0u8; capacity];
            let mut queue = std::collections::VecDeque::new();
            let mut next = 0u8;
            for (receive, wanted) in moves {
                let pieces = if receive { echo.space() } else { echo.pending() };
                let total = pieces[0].len() + pieces[1].len();
                let n = wanted.min(total);
                for at in pieces.into_iter().flatten().take(n) {
                    if receive {
                        next = next.wrapping_add(1);
                        memory[at] = next;
                        queue.push_back(next);
                    } else {
                        prop_assert_eq!(Some(memory[at]), queue.pop_front());
                    }
                }
                if receive { echo.received(n) } else { echo.sent(n); echo.rewind() }
                prop_assert_eq!(echo.backlog(), queue.len());
                prop_assert_eq!(echo.due().send, !queue.is_empty());
            }
        }
    }
}
