//! The metrics that a threshold can name: one table, which the parser, its error message, docs/scenarios.md and the
//! JSON Schema share. Pure.
//!
//! A metric is measured over the whole run, or over one load group, whose name then comes first: `GROUP.METRIC`. A new
//! metric is a row of [`METRICS`] and nothing else.

use std::fmt;
use std::time::Duration;

use super::measured::{MetricScope, RunResources};
use super::metric_unit::MetricUnit;
use crate::measure::{Latency, LoadStats};
use crate::stream::{FINDING_KINDS, FindingKind};
use crate::units::ParseError;
use crate::units::nearest::likeness;

/// One row of [`METRICS`].
pub struct Metric {
    /// Its name; for a family of metrics, the part before the last word.
    name: &'static str,
    /// One sentence for people.
    description: &'static str,
    kind: MetricKind,
}

/// How a metric is read.
enum MetricKind {
    /// Latencies: a metric for each of [`STATISTICS`].
    Latency(fn(&LoadStats) -> &Latency),
    /// Counts of findings: a metric for each of [`FINDING_KINDS`].
    Findings,
    /// A metric of the run or of a load group.
    Group(MetricUnit, fn(&MetricScope<'_>) -> Option<f64>),
    /// A metric of the run alone.
    Run(MetricUnit, fn(&RunResources) -> Option<f64>),
}

/// How latencies are summarized.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Min,
    Mean,
    /// 0 to 100.
    Percentile(f64),
    Max,
    Count,
}

/// The words for the statistics; `pNN` stands for every percentile.
const STATISTICS: &[(&str, Statistic)] = &[
    ("min", Statistic::Min),
    ("mean", Statistic::Mean),
    ("pNN", Statistic::Percentile(99.0)),
    ("max", Statistic::Max),
    ("count", Statistic::Count),
];

/// Percentiles that an error message offers.
const COMMON_PERCENTILES: &[&str] = &["p50", "p90", "p95", "p99", "p99.9"];

/// A metric by its whole name.
#[derive(Clone, Debug)]
pub(super) struct MetricRef {
    /// As it was written, without the group.
    name: String,
    metric: &'static Metric,
    member: FamilyMember,
}

/// Which metric of a family.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FamilyMember {
    Only,
    Latency(Statistic),
    Finding(FindingKind),
}

fn in_nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// The amount per second. An amount of 0 is 0 per second, even if the time is not known.
fn per_second(amount: u64, scope: &MetricScope<'_>) -> Option<f64> {
    if amount == 0 {
        return Some(0.0);
    }
    let seconds = scope.elapsed.map(|elapsed| elapsed.as_secs_f64());
    seconds.filter(|seconds| *seconds > 0.0).map(|seconds| amount as f64 / seconds)
}

macro_rules! total {
    ($name:literal, $unit:ident, $field:ident, $description:literal) => {
        Metric {
            name: $name,
            description: $description,
            kind: MetricKind::Group(MetricUnit::$unit, |scope| Some(scope.stats.counters.$field as f64)),
        }
    };
}

/// A figure of the processes of the client or of the server.
macro_rules! used_by {
    ($side:ident, $name:literal, $unit:ident, $field:ident, $description:literal) => {
        Metric {
            name: $name,
            description: $description,
            kind: MetricKind::Run(MetricUnit::$unit, |resources| resources.$side.$field.map(|value| value as f64)),
        }
    };
}

/// Every metric.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "rtt",
        description: "a round trip, from a message's first byte handed over (with `rate` from its scheduled time) to its \
                      last byte verified",
        kind: MetricKind::Latency(|stats| &stats.rtt),
    },
    Metric {
        name: "connect",
        description: "from the start of a connect to its success",
        kind: MetricKind::Latency(|stats| &stats.connect),
    },
    Metric {
        name: "first_byte",
        description: "from a connection's first byte handed over to the first byte that came back",
        kind: MetricKind::Latency(|stats| &stats.first_byte),
    },
    Metric {
        name: "sent_after_due",
        description: "under `rate`, from the moment at which a message was due to the moment at which it began",
        kind: MetricKind::Latency(|stats| &stats.sent_after_due),
    },
    total!("connections", Count, opened, "connections opened"),
    total!("passed", Count, passed, "connections that ended as planned, with nothing wrong"),
    total!("failed", Count, failed, "connections with a finding, or that could not be opened"),
    total!("cut_short", Count, cut_short, "connections that were stopped before their end"),
    total!("reconnects", Count, reconnects, "connections that replaced one that had ended"),
    total!("connect_failures", Count, connect_failures, "connects that failed or timed out"),
    Metric {
        name: "slow_connects",
        description: "connects that took 1 s more than the fastest: their SYN was dropped and sent again",
        kind: MetricKind::Group(MetricUnit::Count, |scope| Some(scope.stats.slow_connects() as f64)),
    },
    total!("fast_open", Count, fast_open, "connections whose SYN carried data that was acknowledged"),
    total!(
        "without_alpn",
        Count,
        without_alpn,
        "connections over TLS on which the server chose no protocol of `--alpn`"
    ),
    Metric {
        name: "errors",
        description: "findings of all kinds",
        kind: MetricKind::Group(MetricUnit::Count, |scope| Some(scope.stats.counters.findings_total() as f64)),
    },
    Metric { name: "findings", description: "findings of one kind", kind: MetricKind::Findings },
    total!("messages", Count, messages_echoed, "messages that came back whole"),
    Metric {
        name: "unsent",
        description: "messages that were due under `rate` and could not be started in time",
        kind: MetricKind::Group(MetricUnit::Count, |scope| Some(scope.stats.open_loop.unsent as f64)),
    },
    total!("write_stalls", Count, write_stalls, "connections whose own writes were blocked for 200 ms or longer"),
    Metric {
        name: "buffered.min",
        description: "the least that a connection with `read` after-stall or never had handed over when its writes \
                      stalled: what the path holds",
        kind: MetricKind::Group(MetricUnit::Bytes, |scope| scope.stats.buffered.min().map(|bytes| bytes as f64)),
    },
    Metric {
        name: "buffered.max",
        description: "the most that such a connection had handed over",
        kind: MetricKind::Group(MetricUnit::Bytes, |scope| scope.stats.buffered.max().map(|bytes| bytes as f64)),
    },
    total!(
        "unserved",
        Count,
        unserved,
        "connections that never reached the backend while it was down, as the case wants it"
    ),
    total!("unserved_resets", Count, unserved_resets, "of these, those that were reset"),
    total!("unserved_silent", Count, unserved_silent, "of these, those that nothing ended in time"),
    total!("unserved_connects", Count, unserved_connects, "of these, those that could not be opened"),
    Metric {
        name: "unserved_after",
        description: "from the opening of such a connection to its end",
        kind: MetricKind::Latency(|stats| &stats.unserved_after),
    },
    total!("sent_bytes", Bytes, bytes_sent, "bytes handed to the sockets"),
    total!("received_bytes", Bytes, bytes_received, "bytes that came back, right or wrong"),
    total!("verified_bytes", Bytes, bytes_verified, "bytes that came back and were right"),
    Metric {
        name: "throughput",
        description: "verified bytes per second of `elapsed`",
        kind: MetricKind::Group(MetricUnit::BytesPerSecond, |scope| {
            per_second(scope.stats.counters.bytes_verified, scope)
        }),
    },
    Metric {
        name: "message_rate",
        description: "messages that came back whole, per second of `elapsed`",
        kind: MetricKind::Group(MetricUnit::PerSecond, |scope| per_second(scope.stats.counters.messages_echoed, scope)),
    },
    Metric {
        name: "elapsed",
        description: "from the first connect to the last close; for one load, from its first connect to its last echo",
        kind: MetricKind::Group(MetricUnit::Time, |scope| scope.elapsed.map(in_nanos)),
    },
    Metric {
        name: "client.cpu",
        description: "CPU time of the client during the run; not for one load",
        kind: MetricKind::Run(MetricUnit::Time, |resources| resources.client_cpu.map(in_nanos)),
    },
    Metric {
        name: "client.memory",
        description: "peak resident memory of the client's process so far; not for one load",
        kind: MetricKind::Run(MetricUnit::Bytes, |resources| resources.client_memory.map(|bytes| bytes as f64)),
    },
    used_by!(
        client,
        "client.memory.growth",
        Bytes,
        memory_growth,
        "resident memory of the client while the last tenth of the connections is opened and at least half of the most \
         are open, less that of the first ones: each the lowest sample, and the first are those between a tenth and a \
         half of all"
    ),
    used_by!(
        client,
        "client.fds",
        Count,
        fds,
        "the most open descriptors of the client in any sample; on Windows, handles of every kind"
    ),
    used_by!(client, "client.fds.growth", Count, fds_growth, "the same as `client.memory.growth`, of open descriptors"),
    Metric {
        name: "server.cpu",
        description: "CPU time of the server's processes; this and the rows below, of a server that the program starts or \
                      that `--pid` names, with all processes that it has started; not for one load",
        kind: MetricKind::Run(MetricUnit::Time, |resources| resources.server_cpu.map(in_nanos)),
    },
    used_by!(server, "server.memory", Bytes, memory, "the most resident memory of any sample"),
    used_by!(
        server,
        "server.memory.growth",
        Bytes,
        memory_growth,
        "resident memory when all connections have closed, less that of the first ones: the lowest sample between a tenth \
         and a half of all connections"
    ),
    used_by!(
        server,
        "server.fds",
        Count,
        fds,
        "the most open descriptors of any sample; on Windows, handles of every kind"
    ),
    used_by!(server, "server.fds.growth", Count, fds_growth, "the same as `server.memory.growth`, of open descriptors"),
    used_by!(server, "server.threads", Count, threads, "the most threads of any sample"),
    used_by!(server, "server.threads.growth", Count, threads_growth, "the same as `server.memory.growth`, of threads"),
];

impl Metric {
    /// The name as it is written, with a word in capitals for a choice: `rtt.STATISTIC`, `findings.KIND`.
    fn pattern(&self) -> String {
        match self.kind {
            MetricKind::Latency(_) => format!("{}.STATISTIC", self.name),
            MetricKind::Findings => format!("{}.KIND", self.name),
            MetricKind::Group(..) | MetricKind::Run(..) => self.name.to_owned(),
        }
    }

    /// All well-formed names; of percentiles, the common ones.
    fn names(&self) -> Vec<String> {
        let with = |word: &str| format!("{}.{word}", self.name);
        match self.kind {
            MetricKind::Latency(_) => {
                let words = STATISTICS.iter().map(|(word, _)| *word).filter(|word| *word != "pNN");
                words.chain(COMMON_PERCENTILES.iter().copied()).map(with).collect()
            }
            MetricKind::Findings => FINDING_KINDS.iter().map(|row| with(row.name)).collect(),
            MetricKind::Group(..) | MetricKind::Run(..) => vec![self.name.to_owned()],
        }
    }

    /// The metric that this whole name stands for: this one, or one of its family.
    fn member(&self, name: &str) -> Option<FamilyMember> {
        let rest = name.strip_prefix(self.name)?;
        let word = rest.strip_prefix('.');
        match self.kind {
            MetricKind::Latency(_) => word.and_then(statistic).map(FamilyMember::Latency),
            MetricKind::Findings => word.and_then(FindingKind::from_name).map(FamilyMember::Finding),
            MetricKind::Group(..) | MetricKind::Run(..) => rest.is_empty().then_some(FamilyMember::Only),
        }
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for MetricRef {
    fn eq(&self, other: &Self) -> bool {
        (self.metric.name, self.member) == (other.metric.name, other.member)
    }
}

/// `min`, `p99`, `p99.9` (also as `p999`) …
fn statistic(word: &str) -> Option<Statistic> {
    let fixed = STATISTICS.iter().find(|(known, _)| *known == word && word != "pNN");
    if let Some((_, statistic)) = fixed {
        return Some(*statistic);
    }
    let digits = word.strip_prefix('p')?;
    let is_decimal = digits.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    // Dashboards write p999 for p99.9.
    let nines = digits.strip_prefix("99").filter(|nines| !nines.is_empty() && nines.bytes().all(|byte| byte == b'9'));
    let percent = match nines {
        Some(nines) => format!("99.{nines}").parse().ok()?,
        None => digits.parse().ok().filter(|percent| is_decimal && (0.0..=100.0).contains(percent))?,
    };
    Some(Statistic::Percentile(percent))
}

impl Statistic {
    fn of(self, latency: &Latency) -> Option<f64> {
        let time = match self {
            Statistic::Min => latency.min(),
            Statistic::Mean => latency.mean(),
            Statistic::Percentile(percent) => latency.percentile(percent),
            Statistic::Max => latency.max(),
            Statistic::Count => return Some(latency.count() as f64),
        };
        time.map(in_nanos)
    }
}

impl MetricRef {
    /// The metric of this whole name, if there is one.
    fn find(name: &str) -> Option<MetricRef> {
        let found = METRICS.iter().find_map(|metric| Some((metric, metric.member(name)?)));
        found.map(|(metric, member)| MetricRef { name: name.to_owned(), metric, member })
    }

    /// Its name, without the group.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn unit(&self) -> MetricUnit {
        match (&self.metric.kind, self.member) {
            (_, FamilyMember::Latency(Statistic::Count)) | (MetricKind::Findings, _) => MetricUnit::Count,
            (MetricKind::Latency(_), _) => MetricUnit::Time,
            (MetricKind::Group(unit, _) | MetricKind::Run(unit, _), _) => *unit,
        }
    }

    /// Whether a slow machine changes it.
    pub(super) fn depends_on_time(&self) -> bool {
        match (&self.metric.kind, self.member) {
            (MetricKind::Findings, FamilyMember::Finding(kind)) => kind.depends_on_time(),
            _ => matches!(self.unit(), MetricUnit::Time | MetricUnit::BytesPerSecond | MetricUnit::PerSecond),
        }
    }

    /// Why it was not measured, as the end of a sentence; empty where its name says enough.
    pub(super) fn why_unmeasured(&self, resources: &RunResources) -> &'static str {
        match self.metric.name.split_once('.') {
            Some(("server", _)) if !resources.is_server_watched => {
                ": no process of the server was watched (--pid names one)"
            }
            Some(("server", name)) if name.ends_with(".growth") => {
                ": no sample fell between a tenth and a half of the connections, or this system does not tell"
            }
            Some(("client", name)) if name.ends_with(".growth") => {
                ": no sample fell between a tenth and a half of the connections, or into the last tenth, or this system \
                 does not tell"
            }
            Some(("server", _)) => ": this system does not tell, or not this user",
            _ => "",
        }
    }

    /// The measured value, in its unit; `None`: not measured.
    pub(super) fn value(&self, scope: &MetricScope<'_>) -> Option<f64> {
        match (&self.metric.kind, self.member) {
            (MetricKind::Latency(latency), FamilyMember::Latency(statistic)) => statistic.of(latency(scope.stats)),
            (MetricKind::Findings, FamilyMember::Finding(kind)) => {
                Some(scope.stats.counters.findings.get(&kind).copied().unwrap_or_default() as f64)
            }
            (MetricKind::Group(_, value), _) => value(scope),
            (MetricKind::Run(_, value), _) => value(scope.resources),
            (MetricKind::Latency(_) | MetricKind::Findings, _) => None,
        }
    }
}

/// The metric that a text names, and the load group whose name comes first, if one does. Names of groups and of metrics
/// may both have dots in them: no metric's name ends in the whole name of another, so there is one way to read a text.
///
/// # Errors
/// There is no such metric, or a load group does not have it.
pub(super) fn find(text: &str) -> Result<(Option<String>, MetricRef), ParseError> {
    if let Some(found) = MetricRef::find(text) {
        return Ok((None, found));
    }
    let dots = text.match_indices('.').map(|(at, _)| at);
    let in_group = dots.filter_map(|at| Some((&text[..at], MetricRef::find(&text[at + 1..])?))).next();
    match in_group {
        Some((_, MetricRef { name, metric: Metric { kind: MetricKind::Run(..), .. }, .. })) => {
            Err(ParseError::new(format!("{name} is a metric of the whole run")).with_remedy(format!("write {name}")))
        }
        Some((group, found)) => Ok((Some(group.to_owned()), found)),
        None => {
            let remedy = suggestion(text).unwrap_or_else(|| format!("there are {}", list()));
            Err(ParseError::new(format!("there is no metric '{text}'")).with_remedy(remedy))
        }
    }
}

/// The name that was most likely meant, if one is near enough. A group's name may come first.
fn suggestion(text: &str) -> Option<String> {
    let ends = || std::iter::once(text).chain(text.match_indices('.').map(|(at, _)| &text[at + 1..]));
    // The name of a family stands for any of its metrics, whose names continue it.
    let likeness = |end: &str, name: &str| match name.strip_prefix(end).is_some_and(|rest| rest.starts_with('.')) {
        true => Some(1.0),
        false => likeness(end, name),
    };
    let likely = METRICS.iter().flat_map(Metric::names).filter_map(|name| {
        let likeness = ends().filter_map(|end| likeness(end, &name)).max_by(f64::total_cmp)?;
        Some((likeness, name))
    });
    // Among equals, the first of the table.
    let nearest = likely.reduce(|best, next| if next.0 > best.0 { next } else { best });
    nearest.map(|(_, name)| {
        let is_family =
            METRICS.iter().any(|metric| matches!(metric.kind, MetricKind::Latency(_)) && is_of(&name, metric));
        let notes = if is_family { format!(" {}", reading_notes()[0]) } else { String::new() };
        format!("did you mean {name}?{notes}")
    })
}

/// Whether a name is one of those of this family.
fn is_of(name: &str, family: &Metric) -> bool {
    name.strip_prefix(family.name).is_some_and(|rest| rest.starts_with('.'))
}

/// All metrics, as part of a sentence.
fn list() -> String {
    let patterns: Vec<String> = METRICS.iter().map(Metric::pattern).collect();
    format!("{}. {}", patterns.join(", "), reading_notes().join("; "))
}

/// How to read the table.
fn reading_notes() -> [String; 3] {
    let words: Vec<&str> = STATISTICS.iter().map(|(word, _)| *word).collect();
    [
        format!("STATISTIC is {}; pNN is any percentile, such as {}", words.join(", "), COMMON_PERCENTILES.join(", ")),
        "KIND is a kind of finding, such as stalled".to_owned(),
        "a load's name may come first: others.rtt.max".to_owned(),
    ]
}

/// The table in Markdown, as docs/scenarios.md has it.
pub fn markdown() -> String {
    let row = |metric: &Metric| {
        let name = metric.names().into_iter().find(|name| name.ends_with(".p99") || name.ends_with(".stalled"));
        let found = MetricRef::find(&name.unwrap_or_else(|| metric.name.to_owned()));
        let unit = found.map_or("", |found| found.unit().example());
        format!("| `{}` | `{unit}` | {} |", metric.pattern(), metric.description)
    };
    let rows: Vec<String> = METRICS.iter().map(row).collect();
    format!(
        "| metric | example | meaning |\n| --- | --- | --- |\n{}\n\n{}.",
        rows.join("\n"),
        reading_notes().join(";\n")
    )
}

/// The description of a threshold that an editor shows.
pub fn description() -> String {
    let rows: Vec<String> =
        METRICS.iter().map(|metric| format!("{}: {}", metric.pattern(), metric.description)).collect();
    format!(
        "A metric, one of < <= > >= == !=, and a value: 'others.rtt.p99 < 1s', 'verified_bytes > 0'\n\n{}\n\n{}",
        rows.join("\n"),
        reading_notes().join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> impl Iterator<Item = String> {
        METRICS.iter().flat_map(Metric::names)
    }

    #[test]
    fn every_metric_has_its_own_name_a_sentence_and_a_row() {
        let table = markdown();
        for metric in METRICS {
            assert_eq!(METRICS.iter().filter(|other| other.name == metric.name).count(), 1, "{metric:?}");
            assert!(
                metric.description.len() > 10
                    && !metric.description.ends_with('.')
                    && !metric.description.contains('|'),
                "{metric:?}"
            );
            assert!(table.contains(&format!("| `{}` | ", metric.pattern())), "{table}");
            assert!(list().contains(&metric.pattern()) && description().contains(&metric.pattern()), "{metric:?}");
        }
    }

    #[test]
    fn no_metric_ends_in_the_whole_name_of_another() {
        for name in names() {
            for (at, _) in name.match_indices('.') {
                assert!(MetricRef::find(&name[at + 1..]).is_none(), "{name}");
            }
        }
    }

    #[test]
    fn every_name_is_found_alone_and_after_a_group_name_with_dots() {
        for name in names() {
            let (group, metric) = find(&name).expect(&name);
            assert_eq!((group, metric.name()), (None, name.as_str()));
            let is_of_run = matches!(metric.metric.kind, MetricKind::Run(..));
            for before in ["others", "a.b", "rtt", "rtt.p99", "a <b"] {
                match find(&format!("{before}.{name}")) {
                    Ok((group, in_group)) => assert_eq!((group.as_deref(), in_group), (Some(before), metric.clone())),
                    Err(error) => {
                        assert!(is_of_run && error.to_string().ends_with(&format!("write {name}")), "{error}")
                    }
                }
            }
        }
    }

    #[test]
    fn a_percentile_is_any_number_from_0_to_100() {
        for (word, percent) in
            [("p50", 50.0), ("p75", 75.0), ("p99.9", 99.9), ("p99.99", 99.99), ("p999", 99.9), ("p9999", 99.99)]
        {
            assert_eq!(statistic(word), Some(Statistic::Percentile(percent)), "{word}");
        }
        assert_eq!((statistic("p0"), statistic("p100")), {
            (Some(Statistic::Percentile(0.0)), Some(Statistic::Percentile(100.0)))
        });
        for word in ["p", "p101", "p100.1", "p-1", "p9.", "p.9", "p9.9.9", "pNN", "pnan", "p1e1", "P99", "99"] {
            assert_eq!(statistic(word), None, "{word}");
        }
    }

    #[test]
    fn an_unknown_metric_is_answered_with_the_nearest_and_the_full_list() {
        let error = |text: &str| find(text).expect_err(text).to_string();
        assert!(error("othres.troughput").contains("did you mean throughput?"));
        assert!(error("others.findings.tsalled").contains("did you mean findings.stalled?"));
        assert!(error("rtt.p101").contains("did you mean rtt.p"), "{}", error("rtt.p101"));
        assert!(error("rtt").contains("did you mean rtt.min?") && error("rtt").contains("pNN is any percentile"));
        assert!(error("othres.troughput").ends_with("did you mean throughput?"));
        assert!(error("others.xyzzy").contains("no metric 'others.xyzzy': there are rtt.STATISTIC, "));
    }
}
