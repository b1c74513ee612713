//! `run FILE|DIR …`: scenario files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::case::{self, CaseArgs};
use super::{Failure, launch, quote};
use crate::exit::Exit;
use crate::scenario::Scenario;

/// The flags of `run`.
#[derive(Args, Debug)]
pub struct RunCommand {
    /// Scenario files, and folders of them: in a folder every *.toml, sub-folders included, in the order of their names
    #[arg(value_name = "FILE|DIR", required = true)]
    paths: Vec<PathBuf>,

    /// Run against this server instead of those that the files name
    #[arg(long, value_name = "HOST:PORT", env = "ECHO_TESTER_TARGET", hide_env = true)]
    target: Option<String>,

    #[command(flatten)]
    cases: CaseArgs,
}

/// Reads all files before it runs the first.
///
/// # Errors
/// A file that is not there or is wrong: exit code 2.
pub fn run(args: &RunCommand) -> anyhow::Result<Exit> {
    if let Some(target) = &args.target {
        launch::resolve_target(target)?;
    }
    let mut files = Vec::new();
    for path in &args.paths {
        collect(path, &mut files).map_err(|error| Failure::usage(format!("{error:#}")))?;
    }
    if files.is_empty() {
        return Err(Failure::usage("there is no *.toml in these folders: name a scenario file"));
    }
    let mut scenarios = Vec::new();
    for file in files {
        let path = file.display().to_string();
        let text =
            std::fs::read_to_string(&file).map_err(|error| Failure::usage(format!("reading {path}: {error}")))?;
        let scenario = Scenario::parse(&path, &text).map_err(Failure::usage)?;
        if scenario.server.is_none() && args.target.is_none() {
            return Err(Failure::usage(format!("{path} names no [server]: add one, or --target HOST:PORT")));
        }
        scenarios.push(scenario);
    }
    let target = args.target.as_ref().map_or_else(String::new, |target| format!(" --target {}", quote(target)));
    let replay = |scenario: &Scenario| {
        let long = if scenario.long { " --long" } else { "" };
        format!("echo-tester run {}{target}{long}", quote(&scenario.path))
    };
    case::run_all(&scenarios, &args.cases, args.target.as_deref(), replay)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let about = std::fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
    if !about.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|extension| extension == "toml") {
            collect(&entry, files)?;
        }
    }
    Ok(())
}
