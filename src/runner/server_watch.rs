//! Watches the processes of a run's server: from before its first connection until it has come to rest, and, where
//! something seems to be left behind, through the same load again.

use std::time::{Duration, SystemTime};

use super::launch;
use super::progress::{Progress, Task};
use crate::client::{RunOutcome, RunPlan};
use crate::config::WatchArgs;
use crate::failure::Failure;
use crate::interrupt;
use crate::judge::leftovers::{self, LEFT_BEHIND, REPETITIONS};
use crate::measure::usage::UsageLevel;
use crate::scenario::Scenario;
use crate::sys::advice;
use crate::target::resources::{RestRule, UNCHANGED_FOR, UsageWatch};
use crate::target::test_bed::WatchedProcess;

/// How long a server may take to come to rest where nothing depends on it.
const BRIEF: Duration = Duration::from_secs(2);
/// Before its first connection a server is at rest when it has not changed for this long. That is short, since it is
/// waited for in every case.
const UNCHANGED_BEFORE: Duration = Duration::from_millis(40);
/// How long it may take to come to rest then.
const BRIEF_BEFORE: Duration = Duration::from_millis(500);
/// A run that takes longer is not run again to find out whether its server leaks.
const MAX_REPEATED: Duration = Duration::from_secs(5);

/// The run of a case, as far as its server's processes are judged by it.
pub(super) struct WatchedRun<'r> {
    pub(super) scenario: &'r Scenario,
    pub(super) plan: &'r RunPlan,
    /// The time limit of the loads.
    pub(super) limit: Duration,
    /// The server's process, if it is known.
    pub(super) pid: Option<u32>,
    /// The server comes with this program: it is sampled, but not examined.
    pub(super) is_bundled: bool,
    /// The processes beside it that may leave something behind.
    pub(super) others: Vec<WatchedProcess>,
    /// Other cases use the same server at the same time.
    pub(super) is_shared: bool,
}

/// The watch of the process that `--pid` names, if it does.
///
/// # Errors
/// There is no such process, or the system tells nothing about it.
pub fn named(args: WatchArgs) -> anyhow::Result<Option<UsageWatch>> {
    let Some(pid) = args.pid else { return Ok(None) };
    let missing = || {
        Failure::usage(format!(
            "--pid {pid}: this machine has no such process, or tells nothing about it: give the id of the server's \
             process, such as {} prints",
            advice::HERE.lists_processes
        ))
    };
    UsageWatch::of(pid).map(Some).ok_or_else(missing)
}

/// Waits shortly until the server has come to rest, and adds what it used to the outcome.
pub fn record(watch: &UsageWatch, outcome: &mut RunOutcome) {
    watch.finish(&brief(watch));
    outcome.server = Some(watch.usage(outcome.opened()));
}

/// A short wait for processes from whose level nothing follows at once.
fn brief(watch: &UsageWatch) -> RestRule {
    RestRule {
        goal: watch.before(),
        at_once: LEFT_BEHIND - 1,
        unchanged: u64::MAX,
        unchanged_for: UNCHANGED_FOR,
        patience: BRIEF,
    }
}

/// Watches a server that was just found ready, from the level on at which it rests. The connection that found it ready
/// may still be open there, and would count among what it has before the first connection.
fn watch_from_rest(pid: u32) -> Option<UsageWatch> {
    let nothing = UsageLevel { fds: Some(0), threads: Some(0), memory_bytes: None };
    UsageWatch::of(pid)?.rest(&RestRule {
        goal: nothing,
        at_once: 0,
        unchanged: u64::MAX,
        unchanged_for: UNCHANGED_BEFORE,
        patience: BRIEF_BEFORE,
    })?;
    UsageWatch::of(pid)
}

impl WatchedRun<'_> {
    /// Runs the loads, and watches the server until it has come to rest. Returns the result of [`launch::run_plan`],
    /// and what the server has left behind, in words, if that is certain.
    pub(super) fn run(
        &self,
        start_at: Option<SystemTime>,
        task: &Task,
    ) -> (anyhow::Result<(RunOutcome, bool)>, Option<String>) {
        // What a bundled server has is shown and not judged.
        let watch = self.pid.and_then(if self.is_bundled { UsageWatch::of } else { watch_from_rest });
        let others = self.others.iter().filter_map(|process| Some((&process.name, UsageWatch::of(process.pid)?)));
        let others: Vec<(&String, UsageWatch)> = others.collect();
        let watches = watch.iter().chain(others.iter().map(|(_, watch)| watch));
        let mut result = launch::run_plan(self.plan.clone(), start_at, Some(self.limit), task, watches);
        let Ok((outcome, is_over)) = &mut result else { return (result, None) };
        let mut left_behind: Vec<String> = Vec::new();
        left_behind.extend(watch.and_then(|watch| self.finish(&watch, outcome, *is_over)));
        for (name, watch) in &others {
            watch.finish(&brief(watch));
            let left = self.left_behind(watch, watch.usage(outcome.opened()).settled, outcome, *is_over);
            left_behind.extend(left.map(|left| format!("the process '{name}': {left}")));
        }
        (result, (!left_behind.is_empty()).then(|| left_behind.join("; ")))
    }

    /// Waits until the server has come to rest, and adds what it used to the outcome. Returns what it has left behind,
    /// in words, if that is certain.
    fn finish(&self, watch: &UsageWatch, outcome: &mut RunOutcome, is_over: bool) -> Option<String> {
        let opened = outcome.opened();
        if self.is_judged_by_growth() {
            let goal = watch.early(opened).unwrap_or_else(|| watch.before());
            watch.finish(&RestRule {
                goal,
                at_once: 0,
                unchanged: LEFT_BEHIND - 1,
                unchanged_for: UNCHANGED_FOR,
                patience: self.patience(),
            });
        } else if self.is_bundled {
            watch.finish(&RestRule {
                goal: watch.before(),
                at_once: u64::MAX,
                unchanged: u64::MAX,
                unchanged_for: UNCHANGED_FOR,
                patience: BRIEF,
            });
        } else {
            watch.finish(&brief(watch));
        }
        let usage = watch.usage(opened);
        let settled = usage.settled;
        outcome.server = Some(usage);
        let is_examined = !self.is_judged_by_growth() && !self.is_bundled;
        is_examined.then(|| self.left_behind(watch, settled, outcome, is_over)).flatten()
    }

    /// What processes that have come to rest have left behind, in words, if that is certain.
    fn left_behind(
        &self,
        watch: &UsageWatch,
        settled: UsageLevel,
        outcome: &RunOutcome,
        is_over: bool,
    ) -> Option<String> {
        let opened = outcome.opened();
        let is_examined = !is_over && self.can_be_repeated(outcome);
        if !is_examined || !leftovers::is_suspicious(&watch.before(), watch.early(opened).as_ref(), &settled) {
            return None;
        }
        leftovers::sentence(&self.repeat(watch, settled)?, opened)
    }

    fn is_judged_by_growth(&self) -> bool {
        self.scenario.expect.thresholds.iter().any(|threshold| threshold.is_about_growth_of_server())
    }

    /// How long the server may take to let go of what it has: as long as a connection waits for it.
    fn patience(&self) -> Duration {
        self.scenario.loads.iter().map(|load| load.stall_timeout).max().unwrap_or(BRIEF)
    }

    /// Whether the same load would do the same again, on this server alone.
    fn can_be_repeated(&self, outcome: &RunOutcome) -> bool {
        let is_right = outcome.groups.iter().all(|stats| stats.counters.findings.is_empty());
        let is_whole = !outcome.interrupted && !interrupt::is_requested() && outcome.elapsed <= MAX_REPEATED;
        let expects_an_echo = self.scenario.expect.need_an_echo(self.scenario.expected_loads());
        is_right && is_whole && expects_an_echo && !self.is_shared
    }

    /// Runs the same load again, for as long as something more is left behind each time. Returns the levels: before the
    /// run, after it, and after each repetition. `None`: nothing more is left behind, or a repetition did not run.
    fn repeat(&self, watch: &UsageWatch, settled: UsageLevel) -> Option<Vec<UsageLevel>> {
        let mut levels = vec![watch.before(), settled];
        let mut goal = settled;
        let progress = Progress::quiet();
        let task = progress.begin(0, String::new());
        for _ in 0..REPETITIONS {
            let (outcome, is_over) = launch::run_plan(self.plan.clone(), None, Some(self.limit), &task, None).ok()?;
            if outcome.interrupted || is_over {
                return None;
            }
            let few = LEFT_BEHIND - 1;
            let level = watch.rest(&RestRule {
                goal,
                at_once: few,
                unchanged: few,
                unchanged_for: UNCHANGED_FOR,
                patience: self.patience(),
            })?;
            levels.push(level);
            if level.excess_over(&goal) < LEFT_BEHIND {
                return None;
            }
            goal = level;
        }
        Some(levels)
    }
}
