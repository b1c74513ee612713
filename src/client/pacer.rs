//! One timer for all pauses and due times of a worker: a heap of times. What a slot asked for and does not want any
//! more stays in it, and is cleared away when there is too much of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The times at which slots want their turn, in nanoseconds since the start of the run.
#[derive(Default)]
pub(super) struct Pacer {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// How many of them were wanted when it was last cleared.
    wanted: usize,
}

/// Times that are kept, wanted or not, without a look.
const FEW: usize = 1024;

impl Pacer {
    /// Gives the slot its turn at `at`, or soon after. It may ask several times; who gets a turn in vain asks again.
    pub(super) fn wake_at(&mut self, index: u32, at: u64) {
        self.heap.push(Reverse((at, index)));
    }

    /// Whether it is time to [clear](Self::clear) it: so seldom that a time costs no more than before.
    pub(super) fn is_cluttered(&self) -> bool {
        self.heap.len() > FEW + 2 * self.wanted
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

    #[test]
    fn times_that_nobody_wants_any_more_do_not_pile_up() {
        // Two thousand slots that wait for a time far off, and for a near one now and then.
        let (mut pacer, mut wanted) = (Pacer::default(), vec![0; 2000]);
        for turn in 0..100_000u64 {
            let index = (turn % 2000) as u32;
            wanted[index as usize] = if turn / 2000 % 2 == 0 { u64::MAX - 1 } else { turn };
            pacer.wake_at(index, wanted[index as usize]);
            if pacer.is_cluttered() {
                pacer.clear(|at, index| wanted[index as usize] == at);
            }
            assert!(pacer.heap.len() <= FEW + 2 * 2000, "{}", pacer.heap.len());
        }
        let mut due = Vec::new();
        while let Some((at, index)) = pacer.pop_due(u64::MAX) {
            due.extend((wanted[index as usize] == at).then_some(index));
        }
        due.sort_unstable();
        due.dedup();
        assert_eq!(due, (0..2000).collect::<Vec<u32>>(), "none was lost");
    }
}
