//! A run that has ended, as the judge sees it: its measurements, its resources, its ending. Pure.

use std::time::Duration;

use crate::measure::{BackendLoss, Counters, LoadStats, UsageFigures};
use crate::plan::Verify;
use crate::stream::answer::Answer;
use crate::units::Time;

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct MeasuredRun<'r> {
    /// Its load groups, in the order of the plan.
    pub loads: Vec<MeasuredLoad<'r>>,
    /// The time and the resources that it took.
    pub resources: RunResources,
    /// How it ended.
    pub ending: RunEnding,
    /// What the server answered, if it is no echo server.
    pub answered: Option<Answer>,
    /// Both ends are ours.
    pub two_sides: bool,
}

/// A load group of a run that has ended.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredLoad<'r> {
    /// Its name.
    pub name: &'r str,
    /// How much of the echo was compared.
    pub verify: Verify,
    /// Its measurements.
    pub stats: &'r LoadStats,
}

/// The name under which metrics of the server's side of a load are read, where both ends are ours: `load-backend`.
pub fn of_backend(load: &str) -> String {
    format!("{load}-backend")
}

/// The time and the resources that a run took. `None`: not measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunResources {
    /// From the first connect to the last close.
    pub elapsed: Duration,
    /// CPU time of the client.
    pub client_cpu: Option<Duration>,
    /// Peak resident memory of the client, in bytes.
    pub client_memory: Option<u64>,
    /// What else the client used.
    pub client: UsageFigures,
    /// CPU time of the server.
    pub server_cpu: Option<Duration>,
    /// What else the processes of the server used.
    pub server: UsageFigures,
    /// Whether the processes of the server were watched.
    pub is_server_watched: bool,
    /// How long the client itself stood still.
    pub stood_still: Duration,
    /// How long the client was ready to run and mostly waited for a processor.
    pub starved: Option<Duration>,
    /// How long the client's machine was short of memory for TCP.
    pub tcp_memory_short: Option<Duration>,
    /// CPU time that the machine did not get from its host.
    pub stolen: Option<Duration>,
    /// The `echo-tester backend` that was lost during the run.
    pub lost_backend: Option<BackendLoss>,
}

/// How a run came to its end, besides what its connections tell.
#[derive(Clone, Debug, Default)]
pub struct RunEnding {
    /// The loads were interrupted before they were done.
    pub loads_interrupted: bool,
    /// Somebody interrupted the program, perhaps when the loads were already done.
    pub interrupt_requested: bool,
    /// The time limit that ended the loads, if one did.
    pub timed_out_after: Option<Time>,
    /// Nobody asked for this limit: a run without a finding that it ended is no failure.
    pub is_default_limit: bool,
    /// The case is one of the conformance suite, whose loads have no flags.
    pub is_suite: bool,
    /// Only some of the connections were run (`--only-conn`, `--shard`), so metrics of the whole run are unknown.
    pub is_partial: bool,
    /// The end of the server.
    pub server: ServerFate,
    /// What the server kept of connections that had closed, in words.
    pub left_behind: Option<String>,
}

/// The end of the server, as far as a case checks it.
#[derive(Clone, Debug, Default)]
pub enum ServerFate {
    /// It was not checked.
    #[default]
    Unchecked,
    /// It was started for the run.
    Started {
        /// How it ended, if it ended on its own.
        died: Option<String>,
    },
    /// It belongs to somebody else, and was probed after the run.
    Target {
        /// The result; an error says what the server does instead. `None`: it was not probed.
        probe: Option<Result<(), String>>,
    },
}

impl MeasuredRun<'_> {
    /// The counters of all load groups.
    pub(super) fn total(&self) -> Counters {
        let mut total = Counters::default();
        self.loads.iter().for_each(|load| total.add(&load.stats.counters));
        total
    }

    /// Whether nothing can be asserted about any connection.
    pub(super) fn is_unverified(&self) -> bool {
        self.loads.iter().all(|load| load.verify != Verify::Full)
    }
}

impl RunEnding {
    /// Whether the run counts as interrupted. Ctrl-C at a terminal reaches the servers too, so a server that died after
    /// it is not to blame.
    pub(super) fn is_interrupted(&self) -> bool {
        self.loads_interrupted || (self.interrupt_requested && self.server_died())
    }

    fn server_died(&self) -> bool {
        matches!(self.server, ServerFate::Started { died: Some(_) })
    }
}

/// Where the metrics of a run are read from. The load groups are added up once, however many thresholds there are.
pub(super) struct MetricSource<'r> {
    run: &'r MeasuredRun<'r>,
    total: LoadStats,
}

/// The part of a run that a metric is read from: all of it, or one load group.
pub(super) struct MetricScope<'r> {
    pub(super) stats: &'r LoadStats,
    pub(super) resources: &'r RunResources,
    /// How long it took; `None`: nothing came back.
    pub(super) elapsed: Option<Duration>,
}

impl<'r> MetricSource<'r> {
    pub(super) fn new(run: &'r MeasuredRun<'r>) -> MetricSource<'r> {
        let mut total = LoadStats::default();
        run.loads.iter().for_each(|load| total.add(load.stats));
        MetricSource { run, total }
    }

    /// The time and the resources of the run.
    pub(super) fn resources(&self) -> &RunResources {
        &self.run.resources
    }

    /// The whole run, or the load group of this name, if there is one.
    pub(super) fn scope(&self, group: Option<&str>) -> Option<MetricScope<'_>> {
        let resources = &self.run.resources;
        let Some(name) = group else {
            return Some(MetricScope { stats: &self.total, resources, elapsed: Some(resources.elapsed) });
        };
        let stats = self.run.loads.iter().find(|load| load.name == name)?.stats;
        // A group may finish long before the run does.
        Some(MetricScope { stats, resources, elapsed: stats.active_time.length() })
    }
}
