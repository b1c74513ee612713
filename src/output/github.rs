//! `--github`: writes the summary of a GitHub Actions step, and finds the line of a scenario file that a failure
//! belongs to. How both look is decided in [`report::github`](crate::report::github).

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::Context as _;

use crate::failure::Failure;
use crate::judge::outcome::CaseOutcome;
use crate::output::pipes;
use crate::report::github::{annotation, summary};
use crate::report::suite::{CaseReport, SuiteReport};

/// Names the file that the runner shows as the summary of the step.
const SUMMARY_VARIABLE: &str = "GITHUB_STEP_SUMMARY";

/// The summary of the GitHub Actions step that this process runs in.
pub(crate) struct StepSummary {
    path: PathBuf,
    /// Offset of this program's part; other commands of the same step wrote what stands before it.
    start: u64,
    /// Size of the file after the last write.
    len: u64,
}

impl StepSummary {
    /// Finds the file of the summary.
    ///
    /// # Errors
    /// This is not GitHub Actions, or the file cannot be written: exit code 2.
    pub(crate) fn open() -> anyhow::Result<StepSummary> {
        let Some(path) = std::env::var_os(SUMMARY_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from) else {
            let problem = format!("--github: {SUMMARY_VARIABLE} is not set, so this is not a step of GitHub Actions");
            return Err(Failure::usage(format!("{problem}: leave the flag out, or use --markdown FILE")));
        };
        let file = pipes::open(&path, File::options().append(true).create(true));
        let len = file.and_then(|file| file.metadata()).map(|metadata| metadata.len()).map_err(|error| {
            Failure::usage(format!("--github: {}: {error}: {SUMMARY_VARIABLE} must name a file", path.display()))
        })?;
        Ok(StepSummary { path, start: len, len })
    }

    /// Replaces this program's part of the summary, which follows the part that was there before.
    ///
    /// # Errors
    /// The file cannot be written; the message names it.
    pub(crate) fn write(&mut self, report: &SuiteReport) -> anyhow::Result<()> {
        self.replace(report).with_context(|| format!("writing {}", self.path.display()))
    }

    /// What cannot be written whole is taken away again: a summary that is cut would show a part of the cases.
    fn replace(&mut self, report: &SuiteReport) -> io::Result<()> {
        let mut file = pipes::open(&self.path, File::options().write(true).create(true).truncate(false))?;
        self.write_part(&mut file, report).inspect_err(|_| {
            // The first error is the one to report.
            self.len = self.start;
            let _ = file.set_len(self.start);
        })
    }

    fn write_part(&mut self, file: &mut File, report: &SuiteReport) -> io::Result<()> {
        let len = file.metadata()?.len();
        if len != self.len {
            // Another command of the same step has written since. Its text must stay.
            self.start = len;
        }
        let text = summary(report, usize::try_from(self.start).unwrap_or(usize::MAX));
        file.seek(SeekFrom::Start(self.start))?;
        file.write_all(text.as_bytes())?;
        self.len = self.start + text.len() as u64;
        file.set_len(self.len)
    }

    /// The line for GitHub's log that marks a case as failed. If the scenario is a file here, it points into that file.
    pub(crate) fn annotation(&self, case: &CaseReport) -> Option<String> {
        let text = fs::read_to_string(&case.file).ok();
        // GitHub wants slashes in a path, on Windows too.
        let file = case.file.replace(std::path::MAIN_SEPARATOR, "/");
        let place = text.as_ref().map(|text| (file.as_str(), line_of(case, text)));
        annotation(case, place)
    }
}

/// The line, counted from 1, of the first threshold that was missed; otherwise of the scenario's name; otherwise 1.
fn line_of(case: &CaseReport, text: &str) -> usize {
    let missed = case.checks.iter().filter(|check| check.outcome == CaseOutcome::ThresholdMissed);
    let wanted = missed.map(|check| check.expected.as_str()).chain([case.name.as_str()]);
    let line = |words: &str| text.lines().position(|line| line.contains(words));
    wanted.filter_map(line).next().map_or(1, |line| line + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_others_write_meanwhile_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder is created");
        let path = folder.path().join("summary.md");
        let append = |text: &str| {
            let file = File::options().append(true).create(true).open(&path);
            file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the file is writable");
        };
        append("before\n");
        let mut step_summary = StepSummary { path: path.clone(), start: 7, len: 7 };
        let report = SuiteReport::new(Vec::new());
        let expected = summary(&report, 0);
        for _ in 0..2 {
            step_summary.write(&report).expect("the file is writable");
            assert_eq!(fs::read_to_string(&path).expect("the file exists"), format!("before\n{expected}"));
        }
        append("between\n");
        step_summary.write(&report).expect("the file is writable");
        let text = fs::read_to_string(&path).expect("the file exists");
        assert_eq!(text, format!("before\n{expected}between\n{expected}"));
    }
}
