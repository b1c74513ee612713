//! Runs the cases of `run` and `check` against one server or several: chooses them, runs each, compares it with what is
//! known, and reports it as it ends. Those whose server is known to be missing are left out.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::config::RunArgs;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::interrupt;
use crate::judge::expectation::CheckedServer;
use crate::judge::outcome::CaseOutcome;
use crate::output::console::{for_stdout, say};
use crate::output::reports::Reports;
use crate::output::result::exit_after_writing;
use crate::peer::Backend;
use crate::report::suite::{CaseReport, SuiteState};
use crate::runner::case::{CaseArgs, CaseContext, merged, run_one, why_skipped};
use crate::runner::directly;
use crate::runner::known_failures::KnownFailures;
use crate::runner::known_servers::KnownServers;
use crate::runner::planned;
use crate::runner::progress::Progress;
use crate::runner::server_watch;
use crate::runner::wait_for_target;
use crate::runner::{backend, destination, jobs, launch};
use crate::scenario::distance::Distance;
use crate::scenario::{Scenario, names};
use crate::target::liveness;
use crate::units::Time;

/// What the cases run against.
#[derive(Clone, Debug, Default)]
pub struct SuiteTargets {
    /// Servers that somebody else runs, HOST:PORT, one after the other; none: the servers of the scenarios.
    pub targets: Vec<String>,
    /// The backend of the only target, which is a proxy: each case runs against it too.
    pub direct: Option<String>,
}

impl SuiteTargets {
    /// Waits for the targets if the user wants that, and resolves their names.
    ///
    /// # Errors
    /// A target has not the form HOST:PORT, or stands there twice. With one target: it is not there.
    fn prepare(&self, args: &CaseArgs, own_backend: Option<&Backend>) -> anyhow::Result<()> {
        for (i, target) in self.targets.iter().enumerate() {
            if self.targets[..i].contains(target) {
                return Err(Failure::usage(format!(
                    "{target} is there twice, and a report would show only one of them: name it once"
                )));
            }
        }
        let targets: Vec<&str> = self.targets.iter().map(String::as_str).collect();
        let backend: Vec<&str> = self.direct.iter().map(String::as_str).collect();
        let is_only_one = targets.len() < 2;
        let without_transport = args.run.without_transport();
        let directly = (&backend, &without_transport);
        let ways = [(&targets, &args.run)].into_iter().chain((!backend.is_empty()).then_some(directly));
        let waited = ways.clone().map(|(all, run)| args.wait.wait_for(all, run, own_backend, args.quiet));
        let resolved = ways
            .flat_map(|(all, run)| all.iter().map(|target| destination::resolve(target, &run.transport()).map(drop)));
        for result in waited.chain(resolved) {
            match result {
                Ok(()) => {}
                // The others can still be checked. Its own cases will say what is wrong with it.
                Err(error) if !is_only_one && failure::exit_of(&error) == Exit::Inconclusive => {
                    say(&format!("warning: {error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
        // A proxy can't be compared with a backend that is not there.
        let refuse = |backend| wait_for_target::refuse_absent("--direct", backend, &without_transport);
        backend.into_iter().try_for_each(refuse)
    }

    /// The longest round trip to a target that echoes within this time.
    fn round_trip(&self, args: &CaseArgs, patience: Duration) -> Option<Duration> {
        let of = |target: &String, run: &RunArgs| {
            let destinations = destination::resolve(target, &run.transport()).ok()?;
            let source = |ip| run.source_towards(ip);
            // Of a target that echoes at once, nobody needs to know that it was asked.
            let wait = SOON.min(patience);
            let began = Instant::now();
            liveness::round_trip(&destinations, source, wait).or_else(|| {
                // A refusal comes at once, and the run will tell.
                if began.elapsed() < wait {
                    return None;
                }
                let patience = Time(patience);
                let line = format!("no byte came back from {target} in {}: waiting {patience} for one", Time(wait));
                (!args.quiet).then(|| say(&line));
                liveness::round_trip(&destinations, source, patience.0)
            })
        };
        let through = self.targets.iter().filter_map(|target| of(target, &args.run));
        through.chain(self.direct.iter().filter_map(|backend| of(backend, &args.run.without_transport()))).max()
    }

    /// The targets, in their order: `None` stands for the servers of the scenarios.
    fn each(&self) -> Vec<Option<&str>> {
        if self.targets.is_empty() {
            vec![None]
        } else {
            self.targets.iter().map(|target| Some(target.as_str())).collect()
        }
    }
}

/// A target that echoes in this time is measured without a word.
const SOON: Duration = Duration::from_millis(500);

/// The scenarios for a target at this distance.
pub type AtDistance<'a> = &'a dyn Fn(Distance) -> anyhow::Result<Vec<Scenario>>;

/// Runs the scenarios, against each of the targets if there are any. If the target is far away, those of `at_distance`
/// run in their place; they must be the same cases. `replay` returns the start of the command that
/// runs a case against this target again.
///
/// # Errors
/// Before the first case: the flags are invalid, or do not fit a case. After the last: a result cannot be written. A
/// case that could not run is not an error; its outcome says so.
pub fn run_all(
    scenarios: &[Scenario],
    args: &CaseArgs,
    targets: &SuiteTargets,
    at_distance: Option<AtDistance<'_>>,
    replay: impl Fn(&Scenario, Option<&str>) -> String + Sync,
) -> anyhow::Result<Exit> {
    let jobs = args.jobs()?;
    let graded = graded(scenarios, args);
    let wanted = chosen(&graded, args);
    if wanted.is_empty() {
        return Err(no_case(scenarios, args));
    }
    names::check(&wanted).map_err(|error| Failure::usage(error.styled()))?;
    let each = targets.each();
    let mut planned: Vec<CaseReport> = planned(&wanted, &each);
    if args.list {
        let cases = planned.into_iter().take(wanted.len()).collect();
        return args.reports.list(&for_stdout(&list(&wanted)), cases).map(|()| Exit::Pass);
    }
    check_flags(&wanted, args, each[0])?;
    check_pid(args, targets)?;
    if args.dry_run {
        let lines = planned::dry_run(&wanted, &each, args, &mut planned);
        return args.reports.list(&for_stdout(&lines.join("\n")), planned).map(|()| Exit::Pass);
    }
    launch::note_late_start(&args.run);
    launch::note_insecure(&args.run);
    let failures = KnownFailures::open(&args.baseline, scenarios, each.len())?;
    let backend = open_backend(args, targets, jobs)?;
    targets.prepare(args, backend.as_ref())?;
    let far = far(targets, args, &wanted, at_distance.filter(|_| backend.is_none()))?;
    let wanted = far.as_ref().map_or(wanted, |far| chosen(far, args));
    prepare_log(args, each[0])?;
    let reports = Reports::open(&args.reports, planned.clone(), args.quiet)?;
    reports.announce(&planned::opening(&wanted, &targets.targets, targets.direct.as_deref()))?;
    let usual = usual_times(&wanted, args, &each);
    let suite = SuiteRun {
        args,
        wanted: &wanted,
        planned: &planned,
        known: each.iter().map(|_| KnownServers::default()).collect(),
        each,
        direct: targets.direct.as_deref(),
        backend,
        known_directly: KnownServers::default(),
        replay: &replay,
        progress: Progress::of_suite(usual, jobs, args.quiet),
    };
    suite.run_each(jobs, &failures, reports)
}

/// The scenarios with the grades in force.
fn graded(scenarios: &[Scenario], args: &CaseArgs) -> Vec<Scenario> {
    scenarios.iter().map(|scenario| scenario.in_force(args.strict)).collect()
}

/// Those that the user wants.
fn chosen<'s>(graded: &'s [Scenario], args: &CaseArgs) -> Vec<&'s Scenario> {
    graded.iter().filter(|scenario| args.is_wanted(scenario)).collect()
}

/// The scenarios for a target that is far away, graded. `None`: it is near, or there is none.
fn far(
    targets: &SuiteTargets,
    args: &CaseArgs,
    wanted: &[&Scenario],
    at_distance: Option<AtDistance<'_>>,
) -> anyhow::Result<Option<Vec<Scenario>>> {
    let Some(at_distance) = at_distance else { return Ok(None) };
    let loads = wanted.iter().flat_map(|scenario| &scenario.loads);
    let patience = loads.map(|load| load.connect_timeout).min().unwrap_or_default();
    let Some(distance) = targets.round_trip(args, patience).and_then(Distance::of) else { return Ok(None) };
    at_distance(distance).map(|scenarios| Some(graded(&scenarios, args)))
}

/// Why no further case begins.
fn state(has_run: bool, is_stopped: bool, is_echo_missing: bool) -> SuiteState {
    match interrupt::is_requested() {
        true => SuiteState::Interrupted,
        false if is_stopped => SuiteState::Stopped,
        false if has_run && is_echo_missing => SuiteState::NoEcho,
        // Cases that were left out for no other reason had no server.
        false if has_run => SuiteState::NoServer,
        false => SuiteState::Incomplete,
    }
}

/// Listens where `--backend` says, if it does: for one proxy, and one case at a time.
fn open_backend(args: &CaseArgs, targets: &SuiteTargets, jobs: usize) -> anyhow::Result<Option<Backend>> {
    if let Some(address) = args.backend.backend {
        let problem = match (targets.targets.len(), &targets.direct) {
            (_, Some(_)) => "--direct names another program as the backend: leave out one of them",
            (count, None) if count > 1 => "there are several targets: check one proxy at a time",
            _ if jobs > 1 => "it takes one case at a time: leave out --jobs",
            _ => return backend::open(&args.backend, !targets.targets.is_empty()),
        };
        return Err(Failure::usage(format!("--backend {address}: {problem}")));
    }
    Ok(None)
}

/// Everything that the cases of a suite need.
struct SuiteRun<'a> {
    args: &'a CaseArgs,
    /// The cases, which run against each target.
    wanted: &'a [&'a Scenario],
    planned: &'a [CaseReport],
    each: Vec<Option<&'a str>>,
    /// What is known of each target.
    known: Vec<KnownServers>,
    /// Where this program listens as the backend of the target, if both ends are ours.
    backend: Option<Backend>,
    /// The backend of the target, and what is known of it.
    direct: Option<&'a str>,
    known_directly: KnownServers,
    replay: &'a (dyn Fn(&Scenario, Option<&str>) -> String + Sync),
    progress: Progress,
}

impl SuiteRun<'_> {
    /// Runs the cases, reports each as it ends, and ends the reports.
    fn run_each(self, jobs: usize, failures: &KnownFailures, mut reports: Reports) -> anyhow::Result<Exit> {
        let (mut is_stopped, mut ended) = (false, 0);
        let run = |i: usize| self.run(i).map(|case| failures.judged(case));
        let result = jobs::run(self.planned.len(), jobs, run, |i, case| {
            if let Some(case) = case {
                is_stopped |= self.args.fail_fast && !case.outcome.is_good() && case.outcome != CaseOutcome::Weak;
                ended += 1;
                reports.add(i, case);
            }
            // Checked again, because an interrupt may come while a server stops or while a case is skipped.
            let is_over = is_stopped || self.is_nobody_there() || interrupt::is_requested();
            if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let (is_nobody_there, is_whole) = (self.is_nobody_there(), ended == self.planned.len());
        let is_echo_missing = self.known.iter().any(KnownServers::is_no_echo_server);
        let log = &self.args.server_log;
        // The last lines are the last: no progress is shown below them.
        drop(self);
        let exit = reports.finish(state(result.is_ok(), is_stopped && !is_nobody_there, is_echo_missing));
        result?;
        failures.write(exit_after_writing(exit?, log.check_complete()), is_whole)
    }

    /// Runs a case; `None`: it has no server, or the user interrupted. After an interrupt no thread begins another one.
    fn run(&self, i: usize) -> Option<CaseReport> {
        let (scenario, target) = (self.wanted[i % self.wanted.len()], self.each[i / self.wanted.len()]);
        let known = &self.known[i / self.wanted.len()];
        let server = scenario.server.as_ref().filter(|_| target.is_none());
        if interrupt::is_requested() || known.is_target_gone() || known.is_missing(server) {
            return None;
        }
        let replay = (self.replay)(scenario, target);
        let planned = self.planned[i].clone();
        let task = &self.progress.begin(i, planned.title());
        let number = i + 1;
        let (seed, is_direct, also) = (None, false, None);
        let (args, backend) = (self.args, self.backend.as_ref());
        let context = CaseContext { args, target, backend, number, task, replay, seed, known, is_direct, also };
        let Some(backend) = self.direct else { return run_one(planned, scenario, &context) };
        let at_backend = CaseContext {
            target: Some(backend),
            replay: (self.replay)(scenario, Some(backend)),
            known: &self.known_directly,
            is_direct: true,
            also: Some(known),
            ..context.clone()
        };
        directly::run_both(planned, scenario, &context, at_backend)
    }

    /// Whether no target takes connections any more, or echoes.
    fn is_nobody_there(&self) -> bool {
        self.known.iter().all(KnownServers::is_target_gone)
    }
}

/// How long each case usually takes, if that is known.
fn usual_times(wanted: &[&Scenario], args: &CaseArgs, each: &[Option<&str>]) -> Vec<Option<Duration>> {
    let of_case = |scenario: &&Scenario, target: Option<&str>| match why_skipped(scenario, args, target) {
        Some(_) => Some(Duration::ZERO),
        None => scenario.usual_time(),
    };
    each.iter().flat_map(|target| wanted.iter().map(move |scenario| of_case(scenario, *target))).collect()
}

/// The cases without results. Of several targets each case names its own.
fn planned(wanted: &[&Scenario], each: &[Option<&str>]) -> Vec<CaseReport> {
    let of_target = |target: &Option<&str>| {
        let server = |scenario: &Scenario| match target {
            // What stands between two ends that are ours echoes nothing.
            Some(_) if scenario.has_two_sides() => CheckedServer::Unchecked,
            Some(_) => CheckedServer::Target,
            None => CheckedServer::Started,
        };
        let label = target.filter(|_| each.len() > 1);
        let planned = |scenario: &&Scenario| CaseReport::planned(scenario, server(scenario)).at(label);
        wanted.iter().map(planned).collect::<Vec<_>>()
    };
    each.iter().flat_map(of_target).collect()
}

/// Why none of the scenarios is left to run.
fn no_case(scenarios: &[Scenario], args: &CaseArgs) -> anyhow::Error {
    let Some(filter) = &args.filter else { return Failure::usage("no case is left to run".to_owned()) };
    let is_group_11 = scenarios.iter().all(|case| case.has_two_sides() && case.id.starts_with("11."));
    let backend = match args.backend.backend {
        None if filter.starts_with("11") => "; the cases of group 11 need --backend",
        Some(_) if is_group_11 => "; with --backend there is group 11 alone",
        _ => "",
    };
    Failure::usage(format!("no case contains '{filter}': --list shows them{backend}"))
}

/// Makes the folder for the output of servers. If there will be no server, a note says so.
fn prepare_log(args: &CaseArgs, target: Option<&str>) -> anyhow::Result<()> {
    args.server_log.make_folder()?;
    if target.is_some() && !args.quiet {
        args.server_log.note_without_server();
    }
    Ok(())
}

/// Checks that `--pid`, if it is given, stands for the only server.
fn check_pid(args: &CaseArgs, targets: &SuiteTargets) -> anyhow::Result<()> {
    let is_only_one = targets.each().len() == 1 && targets.direct.is_none();
    match args.watch.pid {
        Some(pid) if !is_only_one => {
            Err(Failure::usage(format!("--pid {pid}: it is the process of one server: check that one alone")))
        }
        _ => Ok(()),
    }
}

/// Checks the flags against every case before the first one runs, so that a late case cannot fail because of them.
fn check_flags(wanted: &[&Scenario], args: &CaseArgs, target: Option<&str>) -> anyhow::Result<()> {
    launch::resolve_run(&args.run)?;
    if let (Some(pid), None) = (args.watch.pid, target) {
        return Err(Failure::usage(format!(
            "--pid {pid}: without a HOST:PORT each case starts a server of its own, which is watched anyway: leave it out"
        )));
    }
    server_watch::named(args.watch)?;
    for scenario in wanted.iter().filter(|scenario| why_skipped(scenario, args, target).is_none()) {
        let run = launch::resolve_run(&merged(&args.run, &scenario.run));
        let plan = run.and_then(|run| launch::plan(&run, Vec::new(), scenario.loads.clone(), None));
        let remedy = "use --filter to choose cases that it fits";
        plan.map_err(|error| Failure::usage(format!("{}: {error:#}; {remedy}", scenario.path)))?;
    }
    Ok(())
}

/// A line for each case: id, grade, name, file.
fn list(cases: &[&Scenario]) -> String {
    let width = cases.iter().map(|case| case.name.chars().count()).max().unwrap_or(0);
    let line = |case: &&Scenario| {
        format!("{:<4} {:<6} {:<width$}  {}", case.id, case.expect.grade.name(), case.name, case.path)
    };
    cases.iter().map(line).collect::<Vec<_>>().join("\n")
}
