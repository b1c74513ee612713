//! One timer for all pauses and due times of a worker: a heap of times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The times at which slots want their turn, in nanoseconds since the start of the run.
#[derive(Default)]
pub(super) struct Pacer {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Pacer {
    /// Gives the slot its turn at `at`, or soon after. It may ask several times; who gets a turn in vain asks again.
    pub(super) fn wake_at(&mut self, index: u32, at: u64) {
        self.heap.push(Reverse((at, index)));
    }

    /// The first time asked for.
    pub(super) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out a slot whose time has come, and the time that it asked for.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<(u64, u32)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_get_their_turns_in_the_order_of_their_times_and_not_before() {
        let mut pacer = Pacer::default();
        for (index, at) in [(1, 30), (2, 10), (3, 20)] {
            pacer.wake_at(index, at);
        }
        assert_eq!((pacer.next(), pacer.pop_due(9)), (Some(10), None));
        assert_eq!((pacer.pop_due(20), pacer.pop_due(20), pacer.pop_due(20)), (Some((10, 2)), Some((20, 3)), None));
        assert_eq!(pacer.next(), Some(30));
    }
}
