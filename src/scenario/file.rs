//! A scenario file as it is written: the TOML, on the structs that the flags use too. Its meaning is in
//! [`read`](super::read).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::need::Need;
use crate::config::{BackendTable, LoadArgs, OutageTable, ProcessTable, RunArgs, ServerTable};
use crate::judge::expectation::ExpectedVerdict;
use crate::judge::grade::Grade;
use crate::judge::metric;
use crate::plan::Flow;
use crate::stream::FindingKind;

/// A scenario as it is written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "echo-tester scenario")]
pub struct ScenarioFile {
    /// The subject, in a few words
    pub(super) name: String,
    /// A stable address such as 4.1
    #[serde(default)]
    pub(super) id: String,
    /// The purpose: the property that it proves, the defects that it catches, where to look when it fails
    #[serde(default)]
    pub(super) about: String,
    /// It moves gigabytes or takes minutes: it is skipped without --long
    #[serde(default)]
    pub(super) long: bool,
    /// must: a failure fails the suite; should: it is reported, and fails the suite with --strict; info: the case can't
    /// fail, it reports a property [default: must]
    pub(super) grade: Option<Grade>,
    /// What the case can't be judged without; where one of them is missing, it is unsupported
    #[serde(default)]
    pub(super) needs: Vec<Need>,
    /// Metrics that the report shows, whatever their values are: 'connect.max', 'others.rtt.p50'
    #[serde(default)]
    pub(super) report: Vec<String>,
    /// Why it can't pass under Wine, where it is skipped for this reason
    pub(super) skip_under_wine: Option<String>,
    /// The server that each case starts; without this table a --target is needed
    pub(super) server: Option<ServerTable>,
    /// Processes that start before the server, in this order, each when the one before it is ready: the backend of a
    /// proxy, keys that are made first
    #[serde(default)]
    pub(super) process: Vec<ProcessTable>,
    /// Both ends are ours: this program is the backend of the proxy that `[server]` starts, or of a target
    pub(super) backend: Option<BackendTable>,
    /// For a time, this program is down as the backend of the proxy: it refuses connections, or resets them at once
    ///
    /// A connection that is open meanwhile need not reach it. One that has not is counted as unserved, and is neither
    /// passed nor failed, however it ends. Every other one is judged as always.
    pub(super) outage: Option<OutageTable>,
    /// Programs that it starts, each with how to install it; where one is missing, the case is skipped
    ///
    /// A program is a name, which is looked for in PATH and in the system's sbin folders, or the path of a
    /// file or a folder.
    #[serde(default)]
    pub(super) programs: BTreeMap<String, String>,
    /// The seed, the workers …
    #[serde(default)]
    pub(super) run: RunArgs,
    /// Instead of loads of its own: the cases of 'echo-tester check' or of 'check --backend', against this server
    pub(super) suite: Option<Suite>,
    /// The loads, which run at the same time
    #[serde(default)]
    pub(super) load: Vec<LoadArgs>,
    /// The expectations
    pub(super) expect: Option<ExpectTable>,
}

/// Cases that come with the program.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Suite {
    /// The conformance suite, as 'echo-tester check' runs it
    Conformance,
    /// The suite for proxies between two ends that are ours, as 'echo-tester check --backend' runs it
    TwoSides,
}

impl ScenarioFile {
    /// Whether both ends of its connections are ours.
    pub(super) fn has_two_sides(&self) -> bool {
        let is_of_load = |load: &LoadArgs| load.flow.is_some_and(Flow::has_two_sides);
        self.backend.is_some() || matches!(self.suite, Some(Suite::TwoSides)) || self.load.iter().any(is_of_load)
    }

    /// The same file with the readiness that fits its ends: between two that are ours, nothing echoes.
    #[must_use]
    pub(super) fn with_readiness(self) -> ScenarioFile {
        if !self.has_two_sides() {
            return self;
        }
        let process = self.process.into_iter().map(ProcessTable::without_echo).collect();
        ScenarioFile { server: self.server.map(ServerTable::without_echo), process, ..self }
    }
}

/// The expectations as they are written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Expect")]
pub(super) struct ExpectTable {
    /// pass, fail or inconclusive [default: pass; fail with findings]
    pub(super) verdict: Option<ExpectedVerdict>,
    /// Kinds of finding, each of which must be seen
    #[serde(default)]
    pub(super) findings: Vec<FindingKind>,
    /// No other kind of finding may be seen [default: false]
    #[serde(default)]
    pub(super) only: bool,
    /// Limits that the metrics must keep to.
    #[serde(default)]
    #[schemars(description = metric::description())]
    pub(super) thresholds: Vec<String>,
}
