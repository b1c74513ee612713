//! `--baseline` and `--write-baseline`: the file of known failures. What it makes of a case, the judge decides.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::Args;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::judge::baseline::{Baseline, KnownFailure, VERSION};
use crate::output::console::say;
use crate::output::files;
use crate::output::result::exit_after_writing;
use crate::report::suite::CaseReport;
use crate::scenario::Scenario;
use crate::sync::lock;

/// The head of the file.
const HEAD: &str = "\
# Failures that 'echo-tester … --baseline FILE' takes for known. '--write-baseline FILE' replaces this file.
# A case may fail by these findings and checks, and by no others. When it passes, its entry must go.
";

/// The flags about known failures.
#[derive(Args, Clone, Debug, Default)]
pub struct BaselineArgs {
    /// Failures listed in this file do not fail the run. A listed case that passes now fails it
    ///
    /// A case may fail as its entry says: with these findings, and these checks unmet. Another way to fail is a
    /// failure. An entry whose case did not run here (filtered, skipped, unsupported) is left alone.
    #[arg(long, value_name = "FILE", env = "ECHO_TESTER_BASELINE", hide_env = true)]
    baseline: Option<PathBuf>,

    /// Write the failures of this run to a file for --baseline, sorted
    ///
    /// The run still fails by them. With --baseline too, entries whose case did not run here stay.
    #[arg(long, value_name = "FILE", env = "ECHO_TESTER_WRITE_BASELINE", hide_env = true)]
    write_baseline: Option<PathBuf>,
}

/// The known failures, and how the cases of this run went.
pub(super) struct KnownFailures {
    known: Option<Baseline>,
    write: Option<PathBuf>,
    seen: Mutex<Vec<KnownFailure>>,
}

impl KnownFailures {
    /// Reads the file, and checks that the other one can be written. Entries of no case are told on standard error.
    ///
    /// # Errors
    /// A file cannot be read or written, is no such file, or there are several targets: exit code 2.
    pub(super) fn open(args: &BaselineArgs, all: &[Scenario], targets: usize) -> anyhow::Result<KnownFailures> {
        if let Some(file) = args.baseline.as_ref().or(args.write_baseline.as_ref()).filter(|_| targets > 1) {
            let (file, flag) = (file.display(), if args.baseline.is_some() { "baseline" } else { "write-baseline" });
            let remedy = "each target has failures of its own: check them one by one, each with its own file";
            return Err(Failure::usage(format!("--{flag} {file}: there are several targets: {remedy}")));
        }
        let known = args.baseline.as_deref().map(read).transpose()?;
        if let Some(file) = &args.write_baseline {
            files::check_writable("write-baseline", file)?;
        }
        let titles: Vec<String> = all.iter().map(Scenario::title).collect();
        for (known, file) in known.iter().zip(&args.baseline) {
            for entry in known.unknown(&titles) {
                say(&format!("note: {}: there is no case '{}': take it out", file.display(), entry.title()));
            }
        }
        Ok(KnownFailures { known, write: args.write_baseline.clone(), seen: Mutex::default() })
    }

    /// The case, with the outcome that counts.
    pub(super) fn judged(&self, mut case: CaseReport) -> CaseReport {
        if self.known.is_none() && self.write.is_none() {
            return case;
        }
        let total = case.run.as_ref().map(|run| &run.total);
        let seen = KnownFailure::of(&case.id, &case.name, case.outcome, total, &case.checks);
        if let Some(ruling) = self.known.as_ref().and_then(|known| known.rule(&seen)) {
            case.outcome = ruling.outcome;
            case.reasons.insert(0, ruling.reason);
        }
        lock(&self.seen).push(seen);
        case
    }

    /// Writes the file, if the user wants one and every case has ended. Returns the exit code.
    ///
    /// # Errors
    /// The list cannot be written as TOML, which is a bug.
    pub(super) fn write(&self, exit: Exit, is_complete: bool) -> anyhow::Result<Exit> {
        let Some(file) = &self.write else { return Ok(exit) };
        if !is_complete {
            say(&format!("warning: {} is not written: the suite did not run to its end", file.display()));
            return Ok(exit);
        }
        let list = Baseline::of(&lock(&self.seen), self.known.as_ref());
        let written = files::write("write-baseline", file, format!("{HEAD}\n{}", toml::to_string(&list)?).trim_end());
        Ok(exit_after_writing(exit, written))
    }
}

fn read(file: &Path) -> anyhow::Result<Baseline> {
    let name = file.display();
    let wrong = |problem: String| Failure::usage(format!("--baseline {name}: {problem}"));
    let remedy = "--write-baseline writes such a file";
    let text = match file.exists() {
        true => files::read("--baseline", file, files::MOST_SETTINGS)?,
        false => return Err(wrong(format!("there is no such file: {remedy}"))),
    };
    let version = toml::from_str::<toml::Table>(&text).ok().and_then(|table| table.get("version")?.as_integer());
    match version {
        Some(version) if version != i64::from(VERSION) => {
            Err(wrong(format!("it has version {version}, and this program reads version {VERSION}: {remedy}")))
        }
        _ => toml::from_str(&text).map_err(|error| wrong(format!("{}: {remedy}", error.to_string().trim_end()))),
    }
}
