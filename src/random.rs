//! Repeatable numbers from a seed: SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
//! OOPSLA 2014). The stream, the plans and the faulty server each build on it.
//!
//! It is a leaf so that the servers may use it: they must never import `stream`, and nothing here tells them the bytes
//! of a stream. A change here would give every seed another meaning.

/// The increment of the state from one output to the next: 2^64 divided by the golden ratio, made odd.
pub const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A multiplier whose products differ in their upper bits for neighbouring factors (Steele and Vigna, "Computationally
/// easy, spectrally good multipliers for congruential pseudorandom number generators", 2021).
pub const LCG_MULTIPLIER: u64 = 0xd134_2543_de82_ef95;

/// The first multiplier of [`finalize`].
pub const FIRST_MULTIPLIER: u64 = 0xbf58_476d_1ce4_e5b9;

const SECOND_MULTIPLIER: u64 = 0x94d0_49bb_1331_11eb;

/// The finalizer of SplitMix64 (constants: Stafford's variant 13): a bijection whose result depends on every bit of
/// `z`.
#[inline]
pub const fn finalize(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(FIRST_MULTIPLIER);
    z = (z ^ (z >> 27)).wrapping_mul(SECOND_MULTIPLIER);
    z ^ (z >> 31)
}

/// The next output of the generator SplitMix64.
#[inline]
pub const fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(GOLDEN_GAMMA);
    finalize(*state)
}

/// The number in `0..n` that a random word selects: the high half of the 128-bit product `word * n`. `n` must not be 0.
///
/// It rejects nothing, so each draw takes exactly one word and sequences stay aligned. The bias is at most `n / 2^64`.
#[inline]
pub const fn below(word: u64, n: u64) -> u64 {
    ((word as u128 * n as u128) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outputs_are_those_of_the_reference_implementation() {
        // Vigna's splitmix64.c, from the state 1234567.
        let mut state = 1_234_567;
        let outputs = [(); 3].map(|()| split_mix(&mut state));
        assert_eq!(outputs, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn below_reaches_both_ends_and_never_the_limit() {
        for n in [1, 2, 3, 1000, 1 << 43, u64::MAX] {
            assert_eq!(below(0, n), 0);
            assert_eq!(below(u64::MAX, n), n - 1);
        }
    }
}
