//! How the figures of a comparison are drawn.

use super::axis::Quantity;
use crate::report::compare_figures::{Figure, Unit};

/// What an axis shows of a figure, and by how much its values are multiplied for that.
pub(super) fn quantity(figure: Figure) -> (Quantity, f64) {
    match figure.unit() {
        Unit::PerSecond => (Quantity::PerSecond, 1.0),
        Unit::BytesPerSecond => (Quantity::BytesPerSecond, 1.0),
        Unit::Nanoseconds => (Quantity::Nanos, 1.0),
        Unit::Microseconds => (Quantity::Seconds, 1e-6),
        Unit::Seconds => (Quantity::Seconds, 1.0),
        Unit::Bytes => (Quantity::Bytes, 1.0),
        Unit::Number => (Quantity::Number, 1.0),
    }
}

/// Which way a figure is good.
pub(super) fn better(figure: Figure) -> &'static str {
    match figure.unit() {
        Unit::PerSecond | Unit::BytesPerSecond => "more is better",
        _ => "less is better",
    }
}

/// A title at the head of a plot.
pub(super) fn capitalized(title: &str) -> String {
    let mut letters = title.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
