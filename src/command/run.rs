//! `run FILE|DIR …`: scenario files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::console::{quote, say};
use crate::runner::case::{self, CaseArgs};
use crate::runner::launch;
use crate::scenario::variables::is_name;
use crate::scenario::{Scenario, Variables};

/// The flags of `run`.
#[derive(Args, Debug)]
pub struct RunCommand {
    /// Scenario files, and folders of them: in a folder every *.toml, sub-folders included, in the order of their names
    #[arg(value_name = "FILE|DIR", required = true)]
    paths: Vec<PathBuf>,

    /// Run against this server instead of those that the files name
    #[arg(long, value_name = "HOST:PORT", env = "ECHO_TESTER_TARGET", hide_env = true)]
    target: Option<String>,

    /// What ${NAME} stands for in the files; repeatable. It goes before the environment variable of that name
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    set: Vec<(String, String)>,

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
    let scenarios = read(&files, args)?;
    let target = args.target.as_ref().map_or_else(String::new, |target| format!(" --target {}", quote(target)));
    let set = |(name, value): (&String, &String)| format!(" --set {name}={}", quote(value));
    let typed: String = args.set.iter().map(|(name, value)| set((name, value))).collect();
    let replay = |scenario: &Scenario| {
        let long = if scenario.long { " --long" } else { "" };
        let is_one_of_many = scenarios.iter().filter(|other| other.path == scenario.path).count() > 1;
        let filter = if is_one_of_many { format!(" --filter {}", quote(&scenario.title())) } else { String::new() };
        // Who runs it again may have another environment.
        let found: String = scenario.environment.iter().map(set).collect();
        format!("echo-tester run {}{target}{typed}{found}{long}{filter}", quote(&scenario.path))
    };
    case::run_all(&scenarios, &args.cases, args.target.as_deref(), replay)
}

/// The cases of all files, each of them once.
fn read(files: &[PathBuf], args: &RunCommand) -> anyhow::Result<Vec<Scenario>> {
    let variables = Variables::new(args.set.iter().cloned(), |name| std::env::var(name).ok());
    let mut cases: Vec<Scenario> = Vec::new();
    for file in files {
        let path = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| {
            let utf8 = if error.kind() == ErrorKind::InvalidData { ": save it in UTF-8" } else { "" };
            Failure::usage(format!("reading {path}: {error}{utf8}"))
        })?;
        let target = args.target.is_some();
        let mut of_file = Scenario::read(&path, &text, &variables, target).map_err(Failure::usage)?;
        if of_file.iter().any(|case| case.server.is_none()) && !target {
            return Err(Failure::usage(format!("{path} names no [server]: add one, or --target HOST:PORT")));
        }
        let count = of_file.len();
        of_file.retain(|case| !cases.iter().any(|other| case.is_same_as(other)));
        if of_file.len() < count && !args.cases.quiet {
            let again = count - of_file.len();
            say(&format!("note: {again} of {count} cases of {path} are those of files before it: they run once"));
        }
        cases.extend(of_file);
    }
    match variables.unused() {
        Some(problem) => Err(Failure::usage(problem)),
        None => Ok(cases),
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if is_name(name) => Ok((name.to_owned(), value.to_owned())),
        Some((name, _)) => Err(format!("'{name}' is no name: letters, digits and _, and no digit first")),
        None => Err(format!("it has no '=': write --set {text}=VALUE")),
    }
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
