//! `blast [HOST:PORT]`: runs one load against one server and prints the report.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;

use crate::client::RunPlan;
use crate::client::target::SourceChoice;
use crate::config::{
    BackendArgs, DEFAULT_PORT, LoadArgs, RunArgs, RunSettings, ServerConditions, TransportSettings, WatchArgs,
};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::console::{command_line, for_stdout, print, quote, say, stderr_style, stdout_style};
use crate::output::reports::{FileArgs, ReportFiles};
use crate::output::result::{OutputArgs, exit_after_writing};
use crate::output::server_log::ServerLogArgs;
use crate::peer::Backend;
use crate::plan::{ConnectionPlan, Profile, backend_seed, describe};
use crate::report::closing::Closing;
use crate::report::run::RunReport;
use crate::report::suite::{CaseReport, SuiteState};
use crate::report::terminal;
use crate::report::text::wrapped;
use crate::runner::judged::judged_run;
use crate::runner::progress::Progress;
use crate::runner::unreachable::{self, Remedies};
use crate::runner::wait_for_target::WaitArgs;
use crate::runner::{backend, destination, launch, server_watch};
use crate::server::models;
use crate::stream::ConnId;
use crate::target::bundled::BundledServer;
use crate::target::resources::UsageWatch;
use crate::transport::{Destination, SocketKind};
use crate::units::counted;

/// How many writes of each connection `--dry-run` shows.
const DRY_RUN_WRITES: usize = 1000;

/// The flags of `blast`.
#[derive(Args, Debug)]
pub struct BlastArgs {
    /// The server: HOST:PORT, IPv6 in brackets, unix:/path or vsock:CID:PORT [default: 127.0.0.1:7777]
    #[arg(value_name = "HOST:PORT", env = "ECHO_TESTER_TARGET", hide_env = true)]
    target: Option<String>,

    /// Start a bundled server in its own process and blast it; 'models' lists the models [default model: auto]
    #[arg(
        long, value_name = "MODEL", num_args = 0..=1, require_equals = true, default_missing_value = "auto",
        conflicts_with = "target", env = "ECHO_TESTER_SERVE", hide_env = true
    )]
    serve: Option<String>,

    #[command(flatten)]
    backend: BackendArgs,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    load: LoadArgs,

    /// Only regular connections: without a flag that shapes the load, a tenth of them is rough [default: false]
    ///
    /// Rough connections, at most 100, read slowly or late, write single bytes, or reset. They are loads of their own
    /// in the report. Any flag that shapes the load, such as --size, --messages or --duration, gives a uniform run too.
    #[arg(long, env = "ECHO_TESTER_PLAIN", hide_env = true, help_heading = "Load")]
    plain: bool,

    #[command(flatten)]
    run: RunArgs,

    #[command(flatten)]
    watch: WatchArgs,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    files: FileArgs,

    #[command(flatten)]
    server_log: ServerLogArgs,

    /// Print the plan of the connections in --only-conn, or of the first, and send nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the load and prints the report.
///
/// # Errors
/// The load could not run; the error knows its exit code.
pub fn run(args: BlastArgs) -> anyhow::Result<Exit> {
    let run = launch::resolve_run(&args.run)?;
    let profiles = profiles(&args)?;
    let about = about(&profiles);
    if args.dry_run {
        return dry_run(&launch::plan(&run, Vec::new(), profiles, None)?, &about, &args.output);
    }
    launch::note_late_start(&args.run);
    launch::note_insecure(&args.run);
    backend::note_lone_token(&args.backend, args.output.quiet);
    check_watch(&args)?;
    args.output.result.clear()?;
    prepare_log(&args)?;
    let default_target = format!("127.0.0.1:{DEFAULT_PORT}");
    let target = args.target.as_deref().unwrap_or(&default_target);
    let backend = backend::open(&args.backend, true)?;
    backend.as_ref().map_or(Ok(()), |backend| backend::wait_for(backend, args.output.quiet))?;
    let targets = targets(&args, target, &run.transport, (backend.as_ref(), &profiles))?;
    let replay = replay(&args, &run);
    let mut plan = launch::plan(&run, targets, profiles, Some(replay.clone()))?;
    backend::attach(&mut plan, backend.as_ref());
    launch::check_limits(&plan)?;
    let name = name_of(&args, target);
    let planned = CaseReport::planned_run(name.clone(), about.clone());
    let mut report_files = ReportFiles::open(&args.files, None, vec![planned])?;
    let server = start(&args)?;
    if args.serve.is_some() {
        aim_at(&mut plan, server.as_ref(), &run)?;
    }
    announce(&args.output, &plan, (server.as_ref(), backend.as_ref()), target, &about)?;
    // From now on: with --wait, the server may have begun since it was looked for.
    let watch =
        server.as_ref().map_or_else(|| server_watch::named(args.watch), |server| Ok(UsageWatch::of(server.pid())))?;
    let progress = Progress::of_run(args.output.quiet);
    let task = progress.begin(0, String::new());
    let (mut outcome, timed_out) = launch::run_plan(plan.clone(), run.start_at, run.timeout, &task, watch.as_ref())?;
    drop((task, progress));
    if let Some(watch) = watch {
        server_watch::record(&watch, &mut outcome);
    }
    let stopped = server.map(BundledServer::stop).unwrap_or_default();
    stopped.broke.iter().for_each(|how| say(&format!("warning: the bundled server {how}")));
    // An interrupt counts until the end, so that the exit code tells of it.
    outcome.interrupted |= interrupt::is_requested();
    let (report, judgement) = judged_run(&plan, &outcome, stopped.report, run.timeout.filter(|_| timed_out));
    let report = report.with_case(name, replay.clone(), judgement, stopped.output);
    let mut annotation = None;
    if !report.interrupted || report.total.connects > 0 {
        annotation = report_files.set(0, CaseReport::of_run(report.clone()));
    }
    let remedies = remedies(&args, &run);
    annotate(&args.output, annotation)?;
    let closing = Closing { files: report_files.written().to_vec(), replay: Some(replay) };
    let address = plan.targets.first().filter(|_| args.serve.is_some()).map(ToString::to_string);
    let exit = finish(&args.output, &report, closing, address.as_deref().unwrap_or(target), remedies);
    let state = if report.interrupted { SuiteState::Interrupted } else { SuiteState::Incomplete };
    let written = report_files.end(state);
    // The result has been printed, so a file that cannot be written only changes the exit code.
    exit.map(|exit| exit_after_writing(exit_after_writing(exit, written), args.server_log.check_complete()))
}

/// The name by which CI systems follow a run. It has no port: that may be another one each time.
fn name_of(args: &BlastArgs, target: &str) -> String {
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    args.serve.as_ref().map_or_else(|| format!("blast {host}"), |model| format!("blast --serve={model}"))
}

/// What can be done if the target is not there.
fn remedies(args: &BlastArgs, run: &RunSettings) -> Remedies {
    Remedies {
        is_default_target: args.target.is_none() && args.serve.is_none(),
        has_sources: !run.sources.is_empty(),
        is_via: !run.transport.is_plain(),
    }
}

/// The addresses of the target, once it is there. The plan is checked before a server is started for it: then an
/// address stands for the server's.
fn targets(
    args: &BlastArgs,
    target: &str,
    transport: &TransportSettings,
    (backend, profiles): (Option<&Backend>, &[Profile]),
) -> anyhow::Result<Vec<Destination>> {
    let is_started_here = args.serve.is_some();
    // A forward that serves one connection must not spend it on a look at the backend.
    let is_alone = profiles.iter().map(|profile| profile.conns).sum::<u32>() == 1;
    let backend = backend.filter(|_| !is_alone || args.wait.is_wanted());
    let waited_for = if is_started_here { &[][..] } else { &[target] };
    args.wait.wait_for(waited_for, &args.run, backend, args.output.quiet)?;
    match is_started_here {
        true => Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()]),
        false => destination::resolve(target, transport),
    }
}

/// The loads. Without a flag that shapes it, and without --plain, a part of the connections is rough.
fn profiles(args: &BlastArgs) -> anyhow::Result<Vec<Profile>> {
    let (load, has_backend) = (&args.load, args.backend.backend.is_some());
    if let (Some(model), true) = (&args.serve, has_backend) {
        return Err(Failure::usage(format!(
            "--serve={model}: with --backend this program is the server: leave out one of them"
        )));
    }
    let resolve = |load: &LoadArgs| load.resolve("load").map_err(|error| error.in_flags());
    let whole = resolve(&if has_backend { load.with_backend() } else { load.clone() })?;
    backend::check(std::slice::from_ref(&whole), has_backend)?;
    if args.plain || has_backend || !load.is_default_shape() {
        return Ok(vec![whole]);
    }
    let kind = args.target.as_deref().map(SocketKind::of_target).unwrap_or_default();
    load.with_rough(kind).iter().map(resolve).collect()
}

/// A line for each load; with its name, if there are several.
fn about(profiles: &[Profile]) -> String {
    match profiles {
        [only] => only.to_string(),
        several => several.iter().map(|load| format!("{}: {load}", load.name)).collect::<Vec<_>>().join("\n"),
    }
}

/// Whether the process that `--pid` names, if it does, can be watched.
///
/// # Errors
/// There is no such process, or no such model for a server to watch.
fn check_watch(args: &BlastArgs) -> anyhow::Result<()> {
    if let Some(model) = &args.serve {
        models::find(model).map_err(|why| Failure::usage(format!("--serve={model}: {why}")))?;
    }
    match (args.watch.pid, &args.serve) {
        (Some(pid), Some(_)) => {
            Err(Failure::usage(format!("--pid {pid}: the server of --serve is watched anyway: leave out one of them")))
        }
        _ => server_watch::named(args.watch).map(drop),
    }
}

/// Makes the folder for the output of the server. If there will be no server, a note says so.
fn prepare_log(args: &BlastArgs) -> anyhow::Result<()> {
    args.server_log.make_folder()?;
    if args.serve.is_none() && !args.output.quiet {
        args.server_log.note_without_server();
    }
    Ok(())
}

/// The bundled server, if there is to be one. `None`, too, if the user interrupts before it is up.
fn start(args: &BlastArgs) -> anyhow::Result<Option<BundledServer>> {
    let Some(model) = args.serve.as_deref() else { return Ok(None) };
    let log = args.server_log.file(&format!("serve {model}"))?;
    // Both ends speak the same.
    let flags: Vec<String> = args.run.transport().tls.iter().map(|_| "--tls".to_owned()).collect();
    match BundledServer::start(Some(model), &flags, &ServerConditions::default(), log) {
        Err(_) if interrupt::is_requested() => Ok(None),
        started => started.map(Some),
    }
}

/// Makes the server the target of the plan. Without one, the plan has no target, and the interrupt that is the reason
/// ends its run before the first connection.
fn aim_at(plan: &mut RunPlan, server: Option<&BundledServer>, run: &RunSettings) -> anyhow::Result<()> {
    let addresses: Vec<SocketAddr> = server.map(|server| server.address).into_iter().collect();
    plan.targets = destination::of_addresses(&addresses, &run.transport)?;
    let reached: Vec<SocketAddr> = plan.targets.iter().filter_map(Destination::address).collect();
    plan.sources = SourceChoice::new(&run.sources, &reached);
    Ok(())
}

/// Prints the first lines: the seed and the load. They go to stdout, or to stderr if JSON or a file takes its place.
fn announce(
    output: &OutputArgs,
    plan: &RunPlan,
    (server, backend): (Option<&BundledServer>, Option<&Backend>),
    target: &str,
    about: &str,
) -> anyhow::Result<()> {
    let to = match (server, plan.targets.first()) {
        (Some(server), Some(target)) => format!("{target} (bundled server, {})", server.model),
        (None, Some(to)) if to.preamble().is_some() => to.to_string(),
        (None, Some(address)) if address.to_string() != target => format!("{target} ({address})"),
        _ => target.to_owned(),
    };
    let style = if output.result.is_stdout_taken() { stderr_style() } else { stdout_style() };
    let backend = backend.map_or_else(String::new, |backend| format!(", backend {}", backend.address()));
    let head = format!("seed {}, {}, target {to}{backend}", plan.seed, counted(plan.workers as u64, "worker"));
    let lines: String = [head.as_str()].into_iter().chain(about.lines()).map(|line| wrapped(line, style)).collect();
    match (output.quiet || interrupt::is_requested(), output.result.is_stdout_taken()) {
        (true, _) => {}
        (false, true) => say(&lines),
        (false, false) => print(&lines)?,
    }
    Ok(())
}

/// Prints the line that marks the run in GitHub's log.
fn annotate(output: &OutputArgs, annotation: Option<String>) -> anyhow::Result<()> {
    match annotation {
        Some(line) if output.result.is_json() => say(&line),
        Some(line) => print(&line)?,
        None => {}
    }
    Ok(())
}

/// Writes the result. Where the target was not there, a sentence about it takes the place of the text.
fn finish(
    output: &OutputArgs,
    report: &RunReport,
    closing: Closing,
    target: &str,
    remedies: Remedies,
) -> anyhow::Result<Exit> {
    let json = serde_json::to_string_pretty(report).context("writing the report as JSON")?;
    let exit = report.verdict.outcome.exit();
    let why_unreachable = unreachable::why(report, target, remedies);
    let exit = if why_unreachable.is_none() || output.result.is_json() {
        let text = |json_file: Option<String>| {
            let files = json_file.into_iter().chain(closing.files).collect();
            terminal::render(report, &Closing { files, ..closing }, output.result.style())
        };
        output.result.finish(exit, &json, text)
    } else {
        exit_after_writing(exit, output.result.write_json_file(&json))
    };
    match why_unreachable {
        Some(why) => Err(Failure::could_not_run(why)),
        None => Ok(exit),
    }
}

fn dry_run(plan: &RunPlan, about: &str, output: &OutputArgs) -> anyhow::Result<Exit> {
    let conns = if plan.only.is_empty() { ConnId::new(0).into_iter().collect() } else { plan.only.clone() };
    let mut text = format!("seed {}\n{about}\n", plan.seed);
    let mut list = Vec::new();
    for conn in conns {
        let (slot, _) = plan.slots.of(conn).map_err(|e| Failure::usage(e.to_string()))?;
        let profile = plan.groups[slot.group as usize].clone();
        let backend = profile.of_backend().map(|profile| (Arc::new(profile), backend_seed(plan.seed)));
        let describe = |(profile, seed)| describe(ConnectionPlan::new(profile, seed, slot, conn), DRY_RUN_WRITES);
        let (described, backend) = (describe((profile, plan.seed)), backend.map(describe));
        text.push_str(&format!("\nconnection {conn}\n{described}"));
        if let Some(backend) = &backend {
            text.push_str(&format!("\nthe server's side of it\n{backend}"));
        }
        text.push('\n');
        list.push(serde_json::json!({ "conn": conn, "plan": described, "backend": backend }));
    }
    let json = serde_json::json!({ "seed": plan.seed.to_string(), "connections": list });
    output.result.write(&for_stdout(text.trim_end()), &serde_json::to_string_pretty(&json)?)?;
    Ok(Exit::Pass)
}

/// The command that runs the same load again. A finding adds `--only-conn N` to it.
fn replay(args: &BlastArgs, run: &RunSettings) -> String {
    let server = match (&args.serve, &args.target) {
        (Some(model), _) => Some(format!("--serve={model}")),
        (None, target) => target.clone(),
    };
    let line = replay_line(server, (run.seed, &args.run.transport_flags()), &args.load, args.plain);
    let backend: String = args.backend.to_flags().iter().map(|word| format!(" {}", quote(word))).collect();
    line + &backend
}

/// The `blast` command that runs a load with this seed against this server: a flag, a target, or the default.
pub(super) fn replay_line(
    server: Option<String>,
    (seed, transport): (u64, &[String]),
    load: &LoadArgs,
    plain: bool,
) -> String {
    let blast = ["echo-tester", "blast"].map(str::to_owned);
    let seed = ["--seed".to_owned(), seed.to_string()];
    // Where the load has a shape, the flag would say nothing.
    let plain = (plain && load.is_default_shape()).then(|| "--plain".to_owned());
    let transport = transport.iter().cloned();
    let words = blast.into_iter().chain(server).chain(seed).chain(transport).chain(load.to_flags()).chain(plain);
    command_line(&words.collect::<Vec<String>>())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct BlastCommand {
        #[command(flatten)]
        args: BlastArgs,
    }

    #[test]
    fn a_shell_passes_the_replay_line_on_as_the_same_flags() {
        let flags = ["--conns", "7", "--duration", "1m 30s", "--size", "pick:1, 64", "--nagle"];
        let via = ["--via", "socks5://joe:secret@h:1080", "--via", "http://h:8080", "--send-proxy", "v2"];
        let typed = BlastCommand::parse_from([["blast", "[::1]:9000"].as_slice(), &flags, &via].concat()).args;
        let line = replay_line(typed.target.clone(), (5, &typed.run.transport_flags()), &typed.load, true);
        assert!(line.starts_with("echo-tester blast '[::1]:9000' --seed 5 "), "zsh expands an unquoted [: {line}");
        let words = shlex::split(&line).expect("the quotes match");
        assert!(!line.contains("secret"), "{line}");
        let with_password: Vec<String> = words.iter().map(|word| word.replace("***", "secret")).collect();
        let parsed = BlastCommand::parse_from(&with_password[1..]).args;
        assert_eq!(parsed.run.transport(), typed.run.transport());
        assert_eq!(parsed.target.as_deref(), Some("[::1]:9000"));
        assert_eq!(parsed.load.to_flags(), typed.load.to_flags());
    }
}
