//! How a size is drawn: the forms that `size` and `fragment` take.
//!
//! | form | draws |
//! | --- | --- |
//! | `64`, `16KiB` | always this |
//! | `1..16KiB` | uniformly, both ends included |
//! | `log:1..1MiB` | log-uniformly: as often between 1 and 2 as between 512 KiB and 1 MiB |
//! | `edges:1000,1024` | one below, at, or one above each: 999, 1000, 1001, 1023, 1024, 1025 |
//! | `pick:1,64,1460` | one of these |
//! | `each:1..2048`, `each:1,64`, `each:edges:64,512` | every value in order, then from the start again |

use std::fmt;
use std::str::FromStr;

use super::log2::{exp2, log2};
use crate::random::below;
use crate::units::text::{Form, TextForm, pattern, remedy, text_form};
use crate::units::{Bytes, ParseError, range as ranges};

/// The greatest size that a distribution may hold: 1 TiB.
pub const MAX_SIZE: u64 = 1 << 40;

/// How sizes in bytes are drawn. Never draws 0, nor more than [`MAX_SIZE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    values: Values,
    order: Order,
}

/// The values that can be drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    /// From the first to the second, both included.
    Range(u64, u64),
    /// Each of these, and one below and one above each.
    Edges(Vec<u64>),
    /// Each of these.
    List(Vec<u64>),
}

/// Which of the values comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    /// Any, equally likely.
    Uniform,
    /// A range, log-uniformly: the logarithm of its start, and the distance to that of its end (fixed point).
    Log { start: u64, distance: u64 },
    /// One after another.
    Each,
}

impl Values {
    fn len(&self) -> u64 {
        match self {
            Values::Range(low, high) => high - low + 1,
            Values::Edges(edges) => edges.len() as u64 * 3,
            Values::List(list) => list.len() as u64,
        }
    }

    fn nth(&self, i: u64) -> u64 {
        match self {
            Values::Range(low, _) => low + i,
            Values::Edges(edges) => edges[(i / 3) as usize] + i % 3 - 1,
            Values::List(list) => list[i as usize],
        }
    }

    fn max(&self) -> u64 {
        match self {
            Values::Range(_, high) => *high,
            Values::Edges(edges) => edges.iter().max().map_or(1, |edge| edge + 1),
            Values::List(list) => list.iter().copied().max().unwrap_or(1),
        }
    }
}

impl Distribution {
    /// Always this size. Errors: 0, or more than [`MAX_SIZE`].
    pub fn fixed(size: u64) -> Result<Self, ParseError> {
        Self::uniform(size, size)
    }

    /// From `low` to `high`, both included, equally likely. Errors: empty, 0, or more than [`MAX_SIZE`].
    pub fn uniform(low: u64, high: u64) -> Result<Self, ParseError> {
        Ok(Distribution { values: range(low, high)?, order: Order::Uniform })
    }

    /// The greatest size that can be drawn.
    pub fn max(&self) -> u64 {
        self.values.max()
    }

    /// Whether every draw is the same.
    pub(super) fn is_fixed(&self) -> bool {
        matches!((&self.values, &self.order), (Values::Range(low, high), Order::Uniform) if low == high)
    }

    /// The size that a random word selects. `ordinal` counts the draws from 0; only `each:` uses it.
    pub(super) fn at(&self, word: u64, ordinal: u64) -> u64 {
        match self.order {
            Order::Uniform => self.values.nth(below(word, self.values.len())),
            Order::Each => self.values.nth(ordinal % self.values.len()),
            Order::Log { start, distance } => {
                let size = exp2(start + below(word, distance));
                // Rounding down can end one below the first value, and the last value is the top of its own interval.
                let Values::Range(low, high) = self.values else { return size };
                size.clamp(low, high)
            }
        }
    }
}

fn size_in_bounds(size: u64) -> Result<u64, ParseError> {
    match size {
        0 => Err(ParseError::new("a size of 0 sends nothing").with_remedy("the smallest is 1")),
        1..=MAX_SIZE => Ok(size),
        _ => Err(ParseError::new(format!("{} is too large", Bytes(size)))
            .with_remedy(format!("at most {}", Bytes(MAX_SIZE)))),
    }
}

fn range(low: u64, high: u64) -> Result<Values, ParseError> {
    size_in_bounds(low)?;
    size_in_bounds(high)?;
    if low > high {
        let (low, high) = (Bytes(low), Bytes(high));
        return Err(ParseError::new(format!("the range {low}..{high} is empty"))
            .with_remedy(format!("did you mean {high}..{low}?")));
    }
    Ok(Values::Range(low, high))
}

/// Parses one size of the list or range `whole`.
fn size(text: &str, whole: &str) -> Result<u64, ParseError> {
    let text = text.trim();
    if whole.trim().is_empty() {
        return Err(ParseError::new("there is no size").with_remedy("write one after the colon, such as 64 or 1KiB"));
    }
    if text.is_empty() {
        return Err(ParseError::new(format!("a size is missing in {whole}")));
    }
    let bytes: Bytes = text.parse().map_err(|error: ParseError| error.in_part(text))?;
    size_in_bounds(bytes.0)
}

fn list(text: &str) -> Result<Vec<u64>, ParseError> {
    text.split(',').map(|part| size(part, text)).collect()
}

fn edges(text: &str) -> Result<Values, ParseError> {
    let edges = list(text)?;
    if edges.contains(&1) {
        return Err(ParseError::new("edges:1 would send a size of 0").with_remedy("the smallest edge is 2"));
    }
    for edge in &edges {
        size_in_bounds(edge + 1)?;
    }
    Ok(Values::Edges(edges))
}

fn values(text: &str) -> Result<Values, ParseError> {
    match text.split_once("..") {
        Some((low, high)) => range(size(low, text)?, size(high, text)?),
        None => match ranges::with_hyphen(text) {
            Some(error) => Err(error),
            None => list(text).map(Values::List),
        },
    }
}

impl FromStr for Distribution {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let (values, order) = match text.split_once(':') {
            None if !text.starts_with(|first: char| first.is_ascii_digit()) => {
                return Err(ParseError::new(format!("{text} is not a size")).with_remedy(remedy::<Distribution>()));
            }
            None => match values(text)? {
                Values::List(list) if list.len() == 1 => return Self::fixed(list[0]),
                Values::List(_) => {
                    return Err(ParseError::new(format!("{text} is a list"))
                        .with_remedy(format!("write pick:{text} or each:{text}")));
                }
                range => (range, Order::Uniform),
            },
            Some(("log", rest)) => match values(rest)? {
                Values::Range(low, high) => (Values::Range(low, high), log_order(low, high)),
                _ => return Err(ParseError::new(format!("log: takes a range such as log:1..1MiB, not {rest}"))),
            },
            Some(("edges", rest)) => (edges(rest)?, Order::Uniform),
            Some(("pick", rest)) => (Values::List(list(rest)?), Order::Uniform),
            Some(("each", rest)) => match rest.strip_prefix("edges:") {
                Some(rest) => (edges(rest)?, Order::Each),
                None => (values(rest)?, Order::Each),
            },
            Some((kind, _)) => {
                return Err(ParseError::new(format!("{kind}: is not a kind of distribution"))
                    .with_remedy(remedy::<Distribution>()));
            }
        };
        Ok(Distribution { values, order })
    }
}

/// The last value takes a whole interval, [high, high + 1), as every other does.
fn log_order(low: u64, high: u64) -> Order {
    let start = log2(low);
    Order::Log { start, distance: log2(high + 1) - start }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.order, &self.values) {
            (Order::Log { .. }, _) => "log:",
            (Order::Each, Values::Edges(_)) => "each:edges:",
            (Order::Each, _) => "each:",
            (Order::Uniform, Values::Edges(_)) => "edges:",
            (Order::Uniform, Values::List(_)) => "pick:",
            (Order::Uniform, Values::Range(..)) => "",
        })?;
        match &self.values {
            Values::Range(low, high) if low == high && self.order == Order::Uniform => write!(f, "{}", Bytes(*low)),
            Values::Range(low, high) => write!(f, "{}..{}", Bytes(*low), Bytes(*high)),
            Values::Edges(list) | Values::List(list) => {
                for (i, size) in list.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { "," }, Bytes(*size))?;
                }
                Ok(())
            }
        }
    }
}

impl TextForm for Distribution {
    const WHAT: &'static str = "a size such as";

    fn forms() -> Vec<Form> {
        let size = pattern::<Bytes>();
        let range = format!(r"\s*{size}\s*\.\.\s*{size}");
        let list = format!(r"\s*{size}(\s*,\s*{size})*");
        vec![
            Form::new("64", size),
            Form::new("1..16KiB", &range).meaning("uniform"),
            Form::new("log:1..1MiB", format!("log:{range}")).meaning("log-uniform"),
            Form::new("edges:1000,1024", format!("edges:{list}")).meaning("each ±1"),
            Form::new("pick:1,64,1460", format!("pick:{list}")).meaning("one of these"),
            Form::new("each:1..2048", format!("each:({range}|{list})")).meaning("in order"),
            Form::new("each:edges:64,512", format!("each:edges:{list}")),
        ]
    }
}

text_form!(Distribution);

#[cfg(test)]
mod tests {
    use super::super::draw::RandomWords;
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Distribution {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refusal(text: &str) -> String {
        text.parse::<Distribution>().expect_err(text).to_string()
    }

    fn draws(text: &str, n: u64) -> Vec<u64> {
        let distribution = parse(text);
        let mut words = RandomWords::of_message(1, 2);
        (0..n).map(|i| distribution.at(words.next(), i)).collect()
    }

    /// Every value that is drawn in many draws.
    fn drawn(text: &str) -> Vec<u64> {
        let mut values = draws(text, 10_000);
        values.sort_unstable();
        values.dedup();
        values
    }

    #[test]
    fn each_form_draws_its_values_and_no_others() {
        assert_eq!(drawn("64"), [64]);
        assert_eq!(drawn("1..5"), [1, 2, 3, 4, 5]);
        assert_eq!(drawn("log:1..5"), [1, 2, 3, 4, 5]);
        assert_eq!(drawn("edges:10,1KiB"), [9, 10, 11, 1023, 1024, 1025]);
        assert_eq!(drawn("pick:1,64,1460"), [1, 64, 1460]);
        assert_eq!(drawn("each:7..9"), [7, 8, 9]);
    }

    #[test]
    fn each_draws_its_values_in_order_and_starts_again() {
        assert_eq!(draws("each:7..9", 7), [7, 8, 9, 7, 8, 9, 7]);
        assert_eq!(draws("each:5,1,3", 4), [5, 1, 3, 5]);
        assert_eq!(draws("each:edges:64,512", 6), [63, 64, 65, 511, 512, 513]);
    }

    #[test]
    fn the_extreme_words_select_the_ends_of_a_range() {
        for text in ["1..16KiB", "log:1..1MiB", "log:3..1TiB", "log:5..5", "log:1TiB..1TiB"] {
            let Values::Range(low, high) = parse(text).values else { panic!("{text} is a range") };
            assert_eq!(parse(text).at(0, 0), low, "{text}");
            assert_eq!(parse(text).at(u64::MAX, 0), high, "{text}");
        }
    }

    #[test]
    fn uniform_is_even_over_the_values_and_log_over_the_powers_of_two() {
        let quarters = draws("1..1024", 40_000).into_iter().fold([0; 4], |mut count, size| {
            count[((size - 1) / 256) as usize] += 1;
            count
        });
        assert!(quarters.iter().all(|&n| (9_700..10_300).contains(&n)), "{quarters:?}");

        let octaves = draws("log:1..1023", 40_000).into_iter().fold([0; 10], |mut count, size| {
            count[size.ilog2() as usize] += 1;
            count
        });
        assert!(octaves.iter().all(|&n| (3_750..4_250).contains(&n)), "{octaves:?}");
    }

    #[test]
    fn a_refusal_names_what_is_wrong_and_what_to_write() {
        assert_eq!(refusal("9..3"), "the range 9..3 is empty: did you mean 3..9?");
        assert_eq!(refusal("16KiB..1"), "the range 16KiB..1 is empty: did you mean 1..16KiB?");
        assert_eq!(refusal("1-16KiB"), "1-16KiB is not how a range is written: write 1..16KiB");
        assert_eq!(refusal("log:1-16KiB"), refusal("1-16KiB"));
        assert_eq!(refusal("12XB"), "12XB: unknown unit XB of bytes: write 64, 16KiB, 1.5MiB or 2g (2GiB)");
        assert!(refusal("1..16KB").starts_with("16KB: KB is a power of 1000 to some and of 1024 to others: write KiB"));
        assert_eq!(refusal("0"), "a size of 0 sends nothing: the smallest is 1");
        assert_eq!(refusal("0..5"), refusal("0"));
        assert_eq!(refusal("pick:0"), refusal("0"));
        assert_eq!(refusal("edges:1,64"), "edges:1 would send a size of 0: the smallest edge is 2");
        assert_eq!(refusal("2TiB"), "2TiB is too large: at most 1TiB");
        assert_eq!(refusal("edges:1TiB"), "1099511627777 is too large: at most 1TiB");
        assert_eq!(refusal("pick:"), "there is no size: write one after the colon, such as 64 or 1KiB");
        assert_eq!(refusal("1.."), "a size is missing in 1..");
        assert_eq!(refusal("pick:1,,3"), "a size is missing in 1,,3");
        assert_eq!(refusal("1,64"), "1,64 is a list: write pick:1,64 or each:1,64");
        assert_eq!(refusal("log:64"), "log: takes a range such as log:1..1MiB, not 64");
        assert_eq!(
            refusal("zipf:1..9"),
            "zipf: is not a kind of distribution: write 64, 1..16KiB (uniform), log:1..1MiB (log-uniform), \
             edges:1000,1024 (each ±1), pick:1,64,1460 (one of these), each:1..2048 (in order) or each:edges:64,512"
        );
        assert!(refusal("lots").starts_with("lots is not a size: write 64,"));
        assert!(refusal("").starts_with(" is not a size"), "{}", refusal(""));
    }

    fn any_text() -> impl Strategy<Value = String> {
        let sizes = || prop::collection::vec(2u64..1 << 39, 1..5);
        let join = |sizes: Vec<u64>| sizes.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let ends = (1..=MAX_SIZE, 1..=MAX_SIZE).prop_map(|(a, b)| format!("{}..{}", a.min(b), a.max(b)));
        prop_oneof![
            (1..=MAX_SIZE).prop_map(|size| size.to_string()),
            ("|log:|each:", ends).prop_map(|(kind, ends)| format!("{kind}{ends}")),
            ("edges:|pick:|each:|each:edges:", sizes()).prop_map(move |(kind, sizes)| format!("{kind}{}", join(sizes))),
        ]
    }

    proptest! {
        #[test]
        fn the_normal_form_parses_back_to_the_same(text in any_text()) {
            let distribution = parse(&text);
            prop_assert_eq!(&parse(&distribution.to_string()), &distribution);
        }

        #[test]
        fn no_draw_leaves_the_bounds(text in any_text(), word: u64, ordinal: u64) {
            let distribution = parse(&text);
            let size = distribution.at(word, ordinal);
            prop_assert!(size >= 1 && size <= distribution.max() && size <= MAX_SIZE, "{} drew {}", text, size);
        }
    }
}
