//! `--wait`: waits until a target takes a connection, for servers that were started a moment ago. And, also without the
//! flag, waits a while until a proxy has noticed that its backend listens now.
//!
//! A name that does not resolve yet is waited for too, because containers get their names when they start. Whether the
//! target echoes is not asked here: that is what the run finds out.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;

use super::{backend, destination, launch};
use crate::config::RunArgs;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::interrupt;
use crate::output::console::say;
use crate::peer::Backend;
use crate::target::liveness;
use crate::transport::Destination;
use crate::units::Time;

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one attempt may take. A packet that is lost while a server starts must not take the whole wait.
const MAX_ATTEMPT: Duration = Duration::from_secs(1);
/// How long a server that nobody waits for may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a proxy may take, if nobody says, to notice that its backend listens now. The health checks of HAProxy take
/// 4 s by default, a failed server is left alone for 10 s by nginx.
const REACH_PATIENCE: Duration = Duration::from_secs(15);
/// The shortest time of an attempt.
const MIN_ATTEMPT: Duration = Duration::from_millis(10);

/// The flag `--wait` of every command that can have a target.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct WaitArgs {
    /// Wait this long for the target to take a connection, before anything else [default: 0]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_WAIT", hide_env = true)]
    wait: Option<Time>,
}

impl WaitArgs {
    /// Whether the flag is there.
    pub fn is_wanted(&self) -> bool {
        self.wait.is_some()
    }

    /// Waits until each of the targets takes a connection; all of them together have the time of `--wait`. With a
    /// backend, until a connection to each has reached that: a proxy that checks the health of its backend takes it
    /// back only after a while. Without the flag, it only does the latter, as `until_reached`. Unless `is_quiet`, a
    /// line says that it waits.
    ///
    /// # Errors
    /// The time was up (exit code 4), or the user interrupted (exit code 130). A target that has not the form
    /// HOST:PORT, or flags that are not valid, are refused at once (exit code 2).
    pub fn wait_for(
        &self,
        targets: &[&str],
        run: &RunArgs,
        backend: Option<&Backend>,
        is_quiet: bool,
    ) -> anyhow::Result<()> {
        let Some(Time(patience)) = self.wait else {
            let reach = |backend| {
                launch::resolve_run(run)?;
                backend::wait_for(backend, is_quiet)?;
                let resolve = |target: &str| destination::resolve_now(target, &run.transport());
                targets.iter().try_for_each(|target| until_reached(|| resolve(target), run, backend, is_quiet))
            };
            return backend.map_or(Ok(()), reach);
        };
        if targets.is_empty() {
            let remedy = "name a target, or leave it out: a server that is started here is waited for anyway";
            return Err(Failure::usage(format!("--wait {}: there is no target: {remedy}", Time(patience))));
        }
        launch::resolve_run(run)?;
        backend.map_or(Ok(()), |backend| backend::wait_for(backend, is_quiet))?;
        let until = Instant::now() + patience;
        targets.iter().try_for_each(|target| wait_for(target, (run, backend), patience, until, is_quiet))
    }
}

/// Waits until a connection to a proxy has reached its backend, which may have begun to listen just now. It gives up
/// soon, and is no judge: the run will tell what the proxy does instead. Unless `is_quiet`, a line says that it waits,
/// and another that it gave up.
///
/// # Errors
/// Those of `resolve`, if they concern the usage, or the user interrupted (exit code 130).
pub(super) fn until_reached(
    resolve: impl Fn() -> anyhow::Result<Vec<Destination>>,
    run: &RunArgs,
    backend: &Backend,
    is_quiet: bool,
) -> anyhow::Result<()> {
    let until = Instant::now() + REACH_PATIENCE;
    let mut has_said = is_quiet;
    let strangers = || backend.intake().counts().unknown;
    let before = strangers();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let tried = resolve().and_then(|all| attempt(&all, run, Some(backend), left.clamp(MIN_ATTEMPT, MAX_ATTEMPT)));
        let Err(error) = tried else { return Ok(()) };
        if interrupt::is_requested() {
            return Err(Failure::interrupted("interrupted before a connection had reached the backend"));
        }
        match failure::exit_of(&error) {
            Exit::Usage => return Err(error),
            // Whatever came with other bytes came from the proxy.
            _ if !error.is::<NotReached>() || strangers() > before => return Ok(()),
            _ => {}
        }
        let patience = Time(REACH_PATIENCE);
        if Instant::now() >= until {
            if !is_quiet {
                let remedy = "if it checks the health of the backend, give --wait more time than that takes";
                say(&format!("note: {error} within {patience}, and the run begins all the same: {remedy}"));
            }
            return Ok(());
        }
        if !std::mem::replace(&mut has_said, true) {
            say(&format!("{error} yet: waiting for one, at most {patience}"));
        }
        interrupt::pause(PAUSE.min(until.saturating_duration_since(Instant::now())));
    }
}

fn wait_for(
    target: &str,
    (run, backend): (&RunArgs, Option<&Backend>),
    patience: Duration,
    until: Instant,
    mut is_quiet: bool,
) -> anyhow::Result<()> {
    let mut known: Option<anyhow::Error> = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let all = destination::resolve_now(target, &run.transport());
        let patience_now = left.clamp(MIN_ATTEMPT, MAX_ATTEMPT);
        let last = match all.and_then(|all| attempt(&all, run, backend, patience_now)) {
            Ok(()) => return Ok(()),
            Err(error) if failure::exit_of(&error) == Exit::Usage => return Err(error),
            Err(error) => error,
        };
        if interrupt::is_requested() {
            // The interrupt ended the last attempt, so the one before it says what the target does.
            let last = known.map_or_else(String::new, |known| format!("; the last attempt: {}", brief(&known)));
            return Err(Failure::interrupted(format!("interrupted while waiting for {target}{last}")));
        }
        if Instant::now() >= until {
            let patience = Time(patience);
            if let Some(reached) = last.downcast_ref::<NotReached>() {
                return Err(Failure::could_not_run(format!(
                    "{reached} within --wait {patience}: let the proxy forward to it, and give --wait more time than its \
                     health checks take"
                )));
            }
            let remedy = "start it, check the address and the port, or give --wait more time";
            return Err(Failure::could_not_run(format!(
                "{target} took no connection within --wait {patience}; the last attempt: {}: {remedy}",
                brief(&last)
            )));
        }
        if !is_quiet {
            say(&format!("waiting for {target}, at most {}; no answer yet: {}", Time(patience), brief(&last)));
            is_quiet = true;
        }
        known = Some(last);
        interrupt::pause(PAUSE.min(until.saturating_duration_since(Instant::now())));
    }
}

/// Why an attempt failed, without the address and the number of the error, which the line need not repeat.
fn brief(error: &anyhow::Error) -> String {
    let why = format!("{error:#}");
    let cause = why.split_once('(').and_then(|(_, cause)| cause.strip_suffix(')')).unwrap_or(&why);
    let cause = cause.split(" (os error").next().unwrap_or(cause);
    let mut letters = cause.chars();
    // Not a name in capitals, such as EADDRNOTAVAIL.
    match letters.next() {
        Some(first) if letters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => cause.to_owned(),
    }
}

/// Refuses a server that takes no connection now. `flag` names it.
///
/// # Errors
/// Why not, and what to do: exit code 4.
pub(super) fn refuse_absent(flag: &str, target: &str, run: &RunArgs) -> anyhow::Result<()> {
    let all = destination::resolve_now(target, &run.transport());
    all.and_then(|all| attempt(&all, run, None, PATIENCE)).map_err(|error| {
        if failure::exit_of(&error) != Exit::Inconclusive || interrupt::is_requested() {
            return error;
        }
        let remedy = "start it, or check the address and the port; --wait 30s waits for it";
        let why = format!("{error:#}");
        let cause = why.split_once('(').and_then(|(_, cause)| cause.strip_suffix(')'));
        let problem = match cause.filter(|cause| cause.contains("refused")) {
            Some(cause) => format!("nothing listens on {target} ({cause})"),
            None => why,
        };
        Failure::could_not_run(format!("{flag} {target}: {problem}: {remedy}"))
    })
}

/// A proxy took a connection, and did not open one to the backend.
#[derive(Debug)]
struct NotReached {
    target: String,
    backend: SocketAddr,
}

impl fmt::Display for NotReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} takes connections, and none reached the backend {}", self.target, self.backend)
    }
}

impl std::error::Error for NotReached {}

/// Opens a connection to one of a target's addresses, and closes it again. The error is the last address's answer.
fn attempt(
    destinations: &[Destination],
    run: &RunArgs,
    backend: Option<&Backend>,
    patience: Duration,
) -> anyhow::Result<()> {
    let mut last = anyhow!("the name has no address");
    for destination in destinations {
        let source = destination.address().and_then(|address| run.source_towards(address.ip()));
        let reached = match backend {
            None => liveness::connects(destination, source, patience).map(|()| true),
            Some(backend) => liveness::reaches(destination, source, patience, &backend.intake()),
        };
        match (reached, backend) {
            (Ok(false), Some(backend)) => {
                last = NotReached { target: destination.to_string(), backend: backend.address() }.into();
            }
            (Ok(_), _) => return Ok(()),
            (Err(why), _) => last = anyhow!("{destination} was {why}"),
        }
    }
    Err(last)
}
