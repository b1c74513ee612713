//! Whether two servers differ, by the same figure of each in several rounds: the ratio, its interval, and whether the
//! rounds show a difference at all. Pure.
//!
//! **The interval** goes from the lowest round of the one over the highest of the other to the reverse. So it holds
//! every ratio that two rounds give, and it holds 1 exactly when the rounds of both overlap. Then no difference is
//! shown. The rule needs no distribution, and no round counts more than another: if two servers are equal, every order
//! of their rounds is equally likely, and of the C(n+m, n) orders of n and m rounds only two do not overlap
//! ([`chance_of_a_false_difference`]): 1 in 10 with three rounds of each, 1 in 126 with five. It is the rank-sum test
//! of Wilcoxon at its strictest ('Individual Comparisons by Ranking Methods', Biometrics Bulletin 1, 1945).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::measure::Spread;

/// With fewer rounds than this, equal servers would seem to differ too often: in 1 of 3 comparisons of two rounds.
const FEWEST_ROUNDS: u64 = 3;

/// Whether the rounds of two servers show a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// Every round of one server is above every round of the other
    Shown,
    /// The rounds of both overlap
    NotShown,
    /// There are fewer than three rounds of one of them
    TooFewRounds,
}

/// How a figure of one server relates to that of another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Ratio {
    /// The median of the rounds over the median of the other server's.
    pub value: f64,
    /// The lowest ratio that two rounds give.
    pub low: f64,
    /// The highest ratio that two rounds give.
    pub high: f64,
    /// Whether the rounds show a difference.
    pub difference: Difference,
}

impl Ratio {
    /// The ratio of a figure to that of another server. `None` if a round of the other server has none above 0.
    pub fn of(figure: &Spread, other: &Spread) -> Option<Ratio> {
        if other.min.min(figure.min) <= 0.0 {
            return None;
        }
        let difference = match figure.rounds.min(other.rounds) {
            0..FEWEST_ROUNDS => Difference::TooFewRounds,
            _ if figure.min > other.max || figure.max < other.min => Difference::Shown,
            _ => Difference::NotShown,
        };
        Some(Ratio {
            value: figure.median / other.median,
            low: figure.min / other.max,
            high: figure.max / other.min,
            difference,
        })
    }
}

/// How likely the rounds of two equal servers do not overlap, which would seem to be a difference.
pub fn chance_of_a_false_difference(rounds: u64, others: u64) -> f64 {
    let orders: f64 = (1..=others).map(|n| (rounds + n) as f64 / n as f64).product();
    (2.0 / orders).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spread(values: &[f64]) -> Spread {
        Spread::of(values.iter().copied().map(Some)).expect("there are values")
    }

    fn ratio(values: &[f64], others: &[f64]) -> Option<Ratio> {
        Ratio::of(&spread(values), &spread(others))
    }

    #[test]
    fn rounds_that_overlap_show_no_difference() {
        let seen = |values: &[f64], others: &[f64]| ratio(values, others).map(|ratio| ratio.difference);
        assert_eq!(seen(&[2.1, 2.0, 2.2], &[1.0, 1.1, 0.9]), Some(Difference::Shown));
        assert_eq!(seen(&[0.9, 1.1, 1.0], &[2.2, 2.0, 2.1]), Some(Difference::Shown));
        assert_eq!(seen(&[2.1, 2.0, 1.1], &[1.0, 1.1, 0.9]), Some(Difference::NotShown), "one round is as fast");
        assert_eq!(seen(&[9.0, 9.0], &[1.0, 1.1, 0.9]), Some(Difference::TooFewRounds));
        assert_eq!(seen(&[9.0, 9.0, 9.0], &[1.0]), Some(Difference::TooFewRounds));
    }

    #[test]
    fn the_interval_is_that_of_any_two_rounds() {
        let ratio = ratio(&[2.0, 4.0, 3.0], &[1.0, 2.0, 1.5]).expect("all are above 0");
        assert_eq!((ratio.value, ratio.low, ratio.high), (2.0, 1.0, 4.0));
    }

    #[test]
    fn a_round_without_a_figure_gives_no_ratio() {
        assert_eq!((ratio(&[1.0, 1.0], &[0.0, 1.0]), ratio(&[0.0], &[1.0])), (None, None));
    }

    /// All orders in which three rounds of two equal servers can come, of which each is equally likely.
    #[test]
    fn the_chance_of_a_false_difference_is_what_counting_all_orders_says() {
        let (mut orders, mut shown) = (0, 0);
        for own in 0u32..64 {
            if own.count_ones() != 3 {
                continue;
            }
            let (a, b): (Vec<u32>, Vec<u32>) = (0..6).partition(|rank| own >> rank & 1 == 1);
            let values = |ranks: &[u32]| ranks.iter().map(|rank| f64::from(rank + 1)).collect::<Vec<_>>();
            orders += 1;
            shown += u32::from(ratio(&values(&a), &values(&b)).map(|r| r.difference) == Some(Difference::Shown));
        }
        assert_eq!((orders, shown), (20, 2));
        assert!((chance_of_a_false_difference(3, 3) - 0.1).abs() < 1e-12);
        assert!((chance_of_a_false_difference(5, 5) - 1.0 / 126.0).abs() < 1e-12);
        assert!((chance_of_a_false_difference(5, 3) - chance_of_a_false_difference(3, 5)).abs() < 1e-12);
        assert_eq!(chance_of_a_false_difference(0, 3), 1.0);
    }

    fn rounds() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(0.1f64..1e6, 3..8)
    }

    proptest! {
        #[test]
        fn the_ratio_is_within_its_interval_which_holds_1_if_no_difference_is_shown(a in rounds(), b in rounds()) {
            let ratio = ratio(&a, &b).expect("all are above 0");
            prop_assert!(ratio.low <= ratio.value * (1.0 + 1e-9) && ratio.value <= ratio.high * (1.0 + 1e-9));
            let holds_1 = ratio.low <= 1.0 && 1.0 <= ratio.high;
            prop_assert_eq!(holds_1, ratio.difference == Difference::NotShown);
        }

        #[test]
        fn seen_from_the_other_server_the_ratio_is_the_inverse(a in rounds(), b in rounds()) {
            let (there, back) = (ratio(&a, &b).expect("above 0"), ratio(&b, &a).expect("above 0"));
            prop_assert_eq!(there.difference, back.difference);
            prop_assert!((there.value * back.value - 1.0).abs() < 1e-9);
            prop_assert!((there.low * back.high - 1.0).abs() < 1e-9);
        }

        #[test]
        fn the_unit_and_the_order_of_the_rounds_do_not_matter(a in rounds(), b in rounds(), unit in 0.5f64..2e3) {
            let in_unit = |values: &[f64]| values.iter().rev().map(|value| value * unit).collect::<Vec<_>>();
            let (one, other) = (ratio(&a, &b).expect("above 0"), ratio(&in_unit(&a), &in_unit(&b)).expect("above 0"));
            prop_assert!((one.value / other.value - 1.0).abs() < 1e-9 && (one.low / other.low - 1.0).abs() < 1e-9);
        }

        #[test]
        fn a_difference_is_shown_exactly_when_the_rounds_are_apart(a in rounds(), b in rounds()) {
            let apart = a.iter().all(|x| b.iter().all(|y| x > y)) || a.iter().all(|x| b.iter().all(|y| x < y));
            let shown = ratio(&a, &b).map(|ratio| ratio.difference) == Some(Difference::Shown);
            prop_assert_eq!(apart, shown);
        }
    }
}
