//! From the seed to random words. The arithmetic stands here and in [`random`](crate::random), so the same seed gives
//! the same plan on every system and with every version of a dependency.
//!
//! 1. `finalize` is the finalizer of SplitMix64.
//! 2. `mix(a, b) = finalize(finalize(a + G) ^ (b * M + G))`, with `G` the golden ratio of 64 bits and `M` a multiplier.
//!    For a fixed `a` it is a bijection over `b`.
//! 3. A connection's key is `mix(seed, id)`. Message `j` of it has the generator xoshiro256++ (Blackman and Vigna),
//!    seeded with four successive outputs of SplitMix64 that starts at `mix(key, j)`. So any message is reached without
//!    the ones before it, and what is drawn for one changes nothing in another.
//! 4. [`below`](crate::random::below) makes a number in a range of a word. Each draw takes exactly one word.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::random::{GOLDEN_GAMMA, LCG_MULTIPLIER, finalize, split_mix};

/// Rule 2.
pub(super) fn mix(a: u64, b: u64) -> u64 {
    finalize(finalize(a.wrapping_add(GOLDEN_GAMMA)) ^ b.wrapping_mul(LCG_MULTIPLIER).wrapping_add(GOLDEN_GAMMA))
}

/// A sequence of random words.
#[derive(Clone, Debug)]
pub(super) struct RandomWords(Xoshiro256PlusPlus);

impl RandomWords {
    /// The words of message `message` of the connection with this key: rule 3.
    pub(super) fn of_message(key: u64, message: u64) -> Self {
        let mut state = mix(key, message);
        let mut seed = [0; 32];
        for word in seed.chunks_exact_mut(8) {
            word.copy_from_slice(&split_mix(&mut state).to_le_bytes());
        }
        RandomWords(Xoshiro256PlusPlus::from_seed(seed))
    }

    /// The next word.
    pub(super) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_of_a_message_never_change() {
        let key = mix(42, 7);
        let mut words = RandomWords::of_message(key, 3);
        // Computed by a second program, in another language, from the rules above alone.
        assert_eq!(key, 0xe111_c52f_bbe0_3811);
        assert_eq!(
            [words.next(), words.next(), words.next()],
            [0x8356_0d88_7eb7_2851, 0x6f1f_b767_3178_3c90, 0xa710_e1cd_782a_4f34]
        );
    }

    #[test]
    fn neighbouring_seeds_connections_and_messages_share_nothing() {
        let first = |seed, conn, message| RandomWords::of_message(mix(seed, conn), message).next();
        let mut all: Vec<u64> = Vec::new();
        for seed in 0..10 {
            for conn in 0..10 {
                all.extend((0..10).map(|message| first(seed, conn, message)));
            }
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1000);
    }
}
