//! Runs one case of `run` or `check`: starts its server, runs the loads, and has the result judged. An error in a case
//! is the result of that case, so the others still run. Which cases run, and against what, `suite` knows.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use crate::client::limits::{self, SystemLimits};
use crate::client::{RunOutcome, RunPlan};
use crate::config::{
    self, AddressFamily, BackendArgs, RunArgs, RunSettings, Seed, ServerSpec, TransportSettings, WatchArgs,
};
use crate::failure::Failure;
use crate::interrupt;
use crate::judge::Judgement;
use crate::judge::measured::{RunEnding, ServerFate};
use crate::judge::outcome::CaseOutcome;
use crate::output::reports::ReportArgs;
use crate::output::server_log::ServerLogArgs;
use crate::peer::Backend;
use crate::plan::{Profile, case_seed};
use crate::report::run::RunReport;
use crate::report::suite::CaseReport;
use crate::runner::judged::judged_case;
use crate::runner::known_failures::BaselineArgs;
use crate::runner::known_servers::KnownServers;
use crate::runner::needs::NeededServer;
use crate::runner::needs::missing_program;
use crate::runner::outage::RunningOutage;
use crate::runner::progress::Task;
use crate::runner::server_watch::WatchedRun;
use crate::runner::stop_under_load::StopUnderLoad;
use crate::runner::unreachable::{self, Remedies};
use crate::runner::wait_for_target::{self, WaitArgs};
use crate::runner::{backend, destination, launch, needs};
use crate::scenario::{Scenario, conformance};
use crate::server::models;
use crate::stream::Stream;
use crate::stream::earlier::EarlierRun;
use crate::sys;
use crate::target::liveness;
use crate::target::test_bed::{TestBed, WantedProcesses};
use crate::transport::{Destination, SocketKind};
use crate::units::{Count, Time};

/// Time that the loads of a case may take beyond their own durations and time-outs.
const CASE_ALLOWANCE: Duration = Duration::from_secs(10 * 60);
/// The same for a case of the suite: a server that trickles a byte a second must not hold it for hours.
const PATIENCES_OF_SUITE_CASE: u32 = 12;
/// A case of the suite may take this many times as long as usual, on a slow machine.
const USUAL_TIMES_OF_SUITE_CASE: u32 = 6;
/// The same for a case that needs `--long`.
const LONG_CASE_ALLOWANCE: Duration = Duration::from_secs(2 * 60 * 60);
/// How long the last attempt to reach a target may take that took no connection of a whole run.
const ABSENT_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest value of `--jobs`. More threads would not finish the cases sooner.
const MAX_JOBS: u64 = 64;

/// The flags of `run` and `check` alike.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cases")]
pub struct CaseArgs {
    /// Only cases whose title contains TEXT, such as 4.1 or silent; 'run' also takes cases whose file name contains it
    #[arg(long, value_name = "TEXT", env = "ECHO_TESTER_FILTER", hide_env = true)]
    pub filter: Option<String>,

    /// Also run cases that move gigabytes or take minutes
    #[arg(long, env = "ECHO_TESTER_LONG", hide_env = true)]
    pub long: bool,

    /// A case of the grade 'should' that fails, fails the run: it counts as a 'must'
    #[arg(long, env = "ECHO_TESTER_STRICT", hide_env = true)]
    pub strict: bool,

    /// List the cases without running them; with --json, as a report without results
    #[arg(long, conflicts_with_all = ["write_baseline", "junit", "markdown", "html"])]
    pub list: bool,

    /// List the cases with their servers, say which would be skipped and why, and run nothing
    ///
    /// Nothing is started, and no connection is opened. With --json, a report without results.
    #[arg(long, conflicts_with = "list")]
    pub dry_run: bool,

    /// Where to listen as the backend of the target.
    #[command(flatten)]
    pub backend: BackendArgs,

    /// How long to wait for the target.
    #[command(flatten)]
    pub wait: WaitArgs,

    /// Which failures are known.
    #[command(flatten)]
    pub baseline: BaselineArgs,

    /// Begin no further case after the first one that does not pass
    #[arg(long, env = "ECHO_TESTER_FAIL_FAST", hide_env = true)]
    pub fail_fast: bool,

    /// How many cases run at the same time [default: 1]
    ///
    /// A single case has the machine to itself. Several finish sooner, but share the processor and the network: their
    /// figures are not measurements, and cases about time may miss their thresholds. Each case is shown as it ends;
    /// reports keep the order of the files.
    #[arg(long, value_name = "N", env = "ECHO_TESTER_JOBS", hide_env = true)]
    pub jobs: Option<Count>,

    /// Print no progress, and nothing to standard error but errors and warnings
    #[arg(short, long, env = "ECHO_TESTER_QUIET", hide_env = true)]
    pub quiet: bool,

    /// Which reports are written, and where.
    #[command(flatten)]
    pub(crate) reports: ReportArgs,

    /// Where the output of the servers goes.
    #[command(flatten)]
    pub server_log: ServerLogArgs,

    /// The process of a target.
    #[command(flatten)]
    pub watch: WatchArgs,

    /// Seed, workers and the other flags of a run. They override the values in a scenario file.
    #[command(flatten)]
    pub run: RunArgs,
}

impl CaseArgs {
    pub(super) fn jobs(&self) -> anyhow::Result<usize> {
        match self.jobs.unwrap_or(Count(1)) {
            Count(0) => Err(Failure::usage("--jobs 0: must be at least 1")),
            Count(jobs) if jobs > MAX_JOBS => Err(Failure::usage(format!("--jobs {jobs}: must be at most {MAX_JOBS}"))),
            Count(jobs) => Ok(jobs as usize),
        }
    }

    pub(super) fn is_wanted(&self, scenario: &Scenario) -> bool {
        // The files of the suite are no files of the user: 'v1.' in the name of one is not what 1. is about.
        let is_own_file = conformance::usual_time(&scenario.path).is_none();
        let contains = |text: &String| scenario.title().contains(text) || is_own_file && scenario.path.contains(text);
        self.filter.as_ref().is_none_or(contains)
    }
}

/// What a case needs besides its scenario.
#[derive(Clone)]
pub(super) struct CaseContext<'a> {
    pub(super) args: &'a CaseArgs,
    pub(super) target: Option<&'a str>,
    /// The backend of the target, if both ends are ours.
    pub(super) backend: Option<&'a Backend>,
    /// Its place among the cases, from 1 on.
    pub(super) number: usize,
    /// Where its progress is shown.
    pub(super) task: &'a Task,
    /// The start of the command that runs it again.
    pub(super) replay: String,
    /// The seed, if it is neither that of the flags nor of the file.
    pub(super) seed: Option<Seed>,
    /// What is known of its server.
    pub(super) known: &'a KnownServers,
    /// It is the backend of a proxy, which is reached without the transport of the run.
    pub(super) is_direct: bool,
    /// Another server that gets the same bytes: the backend of a proxy, or the proxy of a backend.
    pub(super) also: Option<&'a KnownServers>,
}

impl CaseContext<'_> {
    /// The flags and the keys of the run, resolved.
    fn resolve_run(&self, scenario: &Scenario) -> anyhow::Result<RunSettings> {
        let run = merged(&self.args.run, &scenario.run);
        let run = RunArgs { seed: self.seed.or(run.seed), ..run };
        launch::resolve_run(&if self.is_direct { run.without_transport() } else { run })
    }

    /// The case has run against its target.
    fn has_run(&self, run: &EarlierRun) {
        [Some(self.known), self.also].into_iter().flatten().for_each(|known| known.has_run(run.clone()));
    }
}

impl CaseContext<'_> {
    fn needed_server(&self) -> NeededServer {
        NeededServer { is_target: self.target.is_some(), has_pid: self.args.watch.pid.is_some() }
    }
}

/// Runs a case. If anything goes wrong, the case is inconclusive; the other cases still run, and no result is lost.
/// `None`: the user interrupted before anything had run.
pub(super) fn run_one(mut case: CaseReport, scenario: &Scenario, context: &CaseContext<'_>) -> Option<CaseReport> {
    if let Some(reason) = why_skipped(scenario, context.args, context.target) {
        case.record_no_run(CaseOutcome::Skipped, reason);
        return Some(case);
    }
    if let Some(reason) = needs::why_unsupported(scenario, context.needed_server()) {
        case.record_no_run(CaseOutcome::Unsupported, reason);
        return Some(case);
    }
    if let Err(error) = try_run(&mut case, scenario, context)
        && !interrupt::is_requested()
    {
        case.record_no_run(CaseOutcome::Inconclusive, format!("{error:#}"));
    }
    (case.outcome != CaseOutcome::NotRun).then_some(case)
}

/// Runs a case, and records the result. After an interrupt there may be none.
fn try_run(case: &mut CaseReport, scenario: &Scenario, context: &CaseContext<'_>) -> anyhow::Result<()> {
    let CaseContext { args, target, replay, .. } = context;
    let run = context.resolve_run(scenario)?;
    let replay = format!("{replay} --seed {}", run.seed);
    case.replay = Some(replay.clone());
    let own_backend = own_backend(scenario, context)?;
    let backend = context.backend.or(own_backend.as_ref()).filter(|_| scenario.has_two_sides());
    backend.map_or(Ok(()), |backend| backend::wait_for(backend, args.quiet))?;
    let Some(reached) = reached(case, scenario, (context, &run.transport, backend))? else { return Ok(()) };
    let (targets, server) = reached;
    // A server that is started for a case holds nothing of others.
    let earlier = target.map(|_| context.known.runs()).unwrap_or_default();
    let plan = RunPlan { earlier, backend: backend.map(Backend::intake), ..plan_of(scenario, &run, targets, replay)? };
    let obstacles = limits::check(&plan, &SystemLimits::ask(&plan));
    if let Some(obstacle) = obstacles.into_iter().find(|obstacle| obstacle.fatal) {
        case.record_no_run(CaseOutcome::Inconclusive, obstacle.without_flags().to_string());
        return Ok(());
    }
    own_backend.as_ref().map_or(Ok(()), |own| until_reached(own, &plan, args))?;
    let limit = run.timeout.unwrap_or_else(|| default_timeout(scenario));
    let stop_after = scenario.conditions.stop_after;
    let ends = (server.as_ref(), backend);
    let (outcome, left_behind) = run_loads((scenario, &plan), (&run, limit), ends, args, context.task)?;
    let has_findings = |outcome: &RunOutcome| outcome.groups.iter().any(|stats| !stats.counters.findings.is_empty());
    let is_broken = outcome.as_ref().is_ok_and(|(outcome, _)| has_findings(outcome));
    let probe = || outcome.as_ref().ok().and_then(|(outcome, _)| liveness::probe(scenario, &plan, outcome));
    let probed = target.and_then(|_| context.known.probed_after(outcome.as_ref().ok(), probe()));
    let stopped = server.map(|server| server.stop(is_broken, stop_after.is_some(), probe));
    let (server, report, output) = match stopped {
        // What stands between two ends that are ours must not have ended. Whether it serves, the next case shows.
        None if plan.backend.is_some() && !matches!(probed, Some(Err(_))) => (ServerFate::Unchecked, None, Vec::new()),
        None => (ServerFate::Target { probe: probed }, None, Vec::new()),
        Some(stopped) => (ServerFate::Started { died: stopped.broke }, stopped.report, stopped.output),
    };
    case.server_output = output;
    let (outcome, is_over) = outcome?;
    if target.is_some() {
        context.has_run(&earlier_run(scenario, &plan, &outcome));
    }
    let ending = RunEnding {
        interrupt_requested: interrupt::is_requested(),
        timed_out_after: is_over.then_some(Time(limit)),
        is_default_limit: run.timeout.is_none(),
        is_suite: conformance::usual_time(&scenario.path).is_some(),
        is_partial: !run.only_conns.is_empty() || run.shard.count() > 1,
        server,
        left_behind,
        ..RunEnding::default()
    };
    let (report, judgement) = judged_case(&plan, &outcome, report, &scenario.expect, ending);
    if report.interrupted && report.total.connects == 0 {
        return Ok(());
    }
    if let Some(why) = unconfirmed(scenario, &report).filter(|_| judgement.outcome == CaseOutcome::Pass) {
        case.record_no_run(CaseOutcome::Unsupported, why);
        return Ok(());
    }
    record(case, report, judgement, &plan, context);
    Ok(())
}

/// Waits until a proxy that was started for the case has noticed that its backend listens. A single connection is not
/// waited for: the proxy may serve no other.
fn until_reached(own_backend: &Backend, plan: &RunPlan, args: &CaseArgs) -> anyhow::Result<()> {
    if plan.slots.total() == 1 {
        return Ok(());
    }
    wait_for_target::until_reached(|| Ok(plan.targets.clone()), &args.run, own_backend, args.quiet)
}

/// The outcome of loads, with whether their time was over, and what their server has left behind.
type RanLoads = (anyhow::Result<(RunOutcome, bool)>, Option<String>);

/// Runs the loads of a case, watches its server, and ends it or has the backend down meanwhile if the case says so.
fn run_loads(
    (scenario, plan): (&Scenario, &RunPlan),
    (run, limit): (&RunSettings, Duration),
    (server, backend): (Option<&TestBed>, Option<&Backend>),
    args: &CaseArgs,
    task: &Task,
) -> anyhow::Result<RanLoads> {
    let watched = WatchedRun {
        scenario,
        plan,
        limit,
        // What a server keeps while it ends says nothing.
        pid: server.map(TestBed::pid).or(args.watch.pid).filter(|_| scenario.conditions.stop_after.is_none()),
        is_bundled: server.is_some_and(TestBed::is_bundled),
        others: server.map(TestBed::watched).unwrap_or_default(),
        is_shared: server.is_none() && args.jobs.is_some_and(|Count(jobs)| jobs > 1),
    };
    let stop = StopUnderLoad::of(server, scenario.conditions.stop_after);
    let stop = stop.context("starting the thread that stops the server")?;
    let outage = RunningOutage::of(backend, scenario.outage)?;
    let outcome = watched.run(run.start_at, task);
    drop(stop);
    outage.map_or(Ok(()), RunningOutage::end)?;
    Ok(outcome)
}

/// Records the result of a case, or that its target is gone.
fn record(case: &mut CaseReport, report: RunReport, judgement: Judgement, plan: &RunPlan, context: &CaseContext<'_>) {
    let absent = context.target.filter(|_| judgement.outcome == CaseOutcome::Inconclusive);
    match absent.and_then(|target| why_absent(&report, target, plan)) {
        None => case.record_run(report, judgement),
        Some(why) => {
            let why = context.known.target_is_gone(why);
            case.record_no_run(CaseOutcome::Inconclusive, why);
        }
    }
}

/// The plan of a case. Its seed is its own, so that no other case of the suite sends the same bytes.
fn plan_of(
    scenario: &Scenario,
    run: &RunSettings,
    targets: Vec<Destination>,
    replay: String,
) -> anyhow::Result<RunPlan> {
    let plan = launch::plan(run, targets, scenario.loads.clone(), Some(replay))?;
    Ok(RunPlan { seed: case_seed(run.seed, scenario.address()), ..plan })
}

/// The addresses that connections go to, with the server if one was started. `None`: there are none, which is the
/// result of the case, unless the user interrupted.
fn reached(
    case: &mut CaseReport,
    scenario: &Scenario,
    (context, transport, backend): (&CaseContext<'_>, &TransportSettings, Option<&Backend>),
) -> anyhow::Result<Option<(Vec<Destination>, Option<TestBed>)>> {
    match (context.target, &scenario.server) {
        (Some(target), _) => match destination::of_family(target, scenario.conditions.family, transport)? {
            Ok(addresses) => Ok(Some((addresses, None))),
            Err(why) => {
                case.record_no_run(CaseOutcome::Unsupported, why);
                Ok(None)
            }
        },
        (None, None) => Err(Failure::usage(format!("{} has no [server]", scenario.path))),
        (None, Some(wanted)) => {
            let Some(server) = start(case, wanted, scenario, (context, transport, backend))? else { return Ok(None) };
            let via = [transport.via.clone(), server.via()?].concat();
            let transport = TransportSettings { via, ..transport.clone() };
            Ok(Some((destination::of_addresses(&server.addresses(), &transport)?, Some(server))))
        }
    }
}

/// The backend that a case listens as, if its file says where, and the command line does not.
fn own_backend(scenario: &Scenario, context: &CaseContext<'_>) -> anyhow::Result<Option<Backend>> {
    let address = scenario.backend.filter(|_| context.backend.is_none() && scenario.has_two_sides());
    match (address, context.target) {
        (Some(address), Some(_)) if address.0.port() == 0 => Err(Failure::usage(
            "the file has its backend at a free port, which no target knows: add --backend LISTEN, the address that the \
             proxy forwards to",
        )),
        (address, _) => {
            let token = context.args.backend.backend_token.as_ref().or(scenario.backend_token.as_ref());
            address.map(|address| backend::listen(address, token)).transpose()
        }
    }
}

/// What later cases against the same target must know of this one.
fn earlier_run(scenario: &Scenario, plan: &RunPlan, outcome: &RunOutcome) -> EarlierRun {
    let (slots, opened) =
        (u64::from(plan.slots.total()), outcome.groups.iter().map(|stats| stats.counters.connects).sum::<u64>());
    let bytes = outcome.groups.iter().map(|stats| stats.counters.bytes_sent).sum();
    // Slots that reconnect may be ahead of others by any number of ids.
    EarlierRun { name: scenario.title(), stream: Stream::new(plan.seed), conns: slots * (opened + 1), bytes }
}

/// Starts the server of a case. `None`: it did not start, which is the result of the case, unless the user interrupted.
fn start(
    case: &mut CaseReport,
    wanted: &ServerSpec,
    scenario: &Scenario,
    (context, transport, backend): (&CaseContext<'_>, &TransportSettings, Option<&Backend>),
) -> anyhow::Result<Option<TestBed>> {
    let of_case = format!("{:03} {}", context.number, scenario.title());
    let file = |name: Option<&str>| {
        let process = name.map_or_else(String::new, |name| format!(" {name}"));
        context.args.server_log.file(&format!("{of_case}{process}"))
    };
    let all = WantedProcesses {
        server: wanted,
        processes: &scenario.processes,
        conditions: &scenario.conditions,
        backend: backend.map(Backend::address),
    };
    match TestBed::start(all, &|at| destination::of_address(at, transport), file) {
        Ok(started) => {
            context.known.has_started(wanted);
            Ok(Some(started))
        }
        Err(_) if interrupt::is_requested() => Ok(None),
        Err(not_started) if scenario.conditions.family != AddressFamily::Any => {
            let why = format!("a server that does not listen there can't be judged by it: {}", not_started.reason);
            case.record_no_run(CaseOutcome::Unsupported, why);
            case.server_output = not_started.output;
            Ok(None)
        }
        Err(not_started) => {
            context.known.did_not_start(wanted);
            case.record_no_run(CaseOutcome::Inconclusive, not_started.reason);
            case.server_output = not_started.output;
            Ok(None)
        }
    }
}

/// Why no connection to the target could be opened, if it is still not there after the run. A server that is only busy
/// with the end of an earlier case takes this one.
fn why_absent(report: &RunReport, target: &str, plan: &RunPlan) -> Option<String> {
    let source = plan.sources.of(0, 0, 1);
    if !unreachable::is_absent(&report.total) || liveness::is_there(&plan.targets, source, ABSENT_TIMEOUT) {
        return None;
    }
    let is_via = plan.targets.iter().any(|target| target.preamble().is_some());
    let remedies = Remedies { has_sources: source.is_some(), is_via, ..Remedies::default() };
    unreachable::why(report, target, remedies)
}

/// Why a run that passed tells nothing of what it was for: no data went with a SYN.
fn unconfirmed(scenario: &Scenario, report: &RunReport) -> Option<String> {
    let is_asked_for = scenario.loads.iter().any(|load| load.fast_open);
    (is_asked_for && report.total.fast_open == 0).then(|| {
        "no data that went with a SYN was acknowledged: the server, or a box on the way, takes no Fast Open (its listener \
         needs TCP_FASTOPEN, and on Linux net.ipv4.tcp_fastopen the bit 2)"
            .to_owned()
    })
}

/// The default time limit of a case: what its longest load takes by its own options, plus an allowance.
fn default_timeout(scenario: &Scenario) -> Duration {
    let planned_time = |load: &Profile| {
        let opening = load.ramp + load.connect_timeout;
        load.duration.unwrap_or_default().max(opening) + load.ends_after(load.conns) + load.grace + load.stall_timeout
    };
    let longest = scenario.loads.iter().map(planned_time).max().unwrap_or_default();
    let patience = scenario.loads.iter().map(|load| load.connect_timeout.max(load.stall_timeout)).max();
    let patience = patience.unwrap_or_default();
    longest
        + match conformance::usual_time(&scenario.path) {
            _ if scenario.long => LONG_CASE_ALLOWANCE,
            Some(usual) => (patience * PATIENCES_OF_SUITE_CASE).max(usual * USUAL_TIMES_OF_SUITE_CASE),
            None => CASE_ALLOWANCE,
        }
}

/// Why a case is skipped here, if it is.
pub(super) fn why_skipped(scenario: &Scenario, args: &CaseArgs, target: Option<&str>) -> Option<String> {
    if scenario.long && !args.long {
        return Some("it moves gigabytes or takes minutes: add --long".to_owned());
    }
    if let Some((program, remedy)) = missing_program(scenario, target.is_some()) {
        return Some(format!("{program} is not installed: {remedy}"));
    }
    if let Some(reason) = scenario.skip_under_wine.as_ref().filter(|_| sys::is_wine()) {
        return Some(format!("under Wine: {reason}"));
    }
    let (kind, transport) =
        (target.map(SocketKind::of_target).unwrap_or_default(), merged(&args.run, &scenario.run).transport());
    let lacking = |load: &Profile| config::unavailable(load).or_else(|| transport.unsuitable(load, kind));
    if let Some(lacking) = scenario.loads.iter().find_map(lacking) {
        return Some(lacking.to_string());
    }
    let has_backend = args.backend.backend.is_some() || scenario.backend.is_some();
    match (scenario.has_two_sides(), args.backend.backend) {
        (true, None) if !has_backend => {
            return Some(
                "both ends must be ours: add --backend LISTEN, the address that the proxy forwards to".to_owned(),
            );
        }
        (false, Some(_)) => return Some("it needs an echo, and with --backend this program is the server".to_owned()),
        _ => {}
    }
    if let Some(lacking) = scenario.conditions.unavailable(target.is_some(), scenario.has_two_sides()) {
        return Some(lacking.to_owned());
    }
    match (target, &scenario.server) {
        (Some(_), Some(server)) if server.is_faulty() => {
            Some("it needs a server that is faulty on purpose, so it does not apply to --target".to_owned())
        }
        (None, Some(ServerSpec::Bundled(server))) => {
            let name = server.model.as_deref()?;
            let why = models::find(name).ok().and_then(models::Model::why_not)?;
            Some(format!("the model {name} does not run here: {why}"))
        }
        _ => None,
    }
}

/// The flags of a case: those on the command line override those in the file.
pub(super) fn merged(typed: &RunArgs, file: &RunArgs) -> RunArgs {
    RunArgs {
        seed: typed.seed.or(file.seed),
        workers: typed.workers.or(file.workers),
        source: typed.source.clone().or_else(|| file.source.clone()),
        only_conn: typed.only_conn.clone().or_else(|| file.only_conn.clone()),
        shard: typed.shard.or(file.shard),
        start_at: typed.start_at.or(file.start_at),
        findings: typed.findings.or(file.findings),
        timeout: typed.timeout.or(file.timeout),
        ..RunArgs::default()
    }
    .with_transport_of(typed, file)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::judge::expectation::CheckedServer;
    use crate::runner::progress::Progress;
    use crate::scenario::Variables;

    #[derive(Parser)]
    struct CaseCommand {
        #[command(flatten)]
        cases: CaseArgs,
    }

    #[test]
    fn a_case_of_the_suite_has_twelve_times_its_patience_and_a_scenario_has_minutes() {
        let cases = Scenario::conformance(&Variables::none()).expect("the files are valid");
        let limit = |id: &str| default_timeout(cases.iter().find(|case| case.id == id).expect("there is such a case"));
        for (id, seconds) in [("1.1", 60), ("1.6", 60), ("2.4", 60)] {
            let limit = limit(id).as_secs();
            assert!((seconds..seconds + 60).contains(&limit), "{id}: {limit} s");
        }
        assert!(limit("1.6L") >= LONG_CASE_ALLOWANCE);
        let own = Scenario::parse("a.toml", "name = 'n'\n[[load]]\n").expect("the scenario is valid");
        assert!(default_timeout(&own) >= CASE_ALLOWANCE);
    }

    #[test]
    fn a_case_in_which_something_goes_wrong_is_inconclusive() {
        let args = CaseCommand::parse_from(["test"]).cases;
        let scenario = Scenario::parse("a.toml", "name = 'n'\n[[load]]\n").expect("the scenario is valid");
        let planned = CaseReport::planned(&scenario, CheckedServer::Target);
        // A name that no longer resolves would do the same, but would need a resolver.
        let known = KnownServers::default();
        let replay = "echo-tester run a.toml".to_owned();
        let context = CaseContext {
            args: &args,
            target: Some("no-port"),
            backend: None,
            number: 1,
            task: &Progress::quiet().begin(0, String::new()),
            replay,
            seed: None,
            known: &known,
            is_direct: false,
            also: None,
        };
        let case = run_one(planned, &scenario, &context).expect("nobody interrupts");
        assert_eq!((case.outcome, case.checks[0].outcome), (CaseOutcome::Inconclusive, CaseOutcome::Inconclusive));
        assert!(case.reasons[0].contains("no-port") && case.replay.is_some(), "{:?}", case.reasons);
    }
}
