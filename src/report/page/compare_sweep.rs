//! A sweep as plots: for each figure a line for each server along the axis, with the interval of its rounds at each
//! value.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::axis::{Mark, Scale};
use super::drawn::{better, capitalized, drawn_quantity};
use super::frame::{Frame, SIDE, curve};
use crate::measure::Spread;
use crate::report::compare::{CompareReport, SweepAxis};
use crate::report::compare_figures::{Figure, main_figures};

/// The classes of the lines, in the order of the servers.
const CLASSES: [&str; 8] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];
/// Values that are further apart than this stand on a logarithmic axis.
const FAR_APART: f64 = 10.0;
/// How much of the axis is left free at both ends.
const MARGIN: f64 = 0.05;

/// The plots.
pub(super) fn render(report: &CompareReport, sweep: &SweepAxis) -> Markup {
    html! {
        h2 { "Along " (sweep.axis) }
        div.side-by-side { @for figure in main_figures(report.compared_by) { (plot(report, sweep, figure)) } }
    }
}

/// The place of each point on the axis: by its number, or at equal distances if one of them is none.
fn places(numbers: &[Option<f64>]) -> Vec<f64> {
    let known: Option<Vec<f64>> = numbers.iter().copied().collect();
    let (least, most) = numbers.iter().flatten().fold((f64::MAX, f64::MIN), |(a, b), n| (a.min(*n), b.max(*n)));
    let steps: Vec<f64> = match known {
        Some(numbers) if least > 0.0 && most > least => {
            let place = |n: f64| match most / least >= FAR_APART {
                true => (n / least).ln() / (most / least).ln(),
                false => (n - least) / (most - least),
            };
            numbers.into_iter().map(place).collect()
        }
        _ => (0..numbers.len()).map(|n| n as f64 / (numbers.len().max(2) - 1) as f64).collect(),
    };
    steps.into_iter().map(|step| MARGIN + step * (1.0 - 2.0 * MARGIN)).collect()
}

/// A line for each server; nothing if no server has the figure.
fn plot(report: &CompareReport, sweep: &SweepAxis, figure: Figure) -> Markup {
    let (quantity, unit) = drawn_quantity(figure);
    let spreads = |name: &str| -> Vec<Option<Spread>> {
        let own = |point: &crate::report::compare::ComparePoint| {
            point.contenders.iter().find(|contender| contender.name == name)?.figure(figure)
        };
        report.points.iter().map(own).collect()
    };
    let drawn: Vec<(&str, &str, Vec<Option<Spread>>)> = report
        .names()
        .into_iter()
        .zip(CLASSES.iter().cycle())
        .map(|(name, class)| (name, *class, spreads(name)))
        .filter(|(_, _, spreads)| spreads.iter().any(Option::is_some))
        .collect();
    if drawn.is_empty() {
        return html! {};
    }
    let most = drawn.iter().flat_map(|(_, _, spreads)| spreads.iter().flatten()).map(|s| s.max).fold(0.0, f64::max);
    let up = Scale::linear(most * unit, quantity);
    let places = places(&report.points.iter().map(|point| point.number).collect::<Vec<_>>());
    let mark = |(point, place): (&crate::report::compare::ComparePoint, &f64)| Mark {
        place: *place,
        text: point.value.clone().unwrap_or_default(),
    };
    let across = Scale::of_marks(report.points.iter().zip(&places).map(mark).collect());
    let key: Vec<(&str, &str)> = drawn.iter().map(|(name, class, _)| (*class, *name)).collect();
    let title = format!("{} ({})", capitalized(figure.title()), better(figure));
    let frame = Frame {
        title: &title,
        sentence: format!("{} along {}, at most {}", figure.title(), sweep.axis, figure.quantity().show(most)),
        key: &key,
        across: &across,
        up: &up,
        events: &[],
    };
    let height = |value: f64| up.place(value * unit);
    frame.around(&html! {
        @for (_, class, spreads) in &drawn {
            @let points = || spreads.iter().zip(&places);
            path.line.(class) d=(curve(points().map(|(spread, place)| Some((*place, height((*spread)?.median)))))) {}
            @let known = points().filter_map(|(spread, place)| Some((*place, (*spread)?)));
            path.span.(class) d=(intervals(known, height)) {}
        }
    })
}

/// A thin upright line from the least to the greatest round at each value.
fn intervals(spreads: impl Iterator<Item = (f64, Spread)>, height: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    for (place, spread) in spreads {
        let y = |value| SIDE * (1.0 - height(value));
        let _ = write!(path, "M{:.1} {:.1}V{:.1}", SIDE * place, y(spread.min), y(spread.max));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::compare::tests::swept;

    #[test]
    fn values_stand_at_their_numbers_and_far_ones_by_their_logarithm() {
        let rounded = |numbers: &[Option<f64>]| -> Vec<f64> {
            places(numbers).iter().map(|place| (place * 1000.0).round() / 1000.0).collect()
        };
        assert_eq!(rounded(&[Some(10.0), Some(100.0), Some(1000.0)]), [0.05, 0.5, 0.95]);
        assert_eq!(rounded(&[Some(1.0), Some(2.0), Some(5.0)]), [0.05, 0.275, 0.95]);
        assert_eq!(rounded(&[None, Some(2.0), Some(500.0)]), [0.05, 0.5, 0.95]);
        assert_eq!(rounded(&[Some(7.0)]), [0.05]);
    }

    #[test]
    fn each_server_has_a_line_and_an_interval_at_each_value() {
        let report = swept(&["10", "100"]);
        let sweep = report.sweep.clone().expect("it is a sweep");
        let page = plot(&report, &sweep, Figure::MessagesPerS).into_string();
        assert_eq!(page.matches("class=\"line s").count(), 2, "{page}");
        let spans = page.split("class=\"span s0\" d=\"").nth(1).and_then(|rest| rest.split('"').next());
        assert_eq!(spans.map(|path| path.matches('V').count()), Some(2), "{page}");
        assert!(page.contains("round trips along conns, at most 110/s"), "{page}");
        assert!(page.contains(">10</span>") && page.contains(">100</span>"), "{page}");
        assert_eq!(plot(&report, &sweep, Figure::SystemCallsPerMessage).into_string(), "", "it is not known");
    }
}
