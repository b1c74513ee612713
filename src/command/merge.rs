//! `merge FILE…`: merges the reports of the processes of one run.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use walkdir::WalkDir;

use crate::config::DEFAULT_FINDINGS;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::console::say;
use crate::output::files;
use crate::output::reports::{FileArgs, ReportFiles};
use crate::output::result::{OutputArgs, exit_after_writing};
use crate::report::closing::Closing;
use crate::report::merge::{self, Input, Missing};
use crate::report::run::RunReport;
use crate::report::suite::{CaseReport, SuiteState};
use crate::report::terminal;
use crate::units::Count;

/// The flags of `merge`.
#[derive(Args, Debug)]
pub struct MergeArgs {
    /// Reports that blast --json=FILE has written, folders of them (every *.json), or - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Judge the reports even if shards are missing or ran at different times; without it the verdict is inconclusive
    #[arg(long, env = "ECHO_TESTER_PARTIAL", hide_env = true)]
    partial: bool,

    /// Findings to report in full; the others are only counted [default: 20]
    #[arg(long, value_name = "N", env = "ECHO_TESTER_FINDINGS", hide_env = true)]
    findings: Option<Count>,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    reports: FileArgs,
}

/// Merges the reports and prints the merged one.
///
/// # Errors
/// A file cannot be read, or the reports are not parts of one run.
pub fn run(args: &MergeArgs) -> anyhow::Result<Exit> {
    args.output.result.check()?;
    let mut inputs: Vec<Input> = Vec::new();
    for file in &args.files {
        for (name, text) in texts(file)? {
            inputs.extend(merge::read(&name, &text).map_err(|e| Failure::usage(e.to_string()))?);
        }
    }
    let missing = if args.partial { Missing::Accepted } else { Missing::Inconclusive };
    let findings = args.findings.map_or(DEFAULT_FINDINGS, |Count(n)| usize::try_from(n).unwrap_or(usize::MAX));
    let report = merge::merge(inputs, findings, missing).map_err(|e| Failure::usage(e.to_string()))?;
    let json = serde_json::to_string_pretty(&report).context("writing the report as JSON")?;
    let exit = report.verdict.outcome.exit();
    let (files, written) = write_files(&args.reports, report.clone());
    let text = |json_file: Option<String>| {
        let closing = Closing { files: json_file.into_iter().chain(files).collect(), replay: None };
        terminal::render(&report, &closing, args.output.result.style())
    };
    Ok(exit_after_writing(args.output.result.finish(exit, &json, text), written))
}

/// Writes the report files that were asked for. Returns those that were written, and the first error.
fn write_files(args: &FileArgs, report: RunReport) -> (Vec<String>, anyhow::Result<()>) {
    let state = if report.interrupted { SuiteState::Interrupted } else { SuiteState::Incomplete };
    let case = CaseReport::of_run(report);
    let planned = CaseReport::planned_run(case.name.clone(), case.about.clone());
    let mut files = match ReportFiles::open(args, None, vec![planned]) {
        Ok(files) => files,
        Err(error) => return (Vec::new(), Err(error)),
    };
    if let Some(line) = files.set(0, case) {
        say(&line);
    }
    let written = files.end(state);
    (files.written().to_vec(), written)
}

/// The names and texts of a file, of standard input, or of the JSON files in a folder.
fn texts(file: &Path) -> anyhow::Result<Vec<(String, String)>> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
        return Ok(vec![("standard input".to_owned(), files::without_mark(text))]);
    }
    if !file.is_dir() {
        let text = files::read("reading", file, files::MOST_RESULT)?;
        return Ok(vec![(file.display().to_string(), text)]);
    }
    let mut inside: Vec<PathBuf> = Vec::new();
    for entry in WalkDir::new(file).min_depth(1).max_depth(1).sort_by_file_name() {
        let unreadable = |error: std::io::Error| {
            let remedy = files::remedy_for_reading(&error);
            Failure::usage(format!("reading {}: {error}: {remedy}", file.display()))
        };
        let path = entry.map_err(|error| unreadable(error.into()))?.into_path();
        if path.extension().is_some_and(|extension| extension == "json") {
            inside.push(path);
        }
    }
    if inside.is_empty() {
        return Err(Failure::usage(format!(
            "{} contains no *.json: name reports that blast --json=FILE has written",
            file.display()
        )));
    }
    inside.iter().map(|file| texts(file)).collect::<anyhow::Result<Vec<_>>>().map(|all| all.concat())
}
