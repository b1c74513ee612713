//! `check [HOST:PORT]`: the conformance suite, with a verdict for each case.

use std::time::Duration;

use clap::Args;

use crate::config::{ConfigError, ModelList, ServerTable};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::console::quote;
use crate::runner::case::{self, CaseArgs};
use crate::runner::target_address;
use crate::scenario::{Scenario, Variables, conformance};
use crate::units::Time;

/// The flags of `check`.
#[derive(Args, Debug)]
pub struct CheckCommand {
    /// The server: HOST:PORT, IPv6 in brackets [default: a bundled server for each case]
    #[arg(value_name = "HOST:PORT", env = "ECHO_TESTER_TARGET", hide_env = true)]
    target: Option<String>,

    /// Check bundled servers of these models, each with every case: names with commas, or all [default: auto]
    #[arg(long, value_name = "NAME,…|all", env = "ECHO_TESTER_MODEL", hide_env = true, conflicts_with = "target")]
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
/// The target is not valid, or a model does not exist.
pub fn run(args: &CheckCommand) -> anyhow::Result<Exit> {
    if !args.cases.list {
        args.cases.wait.wait_for(args.target.as_deref().as_slice(), &args.cases.run, args.cases.quiet)?;
    }
    if let Some(target) = &args.target {
        target_address::resolve(target)?;
    }
    if args.patience == Some(Time(Duration::ZERO)) {
        return Err(Failure::usage("--patience 0: must be longer than 0: write a time such as 30s, or leave it out"));
    }
    let patience = args.patience.map(|time| (conformance::PATIENCE.to_owned(), time.to_string()));
    let variables = Variables::new(patience, |_| None);
    let scenarios = match &args.model {
        None => Scenario::conformance(&variables),
        Some(model) => {
            let variants = ServerTable::of_models(ModelList::from(model.as_str())).resolve();
            // In a scenario file the key is 'models'; here the flag is --model.
            let variants = variants.map_err(|error| ConfigError { key: "model", ..error }.in_flags())?;
            Scenario::conformance_against(&variants, &variables)
        }
    };
    let scenarios = scenarios.map_err(|error| Failure::usage(error.styled()))?;
    let model = args.model.as_ref().map_or_else(String::new, |model| format!(" --model {}", quote(model)));
    let target = args.target.as_ref().map_or_else(String::new, |target| format!(" {}", quote(target)));
    let patience = args.patience.map_or_else(String::new, |time| format!(" --patience {}", quote(&time.to_string())));
    let replay = |scenario: &Scenario| {
        let long = if scenario.long { " --long" } else { "" };
        format!("echo-tester check{target}{model}{patience}{long} --filter {}", quote(&scenario.title()))
    };
    case::run_all(&scenarios, &args.cases, args.target.as_deref(), replay)
}
