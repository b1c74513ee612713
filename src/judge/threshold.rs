//! Thresholds: `rtt.p99 < 5ms`, `others.verified_bytes > 0`, `throughput > 100MB/s`. Pure.
//!
//! An expression names a [`metric`] of the run, or of one load group (`GROUP.METRIC`), a comparison, and a value in the
//! metric's own unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::measured::MetricSource;
use super::metric::{self, MetricRef};
use super::metric_unit::MetricUnit;
use super::time_doubt::rounded;
use crate::units::ParseError;

/// A threshold, checked for form: the metric exists and the value has its unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// As it was written.
    text: String,
    /// The load group; none: the run.
    group: Option<String>,
    metric: MetricRef,
    comparison: Operator,
    value: f64,
}

/// A threshold that a run was held against.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EvaluatedThreshold<'t> {
    pub(super) threshold: &'t Threshold,
    pub(super) met: bool,
    /// It is not met, but that says nothing: it is about time, and what the run says about time cannot be trusted; or
    /// it is about growth, and there are too few samples; or only some connections stalled.
    pub(super) is_doubtful: bool,
    /// The measured value, with its unit.
    pub(super) actual: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// The longer forms first, since `<` begins `<=`.
const OPERATORS: &[(&str, Operator)] = &[
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

/// A standstill may be this much longer than it is measured: it is seen between two looks at the clock.
const GAP_SLACK: Duration = Duration::from_millis(100);

/// What to write instead of another sign.
const OPERATOR_REMEDY: &str = "write one of < <= > >= == !=";

/// Whether operators are made of this character.
fn is_of_sign(character: char) -> bool {
    matches!(character, '<' | '>' | '=' | '!')
}

impl Operator {
    fn is_met(self, actual: f64, limit: f64) -> bool {
        match self {
            Operator::Less => actual < limit,
            Operator::LessOrEqual => actual <= limit,
            Operator::Greater => actual > limit,
            Operator::GreaterOrEqual => actual >= limit,
            Operator::Equal => actual == limit,
            Operator::NotEqual => actual != limit,
        }
    }
}

impl FromStr for Threshold {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        // The last sign counts: a load's name may contain one, and a value can't.
        let found = OPERATORS.iter().filter_map(|(sign, c)| Some((text.rfind(sign)?, *sign, *c)));
        let (at, sign, comparison) =
            found.max_by_key(|(at, sign, _)| at + sign.len()).ok_or_else(|| match text.contains(is_of_sign) {
                true => ParseError::new(format!("'{text}' has no comparison that exists")).with_remedy(OPERATOR_REMEDY),
                false => ParseError::new(format!("'{text}' compares nothing"))
                    .with_remedy("write a metric, one of < <= > >= == !=, and a value"),
            })?;
        let (name, value) = (text[..at].trim(), text[at + sign.len()..].trim());
        let begins = name.trim_end_matches(is_of_sign).len();
        if begins < name.len() {
            let written = &text.trim()[begins..];
            let written = written.strip_suffix(value).unwrap_or(written).trim();
            return Err(ParseError::new(format!("'{written}' is not a comparison")).with_remedy(OPERATOR_REMEDY));
        }
        let (group, metric) = metric::find(name)?;
        let unit = metric.unit();
        let value = read_value(unit, value).map_err(|error| {
            let example = format!("{} takes values such as {}", metric.name(), unit.example());
            let remedy = error.remedy.map_or(example.clone(), |remedy| format!("{remedy}; {example}"));
            ParseError::new(error.what).in_part(format_args!("'{text}'")).with_remedy(remedy)
        })?;
        Ok(Threshold { text: text.trim().to_owned(), group, metric, comparison, value })
    }
}

/// Reads a value, or a fraction of one: in `5s/10`, the whole may come from a variable that several limits share.
fn read_value(unit: MetricUnit, text: &str) -> Result<f64, ParseError> {
    // A number after the '/' divides the value; a unit after it belongs to a rate.
    match text.rsplit_once('/').map(|(whole, divisor)| (whole.trim(), divisor.trim().parse::<u32>())) {
        Some((whole, Ok(divisor))) if divisor > 0 => Ok(unit.read(whole)? / f64::from(divisor)),
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

    /// Whether it is about what the server's processes keep.
    pub fn is_about_growth_of_server(&self) -> bool {
        self.is_about_growth() && self.metric.name().starts_with("server.")
    }

    fn is_about_growth(&self) -> bool {
        self.metric.name().ends_with(".growth")
    }

    /// The measured value for people: rounded, unless that would hide on which side of the limit it is.
    fn shown(&self, value: f64) -> String {
        let (rounded, text) = self.metric.unit().rounded(value);
        match rounded.partial_cmp(&self.value) == value.partial_cmp(&self.value) {
            true => text,
            false => self.metric.unit().show(value),
        }
    }

    /// Compares the threshold with the measured value. A metric that was not measured does not meet it.
    /// `is_time_known`: what the run says about time can be trusted.
    pub(super) fn evaluate(&self, source: &MetricSource<'_>, is_time_known: bool) -> EvaluatedThreshold<'_> {
        let measured = source.scope(self.group.as_deref()).and_then(|scope| self.metric.value(&scope));
        let (met, actual) = match measured {
            None => (false, format!("not measured{}", self.metric.why_unmeasured(source.resources()))),
            Some(value) => (self.comparison.is_met(value, self.value), self.shown(value)),
        };
        // A tester that got too little time took too few samples, which is no fault of the server.
        let is_watched = !self.is_about_growth_of_server() || source.resources().is_server_watched;
        let lacks_samples = measured.is_none() && self.is_about_growth() && is_watched;
        // If some connections stalled, the path can take back-pressure: the others accuse nobody.
        let is_count_of_stalls = self.metric.name() == "write_stalls";
        let is_partial = is_count_of_stalls && measured.is_some_and(|n| n > 0.0 && n < self.value);
        let stood_still = source.resources().stood_still;
        let is_explained = !met && measured.is_some_and(|value| self.is_explained_by(stood_still, value));
        let actual = match is_explained && is_time_known {
            true => format!("{actual}, and the client itself stood still for {}", rounded(stood_still)),
            false => actual,
        };
        let is_unknown = is_explained || !is_time_known && self.metric.depends_on_time();
        let is_doubtful = !met && (lacks_samples || is_partial || is_unknown);
        EvaluatedThreshold { threshold: self, met, is_doubtful, actual }
    }

    /// Whether a client that stood still for this time may have made all of the difference between a value that is too
    /// large and the limit.
    fn is_explained_by(&self, stood_still: Duration, value: f64) -> bool {
        let is_limit = matches!(self.comparison, Operator::Less | Operator::LessOrEqual);
        let is_of_time = self.metric.unit() == MetricUnit::Time && self.metric.depends_on_time();
        let most = (stood_still + GAP_SLACK).as_nanos() as f64;
        is_limit && is_of_time && !stood_still.is_zero() && value - self.value <= most
    }
}

impl EvaluatedThreshold<'_> {
    /// Whether it is not met, without a doubt.
    pub(super) fn is_missed(&self) -> bool {
        !self.met && !self.is_doubtful
    }

    /// The threshold and the measured value.
    pub(super) fn sentence(&self) -> String {
        format!("{}: it was {}", self.threshold, self.actual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::measured::{MeasuredLoad, MeasuredRun, RunEnding, RunResources};
    use crate::measure::{LoadStats, OpenLoopStats, UsageFigures};
    use crate::plan::Verify;
    use crate::stream::FindingKind;

    fn error(text: &str) -> String {
        text.parse::<Threshold>().expect_err(text).to_string()
    }

    #[test]
    fn every_comparison_takes_a_value_in_the_unit_of_its_metric() {
        for name in ["rtt.p99.9", "rtt.count", "findings.no-fin", "sent_bytes", "throughput", "message_rate"] {
            for (sign, comparison) in OPERATORS {
                let (_, metric) = metric::find(name).expect(name);
                for before in ["", "others.", "a.b.", "a<b.", "x == y."] {
                    let text = format!(" {before}{name}{sign}{} ", metric.unit().example());
                    let threshold: Threshold = text.parse().expect(&text);
                    assert_eq!((&threshold.metric, threshold.comparison), (&metric, *comparison), "{text}");
                    assert_eq!(threshold.group(), before.strip_suffix('.'), "{text}");
                    assert_eq!(threshold.to_string(), text.trim());
                }
            }
        }
    }

    #[test]
    fn a_threshold_that_makes_no_sense_is_explained() {
        assert!(error("othres.troughput > 1MB/s").contains("did you mean throughput?"));
        assert!(error("rtt.p99 < 5MiB").contains("5ms"));
        assert!(error("rtt.p99").contains("compares nothing"));
        for (text, sign) in [("rtt.p99 << 5ms", "<<"), ("rtt.p99 =< 5ms", "=<"), (" errors === 0 ", "===")] {
            assert_eq!(error(text), format!("'{sign}' is not a comparison: write one of < <= > >= == !="), "{text}");
        }
        assert!(error("rtt.p99 = 5ms").ends_with("no comparison that exists: write one of < <= > >= == !="));
        assert!(error("errors == no").contains("100"));
        assert!(error("1ms < rtt.p99 < 5ms").contains("no load") || error("1ms < rtt.p99 < 5ms").contains("no metric"));
        assert!(error("rtt.p99 < 5s/0").contains("5ms") && error("rtt.p99 < 5/2").contains("5s"));
    }

    #[test]
    fn a_value_may_be_a_fraction_of_another() {
        let value = |text: &str| text.parse::<Threshold>().expect(text).value;
        assert_eq!((value("rtt.p99 < 5s/10"), value("rtt.p99 < 5s / 2")), (5e8, 2.5e9));
        assert_eq!((value("message_rate > 100/s"), value("throughput > 1MB/s/4")), (100.0, 250_000.0));
    }

    #[test]
    fn a_value_is_rounded_unless_that_would_move_it_to_the_limit_or_past_it() {
        let shown = |text: &str, value| text.parse::<Threshold>().expect(text).shown(value);
        assert_eq!(shown("rtt.p99 < 4ms", 4_145_151.0), "4.15 ms");
        assert_eq!(shown("rtt.p99 < 4ms", 4_000_001.0), "4.000001 ms");
        assert_eq!(shown("rtt.p99 < 4.148ms", 4_147_000.0), "4.147 ms");
        assert_eq!(shown("sent_bytes > 5MiB", 5_242_879.0), "5,242,879 bytes");
        assert_eq!(shown("sent_bytes == 5MiB", 5_242_880.0), "5 MiB");
    }

    #[test]
    fn less_or_equal_includes_the_limit() {
        let less: Threshold = "rtt.max <= 1s".parse().expect("well-formed");
        assert!(less.comparison.is_met(1e9, less.value) && !less.comparison.is_met(1e9 + 1.0, less.value));
        assert_eq!(less.value, 1e9);
    }

    /// Whether a run of these load groups meets a threshold, and the measured value.
    fn evaluated(text: &str, groups: &[(&str, &LoadStats)], resources: RunResources) -> (bool, String) {
        let loads = groups.iter().map(|(name, stats)| MeasuredLoad { name, verify: Verify::Full, stats });
        let run = MeasuredRun {
            loads: loads.collect(),
            resources,
            ending: RunEnding::default(),
            answered: None,
            two_sides: false,
        };
        let threshold: Threshold = text.parse().expect(text);
        let EvaluatedThreshold { met, actual, .. } = threshold.evaluate(&MetricSource::new(&run), true);
        (met, actual)
    }

    fn group(rtt: u64) -> LoadStats {
        let mut stats = LoadStats::default();
        stats.rtt.record(rtt);
        stats.counters.bytes_verified = 5;
        stats
    }

    #[test]
    fn a_threshold_is_evaluated_for_its_group_or_for_all_of_them() {
        let (slow, fast) = (group(2_000_000_000), group(1000));
        let groups = [("slow", &slow), ("fast.one", &fast)];
        let resources = RunResources { elapsed: Duration::from_secs(1), ..RunResources::default() };
        let evaluate = |text: &str| evaluated(text, &groups, resources);
        assert!(evaluate("fast.one.rtt.max < 1s").0);
        assert_eq!(evaluate("verified_bytes == 10"), (true, "10 bytes".to_owned()));
        assert_eq!(evaluate("fast.one.verified_bytes == 5"), (true, "5 bytes".to_owned()));
        assert!(!evaluate("rtt.max < 1s").0 && evaluate("rtt.max < 1s").1.starts_with('2'));
        assert_eq!(evaluate("connect.p99 < 1s"), (false, "not measured".to_owned()));
    }

    #[test]
    fn the_rates_of_a_group_are_per_second_of_its_own_time() {
        let over = |from: u64, until: u64| {
            let mut stats = group(1);
            stats.counters.bytes_verified = 1000;
            stats.counters.messages_echoed = 10;
            stats.active_time.opened(from * 1_000_000_000);
            stats.active_time.echoed(until * 1_000_000_000);
            stats
        };
        let (fast, slow, mut silent) = (over(2, 4), over(0, 20), LoadStats::default());
        silent.active_time.opened(0);
        let groups = [("fast", &fast), ("slow", &slow), ("silent", &silent)];
        let resources = RunResources { elapsed: Duration::from_secs(25), ..RunResources::default() };
        for (text, met, actual) in [
            ("fast.throughput == 500/s", true, "500 bytes/s"),
            ("fast.message_rate == 5", true, "5.0/s"),
            ("fast.elapsed == 2s", true, "2 s"),
            ("slow.throughput == 50/s", true, "50 bytes/s"),
            ("throughput == 80/s", true, "80 bytes/s"),
            ("elapsed == 25s", true, "25 s"),
            ("silent.throughput > 0", false, "0 bytes/s"),
            ("silent.elapsed < 1h", false, "not measured"),
        ] {
            assert_eq!(evaluated(text, &groups, resources), (met, actual.to_owned()), "{text}");
        }
    }

    #[test]
    fn figures_of_the_server_come_from_its_processes() {
        let server = UsageFigures {
            memory: Some(5 << 20),
            fds: Some(12),
            fds_growth: Some(-3),
            memory_growth: Some(-4096),
            ..UsageFigures::default()
        };
        let resources = RunResources { server, is_server_watched: true, ..RunResources::default() };
        for (text, met, actual) in [
            ("server.memory < 6MiB", true, "5 MiB"),
            ("server.fds < 12", false, "12"),
            ("server.fds.growth < 10", true, "-3"),
            ("server.memory.growth < 1MiB", true, "-4,096 bytes"),
            ("server.threads < 9", false, "not measured: this system does not tell, or not this user"),
        ] {
            assert_eq!(evaluated(text, &[], resources), (met, actual.to_owned()), "{text}");
        }
        let (_, why) = evaluated("server.threads.growth < 9", &[], resources);
        assert!(why.starts_with("not measured: no sample fell between"), "{why}");
        let growth = |text: &str| text.parse::<Threshold>().expect(text).is_about_growth_of_server();
        assert!(growth("server.threads.growth < 9") && !growth("server.threads < 9"));
        assert!(!growth("client.fds.growth < 9"), "for the client nobody waits");
    }

    #[test]
    fn figures_of_the_client_are_its_own() {
        let client = UsageFigures { fds: Some(12), memory_growth: Some(4096), ..UsageFigures::default() };
        let resources = RunResources { client, client_memory: Some(5 << 20), ..RunResources::default() };
        for (text, met, actual) in [
            ("client.memory < 6MiB", true, "5 MiB"),
            ("client.fds < 12", false, "12"),
            ("client.memory.growth < 4KiB", false, "4,096 bytes"),
            ("client.cpu < 1s", false, "not measured"),
        ] {
            assert_eq!(evaluated(text, &[], resources), (met, actual.to_owned()), "{text}");
        }
        let (_, why) = evaluated("client.fds.growth < 9", &[], resources);
        assert!(why.starts_with("not measured: no sample fell between") && why.contains("last tenth"), "{why}");
    }

    #[test]
    fn every_kind_of_metric_says_what_was_measured() {
        let mut stats = group(1_000_000);
        (1..1000).for_each(|_| stats.rtt.record(1_000_000));
        stats.rtt.record(9_000_000);
        stats.counters.found(FindingKind::Stalled);
        stats.counters.cut_short = 3;
        stats.open_loop = OpenLoopStats { unsent: 7, ..OpenLoopStats::default() };
        let resources = RunResources {
            elapsed: Duration::from_millis(2500),
            client_cpu: Some(Duration::from_millis(1500)),
            client_memory: Some(4096),
            ..RunResources::default()
        };
        for (text, met, actual) in [
            ("rtt.p75 < 2ms", true, "1 ms"),
            ("rtt.p99.9 < 2ms", true, "1 ms"),
            ("rtt.p99.99 < 2ms", false, "9 ms"),
            ("rtt.count == 1001", true, "1,001"),
            ("findings.stalled == 0", false, "1"),
            ("findings.lost == 0", true, "0"),
            ("errors == 1", true, "1"),
            ("cut_short == 3", true, "3"),
            ("unsent == 0", false, "7"),
            ("throughput > 0", true, "2 bytes/s"),
            ("message_rate > 0", false, "0.0/s"),
            ("elapsed < 3s", true, "2.5 s"),
            ("client.cpu < 1s", false, "1.5 s"),
            ("client.memory <= 4KiB", true, "4,096 bytes"),
            ("server.cpu < 1s", false, "not measured: no process of the server was watched (--pid names one)"),
            ("server.fds < 9", false, "not measured: no process of the server was watched (--pid names one)"),
        ] {
            assert_eq!(evaluated(text, &[("load", &stats)], resources), (met, actual.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_value_that_a_standstill_of_the_client_explains_is_in_doubt() {
        let mut stats = LoadStats::default();
        stats.rtt.record(904_000_000);
        for (limit, ms, is_doubtful) in
            [("500ms", 0, false), ("500ms", 900, true), ("500ms", 250, false), ("1ms", 850, true)]
        {
            let resources = RunResources { stood_still: Duration::from_millis(ms), ..RunResources::default() };
            let run = MeasuredRun {
                loads: vec![MeasuredLoad { name: "load", verify: Verify::Full, stats: &stats }],
                resources,
                ending: RunEnding::default(),
                answered: None,
                two_sides: false,
            };
            let threshold: Threshold = format!("rtt.max < {limit}").parse().expect("it is a threshold");
            let source = MetricSource::new(&run);
            let evaluated = threshold.evaluate(&source, true);
            assert_eq!((evaluated.met, evaluated.is_doubtful), (false, is_doubtful), "{limit} {ms}");
            assert_eq!(evaluated.actual.contains("stood still for"), is_doubtful, "{}", evaluated.actual);
        }
    }

    #[test]
    fn stalls_of_some_of_the_connections_are_a_doubt_and_of_none_a_miss() {
        for (stalls, met, is_doubtful) in [(0, false, false), (1, false, true), (2, true, false)] {
            let mut stats = LoadStats::default();
            stats.counters.write_stalls = stalls;
            let run = MeasuredRun {
                loads: vec![MeasuredLoad { name: "load", verify: Verify::Full, stats: &stats }],
                resources: RunResources::default(),
                ending: RunEnding::default(),
                answered: None,
                two_sides: false,
            };
            let threshold: Threshold = "write_stalls == 2".parse().expect("it is a threshold");
            let source = MetricSource::new(&run);
            let evaluated = threshold.evaluate(&source, true);
            assert_eq!((evaluated.met, evaluated.is_doubtful), (met, is_doubtful), "{stalls}");
        }
    }
}
