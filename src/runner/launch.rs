//! From resolved configuration to a run that has ended: limits, interrupts, progress. What `blast`, `check`, `compare`
//! and scenarios have in common.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::deadline::Deadline;
use super::progress::Progress;
use crate::client::limits::{self, SystemLimits};
use crate::client::target::{self, SourceChoice};
use crate::client::{self, Control, RunOutcome, RunPlan};
use crate::config::{Run, RunArgs, Sources};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::console::say;
use crate::plan::{Profile, Slots};
use crate::sys;
use crate::target::command_server;

/// Validates the flags that concern the run as a whole, and puts in what nobody chose: a random seed, and a worker for
/// each processor.
///
/// # Errors
/// A flag that makes no sense (exit code 2).
pub fn resolve_run(args: &RunArgs) -> anyhow::Result<Run> {
    args.resolve(random_seed(), sys::available_cores().unwrap_or(1)).map_err(|error| error.in_flags())
}

fn random_seed() -> u64 {
    // The standard library's hash keys are random for each process; no more than that is needed here.
    RandomState::new().build_hasher().finish()
}

/// Resolves `HOST:PORT`, once in the life of the process: to find out which family answers may take a connection.
///
/// # Errors
/// Not of that form (exit code 2), or no such host (4); with what to do.
pub fn resolve_target(text: &str) -> anyhow::Result<Vec<SocketAddr>> {
    static RESOLVED: Mutex<Vec<(String, Vec<SocketAddr>)>> = Mutex::new(Vec::new());
    check_form(text)?;
    let mut resolved = RESOLVED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, addresses)) = resolved.iter().find(|(target, _)| target == text) {
        return Ok(addresses.clone());
    }
    let addresses = target::resolve(text).map_err(|e| {
        Failure::could_not_run(format!("can't resolve {text}: {e}: check the name, or give the address"))
    })?;
    resolved.push((text.to_owned(), addresses.clone()));
    Ok(addresses)
}

/// Refuses source addresses of which none is of the target's family.
fn check_sources(sources: &Sources, targets: &[SocketAddr]) -> anyhow::Result<()> {
    match targets.first() {
        Some(target) if !sources.is_empty() && sources.towards(target.ip()).is_empty() => {
            let family = if target.is_ipv4() { "IPv4" } else { "IPv6" };
            Err(Failure::usage(format!("--source {sources}: the target is {target}: give an {family} address")))
        }
        _ => Ok(()),
    }
}

/// Tells a target that can't be one from a host that is not there.
fn check_form(text: &str) -> anyhow::Result<()> {
    let wrong = |why: String| Failure::usage(format!("'{text}' is no target: {why}"));
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or(rest);
        return Err(wrong(format!("it is HOST:PORT and no URL: write {rest}")));
    }
    let (host, port) = if text.starts_with('[') {
        let address = text.trim_start_matches('[').split(']').next().unwrap_or_default();
        let is_address = address.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
        match text.split_once(']') {
            _ if !is_address => return Err(wrong("in brackets stands an IPv6 address: write [::1]:7777".to_owned())),
            None => return Err(wrong(format!("its bracket is not closed: write [{address}]:7777"))),
            Some((_, rest)) => (format!("[{address}]"), rest.strip_prefix(':').unwrap_or_default()),
        }
    } else {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        if host.contains(':') {
            let (address, port) = if host.ends_with(':') { (text, "7777") } else { (host, port) };
            return Err(wrong(format!("an IPv6 address stands in brackets: write [{address}]:{port}")));
        }
        (host.to_owned(), port)
    };
    match port.parse::<u32>() {
        _ if host.is_empty() && port.is_empty() => Err(wrong("write 127.0.0.1:7777".to_owned())),
        _ if host.is_empty() => Err(wrong(format!("it has no host: write 127.0.0.1:{port}"))),
        _ if host.contains(char::is_whitespace) => Err(wrong("it has a space in it: leave that out".to_owned())),
        _ if port.is_empty() => Err(wrong(format!("it has no port: write {host}:7777"))),
        Ok(1..=65535) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
        _ => Err(wrong(format!("{port} is no port: they go from 1 to 65535"))),
    }
}

/// A run's plan.
///
/// # Errors
/// More connections than ids, a connection to replay that does not exist, no source address of the targets' family.
pub fn plan(
    run: &Run,
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

/// Checks the limits of the system, and says which of them the plan would hit.
///
/// # Errors
/// One that makes the run impossible.
pub fn check_limits(plan: &RunPlan) -> anyhow::Result<()> {
    for obstacle in limits::check(plan, &SystemLimits::ask(plan)) {
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
    plan: RunPlan,
    start_at: Option<SystemTime>,
    limit: Option<Duration>,
    quiet: bool,
) -> anyhow::Result<(RunOutcome, bool)> {
    wait_until(start_at);
    let control = Control::new(&plan);
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    current.retain(|other| other.strong_count() > 0);
    current.push(Arc::downgrade(&control));
    drop(current);
    if interrupt::is_requested() {
        control.interrupt();
    }
    let progress = Progress::show(&plan, &control, quiet);
    let deadline = limit.map(|limit| Deadline::set(limit, &control)).transpose().context("watching the time")?;
    let mut outcome = client::run(plan, &control).context("running the load")?;
    drop(progress);
    let is_over =
        outcome.interrupted && deadline.is_some_and(|deadline| deadline.has_passed()) && !interrupt::is_requested();
    outcome.interrupted &= !is_over;
    Ok((outcome, is_over))
}

/// The runs that an interrupt ends.
static CURRENT: Mutex<Vec<Weak<Control>>> = Mutex::new(Vec::new());
/// From now on Ctrl-C and SIGTERM end the current runs with their reports, a second one the process. To be called
/// before anything is said, so that who has read the first line can rely on it.
///
/// # Errors
/// The system does not let the signals be caught.
pub fn catch_interrupts() -> anyhow::Result<()> {
    // At the second one, nobody waits any more for servers to end by themselves.
    interrupt::catch(interrupt_runs, command_server::kill_all).context("taking over Ctrl-C")
}

fn interrupt_runs() {
    for control in CURRENT.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
        control.interrupt();
    }
}

/// Waits for the common start of several processes.
fn wait_until(time: Option<SystemTime>) {
    let left = || time.and_then(|time| time.duration_since(SystemTime::now()).ok());
    while let Some(left) = left().filter(|_| !interrupt::is_requested()) {
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_target_is_answered_with_one_that_can() {
        for (text, remedy) in [
            ("localhost", "it has no port: write localhost:7777"),
            ("localhost:", "it has no port: write localhost:7777"),
            ("127.0.0.1", "it has no port: write 127.0.0.1:7777"),
            (":80", "it has no host: write 127.0.0.1:80"),
            ("", "write 127.0.0.1:7777"),
            (":", "write 127.0.0.1:7777"),
            ("1.2.3.4:99999", "99999 is no port: they go from 1 to 65535"),
            ("1.2.3.4:0", "0 is no port"),
            ("1.2.3.4:+80", "+80 is no port"),
            ("1.2.3.4:http", "http is no port"),
            ("1.2.3.4 :80", "leave that out"),
            ("[::1", "its bracket is not closed: write [::1]:7777"),
            ("[::1]", "it has no port: write [::1]:7777"),
            ("[::1]80", "it has no port: write [::1]:7777"),
            ("[::1]:x", "x is no port"),
            ("[]:80", "write [::1]:7777"),
            ("[localhost]:80", "write [::1]:7777"),
            ("::1:80", "write [::1]:80"),
            ("fe80::", "write [fe80::]:7777"),
            ("http://127.0.0.1:80/path", "write 127.0.0.1:80"),
            ("tcp://localhost:80", "write localhost:80"),
        ] {
            let error = check_form(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("'{text}' is no target: ")) && error.contains(remedy), "{error}");
        }
        for text in ["localhost:80", "127.0.0.1:65535", "[::1]:1", "[fe80::1%2]:80", "a-b.example:7777"] {
            assert!(check_form(text).is_ok(), "{text}");
        }
    }
}
