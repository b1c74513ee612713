//! The reports of the processes of one run, added up to the report of that run. Pure: `command::merge` reads the files,
//! and the verdict on the sum is that of [`judge_shards`].
//!
//! Counters and histograms add up without loss (the JSON holds HdrHistogram's own encoding). Timelines and findings are
//! moved to the time axis of the earliest process by the wall clocks of the hosts, so the axis is as exact as these
//! clocks agree.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::backend_connections::BackendReport;
use super::kept_rates;
use super::run::{ClientReport, FORM, LoadReport, PartReport, RunReport, ServerReport};
use crate::judge::shards::{ProcessTime, ShardContext, judge_shards};
use crate::judge::verdict::Verdict;
use crate::measure::active_time::ActiveTimeReport;
use crate::measure::histogram::LatencyReport;
use crate::measure::open_loop::RateReport;
use crate::measure::{Counters, KindStatsMap, Latency, Timeline, kind_stats};
use crate::plan::Shard;
use crate::server::CountersSnapshot;
use crate::stream::Finding;
use crate::stream::answer;
use crate::stream::kept::keep_first;

/// A report and the file that it came from.
#[derive(Clone, Debug)]
pub struct Input {
    /// The file's name, for messages.
    pub file: String,
    /// The report in it.
    pub report: RunReport,
}

/// Why reports can't be added up, with the files and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MergeError(String);

/// How to treat shards that are missing, or that ran at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The run is inconclusive at best.
    Inconclusive,
    /// The shards that are there are judged as if they were all.
    Accepted,
}

/// The reports in a text: one, or several in a row, as in the log of several processes.
///
/// # Errors
/// The text is empty, is not JSON, is JSON of another kind, or has a form that this version does not know.
pub fn read(file: &str, text: &str) -> Result<Vec<Input>, MergeError> {
    let mut inputs = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value
            .map_err(|e| MergeError(format!("{file} is not JSON ({e}): give files that 'blast --json=FILE' wrote")))?;
        check_form(file, &value)?;
        let report = serde_json::from_value(value)
            .map_err(|e| MergeError(format!("{file} says it is an {FORM} report, but cannot be read as one: {e}")))?;
        inputs.push(Input { file: file.to_owned(), report });
    }
    if inputs.is_empty() {
        return Err(MergeError(format!(
            "{file} is empty: that process wrote no report; see its output, and run it again"
        )));
    }
    Ok(inputs)
}

fn check_form(file: &str, value: &Value) -> Result<(), MergeError> {
    let form = value.get("form").and_then(Value::as_str).unwrap_or_default();
    let (kind, number) = form.rsplit_once('/').unwrap_or((form, ""));
    let known = FORM.rsplit_once('/').expect("the form ends in its number");
    let version = value.get("version").and_then(Value::as_str).unwrap_or("an unknown version");
    match (kind == known.0, number.parse::<u32>()) {
        _ if form == FORM => Ok(()),
        (true, Ok(number)) => Err(MergeError(format!(
            "{file} has form {number}, written by echo-tester {version}; this is {}, which reads form {}: merge with \
             the version that ran",
            env!("CARGO_PKG_VERSION"),
            known.1
        ))),
        _ => Err(MergeError(format!(
            "{file} is not the report of a run ({}): give files that 'blast --json=FILE' wrote",
            if form.is_empty() { "it has no form".to_owned() } else { format!("its form is {form}") }
        ))),
    }
}

/// Adds up the reports of the processes of one run, and judges the sum. `findings` are kept in full for each group.
///
/// # Errors
/// They are not parts of one run: they differ in the seed, the load or the number of shards, or a shard is there twice.
pub fn merge(inputs: Vec<Input>, findings: usize, missing: Missing) -> Result<RunReport, MergeError> {
    let mut timed = Vec::new();
    for input in inputs {
        let start = humantime::parse_rfc3339_weak(&input.report.started_at).map_err(|_| {
            MergeError(format!("{}: started_at is not a time in UTC: {}", input.file, input.report.started_at))
        })?;
        timed.push((start, input));
    }
    // The first is the earliest: the times of all others are relative to it.
    timed.sort_by(|a, b| (a.0, &a.1.report.shard).cmp(&(b.0, &b.1.report.shard)));
    let Some((base, first)) = timed.first().cloned() else {
        return Err(MergeError("there is no report to merge".to_owned()));
    };
    let absent = missing_shards(&first, &timed)?;
    let mut sum = Sum::new(&first.report);
    for (start, input) in &timed {
        sum.add(input, later(base, *start))?;
    }
    Ok(sum.finish(absent, findings, missing))
}

fn later(base: SystemTime, start: SystemTime) -> Duration {
    start.duration_since(base).unwrap_or_default()
}

/// The shards of a report: `1/4`, or `0,2/4` in a merged report.
fn shards(input: &Input) -> Result<Vec<Shard>, MergeError> {
    let text = &input.report.shard;
    let no_shard = || MergeError(format!("{}: its shard is {text}, which is not a shard", input.file));
    let (indexes, count) = text.split_once('/').ok_or_else(no_shard)?;
    // A complete merged report has the shard 0/1, and lists its parts.
    if input.report.parts.len() > 1 && text == &Shard::WHOLE.to_string() {
        return input.report.parts.iter().map(|part| part.shard.parse().map_err(|_| no_shard())).collect();
    }
    indexes.split(',').map(|index| format!("{index}/{count}").parse().map_err(|_| no_shard())).collect()
}

/// Checks that the reports are parts of one run, and returns the shards that are missing.
fn missing_shards(first: &Input, all: &[(SystemTime, Input)]) -> Result<Vec<Shard>, MergeError> {
    let count = shards(first)?.first().map_or(1, |shard| shard.count());
    let mut owners: Vec<Option<&str>> = vec![None; count as usize];
    for (_, input) in all {
        if input.report.seed != first.report.seed {
            return Err(MergeError(format!(
                "{} ran with seed {} and {} with seed {}: merge adds up the processes of one run; start them with the \
                 same --seed, each with its own --shard",
                first.file, first.report.seed, input.file, input.report.seed
            )));
        }
        check_loads(first, input)?;
        for shard in shards(input)? {
            if shard.count() != count {
                return Err(MergeError(format!(
                    "{} is a shard of {count} and {} one of {}: the processes of one run use the same N of --shard I/N",
                    first.file,
                    input.file,
                    shard.count()
                )));
            }
            let owner = &mut owners[shard.index() as usize];
            if let Some(owner) = owner {
                return Err(MergeError(format!(
                    "{owner} and {} are both shard {shard}: leave one of them out, or start each process with its \
                     own --shard",
                    input.file
                )));
            }
            *owner = Some(&input.file);
        }
    }
    let absent = (0..count).filter(|index| owners[*index as usize].is_none());
    Ok(absent.filter_map(|index| format!("{index}/{count}").parse().ok()).collect())
}

fn check_loads(first: &Input, other: &Input) -> Result<(), MergeError> {
    let (ours, theirs) = (&first.report.loads, &other.report.loads);
    let differ = |what: String| {
        Err(MergeError(format!(
            "{} and {} ran different loads ({what}): the processes of one run need the same load flags",
            first.file, other.file
        )))
    };
    if ours.len() != theirs.len() {
        return differ(format!("{} and {} loads", ours.len(), theirs.len()));
    }
    for (ours, theirs) in ours.iter().zip(theirs) {
        if ours.config == theirs.config {
            continue;
        }
        let key =
            ours.config.as_object().into_iter().flatten().find(|(key, value)| theirs.config.get(key) != Some(value));
        return differ(match key {
            Some((key, value)) => {
                let other = theirs.config.get(key).unwrap_or(&Value::Null);
                format!("{}: {key} is {value} and {other}", ours.name)
            }
            None => format!("{}: one has keys that the other lacks", ours.name),
        });
    }
    Ok(())
}

/// The sum so far.
struct Sum {
    /// The report of the earliest process, for everything that is the same in every process.
    first: RunReport,
    loads: Vec<LoadSum>,
    total: Counters,
    elapsed_s: f64,
    interrupted: bool,
    targets: Vec<String>,
    parts: Vec<PartReport>,
    servers: Vec<Option<ServerReport>>,
    backend: Option<BackendReport>,
}

/// The sum of one load group.
#[derive(Default)]
struct LoadSum {
    counters: Counters,
    backend: Option<Counters>,
    kinds: KindStatsMap,
    latencies: [Latency; 3],
    sent_after_due: Option<Latency>,
    active: ActiveTimeReport,
    rate: Option<RateReport>,
    backend_rate: Option<RateReport>,
    timeline: Timeline,
    findings: Vec<Finding>,
}

impl Sum {
    fn new(first: &RunReport) -> Sum {
        Sum {
            first: first.clone(),
            loads: first.loads.iter().map(|_| LoadSum::default()).collect(),
            total: Counters::default(),
            elapsed_s: 0.0,
            interrupted: false,
            targets: Vec::new(),
            parts: Vec::new(),
            servers: Vec::new(),
            backend: None,
        }
    }

    fn add(&mut self, input: &Input, later: Duration) -> Result<(), MergeError> {
        let Input { file, report } = input;
        for (sum, load) in self.loads.iter_mut().zip(&report.loads) {
            sum.add(file, load, later)?;
        }
        self.total.add(&report.total);
        self.elapsed_s = self.elapsed_s.max(later.as_secs_f64() + report.elapsed_s);
        self.interrupted |= report.interrupted;
        for target in &report.targets {
            if !self.targets.contains(target) {
                self.targets.push(target.clone());
            }
        }
        report.backend.iter().for_each(|backend| self.backend.get_or_insert_default().add(backend));
        self.servers.push(report.server.clone());
        if report.parts.is_empty() {
            self.parts.push(part(file, report));
        } else {
            self.parts.extend(report.parts.iter().cloned());
        }
        Ok(())
    }

    fn finish(self, absent: Vec<Shard>, findings: usize, missing: Missing) -> RunReport {
        let Sum { first, loads, total, elapsed_s, interrupted, targets, mut parts, servers, backend } = self;
        parts.sort_by_key(|part| part.shard.parse().map_or(u32::MAX, Shard::index));
        let shard = match absent.first() {
            None => Shard::WHOLE.to_string(),
            Some(shard) => {
                let present: Vec<&str> = parts.iter().filter_map(|part| part.shard.split('/').next()).collect();
                format!("{}/{}", present.join(","), shard.count())
            }
        };
        let is_verified = |load: &LoadReport| load.config.get("verify").is_none_or(|verify| verify == "full");
        let gone_backend = backend.as_ref().and_then(BackendReport::doubt);
        let was_interrupted = |part: &&PartReport| part.outcome == Verdict::Interrupted;
        let context = ShardContext {
            verify_off: !first.loads.iter().any(is_verified),
            time_doubt: gone_backend.or_else(|| {
                ClientReport::sum(parts.iter().map(|part| &part.client))
                    .time_doubt(Duration::try_from_secs_f64(elapsed_s).unwrap_or_default())
            }),
            interrupted,
            interrupted_shards: parts.iter().filter(was_interrupted).map(|part| part.shard.clone()).collect(),
            missing: absent,
            processes: parts.iter().filter_map(process_time).collect(),
            doubts_accepted: missing == Missing::Accepted,
            answered: None,
            two_sides: backend.is_some(),
        };
        let loads: Vec<LoadReport> =
            first.loads.into_iter().zip(loads).map(|(load, sum)| sum.report(load, findings)).collect();
        let kept = loads.iter().flat_map(|load| &load.findings);
        let answered = answer::recognize(kept, total.bytes_received, total.bytes_verified);
        let context = ShardContext { answered: answered.clone(), ..context };
        RunReport {
            form: first.form,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: first.started_at,
            seed: first.seed,
            targets,
            shard,
            server: ServerReport::sum(&servers),
            server_usage: None,
            loads,
            backend,
            verdict: judge_shards(&total, &context),
            answered,
            total,
            elapsed_s,
            client: ClientReport::sum(parts.iter().map(|part| &part.client)),
            interrupted,
            case: None,
            parts,
        }
    }
}

/// `None` if its times can't be read.
fn process_time(part: &PartReport) -> Option<ProcessTime> {
    let start = humantime::parse_rfc3339_weak(&part.started_at).ok()?;
    let end = start.checked_add(Duration::try_from_secs_f64(part.elapsed_s).ok()?)?;
    Some(ProcessTime { name: part.file.clone(), start, end })
}

fn part(file: &str, report: &RunReport) -> PartReport {
    PartReport {
        file: file.to_owned(),
        shard: report.shard.clone(),
        version: report.version.clone(),
        started_at: report.started_at.clone(),
        elapsed_s: report.elapsed_s,
        opened: report.total.opened,
        outcome: report.verdict.outcome,
        client: report.client.clone(),
    }
}

impl LoadSum {
    fn add(&mut self, file: &str, load: &LoadReport, later: Duration) -> Result<(), MergeError> {
        self.counters.add(&load.counters);
        load.backend.iter().for_each(|backend| self.backend.get_or_insert_default().add(backend));
        let named = [("rtt", &load.rtt), ("connect", &load.connect), ("first_byte", &load.first_byte)];
        let decoded = |name: &str, latency: &LatencyReport| {
            let damaged = |e| MergeError(format!("{file}: the histogram {name} of {} is damaged: {e}", load.name));
            Latency::decode(&latency.hdr).map_err(damaged)
        };
        for (sum, (name, latency)) in self.latencies.iter_mut().zip(named) {
            sum.add(&decoded(name, latency)?);
        }
        if let Some(latency) = &load.sent_after_due {
            self.sent_after_due.get_or_insert_default().add(&decoded("sent_after_due", latency)?);
        }
        self.active.add(&load.active.later(later));
        let has_replies = kept_rates::has_replies(&load.config);
        let [up, down] = kept_rates::messages(has_replies, &self.counters, self.backend.as_ref());
        let added = |sum: Option<RateReport>, rate: Option<RateReport>, messages: &Counters| match (
            sum,
            rate.map(|rate| rate.later(later)),
        ) {
            (Some(sum), Some(rate)) => Some(sum.add(&rate, messages)),
            (sum, rate) => sum.or(rate),
        };
        self.rate = added(self.rate, load.rate, &up);
        self.backend_rate = added(self.backend_rate, load.backend_rate, &down);
        self.timeline.add_later(&load.timeline, later);
        let later_ms = later.as_secs_f64() * 1e3;
        load.kinds.iter().for_each(|(kind, stats)| kind_stats::add(&mut self.kinds, *kind, &stats.later(later_ms)));
        self.findings.extend(load.findings.iter().cloned().map(|mut finding| {
            finding.delay(later_ms);
            finding
        }));
        Ok(())
    }

    /// The sum as a report. `first` is that of one process, `findings` are kept in full.
    fn report(mut self, first: LoadReport, findings: usize) -> LoadReport {
        self.findings.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        keep_first(&mut self.findings, findings);
        let [rtt, connect, first_byte] = self.latencies.map(|latency| LatencyReport::from(&latency));
        LoadReport {
            name: first.name,
            config: first.config,
            about: first.about,
            counters: self.counters,
            backend: self.backend,
            kinds: self.kinds,
            rtt,
            connect,
            first_byte,
            sent_after_due: self.sent_after_due.as_ref().map(LatencyReport::from),
            active: self.active,
            rate: self.rate,
            backend_rate: self.backend_rate,
            timeline: self.timeline,
            findings: self.findings,
        }
    }
}

/// The sum; `None` if one of the values is not known.
fn sum<T: std::iter::Sum>(values: impl Iterator<Item = Option<T>>) -> Option<T> {
    values.collect::<Option<Vec<T>>>().map(|values| values.into_iter().sum())
}

/// Whether any value is true; `None` if none is, and not all are known.
fn any(values: impl Iterator<Item = Option<bool>> + Clone) -> Option<bool> {
    if values.clone().any(|value| value == Some(true)) { Some(true) } else { values.reduce(Option::and).flatten() }
}

impl ClientReport {
    /// Several processes together.
    fn sum<'a>(parts: impl Iterator<Item = &'a ClientReport> + Clone) -> ClientReport {
        ClientReport {
            cpu_s: sum(parts.clone().map(|part| part.cpu_s)),
            peak_memory_bytes: sum(parts.clone().map(|part| part.peak_memory_bytes)),
            memory_before_bytes: sum(parts.clone().map(|part| part.memory_before_bytes)),
            // The processes did not begin at one moment, so their samples have no sum.
            usage: None,
            busy: parts.clone().flat_map(|part| part.busy.iter().copied()).collect(),
            was_bottleneck: any(parts.clone().map(|part| part.was_bottleneck)),
            stood_still_s: parts.clone().map(|part| part.stood_still_s).fold(0.0, f64::max),
            starved_s: parts.clone().filter_map(|part| part.starved_s).reduce(f64::max),
            tcp_memory_short_s: parts.clone().filter_map(|part| part.tcp_memory_short_s).reduce(f64::max),
            stolen_s: parts.clone().filter_map(|part| part.stolen_s).reduce(f64::max),
            machine_was_full: any(parts.clone().map(|part| part.machine_was_full)),
            machine: parts
                .map(|part| part.machine.clone())
                .reduce(|a, b| a.filter(|a| Some(a) == b.as_ref()))
                .flatten(),
        }
    }
}

impl ServerReport {
    /// The bundled servers of all processes together; `None` if a process had none.
    fn sum(servers: &[Option<ServerReport>]) -> Option<ServerReport> {
        let servers: Vec<&ServerReport> = servers.iter().map(Option::as_ref).collect::<Option<_>>()?;
        let mut models: Vec<&str> = servers.iter().map(|server| server.model.as_str()).collect();
        models.sort_unstable();
        models.dedup();
        let all = servers.iter().map(|server| server.counters.as_ref()).collect::<Option<Vec<_>>>();
        let counters = all.map(|all| {
            let mut sum = CountersSnapshot::default();
            all.into_iter().for_each(|one| sum.add(one));
            sum
        });
        Some(ServerReport { model: models.join(", "), counters, cpu_s: sum(servers.iter().map(|server| server.cpu_s)) })
    }
}

#[cfg(test)]
mod tests;
