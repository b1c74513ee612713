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

use super::draw::below;
use super::log2::{exp2, log2};
use crate::units::Bytes;
use crate::units::text::text_form;

/// The greatest size that a distribution may hold: 1 TiB.
pub const MAX_SIZE: u64 = 1 << 40;

const FORMS: &str = "valid are 64, 1..16KiB, log:1..1MiB, edges:1000,1024, pick:1,64,1460, each:1..2048";

/// How sizes in bytes are drawn. Never draws 0, nor more than [`MAX_SIZE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    values: Values,
    order: Order,
}

/// The values that can come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    /// From the first to the second, both included.
    Range(u64, u64),
    /// Each of these, one below and one above it.
    Edges(Vec<u64>),
    /// Each of these.
    List(Vec<u64>),
}

/// Which of the values comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    /// Any, equally likely.
    Uniform,
    /// A range, log-uniformly: the logarithm of its start, and how far it is to that of its end (fixed point).
    Log { start: u64, span: u64 },
    /// One after the other.
    Each,
}

/// Why a distribution could not be read: what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DistributionError(String);

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
    pub fn fixed(size: u64) -> Result<Self, DistributionError> {
        Self::uniform(size, size)
    }

    /// From `low` to `high`, both included, equally likely. Errors: empty, 0, or more than [`MAX_SIZE`].
    pub fn uniform(low: u64, high: u64) -> Result<Self, DistributionError> {
        Ok(Distribution { values: range(low, high)?, order: Order::Uniform })
    }

    /// The greatest size that can come.
    pub fn max(&self) -> u64 {
        self.values.max()
    }

    /// The size that a random word selects. `ordinal` counts the draws from 0, for `each:`.
    pub(super) fn at(&self, word: u64, ordinal: u64) -> u64 {
        match self.order {
            Order::Uniform => self.values.nth(below(word, self.values.len())),
            Order::Each => self.values.nth(ordinal % self.values.len()),
            Order::Log { start, span } => {
                let size = exp2(start + below(word, span));
                // Rounding down can fall one short of the first value, and the last one is the top of its own interval.
                let Values::Range(low, high) = self.values else { return size };
                size.clamp(low, high)
            }
        }
    }
}

fn size_in_bounds(size: u64) -> Result<u64, DistributionError> {
    match size {
        0 => Err(DistributionError("a size of 0 sends nothing: the smallest is 1".to_owned())),
        1..=MAX_SIZE => Ok(size),
        _ => Err(DistributionError(format!("{} is too large: at most {}", Bytes(size), Bytes(MAX_SIZE)))),
    }
}

fn range(low: u64, high: u64) -> Result<Values, DistributionError> {
    size_in_bounds(low)?;
    size_in_bounds(high)?;
    if low > high {
        let (low, high) = (Bytes(low), Bytes(high));
        return Err(DistributionError(format!("the range {low}..{high} is empty: did you mean {high}..{low}?")));
    }
    Ok(Values::Range(low, high))
}

fn size(text: &str) -> Result<u64, DistributionError> {
    let bytes: Bytes = text.parse().map_err(|error| DistributionError(format!("{}: {error}", text.trim())))?;
    size_in_bounds(bytes.0)
}

fn list(text: &str) -> Result<Vec<u64>, DistributionError> {
    text.split(',').map(size).collect()
}

fn edges(text: &str) -> Result<Values, DistributionError> {
    let edges = list(text)?;
    if edges.contains(&1) {
        return Err(DistributionError("edges:1 would send a size of 0: the smallest edge is 2".to_owned()));
    }
    for edge in &edges {
        size_in_bounds(edge + 1)?;
    }
    Ok(Values::Edges(edges))
}

fn values(text: &str) -> Result<Values, DistributionError> {
    if let Some(rest) = text.strip_prefix("edges:") {
        return edges(rest);
    }
    match text.split_once("..") {
        Some((low, high)) => range(size(low)?, size(high)?),
        None => Ok(Values::List(list(text)?)),
    }
}

impl FromStr for Distribution {
    type Err = DistributionError;

    fn from_str(text: &str) -> Result<Self, DistributionError> {
        let text = text.trim();
        match text.split_once(':') {
            None => match text.split_once("..") {
                Some((low, high)) => Self::uniform(size(low)?, size(high)?),
                None if text.contains(',') => {
                    Err(DistributionError(format!("{text} is a list: write pick:{text} or each:{text}")))
                }
                None => {
                    size(text).and_then(Self::fixed).map_err(|error| DistributionError(format!("{error}; {FORMS}")))
                }
            },
            Some(("log", rest)) => {
                let Some((low, high)) = rest.split_once("..") else {
                    return Err(DistributionError(format!("log: takes a range, not {rest}: for example log:1..1MiB")));
                };
                let values = range(size(low)?, size(high)?)?;
                let Values::Range(low, high) = values else { unreachable!("range() makes ranges") };
                let (start, end) = (log2(low), log2(high + 1));
                Ok(Distribution { values, order: Order::Log { start, span: end - start } })
            }
            Some(("edges", rest)) => Ok(Distribution { values: edges(rest)?, order: Order::Uniform }),
            Some(("pick", rest)) => Ok(Distribution { values: Values::List(list(rest)?), order: Order::Uniform }),
            Some(("each", rest)) => Ok(Distribution { values: values(rest)?, order: Order::Each }),
            Some((kind, _)) => Err(DistributionError(format!("{kind}: is not a kind of distribution: {FORMS}"))),
        }
    }
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

text_form!(
    Distribution,
    "Distribution",
    "a size such as 64, 1..16KiB (uniform), log:1..1MiB (log-uniform), edges:1000,1024 (each ±1), pick:1,64,1460 \
     (one of these) or each:1..2048 (in order)",
    r"^\s*((log|edges|pick|each|each:edges):)?\s*[0-9.]+\s*[A-Za-z]*\s*((,|\.\.)\s*[0-9.]+\s*[A-Za-z]*\s*)*$",
    ["64", "1..16KiB", "log:1..1MiB", "edges:1000,1024,4096", "pick:1,64,1460", "each:1..2048", "each:edges:64,512"]
);
