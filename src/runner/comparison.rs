//! The rounds of a comparison: every server under the same load, in turn.
//!
//! A round runs every server once, and each round begins with another server. So other work of the machine affects all
//! of them alike. Every run has the same seed, so all servers get the same bytes in the same fragments.
//!
//! System calls are counted in a run of their own before the first round, where the system permits it: the kernel takes
//! another way through each call that is counted, and so the CPU time of the rounds would be that of counting too.

use std::cell::Cell;

use crate::config::{LoadArgs, RunSettings, ServerConditions, ServerSpec, SweepValue};
use crate::interrupt;
use crate::judge::verdict::Verdict;
use crate::output::console::say;
use crate::output::server_log::ServerLogArgs;
use crate::plan::Profile;
use crate::report::compare::{Pinned, ServerKind, ServerSetting};
use crate::report::compare_figures::Figure;
use crate::report::compare_round::{KernelWork, Round};
use crate::report::run::RunReport;
use crate::report::text::show_count;
use crate::runner::judged::judged_run;
use crate::runner::progress::Progress;
use crate::runner::unreachable::{self, Remedies};
use crate::runner::{destination, launch, pinning, server_watch};
use crate::sys;
use crate::target::kernel_watch::KernelWatch;
use crate::target::resources::UsageWatch;
use crate::target::test_server::TestServer;

/// How often a round runs again that says nothing, because the client had no time.
const RUNS_AGAIN: u32 = 2;

/// A server that is compared.
pub struct ComparedServer {
    /// Its name, and what it is.
    pub setting: ServerSetting,
    /// How it is started; `None`: it runs already, at the address that the setting names.
    pub start: Option<ServerSpec>,
}

/// One load of a comparison.
pub struct PlannedPoint {
    /// The value on the axis.
    pub value: Option<SweepValue>,
    /// The load and its value in words, `conns 100`; without a sweep, nothing.
    pub place: Option<String>,
    /// The load as flags.
    pub load: LoadArgs,
    /// The load.
    pub profile: Profile,
}

/// A comparison that runs.
pub struct Comparison<'a> {
    /// The options of every run.
    pub run: &'a RunSettings,
    /// The servers.
    pub servers: &'a [ComparedServer],
    /// How often each server is run.
    pub rounds: u64,
    /// The processors of each side, if they are apart.
    pub pinned: Option<&'a Pinned>,
    /// By which figure the servers are compared, for the lines of progress.
    pub compared_by: Figure,
    /// The command that repeats a run of this server with this load.
    pub replay: &'a dyn Fn(&ComparedServer, &LoadArgs) -> String,
    /// Where the output of the servers goes.
    pub server_log: &'a ServerLogArgs,
    /// No lines of progress.
    pub quiet: bool,
    /// Where progress is shown, and the number of the next run there.
    progress: Progress,
    next: Cell<usize>,
    /// Whether system calls are counted.
    counts_calls: bool,
    /// Why a server is not there any more, and so takes part no longer.
    gone: Vec<Option<String>>,
    /// Which servers have run.
    was_there: Vec<bool>,
    is_over: bool,
}

/// What a run is for.
#[derive(Clone, Copy)]
enum Run {
    /// The figures of this round.
    Round(u64),
    /// The number of system calls.
    OfCounting,
}

/// How a run ended.
enum Ended {
    /// With a result.
    Done(Box<Round>),
    /// The user interrupted before the first connection.
    Interrupted,
    /// There was no server, for this reason.
    NoServer(String),
}

impl<'a> Comparison<'a> {
    /// A comparison of which nothing has run yet.
    pub fn new(
        run: &'a RunSettings,
        servers: &'a [ComparedServer],
        rounds: u64,
        replay: &'a dyn Fn(&ComparedServer, &LoadArgs) -> String,
        server_log: &'a ServerLogArgs,
    ) -> Comparison<'a> {
        Comparison {
            run,
            servers,
            rounds,
            pinned: None,
            compared_by: Figure::MessagesPerS,
            replay,
            server_log,
            quiet: false,
            progress: Progress::quiet(),
            next: Cell::new(0),
            counts_calls: sys::CallCounter::of_tree(std::process::id()).is_some(),
            gone: servers.iter().map(|_| None).collect(),
            was_there: vec![false; servers.len()],
            is_over: false,
        }
    }

    /// Shows the progress of all runs under these loads.
    pub fn show(&mut self, points: &[PlannedPoint]) {
        let started = self.servers.iter().filter(|server| server.start.is_some() && self.counts_calls).count();
        let runs = points.len() * (self.rounds as usize * self.servers.len() + started);
        let longest = points.iter().map(|point| point.profile.duration).max().flatten();
        self.progress = Progress::of_rounds(runs, longest, self.quiet);
    }

    /// Whether no further point is to be run: the user interrupted, or there is nothing to compare.
    pub fn is_over(&self) -> bool {
        self.is_over || interrupt::is_requested()
    }

    /// The rounds of each server under this load; fewer if interrupted, or if a server is not there.
    ///
    /// # Errors
    /// A run could not be planned, or the client could not run.
    pub fn point(&mut self, point: &PlannedPoint) -> anyhow::Result<Vec<Vec<Round>>> {
        let of_gone = |why: &Option<String>| why.clone().map(Round::not_run).into_iter().collect();
        let mut done: Vec<Vec<Round>> = self.gone.iter().map(of_gone).collect();
        let mut calls: Vec<Option<f64>> = vec![None; self.servers.len()];
        if self.counts_calls {
            self.count_calls(point, &mut done, &mut calls)?;
        }
        for round in 1..=self.rounds {
            for turn in 0..self.servers.len() {
                let index = (turn + round as usize - 1) % self.servers.len();
                if self.is_over() {
                    return Ok(done);
                }
                if self.gone[index].is_some() {
                    continue;
                }
                let server = &self.servers[index];
                match self.certain_run(server, point, round)? {
                    Ended::Interrupted => return Ok(done),
                    Ended::NoServer(why) => done[index].push(self.lose(index, why)),
                    Ended::Done(mut result) => {
                        self.was_there[index] = true;
                        result.figures.system_calls_per_message = calls[index];
                        self.tell(server, point, round, &result);
                        done[index].push(*result);
                    }
                }
            }
        }
        Ok(done)
    }

    /// Counts the system calls per message of each server that is started here.
    fn count_calls(
        &mut self,
        point: &PlannedPoint,
        done: &mut [Vec<Round>],
        calls: &mut [Option<f64>],
    ) -> anyhow::Result<()> {
        for (index, server) in self.servers.iter().enumerate() {
            if self.is_over() || server.start.is_none() || self.gone[index].is_some() {
                continue;
            }
            if !self.quiet {
                say(&format!("{}counting the system calls of {}", in_front(point), server.setting.name));
            }
            match self.one_run(self.take_number(), server, point, Run::OfCounting)? {
                Ended::Interrupted => {}
                Ended::NoServer(why) => done[index].push(self.lose(index, why)),
                Ended::Done(result) => {
                    self.was_there[index] = true;
                    calls[index] = result.figures.system_calls_per_message;
                }
            }
        }
        Ok(())
    }

    /// A server is not there, which is told once. One that never was is a mistake of who called, and without it there
    /// is nothing to compare with. One that was there takes part no longer, and the others go on.
    fn lose(&mut self, index: usize, why: String) -> Round {
        self.gone[index] = Some(why.clone());
        self.is_over |= !self.was_there[index] || self.gone.iter().all(Option::is_some);
        if !self.is_over && !self.quiet {
            say(&format!("{} is gone, and the others go on", self.servers[index].setting.name));
        }
        Round::not_run(why)
    }

    fn tell(&self, server: &ComparedServer, point: &PlannedPoint, number: u64, round: &Round) {
        if self.quiet {
            return;
        }
        let place = in_front(point);
        let figure = match (*round.figures.get(self.compared_by), self.compared_by) {
            (None, _) => String::new(),
            (Some(value), Figure::MessagesPerS) => {
                format!(", {} round trips/s", show_count(value.round() as u64))
            }
            (Some(value), figure) => format!(", {} {}", figure.quantity().show(value), figure.title()),
        };
        let (name, outcome) = (&server.setting.name, round.outcome.name());
        say(&format!("{place}round {number} of {}: {name}: {outcome}{figure}", self.rounds));
    }

    /// What a run is called while it is going on.
    fn title(&self, server: &ComparedServer, point: &PlannedPoint, run: Run) -> String {
        let (place, name) = (in_front(point), &server.setting.name);
        match run {
            Run::Round(round) => format!("{place}{name}, round {round} of {}", self.rounds),
            Run::OfCounting => format!("{place}{name}, counting system calls"),
        }
    }

    /// The number of the next run, for progress.
    fn take_number(&self) -> usize {
        self.next.replace(self.next.get() + 1)
    }

    /// One round of a server. If the client stood still or had no processor, the round says nothing about the server,
    /// and runs again a few times: one such round would cost the server all its figures.
    fn certain_run(&self, server: &ComparedServer, point: &PlannedPoint, round: u64) -> anyhow::Result<Ended> {
        let number = self.take_number();
        let mut ended = self.one_run(number, server, point, Run::Round(round))?;
        for _ in 0..RUNS_AGAIN {
            let Ended::Done(result) = &ended else { break };
            let Some(doubt) = result.time_doubt.as_ref().filter(|_| result.outcome == Verdict::Inconclusive) else {
                break;
            };
            if interrupt::is_requested() {
                break;
            }
            if !self.quiet {
                let (place, name) = (in_front(point), &server.setting.name);
                say(&format!("{place}round {round} of {}: {name}: runs again, since {doubt}", self.rounds));
            }
            ended = self.one_run(number, server, point, Run::Round(round))?;
        }
        Ok(ended)
    }

    /// Runs the load once.
    fn one_run(&self, number: usize, server: &ComparedServer, point: &PlannedPoint, run: Run) -> anyhow::Result<Ended> {
        let task = self.progress.begin(number, self.title(server, point, run));
        let started = match &server.start {
            None => None,
            Some(spec) => match self.start(server, spec, point, run)? {
                Ok(started) => Some(started),
                Err(_) if interrupt::is_requested() => return Ok(Ended::Interrupted),
                Err(why) => return Ok(Ended::NoServer(why)),
            },
        };
        let targets = match &started {
            Some(started) => destination::of_addresses(&started.addresses(), &self.run.transport)?,
            None => destination::resolve(&server.setting.what, &self.run.transport)?,
        };
        let replay = (self.replay)(server, &point.load);
        let is_counting = matches!(run, Run::OfCounting);
        let plan = launch::plan(self.run, targets, vec![point.profile.clone()], Some(replay))?;
        let watch = started.as_ref().and_then(|started| UsageWatch::of(started.pid()));
        let kernel = started.as_ref().map(|started| KernelWatch::of(started.pid(), is_counting));
        let (mut outcome, timed_out) = launch::run_plan(plan.clone(), None, self.run.timeout, &task, watch.as_ref())?;
        if let Some(watch) = &watch {
            server_watch::record(watch, &mut outcome);
        }
        let system_calls = kernel.as_ref().and_then(KernelWatch::calls);
        let is_broken = outcome.groups.iter().any(|stats| !stats.counters.findings.is_empty());
        let stopped = started.map(|started| started.stop(is_broken, false, || None));
        let context_switches = kernel.as_ref().and_then(KernelWatch::switches_after_end);
        let stopped = stopped.unwrap_or_default();
        if let Some(how) = stopped.broke {
            say(&format!("warning: {} {how}", server.setting.name));
        }
        let limit = self.run.timeout.filter(|_| timed_out);
        let report = judged_run(&plan, &outcome, stopped.report, limit).0;
        if report.interrupted && report.total.connects == 0 {
            return Ok(Ended::Interrupted);
        }
        if let Some(why) = self.why_absent(server, &report) {
            return Ok(Ended::NoServer(why));
        }
        let mut result = Round::of(&report, point.profile.conns, KernelWork { context_switches, system_calls });
        // Each side has processors of its own, so neither takes time from the other.
        result.machine_was_full = result.machine_was_full.filter(|_| self.pinned.is_none());
        Ok(Ended::Done(Box::new(result)))
    }

    /// Starts a server, on its processors if it has its own; an error says why it did not start.
    fn start(
        &self,
        server: &ComparedServer,
        spec: &ServerSpec,
        point: &PlannedPoint,
        run: Run,
    ) -> anyhow::Result<Result<TestServer, String>> {
        let place = point.place.as_ref().map_or_else(String::new, |place| format!("{place} "));
        let run = match run {
            Run::Round(round) => format!("round {round}"),
            Run::OfCounting => "counting".to_owned(),
        };
        let log = self.server_log.file(&format!("{} {place}{run}", server.setting.name))?;
        let reach = |at| destination::of_address(at, &self.run.transport);
        let start = || TestServer::start(spec, &ServerConditions::default(), &reach, log);
        Ok(pinning::on_servers(self.pinned, start).map_err(|failure| failure.reason))
    }

    /// Why a target was not there, if it was not.
    fn why_absent(&self, server: &ComparedServer, report: &RunReport) -> Option<String> {
        let target = (server.setting.kind == ServerKind::Target && unreachable::is_absent(&report.total))
            .then_some(&server.setting.what)?;
        let is_via = !self.run.transport.is_plain();
        let remedies = Remedies { has_sources: !self.run.sources.is_empty(), is_via, ..Remedies::default() };
        unreachable::why(report, target, remedies)
    }
}

/// The place of a run in the sweep, at the front of a line.
fn in_front(point: &PlannedPoint) -> String {
    point.place.as_ref().map_or_else(String::new, |place| format!("{place}, "))
}
