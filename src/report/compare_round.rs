//! One run of one server, as a round of a comparison.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compare_figures::Figures;
use super::run::{LoadReport, RunReport};
use crate::judge::verdict::Verdict;
use crate::measure::histogram::LatencyReport;
use crate::measure::{Latency, ResourceUsage};
use crate::stream::{Finding, FindingKind};

/// One run of one server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Round {
    /// The verdict.
    pub outcome: Verdict,
    /// Why.
    pub reasons: Vec<String>,
    /// The figures; null where they are not known.
    pub figures: Figures<Option<f64>>,
    /// CPU time of the server; null if the system does not tell, or if somebody else started the server.
    pub server_cpu_s: Option<f64>,
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
    /// How many findings there were of each kind.
    pub kinds: BTreeMap<FindingKind, u64>,
    /// The findings that were kept in full.
    pub findings: Vec<Finding>,
}

/// What the kernel did for the processes of a server in a round. `None`: it does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelWork {
    /// How often it took the processor from one of their threads, or one of them gave it up.
    pub context_switches: Option<u64>,
    /// The system calls that they made.
    pub system_calls: Option<u64>,
}

impl Round {
    /// The round that this report is about, in which the load had this many connections open at a time.
    pub fn of(report: &RunReport, conns: u32, kernel: KernelWork) -> Round {
        let total = &report.total;
        let usage = report.server_usage.as_ref();
        let server_cpu_s =
            report.server.as_ref().and_then(|server| server.cpu_s).or_else(|| usage.and_then(|usage| usage.cpu_s));
        // No work costs nothing: the clock of some systems is coarser than what a short run takes.
        let server_cpu_s = server_cpu_s.filter(|cpu| *cpu > 0.0);
        let per = |amount: Option<f64>, count: f64| amount.filter(|_| count > 0.0).map(|amount| amount / count);
        let messages = total.messages_echoed as f64;
        let gib = total.bytes_verified as f64 / f64::from(1 << 30);
        let rtt = sum_of(&report.loads, |load| &load.rtt);
        let connect = sum_of(&report.loads, |load| &load.connect);
        Round {
            outcome: report.verdict.outcome,
            reasons: report.verdict.reasons.clone(),
            figures: Figures {
                messages_per_s: report.per_second(total.messages_echoed),
                bytes_per_s: report.per_second(total.bytes_verified),
                rtt_p50_ns: nanos(rtt.percentile(50.0)),
                rtt_p99_ns: nanos(rtt.percentile(99.0)),
                connect_p99_ns: nanos(connect.percentile(99.0)),
                server_cpu_us_per_message: per(server_cpu_s.map(|cpu| cpu * 1e6), messages),
                server_cpu_s_per_gib: per(server_cpu_s, gib),
                context_switches_per_message: per(kernel.context_switches.map(|n| n as f64), messages),
                system_calls_per_message: per(kernel.system_calls.map(|n| n as f64), messages),
                threads: usage.and_then(|usage| threads(usage, conns)),
                memory_at_rest_bytes: usage.and_then(|usage| usage.before.memory_bytes).map(|bytes| bytes as f64),
                memory_per_connection_bytes: usage.and_then(|usage| memory_per_connection(usage, conns)),
            },
            server_cpu_s,
            client_cpu_s: report.client.cpu_s,
            client_was_bottleneck: report.client.was_bottleneck,
            machine_was_full: report.client.machine_was_full,
            time_doubt: report.client.time_doubt(report.elapsed()).map(|doubt| doubt.sentence),
            elapsed_s: report.elapsed_s,
            kinds: total.findings.clone(),
            findings: report.loads.iter().flat_map(|load| load.findings.iter().cloned()).collect(),
        }
    }

    /// A round that did not come about, and why.
    pub fn not_run(why: String) -> Round {
        Round {
            outcome: Verdict::Inconclusive,
            reasons: vec![why],
            figures: Figures::default(),
            server_cpu_s: None,
            client_cpu_s: None,
            client_was_bottleneck: None,
            machine_was_full: None,
            time_doubt: None,
            elapsed_s: 0.0,
            kinds: BTreeMap::new(),
            findings: Vec::new(),
        }
    }
}

/// Whether a sample was taken when nearly all connections were open: one or another may be between two lives then.
fn saw_peak(usage: &ResourceUsage, conns: u32) -> bool {
    let enough = u64::from(conns) - u64::from(conns) / 10;
    !usage.samples.is_empty() && usage.most_open.is_none_or(|most| most >= enough)
}

/// The most threads; not known of a run that was too short for a sample with the connections open.
fn threads(usage: &ResourceUsage, conns: u32) -> Option<f64> {
    usage.peak.threads.filter(|_| saw_peak(usage, conns)).map(|threads| threads as f64)
}

/// By how much the memory grew for each connection; not known of a run that was too short for a sample with the
/// connections open.
fn memory_per_connection(usage: &ResourceUsage, conns: u32) -> Option<f64> {
    let (peak, before) = usage.peak.memory_bytes.zip(usage.before.memory_bytes)?;
    (conns > 0 && saw_peak(usage, conns)).then(|| peak.saturating_sub(before) as f64 / f64::from(conns))
}

/// The latencies of all loads.
fn sum_of(loads: &[LoadReport], which: fn(&LoadReport) -> &LatencyReport) -> Latency {
    let mut sum = Latency::default();
    for latency in loads.iter().filter_map(|load| Latency::decode(&which(load).hdr).ok()) {
        sum.add(&latency);
    }
    sum
}

fn nanos(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_nanos() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::usage::{UsageLevel, UsageSample};

    fn usage(before: u64, peak: u64, samples: usize) -> ResourceUsage {
        let level = |memory| UsageLevel { memory_bytes: Some(memory), threads: Some(memory), fds: None };
        ResourceUsage {
            before: level(before),
            peak: level(peak),
            samples: vec![UsageSample::default(); samples],
            most_open: Some(8),
            ..ResourceUsage::default()
        }
    }

    #[test]
    fn memory_is_what_was_added_for_each_connection() {
        assert_eq!(memory_per_connection(&usage(1000, 5000, 1), 8), Some(500.0));
        assert_eq!(memory_per_connection(&usage(1000, 900, 1), 8), Some(0.0));
        assert_eq!(threads(&usage(3, 7, 1), 8), Some(7.0));
    }

    #[test]
    fn without_a_look_at_the_server_while_it_ran_its_peak_is_not_known() {
        assert_eq!((memory_per_connection(&usage(1000, 5000, 0), 8), threads(&usage(3, 7, 0), 8)), (None, None));
    }

    #[test]
    fn a_look_before_the_connections_were_open_has_not_seen_the_peak() {
        let early =
            |conns| (memory_per_connection(&usage(1000, 5000, 3), conns).is_some(), threads(&usage(3, 7, 3), conns));
        assert_eq!((early(10), early(8)), ((false, None), (true, Some(7.0))));
    }
}
