//! From resolved configuration to a run that has ended: plan, limits, interrupts, progress. `blast`, `compare` and the
//! cases of `run` and `check` share it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::deadline::Deadline;
use super::interrupts;
use super::progress::Task;
use crate::client::limits::{self, SystemLimits};
use crate::client::target::SourceChoice;
use crate::client::{self, Control, RunOutcome, RunPlan};
use crate::config::{self, RunArgs, RunSettings, SourceAddresses, StartTime};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::console::say;
use crate::plan::{Profile, Slots};
use crate::sys;
use crate::target::resources::UsageWatch;
use crate::transport::{Destination, SocketKind};

/// How long a process that waits for a common start sleeps before it looks at the clock again, which somebody may set.
const MAX_START_WAIT: Duration = Duration::from_millis(50);

/// A start that is less late than this is not worth a word.
const LATE: Duration = Duration::from_secs(1);

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
            // The server of --serve gets its port later.
            let target = if target.port() == 0 { target.ip().to_string() } else { target.to_string() };
            return Err(Failure::usage(format!(
                "--source {sources}: the target is {target}: give an {family} address"
            )));
        }
        _ => {}
    }
    for target in targets {
        if let Some(source) = sources.in_another_zone(*target) {
            return Err(Failure::usage(format!(
                "--source {source}: a link-local address reaches only its own zone, and the target is {target}: give a \
                 target of that zone, or another source"
            )));
        }
    }
    Ok(())
}

/// The plan of a run.
///
/// # Errors
/// There are more connections than ids, a connection to replay does not exist, no source address has the targets'
/// family, or this system lacks an option of a load.
pub fn plan(
    run: &RunSettings,
    targets: Vec<Destination>,
    groups: Vec<Profile>,
    replay: Option<String>,
) -> anyhow::Result<RunPlan> {
    let slots = Slots::new(&groups).map_err(|e| Failure::usage(e.to_string()))?;
    let addresses: Vec<SocketAddr> = targets.iter().filter_map(Destination::address).collect();
    let kind = targets.iter().map(|target| target.endpoint().kind()).find(|kind| *kind != SocketKind::Tcp);
    let kind = kind.unwrap_or_default();
    if kind != SocketKind::Tcp && !run.sources.is_empty() {
        let what = format!("{} has no addresses to connect from: leave it out", kind.in_words());
        return Err(Failure::usage(format!("--source {}: {what}", run.sources)));
    }
    check_sources(&run.sources, &addresses)?;
    let unsuitable = |group: &Profile| config::unavailable(group).or_else(|| run.transport.unsuitable(group, kind));
    if let Some(error) = groups.iter().find_map(unsuitable) {
        return Err(error.in_flags());
    }
    for conn in &run.only_conns {
        slots.of(*conn).map_err(|e| Failure::usage(format!("--only-conn {conn}: {e}")))?;
    }
    Ok(RunPlan {
        seed: run.seed,
        typed_seed: run.seed,
        sources: SourceChoice::new(&run.sources, &addresses),
        targets,
        groups: groups.into_iter().map(Arc::new).collect(),
        slots,
        shard: run.shard,
        only: run.only_conns.clone(),
        workers: run.workers,
        findings: run.findings,
        replay,
        earlier: Vec::new(),
        backend: None,
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

/// Runs the plan, and takes samples of this program and of the processes that are watched. Ctrl-C ends it early with a
/// report, and so does `limit`. Returns the outcome, and whether `limit` has ended the run; a run that timed out does
/// not count as interrupted.
///
/// # Errors
/// A thread cannot be started.
pub fn run_plan<'w>(
    plan: RunPlan,
    start_at: Option<SystemTime>,
    limit: Option<Duration>,
    task: &Task,
    watches: impl IntoIterator<Item = &'w UsageWatch>,
) -> anyhow::Result<(RunOutcome, bool)> {
    wait_until(start_at);
    let control = Control::new(&plan);
    interrupts::applies_to(&control);
    task.runs(&plan, &control);
    let deadline = limit.map(|limit| Deadline::set(limit, &control)).transpose().context("watching the time")?;
    let own = UsageWatch::of_this_program();
    let own_sampler = own.as_ref().map(|own| own.sample(&control));
    let samplers: Vec<_> = watches.into_iter().map(|watch| watch.sample(&control)).collect();
    let mut outcome = client::run(plan, &control).context("running the load")?;
    drop((own_sampler, samplers));
    outcome.client.usage = own.map(|own| {
        own.look_at_the_end();
        own.usage(outcome.opened())
    });
    let timed_out =
        outcome.interrupted && deadline.is_some_and(|deadline| deadline.has_passed()) && !interrupt::is_requested();
    outcome.interrupted &= !timed_out;
    Ok((outcome, timed_out))
}

/// Says loudly that the server's certificate is not verified.
pub fn note_insecure(args: &RunArgs) {
    if args.transport().tls.is_some_and(|tls| tls.insecure) {
        say("warning: --insecure: the server's certificate is NOT verified: whatever answers there is taken for it");
    }
}

/// Says that the common start of several processes is over already, so that this one begins at once.
pub fn note_late_start(args: &RunArgs) {
    let start = args.start_at.map(|StartTime(time)| time);
    let Some(late) = start.and_then(|time| SystemTime::now().duration_since(time).ok()) else { return };
    if let (Some(start), true) = (args.start_at, late >= LATE) {
        let late = humantime::format_duration(Duration::from_secs(late.as_secs())).to_string();
        // Who is six years late need not know the seconds.
        let spaced = |part: &str| {
            let unit = part.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{} {unit}", part.strip_suffix(unit).unwrap_or(part))
        };
        let late = late.split(' ').take(2).map(spaced).collect::<Vec<_>>().join(" ");
        say(&format!("warning: --start-at {start}: that was {late} ago, so this starts at once"));
    }
}

/// Waits until the common start of several processes, or until an interrupt.
fn wait_until(time: Option<SystemTime>) {
    let left = || time.and_then(|time| time.duration_since(SystemTime::now()).ok());
    while let Some(left) = left().filter(|_| !interrupt::is_requested()) {
        interrupt::pause(left.min(MAX_START_WAIT));
    }
}
