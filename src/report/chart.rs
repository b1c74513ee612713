//! A timeline as a drawing (SVG): bytes per second as an area, the longest round trips as a line.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, html};

use super::text::{show_bytes, show_time};
use crate::measure::Timeline;
use crate::measure::timeline::Point;

/// Width of the plot, in units of the viewBox.
const PLOT_WIDTH: f64 = 640.0;
/// Height of the plot without its labels, in the same units.
const PLOT_HEIGHT: f64 = 120.0;
/// Room for labels above and below the plot, in the same units.
const LABEL_MARGIN: f64 = 18.0;

/// Throughput and longest round trips over time; nothing for a run without points.
pub(super) fn timeline(line: &Timeline) -> Markup {
    let seconds = line.interval_ms as f64 / 1000.0;
    let peak_bytes = line.points.iter().map(|point| point.bytes_verified).max().unwrap_or_default();
    let peak_rtt = line.points.iter().map(|point| point.rtt_max_ns).max().unwrap_or_default();
    let rate = show_bytes(peak_bytes as f64 / seconds);
    let trips = match peak_rtt {
        0 => "no round trip".to_owned(),
        nanos => format!("round trip, at most {}", show_time(Duration::from_nanos(nanos))),
    };
    let label = format!("throughput, at most {rate}/s; {trips}");
    let end = show_time(Duration::from_millis(line.interval_ms * line.points.len() as u64));
    let bottom = LABEL_MARGIN + PLOT_HEIGHT;
    html! {
        @if !line.points.is_empty() {
            svg viewBox={ "0 0 " (PLOT_WIDTH) " " (PLOT_HEIGHT + 2.0 * LABEL_MARGIN) } role="img" aria-label=(label) {
                text x="0" y="12" { (label) }
                path.bytes d=(area(&line.points, peak_bytes)) {}
                path.time d=(round_trips(&line.points, peak_rtt)) {}
                line.axis x1="0" y1=(bottom) x2=(PLOT_WIDTH) y2=(bottom) {}
                text x="0" y=(bottom + 13.0) { "0 s" }
                text x=(PLOT_WIDTH) y=(bottom + 13.0) text-anchor="end" { (end) }
            }
        }
    }
}

/// A step for each interval, starting from the axis.
fn area(points: &[Point], peak: u64) -> String {
    let mut path = format!("M0 {}", LABEL_MARGIN + PLOT_HEIGHT);
    for (index, point) in points.iter().enumerate() {
        let y = height(point.bytes_verified, peak);
        let _ = write!(path, "V{y:.1}H{:.1}", place(index + 1, points.len()));
    }
    let _ = write!(path, "V{}Z", LABEL_MARGIN + PLOT_HEIGHT);
    path
}

/// A line through the middles of the intervals; broken where no round trip ended.
fn round_trips(points: &[Point], peak: u64) -> String {
    let mut path = String::new();
    let mut is_broken = true;
    for (index, point) in points.iter().enumerate() {
        if point.rtt_max_ns == 0 {
            is_broken = true;
            continue;
        }
        let middle = (place(index, points.len()) + place(index + 1, points.len())) / 2.0;
        let y = height(point.rtt_max_ns, peak);
        // A single point would be a line of zero length, hence invisible: it gets a short one.
        let _ = match is_broken {
            true => write!(path, "M{:.1} {y:.1}H{middle:.1}", middle - 1.0),
            false => write!(path, "L{middle:.1} {y:.1}"),
        };
        is_broken = false;
    }
    path
}

fn place(index: usize, points: usize) -> f64 {
    PLOT_WIDTH * index as f64 / points as f64
}

fn height(value: u64, peak: u64) -> f64 {
    LABEL_MARGIN + PLOT_HEIGHT * (1.0 - value as f64 / peak.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(bytes_verified: u64, rtt_max_ns: u64) -> Point {
        Point { bytes_verified, rtt_max_ns, ..Point::default() }
    }

    #[test]
    fn the_greatest_value_touches_the_top_and_zero_the_bottom() {
        let points = [point(5, 0), point(10, 0)];
        assert_eq!(area(&points, 10), "M0 138V78.0H320.0V18.0H640.0V138Z");
        assert_eq!(area(&[point(0, 0)], 0), "M0 138V138.0H640.0V138Z", "a run in which nothing came");
    }

    #[test]
    fn the_line_breaks_where_no_round_trip_ended() {
        let points = [point(0, 1), point(0, 2), point(0, 0), point(0, 2)];
        assert_eq!(round_trips(&points, 2), "M79.0 78.0H80.0L240.0 18.0M559.0 18.0H560.0");
    }

    #[test]
    fn a_run_without_points_has_no_drawing() {
        assert_eq!(timeline(&Timeline::default()).into_string(), "");
    }
}
