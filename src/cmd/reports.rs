//! What `run`, `check` and `blast` write besides what they print: the files that were asked for, rewritten whenever a
//! case has ended, and what GitHub Actions reads.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::github::Github;
use super::{files, print, say};
use crate::exit::Exit;
use crate::report::format::{FORMATS, Format, JSON};
use crate::report::suite::{self, CaseReport, SuiteReport};

/// The flags of `run` and `check` that say what is written where.
#[derive(Args, Debug)]
#[command(next_help_heading = "Reports")]
pub struct ReportArgs {
    /// Write the result as JSON: to standard output instead of the lines, or to a file beside them
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, env = JSON.env, hide_env = true)]
    pub json: Option<Option<PathBuf>>,

    /// Write what would go to standard output to this file
    #[arg(short, long, value_name = "FILE", env = "ECHO_TESTER_OUTPUT", hide_env = true)]
    pub output: Option<PathBuf>,

    /// What is written to files.
    #[command(flatten)]
    pub files: FileArgs,
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
        Ok(FileArgs { files: FORMATS.iter().filter_map(file).collect(), github: matches.get_flag("github") })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The files of a result, kept up to date case by case.
pub struct Written {
    report: SuiteReport,
    /// Of each case its place in the order of the files, which with --jobs is not that in which they end.
    places: Vec<usize>,
    files: Vec<(&'static Format, PathBuf)>,
    github: Option<Github>,
}

impl Written {
    /// Writes every file, without a case in it: what can't be written is known before anything runs, and nobody takes
    /// the result of an earlier run for that of one that broke off.
    ///
    /// # Errors
    /// A file can't be written, or this is not GitHub Actions: exit code 2.
    pub fn open(args: &FileArgs, json: Option<&PathBuf>) -> anyhow::Result<Written> {
        let json = json.map(|file| (&JSON, file.clone()));
        let files: Vec<_> = args.files.iter().cloned().chain(json).collect();
        let report = SuiteReport::new(Vec::new());
        let github = args.github.then(Github::open).transpose()?;
        for (format, path) in &files {
            files::write_first(format.name, path, &(format.render)(&report)?)?;
        }
        Ok(Written { report, places: Vec::new(), files, github })
    }

    /// Case `i` has ended: every file is written anew. Gives the line that marks it in GitHub's log.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn add(&mut self, i: usize, case: CaseReport) -> anyhow::Result<Option<String>> {
        let annotation = self.github.as_ref().and_then(|github| github.annotation(&case));
        let at = self.places.partition_point(|place| *place < i);
        self.places.insert(at, i);
        self.report.insert(at, case);
        for (format, path) in &self.files {
            files::write(path, &(format.render)(&self.report)?)?;
        }
        if let Some(github) = &mut self.github {
            github.write(&self.report)?;
        }
        Ok(annotation)
    }
}

/// The cases that have ended: their lines, and what is written of them.
pub struct Reports {
    is_json: bool,
    /// Instead of standard output.
    output: Option<PathBuf>,
    /// What has been shown so far.
    shown: String,
    written: Written,
}

impl Reports {
    /// To be called before the first case runs.
    ///
    /// # Errors
    /// Nothing can be written where it was asked for: exit code 2.
    pub fn open(args: &ReportArgs) -> anyhow::Result<Reports> {
        let json = args.json.as_ref().and_then(Option::as_ref);
        let is_json = matches!(args.json, Some(None));
        let written = Written::open(&args.files, json)?;
        if let Some(file) = &args.output {
            files::write_first("output", file, "")?;
        }
        Ok(Reports { is_json, output: args.output.clone(), shown: String::new(), written })
    }

    /// Case `i` has ended: it is shown, and written with all that have.
    ///
    /// # Errors
    /// A file or standard output can't be written.
    pub fn add(&mut self, i: usize, case: CaseReport) -> anyhow::Result<()> {
        let line = suite::line(&case);
        // What is there is kept, whatever happens to the next case; and before it is shown, so that who has read the
        // line finds it in the file.
        let annotation = self.written.add(i, case)?;
        for line in std::iter::once(line).chain(annotation) {
            self.show(&line)?;
        }
        match &self.output {
            Some(file) => files::write(file, &self.result(&self.shown)?),
            None => Ok(()),
        }
    }

    /// All have ended.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub fn finish(self) -> anyhow::Result<Exit> {
        let report = &self.written.report;
        let last = format!("\n{}", report.last_lines());
        match &self.output {
            Some(file) => files::write(file, &self.result(&format!("{}{last}", self.shown))?)?,
            None => print(&self.result(&last)?)?,
        }
        Ok(suite::exit(&report.cases))
    }

    /// What standard output is for: the report, or these lines.
    fn result(&self, lines: &str) -> anyhow::Result<String> {
        if self.is_json { (JSON.render)(&self.written.report) } else { Ok(lines.to_owned()) }
    }

    /// Lines go to stdout, unless that is for a machine, or for a file.
    fn show(&mut self, line: &str) -> anyhow::Result<()> {
        if self.output.is_some() {
            self.shown.push_str(line);
            self.shown.push('\n');
        }
        if self.is_json || self.output.is_some() {
            say(line);
            return Ok(());
        }
        print(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn files_keep_the_order_of_the_scenarios_whichever_ends_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("r.json");
        let mut written = Written::open(&FileArgs::default(), Some(&file)).expect("it can be written");
        for i in [2, 0, 1] {
            let scenario = Scenario::parse("a.toml", &format!("name = '{i}'\n[[load]]\n")).expect("it is well");
            written.add(i, CaseReport::planned(&scenario, false)).expect("it can be written");
        }
        let text = std::fs::read_to_string(&file).expect("it is there");
        let report: SuiteReport = serde_json::from_str(&text).expect("the form is read as it is written");
        let names: Vec<&str> = report.cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!((names, report.exit_code), (vec!["0", "1", "2"], 4));
    }
}
