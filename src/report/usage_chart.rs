//! What the server's processes used over time, as drawings (SVG): descriptors, threads and memory, a line each.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, html};

use super::text::{show_bytes, show_count, show_time};
use crate::measure::ServerUsage;
use crate::measure::server_usage::{UsageLevel, UsageSample};

/// Width of the plot, in units of the viewBox.
const PLOT_WIDTH: f64 = 640.0;
/// Height of the plot without its labels, in the same units.
const PLOT_HEIGHT: f64 = 60.0;
/// Room for labels above and below the plot, in the same units.
const LABEL_MARGIN: f64 = 18.0;

/// One line of the drawing.
struct Curve {
    name: &'static str,
    of: fn(&UsageLevel) -> Option<u64>,
    show: fn(u64) -> String,
}

const CURVES: [Curve; 3] = [
    Curve { name: "descriptors", of: |level| level.fds, show: show_count },
    Curve { name: "threads", of: |level| level.threads, show: show_count },
    Curve { name: "memory", of: |level| level.memory_bytes, show: |bytes| show_bytes(bytes as f64) },
];

/// The drawings; nothing for a run without two samples, or of what the system does not tell.
pub(super) fn server_usage(usage: &ServerUsage) -> Markup {
    html! {
        @if usage.samples.len() > 1 {
            @for curve in &CURVES { (drawing(curve, usage)) }
        }
    }
}

fn drawing(curve: &Curve, usage: &ServerUsage) -> Markup {
    let known = |level: &UsageLevel| (curve.of)(level).map_or_else(|| "–".to_owned(), curve.show);
    let (before, peak, settled) = (known(&usage.before), known(&usage.peak), known(&usage.settled));
    let label = format!("server's {}: {before} before, at most {peak}, {settled} when all had closed", curve.name);
    let end = show_time(Duration::from_millis(usage.samples.last().map_or(0, |sample| sample.at_ms)));
    let bottom = LABEL_MARGIN + PLOT_HEIGHT;
    html! {
        @if let Some(most) = (curve.of)(&usage.peak) {
            svg.server viewBox={ "0 0 " (PLOT_WIDTH) " " (PLOT_HEIGHT + 2.0 * LABEL_MARGIN) } role="img"
                aria-label=(label) {
                text x="0" y="12" { (label) }
                path.time d=(path(curve, &usage.samples, most)) {}
                line.axis x1="0" y1=(bottom) x2=(PLOT_WIDTH) y2=(bottom) {}
                text x="0" y=(bottom + 13.0) { "0 s" }
                text x=(PLOT_WIDTH) y=(bottom + 13.0) text-anchor="end" { (end) }
            }
        }
    }
}

/// A line through the samples, which need not be evenly spaced.
fn path(curve: &Curve, samples: &[UsageSample], most: u64) -> String {
    let end = samples.last().map_or(0, |sample| sample.at_ms).max(1) as f64;
    let mut path = String::new();
    for sample in samples {
        let Some(value) = (curve.of)(&sample.level) else { continue };
        let x = PLOT_WIDTH * sample.at_ms as f64 / end;
        let y = LABEL_MARGIN + PLOT_HEIGHT * (1.0 - value as f64 / most.max(1) as f64);
        let step = if path.is_empty() { 'M' } else { 'L' };
        let _ = write!(path, "{step}{x:.1} {y:.1}");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(samples: &[(u64, u64)]) -> ServerUsage {
        let level = |fds| UsageLevel { fds: Some(fds), threads: None, memory_bytes: Some(1 << 20) };
        let sample = |(at_ms, fds): &(u64, u64)| UsageSample { at_ms: *at_ms, level: level(*fds), cpu_ms: None };
        let peak = samples.iter().map(|(_, fds)| *fds).max().unwrap_or_default();
        ServerUsage {
            before: level(5),
            early: None,
            peak: level(peak),
            settled: level(7),
            cpu_s: None,
            samples: samples.iter().map(sample).collect(),
        }
    }

    #[test]
    fn a_line_goes_through_the_samples_at_their_times() {
        let samples = usage(&[(100, 5), (400, 10), (800, 0)]).samples;
        assert_eq!(path(&CURVES[0], &samples, 10), "M80.0 48.0L320.0 18.0L640.0 78.0");
    }

    #[test]
    fn what_is_not_known_has_no_drawing() {
        let page = server_usage(&usage(&[(100, 5), (400, 10)])).into_string();
        assert_eq!((page.matches("<svg").count(), page.contains("threads")), (2, false), "{page}");
        assert!(page.contains("descriptors: 5 before, at most 10, 7 when all had closed"), "{page}");
        assert_eq!(server_usage(&usage(&[(100, 5)])).into_string(), "");
    }
}
