//! From the seed to random words, by arithmetic that is written down here, so that the same seed gives the same plan on
//! every system and with every version of a dependency.
//!
//! 1. `fin` is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
//!    OOPSLA 2014; constants: Stafford's variant 13).
//! 2. `mix(a, b) = fin(fin(a + G) ^ (b * ODD + G))`, with G the golden ratio of 64 bits. For a fixed `a` it is a
//!    bijection over `b`.
//! 3. A connection's key is `mix(seed, id)`, and message `j` of it has the generator xoshiro256++ (Blackman and Vigna),
//!    seeded with four successive outputs of SplitMix64 that starts at `mix(key, j)`. So any message is reached without
//!    the ones before it, and what is drawn for one changes nothing in another.
//! 4. `below(word, n)` is the high half of the 128-bit product `word * n`. No rejection: each draw takes exactly one
//!    word, so streams stay aligned. The bias is at most n / 2^64, below one in two million even for the greatest n
//!    (2^43).

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const ODD: u64 = 0xd134_2543_de82_ef95;

fn fin(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Rule 2.
pub(super) fn mix(a: u64, b: u64) -> u64 {
    fin(fin(a.wrapping_add(GOLDEN)) ^ b.wrapping_mul(ODD).wrapping_add(GOLDEN))
}

/// Rule 4: a number in `0..n`. `n` must not be 0.
pub(super) fn below(word: u64, n: u64) -> u64 {
    ((u128::from(word) * u128::from(n)) >> 64) as u64
}

/// A stream of random words.
#[derive(Clone, Debug)]
pub(super) struct Words(Xoshiro256PlusPlus);

impl Words {
    /// The words of message `message` of the connection with this key: rule 3.
    pub(super) fn of_message(key: u64, message: u64) -> Self {
        let mut state = mix(key, message);
        let mut seed = [0; 32];
        for word in seed.chunks_exact_mut(8) {
            state = state.wrapping_add(GOLDEN);
            word.copy_from_slice(&fin(state).to_le_bytes());
        }
        Words(Xoshiro256PlusPlus::from_seed(seed))
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
    fn the_first_words_of_a_message_are_these_for_ever() {
        let key = mix(42, 7);
        let mut words = Words::of_message(key, 3);
        // Made by a second program, in another language, from the rules above alone.
        assert_eq!(key, 0xe111_c52f_bbe0_3811);
        assert_eq!(
            [words.next(), words.next(), words.next()],
            [0x8356_0d88_7eb7_2851, 0x6f1f_b767_3178_3c90, 0xa710_e1cd_782a_4f34]
        );
    }

    #[test]
    fn below_reaches_both_ends_and_never_the_limit() {
        for n in [1, 2, 3, 1000, 1 << 43, u64::MAX] {
            assert_eq!(below(0, n), 0);
            assert_eq!(below(u64::MAX, n), n - 1);
        }
    }

    #[test]
    fn neighbouring_seeds_connections_and_messages_share_nothing() {
        let first = |seed, conn, message| Words::of_message(mix(seed, conn), message).next();
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
