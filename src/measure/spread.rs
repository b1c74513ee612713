//! One figure over several rounds: the median, and how far the rounds are apart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Spread {
    /// The median; of an even number of rounds, the mean of the two in the middle.
    pub median: f64,
    /// The minimum.
    pub min: f64,
    /// The maximum.
    pub max: f64,
    /// Of how many rounds.
    pub rounds: u64,
}

impl Spread {
    /// The spread of these values. `None` if there are none, or if one of them is not known.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect::<Option<_>>()?;
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Spread { median, min, max, rounds: values.len() as u64 })
    }

    /// How far the rounds are apart, in per cent of the median.
    pub fn percent(&self) -> f64 {
        if self.median > 0.0 { (self.max - self.min) / self.median * 100.0 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Option<Spread> {
        Spread::of(values.iter().copied().map(Some))
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(of(&[100.0, 140.0, 90.0]), Some(Spread { median: 100.0, min: 90.0, max: 140.0, rounds: 3 }));
        assert_eq!(of(&[300.0, 100.0]), Some(Spread { median: 200.0, min: 100.0, max: 300.0, rounds: 2 }));
        assert_eq!(of(&[50.0, 100.0, 150.0]).map(|spread| spread.percent()), Some(100.0));
    }

    #[test]
    fn what_is_not_known_of_one_round_is_not_known_at_all() {
        assert_eq!((of(&[]), Spread::of([Some(1.0), None])), (None, None));
    }

    proptest! {
        #[test]
        fn the_median_is_between_minimum_and_maximum(values in prop::collection::vec(0.0f64..1e9, 1..20)) {
            let spread = of(&values).expect("there are values");
            prop_assert!(spread.min <= spread.median && spread.median <= spread.max);
            prop_assert!(values.iter().all(|value| (spread.min..=spread.max).contains(value)));
        }
    }
}
