//! Scenarios one after another: what `run` and `check` have in common. Each has a server of its own, and each is shown
//! as it ends.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::Args;

use super::bundled::Bundled;
use super::{blast, launch, print, say, write_file};
use crate::client::limits::{self, System};
use crate::config::{RunArgs, ServeArgs};
use crate::exit::Exit;
use crate::measure::Figures;
use crate::plan::Verify;
use crate::report::run::RunReport;
use crate::report::suite::{self, Came, CaseReport, SuiteReport};
use crate::scenario::{Expected, Scenario};
use crate::server::models;
use crate::verdict::{Outcome, judge};

/// The flags of `run` and `check` alike.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cases")]
pub struct CaseArgs {
    /// Only the cases whose id and name contain this; a case is '4.1 a silent connection delays nobody'
    #[arg(long, value_name = "TEXT", env = "ECHO_TESTER_FILTER", hide_env = true)]
    pub filter: Option<String>,

    /// Those too that move gigabytes or take minutes
    #[arg(long)]
    pub long: bool,

    /// List the cases and run none
    #[arg(long)]
    pub list: bool,

    /// Stop at the first case that does not pass
    #[arg(long)]
    pub fail_fast: bool,

    /// Write the result as JSON: to standard output instead of the lines, or to a file beside them
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, env = "ECHO_TESTER_JSON", hide_env = true)]
    pub json: Option<Option<PathBuf>>,

    /// No progress
    #[arg(short, long, env = "ECHO_TESTER_QUIET", hide_env = true)]
    pub quiet: bool,

    /// The seed, the workers …; they go before what stands in a file.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Runs the scenarios, against `target` if there is one. `replay` begins the command that runs a case again.
///
/// # Errors
/// Flags that make no sense, a result that can't be written. That a case could not run is its outcome, and no error.
pub fn run_all(
    scenarios: &[Scenario],
    args: &CaseArgs,
    target: Option<&str>,
    replay: impl Fn(&Scenario) -> String,
) -> anyhow::Result<Exit> {
    let is_wanted = |scenario: &&Scenario| args.filter.as_ref().is_none_or(|text| scenario.title().contains(text));
    let wanted: Vec<&Scenario> = scenarios.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        let filter = args.filter.as_deref().unwrap_or_default();
        return Err(super::Failure::usage(format!("no case contains '{filter}': --list shows them")));
    }
    if args.list {
        let lines: Vec<String> = wanted.iter().map(|case| format!("{:<4} {}", case.id, case.name)).collect();
        print(&lines.join("\n"))?;
        return Ok(Exit::Pass);
    }
    launch::catch_interrupts()?;
    let to_stdout = matches!(args.json, Some(None));
    let mut cases = Vec::new();
    for scenario in wanted {
        let case = run_one(scenario, args, target, &replay(scenario))?;
        let (is_good, is_last) = (matches!(case.outcome, Came::Pass | Came::Skipped), launch::is_interrupted());
        let line = suite::line(&case);
        cases.push(case);
        // What is there is kept, whatever happens to the next case.
        if let Some(Some(file)) = &args.json {
            write_file(file, &serde_json::to_string_pretty(&SuiteReport::new(cases.clone()))?)?;
        }
        if to_stdout {
            say(&line)
        } else {
            print(&line)?
        }
        if is_last || (args.fail_fast && !is_good) {
            break;
        }
    }
    let report = SuiteReport::new(cases);
    if to_stdout {
        print(&serde_json::to_string_pretty(&report).context("writing the report as JSON")?)?;
    } else {
        print(&format!("\n{}", report.summary()))?;
    }
    Ok(suite::exit(&report.cases))
}

fn run_one(scenario: &Scenario, args: &CaseArgs, target: Option<&str>, replay: &str) -> anyhow::Result<CaseReport> {
    let mut case = CaseReport {
        id: scenario.id.clone(),
        name: scenario.name.clone(),
        about: scenario.about.clone(),
        file: scenario.path.clone(),
        outcome: Came::Skipped,
        reasons: Vec::new(),
        run: None,
        server_output: Vec::new(),
    };
    if let Some(reason) = why_skipped(scenario, args, target) {
        case.reasons.push(reason);
        return Ok(case);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let run = merged(&args.run, &scenario.run).resolve(blast::random_seed(), cores);
    let run = run.map_err(|error| super::Failure::of_flags(&error))?;
    case.outcome = Came::Inconclusive;
    let mut server = None;
    let targets = match (target, &scenario.server) {
        (Some(target), _) => launch::resolve_target(target)?,
        (None, args) => match start(args.as_ref()) {
            Ok(started) => vec![server.insert(started).address],
            Err(error) => {
                case.reasons.push(format!("{error:#}"));
                return Ok(case);
            }
        },
    };
    let replay = format!("{replay} --seed {}", run.seed);
    let plan = launch::plan(&run, targets, scenario.loads.clone(), Some(replay))?;
    if let Some(obstacle) = limits::check(&plan, &System::ask(&plan)).into_iter().find(|obstacle| obstacle.fatal) {
        case.reasons.push(obstacle.to_string());
        return Ok(case);
    }
    let started_at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let outcome = launch::go(plan.clone(), run.start_at, args.quiet)?;
    let died = server.as_mut().is_some_and(Bundled::has_died);
    case.server_output = server.as_ref().map_or_else(Vec::new, Bundled::output);
    let mut report = RunReport::new(&plan, &outcome, started_at, server.map(Bundled::stop));
    let names = scenario.loads.iter().map(|load| load.name.as_str());
    let groups: Vec<(&str, &Figures)> = names.zip(&outcome.groups).collect();
    let missed = scenario.thresholds.iter().filter_map(|threshold| threshold.missed(&groups, outcome.elapsed));
    let missed: Vec<String> = missed.collect();
    let asserts = scenario.loads.iter().any(|load| load.verify == Verify::Full);
    report.verdict = judge(&report.total, outcome.interrupted, asserts, &missed);
    (case.outcome, case.reasons) = compare(scenario, &report, &missed);
    if died {
        case.outcome = Came::Fail;
        case.reasons.insert(0, "the server ended by itself during the run".to_owned());
    }
    case.run = Some(report);
    Ok(case)
}

/// Why a case does not apply here.
fn why_skipped(scenario: &Scenario, args: &CaseArgs, target: Option<&str>) -> Option<String> {
    if scenario.long && !args.long {
        return Some("it moves gigabytes or takes minutes: add --long".to_owned());
    }
    let server = scenario.server.as_ref();
    let is_faulty = server.is_some_and(|server| server.fault.is_some());
    match target {
        Some(_) if is_faulty => {
            Some("it is about a server that is faulty on purpose, and not about --target".to_owned())
        }
        Some(_) => None,
        None => {
            let name = server.and_then(|server| server.model.as_deref()).unwrap_or("auto");
            let why = models::find(name).ok().and_then(models::Model::why_not).filter(|_| !is_faulty)?;
            Some(format!("the model {name} does not run here: {why}"))
        }
    }
}

fn start(server: Option<&ServeArgs>) -> anyhow::Result<Bundled> {
    let args = server.cloned().unwrap_or_default();
    let is_faulty = args.fault.is_some();
    let model = (!is_faulty).then(|| args.model.clone().unwrap_or_else(|| "auto".to_owned()));
    Bundled::start(model.as_deref(), &ServeArgs { model: None, ..args }.to_flags())
}

/// What was typed goes before what stands in the file.
fn merged(typed: &RunArgs, file: &RunArgs) -> RunArgs {
    RunArgs {
        seed: typed.seed.or(file.seed),
        workers: typed.workers.or(file.workers),
        source: typed.source.clone().or_else(|| file.source.clone()),
        only_conn: typed.only_conn.clone().or_else(|| file.only_conn.clone()),
        shard: typed.shard.or(file.shard),
        start_at: typed.start_at.or(file.start_at),
        findings: typed.findings.or(file.findings),
    }
}

/// Holds what came out against what was expected.
fn compare(scenario: &Scenario, report: &RunReport, missed: &[String]) -> (Came, Vec<String>) {
    let reasons = report.verdict.reasons.clone();
    let came = match report.verdict.outcome {
        Outcome::Interrupted => return (Came::Interrupted, reasons),
        Outcome::Pass | Outcome::ThresholdMissed => Expected::Pass,
        Outcome::Fail => Expected::Fail,
        Outcome::Inconclusive => Expected::Inconclusive,
    };
    if came != scenario.verdict {
        let said = format!("expected {}, it was {}", scenario.verdict.name(), came.name());
        let outcome = if came == Expected::Inconclusive { Came::Inconclusive } else { Came::Fail };
        return (outcome, [vec![said], reasons].concat());
    }
    let unseen = scenario.findings.iter().filter(|kind| !report.total.findings.contains_key(kind));
    let unseen: Vec<String> =
        unseen.map(|kind| format!("expected the finding {}, it was not seen", kind.name())).collect();
    if !unseen.is_empty() {
        return (Came::Fail, [unseen, reasons].concat());
    }
    if !missed.is_empty() {
        return (Came::ThresholdMissed, missed.to_vec());
    }
    (Came::Pass, reasons)
}
