//! The outcome of a run: statistics and findings by group, and what the client itself used.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::findings;
use super::intake::{IntakeCounts, IntakeFault};
use super::run_state::RunState;
use crate::measure::{LoadStats, ResourceUsage};
use crate::stream::answer::{self, Answer};
use crate::stream::kept::keep_first;
use crate::stream::{ConnId, Finding, FindingKind};
use crate::sys;

/// What a run measured and found.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// The statistics of each group, in the order of the plan.
    pub groups: Vec<LoadStats>,
    /// Where both ends are ours: what the server's halves of each group measured. Empty otherwise.
    pub backend_groups: Vec<LoadStats>,
    /// What came to the backend, if both ends are ours.
    pub backend: Option<IntakeCounts>,
    /// The findings of each group in the order of time, at most as many as the plan keeps.
    pub findings: Vec<Vec<Finding>>,
    /// When the run began, by the clock that other machines share.
    pub began: SystemTime,
    /// From the first connect to the last close.
    pub elapsed: Duration,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// Whether the first finding ended the run, as asked.
    pub failed_fast: bool,
    /// What the client itself used.
    pub client: ClientUsage,
    /// What the processes of the server used, if they were watched. Whoever watches them fills it in.
    pub server: Option<ResourceUsage>,
}

impl RunOutcome {
    /// The outcome of a run of this many groups, with nothing measured yet.
    pub(super) fn new(groups: usize, began: SystemTime, client: ClientUsage) -> RunOutcome {
        RunOutcome {
            groups: vec![LoadStats::default(); groups],
            backend_groups: Vec::new(),
            backend: None,
            findings: vec![Vec::new(); groups],
            began,
            elapsed: Duration::ZERO,
            interrupted: false,
            failed_fast: false,
            client,
            server: None,
        }
    }

    /// Connections that were opened.
    pub fn opened(&self) -> u64 {
        self.groups.iter().map(|stats| stats.counters.opened).sum()
    }

    /// Adds what a worker measured and found: statistics and findings by group.
    pub(super) fn add(&mut self, groups: impl IntoIterator<Item = (LoadStats, Vec<Finding>)>) {
        for (group, (stats, findings)) in groups.into_iter().enumerate() {
            self.groups[group].add(&stats);
            self.findings[group].extend(findings);
        }
    }

    /// Adds what the server's halves of each group measured in a worker.
    pub(super) fn add_backend(&mut self, groups: Vec<LoadStats>) {
        self.backend_groups.resize_with(groups.len(), LoadStats::default);
        self.backend_groups.iter_mut().zip(&groups).for_each(|(all, stats)| all.add(stats));
    }

    /// What the server answered, if it is no echo server.
    pub fn answered(&self) -> Option<Answer> {
        if self.backend.is_some() {
            return None;
        }
        let sum = |count: fn(&LoadStats) -> u64| self.groups.iter().map(count).sum();
        let received = sum(|stats| stats.counters.bytes_received);
        answer::recognize(self.findings.iter().flatten(), received, sum(|stats| stats.counters.bytes_verified))
    }

    /// Notes in the findings of these connections that they reached the backend after their clients had ended.
    pub(super) fn note_late(&mut self, late: &HashSet<ConnId>) {
        let findings = self.findings.iter_mut().flatten();
        findings.filter(|finding| late.contains(&finding.divergence.conn)).for_each(findings::note_late);
    }

    /// Adds the finding of what came to the backend and should not have. Otherwise the connection may have passed.
    pub(super) fn add_fault(&mut self, run: &RunState, fault: &IntakeFault) {
        let Some((group, finding)) = findings::of_fault(run, fault) else { return };
        let is_of_connection = |other: &&Finding| other.divergence.conn == fault.conn;
        let earlier: Vec<FindingKind> =
            self.findings[group].iter().filter(is_of_connection).map(|other| other.divergence.kind).collect();
        let stats = &mut self.groups[group];
        stats.found(&finding.divergence, finding.at_ms, !earlier.contains(&finding.divergence.kind));
        stats.timeline.at(fault.at).findings += 1;
        if earlier.is_empty() && stats.counters.passed > 0 {
            stats.counters.passed -= 1;
            stats.counters.failed += 1;
        }
        self.findings[group].push(finding);
    }

    /// Orders the findings by time, and keeps at most `keep` of each group.
    pub(super) fn sort_findings(&mut self, keep: usize) {
        for findings in &mut self.findings {
            findings.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
            keep_first(findings, keep);
        }
    }
}

/// What the client itself used. `None` where the system does not say.
#[derive(Clone, Debug, Default)]
pub struct ClientUsage {
    /// CPU time of the process during the run.
    pub cpu: Option<Duration>,
    /// The most memory that was resident, in bytes.
    pub peak_memory: Option<u64>,
    /// Memory that was resident before the first connection, in bytes.
    pub memory_before: Option<u64>,
    /// Its descriptors and memory over time. Whoever runs the client fills it in, as for the server.
    pub usage: Option<ResourceUsage>,
    /// For each worker, the part of its busiest second in which it used its processor: 0 to 1.
    pub busy: Vec<Option<f64>>,
    /// Processors that this process may use.
    pub cores: Option<usize>,
    /// The name of this machine.
    pub host: Option<String>,
    /// The release of its kernel.
    pub kernel: Option<String>,
    /// The model of its processor.
    pub processor: Option<String>,
    /// How long the client itself stood still: stopped, suspended with its virtual machine, or held up by its machine.
    /// Of several workers, the one that stood still longest.
    pub stood_still: Duration,
    /// How long a worker was ready to run and mostly waited for a processor. Of several workers, the longest.
    pub starved: Option<Duration>,
    /// How long this machine was short of memory for TCP.
    pub tcp_memory_short: Option<Duration>,
    /// CPU time that this machine, if it is a virtual one, did not get from its host during the run.
    pub stolen: Option<Duration>,
}

/// What a worker says of its own time.
#[derive(Clone, Copy)]
pub(super) struct WorkerTime {
    /// The part of its busiest second in which it used its processor: 0 to 1.
    pub(super) saturation: Option<f64>,
    /// How long it was ready to run and mostly waited for a processor.
    pub(super) starved: Option<Duration>,
    /// How long the machine was short of memory for TCP.
    pub(super) tcp_memory_short: Option<Duration>,
    /// How long it stood still.
    pub(super) stood_still: Duration,
}

/// A shorter run may consist of nothing but starting up, so it does not show whether the machine was full.
const SHORTEST_TELLING_RUN: Duration = Duration::from_secs(1);
/// A worker or a machine that is busier than this has no time left to be faster.
pub const SATURATED: f64 = 0.95;

impl ClientUsage {
    /// The usage before the run: what [`finish`](Self::finish) then counts from.
    pub(super) fn at_start() -> ClientUsage {
        ClientUsage {
            cpu: sys::process_cpu_time(),
            memory_before: sys::resident_memory(),
            cores: sys::available_cores(),
            host: sys::host_name(),
            kernel: sys::kernel_release(),
            processor: sys::processor(),
            stolen: sys::stolen_cpu_time(),
            ..ClientUsage::default()
        }
    }

    /// Adds what a worker says of its own time.
    pub(super) fn add_worker(&mut self, worker: WorkerTime) {
        self.busy.push(worker.saturation);
        self.starved = self.starved.max(worker.starved);
        self.tcp_memory_short = self.tcp_memory_short.max(worker.tcp_memory_short);
        self.stood_still = self.stood_still.max(worker.stood_still);
    }

    /// Turns the usage before the run into that of the run.
    pub(super) fn finish(&mut self) {
        self.cpu = sys::process_cpu_time().zip(self.cpu).map(|(after, before)| after.saturating_sub(before));
        self.stolen = sys::stolen_cpu_time().zip(self.stolen).map(|(after, before)| after.saturating_sub(before));
        self.peak_memory = sys::peak_memory();
    }

    /// Whether the client may have been the bottleneck, because its busiest worker had no time left. `None`: not known.
    pub fn was_bottleneck(&self) -> Option<bool> {
        let busiest = self.busy.iter().copied().collect::<Option<Vec<f64>>>()?.into_iter().fold(0.0, f64::max);
        Some(busiest >= SATURATED)
    }

    /// Whether the machine had no time left for the client and for a server on the same machine that used `server`
    /// CPU time. Each of them may then be faster alone. `None`: not known, or the run was too short to tell it from
    /// starting up.
    pub fn filled_the_machine(&self, server: Option<Duration>, elapsed: Duration) -> Option<bool> {
        let available = elapsed.as_secs_f64() * self.cores.filter(|_| elapsed >= SHORTEST_TELLING_RUN)? as f64;
        Some((self.cpu? + server?).as_secs_f64() >= SATURATED * available)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_full_when_client_and_server_together_have_used_all_its_cores() {
        let second = Duration::from_secs;
        let usage = ClientUsage { cpu: Some(second(10)), cores: Some(2), ..ClientUsage::default() };
        assert_eq!(usage.filled_the_machine(Some(second(10)), second(10)), Some(true));
        assert_eq!(usage.filled_the_machine(Some(second(8)), second(10)), Some(false));
        assert_eq!(usage.filled_the_machine(None, second(10)), None);
        assert_eq!(ClientUsage { cores: None, ..usage.clone() }.filled_the_machine(Some(second(10)), second(10)), None);
        assert_eq!(usage.filled_the_machine(Some(second(10)), second(1) / 2), None);
    }
}
