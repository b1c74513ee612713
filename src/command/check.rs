//! `check [HOST:PORT]`: the conformance suite, one verdict a case.

use std::time::Duration;

use clap::Args;

use crate::config::units::Time;
use crate::config::{ConfigError, Models, ServerTable};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::console::quote;
use crate::runner::case::{self, CaseArgs};
use crate::runner::launch;
use crate::scenario::{Scenario, Variables, conformance};

/// The flags of `check`.
#[derive(Args, Debug)]
pub struct CheckCommand {
    /// The server: HOST:PORT, IPv6 in brackets [default: a bundled server for each case]
    #[arg(value_name = "HOST:PORT", env = "ECHO_TESTER_TARGET", hide_env = true)]
    target: Option<String>,

    /// Bundled servers of these models, a case for each: names with commas, or all of this system [default: auto]
    #[arg(long, value_name = "NAME,…|all", env = "ECHO_TESTER_MODEL", hide_env = true, conflicts_with = "target")]
    model: Option<String>,

    /// How long a connection may wait for the server, for a slow one or a far one [default: 5s]
    ///
    /// It is the time-out of connects and of stalls; where others may not be delayed, half of them may take a tenth of
    /// it, and one in a hundred more than half of it.
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_PATIENCE", hide_env = true)]
    patience: Option<Time>,

    #[command(flatten)]
    cases: CaseArgs,
}

/// Runs the embedded scenarios.
///
/// # Errors
/// A target that can't be one, or a model that does not exist.
pub fn run(args: &CheckCommand) -> anyhow::Result<Exit> {
    if let Some(target) = &args.target {
        launch::resolve_target(target)?;
    }
    if args.patience == Some(Time(Duration::ZERO)) {
        return Err(Failure::usage("--patience 0: no time at all: write a time such as 30s, or leave it out"));
    }
    let patience = args.patience.map(|time| (conformance::PATIENCE.to_owned(), time.to_string()));
    let variables = Variables::new(patience, |_| None);
    let scenarios = match &args.model {
        None => conformance::cases(&variables),
        Some(model) => {
            let variants = ServerTable::of_models(Models::from(model.as_str())).resolve();
            // In a file the key for several of them has a name of its own.
            let variants = variants.map_err(|error| ConfigError { key: "model", ..error }.in_flags())?;
            conformance::cases_against(&variants, &variables)
        }
    };
    let scenarios = scenarios.map_err(Failure::usage)?;
    let model = args.model.as_ref().map_or_else(String::new, |model| format!(" --model {}", quote(model)));
    let target = args.target.as_ref().map_or_else(String::new, |target| format!(" {}", quote(target)));
    let patience = args.patience.map_or_else(String::new, |time| format!(" --patience {time}"));
    let replay = |scenario: &Scenario| {
        let long = if scenario.long { " --long" } else { "" };
        format!("echo-tester check{target}{model}{patience}{long} --filter {}", quote(&scenario.title()))
    };
    case::run_all(&scenarios, &args.cases, args.target.as_deref(), replay)
}
