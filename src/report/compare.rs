//! The same load against several servers, as data: correctness first, numbers second.
//!
//! A server that fails the verification in any round has findings here and no figures: the speed of wrong bytes does
//! not count. The figures of the others are medians over the rounds, with minimum and maximum beside them, and their
//! ratios to the first server have an interval ([`Ratio`]). With `--sweep` all of this is there for each value of the
//! axis. A comparison is made of the [`RunReport`](super::run::RunReport)s of its rounds; the JSON Schema is published
//! by `echo-tester schema compare`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compare_figures::{Figure, Figures};
use super::compare_round::Round;
use super::run::MachineReport;
use crate::exit::Exit;
use crate::judge::difference::Ratio;
use crate::judge::grade::Grade;
use crate::judge::outcome::CaseOutcome;
use crate::judge::ranking::{gravest, suite_exit, worst_run};
use crate::judge::verdict::Verdict;
use crate::measure::Spread;
use crate::stream::FindingKind;
use crate::units::{counted, grouped};

/// The form of the JSON report. It changes when a reader of the old form would misread the new one.
pub const FORM: &str = "echo-tester/compare/2";

/// A comparison.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "echo-tester compare report")]
pub struct CompareReport {
    /// The form of this document.
    pub form: String,
    /// The version of the program.
    pub version: String,
    /// How it was run, in which all points and servers are alike.
    pub setting: CompareSetting,
    /// What varies between the points; null without --sweep.
    pub sweep: Option<SweepAxis>,
    /// The figure by which the servers are compared: with --rate the CPU time per message, since all are asked for the
    /// same round trips.
    pub compared_by: Figure,
    /// The results, one for each value of the sweep, in its order; one in all without a sweep.
    pub points: Vec<ComparePoint>,
    /// The models that can't run here.
    pub skipped: Vec<SkippedModel>,
    /// The comparison was stopped before its end.
    pub interrupted: bool,
    /// The exit code of the process.
    pub exit_code: u8,
}

/// How a comparison was run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Setting")]
pub struct CompareSetting {
    /// When it started, RFC 3339, UTC.
    pub started_at: String,
    /// The seed of every run, as `--seed` takes it.
    pub seed: String,
    /// The command that runs it again.
    pub command: String,
    /// The servers, in the order in which they were named.
    pub servers: Vec<ServerSetting>,
    /// How often each server was to be run at each point.
    pub rounds: u64,
    /// Processors that the program may use; null if the system does not tell.
    pub cores: Option<u64>,
    /// The machine that servers and client ran on; null if an earlier version wrote this.
    #[serde(default)]
    pub machine: Option<MachineReport>,
    /// The processors that servers and client were kept on; null if they shared all of them.
    pub pinned: Option<Pinned>,
}

/// A server of a comparison.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Server")]
pub struct ServerSetting {
    /// Its name in the tables.
    pub name: String,
    /// What it is.
    pub kind: ServerKind,
    /// The model, the command line or the address.
    pub what: String,
}

/// What a server of a comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServerKind {
    /// A bundled model
    Bundled,
    /// A command line that starts it
    Command,
    /// It runs already; nothing is known of its processes
    Target,
}

/// The processors of each side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Pinned {
    /// Those of the servers.
    pub servers: Vec<u32>,
    /// Those of the client.
    pub client: Vec<u32>,
}

/// What varies in a sweep.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Sweep")]
pub struct SweepAxis {
    /// The flag without its hyphens: conns, size, fragment, rate, pipeline.
    pub axis: String,
    /// Its values, of which the points are the results; fewer points if the comparison was stopped.
    pub values: Vec<String>,
}

/// The servers under one load.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Point")]
pub struct ComparePoint {
    /// The value on the axis; null without a sweep.
    pub value: Option<String>,
    /// The value as a number (connections, bytes, messages per second), if it is one.
    pub number: Option<f64>,
    /// The load as a sentence.
    pub about: String,
    /// The servers, in the order in which they were named.
    pub contenders: Vec<Contender>,
}

/// One server at one point.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Contender {
    /// A bundled model, or the name of a server of the user's own.
    pub name: String,
    /// The worst verdict of a round; 'not-run' if there was none.
    pub outcome: CaseOutcome,
    /// Why, unless it is a pass.
    pub reasons: Vec<String>,
    /// How many findings there were of each kind, in all rounds.
    pub kinds: BTreeMap<FindingKind, u64>,
    /// The figures of the server; null unless every round passed. A figure that is not known in a round is null.
    pub figures: Option<Figures<Option<Spread>>>,
    /// The figure of `compared_by`, relative to that of the first server that has one; null for that server itself, and
    /// where there is none.
    pub ratio: Option<Ratio>,
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
    /// Whether somebody asked for it by its name.
    #[serde(default)]
    pub named: bool,
}

impl Contender {
    /// The result of the rounds of one server. Its ratio is known only when all servers are.
    pub fn new(name: String, rounds: Vec<Round>) -> Contender {
        let worst = worst_of(&rounds);
        let bad = rounds.iter().find(|round| Some(round.outcome) == worst && worst != Some(Verdict::Pass));
        let count = |is: fn(&Round) -> bool| rounds.iter().filter(|round| is(round)).count() as u64;
        let mut kinds = BTreeMap::new();
        for (kind, n) in rounds.iter().flat_map(|round| &round.kinds) {
            let sum: &mut u64 = kinds.entry(*kind).or_default();
            *sum = sum.saturating_add(*n);
        }
        let over = |figure| Spread::of(rounds.iter().map(|round| *round.figures.get(figure)));
        Contender {
            name,
            outcome: worst.map_or(CaseOutcome::NotRun, CaseOutcome::from),
            reasons: match (bad, worst) {
                (Some(round), _) => round.reasons.clone(),
                (None, None) => vec!["the comparison ended before its first round".to_owned()],
                (None, Some(_)) => Vec::new(),
            },
            kinds,
            figures: (worst == Some(Verdict::Pass)).then(|| Figures::from_fn(over)),
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

    /// The outcome, with the findings of a server that has them: `fail: 3 × corrupt, 1 × lost`.
    pub(super) fn outcome_and_kinds(&self) -> String {
        let kinds: Vec<String> = self.kinds.iter().map(|(kind, n)| format!("{n} × {}", kind.name())).collect();
        let outcome = self.outcome_name();
        if kinds.is_empty() { outcome.to_owned() } else { format!("{outcome}: {}", kinds.join(", ")) }
    }

    /// A figure over all rounds, if the server passed and it is known.
    pub fn figure(&self, figure: Figure) -> Option<Spread> {
        *self.figures.as_ref()?.get(figure)
    }
}

/// The worst verdict of these rounds; `None` if there are none.
fn worst_of(rounds: &[Round]) -> Option<Verdict> {
    (!rounds.is_empty()).then(|| worst_run(rounds.iter().map(|round| round.outcome)))
}

impl ComparePoint {
    /// The servers under one load, each compared with the first that has the figure.
    pub fn new(about: String, compared_by: Figure, mut contenders: Vec<Contender>) -> ComparePoint {
        let first = contenders.iter().position(|contender| contender.figure(compared_by).is_some());
        let basis = first.and_then(|first| contenders[first].figure(compared_by));
        for (index, contender) in contenders.iter_mut().enumerate() {
            let figure = contender.figure(compared_by).filter(|_| Some(index) != first);
            contender.ratio = figure.zip(basis).and_then(|(figure, basis)| Ratio::of(&figure, &basis));
        }
        ComparePoint { value: None, number: None, about, contenders }
    }

    /// The server that the others are compared with.
    pub fn basis(&self, compared_by: Figure) -> Option<&Contender> {
        self.contenders.iter().find(|contender| contender.figure(compared_by).is_some())
    }
}

impl CompareReport {
    /// A comparison that has ended, or that is as far as these points.
    pub fn new(
        setting: CompareSetting,
        sweep: Option<SweepAxis>,
        compared_by: Figure,
        points: Vec<ComparePoint>,
        skipped: Vec<SkippedModel>,
        interrupted: bool,
    ) -> Self {
        let contenders = points.iter().flat_map(|point| &point.contenders);
        let exit = suite_exit(contenders.map(|contender| (Grade::Must, contender.outcome)), interrupted);
        CompareReport {
            form: FORM.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            setting,
            sweep,
            compared_by,
            points,
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

    /// The verdict that the exit code stands for.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.exit())
    }

    /// What was compared, and which servers did not pass, in a line.
    pub fn summary(&self) -> String {
        let names = self.names();
        if names.is_empty() {
            return "no server was compared".to_owned();
        }
        let all = counted(names.len() as u64, "server");
        let failed: Vec<String> = names.iter().filter_map(|name| self.failure(name)).collect();
        if !failed.is_empty() {
            return format!("{} of {all} did not pass: {}", failed.len(), failed.join(", "));
        }
        let rounds = self.contenders().map(|(_, contender)| contender.rounds.len());
        if self.interrupted {
            return format!("{all}, all right in the {} until then", counted(rounds.sum::<usize>() as u64, "run"));
        }
        let rounds = rounds.max().unwrap_or_default();
        let along = self.sweep.as_ref().map_or_else(String::new, |sweep| {
            format!(" at {} of {}", counted(self.points.len() as u64, "value"), sweep.axis)
        });
        let missing: Vec<&str> =
            self.skipped.iter().filter(|skipped| skipped.named).map(|skipped| skipped.name.as_str()).collect();
        let without = if missing.is_empty() { String::new() } else { format!(", without {}", missing.join(", ")) };
        format!("{all} verified in {} each{along}{without}", counted(rounds as u64, "round"))
    }

    /// A server that did not pass at some point: its name, and the gravest of its outcomes.
    fn failure(&self, name: &str) -> Option<String> {
        let own = self.contenders().map(|(_, contender)| contender).filter(|contender| contender.name == name);
        let own: Vec<&Contender> = own.collect();
        let worst =
            gravest(own.iter().map(|contender| contender.outcome)).filter(|worst| *worst != CaseOutcome::Pass)?;
        let first = own.into_iter().find(|contender| contender.outcome == worst)?;
        Some(format!("{name} ({})", first.outcome_and_kinds()))
    }

    /// The names of the servers, in the order of the tables.
    pub(super) fn names(&self) -> Vec<&str> {
        self.points.first().map_or_else(Vec::new, |point| point.contenders.iter().map(|c| c.name.as_str()).collect())
    }

    /// Every server at every point, with its point.
    pub fn contenders(&self) -> impl Iterator<Item = (&ComparePoint, &Contender)> {
        self.points.iter().flat_map(|point| point.contenders.iter().map(move |contender| (point, contender)))
    }

    /// The point in words: `conns 100`; without a sweep, nothing.
    pub fn place(&self, point: &ComparePoint) -> Option<String> {
        let (sweep, value) = self.sweep.as_ref().zip(point.value.as_ref())?;
        let value = value.parse().map_or_else(|_| value.clone(), grouped);
        Some(format!("{} {value}", sweep.axis))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::judge::difference::Difference;

    pub(in super::super) fn round(outcome: Verdict, messages_per_s: f64) -> Round {
        let value = |figure| {
            Some(match figure {
                Figure::MessagesPerS => messages_per_s,
                Figure::BytesPerS => messages_per_s * 1024.0,
                Figure::RttP50Ns => 50_000.0,
                Figure::RttP99Ns => 1_000_000.0,
                Figure::ConnectP99Ns => 300_000.0,
                Figure::ServerCpuUsPerMessage => 1000.0 / messages_per_s,
                Figure::ServerCpuSPerGib => 2.0,
                Figure::ContextSwitchesPerMessage => 0.5,
                Figure::SystemCallsPerMessage => return None,
                Figure::Threads => 3.0,
                Figure::MemoryAtRestBytes => 3_500_000.0,
                Figure::MemoryPerConnectionBytes => 1500.0,
            })
        };
        Round {
            outcome,
            reasons: vec!["why".to_owned()],
            figures: Figures::from_fn(value),
            server_cpu_s: Some(0.5),
            client_cpu_s: Some(0.5),
            client_was_bottleneck: Some(messages_per_s > 150.0),
            time_doubt: None,
            machine_was_full: Some(messages_per_s > 150.0),
            elapsed_s: 1.0,
            kinds: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    pub(in super::super) fn contender(name: &str, rates: &[f64]) -> Contender {
        Contender::new(name.to_owned(), rates.iter().map(|rate| round(Verdict::Pass, *rate)).collect())
    }

    pub(in super::super) fn point(contenders: Vec<Contender>) -> ComparePoint {
        ComparePoint::new("3 connections".to_owned(), Figure::MessagesPerS, contenders)
    }

    pub(in super::super) fn report(points: Vec<ComparePoint>, sweep: Option<SweepAxis>) -> CompareReport {
        let setting = CompareSetting { seed: "7".to_owned(), rounds: 3, ..CompareSetting::default() };
        CompareReport::new(setting, sweep, Figure::MessagesPerS, points, Vec::new(), false)
    }

    pub(in super::super) fn compared(contenders: Vec<Contender>) -> CompareReport {
        report(vec![point(contenders)], None)
    }

    /// Two servers along an axis of these numbers of connections.
    pub(in super::super) fn swept(values: &[&str]) -> CompareReport {
        let points = values.iter().zip(1..).map(|(value, n)| ComparePoint {
            value: Some((*value).to_owned()),
            number: value.parse().ok(),
            ..point(vec![
                contender("epoll", &[100.0, 110.0, 105.0]),
                contender("select", &[100.0 / f64::from(n), 101.0 / f64::from(n), 102.0 / f64::from(n)]),
            ])
        });
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        report(points.collect(), Some(SweepAxis { axis: "conns".to_owned(), values }))
    }

    #[test]
    fn figures_are_medians_and_ratios_are_to_the_first_that_passed() {
        let failed = Contender::new("wrong".to_owned(), vec![round(Verdict::Fail, 900.0)]);
        let report =
            compared(vec![failed, contender("a", &[100.0, 140.0, 90.0]), contender("b", &[300.0, 290.0, 310.0])]);
        let contenders = &report.points[0].contenders;
        let rate = contenders[1].figure(Figure::MessagesPerS);
        assert_eq!(rate, Some(Spread { median: 100.0, min: 90.0, max: 140.0, rounds: 3 }));
        assert_eq!((contenders[0].ratio, contenders[1].ratio), (None, None));
        let ratio = contenders[2].ratio.expect("both have figures");
        assert_eq!((ratio.value, ratio.difference), (3.0, Difference::Shown));
        assert_eq!(report.points[0].basis(Figure::MessagesPerS).map(|basis| basis.name.as_str()), Some("a"));
    }

    #[test]
    fn one_wrong_round_removes_the_figures_and_decides_the_exit_code() {
        let mut rounds = contender("a", &[1000.0]).rounds;
        rounds.push(Round { kinds: BTreeMap::from([(FindingKind::Lost, 2)]), ..round(Verdict::Fail, 2000.0) });
        rounds.push(Round { kinds: BTreeMap::from([(FindingKind::Lost, 3)]), ..round(Verdict::Fail, 2000.0) });
        let report = compared(vec![Contender::new("a".to_owned(), rounds), contender("b", &[100.0])]);
        let wrong = &report.points[0].contenders[0];
        assert_eq!((wrong.outcome, wrong.figures, wrong.ratio), (CaseOutcome::Fail, None, None));
        assert_eq!(wrong.kinds, BTreeMap::from([(FindingKind::Lost, 5)]));
        assert_eq!(report.exit(), Exit::VerificationFailed);
    }

    #[test]
    fn the_worst_point_of_a_sweep_decides_the_exit_code() {
        let mut report = swept(&["10", "100"]);
        assert_eq!(report.exit(), Exit::Pass);
        report.points[1].contenders[0] = Contender::new("epoll".to_owned(), vec![round(Verdict::Fail, 1.0)]);
        let again = CompareReport::new(
            report.setting,
            report.sweep,
            report.compared_by,
            report.points,
            report.skipped,
            report.interrupted,
        );
        assert_eq!(again.exit(), Exit::VerificationFailed);
    }

    #[test]
    fn without_a_round_nothing_passes() {
        assert_eq!(compared(Vec::new()).exit(), Exit::Inconclusive);
        assert_eq!(compared(vec![contender("a", &[])]).exit(), Exit::Inconclusive);
        let CompareReport { setting, points, .. } = compared(vec![contender("a", &[1.0])]);
        let stopped = CompareReport::new(setting, None, Figure::MessagesPerS, points, Vec::new(), true);
        assert_eq!(stopped.exit(), Exit::Interrupted);
        assert_eq!((contender("a", &[]).outcome, contender("a", &[]).outcome_name()), (CaseOutcome::NotRun, "not run"));
    }
}
