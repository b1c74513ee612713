//! How the figures of a comparison are drawn.

use crate::report::compare_figures::Figure;
use crate::report::quantity::Quantity;

/// What an axis shows of a figure, and by how much its values are multiplied for that.
pub(super) fn drawn_quantity(figure: Figure) -> (Quantity, f64) {
    match figure.quantity() {
        // Marks are whole numbers of a unit, and most times of a figure are parts of a second.
        Quantity::Microseconds => (Quantity::Seconds, 1e-6),
        quantity => (quantity, 1.0),
    }
}

/// Which way a figure is good.
pub(super) fn better(figure: Figure) -> &'static str {
    match figure.quantity() {
        Quantity::PerSecond | Quantity::BytesPerSecond => "more is better",
        _ => "less is better",
    }
}

/// A title at the head of a plot.
pub(super) fn capitalized(title: &str) -> String {
    let mut letters = title.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
