//! The figures that a threshold can name: one table, which the parser, its error message, the README and the JSON
//! Schema share. Pure.
//!
//! A figure is of the run, or of one load group, whose name then stands before it: `GROUP.FIGURE`. Nothing but
//! [`FIGURES`] needs to be touched for a new one.

use std::fmt;
use std::time::Duration;

use crate::measure::{Latency, LoadStats};
use crate::stream::{FINDING_KINDS, FindingKind};
use crate::units::{ByteRate, Bytes, Count, ParseError, Rate, Time};

/// One row of [`FIGURES`].
pub struct Figure {
    /// What it is called; of a family, what stands before the last word.
    name: &'static str,
    /// One sentence for people.
    about: &'static str,
    of: Of,
}

/// Where its value comes from.
enum Of {
    /// Latencies: a figure for each of [`STATISTICS`].
    Latency(fn(&LoadStats) -> &Latency),
    /// Counts of findings: a figure for each of [`FINDING_KINDS`].
    Findings,
    /// A figure of the run or of a group.
    Group(Unit, fn(&Measured<'_>) -> Option<f64>),
    /// A figure that a group has not.
    Run(Unit, fn(&Run) -> Option<f64>),
}

/// What a value is counted in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    /// Nanoseconds.
    Time,
    Count,
    Bytes,
    BytesPerSecond,
    PerSecond,
}

/// What is known of a run beside the figures of its load groups. `None`: not measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// From the first connect to the last close.
    pub elapsed: Duration,
    /// CPU time of the client.
    pub client_cpu: Option<Duration>,
    /// The most memory that was resident in the client, in bytes.
    pub client_memory: Option<u64>,
    /// CPU time of the server.
    pub server_cpu: Option<Duration>,
}

/// The figures of a run, or of one of its groups.
pub(super) struct Measured<'r> {
    pub(super) figures: &'r LoadStats,
    pub(super) run: &'r Run,
    /// How long it took; `None`: nothing came back.
    pub(super) elapsed: Option<Duration>,
}

/// How latencies are summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Min,
    Mean,
    /// 0 to 100.
    Percentile(f64),
    Max,
    Count,
}

/// The words for them; `pNN` stands for all percentiles.
const STATISTICS: &[(&str, Statistic)] = &[
    ("min", Statistic::Min),
    ("mean", Statistic::Mean),
    ("pNN", Statistic::Percentile(99.0)),
    ("max", Statistic::Max),
    ("count", Statistic::Count),
];

/// Percentiles that are offered where a word was none.
const COMMON: &[&str] = &["p50", "p90", "p95", "p99", "p99.9"];

/// A figure by its whole name.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// As it was written, without the group.
    name: String,
    figure: &'static Figure,
    member: Member,
}

/// Which one of a family.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Member {
    Only,
    Latency(Statistic),
    Finding(FindingKind),
}

fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// So much a second. Nothing is none a second, however long it took.
fn per_second(amount: u64, measured: &Measured<'_>) -> Option<f64> {
    if amount == 0 {
        return Some(0.0);
    }
    let seconds = measured.elapsed.map(|elapsed| elapsed.as_secs_f64());
    seconds.filter(|seconds| *seconds > 0.0).map(|seconds| amount as f64 / seconds)
}

macro_rules! total {
    ($name:literal, $unit:ident, $field:ident, $about:literal) => {
        Figure { name: $name, about: $about, of: Of::Group(Unit::$unit, |m| Some(m.figures.counters.$field as f64)) }
    };
}

/// Every figure.
pub const FIGURES: &[Figure] = &[
    Figure {
        name: "rtt",
        about: "a round trip, from a message's first byte handed over (with `rate` from its scheduled time) to its last \
                byte verified",
        of: Of::Latency(|figures| &figures.rtt),
    },
    Figure {
        name: "connect",
        about: "from the start of a connect to its success",
        of: Of::Latency(|figures| &figures.connect),
    },
    Figure {
        name: "first_byte",
        about: "from a connection's first byte handed over to the first that came back",
        of: Of::Latency(|figures| &figures.first_byte),
    },
    total!("connections", Count, opened, "connections opened"),
    total!("passed", Count, passed, "those that ended as planned, with nothing wrong"),
    total!("failed", Count, failed, "those with a finding, or that could not be opened"),
    total!("cut_short", Count, cut_short, "those that were stopped before their end"),
    total!("reconnects", Count, reconnects, "those that followed another"),
    total!("connect_failures", Count, connect_failures, "connects that failed or timed out"),
    Figure {
        name: "errors",
        about: "findings of all kinds",
        of: Of::Group(Unit::Count, |m| Some(m.figures.counters.findings_total() as f64)),
    },
    Figure { name: "findings", about: "findings of one kind", of: Of::Findings },
    total!("messages", Count, messages_echoed, "messages that came back whole"),
    Figure {
        name: "unsent",
        about: "messages that were due by `rate` and could not be begun in time",
        of: Of::Group(Unit::Count, |m| Some(m.figures.open_loop.unsent as f64)),
    },
    total!("write_stalls", Count, write_stalls, "connections whose own writes were blocked for 200 ms or longer"),
    total!("sent_bytes", Bytes, bytes_sent, "bytes handed to the sockets"),
    total!("received_bytes", Bytes, bytes_received, "bytes that came back, right or wrong"),
    total!("verified_bytes", Bytes, bytes_verified, "bytes that came back and were right"),
    Figure {
        name: "throughput",
        about: "verified bytes a second of `elapsed`",
        of: Of::Group(Unit::BytesPerSecond, |m| per_second(m.figures.counters.bytes_verified, m)),
    },
    Figure {
        name: "message_rate",
        about: "messages a second of `elapsed` that came back whole",
        of: Of::Group(Unit::PerSecond, |m| per_second(m.figures.counters.messages_echoed, m)),
    },
    Figure {
        name: "elapsed",
        about: "from the first connect to the last close; of one load, from its first connect to its last echo",
        of: Of::Group(Unit::Time, |m| m.elapsed.map(nanos)),
    },
    Figure {
        name: "client.cpu",
        about: "CPU time of the client during the run; not of one load",
        of: Of::Run(Unit::Time, |run| run.client_cpu.map(nanos)),
    },
    Figure {
        name: "client.memory",
        about: "the most memory that the client's process has had resident so far; not of one load",
        of: Of::Run(Unit::Bytes, |run| run.client_memory.map(|bytes| bytes as f64)),
    },
    Figure {
        name: "server.cpu",
        about: "CPU time of the server, if it is a bundled one; not of one load",
        of: Of::Run(Unit::Time, |run| run.server_cpu.map(nanos)),
    },
];

impl Figure {
    /// As it is written, with words in capitals where there is a choice: `rtt.STATISTIC`, `findings.KIND`.
    fn pattern(&self) -> String {
        match self.of {
            Of::Latency(_) => format!("{}.STATISTIC", self.name),
            Of::Findings => format!("{}.KIND", self.name),
            Of::Group(..) | Of::Run(..) => self.name.to_owned(),
        }
    }

    /// Names that are well-formed: all of them, but for percentiles.
    fn names(&self) -> Vec<String> {
        let with = |word: &str| format!("{}.{word}", self.name);
        match self.of {
            Of::Latency(_) => {
                let words = STATISTICS.iter().map(|(word, _)| *word).filter(|word| *word != "pNN");
                words.chain(COMMON.iter().copied()).map(with).collect()
            }
            Of::Findings => FINDING_KINDS.iter().map(|row| with(row.name)).collect(),
            Of::Group(..) | Of::Run(..) => vec![self.name.to_owned()],
        }
    }

    /// The figure of the table, or the one of its family, that this is the whole name of.
    fn member(&self, name: &str) -> Option<Member> {
        let rest = name.strip_prefix(self.name)?;
        let word = rest.strip_prefix('.');
        match self.of {
            Of::Latency(_) => word.and_then(statistic).map(Member::Latency),
            Of::Findings => word.and_then(FindingKind::from_name).map(Member::Finding),
            Of::Group(..) | Of::Run(..) => rest.is_empty().then_some(Member::Only),
        }
    }
}

impl fmt::Debug for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        (self.figure.name, self.member) == (other.figure.name, other.member)
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
    // What dashboards call p999 is no percentile above 100.
    let dotted = digits.strip_prefix("99").filter(|nines| !nines.is_empty() && nines.bytes().all(|byte| byte == b'9'));
    let percent = match dotted {
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
        time.map(nanos)
    }
}

impl Named {
    /// The figure of this whole name, if there is one.
    fn find(name: &str) -> Option<Named> {
        let found = FIGURES.iter().find_map(|figure| Some((figure, figure.member(name)?)));
        found.map(|(figure, member)| Named { name: name.to_owned(), figure, member })
    }

    /// Its name, without the group.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn unit(&self) -> Unit {
        match (&self.figure.of, self.member) {
            (_, Member::Latency(Statistic::Count)) | (Of::Findings, _) => Unit::Count,
            (Of::Latency(_), _) => Unit::Time,
            (Of::Group(unit, _) | Of::Run(unit, _), _) => *unit,
        }
    }

    /// What was measured, in its unit; `None`: nothing.
    pub(super) fn of(&self, measured: &Measured<'_>) -> Option<f64> {
        match (&self.figure.of, self.member) {
            (Of::Latency(latency), Member::Latency(statistic)) => statistic.of(latency(measured.figures)),
            (Of::Findings, Member::Finding(kind)) => {
                Some(measured.figures.counters.findings.get(&kind).copied().unwrap_or_default() as f64)
            }
            (Of::Group(_, of), _) => of(measured),
            (Of::Run(_, of), _) => of(measured.run),
            (Of::Latency(_) | Of::Findings, _) => None,
        }
    }
}

/// The figure of this name, and the load group whose name stands before it. That may have dots in it, as figures have:
/// no figure ends in the whole name of another, so that there is one way to read it.
///
/// # Errors
/// A sentence: no such figure, with those that there are; or a group has none of this name.
pub(super) fn find(text: &str) -> Result<(Option<String>, Named), String> {
    if let Some(named) = Named::find(text) {
        return Ok((None, named));
    }
    let dots = text.match_indices('.').map(|(at, _)| at);
    let in_group = dots.filter_map(|at| Some((&text[..at], Named::find(&text[at + 1..])?))).next();
    match in_group {
        Some((_, Named { name, figure: Figure { of: Of::Run(..), .. }, .. })) => {
            Err(format!("{name} is a figure of the whole run: write {name}"))
        }
        Some((group, named)) => Ok((Some(group.to_owned()), named)),
        None => Err(format!("there is no figure '{text}': {}there are {}", suggestion(text), list())),
    }
}

/// The name that was most likely meant, whatever may stand before it, if any is near enough.
fn suggestion(text: &str) -> String {
    let ends = || std::iter::once(text).chain(text.match_indices('.').map(|(at, _)| &text[at + 1..]));
    // Letters that differ; none in a name that goes on where the text ends, as that of a family does.
    let distance = |name: &str, end: &str| match name.strip_prefix(end).is_some_and(|rest| rest.starts_with('.')) {
        true => 0,
        false => strsim::damerau_levenshtein(name, end),
    };
    let nearest = FIGURES.iter().flat_map(Figure::names).filter_map(|name| {
        let distance = ends().map(|end| distance(&name, end)).min()?;
        (distance * 2 <= name.len()).then_some((distance, name))
    });
    // The first of the table among equals.
    let nearest = nearest.min_by_key(|(distance, _)| *distance);
    nearest.map_or_else(String::new, |(_, name)| format!("did you mean {name}? If not, "))
}

/// All figures, in a sentence's form.
fn list() -> String {
    let patterns: Vec<String> = FIGURES.iter().map(Figure::pattern).collect();
    format!("{}. {}", patterns.join(", "), how().join("; "))
}

/// How the table is to be read.
fn how() -> [String; 3] {
    let words: Vec<&str> = STATISTICS.iter().map(|(word, _)| *word).collect();
    [
        format!("STATISTIC is {}; pNN is any percentile, such as {}", words.join(", "), COMMON.join(", ")),
        "KIND is a kind of finding, such as stalled".to_owned(),
        "a load's name may stand before: others.rtt.max".to_owned(),
    ]
}

/// The table in Markdown, as the README has it.
pub fn markdown() -> String {
    let row = |figure: &Figure| {
        let name = figure.names().into_iter().find(|name| name.ends_with(".p99") || name.ends_with(".stalled"));
        let named = Named::find(&name.unwrap_or_else(|| figure.name.to_owned()));
        let unit = named.map_or("", |named| named.unit().example());
        format!("| `{}` | `{unit}` | {} |", figure.pattern(), figure.about)
    };
    let rows: Vec<String> = FIGURES.iter().map(row).collect();
    format!("| figure | such as | what it is |\n| --- | --- | --- |\n{}\n\n{}.", rows.join("\n"), how().join(";\n"))
}

/// What an editor is told of a threshold.
pub fn description() -> String {
    let rows: Vec<String> = FIGURES.iter().map(|figure| format!("{}: {}", figure.pattern(), figure.about)).collect();
    format!(
        "Such as 'others.rtt.p99 < 1s', 'verified_bytes > 0': a figure, one of < <= > >= == !=, and a value\n\n{}\n\n{}",
        rows.join("\n"),
        how().join("; ")
    )
}

impl Unit {
    pub(super) fn read(self, text: &str) -> Result<f64, ParseError> {
        match self {
            Unit::Time => text.parse().map(|Time(time)| nanos(time)),
            Unit::Count => text.parse().map(|Count(n)| n as f64),
            Unit::Bytes => text.parse().map(|Bytes(n)| n as f64),
            Unit::BytesPerSecond => ByteRate::measured(text),
            Unit::PerSecond => Rate::measured(text),
        }
    }

    pub(super) fn show(self, value: f64) -> String {
        match self {
            Unit::Time => Time(Duration::from_nanos(value as u64)).to_string(),
            Unit::Count => format!("{value}"),
            Unit::Bytes => format!("{value} bytes"),
            Unit::BytesPerSecond => format!("{value:.0} bytes/s"),
            Unit::PerSecond => format!("{value:.1}/s"),
        }
    }

    pub(super) fn example(self) -> &'static str {
        match self {
            Unit::Time => "5ms",
            Unit::Count => "100",
            Unit::Bytes => "1MiB",
            Unit::BytesPerSecond => "100MB/s",
            Unit::PerSecond => "1000/s",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> impl Iterator<Item = String> {
        FIGURES.iter().flat_map(Figure::names)
    }

    #[test]
    fn every_figure_has_a_name_of_its_own_a_sentence_and_a_row() {
        let table = markdown();
        for figure in FIGURES {
            assert_eq!(FIGURES.iter().filter(|other| other.name == figure.name).count(), 1, "{figure:?}");
            assert!(
                figure.about.len() > 10 && !figure.about.ends_with('.') && !figure.about.contains('|'),
                "{figure:?}"
            );
            assert!(table.contains(&format!("| `{}` | ", figure.pattern())), "{table}");
            assert!(list().contains(&figure.pattern()) && description().contains(&figure.pattern()), "{figure:?}");
        }
    }

    #[test]
    fn no_figure_ends_in_the_whole_name_of_another() {
        for name in names() {
            for (at, _) in name.match_indices('.') {
                assert!(Named::find(&name[at + 1..]).is_none(), "{name}");
            }
        }
    }

    #[test]
    fn every_name_is_found_alone_and_a_groups_name_may_have_dots() {
        for name in names() {
            let (group, named) = find(&name).expect(&name);
            assert_eq!((group, named.name()), (None, name.as_str()));
            let is_of_run = matches!(named.figure.of, Of::Run(..));
            for before in ["others", "a.b", "rtt", "rtt.p99", "a <b"] {
                match find(&format!("{before}.{name}")) {
                    Ok((group, in_group)) => assert_eq!((group.as_deref(), in_group), (Some(before), named.clone())),
                    Err(error) => assert!(is_of_run && error.ends_with(&format!("write {name}")), "{error}"),
                }
            }
        }
    }

    #[test]
    fn a_percentile_is_any_from_0_to_100() {
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
    fn what_is_no_figure_is_answered_with_the_nearest_and_with_all() {
        let wrong = |text: &str| find(text).expect_err(text);
        assert!(wrong("othres.troughput").contains("did you mean throughput?"));
        assert!(wrong("others.findings.tsalled").contains("did you mean findings.stalled?"));
        assert!(wrong("rtt.p101").contains("did you mean rtt.p"), "{}", wrong("rtt.p101"));
        assert!(wrong("rtt").contains("did you mean rtt.min?") && wrong("rtt").contains("pNN is any percentile"));
        assert!(wrong("others.xyzzy").contains("no figure 'others.xyzzy': there are rtt.STATISTIC, "));
    }
}
