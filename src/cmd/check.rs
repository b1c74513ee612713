//! `check [HOST:PORT]`: the conformance suite, one verdict a case.

use clap::Args;

use super::case::{self, CaseArgs};
use super::{Failure, launch, quote};
use crate::exit::Exit;
use crate::scenario::{Scenario, conformance};

/// The flags of `check`.
#[derive(Args, Debug)]
pub struct CheckCommand {
    /// The server: HOST:PORT, IPv6 in brackets [default: a bundled server for each case]
    #[arg(value_name = "HOST:PORT", env = "ECHO_TESTER_TARGET", hide_env = true)]
    target: Option<String>,

    #[command(flatten)]
    cases: CaseArgs,
}

/// Runs the embedded scenarios.
///
/// # Errors
/// A target that can't be one.
pub fn run(args: &CheckCommand) -> anyhow::Result<Exit> {
    if let Some(target) = &args.target {
        launch::resolve_target(target)?;
    }
    let parse = |(name, text): &(&str, &str)| Scenario::parse(name, text).map_err(Failure::usage);
    let scenarios: Vec<Scenario> = conformance::FILES.iter().map(parse).collect::<Result<_, _>>()?;
    let target = args.target.as_ref().map_or_else(String::new, |target| format!(" {}", quote(target)));
    let replay = |scenario: &Scenario| {
        let long = if scenario.long { " --long" } else { "" };
        format!("echo-tester check{target}{long} --filter {}", quote(&scenario.title()))
    };
    case::run_all(&scenarios, &args.cases, args.target.as_deref(), replay)
}
