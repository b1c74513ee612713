//! The messages of a connection that wait for their echo: where each ends in the stream, and when it began.

use std::collections::VecDeque;

/// A queue of messages. It allocates only when more than one is in flight, because ping-pong is the common case and
/// there may be tens of thousands of connections.
#[derive(Default)]
pub(super) struct InFlight {
    first: Option<InFlightMessage>,
    #[expect(clippy::box_collection, reason = "8 bytes in each connection instead of 32")]
    more: Option<Box<VecDeque<InFlightMessage>>>,
}

#[derive(Clone, Copy)]
struct InFlightMessage {
    end: u64,
    began: u64,
}

impl InFlight {
    /// How many messages are in flight.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        let more = self.more.as_ref().map_or(0, |more| more.len());
        (more + usize::from(self.first.is_some())) as u32
    }

    /// Adds a message that began at `began` and ends before stream offset `end`.
    pub(super) fn begin(&mut self, end: u64, began: u64) {
        let message = InFlightMessage { end, began };
        if self.first.is_none() {
            self.first = Some(message);
        } else {
            self.more.get_or_insert_default().push_back(message);
        }
    }

    /// Takes out the oldest message if its echo is complete: everything before `position` has come back, and the
    /// message ends there or before. Returns when it began.
    #[inline]
    pub(super) fn complete(&mut self, position: u64) -> Option<u64> {
        let oldest = self.first.filter(|message| message.end <= position)?;
        self.first = self.more.as_mut().and_then(|more| more.pop_front());
        Some(oldest.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_complete_in_order_and_only_when_whole() {
        let mut queue = InFlight::default();
        for (end, began) in [(10, 1), (20, 2), (30, 3)] {
            queue.begin(end, began);
        }
        assert_eq!((queue.len(), queue.complete(9)), (3, None));
        assert_eq!((queue.complete(20), queue.complete(20), queue.complete(20)), (Some(1), Some(2), None));
        queue.begin(40, 4);
        assert_eq!((queue.len(), queue.complete(100), queue.complete(100)), (2, Some(3), Some(4)));
        assert_eq!((queue.len(), queue.complete(100)), (0, None));
    }
}
