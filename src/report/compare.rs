//! The same load against several servers, as data: correctness first, numbers second.
//!
//! A server that fails the verification in any round has no figures here: the speed of wrong bytes does not count. The
//! figures of the others are medians over the rounds, with minimum and maximum beside them. A comparison is made
//! of the [`RunReport`]s of its rounds; the JSON Schema is published by `echo-tester schema compare`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{LoadReport, RunReport};
use crate::exit::Exit;
use crate::judge::grade::Grade;
use crate::judge::outcome::CaseOutcome;
use crate::judge::ranking::{suite_exit, worst_run};
use crate::judge::verdict::Verdict;
use crate::measure::Latency;
use crate::stream::Finding;

/// The form of the JSON report. It changes when a reader of the old form would misread the new one.
pub const FORM: &str = "echo-tester/compare/1";

/// A comparison.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
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
    /// The servers that were compared, in the order in which they were named.
    pub contenders: Vec<Contender>,
    /// The models that can't run here.
    pub skipped: Vec<SkippedModel>,
    /// The comparison was stopped before its end.
    pub interrupted: bool,
    /// The exit code of the process.
    pub exit_code: u8,
}

/// One server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Contender {
    /// A bundled model, or the name of a server of the user's own.
    pub name: String,
    /// The worst verdict of a round; 'not-run' if there was none.
    pub outcome: CaseOutcome,
    /// Why, unless it is a pass.
    pub reasons: Vec<String>,
    /// The figures of the server; null unless every round passed.
    pub figures: Option<RoundSummary>,
    /// Its round trips per second, relative to those of the first server that passed.
    pub ratio: Option<f64>,
    /// Rounds in which the client had no CPU time left, so that this server may be faster than its figures.
    pub client_was_bottleneck: u64,
    /// Rounds in which the machine had no CPU time left for client and server together.
    pub machine_was_full: u64,
    /// Round by round.
    pub rounds: Vec<Round>,
}

/// A model that can't run here.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Skipped")]
pub struct SkippedModel {
    /// The model.
    pub name: String,
    /// Why it can't.
    pub why: String,
}

/// One run of one server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Round {
    /// The verdict.
    pub outcome: Verdict,
    /// Why.
    pub reasons: Vec<String>,
    /// Messages that came back whole, per second.
    pub messages_per_s: f64,
    /// Bytes that came back and were right, per second.
    pub bytes_per_s: f64,
    /// The median round trip, in nanoseconds.
    pub rtt_p50_ns: Option<u64>,
    /// The 99th percentile of the round trips, in nanoseconds.
    pub rtt_p99_ns: Option<u64>,
    /// CPU time of the server; null if it is not a bundled one, or does not tell.
    pub server_cpu_s: Option<f64>,
    /// CPU seconds of the server per thousand messages.
    pub server_cpu_s_per_1000_messages: Option<f64>,
    /// CPU seconds of the server per GiB echoed.
    pub server_cpu_s_per_gib: Option<f64>,
    /// CPU time of the client.
    pub client_cpu_s: Option<f64>,
    /// Whether the client had no CPU time left.
    pub client_was_bottleneck: Option<bool>,
    /// Whether the machine had no CPU time left for client and server together; null if that is not known.
    pub machine_was_full: Option<bool>,
    /// Why figures of time say nothing about the server, if so: the client stood still, or had no processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_doubt: Option<String>,
    /// From the first connect to the last close.
    pub elapsed_s: f64,
    /// The findings that were kept in full.
    pub findings: Vec<Finding>,
}

/// A figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Spread {
    /// The median; of an even number of rounds, the mean of the two in the middle.
    pub median: f64,
    /// The minimum.
    pub min: f64,
    /// The maximum.
    pub max: f64,
}

/// The figures of a server that passed every round; units as in its rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Summary")]
pub struct RoundSummary {
    /// Messages that came back whole, per second.
    pub messages_per_s: Spread,
    /// Bytes that came back and were right, per second.
    pub bytes_per_s: Spread,
    /// The median round trip.
    pub rtt_p50_ns: Option<Spread>,
    /// The 99th percentile of the round trips.
    pub rtt_p99_ns: Option<Spread>,
    /// CPU seconds of the server per thousand messages.
    pub server_cpu_s_per_1000_messages: Option<Spread>,
    /// CPU seconds of the server per GiB echoed.
    pub server_cpu_s_per_gib: Option<Spread>,
}

impl Round {
    /// The round that this report is about.
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
            time_doubt: report.client.time_doubt(report.elapsed()),
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
    /// `None` if there are no values, or if one of them is not known.
    fn of(values: impl Iterator<Item = Option<f64>>) -> Option<Spread> {
        let mut values: Vec<f64> = values.collect::<Option<_>>()?;
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Spread { median, min, max })
    }

    /// How far the rounds are apart, in per cent of the median.
    pub(super) fn percent(&self) -> f64 {
        if self.median > 0.0 { (self.max - self.min) / self.median * 100.0 } else { 0.0 }
    }
}

impl RoundSummary {
    fn of(rounds: &[Round]) -> Option<RoundSummary> {
        let over = |figure: fn(&Round) -> Option<f64>| Spread::of(rounds.iter().map(figure));
        Some(RoundSummary {
            messages_per_s: over(|round| Some(round.messages_per_s))?,
            bytes_per_s: over(|round| Some(round.bytes_per_s))?,
            rtt_p50_ns: over(|round| round.rtt_p50_ns.map(|nanos| nanos as f64)),
            rtt_p99_ns: over(|round| round.rtt_p99_ns.map(|nanos| nanos as f64)),
            server_cpu_s_per_1000_messages: over(|round| round.server_cpu_s_per_1000_messages),
            server_cpu_s_per_gib: over(|round| round.server_cpu_s_per_gib),
        })
    }
}

impl Contender {
    /// The result of the rounds of one server. Its ratio is known only when all servers are.
    pub fn new(name: String, rounds: Vec<Round>) -> Contender {
        let worst = worst_of(&rounds);
        let bad = rounds.iter().find(|round| Some(round.outcome) == worst && worst != Some(Verdict::Pass));
        let count = |is: fn(&Round) -> bool| rounds.iter().filter(|round| is(round)).count() as u64;
        Contender {
            name,
            outcome: worst.map_or(CaseOutcome::NotRun, CaseOutcome::from),
            reasons: match (bad, worst) {
                (Some(round), _) => round.reasons.clone(),
                (None, None) => vec!["the comparison ended before its first round".to_owned()],
                (None, Some(_)) => Vec::new(),
            },
            figures: RoundSummary::of(&rounds).filter(|_| worst == Some(Verdict::Pass)),
            ratio: None,
            client_was_bottleneck: count(|round| round.client_was_bottleneck == Some(true)),
            machine_was_full: count(|round| round.machine_was_full == Some(true)),
            rounds,
        }
    }

    /// The outcome in one or two words for people.
    pub fn outcome_name(&self) -> &'static str {
        worst_of(&self.rounds).map_or(CaseOutcome::NotRun.name(), Verdict::name)
    }
}

/// The worst verdict of these rounds; `None` if there are none.
fn worst_of(rounds: &[Round]) -> Option<Verdict> {
    (!rounds.is_empty()).then(|| worst_run(rounds.iter().map(|round| round.outcome)))
}

impl CompareReport {
    /// A comparison that has ended.
    pub fn new(
        seed: u64,
        about: String,
        mut contenders: Vec<Contender>,
        skipped: Vec<SkippedModel>,
        interrupted: bool,
    ) -> Self {
        let rate = |contender: &Contender| contender.figures.map(|figures| figures.messages_per_s.median);
        let first = contenders.iter().find_map(rate).filter(|rate| *rate > 0.0);
        for contender in &mut contenders {
            contender.ratio = first.zip(rate(contender)).map(|(first, rate)| rate / first);
        }
        let exit = suite_exit(contenders.iter().map(|contender| (Grade::Must, contender.outcome)), interrupted);
        CompareReport {
            form: FORM.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: seed.to_string(),
            about,
            contenders,
            skipped,
            interrupted,
            exit_code: exit.code(),
        }
    }

    /// How the process ends.
    pub fn exit(&self) -> Exit {
        let row = crate::exit::TABLE.iter().find(|row| row.exit.code() == self.exit_code);
        row.map_or(Exit::Inconclusive, |row| row.exit)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn round(outcome: Verdict, messages_per_s: f64) -> Round {
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
            time_doubt: None,
            machine_was_full: Some(messages_per_s > 150.0),
            elapsed_s: 1.0,
            findings: Vec::new(),
        }
    }

    pub(in super::super) fn contender(name: &str, rates: &[f64]) -> Contender {
        Contender::new(name.to_owned(), rates.iter().map(|rate| round(Verdict::Pass, *rate)).collect())
    }

    pub(in super::super) fn compared(contenders: Vec<Contender>) -> CompareReport {
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
    fn one_wrong_round_removes_the_figures_and_decides_the_exit_code() {
        let mut rounds = contender("a", &[1000.0]).rounds;
        rounds.push(round(Verdict::Fail, 2000.0));
        let report = compared(vec![Contender::new("a".to_owned(), rounds), contender("b", &[100.0])]);
        let wrong = &report.contenders[0];
        assert_eq!((wrong.outcome, wrong.figures, wrong.ratio), (CaseOutcome::Fail, None, None));
        assert_eq!((report.contenders[1].ratio, report.exit()), (Some(1.0), Exit::VerificationFailed));
    }

    #[test]
    fn without_a_round_nothing_passes() {
        assert_eq!(compared(Vec::new()).exit(), Exit::Inconclusive);
        assert_eq!(compared(vec![contender("a", &[])]).exit(), Exit::Inconclusive);
        let stopped = CompareReport::new(7, String::new(), vec![contender("a", &[1.0])], Vec::new(), true);
        assert_eq!(stopped.exit(), Exit::Interrupted);
        assert_eq!((contender("a", &[]).outcome, contender("a", &[]).outcome_name()), (CaseOutcome::NotRun, "not run"));
    }
}
