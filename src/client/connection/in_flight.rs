//! The messages that wait for their echo: where each ends in the stream, and when it began.

use std::collections::VecDeque;

/// A queue that allocates only when more than one message is in flight, since ping-pong is the common case and there
/// may be tens of thousands of connections.
#[derive(Default)]
pub(super) struct InFlight {
    first: Option<InFlightMessage>,
    #[expect(clippy::box_collection, reason = "8 bytes in each connection instead of 32")]
    more: Option<Box<VecDeque<InFlightMessage>>>,
}

#[derive(Clone, Copy)]
struct InFlightMessage {
    end: u64,
    begun: u64,
}

impl InFlight {
    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        let more = self.more.as_ref().map_or(0, |more| more.len());
        (more + usize::from(self.first.is_some())) as u32
    }

    /// A message whose last byte is before stream offset `end` begins.
    pub(super) fn begin(&mut self, end: u64, begun: u64) {
        let message = InFlightMessage { end, begun };
        if self.first.is_none() {
            self.first = Some(message);
        } else {
            self.more.get_or_insert_default().push_back(message);
        }
    }

    /// Takes the oldest message out if all before `position` has come back and it ends there or before. Gives when it
    /// began.
    #[inline]
    pub(super) fn complete(&mut self, position: u64) -> Option<u64> {
        let oldest = self.first.filter(|message| message.end <= position)?;
        self.first = self.more.as_mut().and_then(|more| more.pop_front());
        Some(oldest.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_complete_in_order_and_only_when_whole() {
        let mut queue = InFlight::default();
        for (end, begun) in [(10, 1), (20, 2), (30, 3)] {
            queue.begin(end, begun);
        }
        assert_eq!((queue.len(), queue.complete(9)), (3, None));
        assert_eq!((queue.complete(20), queue.complete(20), queue.complete(20)), (Some(1), Some(2), None));
        queue.begin(40, 4);
        assert_eq!((queue.len(), queue.complete(100), queue.complete(100)), (2, Some(3), Some(4)));
        assert_eq!((queue.len(), queue.complete(100)), (0, None));
    }
}
