//! `--github`: the summary of the step, and the place in a scenario file that a failure belongs to.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::Context as _;

use crate::failure::Failure;
use crate::report::github::{annotation, summary};
use crate::report::suite::{Came, CaseReport, SuiteReport};

/// Names the file that the runner shows as the summary of the step.
const VARIABLE: &str = "GITHUB_STEP_SUMMARY";

/// The summary of the step that this process is.
pub struct Github {
    path: PathBuf,
    /// What others wrote before.
    start: u64,
    /// What the file held when it was last written.
    len: u64,
}

impl Github {
    /// # Errors
    /// This is not GitHub Actions, or the file can't be written: exit code 2.
    pub fn open() -> anyhow::Result<Github> {
        let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from) else {
            let problem = format!("--github: {VARIABLE} is not set, so this is no step of GitHub Actions");
            return Err(Failure::usage(format!("{problem}: leave it out, or use --markdown FILE")));
        };
        let file = File::options().append(true).create(true).open(&path);
        let len = file.and_then(|file| file.metadata()).map(|about| about.len()).map_err(|error| {
            Failure::usage(format!("--github: {}: {error}: {VARIABLE} must name a file", path.display()))
        })?;
        Ok(Github { path, start: len, len })
    }

    /// Writes the summary behind what was there before, in place of its former state.
    ///
    /// # Errors
    /// The file can't be written; the message names it.
    pub fn write(&mut self, report: &SuiteReport) -> anyhow::Result<()> {
        self.replace(report).with_context(|| format!("writing {}", self.path.display()))
    }

    fn replace(&mut self, report: &SuiteReport) -> io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(false).open(&self.path)?;
        let len = file.metadata()?.len();
        if len != self.len {
            // Another command of the same step has written since: what it wrote stays.
            self.start = len;
        }
        let text = summary(report, usize::try_from(self.start).unwrap_or(usize::MAX));
        file.seek(SeekFrom::Start(self.start))?;
        file.write_all(text.as_bytes())?;
        self.len = self.start + text.len() as u64;
        file.set_len(self.len)
    }

    /// The line that marks a case as failed, at its place in the scenario file where that is a file here.
    pub fn annotation(&self, case: &CaseReport) -> Option<String> {
        let text = fs::read_to_string(&case.file).ok();
        // Paths of a repository have slashes, on Windows too.
        let file = case.file.replace(std::path::MAIN_SEPARATOR, "/");
        let place = text.as_ref().map(|text| (file.as_str(), line_of(case, text)));
        annotation(case, place)
    }
}

/// The line, from 1, of the first threshold that was missed, else of the scenario's name, else the first.
fn line_of(case: &CaseReport, text: &str) -> usize {
    let missed = case.checks.iter().filter(|check| check.outcome == Came::ThresholdMissed);
    let wanted = missed.map(|check| check.expected.as_str()).chain([case.name.as_str()]);
    let line = |words: &str| text.lines().position(|line| line.contains(words));
    wanted.filter_map(line).next().map_or(1, |line| line + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_meanwhile_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("summary.md");
        let append = |text: &str| {
            let file = File::options().append(true).create(true).open(&path);
            file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the folder can be written");
        };
        append("before\n");
        let mut github = Github { path: path.clone(), start: 7, len: 7 };
        let report = SuiteReport::new(Vec::new());
        let expected = summary(&report, 0);
        for _ in 0..2 {
            github.write(&report).expect("it can be written");
            assert_eq!(fs::read_to_string(&path).expect("it is there"), format!("before\n{expected}"));
        }
        append("between\n");
        github.write(&report).expect("it can be written");
        let text = fs::read_to_string(&path).expect("it is there");
        assert_eq!(text, format!("before\n{expected}between\n{expected}"));
    }
}
