//! The latencies of a load: a curve over the percentiles for round trips, first bytes and connects, and the table of
//! all numbers.

use maud::{Markup, html};

use super::axis::Scale;
use super::frame::{Frame, curve};
use super::parts::Depth;
use crate::measure::Latency;
use crate::measure::histogram::LatencyReport;
use crate::report::quantity::{Quantity, tells};
use crate::report::run::LoadReport;
use crate::report::text::show_count;

/// Points of a curve for each nine of its percentile.
const POINTS_PER_NINE: u32 = 20;
/// The nines of the right end: p99.99.
const MOST_NINES: f64 = 4.0;
/// Fewer values than this are a table, not a curve.
const FEWEST_VALUES: u64 = 5;

/// One of the latencies of a load.
struct Curve<'l> {
    class: &'static str,
    name: &'static str,
    report: &'l LatencyReport,
    /// All of it, if the report can be read.
    latency: Option<Latency>,
}

/// Plot and table.
pub(super) fn of(load: &LoadReport, depth: Depth) -> Markup {
    let mut rows = vec![
        ("rtt", "round trip", &load.rtt),
        ("first", "first byte", &load.first_byte),
        ("connect", "connect", &load.connect),
    ];
    rows.extend(load.sent_after_due.as_ref().map(|late| ("due", "sent after due", late)));
    let curves: Vec<Curve<'_>> = rows
        .into_iter()
        .map(|(class, name, report)| Curve { class, name, report, latency: Latency::decode(&report.hdr).ok() })
        .collect();
    html! {
        div.side-by-side {
            @if depth == Depth::Whole { (plot(&curves)) }
            (table(&curves))
        }
    }
}

fn plot(curves: &[Curve<'_>]) -> Markup {
    let drawn: Vec<(&Curve<'_>, &Latency)> = curves
        .iter()
        .filter_map(|curve| Some((curve, curve.latency.as_ref().filter(|latency| latency.count() >= FEWEST_VALUES)?)))
        .collect();
    let nanos = |of: fn(&Latency) -> Option<std::time::Duration>| {
        drawn.iter().filter_map(move |(_, latency)| of(latency)).map(|time| time.as_nanos() as f64)
    };
    let (Some(least), Some(most)) = (nanos(Latency::min).reduce(f64::min), nanos(Latency::max).reduce(f64::max)) else {
        return html! {};
    };
    let (across, up) = (Scale::percentiles(), Scale::log(least, most, Quantity::Nanoseconds));
    let key: Vec<(&str, &str)> = drawn.iter().map(|(curve, _)| (curve.class, curve.name)).collect();
    let frame = Frame {
        title: "Latency by percentile",
        sentence: format!("latency by percentile, up to {}", Quantity::Nanoseconds.show(most)),
        key: &key,
        across: &across,
        up: &up,
        events: &[],
    };
    frame.around(&html! {
        @for (curve, latency) in &drawn { path.line.(curve.class) d=(path(latency, &across, &up)) {} }
    })
}

/// The curve up to the last percentile that this many values can tell.
fn path(latency: &Latency, across: &Scale, up: &Scale) -> String {
    let nines = (latency.count() as f64).log10().min(MOST_NINES);
    let last = (nines * f64::from(POINTS_PER_NINE)).ceil() as u32;
    let points = (0..=last).map(|n| (f64::from(n) / f64::from(POINTS_PER_NINE)).min(nines));
    let times = latency.percentiles(points.clone().map(|nines| 100.0 * (1.0 - 10f64.powf(-nines))));
    curve(points.zip(times).map(|(nines, time)| Some((across.place(nines), up.place(time.as_nanos() as f64)))))
}

fn table(curves: &[Curve<'_>]) -> Markup {
    type TableRow = (&'static str, fn(&Curve<'_>) -> Option<u64>);
    let rows: [TableRow; 8] = [
        ("min", |curve| curve.report.min_ns),
        ("mean", |curve| curve.report.mean_ns),
        ("p50", |curve| curve.report.p50_ns),
        ("p90", |curve| curve.report.p90_ns.filter(|_| tells(curve.report.count, 90.0))),
        ("p99", |curve| curve.report.p99_ns.filter(|_| tells(curve.report.count, 99.0))),
        ("p99.9", |curve| curve.report.p999_ns.filter(|_| tells(curve.report.count, 99.9))),
        ("p99.99", |curve| {
            let latency = curve.latency.as_ref().filter(|latency| tells(latency.count(), 99.99))?;
            let time = latency.percentile(99.99)?;
            u64::try_from(time.as_nanos()).ok()
        }),
        ("max", |curve| curve.report.max_ns),
    ];
    html! {
        table {
            tr { th {} @for curve in curves { th.figure { (curve.name) } } }
            tr { th { "count" } @for curve in curves { td.figure { (show_count(curve.report.count)) } } }
            @for (name, of) in rows {
                tr {
                    th { (name) }
                    @for curve in curves { td.figure { (Quantity::Nanoseconds.show_known(of(curve))) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_curve_ends_at_the_last_percentile_that_its_values_can_tell() {
        let mut latency = Latency::default();
        (1..=100).for_each(|n| latency.record(n * 10_000));
        let (across, up) = (Scale::percentiles(), Scale::log(10_000.0, 1e6, Quantity::Nanoseconds));
        let path = path(&latency, &across, &up);
        assert!(path.starts_with("M0.0 999.8"), "the least is at the bottom: {path}");
        let end: Vec<f64> =
            path.rsplit('L').next().expect("there are points").split(' ').filter_map(|n| n.parse().ok()).collect();
        assert!(end[0] == 500.0 && end[1] < 5.0, "100 values tell p99, half of the axis, near the greatest: {end:?}");
    }

    #[test]
    fn few_values_have_a_table_and_no_curve() {
        let page = of(&sample::load("load"), Depth::Whole).into_string();
        assert!(!page.contains("<svg") && page.contains("<th>p99.9</th><td class=\"figure\">–"), "{page}");
    }
}
