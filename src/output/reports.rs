//! What `run`, `check` and `blast` write besides what they print: the files that were asked for, rewritten whenever a
//! case has ended, and what GitHub Actions reads.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::github::Github;
use super::result::ResultArgs;
use crate::exit::Exit;
use crate::output::console::{print, say};
use crate::output::files;
use crate::report::format::{FORMATS, Format, JSON};
use crate::report::suite::{self, CaseReport, State, SuiteReport};

/// The flags of `run` and `check` that say what is written where.
#[derive(Args, Debug)]
#[command(next_help_heading = "Reports")]
pub struct ReportArgs {
    /// The result.
    #[command(flatten)]
    pub result: ResultArgs,

    /// What is written to files.
    #[command(flatten)]
    pub files: FileArgs,
}

impl ReportArgs {
    /// Instead of a result: `lines` for people, the cases with no result for machines.
    ///
    /// # Errors
    /// It can't be written where it was asked for: exit code 2.
    pub fn list(&self, lines: &str, cases: Vec<CaseReport>) -> anyhow::Result<()> {
        let json = (JSON.render)(&SuiteReport::new(cases))?;
        self.result.check()?;
        self.result.write(lines, &json)
    }
}

/// A flag for each row of [`FORMATS`], and `--github`.
#[derive(Debug, Default)]
pub struct FileArgs {
    files: Vec<(&'static Format, PathBuf)>,
    github: bool,
}

impl Args for FileArgs {
    fn augment_args(command: Command) -> Command {
        let file = |format: &Format| {
            let arg = Arg::new(format.name).long(format.name).value_name("FILE").help(format.about);
            arg.env(format.env).hide_env(true).value_parser(value_parser!(PathBuf)).help_heading("Reports")
        };
        let github = Arg::new("github").long("github").action(ArgAction::SetTrue).help_heading("Reports");
        let about = "In GitHub Actions: write the summary of the step, and mark each case that did not pass";
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

/// The files of a result, kept up to date case by case.
pub struct Written {
    report: SuiteReport,
    files: Vec<(&'static Format, PathBuf)>,
    github: Option<Github>,
}

impl Written {
    /// Writes every file, with all cases and no result: what can't be written is known before anything runs, nobody
    /// takes the result of an earlier run for that of one that broke off, nor what one that broke off has left for a
    /// whole result.
    ///
    /// # Errors
    /// A file can't be written, or this is not GitHub Actions: exit code 2.
    pub fn open(args: &FileArgs, json: Option<&Path>, planned: Vec<CaseReport>) -> anyhow::Result<Written> {
        let json = json.map(|file| (&JSON, file.to_owned()));
        let files: Vec<_> = args.files.iter().cloned().chain(json).collect();
        let report = SuiteReport::new(planned);
        let github = args.github.then(Github::open).transpose()?;
        for (format, path) in &files {
            files::write_first(format.name, path, &(format.render)(&report)?)?;
        }
        Ok(Written { report, files, github })
    }

    /// Case `i` has ended: every file is written anew. Gives the line that marks it in GitHub's log. A file that can't
    /// be written now is said so, and tried again with the next case.
    pub fn set(&mut self, i: usize, case: CaseReport) -> Option<String> {
        let annotation = self.github.as_ref().and_then(|github| github.annotation(&case));
        self.report.set(i, case);
        if let Err(error) = self.write() {
            say(&format!("warning: {error:#}"));
        }
        annotation
    }

    /// No case is begun any more, for this reason.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn end(&mut self, why: State) -> anyhow::Result<()> {
        self.report.end(why);
        self.write()
    }

    /// As many of them as can be; the first error.
    fn write(&mut self) -> anyhow::Result<()> {
        let report = &self.report;
        let file = |(format, path): &(&Format, PathBuf)| files::write(path, &(format.render)(report)?);
        let files: Vec<anyhow::Result<()>> = self.files.iter().map(file).collect();
        let github = self.github.as_mut().map(|github| github.write(report));
        files.into_iter().chain(github).collect()
    }
}

/// The exit code when something may not have been written, which is said: that is no success, and hides nothing worse.
pub fn unwritten(exit: Exit, written: anyhow::Result<()>) -> Exit {
    let Err(error) = written else { return exit };
    say(&format!("error: {error:#}"));
    if exit == Exit::Pass { Exit::Inconclusive } else { exit }
}

/// The cases and what came of those that have ended: their lines, and what is written of them.
pub struct Reports {
    is_json: bool,
    /// Instead of standard output.
    output: Option<PathBuf>,
    /// What has been shown so far.
    shown: String,
    written: Written,
    /// Why standard output does not hold every line.
    unshown: Option<anyhow::Error>,
}

impl Reports {
    /// To be called before the first case runs, with all that are to.
    ///
    /// # Errors
    /// Nothing can be written where it was asked for: exit code 2.
    pub fn open(args: &ReportArgs, planned: Vec<CaseReport>) -> anyhow::Result<Reports> {
        let written = Written::open(&args.files, args.result.json_file(), planned)?;
        let output = args.result.output_file().map(Path::to_owned);
        if let Some(file) = &output {
            files::write_first("output", file, "")?;
        }
        Ok(Reports { is_json: args.result.is_json(), output, shown: String::new(), written, unshown: None })
    }

    /// Case `i` has ended: it is shown, and written with all that have.
    pub fn add(&mut self, i: usize, case: CaseReport) {
        let line = suite::line(&case);
        // What is there is kept, whatever happens to the next case; and before it is shown, so that who has read the
        // line finds it in the file.
        let annotation = self.written.set(i, case);
        for line in std::iter::once(line).chain(annotation) {
            self.show(&line);
        }
        if let Some(file) = &self.output
            && let Err(error) = self.result(&self.shown).and_then(|text| files::write(file, &text))
        {
            self.unshown.get_or_insert(error);
        }
    }

    /// No case is begun any more, for this reason; the last lines. Gives the exit code, which is not that of a success
    /// if anything could not be written.
    ///
    /// # Errors
    /// A result can't be shown as JSON, which is a defect.
    pub fn finish(mut self, why: State) -> anyhow::Result<Exit> {
        let written = self.written.end(why);
        let report = &self.written.report;
        let last = format!("\n{}", report.last_lines());
        let exit = report.exit();
        let printed = match &self.output {
            Some(file) => files::write(file, &self.result(&format!("{}{last}", self.shown))?),
            None => print(&self.result(&last)?),
        };
        let printed = self.unshown.map_or(printed, Err);
        Ok(unwritten(unwritten(exit, written), printed))
    }

    /// What standard output is for: the report, or these lines.
    fn result(&self, lines: &str) -> anyhow::Result<String> {
        if self.is_json { (JSON.render)(&self.written.report) } else { Ok(lines.to_owned()) }
    }

    /// Lines go to stdout, unless that is for a machine, or for a file.
    fn show(&mut self, line: &str) {
        if self.output.is_some() {
            self.shown.push_str(line);
            self.shown.push('\n');
        }
        if self.is_json || self.output.is_some() {
            say(line);
        } else if let Err(error) = print(line) {
            self.unshown.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::suite::Came;
    use crate::scenario::Scenario;

    #[test]
    fn files_hold_all_cases_from_the_beginning_on_in_the_order_of_the_scenarios_whichever_ends_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("r.json");
        let read = || {
            let text = std::fs::read_to_string(&file).expect("it is there");
            let report: SuiteReport = serde_json::from_str(&text).expect("the form is read as it is written");
            let outcome = |case: &CaseReport| (case.name.clone(), case.outcome);
            (report.cases.iter().map(outcome).collect::<Vec<_>>(), report.state, report.exit_code)
        };
        let planned = |name: &str| {
            let scenario = Scenario::parse("a.toml", &format!("name = '{name}'\n[[load]]\n")).expect("it is well");
            CaseReport::planned(&scenario, false)
        };
        let all = ["a", "b", "c"].map(planned);
        let mut written = Written::open(&FileArgs::default(), Some(&file), all.to_vec()).expect("it can be written");
        let mut expected = ["a", "b", "c"].map(|name| (name.to_owned(), Came::NotRun)).to_vec();
        assert_eq!(read(), (expected.clone(), State::Incomplete, 4));
        for (i, state, exit) in [(2, State::Incomplete, 4), (0, State::Incomplete, 4), (1, State::Complete, 0)] {
            written.set(i, CaseReport { outcome: Came::Pass, ..all[i].clone() });
            expected[i].1 = Came::Pass;
            assert_eq!(read(), (expected.clone(), state, exit));
        }
    }
}
