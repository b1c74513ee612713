//! Where a result goes: to standard output or to files, for people or for machines.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::output::console::print;
use crate::output::files;
use crate::report::format::JSON;

/// The flags of every command that has a result. In both `-` is standard output.
#[derive(Args, Debug, Default)]
pub struct ResultArgs {
    /// Write the result as JSON: to standard output instead of the text, or to a file beside it
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, env = JSON.env, hide_env = true)]
    json: Option<Option<PathBuf>>,

    /// Write what would go to standard output to this file
    #[arg(short, long, value_name = "FILE", env = "ECHO_TESTER_OUTPUT", hide_env = true)]
    output: Option<PathBuf>,
}

/// What is written where.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// The result.
    #[command(flatten)]
    pub result: ResultArgs,

    /// No progress and no remarks
    #[arg(short, long, env = "ECHO_TESTER_QUIET", hide_env = true)]
    pub quiet: bool,
}

impl ResultArgs {
    /// Whether JSON takes the place of the text.
    pub fn is_json(&self) -> bool {
        self.json.is_some() && self.json_file().is_none()
    }

    /// Whether people have to be told elsewhere than on standard output.
    pub fn is_taken(&self) -> bool {
        self.is_json() || self.output_file().is_some()
    }

    /// The file for JSON beside the text.
    pub fn json_file(&self) -> Option<&Path> {
        self.json.as_ref()?.as_deref().and_then(files::named)
    }

    /// The file in place of standard output.
    pub fn output_file(&self) -> Option<&Path> {
        self.output.as_deref().and_then(files::named)
    }

    /// To be called before the work, so that its result is not lost.
    ///
    /// # Errors
    /// A file can't be written: exit code 2.
    pub fn check(&self) -> anyhow::Result<()> {
        self.files().try_for_each(|(flag, file)| files::check(flag, file))
    }

    /// To be called before a run, and before anything that may end it: the same, and what an earlier run has written
    /// goes.
    ///
    /// # Errors
    /// A file can't be written: exit code 2.
    pub fn clear(&self) -> anyhow::Result<()> {
        self.files().try_for_each(|(flag, file)| files::clear(flag, file))
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let json = self.json_file().map(|file| ("json", file));
        json.into_iter().chain(self.output_file().map(|file| ("output", file)))
    }

    /// Writes a result to where it belongs: `text` for people, `json` for machines.
    ///
    /// # Errors
    /// A file or standard output can't be written.
    pub fn write(&self, text: &str, json: &str) -> anyhow::Result<()> {
        if let Some(file) = self.json_file() {
            files::write(file, json)?;
        }
        let result = if self.is_json() { json } else { text };
        match self.output_file() {
            Some(file) => files::write(file, result),
            None => print(result),
        }
    }
}
