//! The same load against several servers, as data and as tables: correctness first, numbers second.
//!
//! A server that fails the verification in any round has no figures here: how fast wrong bytes come does not count. The
//! figures of the others are medians over the rounds, with the least and the greatest beside them. Made of the
//! [`RunReport`]s of the rounds; the JSON Schema is published by `echo-tester schema compare`.

use std::fmt::Write as _;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{LoadReport, RunReport};
use super::{show_bytes, show_count, show_time, terminal};
use crate::exit::Exit;
use crate::judge::verdict::Outcome;
use crate::measure::Latency;
use crate::stream::Finding;

/// The form of the JSON report. It changes when a reader of the old form would misread the new one.
pub const FORM: &str = "echo-tester/compare/1";

/// A comparison.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "echo-tester compare report")]
pub struct CompareReport {
    /// The form of this document.
    pub form: String,
    /// The version of the program.
    pub version: String,
    /// The seed of every run, as `--seed` takes it.
    pub seed: String,
    /// The load of every run as a sentence.
    pub about: String,
    /// Those that were compared, in the order in which they were named.
    pub contenders: Vec<Contender>,
    /// Those that can't run here.
    pub skipped: Vec<Skipped>,
    /// It was stopped before its end.
    pub interrupted: bool,
    /// What the process returns for it.
    pub exit_code: u8,
}

/// One server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contender {
    /// A bundled model, or the name of a server of the user's own.
    pub name: String,
    /// The worst that a round came to.
    pub outcome: Outcome,
    /// Why, where it is not a pass.
    pub reasons: Vec<String>,
    /// What it reached; null unless every round passed.
    pub figures: Option<Summary>,
    /// Its round trips a second as a part of those of the first that passed.
    pub ratio: Option<f64>,
    /// Rounds in which the client had no time left, so that this server may be faster than its figures.
    pub client_was_bottleneck: u64,
    /// Rounds in which the machine had no time left for client and server together.
    pub machine_was_full: u64,
    /// Round by round.
    pub rounds: Vec<Round>,
}

/// One that can't run here.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// The model.
    pub name: String,
    /// Why not.
    pub why: String,
}

/// One run of one server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// What it came to.
    pub outcome: Outcome,
    /// Why.
    pub reasons: Vec<String>,
    /// Messages that came back whole, a second.
    pub messages_per_s: f64,
    /// Bytes that came back and were right, a second.
    pub bytes_per_s: f64,
    /// Half of the round trips took at most so long, in nanoseconds.
    pub rtt_p50_ns: Option<u64>,
    /// 99 % of the round trips took at most so long, in nanoseconds.
    pub rtt_p99_ns: Option<u64>,
    /// CPU time of the server; null where it is not a bundled one, or does not tell.
    pub server_cpu_s: Option<f64>,
    /// CPU seconds of the server for a thousand messages.
    pub server_cpu_s_per_1000_messages: Option<f64>,
    /// CPU seconds of the server for a GiB echoed.
    pub server_cpu_s_per_gib: Option<f64>,
    /// CPU time of the client.
    pub client_cpu_s: Option<f64>,
    /// Whether the client had no time left.
    pub client_was_bottleneck: Option<bool>,
    /// Whether the machine had no time left for client and server together; null where that is not known.
    pub machine_was_full: Option<bool>,
    /// From the first connect to the last close.
    pub elapsed_s: f64,
    /// What was found wrong, as far as it was kept.
    pub findings: Vec<Finding>,
}

/// A figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// As many rounds are below as above; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// The figures of a server that passed every round; units as in [`Round`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Messages that came back whole, a second.
    pub messages_per_s: Spread,
    /// Bytes that came back and were right, a second.
    pub bytes_per_s: Spread,
    /// Half of the round trips took at most so long.
    pub rtt_p50_ns: Option<Spread>,
    /// 99 % of the round trips took at most so long.
    pub rtt_p99_ns: Option<Spread>,
    /// CPU seconds of the server for a thousand messages.
    pub server_cpu_s_per_1000_messages: Option<Spread>,
    /// CPU seconds of the server for a GiB echoed.
    pub server_cpu_s_per_gib: Option<Spread>,
}

impl Round {
    /// The round that came to this report.
    pub fn of(report: &RunReport) -> Round {
        let total = &report.total;
        let per_second = |amount| report.per_second(amount).unwrap_or(0.0);
        let server_cpu_s = report.server.as_ref().and_then(|server| server.cpu_s);
        let cpu_per = |amount: f64| server_cpu_s.filter(|_| amount > 0.0).map(|cpu| cpu / amount);
        let rtt = round_trips(&report.loads);
        let nanos = |percent| rtt.percentile(percent).and_then(|time| u64::try_from(time.as_nanos()).ok());
        Round {
            outcome: report.verdict.outcome,
            reasons: report.verdict.reasons.clone(),
            messages_per_s: per_second(total.messages_echoed),
            bytes_per_s: per_second(total.bytes_verified),
            rtt_p50_ns: nanos(50.0),
            rtt_p99_ns: nanos(99.0),
            server_cpu_s,
            server_cpu_s_per_1000_messages: cpu_per(total.messages_echoed as f64 / 1e3),
            server_cpu_s_per_gib: cpu_per(total.bytes_verified as f64 / f64::from(1 << 30)),
            client_cpu_s: report.client.cpu_s,
            client_was_bottleneck: report.client.was_bottleneck,
            machine_was_full: report.client.machine_was_full,
            elapsed_s: report.elapsed_s,
            findings: report.loads.iter().flat_map(|load| load.findings.iter().cloned()).collect(),
        }
    }
}

/// The round trips of all groups.
fn round_trips(loads: &[LoadReport]) -> Latency {
    let mut sum = Latency::default();
    for latency in loads.iter().filter_map(|load| Latency::decode(&load.rtt.hdr).ok()) {
        sum.add(&latency);
    }
    sum
}

impl Spread {
    /// `None` when there are no values, or one of them is not known.
    fn of(values: impl Iterator<Item = Option<f64>>) -> Option<Spread> {
        let mut values: Vec<f64> = values.collect::<Option<_>>()?;
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Spread { median, min, max })
    }

    /// How far the rounds lie apart, in per cent of the median.
    fn percent(&self) -> f64 {
        if self.median > 0.0 { (self.max - self.min) / self.median * 100.0 } else { 0.0 }
    }
}

impl Summary {
    fn of(rounds: &[Round]) -> Option<Summary> {
        let over = |figure: fn(&Round) -> Option<f64>| Spread::of(rounds.iter().map(figure));
        Some(Summary {
            messages_per_s: over(|round| Some(round.messages_per_s))?,
            bytes_per_s: over(|round| Some(round.bytes_per_s))?,
            rtt_p50_ns: over(|round| round.rtt_p50_ns.map(|nanos| nanos as f64)),
            rtt_p99_ns: over(|round| round.rtt_p99_ns.map(|nanos| nanos as f64)),
            server_cpu_s_per_1000_messages: over(|round| round.server_cpu_s_per_1000_messages),
            server_cpu_s_per_gib: over(|round| round.server_cpu_s_per_gib),
        })
    }
}

/// From the worst to the best.
const WORST_FIRST: [Outcome; 5] =
    [Outcome::Fail, Outcome::Interrupted, Outcome::Inconclusive, Outcome::ThresholdMissed, Outcome::Pass];

fn worst(outcomes: impl Iterator<Item = Outcome> + Clone) -> Option<Outcome> {
    WORST_FIRST.into_iter().find(|worst| outcomes.clone().any(|outcome| outcome == *worst))
}

impl Contender {
    /// What the rounds of one server came to; its ratio is not known before the others are.
    pub fn new(name: String, rounds: Vec<Round>) -> Contender {
        // Not one round: nothing is known of it.
        let outcome = worst(rounds.iter().map(|round| round.outcome)).unwrap_or(Outcome::Inconclusive);
        let bad = rounds.iter().find(|round| round.outcome == outcome && outcome != Outcome::Pass);
        let count = |is: fn(&Round) -> bool| rounds.iter().filter(|round| is(round)).count() as u64;
        Contender {
            name,
            outcome,
            reasons: bad.map_or_else(Vec::new, |round| round.reasons.clone()),
            figures: Summary::of(&rounds).filter(|_| outcome == Outcome::Pass),
            ratio: None,
            client_was_bottleneck: count(|round| round.client_was_bottleneck == Some(true)),
            machine_was_full: count(|round| round.machine_was_full == Some(true)),
            rounds,
        }
    }
}

impl CompareReport {
    /// A comparison that has ended.
    pub fn new(
        seed: u64,
        about: String,
        mut contenders: Vec<Contender>,
        skipped: Vec<Skipped>,
        interrupted: bool,
    ) -> Self {
        let rate = |contender: &Contender| contender.figures.map(|figures| figures.messages_per_s.median);
        let first = contenders.iter().find_map(rate).filter(|rate| *rate > 0.0);
        for contender in &mut contenders {
            contender.ratio = first.zip(rate(contender)).map(|(first, rate)| rate / first);
        }
        let outcome = match worst(contenders.iter().map(|contender| contender.outcome)) {
            Some(Outcome::Fail) => Outcome::Fail,
            _ if interrupted => Outcome::Interrupted,
            outcome => outcome.unwrap_or(Outcome::Inconclusive),
        };
        CompareReport {
            form: FORM.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: seed.to_string(),
            about,
            contenders,
            skipped,
            interrupted,
            exit_code: outcome.exit().code(),
        }
    }

    /// What the process returns for it.
    pub fn exit(&self) -> Exit {
        let row = crate::exit::TABLE.iter().find(|row| row.exit.code() == self.exit_code);
        row.map_or(Exit::Inconclusive, |row| row.exit)
    }
}

const HEADER: [&str; 10] = [
    "server",
    "verdict",
    "round trips",
    "spread",
    "throughput",
    "p50",
    "p99",
    "CPU/1,000 messages",
    "CPU/GiB",
    "ratio",
];

fn cells(contender: &Contender) -> Vec<String> {
    let mut cells = vec![contender.name.clone(), contender.outcome.name().to_owned()];
    let Some(figures) = &contender.figures else {
        cells.resize(HEADER.len(), "-".to_owned());
        return cells;
    };
    let time = |seconds: f64| show_time(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let or_none = |spread: Option<Spread>, unit: f64| spread.map_or_else(|| "-".to_owned(), |s| time(s.median * unit));
    cells.extend([
        format!("{}/s", show_count(figures.messages_per_s.median.round() as u64)),
        format!("{:.1} %", figures.messages_per_s.percent()),
        format!("{}/s", show_bytes(figures.bytes_per_s.median)),
        or_none(figures.rtt_p50_ns, 1e-9),
        or_none(figures.rtt_p99_ns, 1e-9),
        or_none(figures.server_cpu_s_per_1000_messages, 1.0),
        or_none(figures.server_cpu_s_per_gib, 1.0),
        contender.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
    ]);
    cells
}

/// The table as people read it on a terminal, with what was found wrong, and what to know about the figures.
pub fn render(report: &CompareReport) -> String {
    let rows = report.contenders.iter().map(cells).collect();
    let mut text = format!("{}\n", terminal::table(&HEADER, rows).trim_fmt());
    for contender in report.contenders.iter().filter(|contender| contender.outcome != Outcome::Pass) {
        let _ = write!(text, "\n{}: {}", contender.name, contender.outcome.name());
        contender.reasons.iter().for_each(|reason| {
            let _ = write!(text, "\n  {reason}");
        });
        text.push('\n');
        if let Some(finding) = contender.rounds.iter().flat_map(|round| &round.findings).next() {
            let _ = write!(text, "\n{}", super::finding::render(finding));
        }
    }
    for note in notes(report) {
        let _ = write!(text, "\n{}", super::finding::wrapped(&note));
    }
    text.trim_end().to_owned()
}

fn notes(report: &CompareReport) -> Vec<String> {
    let skipped = |skipped: &Skipped| format!("skipped: {}: {}", skipped.name, skipped.why);
    let mut notes: Vec<String> = report.skipped.iter().map(skipped).collect();
    let rounds_in = |count: fn(&Contender) -> u64| {
        let some = report.contenders.iter().filter(|contender| count(contender) > 0);
        let text =
            |contender: &Contender| format!("{} in {} of {}", contender.name, count(contender), contender.rounds.len());
        Some(some.map(text).collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
    };
    notes.extend(rounds_in(|contender| contender.client_was_bottleneck).map(|which| {
        format!(
            "note: the client had no time left ({which} rounds), which hides how much faster a server is: compare the \
             CPU columns, or give the client more cores"
        )
    }));
    notes.extend(rounds_in(|contender| contender.machine_was_full).map(|which| {
        format!(
            "note: the machine had no time left for client and server together ({which} rounds): with one for each the \
             figures may be others, and their ratios too"
        )
    }));
    notes
}

/// The table in Markdown.
pub fn markdown(report: &CompareReport) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
    let mut text = format!("{}, seed {}\n\n", report.about, report.seed);
    text.push_str(&row(&HEADER.map(str::to_owned)));
    let aligned = HEADER.iter().enumerate().map(|(i, _)| if i < 2 { "---" } else { "---:" }.to_owned());
    text.push_str(&row(&aligned.collect::<Vec<_>>()));
    for contender in &report.contenders {
        let cells: Vec<String> = cells(contender).iter().map(|cell| cell.replace('|', "\\|")).collect();
        text.push_str(&row(&cells));
    }
    for note in notes(report) {
        let _ = write!(text, "\n{note}\n");
    }
    text.trim_end().to_owned()
}

/// A line for each round of each server (RFC 4180), plain numbers in the units of the JSON.
pub fn csv(report: &CompareReport) -> String {
    let mut lines = vec![
        "server,round,outcome,messages_per_s,bytes_per_s,rtt_p50_ns,rtt_p99_ns,server_cpu_s,\
         server_cpu_s_per_1000_messages,server_cpu_s_per_gib,client_cpu_s,client_was_bottleneck,elapsed_s,machine_was_full"
            .to_owned(),
    ];
    for contender in &report.contenders {
        for (number, round) in contender.rounds.iter().enumerate() {
            fn or_empty(value: Option<impl ToString>) -> String {
                value.map_or_else(String::new, |value| value.to_string())
            }
            let cells = [
                quoted(&contender.name),
                (number + 1).to_string(),
                round.outcome.name().to_owned(),
                round.messages_per_s.to_string(),
                round.bytes_per_s.to_string(),
                or_empty(round.rtt_p50_ns),
                or_empty(round.rtt_p99_ns),
                or_empty(round.server_cpu_s),
                or_empty(round.server_cpu_s_per_1000_messages),
                or_empty(round.server_cpu_s_per_gib),
                or_empty(round.client_cpu_s),
                or_empty(round.client_was_bottleneck),
                round.elapsed_s.to_string(),
                or_empty(round.machine_was_full),
            ];
            lines.push(cells.join(","));
        }
    }
    lines.join("\r\n")
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(outcome: Outcome, messages_per_s: f64) -> Round {
        Round {
            outcome,
            reasons: vec!["why".to_owned()],
            messages_per_s,
            bytes_per_s: messages_per_s * 1024.0,
            rtt_p50_ns: Some(50_000),
            rtt_p99_ns: Some(1_000_000),
            server_cpu_s: Some(0.5),
            server_cpu_s_per_1000_messages: Some(0.01),
            server_cpu_s_per_gib: Some(2.0),
            client_cpu_s: Some(0.5),
            client_was_bottleneck: Some(messages_per_s > 150.0),
            machine_was_full: Some(messages_per_s > 150.0),
            elapsed_s: 1.0,
            findings: Vec::new(),
        }
    }

    fn contender(name: &str, rates: &[f64]) -> Contender {
        Contender::new(name.to_owned(), rates.iter().map(|rate| round(Outcome::Pass, *rate)).collect())
    }

    fn compared(contenders: Vec<Contender>) -> CompareReport {
        CompareReport::new(7, "3 connections".to_owned(), contenders, Vec::new(), false)
    }

    #[test]
    fn figures_are_medians_and_ratios_are_to_the_first_that_passed() {
        let report = compared(vec![contender("a", &[100.0, 140.0, 90.0]), contender("b", &[300.0, 100.0])]);
        let rates: Vec<Spread> = report.contenders.iter().filter_map(|c| c.figures.map(|f| f.messages_per_s)).collect();
        assert_eq!(rates[0], Spread { median: 100.0, min: 90.0, max: 140.0 });
        assert_eq!(rates[1], Spread { median: 200.0, min: 100.0, max: 300.0 });
        assert_eq!(report.contenders.iter().map(|c| c.ratio).collect::<Vec<_>>(), [Some(1.0), Some(2.0)]);
        assert_eq!(report.exit(), Exit::Pass);
    }

    #[test]
    fn one_wrong_round_takes_away_the_figures_and_decides_the_exit_code() {
        let mut rounds = contender("a", &[1000.0]).rounds;
        rounds.push(round(Outcome::Fail, 2000.0));
        let report = compared(vec![Contender::new("a".to_owned(), rounds), contender("b", &[100.0])]);
        let wrong = &report.contenders[0];
        assert_eq!((wrong.outcome, wrong.figures, wrong.ratio), (Outcome::Fail, None, None));
        assert_eq!((report.contenders[1].ratio, report.exit()), (Some(1.0), Exit::VerificationFailed));
        assert!(render(&report).contains("a: fail\n  why"), "{}", render(&report));
    }

    #[test]
    fn without_a_round_nothing_passes() {
        assert_eq!(compared(Vec::new()).exit(), Exit::Inconclusive);
        assert_eq!(compared(vec![contender("a", &[])]).exit(), Exit::Inconclusive);
        let stopped = CompareReport::new(7, String::new(), vec![contender("a", &[1.0])], Vec::new(), true);
        assert_eq!(stopped.exit(), Exit::Interrupted);
    }

    #[test]
    fn the_tables_read_like_this() {
        let mut report = compared(vec![
            contender("epoll", &[100.0, 110.0]),
            contender("io-uring", &[200.0, 210.0]),
            Contender::new("mine, too".to_owned(), vec![round(Outcome::Inconclusive, 5.0)]),
        ]);
        report.skipped = vec![Skipped { name: "iocp".to_owned(), why: "it needs Windows".to_owned() }];
        insta::assert_snapshot!(render(&report));
        insta::assert_snapshot!(markdown(&report));
        insta::assert_snapshot!(csv(&report));
    }
}
