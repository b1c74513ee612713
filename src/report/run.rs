//! A run as data: `--json` writes it, `merge` reads it, the terminal shows it.
//!
//! `echo-tester schema run` prints the JSON Schema of [`RunReport`]. Times of histograms are in nanoseconds, others in
//! seconds or milliseconds as their names say; bytes are bytes of payload; null means 'not known', never 0.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backend_connections::BackendReport;
use super::kept_rates;
use crate::client::{ClientUsage, RunOutcome, RunPlan};
use crate::judge::Judgement;
use crate::judge::check::CheckReport;
use crate::judge::measured::RunResources;
use crate::judge::outcome::CaseOutcome;
use crate::judge::time_doubt::{self, TimeDoubt};
use crate::judge::verdict::{Verdict, VerdictReport};
use crate::measure::active_time::ActiveTimeReport;
use crate::measure::histogram::LatencyReport;
use crate::measure::open_loop::RateReport;
use crate::measure::{Counters, KindStatsMap, LoadStats, ResourceUsage, Timeline};
use crate::plan::Profile;
use crate::server::CountersSnapshot;
use crate::stream::Finding;
use crate::stream::answer::Answer;

/// The form of the JSON report. It changes when a reader of the old form would misread the new one.
pub const FORM: &str = "echo-tester/run/1";

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "echo-tester run report")]
pub struct RunReport {
    /// The form of this document.
    pub form: String,
    /// The version of the program.
    pub version: String,
    /// When the run started, RFC 3339, UTC.
    pub started_at: String,
    /// The seed, as `--seed` takes it; a case of a suite derives its own from it. In a string, since 64 bits do not fit
    /// a JSON number.
    pub seed: String,
    /// The addresses that were connected to.
    pub targets: Vec<String>,
    /// This process's share of the run: '0/1' is all of it. In a merged report with missing shards, the shards that are
    /// there, such as '0,2/3'.
    pub shard: String,
    /// The bundled server, if one was started for the run.
    pub server: Option<ServerReport>,
    /// What the processes of the server used: of one that was started for the run, or that --pid names. Absent where
    /// they were not watched, and in a merged report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_usage: Option<ResourceUsage>,
    /// The loads.
    pub loads: Vec<LoadReport>,
    /// All loads together.
    pub total: Counters,
    /// From the first connect to the last close; in a merged report, of all processes.
    pub elapsed_s: f64,
    /// The resources of the client itself; in a merged report, of all processes together.
    pub client: ClientReport,
    /// What came to the backend, where both ends are ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendReport>,
    /// The verdict.
    pub verdict: VerdictReport,
    /// What the server answered, if it is no echo server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<Answer>,
    /// Somebody stopped the run before its end.
    pub interrupted: bool,
    /// The run as other reports show it: as a case. Absent in a suite, whose case holds it, and in a merged report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<RunCase>,
    /// The processes that a merged report is made of, in the order of their shards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartReport>,
}

/// What other reports than this one say of a run without a scenario.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RunCase {
    /// The name of the run, such as 'blast 127.0.0.1'.
    pub name: String,
    /// The command that runs the load again from the same seed; null if it is not known.
    pub replay: Option<String>,
    /// The outcome.
    pub outcome: CaseOutcome,
    /// Why the run came out as it did, in sentences.
    pub reasons: Vec<String>,
    /// The expectations, one by one.
    pub checks: Vec<CheckReport>,
    /// The first and the last lines that a bundled server printed to stderr.
    pub server_output: Vec<String>,
}

/// The machine that the client ran on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Machine")]
pub struct MachineReport {
    /// Its name.
    pub host: Option<String>,
    /// Its system and the kind of its processor, such as 'linux x86_64'.
    pub system: String,
    /// The release of its kernel; null if the system does not tell, or if an earlier version wrote this.
    #[serde(default)]
    pub kernel: Option<String>,
    /// The model of its processor; null as for the kernel.
    #[serde(default)]
    pub processor: Option<String>,
    /// Processors that the program could use.
    pub cores: Option<u64>,
}

impl MachineReport {
    /// The system that this program is for.
    pub fn system() -> String {
        format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
    }
}

/// One process of a merged report.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PartReport {
    /// The file that its report was read from.
    pub file: String,
    /// Its share of the run.
    pub shard: String,
    /// The version of the program that ran it.
    pub version: String,
    /// When it started, RFC 3339, UTC.
    pub started_at: String,
    /// From its first connect to its last close.
    pub elapsed_s: f64,
    /// Connections that it opened.
    pub opened: u64,
    /// Its own verdict.
    pub outcome: Verdict,
    /// The resources that it used.
    pub client: ClientReport,
}

/// One load.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LoadReport {
    /// Its name.
    pub name: String,
    /// Its resolved configuration: the keys are those of flags and TOML.
    pub config: serde_json::Value,
    /// The same as a sentence.
    pub about: String,
    /// Totals; where both ends are ours, those of the client's side.
    pub counters: Counters,
    /// Where both ends are ours: the totals of the server's side. Connections are counted by the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Counters>,
    /// The findings of each kind, in sum.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: KindStatsMap,
    /// Round trips: from a message's first byte handed over (or its scheduled time, under `rate`) to its last byte
    /// verified.
    pub rtt: LatencyReport,
    /// From the start of connect to its success.
    pub connect: LatencyReport,
    /// From a connection's first byte handed over to the first byte that came back.
    pub first_byte: LatencyReport,
    /// How late messages of an open loop began: from when each was due. The client's own wait is in it, and whatever
    /// kept the message back, such as a full pipeline. Absent in a closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_after_due: Option<LatencyReport>,
    /// The time in which it was active, which its rates are over.
    #[serde(default)]
    pub active: ActiveTimeReport,
    /// How an open loop kept its schedule; absent in a closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateReport>,
    /// Where both ends are ours: how the server kept its own schedule; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_rate: Option<RateReport>,
    /// The same over time.
    pub timeline: Timeline,
    /// The findings that were kept in full, in the order of time: the first of each kind, and then the earliest.
    pub findings: Vec<Finding>,
}

/// The resources of the client itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ClientReport {
    /// CPU time of the process during the run; of several processes, the sum.
    pub cpu_s: Option<f64>,
    /// Peak resident memory; of several processes, the sum of their peaks.
    pub peak_memory_bytes: Option<u64>,
    /// Memory resident before the first connection; of several processes, the sum.
    pub memory_before_bytes: Option<u64>,
    /// What its process used over time. Absent where the system does not tell, and for several processes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ResourceUsage>,
    /// For each worker of all processes, the part of its busiest second in which it was busy (0 to 1).
    pub busy: Vec<Option<f64>>,
    /// Whether the busiest worker had no CPU time left: then figures of speed are those of the client, not the server.
    pub was_bottleneck: Option<bool>,
    /// How long the client itself stood still: stopped, suspended, or held up by its machine. Of several workers or
    /// processes, the longest. What depends on time is in doubt then.
    #[serde(default)]
    pub stood_still_s: f64,
    /// How long a worker was ready to run and mostly waited for a processor. Of several, the longest.
    #[serde(default)]
    pub starved_s: Option<f64>,
    /// How long the machine was short of memory for TCP (net.ipv4.tcp_mem), so that its kernel dropped segments. Of
    /// several, the longest; null: the system does not tell.
    #[serde(default)]
    pub tcp_memory_short_s: Option<f64>,
    /// CPU time that the machine, if it is a virtual one, did not get from its host. Of several, the longest.
    #[serde(default)]
    pub stolen_s: Option<f64>,
    /// Whether the machine had no CPU time left for the client and the bundled server together: then each may be faster
    /// alone. Null: there was no bundled server, or it is not known.
    pub machine_was_full: Option<bool>,
    /// The machine; null in a merged report of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineReport>,
}

/// The bundled server of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ServerReport {
    /// Its model.
    pub model: String,
    /// Its counters at the end; null if it did not report them.
    pub counters: Option<CountersSnapshot>,
    /// The CPU time that it used.
    pub cpu_s: Option<f64>,
}

impl RunReport {
    /// The same, with what other reports say of it.
    #[must_use]
    pub fn with_case(
        self,
        name: String,
        replay: String,
        judgement: Judgement,
        server_output: Vec<String>,
    ) -> RunReport {
        let Judgement { checks, outcome, reasons, .. } = judgement;
        RunReport {
            case: Some(RunCase { name, replay: Some(replay), outcome, reasons, checks, server_output }),
            ..self
        }
    }

    /// What other reports say of it. A report of several processes, or of an earlier version, only has its verdict.
    pub(super) fn as_case(&self) -> RunCase {
        self.case.clone().unwrap_or_else(|| RunCase {
            name: match self.parts.len() {
                0 | 1 => format!("blast {}", self.targets.join(", ")),
                parts => format!("{parts} processes of one run"),
            },
            replay: None,
            outcome: self.verdict.outcome.into(),
            reasons: self.verdict.reasons.clone(),
            checks: vec![CheckReport::of_verdict(self.verdict.outcome)],
            server_output: Vec::new(),
        })
    }

    /// The loads as sentences: with their names, if there are several.
    pub(super) fn about(&self) -> String {
        match self.loads.as_slice() {
            [only] => only.about.clone(),
            several => {
                several.iter().map(|load| format!("{}: {}", load.name, load.about)).collect::<Vec<_>>().join("\n")
            }
        }
    }
    /// The report of a run that has ended and was judged.
    pub fn new(plan: &RunPlan, outcome: &RunOutcome, server: Option<ServerReport>, judgement: &Judgement) -> RunReport {
        let mut total = Counters::default();
        for stats in outcome.groups.iter().chain(&outcome.backend_groups) {
            total.add(&stats.counters);
        }
        let loads = plan.groups.iter().zip(&outcome.groups).zip(&outcome.findings);
        let server_cpu = server_cpu(outcome, server.as_ref());
        let machine_was_full = outcome.client.filled_the_machine(server_cpu, outcome.elapsed);
        RunReport {
            form: FORM.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: humantime::format_rfc3339_micros(outcome.began).to_string(),
            seed: plan.typed_seed.to_string(),
            targets: plan.targets.iter().map(ToString::to_string).collect(),
            shard: plan.shard.to_string(),
            server,
            server_usage: outcome.server.clone(),
            loads: loads
                .enumerate()
                .map(|(group, ((profile, stats), findings))| {
                    let slots = plan.own_slots().filter(|slot| slot.group as usize == group).map(|slot| slot.index);
                    let sides = (stats, outcome.backend_groups.get(group));
                    LoadReport::new(profile, sides, findings, &slots.collect::<Vec<_>>())
                })
                .collect(),
            backend: outcome.backend.map(BackendReport::from),
            verdict: judgement.verdict.clone(),
            answered: outcome.answered(),
            total,
            elapsed_s: outcome.elapsed.as_secs_f64(),
            client: ClientReport { machine_was_full, ..ClientReport::from(&outcome.client) },
            interrupted: judgement.is_interrupted,
            case: None,
            parts: Vec::new(),
        }
    }

    /// From the first connect to the last close.
    pub fn elapsed(&self) -> Duration {
        /// A file may name a longer one, and those of many cases are added up.
        const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);
        Duration::try_from_secs_f64(self.elapsed_s).unwrap_or_default().min(LONGEST)
    }

    /// The amount per second of the run; `None` when it took no time.
    pub fn per_second(&self, amount: u64) -> Option<f64> {
        (self.elapsed_s > 0.0).then(|| amount as f64 / self.elapsed_s)
    }
}

/// The CPU time of the server: what a bundled one says of itself, or else what was seen of its processes.
pub fn server_cpu(outcome: &RunOutcome, server: Option<&ServerReport>) -> Option<Duration> {
    let of_itself = server.and_then(ServerReport::cpu);
    of_itself.or_else(|| outcome.server.as_ref().and_then(ResourceUsage::cpu))
}

impl ServerReport {
    /// The CPU time that the server used.
    pub fn cpu(&self) -> Option<Duration> {
        self.cpu_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }
}

impl LoadReport {
    /// `backend`: what the server's side measured, where both ends are ours. `slots` are the slots of the group that
    /// this process runs.
    fn new(
        profile: &Profile,
        (stats, backend): (&LoadStats, Option<&LoadStats>),
        findings: &[Finding],
        slots: &[u32],
    ) -> LoadReport {
        let [rate, backend_rate] = kept_rates::of(profile, (stats, backend), slots);
        LoadReport {
            name: profile.name.clone(),
            config: serde_json::to_value(profile).unwrap_or_default(),
            about: profile.to_string(),
            counters: stats.counters.clone(),
            backend: backend.map(|stats| stats.counters.clone()),
            kinds: stats.kinds.clone(),
            rtt: (&stats.rtt).into(),
            connect: (&stats.connect).into(),
            first_byte: (&stats.first_byte).into(),
            sent_after_due: rate.is_some().then(|| (&stats.sent_after_due).into()),
            active: (&stats.active_time).into(),
            rate,
            backend_rate,
            timeline: stats.timeline.clone(),
            findings: findings.to_vec(),
        }
    }
}

impl ClientReport {
    /// Why figures of time say nothing about the server, if so. `elapsed`: the length of the run.
    pub fn time_doubt(&self, elapsed: Duration) -> Option<TimeDoubt> {
        let time = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        time_doubt::of(&RunResources {
            elapsed,
            stood_still: time(self.stood_still_s),
            starved: self.starved_s.map(time),
            tcp_memory_short: self.tcp_memory_short_s.map(time),
            stolen: self.stolen_s.map(time),
            ..RunResources::default()
        })
    }
}

impl From<&ClientUsage> for ClientReport {
    fn from(usage: &ClientUsage) -> Self {
        ClientReport {
            cpu_s: usage.cpu.map(|cpu| cpu.as_secs_f64()),
            peak_memory_bytes: usage.peak_memory,
            memory_before_bytes: usage.memory_before,
            usage: usage.usage.clone(),
            busy: usage.busy.clone(),
            was_bottleneck: usage.was_bottleneck(),
            stood_still_s: usage.stood_still.as_secs_f64(),
            starved_s: usage.starved.map(|starved| starved.as_secs_f64()),
            tcp_memory_short_s: usage.tcp_memory_short.map(|short| short.as_secs_f64()),
            stolen_s: usage.stolen.map(|stolen| stolen.as_secs_f64()),
            machine_was_full: None,
            machine: Some(MachineReport {
                host: usage.host.clone(),
                system: MachineReport::system(),
                kernel: usage.kernel.clone(),
                processor: usage.processor.clone(),
                cores: usage.cores.map(|cores| cores as u64),
            }),
        }
    }
}
