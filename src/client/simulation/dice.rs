//! Everything that a simulated world leaves to chance, from one seed.

#![cfg(all(test, unix))]

use std::cell::Cell;

use crate::random::{below, split_mix};

/// A sequence of draws. The same seed gives the same sequence.
pub(super) struct Dice(Cell<u64>);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(Cell::new(seed))
    }

    fn word(&self) -> u64 {
        let mut state = self.0.get();
        let word = split_mix(&mut state);
        self.0.set(state);
        word
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&self, end: usize) -> usize {
        below(self.word(), end as u64) as usize
    }

    /// A number of `1..=most`; small ones are as likely as large ones.
    pub(super) fn up_to(&self, most: usize) -> usize {
        let most = most.max(1);
        let bits = self.below(usize::BITS as usize - most.leading_zeros() as usize) + 1;
        (self.below(1 << bits.min(62)) + 1).min(most)
    }

    /// True this many times in a thousand.
    pub(super) fn chance(&self, thousandths: usize) -> bool {
        self.below(1000) < thousandths
    }

    pub(super) fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
