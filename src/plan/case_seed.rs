//! The seed of a case of a suite. Cases with one seed would send the same bytes, and what a server still holds of an
//! earlier case would look right.

use crate::random::{GOLDEN_GAMMA, finalize};

/// The seed of a case, from the seed of its suite and what tells it from the others. The same two always give the same
/// seed, so a case that runs alone sends what it sends in its suite.
pub fn case_seed(suite_seed: u64, case: &str) -> u64 {
    let absorb = |state: u64, byte: u8| finalize(state.wrapping_add(GOLDEN_GAMMA) ^ u64::from(byte));
    case.bytes().fold(finalize(suite_seed), absorb)
}

/// The seed of what the backend sends, from the seed of the run: each direction is a stream of its own.
pub fn backend_seed(seed: u64) -> u64 {
    case_seed(seed, "backend")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_its_own_seed_under_every_seed_of_the_suite() {
        let names = ["", "1.1", "1.2", "2.1", "11", "1.1 "];
        let seeds = (0..100).flat_map(|seed| names.map(|name| case_seed(seed, name)));
        assert_eq!(seeds.collect::<BTreeSet<u64>>().len(), 600);
        assert_eq!(case_seed(7, "3.2"), case_seed(7, "3.2"));
    }
}
