//! What `run`, `check` and `blast` print and write while cases end: a line for each case, the report files, which are
//! rewritten after every case, and the summary for GitHub Actions.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::github::StepSummary;
use super::result::{ResultArgs, exit_after_writing, write_or_print};
use super::secrets;
use crate::exit::Exit;
use crate::output::console::{for_stdout, print, say, stderr_style, stdout_style};
use crate::output::files;
use crate::report::case_text::{last_lines, line};
use crate::report::closing::Closing;
use crate::report::format::{FORMATS, Format, JSON};
use crate::report::style::Style;
use crate::report::suite::{CaseReport, SuiteReport, SuiteState};

/// The flags of `run` and `check` that choose reports and their destinations.
#[derive(Args, Debug)]
#[command(next_help_heading = "Reports")]
pub(crate) struct ReportArgs {
    /// Where the result goes.
    #[command(flatten)]
    pub(crate) result: ResultArgs,

    /// Which report files are written.
    #[command(flatten)]
    pub(crate) files: FileArgs,
}

impl ReportArgs {
    /// Writes the list of cases instead of a result: `lines` as text, or the cases without results as JSON.
    ///
    /// # Errors
    /// The list cannot be written where the flags say: exit code 2.
    pub(crate) fn list(&self, lines: &str, cases: Vec<CaseReport>) -> anyhow::Result<()> {
        let json = (JSON.render)(&SuiteReport::new(secrets::report_without(cases)))?;
        self.result.check()?;
        self.result.write(&secrets::without(lines), &json)
    }
}

/// A flag for each row of [`FORMATS`], and `--github`.
#[derive(Debug, Default)]
pub(crate) struct FileArgs {
    files: Vec<(&'static Format, PathBuf)>,
    github: bool,
}

impl Args for FileArgs {
    fn augment_args(command: Command) -> Command {
        let file = |format: &Format| {
            let arg = Arg::new(format.name).long(format.name).value_name("FILE").help(format.help);
            arg.env(format.env).hide_env(true).value_parser(value_parser!(PathBuf)).help_heading("Reports")
        };
        let github = Arg::new("github").long("github").action(ArgAction::SetTrue).help_heading("Reports");
        let about = "In GitHub Actions: write the summary of the step, and mark every case that did not pass";
        let github = github.env("ECHO_TESTER_GITHUB").hide_env(true).help(about);
        command.args(FORMATS.iter().map(file)).arg(github)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FileArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let file = |format: &'static Format| Some((format, matches.get_one::<PathBuf>(format.name)?.clone()));
        let files = FORMATS.iter().filter_map(file).collect();
        Ok(FileArgs { files, github: matches.get_flag("github") })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The report files of a run, kept up to date after every case.
pub(crate) struct ReportFiles {
    report: SuiteReport,
    files: Vec<(&'static Format, PathBuf)>,
    step_summary: Option<StepSummary>,
    /// The files that hold the latest result.
    written: Vec<String>,
    /// How many cases have no result yet.
    left: usize,
    /// What was warned of last.
    warned: Option<String>,
}

impl ReportFiles {
    /// Writes every file with all cases and no results, for three reasons: a file that cannot be written is reported
    /// before anything runs; the result of an earlier run disappears; and if this run is cut short, its files say so.
    ///
    /// # Errors
    /// A file cannot be written, or this is not GitHub Actions: exit code 2.
    pub(crate) fn open(args: &FileArgs, json: Option<&Path>, planned: Vec<CaseReport>) -> anyhow::Result<ReportFiles> {
        let json = json.map(|file| (&JSON, file.to_owned()));
        let files: Vec<_> = args.files.iter().cloned().chain(json).collect();
        let left = planned.len();
        let report = SuiteReport::new(secrets::report_without(planned));
        let step_summary = args.github.then(StepSummary::open).transpose()?;
        for (format, path) in &files {
            files::begin(format.name, path, &(format.render)(&report)?)?;
        }
        Ok(ReportFiles { report, files, step_summary, written: Vec::new(), left, warned: None })
    }

    /// Sets the result of case `i` and rewrites every file. Returns the line that marks the case in GitHub's log. If a
    /// file cannot be written, a warning says so once, and the next case tries again. After the last case nothing is
    /// said: [`end`](Self::end) returns the error.
    pub(crate) fn set(&mut self, i: usize, case: CaseReport) -> Option<String> {
        let annotation = self.step_summary.as_ref().and_then(|summary| summary.annotation(&case));
        self.report.set(i, case);
        self.left = self.left.saturating_sub(1);
        if let Err(error) = self.write(files::write_so_far)
            && self.left > 0
        {
            let warning = format!("warning: {error:#}: the next case tries again");
            if self.warned.as_ref() != Some(&warning) {
                say(&warning);
                self.warned = Some(warning);
            }
        }
        annotation
    }

    /// Rewrites every file after the last case. `why` says why no further case begins.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn end(&mut self, why: SuiteState) -> anyhow::Result<()> {
        self.report.end(why);
        self.write(files::write)
    }

    /// The files that hold the latest result.
    pub(crate) fn written(&self) -> &[String] {
        &self.written
    }

    /// Writes every file that it can by `write`, and returns the first error.
    fn write(&mut self, write: fn(&str, &Path, &str) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let report = &self.report;
        let file = |(format, path): &(&Format, PathBuf)| write(format.name, path, &(format.render)(report)?);
        let files: Vec<anyhow::Result<()>> = self.files.iter().map(file).collect();
        let written = self.files.iter().zip(&files).filter(|(_, result)| result.is_ok());
        self.written = written.map(|((_, path), _)| files::shown(path)).collect();
        let step_summary = self.step_summary.as_mut().map(|summary| summary.write(report));
        files.into_iter().chain(step_summary).collect()
    }
}

/// Prints a line for each case that has ended, and keeps the report files up to date.
pub(crate) struct Reports {
    is_json: bool,
    /// Lines that standard output has no place for are not printed to standard error instead.
    is_quiet: bool,
    /// The file that takes the place of standard output.
    output: Option<PathBuf>,
    /// The lines so far, for that file.
    lines: String,
    files: ReportFiles,
    /// The first error of standard output, or of the file in its place.
    print_error: Option<anyhow::Error>,
}

impl Reports {
    /// Must be called before the first case runs, with all cases that will.
    ///
    /// # Errors
    /// A result cannot be written where the flags say: exit code 2.
    pub(crate) fn open(args: &ReportArgs, planned: Vec<CaseReport>, is_quiet: bool) -> anyhow::Result<Reports> {
        let report_files = ReportFiles::open(&args.files, args.result.json_file(), planned)?;
        let output = args.result.output_file().map(Path::to_owned);
        if let Some(file) = &output {
            files::begin("output", file, "")?;
        }
        let is_json = args.result.is_json();
        Ok(Reports { is_json, is_quiet, output, lines: String::new(), files: report_files, print_error: None })
    }

    /// Prints the first line, unless the user wants no remarks: what is tested.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn announce(&self, what: &str) -> anyhow::Result<()> {
        match (self.is_quiet, self.is_json || self.output.is_some()) {
            (true, _) => Ok(()),
            (false, true) => {
                say(what);
                say("");
                Ok(())
            }
            (false, false) => print(&format!("{}\n", for_stdout(what))),
        }
    }

    /// Sets the result of case `i`, prints its line and rewrites the files.
    pub(crate) fn add(&mut self, i: usize, case: CaseReport) {
        let case = secrets::report_without(case);
        let on_screen = line(&case, self.screen_style());
        if self.output.is_some() {
            self.lines.push_str(&line(&case, Style::PLAIN));
            self.lines.push('\n');
        }
        // The files come first: a reader of the line must find the case in them, and it is kept whatever happens to the
        // next case.
        let annotation = self.files.set(i, case);
        self.show(&on_screen, self.is_quiet);
        // GitHub looks for it on both streams.
        if let Some(annotation) = &annotation {
            self.show(annotation, false);
            if self.output.is_some() {
                self.lines.push_str(annotation);
                self.lines.push('\n');
            }
        }
        if let Some(file) = &self.output
            && let Err(error) = self.result(&self.lines).and_then(|text| files::write_so_far("output", file, &text))
        {
            self.print_error.get_or_insert(error);
        }
    }

    /// Prints the last lines and completes the files. `why` says why no further case begins. Returns the exit code,
    /// which is not that of a pass if anything could not be written.
    ///
    /// # Errors
    /// A result cannot be rendered as JSON, which is a bug.
    pub(crate) fn finish(mut self, why: SuiteState) -> anyhow::Result<Exit> {
        let written = self.files.end(why);
        let report = &self.files.report;
        let closing = Closing { files: self.files.written().to_vec(), replay: None };
        let style = if self.output.is_some() { Style::PLAIN } else { stdout_style() };
        let last = format!("\n{}", last_lines(report, &closing, style));
        let exit = report.exit();
        let printed = match &self.output {
            Some(file) => write_or_print(file, &self.result(&format!("{}{last}", self.lines))?),
            None => print(&self.result(&last)?),
        };
        let printed = self.print_error.map_or(printed, Err);
        Ok(exit_after_writing(exit_after_writing(exit, written), printed))
    }

    /// The text for standard output or the file in its place: the report as JSON, or these lines.
    fn result(&self, lines: &str) -> anyhow::Result<String> {
        if self.is_json { (JSON.render)(&self.files.report) } else { Ok(lines.to_owned()) }
    }

    /// How a line looks that [`show`](Self::show) prints.
    fn screen_style(&self) -> Style {
        if self.is_json || self.output.is_some() { stderr_style() } else { stdout_style() }
    }

    /// Prints a line to stdout, or to stderr if JSON or a file takes the place of stdout and `is_quiet` is not set.
    fn show(&mut self, line: &str, is_quiet: bool) {
        if self.is_json || self.output.is_some() {
            if !is_quiet {
                say(line);
            }
        } else if let Err(error) = print(line) {
            self.print_error.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::expectation::CheckedServer;
    use crate::judge::outcome::CaseOutcome;
    use crate::scenario::Scenario;

    #[test]
    fn files_hold_all_cases_from_the_start_in_the_order_of_the_scenarios() {
        let folder = tempfile::tempdir().expect("a temporary folder is created");
        let file = folder.path().join("r.json");
        let read = || {
            let text = std::fs::read_to_string(&file).expect("the report is written");
            let report: SuiteReport = serde_json::from_str(&text).expect("the report parses");
            let outcome = |case: &CaseReport| (case.name.clone(), case.outcome);
            (report.cases.iter().map(outcome).collect::<Vec<_>>(), report.state, report.exit_code)
        };
        let planned = |name: &str| {
            let scenario = Scenario::parse("a.toml", &format!("name = '{name}'\n[[load]]\n"));
            let scenario = scenario.expect("the scenario is valid");
            CaseReport::planned(&scenario, CheckedServer::Target)
        };
        let all = ["a", "b", "c"].map(planned);
        let files = ReportFiles::open(&FileArgs::default(), Some(&file), all.to_vec());
        let mut files = files.expect("the report is writable");
        let mut expected = ["a", "b", "c"].map(|name| (name.to_owned(), CaseOutcome::NotRun)).to_vec();
        assert_eq!(read(), (expected.clone(), SuiteState::Incomplete, 4));
        let (incomplete, complete) = (SuiteState::Incomplete, SuiteState::Complete);
        for (i, state, exit) in [(2, incomplete, 4), (0, incomplete, 4), (1, complete, 0)] {
            files.set(i, CaseReport { outcome: CaseOutcome::Pass, ..all[i].clone() });
            expected[i].1 = CaseOutcome::Pass;
            assert_eq!(read(), (expected.clone(), state, exit));
        }
    }
}
