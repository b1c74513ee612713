//! `compare`: runs the same load against several servers in interleaved rounds, and verifies each run.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::{Arg, Args};

use super::blast::replay_line;
use crate::config::{LoadArgs, NamedCommand, RunArgs, ServeArgs, ServerSpec, Sweep, SweepValue};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::console::{command_line, print, quote, say, stderr_style, stdout_style};
use crate::output::result::{OutputArgs, exit_after_writing};
use crate::output::server_log::ServerLogArgs;
use crate::output::{files, secrets};
use crate::plan::Profile;
use crate::report::closing::Closing;
use crate::report::compare::{
    ComparePoint, CompareReport, CompareSetting, Contender, Pinned, ServerKind, ServerSetting, SkippedModel, SweepAxis,
};
use crate::report::compare_csv::csv;
use crate::report::compare_figures::Figure;
use crate::report::compare_text::{markdown, render};
use crate::report::page;
use crate::report::run::MachineReport;
use crate::report::text::wrapped;
use crate::runner::comparison::{ComparedServer, Comparison, PlannedPoint};
use crate::runner::{launch, pinning, target_address};
use crate::scenario::variables::is_secret_name;
use crate::server::models::{self, TABLE};
use crate::sys;
use crate::units::{Count, Time, counted};

/// Default of `--rounds`. Of two equal servers, 1 comparison in 126 then shows a difference (`judge::difference`).
const DEFAULT_ROUNDS: u64 = 5;
/// Default of `--duration` if nothing else ends the load. It is long enough for the start-up not to matter.
const DEFAULT_DURATION: std::time::Duration = std::time::Duration::from_secs(2);

/// The flags of `compare`. Its loads end after a time, not after 100 messages.
#[derive(Args, Debug)]
#[command(
    mut_arg("messages", |arg| arg.help("Messages per connection [default: no limit]")),
    mut_arg("duration", ending_after_a_time)
)]
pub struct CompareArgs {
    /// The bundled models: epoll,io-uring, or all [default: all, or none if there is a --target or --with]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', env = "ECHO_TESTER_MODELS", hide_env = true)]
    models: Vec<String>,

    /// A server that a command starts, with a name for the table: 'mine=./my-server --listen {addr}'; repeatable
    ///
    /// {addr}, {host} and {port} stand for a free port of this machine. The server is ready when it echoes a byte. It
    /// is started again for each round, and stopped with all processes that it started.
    #[arg(long = "with", value_name = "NAME=COMMAND", env = "ECHO_TESTER_WITH", hide_env = true)]
    commands: Vec<NamedCommand>,

    /// Your own server, with an optional name for the table: 127.0.0.1:9000 or mine=127.0.0.1:9000; repeatable
    #[arg(
        long = "target",
        value_name = "[NAME=]HOST:PORT",
        value_delimiter = ',',
        env = "ECHO_TESTER_TARGET",
        hide_env = true
    )]
    targets: Vec<String>,

    /// Compare at each of these values of one flag: conns=10,100,1k; of size, fragment, rate or pipeline too
    ///
    /// The values are written as for the flag. Values with commas of their own are separated by semicolons:
    /// 'size=64;pick:1,64'.
    #[arg(long, value_name = "FLAG=VALUE,…", env = "ECHO_TESTER_SWEEP", hide_env = true)]
    sweep: Option<Sweep>,

    /// How often each server is run; the figures are medians [default: 5]
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

    /// Write the comparison as one HTML page, with bars, or lines along a sweep, to this file
    #[arg(long, value_name = "FILE", env = "ECHO_TESTER_HTML", hide_env = true, help_heading = "Output")]
    html: Option<PathBuf>,
}

/// The help of `--duration`, with the default of a comparison.
fn ending_after_a_time(arg: Arg) -> Arg {
    const HELP: &str = "Time after which connections end, each after its current message \
                        [default: 2s if nothing else ends it]";
    let rest = arg.get_long_help().map(ToString::to_string).unwrap_or_default();
    let rest = rest.split_once("\n\n").map_or(String::new(), |(_, rest)| format!("\n\n{rest}"));
    arg.help(HELP).long_help(format!("{HELP}{rest}"))
}

/// Runs the rounds and prints the table.
///
/// # Errors
/// A flag is invalid, or a server could not be started or reached.
pub fn run(args: &CompareArgs) -> anyhow::Result<Exit> {
    // Servers of --with inherit the environment, and may print it.
    secrets::hide_environment(&[], is_secret_name);
    let (servers, skipped) = servers(args)?;
    args.run.check_whole(servers.len()).map_err(|error| error.in_flags())?;
    let is_started_here = servers.iter().any(|server| server.start.is_some());
    let pinned = pinning::plan().filter(|pinned| is_started_here && pinning::keep_client(pinned));
    let run = launch::resolve_run(&args.run)?;
    let rounds = match args.rounds.map_or(DEFAULT_ROUNDS, |Count(n)| n) {
        0 => return Err(Failure::usage("--rounds 0: must be at least 1")),
        rounds => rounds,
    };
    let points = points(args)?;
    clear_files(args)?;
    args.server_log.make_folder()?;
    for point in &points {
        launch::check_limits(&launch::plan(&run, Vec::new(), vec![point.profile.clone()], None)?)?;
    }
    let setting = CompareSetting {
        started_at: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
        seed: run.seed.to_string(),
        command: command(args, run.seed),
        servers: servers.iter().map(|server| server.setting.clone()).collect(),
        rounds,
        cores: sys::available_cores().map(|cores| cores as u64),
        machine: Some(machine()),
        pinned: pinned.clone(),
    };
    announce(args, &setting, &points)?;
    let compared_by = compared_by(&points);
    let flags = args.run.transport_flags();
    let replay = |server: &ComparedServer, load: &LoadArgs| replay(server, load, run.seed, &flags);
    let mut comparison = Comparison::new(&run, &servers, rounds, &replay, &args.server_log);
    comparison.pinned = pinned.as_ref();
    comparison.compared_by = compared_by;
    comparison.quiet = args.output.quiet;
    comparison.show(&points);
    let report = |done: Vec<ComparePoint>| {
        let sweep = args.sweep.as_ref().map(axis);
        let interrupted = interrupt::is_requested();
        let report = CompareReport::new(setting.clone(), sweep, compared_by, done, skipped.clone(), interrupted);
        secrets::report_without(report)
    };
    let report = all_points(args, comparison, &points, report)?;
    let json = serde_json::to_string_pretty(&report).context("writing the report as JSON")?;
    let (files, written) = write_files(args, &report);
    let text = |json_file: Option<String>| {
        let files = json_file.into_iter().chain(files).collect();
        let closing = Closing { files, replay: Some(report.setting.command.clone()) };
        render(&report, &closing, args.output.result.style())
    };
    let exit = exit_after_writing(args.output.result.finish(report.exit(), &json, text), written);
    Ok(exit_after_writing(exit, args.server_log.check_complete()))
}

/// The machine that servers and client run on.
fn machine() -> MachineReport {
    MachineReport {
        host: sys::host_name(),
        system: MachineReport::system(),
        kernel: sys::kernel_release(),
        processor: sys::processor(),
        cores: sys::available_cores().map(|cores| cores as u64),
    }
}

/// Runs all points. The files are written after each, so that a later failure loses nothing. A file that cannot be
/// written is tried again after the next.
fn all_points(
    args: &CompareArgs,
    mut comparison: Comparison<'_>,
    points: &[PlannedPoint],
    report: impl Fn(Vec<ComparePoint>) -> CompareReport,
) -> anyhow::Result<CompareReport> {
    let mut done: Vec<ComparePoint> = Vec::new();
    for point in points {
        let rounds = comparison.point(point)?;
        let names = comparison.servers.iter().map(|server| server.setting.name.clone());
        let contenders = names.zip(rounds).map(|(name, rounds)| Contender::new(name, rounds)).collect();
        done.push(ComparePoint {
            value: point.value.as_ref().map(ToString::to_string),
            number: point.value.as_ref().and_then(SweepValue::number),
            ..ComparePoint::new(point.profile.to_string(), comparison.compared_by, contenders)
        });
        let so_far = report(done.clone());
        let json = serde_json::to_string_pretty(&so_far).context("writing the report as JSON")?;
        if done.len() < points.len()
            && let Err(error) = write_files(args, &so_far).1.and(args.output.result.write_json_file(&json))
        {
            say(&format!("warning: {error:#}"));
        }
        if comparison.is_over() {
            break;
        }
    }
    Ok(report(done))
}

/// The loads: one for each value of the sweep, or one.
fn points(args: &CompareArgs) -> anyhow::Result<Vec<PlannedPoint>> {
    let base = with_end(&args.load);
    let resolve = |load: &LoadArgs| load.resolve("load").map_err(|error| error.in_flags());
    let Some(sweep) = &args.sweep else {
        let profile = resolve(&base)?;
        return Ok(vec![PlannedPoint { value: None, place: None, load: base, profile }]);
    };
    sweep.check(&args.load).map_err(|error| error.in_flags())?;
    let point = |value: &SweepValue| {
        let load = value.applied_to(&base);
        let profile = resolve(&load)?;
        Ok(PlannedPoint { value: Some(value.clone()), place: Some(format!("{} {value}", sweep.key())), load, profile })
    };
    sweep.values.iter().map(point).collect()
}

fn axis(sweep: &Sweep) -> SweepAxis {
    SweepAxis { axis: sweep.key().to_owned(), values: sweep.values.iter().map(ToString::to_string).collect() }
}

/// With a rate all servers are asked for the same round trips, so what they cost is compared.
fn compared_by(points: &[PlannedPoint]) -> Figure {
    let has_rate = |profile: &Profile| profile.rate.is_some();
    match points.iter().any(|point| has_rate(&point.profile)) {
        true => Figure::ServerCpuUsPerMessage,
        false => Figure::MessagesPerS,
    }
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
    let are_named = !(args.models.is_empty() && args.targets.is_empty() && args.commands.is_empty());
    if !are_named || args.models.iter().any(|name| name == "all") {
        names.extend(TABLE.iter().map(|model| model.name));
    } else {
        for name in &args.models {
            names.push(
                models::find(name).map_err(|why| Failure::usage(format!("--models {}: {why}", quote(name))))?.name,
            );
        }
    }
    let (mut servers, mut skipped) = (Vec::new(), Vec::new());
    for name in names {
        match models::find(name).ok().and_then(models::Model::why_not) {
            None => servers.push(bundled(name)),
            Some(why) => {
                let named = args.models.iter().any(|typed| typed == name);
                skipped.push(SkippedModel { name: name.to_owned(), why, named });
            }
        }
    }
    servers.extend(args.commands.iter().map(by_command));
    for target in &args.targets {
        servers.push(by_target(target)?);
    }
    let names: Vec<&str> = servers.iter().map(|server| server.setting.name.as_str()).collect();
    if let Some((_, twice)) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(*name)) {
        return Err(Failure::usage(format!("{twice} is given twice: leave one out, or rename it")));
    }
    Ok((servers, skipped))
}

fn bundled(model: &'static str) -> ComparedServer {
    let setting = ServerSetting { name: model.to_owned(), kind: ServerKind::Bundled, what: model.to_owned() };
    let options = ServeArgs { model: Some(model.to_owned()), ..ServeArgs::default() };
    ComparedServer { setting, start: Some(ServerSpec::Bundled(Box::new(options))) }
}

fn by_command(named: &NamedCommand) -> ComparedServer {
    let NamedCommand { name, line, command } = named.clone();
    let setting = ServerSetting { name, kind: ServerKind::Command, what: line };
    ComparedServer { setting, start: Some(ServerSpec::Command(command)) }
}

fn by_target(typed: &str) -> anyhow::Result<ComparedServer> {
    let (name, target) = typed.split_once('=').unwrap_or((typed, typed));
    if name.trim().is_empty() {
        let remedy = format!("write --target NAME={target}, or --target {target}");
        return Err(Failure::usage(format!("--target ={target}: the name is empty: {remedy}")));
    }
    target_address::resolve(target)?;
    let setting = ServerSetting { name: name.to_owned(), kind: ServerKind::Target, what: target.to_owned() };
    Ok(ComparedServer { setting, start: None })
}

/// The command that runs the same comparison again.
fn command(args: &CompareArgs, seed: u64) -> String {
    let mut words = ["echo-tester", "compare"].map(str::to_owned).to_vec();
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    if !args.models.is_empty() {
        add("--models", args.models.join(","));
    }
    args.commands.iter().for_each(|named| add("--with", format!("{}={}", named.name, named.line)));
    args.targets.iter().for_each(|target| add("--target", target.clone()));
    if let Some(sweep) = &args.sweep {
        add("--sweep", sweep.to_string());
    }
    if let Some(rounds) = args.rounds {
        add("--rounds", rounds.to_string());
    }
    words.extend(args.load.to_flags());
    words.extend(RunArgs { seed: Some(crate::config::Seed(seed)), ..args.run.clone() }.to_flags());
    command_line(&words)
}

/// The command that repeats one run of one server.
fn replay(server: &ComparedServer, load: &LoadArgs, seed: u64, transport: &[String]) -> String {
    let what = &server.setting.what;
    match server.setting.kind {
        ServerKind::Bundled => replay_line(Some(format!("--serve={what}")), (seed, transport), load, true),
        ServerKind::Target => replay_line(Some(what.clone()), (seed, transport), load, true),
        ServerKind::Command => replay_by_command(&server.setting, load, seed, transport),
    }
}

/// The command that repeats one run of a server by command. The server of a round is gone, and with it its port, so it
/// is started once more: by a comparison of it alone.
fn replay_by_command(server: &ServerSetting, load: &LoadArgs, seed: u64, transport: &[String]) -> String {
    let with = format!("{}={}", server.name, server.what);
    let seed = seed.to_string();
    let compare = ["echo-tester", "compare", "--with", &with, "--rounds", "1", "--seed", &seed].map(str::to_owned);
    let words = compare.into_iter().chain(transport.iter().cloned()).chain(load.to_flags());
    command_line(&words.collect::<Vec<String>>())
}

fn announce(args: &CompareArgs, setting: &CompareSetting, points: &[PlannedPoint]) -> anyhow::Result<()> {
    let named = |server: &ServerSetting| match server.what == server.name {
        true => server.name.clone(),
        false => format!("{} ({})", server.name, server.what),
    };
    let names: Vec<String> = setting.servers.iter().map(named).collect();
    let style = if args.output.result.is_stdout_taken() { stderr_style() } else { stdout_style() };
    let rounds = counted(setting.rounds, "round");
    let mut lines = vec![format!("seed {}, {rounds} of {}", setting.seed, names.join(", "))];
    match &args.sweep {
        None => lines.extend(points.iter().map(|point| point.profile.to_string())),
        Some(sweep) => lines.push(format!("at {sweep}; the first: {}", points[0].profile)),
    }
    if let Some(Pinned { servers, client }) = &setting.pinned {
        lines.push(format!("servers on processors {}, client on {}", listed(servers), listed(client)));
    }
    let text: String = lines.iter().map(|line| wrapped(line, style)).collect();
    match (args.output.quiet, args.output.result.is_stdout_taken()) {
        (true, _) => Ok(()),
        (false, true) => {
            say(&text);
            Ok(())
        }
        (false, false) => print(&text),
    }
}

/// Numbers with runs of neighbours as one: `0-3,8`.
fn listed(ids: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for id in ids {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *id => *last = *id,
            _ => runs.push((*id, *id)),
        }
    }
    let run = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

/// Writes the files that were asked for, besides those of --json and --output. Returns those that were written, and the
/// first error.
fn write_files(args: &CompareArgs, report: &CompareReport) -> (Vec<String>, anyhow::Result<()>) {
    type Render = fn(&CompareReport) -> String;
    let all: [(&str, &Option<PathBuf>, Render); 3] =
        [("markdown", &args.markdown, markdown), ("html", &args.html, page::comparison), ("csv", &args.csv, csv)];
    let write = |(flag, file, render): (&str, &Option<PathBuf>, Render)| {
        let file = file.as_ref()?;
        Some(files::write(flag, file, &render(report)).map(|()| files::shown(file)))
    };
    let (written, lost): (Vec<_>, Vec<_>) = all.into_iter().filter_map(write).partition(Result::is_ok);
    (written.into_iter().flatten().collect(), lost.into_iter().try_for_each(|file| file.map(drop)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct CompareCommand {
        #[command(flatten)]
        args: CompareArgs,
    }

    fn parsed(words: &[&str]) -> CompareArgs {
        CompareCommand::try_parse_from([["compare"].as_slice(), words].concat()).unwrap_or_else(|e| panic!("{e}")).args
    }

    #[test]
    fn the_command_of_a_report_is_that_of_the_comparison() {
        let flags = [
            "--models",
            "threads,tokio",
            "--with",
            "mine=./a 'b c' {addr}",
            "--target",
            "x=[::1]:7",
            "--sweep",
            "conns=10,20",
            "--rounds",
            "4",
            "--size",
            "64",
        ];
        let line = command(&parsed(&flags), 5);
        let words = shlex::split(&line).expect("the quotes match");
        let again = parsed(&words[2..].iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(command(&again, 5), line);
        assert!(line.contains("--sweep 'conns=10,20' --rounds 4 --size 64 --seed 5"), "{line}");
    }

    #[test]
    fn processors_are_listed_in_runs() {
        assert_eq!(listed(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10-11");
        assert_eq!(listed(&[5]), "5");
    }
}
