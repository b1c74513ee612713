//! Thresholds: `rtt.p99 < 5ms`, `others.verified_bytes > 0`, `throughput > 100MB/s`. Pure.
//!
//! An expression names a figure of the run, or of one load group (`GROUP.FIGURE`), a comparison, and a value in the
//! figure's own unit. Which figures there are stands in `FIGURES`, and nothing else needs to be touched for a new one.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::measure::Figures;
use crate::units::{ByteRate, Bytes, Count, Rate, Time};

/// A threshold, checked for form: the figure exists and the value has its unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// As it was written.
    text: String,
    /// The load group; none: the run.
    group: Option<String>,
    figure: &'static Figure,
    comparison: Comparison,
    value: f64,
}

/// Why a threshold makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ThresholdError(String);

/// What is compared.
#[derive(Debug)]
struct Figure {
    name: &'static str,
    unit: Unit,
    of: fn(&Measured<'_>) -> Option<f64>,
}

impl PartialEq for Figure {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    /// Nanoseconds.
    Time,
    Count,
    Bytes,
    BytesPerSecond,
    PerSecond,
}

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

/// The figures of a run, or of one of its groups.
struct Measured<'r> {
    figures: &'r Figures,
    elapsed_s: f64,
}

fn nanos(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_nanos() as f64)
}

macro_rules! time {
    ($name:expr, $of:expr) => {
        Figure { name: $name, unit: Unit::Time, of: $of }
    };
}

macro_rules! latency {
    ($prefix:literal, $field:ident) => {
        [
            time!(concat!($prefix, ".min"), |m| nanos(m.figures.$field.min())),
            time!(concat!($prefix, ".mean"), |m| nanos(m.figures.$field.mean())),
            time!(concat!($prefix, ".p50"), |m| nanos(m.figures.$field.percentile(50.0))),
            time!(concat!($prefix, ".p90"), |m| nanos(m.figures.$field.percentile(90.0))),
            time!(concat!($prefix, ".p99"), |m| nanos(m.figures.$field.percentile(99.0))),
            time!(concat!($prefix, ".p999"), |m| nanos(m.figures.$field.percentile(99.9))),
            time!(concat!($prefix, ".max"), |m| nanos(m.figures.$field.max())),
            Figure {
                name: concat!($prefix, ".count"),
                unit: Unit::Count,
                of: |m| Some(m.figures.$field.count() as f64),
            },
        ]
    };
}

macro_rules! total {
    ($name:literal, $unit:expr, $field:ident) => {
        Figure { name: $name, unit: $unit, of: |m| Some(m.figures.counters.$field as f64) }
    };
}

static LATENCIES: [[Figure; 8]; 3] =
    [latency!("rtt", rtt), latency!("connect", connect), latency!("first_byte", first_byte)];

/// The figures that are no latencies.
static FIGURES: &[Figure] = &[
    total!("connections", Unit::Count, opened),
    total!("passed", Unit::Count, passed),
    total!("failed", Unit::Count, failed),
    total!("reconnects", Unit::Count, reconnects),
    total!("connect_failures", Unit::Count, connect_failures),
    Figure { name: "errors", unit: Unit::Count, of: |m| Some(m.figures.counters.findings_total() as f64) },
    total!("messages", Unit::Count, messages_echoed),
    total!("sent_bytes", Unit::Bytes, bytes_sent),
    total!("received_bytes", Unit::Bytes, bytes_received),
    total!("verified_bytes", Unit::Bytes, bytes_verified),
    time!("elapsed", |m| Some(m.elapsed_s * 1e9)),
    Figure {
        name: "throughput",
        unit: Unit::BytesPerSecond,
        of: |m| (m.elapsed_s > 0.0).then(|| m.figures.counters.bytes_verified as f64 / m.elapsed_s),
    },
    Figure {
        name: "message_rate",
        unit: Unit::PerSecond,
        of: |m| (m.elapsed_s > 0.0).then(|| m.figures.counters.messages_echoed as f64 / m.elapsed_s),
    },
];

fn figures() -> impl Iterator<Item = &'static Figure> {
    LATENCIES.iter().flatten().chain(FIGURES)
}

impl Unit {
    fn read(self, text: &str) -> Result<f64, String> {
        let say = |error: crate::units::UnitError| error.to_string();
        match self {
            Unit::Time => text.parse().map(|Time(time)| time.as_nanos() as f64).map_err(say),
            Unit::Count => text.parse().map(|Count(n)| n as f64).map_err(say),
            Unit::Bytes => text.parse().map(|Bytes(n)| n as f64).map_err(say),
            Unit::BytesPerSecond => text.parse().map(|ByteRate(n)| n as f64).map_err(say),
            Unit::PerSecond => text.parse().map(|rate: Rate| rate.get()).map_err(say),
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Unit::Time => Time(Duration::from_nanos(value as u64)).to_string(),
            Unit::Count => format!("{value}"),
            Unit::Bytes => format!("{value} bytes"),
            Unit::BytesPerSecond => format!("{value:.0} bytes/s"),
            Unit::PerSecond => format!("{value:.1}/s"),
        }
    }

    fn example(self) -> &'static str {
        match self {
            Unit::Time => "5ms",
            Unit::Count => "100",
            Unit::Bytes => "1MiB",
            Unit::BytesPerSecond => "100MB/s",
            Unit::PerSecond => "1000/s",
        }
    }
}

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
        let found = COMPARISONS.iter().filter_map(|(sign, c)| Some((text.find(sign)?, *sign, *c)));
        let (at, sign, comparison) = found.min_by_key(|(at, sign, _)| (*at, 2 - sign.len())).ok_or_else(|| {
            ThresholdError(format!("'{text}' compares nothing: write a figure, one of < <= > >= == !=, and a value"))
        })?;
        let (name, value) = (text[..at].trim(), text[at + sign.len()..].trim());
        let (group, figure) = find(name)?;
        let value = figure.unit.read(value).map_err(|why| {
            ThresholdError(format!("'{text}': {why}; {} takes values such as {}", figure.name, figure.unit.example()))
        })?;
        Ok(Threshold { text: text.trim().to_owned(), group, figure, comparison, value })
    }
}

/// The figure of this name, which a group's name may stand before.
fn find(name: &str) -> Result<(Option<String>, &'static Figure), ThresholdError> {
    if let Some(figure) = figures().find(|figure| figure.name == name) {
        return Ok((None, figure));
    }
    let in_group = name.split_once('.').and_then(|(group, rest)| Some((group, figures().find(|f| f.name == rest)?)));
    if let Some((group, figure)) = in_group {
        return Ok((Some(group.to_owned()), figure));
    }
    let distance = |figure: &&Figure| {
        let rest = name.split_once('.').map_or(name, |(_, rest)| rest);
        strsim::damerau_levenshtein(figure.name, name).min(strsim::damerau_levenshtein(figure.name, rest))
    };
    let nearest = figures().min_by_key(distance).map_or("rtt.p99", |figure| figure.name);
    let all: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
    Err(ThresholdError(format!(
        "there is no figure '{name}': did you mean {nearest}? There are rtt, connect and first_byte, each with .min .mean \
         .p50 .p90 .p99 .p999 .max .count, and {}; a group's name may stand before: others.rtt.max",
        all.join(", ")
    )))
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

    /// Holds it against the load groups of a run that took so long: whether it was met, and the figure that was
    /// measured, with its unit.
    pub fn hold(&self, groups: &[(&str, &Figures)], elapsed: Duration) -> (bool, String) {
        let mut figures = Figures::default();
        for (name, group) in groups {
            if self.group.as_ref().is_none_or(|wanted| wanted == name) {
                figures.add(group);
            }
        }
        let measured = Measured { figures: &figures, elapsed_s: elapsed.as_secs_f64() };
        match (self.figure.of)(&measured) {
            None => (false, "not measured".to_owned()),
            Some(actual) => (self.comparison.holds(actual, self.value), self.figure.unit.show(actual)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        text.parse::<Threshold>().expect_err(text).to_string()
    }

    #[test]
    fn every_figure_can_be_compared_in_its_own_unit() {
        for figure in figures() {
            for (sign, comparison) in COMPARISONS {
                let text = format!("{} {sign} {}", figure.name, figure.unit.example());
                let threshold: Threshold = text.parse().expect(&text);
                assert_eq!((threshold.figure, threshold.comparison, &threshold.group), (figure, *comparison, &None));
            }
            let text = format!("others.{}>={}", figure.name, figure.unit.example());
            let threshold: Threshold = text.parse().expect(&text);
            assert_eq!((threshold.group(), threshold.comparison), (Some("others"), Comparison::GreaterOrEqual));
        }
    }

    #[test]
    fn what_makes_no_sense_is_explained() {
        assert!(wrong("rtt.p98 < 5ms").contains("did you mean rtt.p9"), "{}", wrong("rtt.p98 < 5ms"));
        assert!(wrong("othres.troughput > 1MB/s").contains("did you mean throughput?"));
        assert!(wrong("rtt.p99 < 5MiB").contains("5ms"));
        assert!(wrong("rtt.p99").contains("compares nothing"));
        assert!(wrong("errors == no").contains("100"));
    }

    #[test]
    fn comparisons_are_what_they_say() {
        let less: Threshold = "rtt.max <= 1s".parse().expect("well-formed");
        assert!(less.comparison.holds(1e9, less.value) && !less.comparison.holds(1e9 + 1.0, less.value));
        assert_eq!(less.value, 1e9);
    }

    #[test]
    fn a_threshold_looks_at_its_group_or_at_all_of_them_together() {
        let group = |rtt: u64| {
            let mut figures = Figures::default();
            figures.rtt.record(rtt);
            figures.counters.bytes_verified = 5;
            figures
        };
        let (slow, fast) = (group(2_000_000_000), group(1000));
        let groups = [("slow", &slow), ("fast", &fast)];
        let hold = |text: &str| text.parse::<Threshold>().expect(text).hold(&groups, Duration::from_secs(1));
        assert!(hold("fast.rtt.max < 1s").0);
        assert_eq!(hold("verified_bytes == 10"), (true, "10 bytes".to_owned()));
        assert_eq!(hold("fast.verified_bytes == 5"), (true, "5 bytes".to_owned()));
        assert!(!hold("rtt.max < 1s").0 && hold("rtt.max < 1s").1.starts_with('2'));
        assert_eq!(hold("connect.p99 < 1s"), (false, "not measured".to_owned()));
    }
}
