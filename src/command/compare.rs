//! `compare`: runs the same load against several servers in interleaved rounds, and verifies each run.
//!
//! A round runs every server once, and each round begins with another server. So other work of the machine affects all
//! of them alike. Every run has the same seed, so all servers get the same bytes in the same fragments.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::blast::replay_line;
use crate::config::{LoadArgs, RunArgs, RunSettings, ServerConditions};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::console::{print, say, stderr_style, stdout_style};
use crate::output::files;
use crate::output::result::OutputArgs;
use crate::output::server_log::ServerLogArgs;
use crate::plan::Profile;
use crate::report::compare::{CompareReport, Contender, Round, SkippedModel};
use crate::report::compare_text::{csv, markdown, render};
use crate::report::page;
use crate::report::run::RunReport;
use crate::report::text::{show_count, wrapped};
use crate::runner::judged::judged_run;
use crate::runner::unreachable::{self, Remedies};
use crate::runner::{launch, target_address};
use crate::server::models::{self, TABLE};
use crate::target::bundled::BundledServer;
use crate::units::{Count, Time, counted};

/// Default of `--rounds`.
const DEFAULT_ROUNDS: u64 = 3;
/// Default of `--duration` if nothing else ends the load. It is long enough for the start-up not to matter.
const DEFAULT_DURATION: std::time::Duration = std::time::Duration::from_secs(3);

/// The flags of `compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// The bundled models: epoll,io-uring, or all [default: all, or none if there is a --target]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', env = "ECHO_TESTER_MODELS", hide_env = true)]
    models: Vec<String>,

    /// Your own server, with an optional name for the table: 127.0.0.1:9000 or mine=127.0.0.1:9000; repeatable
    #[arg(
        long = "target",
        value_name = "[NAME=]HOST:PORT",
        value_delimiter = ',',
        env = "ECHO_TESTER_TARGET",
        hide_env = true
    )]
    targets: Vec<String>,

    /// How often each server is run; the figures are medians [default: 3]
    #[arg(long, value_name = "N", env = "ECHO_TESTER_ROUNDS", hide_env = true)]
    rounds: Option<Count>,

    #[command(flatten)]
    load: LoadArgs,

    #[command(flatten)]
    run: RunArgs,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server_log: ServerLogArgs,

    /// Write a line of comma-separated values for each round to this file
    #[arg(long, value_name = "FILE", env = "ECHO_TESTER_CSV", hide_env = true, help_heading = "Output")]
    csv: Option<PathBuf>,

    /// Write the table as Markdown to this file
    #[arg(long, value_name = "FILE", env = "ECHO_TESTER_MARKDOWN", hide_env = true, help_heading = "Output")]
    markdown: Option<PathBuf>,

    /// Write the comparison as one HTML page, with a bar for each server, to this file
    #[arg(long, value_name = "FILE", env = "ECHO_TESTER_HTML", hide_env = true, help_heading = "Output")]
    html: Option<PathBuf>,
}

/// A server that is compared.
enum ComparedServer {
    /// A bundled server, by its model.
    Bundled(&'static str),
    /// A server that runs already.
    Target { name: String, target: String },
}

impl ComparedServer {
    fn name(&self) -> &str {
        match self {
            ComparedServer::Bundled(name) => name,
            ComparedServer::Target { name, .. } => name,
        }
    }

    /// The address of a server that runs already.
    fn target(&self) -> Option<&str> {
        match self {
            ComparedServer::Bundled(_) => None,
            ComparedServer::Target { target, .. } => Some(target),
        }
    }
}

/// Runs the rounds and prints the table.
///
/// # Errors
/// A flag is invalid, or a server could not be started or reached.
pub fn run(args: &CompareArgs) -> anyhow::Result<Exit> {
    args.run.check_whole().map_err(|error| error.in_flags())?;
    let run = launch::resolve_run(&args.run)?;
    let profile = with_end(&args.load).resolve("load").map_err(|e| e.in_flags())?;
    let rounds = match args.rounds.map_or(DEFAULT_ROUNDS, |Count(n)| n) {
        0 => return Err(Failure::usage("--rounds 0: must be at least 1")),
        rounds => rounds,
    };
    let (servers, skipped) = servers(args)?;
    clear_files(args)?;
    args.server_log.make_folder()?;
    launch::check_limits(&launch::plan(&run, Vec::new(), vec![profile.clone()], None)?)?;
    let about = profile.to_string();
    announce(args, run.seed, &about, &servers, rounds)?;
    let done = all_rounds(args, &run, &profile, &servers, rounds)?;
    let contenders = servers.iter().zip(done);
    let contenders = contenders.map(|(server, rounds)| Contender::new(server.name().to_owned(), rounds)).collect();
    let report = CompareReport::new(run.seed, about, contenders, skipped, interrupt::is_requested());
    write(args, &report)?;
    Ok(report.exit())
}

/// Reports files that cannot be written before anything runs, and removes the results of an earlier run.
fn clear_files(args: &CompareArgs) -> anyhow::Result<()> {
    args.output.result.clear()?;
    for (flag, file) in [("csv", &args.csv), ("markdown", &args.markdown), ("html", &args.html)] {
        if let Some(file) = file {
            files::clear(flag, file)?;
        }
    }
    Ok(())
}

/// The load that was typed, with the default duration if nothing ends it.
fn with_end(typed: &LoadArgs) -> LoadArgs {
    let ends = typed.messages.is_some() || typed.bytes.is_some() || typed.duration.is_some();
    LoadArgs { duration: typed.duration.or((!ends).then_some(Time(DEFAULT_DURATION))), ..typed.clone() }
}

/// The servers that can be run here, and those that cannot.
fn servers(args: &CompareArgs) -> anyhow::Result<(Vec<ComparedServer>, Vec<SkippedModel>)> {
    let mut names: Vec<&'static str> = Vec::new();
    let all = args.models.iter().any(|name| name == "all") || (args.models.is_empty() && args.targets.is_empty());
    if all {
        names.extend(TABLE.iter().map(|model| model.name));
    } else {
        for name in &args.models {
            names.push(models::find(name).map_err(|why| Failure::usage(format!("--models {name}: {why}")))?.name);
        }
    }
    let (mut servers, mut skipped) = (Vec::new(), Vec::new());
    for name in names {
        match models::find(name).ok().and_then(models::Model::why_not) {
            None => servers.push(ComparedServer::Bundled(name)),
            Some(why) => skipped.push(SkippedModel { name: name.to_owned(), why }),
        }
    }
    for target in &args.targets {
        let (name, target) = target.split_once('=').unwrap_or((target, target));
        if name.trim().is_empty() {
            let remedy = format!("write --target NAME={target}, or --target {target}");
            return Err(Failure::usage(format!("--target ={target}: the name is empty: {remedy}")));
        }
        target_address::resolve(target)?;
        servers.push(ComparedServer::Target { name: name.to_owned(), target: target.to_owned() });
    }
    if let Some(twice) = servers.iter().enumerate().find(|(i, s)| servers[..*i].iter().any(|o| o.name() == s.name())) {
        return Err(Failure::usage(format!("{} is given twice: leave one out, or rename it", twice.1.name())));
    }
    Ok((servers, skipped))
}

fn announce(args: &CompareArgs, seed: u64, about: &str, servers: &[ComparedServer], rounds: u64) -> anyhow::Result<()> {
    let named = |server: &ComparedServer| match server.target().filter(|target| *target != server.name()) {
        Some(target) => format!("{} ({target})", server.name()),
        None => server.name().to_owned(),
    };
    let names: Vec<String> = servers.iter().map(named).collect();
    let style = if args.output.result.is_stdout_taken() { stderr_style() } else { stdout_style() };
    let head = format!("seed {seed}, {} of {}", counted(rounds, "round"), names.join(", "));
    let text: String = [&*head, about].map(|line| wrapped(line, style)).concat();
    match (args.output.quiet, args.output.result.is_stdout_taken()) {
        (true, _) => Ok(()),
        (false, true) => {
            say(&text);
            Ok(())
        }
        (false, false) => print(&text),
    }
}

/// The rounds of each server; fewer if interrupted, or if a server is not there.
fn all_rounds(
    args: &CompareArgs,
    run: &RunSettings,
    profile: &Profile,
    servers: &[ComparedServer],
    rounds: u64,
) -> anyhow::Result<Vec<Vec<Round>>> {
    let mut done: Vec<Vec<Round>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for turn in 0..servers.len() {
            let index = (turn + round as usize) % servers.len();
            if interrupt::is_requested() {
                return Ok(done);
            }
            let server = &servers[index];
            let Some(report) = one_run(run, profile, server, (args, round + 1))? else { return Ok(done) };
            let result = Round::of(&report);
            let absent = server.target().filter(|_| unreachable::is_absent(&report.total));
            if let Some(why) = absent.and_then(|target| unreachable::why(&report, target, remedies(run))) {
                // It is told once, and without this server there is nothing to compare with.
                done[index].push(Round { reasons: vec![why], findings: Vec::new(), ..result });
                return Ok(done);
            }
            if !args.output.quiet {
                let rate = show_count(result.messages_per_s.round() as u64);
                let outcome = result.outcome.name();
                say(&format!("round {} of {rounds}: {}: {outcome}, {rate} round trips/s", round + 1, server.name()));
            }
            done[index].push(result);
        }
    }
    Ok(done)
}

fn remedies(run: &RunSettings) -> Remedies {
    Remedies { has_sources: !run.sources.is_empty(), ..Remedies::default() }
}

/// Runs the load once. `None`: the user interrupted before the first connection.
fn one_run(
    run: &RunSettings,
    profile: &Profile,
    server: &ComparedServer,
    (args, round): (&CompareArgs, u64),
) -> anyhow::Result<Option<RunReport>> {
    let (bundled, targets, server_word) = match server {
        ComparedServer::Bundled(model) => {
            let log = args.server_log.file(&format!("{model} round {round}"))?;
            let bundled = match BundledServer::start(Some(model), &[], &ServerConditions::default(), log) {
                Err(_) if interrupt::is_requested() => return Ok(None),
                started => started?,
            };
            let address = bundled.address;
            (Some(bundled), vec![address], format!("--serve={model}"))
        }
        ComparedServer::Target { target, .. } => (None, target_address::resolve(target)?, target.clone()),
    };
    let replay = replay_line(Some(server_word), run.seed, &with_end(&args.load), true);
    let plan = launch::plan(run, targets, vec![profile.clone()], Some(replay))?;
    let (outcome, timed_out) = launch::run_plan(plan.clone(), run.start_at, run.timeout, true, None)?;
    let stopped = bundled.map(BundledServer::stop).unwrap_or_default();
    if let Some(how) = stopped.broke {
        say(&format!("warning: the bundled server {} {how}", server.name()));
    }
    let report = judged_run(&plan, &outcome, stopped.report, run.timeout.filter(|_| timed_out)).0;
    Ok(Some(report).filter(|report| !report.interrupted || report.total.connects > 0))
}

fn write(args: &CompareArgs, report: &CompareReport) -> anyhow::Result<()> {
    if let Some(file) = &args.csv {
        files::write(file, &csv(report))?;
    }
    if let Some(file) = &args.markdown {
        files::write(file, &markdown(report))?;
    }
    if let Some(file) = &args.html {
        files::write(file, &page::comparison(report))?;
    }
    let json = serde_json::to_string_pretty(report).context("writing the report as JSON")?;
    args.output.result.write(&render(report, args.output.result.style()), &json)
}
