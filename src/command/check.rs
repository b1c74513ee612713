//! `check [HOST:PORT …]`: the conformance suite, with a verdict for each case.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::config::{ConfigError, ListenAddress, ModelList, ServerSpec, ServerTable, ServerVariant};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::judge::assumption::{ASSUMPTIONS, Assumption};
use crate::output::console::{print, quote, say};
use crate::output::files;
use crate::report::minimal::MinimalScript;
use crate::runner::backend;
use crate::runner::case::CaseArgs;
use crate::runner::suite::{self, SuiteTargets};
use crate::runner::target_address;
use crate::scenario::distance::Distance;
use crate::scenario::{Scenario, Variables, conformance};
use crate::server::models;
use crate::transport::SocketKind;
use crate::units::Time;

/// How long a script waits, unless --patience says otherwise: as long as the suite.
const MINIMAL_PATIENCE: Duration = Duration::from_secs(5);

/// The flags of `check`.
#[derive(Args, Debug)]
pub struct CheckCommand {
    /// Servers, one after the other: HOST:PORT, unix:/path or vsock:CID:PORT; --model names a bundled one instead
    #[arg(value_name = "HOST:PORT", env = "ECHO_TESTER_TARGET", hide_env = true)]
    targets: Vec<String>,

    /// Check the servers in this file too: one HOST:PORT a line; what follows a # is a comment
    #[arg(long = "targets", value_name = "FILE", env = "ECHO_TESTER_TARGETS", hide_env = true)]
    targets_file: Option<PathBuf>,

    /// The target is a proxy, and this is its backend: check both, and judge the proxy by what it makes worse
    ///
    /// Each case runs through the proxy and straight at the backend. What fails in both is the backend's own.
    #[arg(long, value_name = "HOST:PORT", env = "ECHO_TESTER_DIRECT", hide_env = true)]
    direct: Option<String>,

    /// What the target is known not to do; no-half-close: it does not keep a half-closed connection open, as many
    /// proxies
    ///
    /// Cases about the half-close may then fail by what follows from it: truncated, reset, stalled, no-fin. The report
    /// says 'expected'. All other cases end their connections when the echo is there.
    #[arg(
        long, value_name = "WHAT", env = "ECHO_TESTER_ASSUME", hide_env = true, hide_possible_values = true,
        value_parser = PossibleValuesParser::new(ASSUMPTIONS.iter().map(|row| row.name))
    )]
    assume: Option<String>,

    /// Print the smallest python3 script that shows the fault of this case without echo-tester, and connect to nobody
    ///
    /// For a report to the maintainers of a proxy. A case is an id such as 3.2; the scripts have names too: half-close,
    /// backlog, reset, back-pressure, bytes. With --backend, the script listens there, as the server behind the proxy:
    /// 11.5, or server-fin, client-fin, both-fins, late-readers, resets. Exit code 1 of the script: the fault is there;
    /// 2: it can't connect.
    #[arg(
        long, value_name = "CASE",
        conflicts_with_all = [
            "model", "direct", "targets_file", "assume", "list", "dry_run", "filter", "backend_token",
            "baseline", "write_baseline", "json", "output", "junit", "markdown", "html", "via", "tls", "send_proxy"
        ]
    )]
    minimal: Option<String>,

    /// Check bundled servers of these models, each with every case: names with commas, auto, or all
    #[arg(
        long, value_name = "NAME,…|all", env = "ECHO_TESTER_MODEL", hide_env = true,
        conflicts_with_all = ["targets", "targets_file", "direct"]
    )]
    model: Option<String>,

    /// How long a connection may wait for the server; give a slow or distant server more [default: 5s]
    ///
    /// It is the time-out of connects and of stalls. In cases about delays, the median round trip may take a tenth of
    /// it, and the 99th percentile half of it.
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_PATIENCE", hide_env = true)]
    patience: Option<Time>,

    #[command(flatten)]
    cases: CaseArgs,
}

/// Runs the scenarios of the conformance suite, which are part of the program.
///
/// # Errors
/// A target is not valid, or a model does not exist.
pub fn run(args: &CheckCommand) -> anyhow::Result<Exit> {
    let targets = targets(args)?;
    if args.patience == Some(Time(Duration::ZERO)) {
        return Err(Failure::usage("--patience 0: must be longer than 0: write a time such as 30s, or leave it out"));
    }
    if let Some(case) = &args.minimal {
        return print_minimal(case, &targets, args);
    }
    let is_nothing_named = targets.targets.is_empty() && args.model.is_none() && !args.cases.list;
    if is_nothing_named {
        return Err(Failure::usage(
            "there is no target: write 'echo-tester check HOST:PORT', or --model auto for a bundled server",
        ));
    }
    if let (Some(backend), Some(model)) = (args.cases.backend.backend, &args.model) {
        return Err(Failure::usage(format!(
            "--backend {backend}: it is for proxies, and --model {model} for servers: leave out one of them"
        )));
    }
    backend::note_lone_token(&args.cases.backend, args.cases.quiet);
    let scenarios = scenarios(args, None)?;
    let flag = |name: &str, value: Option<String>| {
        value.map_or_else(String::new, |value| format!(" --{name} {}", quote(&value)))
    };
    let flags = [
        args.cases.backend.to_flags().iter().map(|word| format!(" {}", quote(word))).collect(),
        flag("model", args.model.clone()),
        flag("patience", args.patience.map(|time| time.to_string())),
        flag("assume", args.assume.clone()),
    ];
    let transport: String = args.cases.run.transport_flags().iter().map(|word| format!(" {}", quote(word))).collect();
    let flags = flags.concat();
    let replay = |scenario: &Scenario, target: Option<&str>| {
        let is_backend = target.is_some() && target == args.direct.as_deref();
        let target = target.map_or_else(String::new, |target| format!(" {}", quote(target)));
        let long = if scenario.long { " --long" } else { "" };
        let transport = if is_backend { "" } else { &transport };
        format!("echo-tester check{target}{flags}{transport}{long} --filter {}", quote(&scenario.title()))
    };
    let at_distance = |distance: Distance| {
        if !args.cases.quiet {
            say(&format!("note: {}", distance.in_words(args.patience.map(|Time(time)| time))));
        }
        self::scenarios(args, Some(distance))
    };
    suite::run_all(&scenarios, &args.cases, &targets, Some(&at_distance), replay)
}

/// Prints the script for a case, with the target in it.
fn print_minimal(case: &str, targets: &SuiteTargets, args: &CheckCommand) -> anyhow::Result<Exit> {
    let wrong = |problem: &str| Failure::usage(format!("--minimal {case}: {problem}"));
    let script = MinimalScript::named(case).map_err(|problem| wrong(&problem))?;
    let [target] = &targets.targets[..] else { return Err(wrong("a script has one target: name one HOST:PORT")) };
    let is_tcp = SocketKind::of_target(target) == SocketKind::Tcp;
    let address = target.rsplit_once(':').filter(|_| is_tcp && !target.contains('/'));
    let address = address.ok_or_else(|| wrong("a script needs a target of the form HOST:PORT"))?;
    let listen = args.cases.backend.backend.map(|ListenAddress(address)| address);
    match listen {
        None if script.is_of_two_sides => Err(wrong(
            "its script is the server behind the proxy too: add --backend and the address that the proxy forwards to, \
             such as --backend 127.0.0.1:7777",
        )),
        Some(listen) if !script.is_of_two_sides => {
            Err(wrong(&format!("its script needs an echo server behind the target: leave out --backend {listen}")))
        }
        Some(listen) if listen.port() == 0 => {
            Err(wrong(&format!("--backend {listen}: give the port that the proxy forwards to, not 0")))
        }
        _ => Ok(()),
    }?;
    let patience = args.patience.map_or(MINIMAL_PATIENCE, |Time(time)| time);
    print(&script.against(address, listen, patience.as_secs_f64()))?;
    Ok(Exit::Pass)
}

/// The cases: the suite against each model, as far away as the target is, and with what is assumed of it.
fn scenarios(args: &CheckCommand, distance: Option<Distance>) -> anyhow::Result<Vec<Scenario>> {
    let patience = args.patience.map(|Time(time)| conformance::patience(time));
    let values = distance.map(Distance::variables).into_iter().flatten().chain(patience.into_iter().flatten());
    let variables = Variables::new(values, |_| None);
    let scenarios = match &args.model {
        None if args.cases.backend.backend.is_some() => Scenario::two_sides(&variables),
        None => Scenario::conformance(&variables),
        Some(model) => {
            let table = ServerTable::of_models(ModelList::from(model.as_str()));
            // Both ends speak the same.
            let variants = table.over_tls(args.cases.run.transport().tls.is_some()).resolve();
            // In a scenario file the key is 'models'; here the flag is --model.
            let variants = variants.map_err(|error| ConfigError { key: "model", ..error }.in_flags())?;
            refuse_foreign_models(model, &variants, args)?;
            Scenario::conformance_against(&variants, &variables)
        }
    };
    let scenarios = scenarios.map_err(|error| Failure::usage(error.styled()))?;
    let assumed = args.assume.as_deref().and_then(Assumption::named);
    Ok(scenarios.into_iter().map(|scenario| scenario.assuming(assumed)).collect())
}

/// Says once that none of these models runs here, instead of skipping each case.
fn refuse_foreign_models(named: &str, variants: &[ServerVariant], args: &CheckCommand) -> anyhow::Result<()> {
    let why_not = |variant: &ServerVariant| match &variant.server {
        ServerSpec::Bundled(server) => models::find(server.model.as_deref().unwrap_or("auto")).ok()?.why_not(),
        _ => None,
    };
    let reasons: Vec<String> = variants.iter().filter_map(why_not).collect();
    match reasons.first() {
        Some(why) if reasons.len() == variants.len() && !args.cases.list && !args.cases.dry_run => {
            Err(Failure::could_not_run(format!("--model {named}: it {why}; 'echo-tester models' lists what runs here")))
        }
        _ => Ok(()),
    }
}

/// The targets that were typed, and those of the file.
fn targets(args: &CheckCommand) -> anyhow::Result<SuiteTargets> {
    let of_file = args.targets_file.as_deref().map(read_targets).transpose()?;
    let targets: Vec<String> = args.targets.iter().cloned().chain(of_file.into_iter().flatten()).collect();
    targets.iter().chain(&args.direct).try_for_each(|target| target_address::check(target))?;
    if let Some(direct) = &args.direct {
        let problem = match &targets[..] {
            [proxy] if proxy == direct => "it is the target too: name the proxy first, and the backend here",
            [_] => return Ok(SuiteTargets { targets, direct: args.direct.clone() }),
            [] => "there is no proxy: name it as the target",
            _ => "there are several targets: check one proxy at a time",
        };
        return Err(Failure::usage(format!("--direct {direct}: {problem}")));
    }
    Ok(SuiteTargets { targets, direct: None })
}

/// The targets in a file.
fn read_targets(file: &Path) -> anyhow::Result<Vec<String>> {
    let wrong = |problem: &dyn std::fmt::Display| Failure::usage(format!("--targets {}: {problem}", file.display()));
    let text = files::read("--targets", file, files::MOST_SETTINGS)?;
    let mut targets = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let target = line.split('#').next().unwrap_or_default().trim();
        if !target.is_empty() {
            target_address::check(target).map_err(|error| wrong(&format!("line {}: {error}", i + 1)))?;
            targets.push(target.to_owned());
        }
    }
    if targets.is_empty() {
        return Err(wrong(&"it names no target: write one HOST:PORT a line"));
    }
    Ok(targets)
}
