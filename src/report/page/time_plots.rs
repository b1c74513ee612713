//! A run over time, as plots over one axis: throughput; round trips; open connections, with the findings; and what the
//! server's processes used.

use std::time::Duration;

use maud::{Markup, html};

use super::axis::Scale;
use super::frame::{Frame, curve, steps};
use crate::measure::usage::{UsageFigure, UsageSample};
use crate::measure::{Point, ResourceUsage, Timeline};
use crate::report::quantity::Quantity;
use crate::report::run::RunReport;

/// Fewer intervals than this are no course of time.
const FEWEST_BUCKETS: usize = 5;

/// One interval of the run, in seconds from its start.
struct Bucket {
    from_s: f64,
    to_s: f64,
    point: Point,
}

impl Bucket {
    fn middle_s(&self) -> f64 {
        f64::midpoint(self.from_s, self.to_s)
    }
}

/// A part of the time that is shaded, because the figures in it are the client's and not the server's.
struct Shade {
    class: &'static str,
    /// What it means, for the key.
    about: &'static str,
    /// How many milliseconds of an interval it was so.
    of: fn(&Point) -> u64,
}

const SHADES: [Shade; 2] = [
    Shade { class: "shade", about: "the client stood still", of: |point| point.stood_still_ms },
    Shade { class: "shade busy", about: "the client had no CPU time left", of: |point| point.saturated_ms },
];

/// What all plots share: the axis, the findings, and the times that are shaded.
struct TimeAxis {
    across: Scale,
    found: Vec<f64>,
    /// The shades that there are, with the intervals that have them.
    shaded: Vec<(&'static Shade, Vec<(f64, f64)>)>,
}

impl TimeAxis {
    fn new(buckets: &[Bucket], elapsed_s: f64) -> TimeAxis {
        let across = Scale::time(elapsed_s);
        let found = buckets.iter().filter(|bucket| bucket.point.findings > 0);
        let found = found.map(|bucket| across.place(bucket.middle_s())).collect();
        let intervals = |shade: &'static Shade| {
            let is_shaded = |bucket: &&Bucket| {
                let of = (shade.of)(&bucket.point);
                of > 0 && of as f64 / 1000.0 >= (bucket.to_s - bucket.from_s) / 2.0
            };
            let shaded = buckets.iter().filter(is_shaded);
            let places = shaded.map(|bucket| (across.place(bucket.from_s), across.place(bucket.to_s)));
            Some((shade, places.collect::<Vec<_>>())).filter(|(_, places)| !places.is_empty())
        };
        let shaded = SHADES.iter().filter_map(intervals).collect();
        TimeAxis { across, found, shaded }
    }

    /// The shades, behind the curves.
    fn shade(&self) -> Markup {
        let path = |(from, to): &(f64, f64)| steps(std::iter::once((*from, *to, 1.0)));
        html! {
            @for (shade, places) in &self.shaded {
                @for place in places { path.(shade.class) d=(path(place)) {} }
            }
        }
    }

    /// The key of findings and shades, for one of the plots.
    fn key(&self) -> Vec<(&'static str, &'static str)> {
        let found = (!self.found.is_empty()).then_some(("event", "findings"));
        found.into_iter().chain(self.shaded.iter().map(|(shade, _)| (shade.class, shade.about))).collect()
    }
}

/// The plots; nothing for a run that is too short for them.
pub(super) fn of(run: &RunReport) -> Markup {
    let mut line = Timeline::default();
    run.loads.iter().for_each(|load| line.add(&load.timeline));
    let buckets = buckets(&line, run.elapsed_s);
    if buckets.len() < FEWEST_BUCKETS {
        return html! {};
    }
    let axis = TimeAxis::new(&buckets, run.elapsed_s);
    html! {
        section.time {
            (throughput(&buckets, &axis))
            (round_trips(&buckets, &axis))
            (open_connections(&buckets, &axis))
            @if let Some(usage) = &run.server_usage { (used(SERVER_PLOTS, usage, &axis, run.elapsed_s)) }
            @if let Some(usage) = &run.client.usage { (used(CLIENT_PLOTS, usage, &axis, run.elapsed_s)) }
        }
    }
}

/// The intervals of the line. The last one ends with the run; if less than half of it is in the run, it is a part of
/// the one before, because a rate over a moment says nothing.
fn buckets(line: &Timeline, elapsed_s: f64) -> Vec<Bucket> {
    let interval = line.interval_ms as f64 / 1000.0;
    let mut buckets: Vec<Bucket> = Vec::new();
    for (n, point) in line.points.iter().enumerate() {
        let from_s = interval * n as f64;
        let to_s = (from_s + interval).min(elapsed_s);
        match buckets.last_mut() {
            Some(last) if to_s - from_s < interval / 2.0 => {
                last.to_s = last.to_s.max(to_s);
                last.point.add(point);
            }
            _ => buckets.push(Bucket { from_s, to_s: to_s.max(from_s), point: point.clone() }),
        }
    }
    buckets
}

fn throughput(buckets: &[Bucket], axis: &TimeAxis) -> Markup {
    let across = &axis.across;
    let rate = |bucket: &Bucket| bucket.point.bytes_verified as f64 / (bucket.to_s - bucket.from_s).max(1e-9);
    let most = buckets.iter().map(rate).fold(0.0, f64::max);
    let up = Scale::linear(most, Quantity::BytesPerSecond);
    let stairs = buckets.iter().map(|b| (across.place(b.from_s), across.place(b.to_s), up.place(rate(b))));
    let frame = Frame {
        title: "Verified bytes per second",
        sentence: format!("throughput over time, at most {}", Quantity::BytesPerSecond.show(most)),
        key: &[],
        across,
        up: &up,
        events: &axis.found,
    };
    frame.around(&html! { (axis.shade()) path.fill.rtt d=(steps(stairs)) {} })
}

/// A curve of the plot of round trips: its class, its name, and its value in an interval.
type TripCurve = (&'static str, &'static str, fn(&Point) -> Option<u64>);

const TRIP_CURVES: [TripCurve; 3] = [
    ("max", "longest", |point| Some(point.rtt_max_ns).filter(|nanos| *nanos > 0)),
    ("p99", "p99", |point| Some(point.trips.percentile(99.0)?.min(point.rtt_max_ns))),
    ("p50", "p50", |point| Some(point.trips.percentile(50.0)?.min(point.rtt_max_ns))),
];

fn round_trips(buckets: &[Bucket], axis: &TimeAxis) -> Markup {
    let across = &axis.across;
    let values = |(_, _, of): &TripCurve| buckets.iter().filter_map(|b| of(&b.point)).collect::<Vec<u64>>();
    // Reports of an earlier version only have the longest.
    let drawn: Vec<&TripCurve> = TRIP_CURVES.iter().filter(|curve| !values(curve).is_empty()).collect();
    let all: Vec<u64> = drawn.iter().flat_map(|curve| values(curve)).collect();
    let (Some(least), Some(most)) = (all.iter().min(), all.iter().max()) else { return html! {} };
    let up = Scale::log(*least as f64, *most as f64, Quantity::Nanoseconds);
    let key: Vec<(&str, &str)> = drawn.iter().map(|(class, name, _)| (*class, *name)).collect();
    let path = |of: fn(&Point) -> Option<u64>| {
        curve(buckets.iter().map(|b| Some((across.place(b.middle_s()), up.place(of(&b.point)? as f64)))))
    };
    let frame = Frame {
        title: "Round trips",
        sentence: format!("round trips over time, at most {}", Quantity::Nanoseconds.show(*most as f64)),
        key: &key,
        across,
        up: &up,
        events: &axis.found,
    };
    frame.around(&html! { (axis.shade()) @for (class, _, of) in &drawn { path.line.(*class) d=(path(*of)) {} } })
}

fn open_connections(buckets: &[Bucket], axis: &TimeAxis) -> Markup {
    let across = &axis.across;
    // Reports of an earlier version do not say when connections closed.
    if buckets.iter().all(|bucket| bucket.point.closed == 0) && axis.found.is_empty() {
        return html! {};
    }
    let (mut opened, mut closed) = (0u64, 0u64);
    let open: Vec<u64> = buckets
        .iter()
        .map(|bucket| {
            // At its beginning or at its end, whichever are more. How many came and went in between is not known.
            let before: u64 = opened - closed;
            opened = opened.saturating_add(bucket.point.opened);
            closed = closed.saturating_add(bucket.point.closed).min(opened);
            before.max(opened - closed)
        })
        .collect();
    let most = open.iter().copied().max().unwrap_or_default() as f64;
    let up = Scale::linear(most, Quantity::Count);
    let stairs = buckets.iter().zip(&open);
    let stairs = stairs.map(|(b, open)| (across.place(b.from_s), across.place(b.to_s), up.place(*open as f64)));
    let key = axis.key();
    let frame = Frame {
        title: "Open connections",
        sentence: format!("open connections over time, at most {}", Quantity::Count.show(most)),
        key: &key,
        across,
        up: &up,
        events: &axis.found,
    };
    frame.around(&html! { (axis.shade()) path.fill.open d=(steps(stairs)) {} })
}

/// A plot of what processes use: its title, its unit, and its value in a sample.
type UsagePlot = (&'static str, Quantity, UsageFigure);

const SERVER_PLOTS: &[UsagePlot] = &[
    ("Server's memory", Quantity::Bytes, |level| level.memory_bytes),
    ("Server's descriptors", Quantity::Count, |level| level.fds),
    ("Server's threads", Quantity::Count, |level| level.threads),
];

/// The number of the client's threads is fixed.
const CLIENT_PLOTS: &[UsagePlot] = &[
    ("Client's memory", Quantity::Bytes, |level| level.memory_bytes),
    ("Client's descriptors", Quantity::Count, |level| level.fds),
];

fn used(plots: &[UsagePlot], usage: &ResourceUsage, axis: &TimeAxis, elapsed_s: f64) -> Markup {
    let across = &axis.across;
    let seconds = |sample: &UsageSample| Duration::from_millis(sample.at_ms).as_secs_f64();
    let samples: Vec<&UsageSample> = usage.samples.iter().filter(|sample| seconds(sample) <= elapsed_s).collect();
    if samples.len() < FEWEST_BUCKETS {
        return html! {};
    }
    let plot = |(title, quantity, of): &UsagePlot| {
        let most = samples.iter().filter_map(|sample| of(&sample.level)).max()? as f64;
        let up = Scale::linear(most, *quantity);
        let points = samples.iter().map(|s| Some((across.place(seconds(s)), up.place(of(&s.level)? as f64))));
        let known = |value: Option<u64>| quantity.show_known(value);
        let (before, settled) = (known(of(&usage.before)), known(of(&usage.settled)));
        let sentence = format!("{before} before, at most {}, {settled} when all had closed", known(of(&usage.peak)));
        let title = format!("{title}: {sentence}");
        let frame = Frame { title: &title, sentence: title.clone(), key: &[], across, up: &up, events: &[] };
        Some(frame.around(&html! { (axis.shade()) path.line.server d=(curve(points)) {} }))
    };
    html! { @for row in plots { @if let Some(plot) = plot(row) { div.low { (plot) } } } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::TripRecorder;
    use crate::measure::usage::UsageLevel;
    use crate::report::sample;

    fn point(bytes_verified: u64, opened: u64, closed: u64) -> Point {
        let mut recorder = TripRecorder::default();
        (1..=100).for_each(|n| recorder.record(n * 1_000_000));
        let mut point = Point { bytes_verified, opened, closed, rtt_max_ns: 100_000_000, ..Point::default() };
        recorder.move_to(&mut point.trips);
        point
    }

    fn run(points: Vec<Point>, elapsed_s: f64) -> RunReport {
        let mut run = sample::run(&["load"]);
        run.loads[0].timeline.points = points;
        RunReport { elapsed_s, ..run }
    }

    #[test]
    fn a_run_of_less_than_five_intervals_has_no_plots() {
        assert_eq!(of(&run(vec![point(1, 1, 0); 4], 0.4)).into_string(), "");
        let page = of(&run(vec![point(1, 1, 1); 5], 0.5)).into_string();
        assert_eq!(page.matches("<svg").count(), 3, "{page}");
        assert!(page.contains("p50") && page.contains("p99") && page.contains("longest"), "{page}");
    }

    #[test]
    fn no_rate_is_higher_than_what_came_in_the_time_that_it_took() {
        // 1,000 bytes in each tenth of a second, and a rest that came in its last 3 ms.
        let line = Timeline { interval_ms: 100, points: [vec![point(1000, 0, 0); 5], vec![point(900, 0, 0)]].concat() };
        let all = buckets(&line, 0.503);
        assert_eq!((all.len(), all[4].to_s, all[4].point.bytes_verified), (5, 0.503, 1900));
        let page = of(&run(line.points.clone(), 0.503)).into_string();
        assert!(page.contains("at most 18.0 KiB/s"), "1,900 bytes in 103 ms: {page}");
        let half = buckets(&line, 0.56);
        assert_eq!((half.len(), half[5].to_s), (6, 0.56), "more than half of an interval stands alone");
    }

    #[test]
    fn open_connections_are_those_opened_less_those_closed_before() {
        let points = vec![point(1, 10, 0), point(1, 0, 4), point(1, 0, 0), point(1, 0, 6), point(1, 0, 0)];
        let page = of(&run(points, 0.5)).into_string();
        assert!(page.contains("open connections over time, at most 10"), "{page}");
        let found = Point { findings: 1, ..point(1, 0, 0) };
        let page = of(&run([vec![point(1, 1, 0); 4], vec![found]].concat(), 0.5)).into_string();
        assert!(page.contains("class=\"event\" style=\"left:90.00%\""), "{page}");
    }

    #[test]
    fn the_time_in_which_the_client_stood_still_is_shaded() {
        let mut points = vec![point(1, 1, 1); 5];
        points[2].stood_still_ms = 100;
        points[3].stood_still_ms = 20;
        let page = of(&run(points, 0.5)).into_string();
        assert_eq!(page.matches("<path class=\"shade\" d=\"M400.0 1000V0.0H600.0V1000Z\"").count(), 3, "{page}");
        assert_eq!(page.matches("the client stood still").count(), 1, "{page}");
    }

    #[test]
    fn the_time_in_which_the_client_was_the_bottleneck_has_a_shade_of_its_own() {
        let mut points = vec![point(1, 1, 1); 5];
        points[1].saturated_ms = 100;
        let page = of(&run(points, 0.5)).into_string();
        assert_eq!(page.matches("<path class=\"shade busy\" d=\"M200.0 ").count(), 3, "{page}");
        assert!(page.contains("the client had no CPU time left") && !page.contains("stood still"), "{page}");
    }

    #[test]
    fn a_report_of_an_earlier_version_has_the_plots_that_it_has_figures_for() {
        let old = Point { bytes_verified: 9, opened: 1, rtt_max_ns: 5_000, ..Point::default() };
        let page = of(&run(vec![old; 5], 0.5)).into_string();
        assert!(page.contains("longest") && !page.contains("p99"), "{page}");
        assert!(!page.contains("open connections over time"), "{page}");
    }

    #[test]
    fn of_server_and_client_what_is_known_is_drawn_with_its_levels() {
        let level = |fds| UsageLevel { fds: Some(fds), threads: None, memory_bytes: Some(1 << 20) };
        let sample = |n: u64| UsageSample { at_ms: n * 100, level: level(n), cpu_ms: None };
        let usage = ResourceUsage {
            before: level(5),
            peak: level(10),
            settled: level(7),
            samples: (0..=9).map(sample).collect(),
            ..ResourceUsage::default()
        };
        let mut run = run(vec![point(1, 1, 1); 9], 0.9);
        run.client.usage = Some(ResourceUsage { settled: level(6), ..usage.clone() });
        run.server_usage = Some(usage);
        let page = of(&run).into_string();
        assert!(page.contains("Server's descriptors: 5 before, at most 10, 7 when all had closed"), "{page}");
        assert!(page.contains("Client's descriptors: 5 before, at most 10, 6 when all had closed"), "{page}");
        assert!(page.contains("memory") && !page.contains("threads"), "{page}");
    }
}
