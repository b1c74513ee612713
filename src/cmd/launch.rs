//! From resolved configuration to a run that has ended: limits, interrupts, progress. What `blast`, `check`, `compare`
//! and scenarios have in common.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::deadline::Deadline;
use super::progress::Progress;
use super::{Failure, say};
use crate::client::limits::{self, System};
use crate::client::target::{self, SourceChoice};
use crate::client::{self, Control, Outcome, Plan};
use crate::config::Run;
use crate::exit::Exit;
use crate::plan::{Profile, Slots};

/// Resolves `HOST:PORT`.
///
/// # Errors
/// Not of that form (exit code 2), or no such host (4); with what to do.
pub fn resolve_target(text: &str) -> anyhow::Result<Vec<std::net::SocketAddr>> {
    check_form(text)?;
    target::resolve(text)
        .map_err(|e| Failure::could_not_run(format!("can't resolve {text}: {e}: check the name, or give the address")))
}

/// Tells a target that can't be one from a host that is not there.
fn check_form(text: &str) -> anyhow::Result<()> {
    let wrong = |why: String| Failure::usage(format!("{text} is no target: {why}"));
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(wrong(format!("it has no port: write {text}:7777")));
    };
    if host.is_empty() {
        return Err(wrong(format!("it has no host: write 127.0.0.1:{port}")));
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err(wrong(format!("an IPv6 address stands in brackets: [{host}]:{port}")));
    }
    match port.parse::<u32>() {
        Ok(1..=65535) => Ok(()),
        _ => Err(wrong(format!("{port} is no port: they go from 1 to 65535"))),
    }
}

/// A run's plan.
///
/// # Errors
/// More connections than ids, a connection to replay that does not exist.
pub fn plan(
    run: &Run,
    targets: Vec<std::net::SocketAddr>,
    groups: Vec<Profile>,
    replay: Option<String>,
) -> anyhow::Result<Plan> {
    let slots = Slots::new(&groups).map_err(|e| Failure::usage(e.to_string()))?;
    for conn in &run.only_conns {
        slots.of(*conn).map_err(|e| Failure::usage(format!("--only-conn {conn}: {e}")))?;
    }
    Ok(Plan {
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

/// Checks the limits of the system, and says which of them the plan would hit.
///
/// # Errors
/// One that makes the run impossible.
pub fn check_limits(plan: &Plan) -> anyhow::Result<()> {
    for obstacle in limits::check(plan, &System::ask(plan)) {
        if obstacle.fatal {
            return Err(Failure::could_not_run(obstacle.to_string()));
        }
        say(&format!("warning: {obstacle}"));
    }
    Ok(())
}

/// Runs the plan; Ctrl-C ends it early, a second one at once. So does the end of `limit`: whether it did.
///
/// # Errors
/// A thread could not be started.
pub fn go(
    plan: Plan,
    start_at: Option<SystemTime>,
    limit: Option<Duration>,
    quiet: bool,
) -> anyhow::Result<(Outcome, bool)> {
    wait_until(start_at);
    let control = Control::new(&plan);
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    current.retain(|other| other.strong_count() > 0);
    current.push(Arc::downgrade(&control));
    drop(current);
    if INTERRUPTS.load(Ordering::SeqCst) > 0 {
        control.interrupt();
    }
    let progress = Progress::show(&plan, &control, quiet);
    let deadline = limit.map(|limit| Deadline::set(limit, &control)).transpose().context("watching the time")?;
    let mut outcome = client::run(plan, &control).context("running the load")?;
    drop(progress);
    let is_over = outcome.interrupted && deadline.is_some_and(|deadline| deadline.has_passed()) && !is_interrupted();
    outcome.interrupted &= !is_over;
    Ok((outcome, is_over))
}

/// The runs that an interrupt ends.
static CURRENT: Mutex<Vec<Weak<Control>>> = Mutex::new(Vec::new());
static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// Whether the user has asked for the end.
pub fn is_interrupted() -> bool {
    INTERRUPTS.load(Ordering::SeqCst) > 0
}

/// From now on Ctrl-C and SIGTERM end the current runs with their reports, a second one the process. To be called
/// before anything is said, so that who has read the first line can rely on it.
///
/// # Errors
/// The system does not let the signals be caught.
pub fn catch_interrupts() -> anyhow::Result<()> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    ctrlc::set_handler(|| {
        if INTERRUPTS.fetch_add(1, Ordering::SeqCst) > 0 {
            // Nobody waits any more for what was started to end by itself.
            super::command::kill_all();
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        for control in CURRENT.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
            control.interrupt();
        }
    })
    .context("taking over Ctrl-C")
}

/// Waits for the common start of several processes.
fn wait_until(time: Option<SystemTime>) {
    let left = || time.and_then(|time| time.duration_since(SystemTime::now()).ok());
    while let Some(left) = left().filter(|_| !is_interrupted()) {
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}
