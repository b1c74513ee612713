//! The times at which the slots of a worker want a turn, in a heap. A slot that changes its mind does not take its old
//! time out: that stays, and is cleared away when too many have gathered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Times at which slots want a turn, in nanoseconds since the start of the run.
#[derive(Default)]
pub(super) struct TimerHeap {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// How many times were wanted when the heap was last cleared.
    wanted: usize,
}

/// How many times the heap keeps, wanted or not, before it is cleared.
const UNCHECKED_TIMES: usize = 1024;

impl TimerHeap {
    /// Asks for a turn of the slot at `at`, or soon after. A slot may ask several times.
    pub(super) fn push(&mut self, index: u32, at: u64) {
        self.heap.push(Reverse((at, index)));
    }

    /// Whether it is time to [clear](Self::clear) the heap: so rarely that the cost of a time stays the same.
    pub(super) fn is_cluttered(&self) -> bool {
        self.heap.len() > UNCHECKED_TIMES + 2 * self.wanted
    }

    /// Keeps only the times that are wanted, each once.
    pub(super) fn clear(&mut self, is_wanted: impl Fn(u64, u32) -> bool) {
        let mut times = std::mem::take(&mut self.heap).into_vec();
        times.retain(|&Reverse((at, index))| is_wanted(at, index));
        times.sort_unstable();
        times.dedup();
        self.wanted = times.len();
        self.heap = times.into();
    }

    /// The earliest time.
    pub(super) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out a slot whose time has come, together with that time.
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
    fn slots_come_out_in_the_order_of_their_times_and_not_before() {
        let mut heap = TimerHeap::default();
        for (index, at) in [(1, 30), (2, 10), (3, 20)] {
            heap.push(index, at);
        }
        assert_eq!((heap.next(), heap.pop_due(9)), (Some(10), None));
        assert_eq!((heap.pop_due(20), heap.pop_due(20), heap.pop_due(20)), (Some((10, 2)), Some((20, 3)), None));
        assert_eq!(heap.next(), Some(30));
    }

    #[test]
    fn times_that_no_slot_wants_any_more_do_not_pile_up() {
        // Two thousand slots that wait for a time far off, and now and then for a near one.
        let (mut heap, mut wanted) = (TimerHeap::default(), vec![0; 2000]);
        for turn in 0..100_000u64 {
            let index = (turn % 2000) as u32;
            wanted[index as usize] = if turn / 2000 % 2 == 0 { u64::MAX - 1 } else { turn };
            heap.push(index, wanted[index as usize]);
            if heap.is_cluttered() {
                heap.clear(|at, index| wanted[index as usize] == at);
            }
            assert!(heap.heap.len() <= UNCHECKED_TIMES + 2 * 2000, "{}", heap.heap.len());
        }
        let mut due = Vec::new();
        while let Some((at, index)) = heap.pop_due(u64::MAX) {
            due.extend((wanted[index as usize] == at).then_some(index));
        }
        due.sort_unstable();
        due.dedup();
        assert_eq!(due, (0..2000).collect::<Vec<u32>>(), "no wanted time was lost");
    }
}
