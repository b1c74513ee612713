//! From resolved configuration to a run that has ended: plan, limits, interrupts, progress. `blast`, `compare` and the
//! cases of `run` and `check` share it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::deadline::Deadline;
use super::progress::ProgressDisplay;
use crate::client::limits::{self, SystemLimits};
use crate::client::target::SourceChoice;
use crate::client::{self, Control, RunOutcome, RunPlan};
use crate::config::{RunArgs, RunSettings, SourceAddresses};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::console::say;
use crate::plan::{Profile, Slots};
use crate::sync::lock;
use crate::sys;
use crate::target::command_server;

/// How often a process that waits for a common start looks at the clock and for an interrupt.
const START_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Validates the flags of the run as a whole and fills in defaults: a random seed, and a worker for each core.
///
/// # Errors
/// A flag is invalid (exit code 2).
pub fn resolve_run(args: &RunArgs) -> anyhow::Result<RunSettings> {
    args.resolve(random_seed(), sys::available_cores().unwrap_or(1)).map_err(|error| error.in_flags())
}

fn random_seed() -> u64 {
    // The standard library's hash keys are random for each process, which is random enough for a seed.
    RandomState::new().build_hasher().finish()
}

/// Refuses source addresses if none of them has the target's address family.
fn check_sources(sources: &SourceAddresses, targets: &[SocketAddr]) -> anyhow::Result<()> {
    match targets.first() {
        Some(target) if !sources.is_empty() && sources.towards(target.ip()).is_empty() => {
            let family = if target.is_ipv4() { "IPv4" } else { "IPv6" };
            Err(Failure::usage(format!("--source {sources}: the target is {target}: give an {family} address")))
        }
        _ => Ok(()),
    }
}

/// The plan of a run.
///
/// # Errors
/// There are more connections than ids, a connection to replay does not exist, or no source address has the targets'
/// family.
pub fn plan(
    run: &RunSettings,
    targets: Vec<SocketAddr>,
    groups: Vec<Profile>,
    replay: Option<String>,
) -> anyhow::Result<RunPlan> {
    let slots = Slots::new(&groups).map_err(|e| Failure::usage(e.to_string()))?;
    check_sources(&run.sources, &targets)?;
    for conn in &run.only_conns {
        slots.of(*conn).map_err(|e| Failure::usage(format!("--only-conn {conn}: {e}")))?;
    }
    Ok(RunPlan {
        seed: run.seed,
        sources: SourceChoice::new(&run.sources, &targets),
        targets,
        groups: groups.into_iter().map(Arc::new).collect(),
        slots,
        shard: run.shard,
        only: run.only_conns.clone(),
        workers: run.workers,
        findings: run.findings,
        replay,
    })
}

/// Compares the plan with the system's limits. A limit that may disturb the run is printed as a warning.
///
/// # Errors
/// A limit makes the run impossible (exit code 4).
pub fn check_limits(plan: &RunPlan) -> anyhow::Result<()> {
    for obstacle in limits::check(plan, &SystemLimits::ask(plan)) {
        if obstacle.fatal {
            return Err(Failure::could_not_run(obstacle.to_string()));
        }
        say(&format!("warning: {obstacle}"));
    }
    Ok(())
}

/// The runs that an interrupt ends.
static ACTIVE_RUNS: Mutex<Vec<Weak<Control>>> = Mutex::new(Vec::new());

/// Runs the plan. Ctrl-C ends it early with a report, and so does `limit`. Returns the outcome, and whether `limit` has
/// ended the run; a run that timed out does not count as interrupted.
///
/// # Errors
/// A thread cannot be started.
pub fn run_plan(
    plan: RunPlan,
    start_at: Option<SystemTime>,
    limit: Option<Duration>,
    quiet: bool,
) -> anyhow::Result<(RunOutcome, bool)> {
    wait_until(start_at);
    let control = Control::new(&plan);
    let mut active_runs = lock(&ACTIVE_RUNS);
    active_runs.retain(|other| other.strong_count() > 0);
    active_runs.push(Arc::downgrade(&control));
    drop(active_runs);
    // The signal may have come before this run was in the list.
    if interrupt::is_requested() {
        control.interrupt();
    }
    let progress = ProgressDisplay::start(&plan, &control, quiet);
    let deadline = limit.map(|limit| Deadline::set(limit, &control)).transpose().context("watching the time")?;
    let mut outcome = client::run(plan, &control).context("running the load")?;
    drop(progress);
    let timed_out =
        outcome.interrupted && deadline.is_some_and(|deadline| deadline.has_passed()) && !interrupt::is_requested();
    outcome.interrupted &= !timed_out;
    Ok((outcome, timed_out))
}

/// From now on, Ctrl-C or SIGTERM ends the active runs with their reports, and a second signal ends the process. Call
/// this before anything is printed: a program that reads the first line may send a signal at once.
///
/// # Errors
/// The system refuses the signal handler.
pub fn catch_interrupts() -> anyhow::Result<()> {
    // After a second signal nothing waits for servers to stop, so they are killed.
    interrupt::catch(interrupt_runs, command_server::kill_all).context("installing the handler for Ctrl-C")
}

fn interrupt_runs() {
    for control in lock(&ACTIVE_RUNS).iter().filter_map(Weak::upgrade) {
        control.interrupt();
    }
}

/// Waits until the common start of several processes, or until an interrupt.
fn wait_until(time: Option<SystemTime>) {
    let left = || time.and_then(|time| time.duration_since(SystemTime::now()).ok());
    while let Some(left) = left().filter(|_| !interrupt::is_requested()) {
        std::thread::sleep(left.min(START_POLL_INTERVAL));
    }
}
