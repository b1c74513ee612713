//! Thresholds: `rtt.p99 < 5ms`, `others.verified_bytes > 0`, `throughput > 100MB/s`. Pure.
//!
//! An expression names a [`metric`] of the run, or of one load group (`GROUP.FIGURE`), a comparison, and
//! a value in the figure's own unit.

use std::fmt;
use std::str::FromStr;

use super::metric::{self, Measured, Named, Run};
use crate::measure::LoadStats;
use crate::units::ParseError;

/// A threshold, checked for form: the figure exists and the value has its unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// As it was written.
    text: String,
    /// The load group; none: the run.
    group: Option<String>,
    figure: Named,
    comparison: Comparison,
    value: f64,
}

/// Why a threshold makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ThresholdError(String);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// The longer forms first, since `<` begins `<=`.
const COMPARISONS: &[(&str, Comparison)] = &[
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

impl Comparison {
    fn holds(self, actual: f64, wanted: f64) -> bool {
        match self {
            Comparison::Less => actual < wanted,
            Comparison::LessOrEqual => actual <= wanted,
            Comparison::Greater => actual > wanted,
            Comparison::GreaterOrEqual => actual >= wanted,
            Comparison::Equal => actual == wanted,
            Comparison::NotEqual => actual != wanted,
        }
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        // The last one, since a load's name may have any letter in it, and a value has none of these.
        let found = COMPARISONS.iter().filter_map(|(sign, c)| Some((text.rfind(sign)?, *sign, *c)));
        let (at, sign, comparison) = found.max_by_key(|(at, sign, _)| at + sign.len()).ok_or_else(|| {
            ThresholdError(format!("'{text}' compares nothing: write a figure, one of < <= > >= == !=, and a value"))
        })?;
        let (name, value) = (text[..at].trim(), text[at + sign.len()..].trim());
        let (group, figure) = metric::find(name).map_err(ThresholdError)?;
        let unit = figure.unit();
        let value = part(unit, value).map_err(|why| {
            ThresholdError(format!("'{text}': {why}; {} takes values such as {}", figure.name(), unit.example()))
        })?;
        Ok(Threshold { text: text.trim().to_owned(), group, figure, comparison, value })
    }
}

/// The value, which may be a part of another: `5s/10`, since `${PATIENCE}` is one time and limits are several.
fn part(unit: metric::Unit, text: &str) -> Result<f64, ParseError> {
    // The '/' of a rate stands before its unit, and that of a part before a number.
    match text.rsplit_once('/').map(|(whole, parts)| (whole.trim(), parts.trim().parse::<u32>())) {
        Some((whole, Ok(parts))) if parts > 0 => Ok(unit.read(whole)? / f64::from(parts)),
        _ => unit.read(text),
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Threshold {
    /// The load group that it names.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Holds it against a run and its load groups: whether it was met, and the figure that was measured, with its unit.
    pub fn hold(&self, groups: &[(&str, &LoadStats)], run: &Run) -> (bool, String) {
        let mut figures = LoadStats::default();
        for (name, group) in groups {
            if self.group.as_ref().is_none_or(|wanted| wanted == name) {
                figures.add(group);
            }
        }
        // A group may be done long before the run is.
        let elapsed = if self.group.is_some() { figures.active_time.length() } else { Some(run.elapsed) };
        match self.figure.of(&Measured { figures: &figures, run, elapsed }) {
            None => (false, "not measured".to_owned()),
            Some(actual) => (self.comparison.holds(actual, self.value), self.figure.unit().show(actual)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::OpenLoopStats;
    use crate::stream::FindingKind;

    fn wrong(text: &str) -> String {
        text.parse::<Threshold>().expect_err(text).to_string()
    }

    #[test]
    fn every_comparison_is_read_with_a_value_in_the_figures_own_unit() {
        for name in ["rtt.p99.9", "rtt.count", "findings.no-fin", "sent_bytes", "throughput", "message_rate"] {
            for (sign, comparison) in COMPARISONS {
                let (_, figure) = metric::find(name).expect(name);
                for before in ["", "others.", "a.b.", "a<b.", "x == y."] {
                    let text = format!(" {before}{name}{sign}{} ", figure.unit().example());
                    let threshold: Threshold = text.parse().expect(&text);
                    assert_eq!((&threshold.figure, threshold.comparison), (&figure, *comparison), "{text}");
                    assert_eq!(threshold.group(), before.strip_suffix('.'), "{text}");
                    assert_eq!(threshold.to_string(), text.trim());
                }
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_explained() {
        assert!(wrong("othres.troughput > 1MB/s").contains("did you mean throughput?"));
        assert!(wrong("rtt.p99 < 5MiB").contains("5ms"));
        assert!(wrong("rtt.p99").contains("compares nothing"));
        assert!(wrong("errors == no").contains("100"));
        assert!(wrong("1ms < rtt.p99 < 5ms").contains("no load") || wrong("1ms < rtt.p99 < 5ms").contains("no figure"));
        assert!(wrong("rtt.p99 < 5s/0").contains("5ms") && wrong("rtt.p99 < 5/2").contains("5s"));
    }

    #[test]
    fn a_value_may_be_a_part_of_another() {
        let value = |text: &str| text.parse::<Threshold>().expect(text).value;
        assert_eq!((value("rtt.p99 < 5s/10"), value("rtt.p99 < 5s / 2")), (5e8, 2.5e9));
        assert_eq!((value("message_rate > 100/s"), value("throughput > 1MB/s/4")), (100.0, 250_000.0));
    }

    #[test]
    fn comparisons_are_what_they_say() {
        let less: Threshold = "rtt.max <= 1s".parse().expect("well-formed");
        assert!(less.comparison.holds(1e9, less.value) && !less.comparison.holds(1e9 + 1.0, less.value));
        assert_eq!(less.value, 1e9);
    }

    fn group(rtt: u64) -> LoadStats {
        let mut figures = LoadStats::default();
        figures.rtt.record(rtt);
        figures.counters.bytes_verified = 5;
        figures
    }

    #[test]
    fn a_threshold_looks_at_its_group_or_at_all_of_them_together() {
        let (slow, fast) = (group(2_000_000_000), group(1000));
        let groups = [("slow", &slow), ("fast.one", &fast)];
        let run = Run { elapsed: Duration::from_secs(1), ..Run::default() };
        let hold = |text: &str| text.parse::<Threshold>().expect(text).hold(&groups, &run);
        assert!(hold("fast.one.rtt.max < 1s").0);
        assert_eq!(hold("verified_bytes == 10"), (true, "10 bytes".to_owned()));
        assert_eq!(hold("fast.one.verified_bytes == 5"), (true, "5 bytes".to_owned()));
        assert!(!hold("rtt.max < 1s").0 && hold("rtt.max < 1s").1.starts_with('2'));
        assert_eq!(hold("connect.p99 < 1s"), (false, "not measured".to_owned()));
    }

    #[test]
    fn the_rates_of_a_group_are_over_its_own_time() {
        let over = |from: u64, until: u64| {
            let mut figures = group(1);
            figures.counters.bytes_verified = 1000;
            figures.counters.messages_echoed = 10;
            figures.active_time.opened(from * 1_000_000_000);
            figures.active_time.echoed(until * 1_000_000_000);
            figures
        };
        let (fast, slow, mut silent) = (over(2, 4), over(0, 20), LoadStats::default());
        silent.active_time.opened(0);
        let groups = [("fast", &fast), ("slow", &slow), ("silent", &silent)];
        let run = Run { elapsed: Duration::from_secs(25), ..Run::default() };
        for (text, met, actual) in [
            ("fast.throughput == 500/s", true, "500 bytes/s"),
            ("fast.message_rate == 5", true, "5.0/s"),
            ("fast.elapsed == 2s", true, "2s"),
            ("slow.throughput == 50/s", true, "50 bytes/s"),
            ("throughput == 80/s", true, "80 bytes/s"),
            ("elapsed == 25s", true, "25s"),
            ("silent.throughput > 0", false, "0 bytes/s"),
            ("silent.elapsed < 1h", false, "not measured"),
        ] {
            let threshold: Threshold = text.parse().expect(text);
            assert_eq!(threshold.hold(&groups, &run), (met, actual.to_owned()), "{text}");
        }
    }

    #[test]
    fn every_kind_of_figure_says_what_was_measured() {
        let mut figures = group(1_000_000);
        (1..1000).for_each(|_| figures.rtt.record(1_000_000));
        figures.rtt.record(9_000_000);
        figures.counters.found(FindingKind::Stalled);
        figures.counters.cut_short = 3;
        figures.open_loop = OpenLoopStats { unsent: 7, ..OpenLoopStats::default() };
        let run = Run {
            elapsed: Duration::from_millis(2500),
            client_cpu: Some(Duration::from_millis(1500)),
            client_memory: Some(4096),
            server_cpu: None,
        };
        for (text, met, actual) in [
            ("rtt.p75 < 2ms", true, "1.000447ms"),
            ("rtt.p99.9 < 2ms", true, "1.000447ms"),
            ("rtt.p99.99 < 2ms", false, "9.003007ms"),
            ("rtt.count == 1001", true, "1001"),
            ("findings.stalled == 0", false, "1"),
            ("findings.lost == 0", true, "0"),
            ("errors == 1", true, "1"),
            ("cut_short == 3", true, "3"),
            ("unsent == 0", false, "7"),
            ("throughput > 0", true, "2 bytes/s"),
            ("message_rate > 0", false, "0.0/s"),
            ("elapsed < 3s", true, "2.5s"),
            ("client.cpu < 1s", false, "1.5s"),
            ("client.memory <= 4KiB", true, "4096 bytes"),
            ("server.cpu < 1s", false, "not measured"),
        ] {
            let threshold: Threshold = text.parse().expect(text);
            assert_eq!(threshold.hold(&[("load", &figures)], &run), (met, actual.to_owned()), "{text}");
        }
    }
}
