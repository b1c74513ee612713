//! `report FILE`: renders an earlier result.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::console::{print, stdout_style};
use crate::output::files;
use crate::report::document::{self, DocumentError, ResultDocument};

/// The flags of `report`.
#[derive(Args, Debug)]
pub struct RenderArgs {
    /// A result that --json=FILE of blast, run, check, compare or merge wrote, or - for standard input
    #[arg(value_name = "RESULT")]
    result: PathBuf,

    /// Render it as one HTML page: to FILE, or to standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, env = "ECHO_TESTER_HTML", hide_env = true)]
    html: Option<Option<PathBuf>>,

    /// Render it as Markdown: to FILE, or to standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, env = "ECHO_TESTER_MARKDOWN", hide_env = true)]
    markdown: Option<Option<PathBuf>>,

    /// Render it as JUnit XML, as CI systems read it: to FILE, or to standard output; a comparison has none
    #[arg(long, value_name = "FILE", num_args = 0..=1, env = "ECHO_TESTER_JUNIT", hide_env = true)]
    junit: Option<Option<PathBuf>>,

    /// Render the rounds of a comparison as comma-separated values: to FILE, or to standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, env = "ECHO_TESTER_CSV", hide_env = true)]
    csv: Option<Option<PathBuf>>,
}

impl RenderArgs {
    /// The formats that were asked for, each with its file; without one it goes to standard output.
    fn wanted(&self) -> Vec<(&'static str, Option<&Path>)> {
        let all = [("html", &self.html), ("markdown", &self.markdown), ("junit", &self.junit), ("csv", &self.csv)];
        let given = all.into_iter().filter_map(|(name, given)| Some((name, given.as_ref()?)));
        given.map(|(name, file)| (name, file.as_deref().and_then(files::unless_stdout))).collect()
    }
}

/// Reads the result and renders it. The exit code says whether that worked, not what the result is.
///
/// # Errors
/// The file is no result, has no such form, or a file cannot be written: exit code 2.
pub fn run(args: &RenderArgs) -> anyhow::Result<Exit> {
    let wanted = args.wanted();
    let mut to_stdout = wanted.iter().filter(|(_, file)| file.is_none()).map(|(name, _)| name);
    if let (Some(first), Some(second)) = (to_stdout.next(), to_stdout.next()) {
        return Err(Failure::usage(format!(
            "--{first} and --{second} would both go to standard output: name a file for one of them: --{second} FILE"
        )));
    }
    let document = read(&args.result)?;
    if wanted.is_empty() {
        print(document.text(stdout_style()).trim_end())?;
    }
    let write = |(name, file): (&str, Option<&Path>)| {
        let text = document.render(name).map_err(|error| match error.downcast::<DocumentError>() {
            Ok(error) => Failure::usage(error.to_string()),
            Err(error) => error,
        })?;
        match file {
            Some(file) => files::write_before_run(name, file, &text),
            None => print(&text),
        }
    };
    // One file that cannot be written does not cost the others.
    let written: Vec<anyhow::Result<()>> = wanted.into_iter().map(write).collect();
    written.into_iter().collect::<anyhow::Result<()>>().map(|()| Exit::Pass)
}

/// The result in a file, or in standard input.
fn read(file: &Path) -> anyhow::Result<ResultDocument> {
    let (name, text) = match files::unless_stdout(file) {
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
            ("standard input".to_owned(), files::without_mark(text))
        }
        Some(file) => (file.display().to_string(), files::read("reading", file, files::MOST_RESULT)?),
    };
    document::read(&name, &text).map_err(|error| Failure::usage(error.to_string()))
}
