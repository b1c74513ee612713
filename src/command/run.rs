//! `run FILE|DIR …`: reads scenario files and runs their cases.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use walkdir::WalkDir;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::console::{quote, say};
use crate::output::{files, secrets};
use crate::runner::case::CaseArgs;
use crate::runner::suite::{self, SuiteTargets};
use crate::runner::target_address;
use crate::scenario::variables::{is_name, is_secret_name};
use crate::scenario::{Scenario, Variables};
use crate::units::counted;

/// The flags of `run`.
#[derive(Args, Debug)]
pub struct RunCommand {
    /// Scenario files, or folders: every *.toml in a folder and its sub-folders, sorted by name
    #[arg(value_name = "FILE|DIR", required = true)]
    paths: Vec<PathBuf>,

    /// Run against this server instead of the servers in the files
    #[arg(long, value_name = "HOST:PORT", env = "ECHO_TESTER_TARGET", hide_env = true)]
    target: Option<String>,

    /// Set ${NAME} in the files; repeatable. It overrides the environment variable of that name
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    set: Vec<(String, String)>,

    /// Keep the value of ${NAME} out of every report; repeatable, or names with commas. Names like DB_PASSWORD and
    /// API_TOKEN need no flag
    ///
    /// Where the value would stand, ${NAME} stands. Values of fewer than four characters are not looked for.
    #[arg(
        long, value_name = "NAME", env = "ECHO_TESTER_SECRET", hide_env = true, value_delimiter = ',',
        value_parser = parse_name
    )]
    secret: Vec<String>,

    #[command(flatten)]
    cases: CaseArgs,
}

/// Reads all files, then runs their cases.
///
/// # Errors
/// A file does not exist or is not valid: exit code 2.
pub fn run(args: &RunCommand) -> anyhow::Result<Exit> {
    if let Some(target) = &args.target {
        target_address::check(target)?;
    }
    let mut files = Vec::new();
    for path in &args.paths {
        collect_files(path, &mut files).map_err(|error| Failure::usage(format!("{error:#}")))?;
    }
    if files.is_empty() {
        return Err(Failure::usage("these folders contain no *.toml: name a scenario file"));
    }
    let variables = Variables::new(args.set.iter().cloned(), |name| std::env::var(name).ok());
    let variables = variables.with_secrets(args.secret.iter().cloned());
    let scenarios = read(&files, args, &variables);
    let hidden = variables.secrets();
    secrets::hide(hidden.clone());
    for name in secrets::hide_environment(&args.secret, is_secret_name) {
        if !hidden.contains_key(&name) {
            say(&format!(
                "warning: --secret {name}: no file uses it, and it is not in the environment: check the name"
            ));
        }
    }
    let scenarios = scenarios?;
    let target = args.target.as_ref().map_or_else(String::new, |target| format!(" --target {}", quote(target)));
    let set = |(name, value): (&String, &String)| match hidden.contains_key(name) {
        true => format!(" --set {name}=\"${name}\""),
        false => format!(" --set {name}={}", quote(value)),
    };
    let typed: String = args.set.iter().map(|(name, value)| set((name, value))).collect();
    let secret: String = args.secret.iter().map(|name| format!(" --secret {name}")).collect();
    let transport: String = args.cases.run.transport_flags().iter().map(|word| format!(" {}", quote(word))).collect();
    let replay = |scenario: &Scenario, _: Option<&str>| {
        let long = if scenario.long { " --long" } else { "" };
        let backend = args.cases.backend.to_flags();
        let backend: String = backend.iter().map(|word| format!(" {}", quote(word))).collect();
        let is_one_of_many = scenarios.iter().filter(|other| other.path == scenario.path).count() > 1;
        let filter = if is_one_of_many { format!(" --filter {}", quote(&scenario.title())) } else { String::new() };
        // The replay may run in another environment.
        let found: String = scenario.environment.iter().map(set).collect();
        format!(
            "echo-tester run {}{target}{backend}{transport}{typed}{found}{secret}{long}{filter}",
            quote(&scenario.path)
        )
    };
    let targets = SuiteTargets { targets: args.target.iter().cloned().collect(), direct: None };
    suite::run_all(&scenarios, &args.cases, &targets, None, replay)
}

/// The cases of all files. A case that several files share is there once.
fn read(files: &[PathBuf], args: &RunCommand, variables: &Variables) -> anyhow::Result<Vec<Scenario>> {
    let mut cases: Vec<Scenario> = Vec::new();
    let mut without_backend = 0;
    for file in files {
        let path = file.display().to_string();
        let text = files::read("reading", file, files::MOST_SETTINGS)?;
        let target = args.target.is_some();
        let mut of_file =
            Scenario::read(&path, &text, variables, target).map_err(|error| Failure::usage(error.styled()))?;
        if lacks_backend(&of_file, args) && !args.paths.contains(file) {
            without_backend += 1;
            continue;
        }
        if of_file.iter().any(|case| case.server.is_none()) && !target {
            return Err(Failure::usage(format!("{path} has no [server]: add one, or give --target HOST:PORT")));
        }
        let count = of_file.len();
        of_file.retain(|case| !cases.iter().any(|other| case.is_same_as(other)));
        if of_file.len() < count && !args.cases.quiet {
            let repeated = count - of_file.len();
            say(&format!("note: {repeated} of {count} cases of {path} are in earlier files too: each runs once"));
        }
        cases.extend(of_file);
    }
    if without_backend > 0 && !args.cases.quiet {
        let files = counted(without_backend, "file");
        say(&format!("note: {files} of cases with two sides left out: give --target PROXY and --backend LISTEN"));
    }
    match variables.unused() {
        Some(problem) => Err(Failure::usage(problem)),
        None => Ok(cases),
    }
}

/// Whether these cases need both ends, and nothing says where to listen as the backend.
fn lacks_backend(cases: &[Scenario], args: &RunCommand) -> bool {
    let has_none = |case: &Scenario| case.has_two_sides() && case.backend.is_none();
    args.cases.backend.backend.is_none() && cases.iter().any(has_none)
}

/// Parses the value of `--set`.
fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if is_name(name) => Ok((name.to_owned(), value.to_owned())),
        Some((name, _)) => Err(format!("'{name}' is not a name: use letters, digits and _, and no digit first")),
        None => Err(format!("it has no '=': write --set {text}=VALUE")),
    }
}

fn parse_name(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("it is not a name: write --secret NAME, and give its value by the environment".to_owned()),
    }
}

/// Adds the file `path`, or every `*.toml` in the folder `path` and its sub-folders, sorted by name.
fn collect_files(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let is_toml = |path: &Path| path.extension().is_some_and(|extension| extension == "toml");
    for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
        match entry {
            // A file that was named is a scenario, whatever its name ends in.
            Ok(entry) if !entry.file_type().is_dir() && (entry.depth() == 0 || is_toml(entry.path())) => {
                files.push(entry.into_path());
            }
            Ok(_) => {}
            // A dangling link to something else is ignored.
            Err(error) if error.depth() > 0 && !error.path().is_some_and(is_toml) && is_absent(&error) => {}
            Err(error) => return Err(unreadable(path, error)),
        }
    }
    Ok(())
}

fn is_absent(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

fn unreadable(folder: &Path, error: walkdir::Error) -> anyhow::Error {
    let path = error.path().unwrap_or(folder).display().to_string();
    if let Some(ancestor) = error.loop_ancestor() {
        return anyhow!("{path} is a link back to {}: remove it", ancestor.display());
    }
    let error = error.into_io_error().unwrap_or_else(|| ErrorKind::Other.into());
    anyhow!("reading {path}: {error}: {}", files::remedy_for_reading(&error))
}
