//! Where in a connection's stream a fault is due: a sequence of offsets, drawn from the seed, the fault's number on the
//! command line and the connection's number alone. The same connection therefore meets the same faults in every run.
//! Pure.

use super::spec::Fault;
use crate::random::{self, GOLDEN_GAMMA, LCG_MULTIPLIER};

/// Mean distance between the places of a fault without `at` and `every`, in bytes.
const DEFAULT_EVERY_BYTES: u64 = 256 << 10;
/// A fault that ends its connection, without `at`, does so at an offset below this.
const MAX_DRAWN_END_OFFSET: u64 = 64 << 10;

/// A number drawn from the seed and from words that say what it is for: the finalizer of SplitMix64 over each word in
/// turn.
pub(super) fn draw(seed: u64, purpose: &[u64]) -> u64 {
    purpose.iter().fold(seed, |state, word| {
        random::finalize(state.wrapping_add(GOLDEN_GAMMA) ^ word.wrapping_mul(LCG_MULTIPLIER))
    })
}

/// A number drawn below `n`, which is not 0.
pub(super) fn draw_below(seed: u64, purpose: &[u64], n: u64) -> u64 {
    random::below(draw(seed, purpose), n)
}

/// The places of one fault on one connection, in order.
#[derive(Clone, Debug)]
pub(super) struct FaultSchedule {
    fault: Fault,
    key: u64,
    /// The number of the place after `next`.
    number: u64,
    next: Option<u64>,
    injected: u64,
}

impl FaultSchedule {
    /// The places of the fault with this number on the command line, on this connection.
    pub(super) fn new(fault: &Fault, number: usize, seed: u64, conn: u64) -> FaultSchedule {
        let key = draw(seed, &[number as u64, conn]);
        let mut schedule = FaultSchedule { fault: fault.clone(), key, number: 0, next: None, injected: 0 };
        if fault.is_placed() && fault.conn.is_none_or(|only| only == conn) {
            schedule.advance();
        }
        schedule
    }

    /// The next place at or after `offset`; earlier ones are skipped.
    pub(super) fn next(&mut self, offset: u64) -> Option<u64> {
        while self.next.is_some_and(|next| next < offset) {
            self.advance();
        }
        self.next
    }

    /// Moves on from the place that [`next`](Self::next) returned; `injected` says whether the fault happened there.
    pub(super) fn done(&mut self, injected: bool) {
        self.injected += u64::from(injected);
        self.advance();
    }

    fn advance(&mut self) {
        self.next = None;
        if self.fault.times.is_some_and(|times| self.injected >= times) {
            return;
        }
        while let Some(place) = self.place(self.number) {
            self.number += 1;
            if self.fault.happens(self.key, self.number) {
                self.next = Some(place);
                return;
            }
        }
    }

    /// The place with this number, before the fault's probability decides on it. Successive places are at least half of
    /// `every` apart.
    fn place(&self, number: u64) -> Option<u64> {
        let drawn = |below: u64| draw_below(self.key, &[number, 1], below.max(1));
        let fault = &self.fault;
        let only = |place| (number == 0).then_some(place);
        match (fault.at, fault.every) {
            (Some(at), None) => only(at),
            (None, None) if fault.ends_connection() => only(drawn(MAX_DRAWN_END_OFFSET)),
            (Some(at), Some(_)) if number == 0 => Some(at),
            (at, every) => {
                let every = every.unwrap_or(DEFAULT_EVERY_BYTES.max(4 * fault.reach()));
                let place = number.checked_mul(every)?.checked_add(every / 4 + drawn(every / 2))?;
                // After a given first place, each further one lies around a whole number of intervals behind it.
                at.map_or(Some(place), |at| place.checked_add(at)?.checked_sub(every / 2))
            }
        }
    }
}

impl Fault {
    /// Whether the fault's probability selects the place with this number.
    pub(super) fn happens(&self, key: u64, number: u64) -> bool {
        draw_below(key, &[number, 2], 1_000_000) < u64::from(self.millionths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(spec: &str, seed: u64, conn: u64, most: usize) -> Vec<u64> {
        let mut schedule = FaultSchedule::new(&spec.parse().expect(spec), 0, seed, conn);
        let mut places = Vec::new();
        while let Some(place) = schedule.next(0).filter(|_| places.len() < most) {
            places.push(place);
            schedule.done(true);
        }
        places
    }

    #[test]
    fn a_given_place_is_the_only_one_and_only_on_its_connection() {
        assert_eq!(places("drop:at=65536,conn=7", 1, 7, 9), [65536]);
        assert!(places("drop:at=65536,conn=7", 1, 8, 9).is_empty());
        assert_eq!(places("reset:at=0", 1, 8, 9), [0]);
    }

    #[test]
    fn each_interval_holds_one_place_at_least_half_an_interval_from_the_next() {
        for seed in 0..20 {
            for spec in ["flip:every=1000", "flip:every=1000,at=5000"] {
                let places = places(spec, seed, 3, 200);
                assert_eq!(places.len(), 200);
                assert!(places.windows(2).all(|two| (500..=1500).contains(&(two[1] - two[0]))), "{spec}: {places:?}");
                if spec.contains("at") {
                    assert_eq!(places[0], 5000);
                } else {
                    let interval = |(n, place): (usize, &u64)| *place / 1000 == n as u64;
                    assert!(places.iter().enumerate().all(interval), "{places:?}");
                }
            }
        }
    }

    #[test]
    fn places_depend_on_the_seed_and_the_connection_and_on_nothing_else() {
        let of = |seed, conn| places("flip:every=1000", seed, conn, 50);
        assert_eq!(of(1, 2), of(1, 2));
        assert_ne!(of(1, 2), of(1, 3));
        assert_ne!(of(1, 2), of(2, 2));
    }

    #[test]
    fn times_and_probability_reduce_the_number_of_places() {
        assert_eq!(places("flip:every=1000,times=3", 1, 2, 50).len(), 3);
        let dense = places("flip:every=1000", 1, 2, 4000).last().copied().expect("4000 places");
        let sparse = places("flip:every=1000,p=0.25", 1, 2, 1000).last().copied().expect("1000 places");
        assert!(
            (3_500_000..4_500_000).contains(&dense) && (3_500_000..4_500_000).contains(&sparse),
            "{dense} {sparse}"
        );
        let hit = (0..1000).filter(|conn| !places("reset:p=0.1", 1, *conn, 9).is_empty()).count();
        assert!((70..130).contains(&hit), "{hit} of 1000 connections");
    }

    #[test]
    fn faults_that_happen_at_the_end_or_at_each_receive_have_no_place() {
        for spec in ["no-fin", "stale", "surplus", "limit-64", "one-at-a-time", "fin-without-drain"] {
            assert!(places(spec, 1, 2, 5).is_empty(), "{spec}");
        }
        assert!(!places("surplus:every=1000", 1, 2, 5).is_empty());
        assert_eq!(places("surplus:at=1000", 1, 2, 5), [1000]);
    }
}
