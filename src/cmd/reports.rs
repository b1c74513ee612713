//! What `run` and `check` write while cases end: a line for each on the terminal, and the files that were asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::{print, say, write_file};
use crate::exit::Exit;
use crate::report::suite::{self, CaseReport, SuiteReport};

/// The flags that say what is written where.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Write the result as JSON: to standard output instead of the lines, or to a file beside them
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, env = "ECHO_TESTER_JSON", hide_env = true)]
    pub json: Option<Option<PathBuf>>,
}

/// The cases that have ended, and where they are written.
pub struct Reports {
    json: Option<Option<PathBuf>>,
    /// By their place in the order of the files, which with --jobs is not that in which they end.
    cases: BTreeMap<usize, CaseReport>,
}

impl Reports {
    /// To be called before the first case runs.
    ///
    /// # Errors
    /// Nothing can be written where it was asked for.
    pub fn open(args: &ReportArgs) -> anyhow::Result<Reports> {
        Ok(Reports { json: args.json.clone(), cases: BTreeMap::new() })
    }

    /// Case `i` has ended: it is shown, and written with all that have.
    ///
    /// # Errors
    /// A file or standard output can't be written.
    pub fn add(&mut self, i: usize, case: CaseReport) -> anyhow::Result<()> {
        let line = suite::line(&case);
        self.cases.insert(i, case);
        // What is there is kept, whatever happens to the next case.
        if let Some(Some(file)) = &self.json {
            write_file(
                file,
                &serde_json::to_string_pretty(&SuiteReport::new(self.cases.values().cloned().collect()))?,
            )?;
        }
        match self.json {
            Some(None) => say(&line),
            _ => print(&line)?,
        }
        Ok(())
    }

    /// All have ended.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub fn finish(self) -> anyhow::Result<Exit> {
        let report = SuiteReport::new(self.cases.into_values().collect());
        match self.json {
            Some(None) => print(&serde_json::to_string_pretty(&report).context("writing the report as JSON")?)?,
            _ => print(&format!("\n{}", report.summary()))?,
        }
        Ok(suite::exit(&report.cases))
    }
}
