//! The flags `--json`, `--output` and `--quiet`: whether a result is text or JSON, and where it goes.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::exit::Exit;
use crate::output::console::{print, say, stdout_style};
use crate::output::files;
use crate::report::format::JSON;
use crate::report::style::Style;

/// The flags of every command that has a result. For both, `-` means standard output.
#[derive(Args, Debug, Default)]
pub(crate) struct ResultArgs {
    #[arg(
        long, value_name = "FILE", num_args = 0..=1, require_equals = true, env = JSON.env, hide_env = true,
        help = JSON.help
    )]
    json: Option<Option<PathBuf>>,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE", env = "ECHO_TESTER_OUTPUT", hide_env = true)]
    output: Option<PathBuf>,
}

/// Where the result goes, and whether anything else is printed.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Where the result goes.
    #[command(flatten)]
    pub(crate) result: ResultArgs,

    /// Print no progress and no remarks
    #[arg(short, long, env = "ECHO_TESTER_QUIET", hide_env = true)]
    pub(crate) quiet: bool,
}

impl ResultArgs {
    /// Whether JSON takes the place of the text.
    pub(crate) fn is_json(&self) -> bool {
        self.json.is_some() && self.json_file().is_none()
    }

    /// Whether remarks must go to stderr, because stdout is for JSON or replaced by a file.
    pub(crate) fn is_stdout_taken(&self) -> bool {
        self.is_json() || self.output_file().is_some()
    }

    /// How the text looks where it goes.
    pub(crate) fn style(&self) -> Style {
        if self.output_file().is_some() { Style::PLAIN } else { stdout_style() }
    }

    /// The file that gets JSON in addition to the text.
    pub(crate) fn json_file(&self) -> Option<&Path> {
        self.json.as_ref()?.as_deref().and_then(files::unless_stdout)
    }

    /// The file that takes the place of standard output.
    pub(crate) fn output_file(&self) -> Option<&Path> {
        self.output.as_deref().and_then(files::unless_stdout)
    }

    /// Checks that the files can be written. Call it before the work, so that its result is not lost.
    ///
    /// # Errors
    /// A file cannot be written: exit code 2.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.files().try_for_each(|(flag, file)| files::check_writable(flag, file))
    }

    /// Like [`check`](Self::check), and removes the results of an earlier run. Call it before anything that may end
    /// this run early.
    ///
    /// # Errors
    /// A file cannot be written: exit code 2.
    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        self.files().try_for_each(|(flag, file)| files::clear(flag, file))
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let json = self.json_file().map(|file| ("json", file));
        json.into_iter().chain(self.output_file().map(|file| ("output", file)))
    }

    /// Writes a list or a plan, which no run has cost anything, as `text` or `json`, where the flags say.
    ///
    /// # Errors
    /// A file or standard output cannot be written.
    pub(crate) fn write(&self, text: &str, json: &str) -> anyhow::Result<()> {
        self.write_json_file(json)?;
        self.show(text, json)
    }

    /// Writes the result of a run where the flags say: all that can be written, whatever can't. `text` is given the
    /// file that holds the JSON. Returns the exit code, as [`exit_after_writing`] does.
    pub(crate) fn finish(&self, exit: Exit, json: &str, text: impl FnOnce(Option<String>) -> String) -> Exit {
        let to_file = self.write_json_file(json);
        let file = self.json_file().filter(|_| to_file.is_ok()).map(files::shown);
        let text = text(file);
        let result = if self.is_json() { json } else { &text };
        let shown = self.output_file().map_or_else(|| print(result), |file| write_or_print(file, result));
        // The errors come last, where they don't scroll away above a long text.
        exit_after_writing(exit_after_writing(exit, to_file), shown)
    }

    /// Writes the JSON to the file of --json, if that names one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write_json_file(&self, json: &str) -> anyhow::Result<()> {
        self.json_file().map_or(Ok(()), |file| files::write("json", file, json))
    }

    fn show(&self, text: &str, json: &str) -> anyhow::Result<()> {
        let result = if self.is_json() { json } else { text };
        match self.output_file() {
            Some(file) => files::write("output", file, result),
            None => print(result),
        }
    }
}

/// Writes the result of a run to the file of --output. If that can't be, the result goes to standard output: what a run
/// has cost is not to be lost with a full disk.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_or_print(file: &Path, result: &str) -> anyhow::Result<()> {
    files::write("output", file, result).or_else(|error| print(result).and(Err(error)))
}

/// The exit code after results were written. An error is printed, and turns a pass into 'inconclusive': a result that
/// is lost is not a success. Any other exit code stays, because it says something worse.
pub(crate) fn exit_after_writing(exit: Exit, written: anyhow::Result<()>) -> Exit {
    let Err(error) = written else { return exit };
    say(&format!("error: {error:#}"));
    if exit == Exit::Pass { Exit::Inconclusive } else { exit }
}
