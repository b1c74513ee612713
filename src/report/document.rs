//! An earlier result, read from the JSON that `--json` wrote: a run, a suite or a comparison. It is rendered as the
//! command that wrote it would have rendered it.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::case_text::{last_lines, line};
use super::closing::Closing;
use super::compare::CompareReport;
use super::format::FORMATS;
use super::run::RunReport;
use super::style::Style;
use super::suite::{CaseReport, SuiteReport, SuiteState};
use super::text::{visible, wrapped};
use super::{compare, compare_csv, compare_text, page, run, suite, terminal};

/// What to give instead of a file that is no result.
const REMEDY: &str = "give a file that --json=FILE of blast, run, check, compare or merge wrote";

/// A result.
#[derive(Debug)]
pub enum ResultDocument {
    /// Of `blast` or `merge`.
    Run(Box<RunReport>),
    /// Of `run` or `check`.
    Suite(Box<SuiteReport>),
    /// Of `compare`.
    Comparison(Box<CompareReport>),
}

/// Why a text is no result, or why it has no such form, with the file and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DocumentError(String);

/// The result in the text of a file. `file`: its name, for messages.
///
/// # Errors
/// The text is empty, is not JSON, is JSON of another kind or several results, or has a form that this version does not
/// know.
pub fn read(file: &str, text: &str) -> Result<ResultDocument, DocumentError> {
    let wrong = |problem: String| DocumentError(format!("{file} {problem}"));
    let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter::<Value>().collect();
    let mut values = values.map_err(|error| wrong(format!("is not JSON ({error}): {REMEDY}")))?;
    let value = match values.len() {
        0 => return Err(wrong(format!("is empty: that command wrote no result; {REMEDY}"))),
        1 => values.remove(0),
        several => {
            return Err(wrong(format!(
                "holds {several} results: give one; 'echo-tester merge' adds up those of the processes of one run"
            )));
        }
    };
    match value.get("form").and_then(Value::as_str) {
        Some(run::FORM) => parse(value).map(|report| ResultDocument::Run(Box::new(report))),
        Some(suite::FORM) => parse(value).map(|report| ResultDocument::Suite(Box::new(report))),
        Some(compare::FORM) => parse(value).map(|report| ResultDocument::Comparison(Box::new(report))),
        form => Err(unknown(form, &value)),
    }
    .map_err(wrong)
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    let form = value.get("form").and_then(Value::as_str).unwrap_or_default().to_owned();
    serde_json::from_value(value).map_err(|error| format!("says it is {form}, but cannot be read as that: {error}"))
}

/// Why a document of this form is not read.
fn unknown(form: Option<&str>, value: &Value) -> String {
    let kind = |form: &str| form.rsplit_once('/').map(|(kind, _)| kind.to_owned());
    match form {
        None => format!("is no result (it has no 'form'): {REMEDY}"),
        Some(form) if [run::FORM, suite::FORM, compare::FORM].iter().any(|known| kind(known) == kind(form)) => {
            let version = value.get("version").and_then(Value::as_str).unwrap_or("an unknown version");
            format!(
                "has the form {form}, written by echo-tester {version}, which this version ({}) does not know: use the \
                 version that wrote it",
                env!("CARGO_PKG_VERSION")
            )
        }
        Some(form) => format!("is no result (its form is {form}): {REMEDY}"),
    }
}

/// What `blast` says before it runs: what was run, against what.
fn head(report: &RunReport, style: Style) -> String {
    let target = match &report.server {
        Some(server) => format!("bundled server, {}", server.model),
        None => report.targets.join(", "),
    };
    wrapped(&visible(&format!("seed {}, target {target}, started {}", report.seed, report.started_at)), style)
}

impl ResultDocument {
    /// As the terminal shows it.
    pub fn text(&self, style: Style) -> String {
        match self {
            ResultDocument::Run(report) => {
                let replay = report.case.as_ref().and_then(|case| case.replay.clone());
                let text = terminal::render(report, &Closing { files: Vec::new(), replay }, style);
                format!("{}\n{text}", head(report, style))
            }
            ResultDocument::Suite(report) => {
                let cases: String = report.cases.iter().map(|case| format!("{}\n", line(case, style))).collect();
                format!("{cases}\n{}", last_lines(report, &Closing::default(), style))
            }
            ResultDocument::Comparison(report) => {
                let command = &report.setting.command;
                let replay = (!command.is_empty()).then(|| command.clone());
                compare_text::render(report, &Closing { files: Vec::new(), replay }, style)
            }
        }
    }

    /// In the format of this name: html, markdown, junit, csv.
    ///
    /// # Errors
    /// This kind of result has no such form.
    pub fn render(&self, format: &str) -> anyhow::Result<String> {
        if let ResultDocument::Comparison(report) = self {
            return match format {
                "html" => Ok(page::comparison(report)),
                "markdown" => Ok(compare_text::markdown(report)),
                "csv" => Ok(compare_csv::csv(report)),
                _ => Err(DocumentError(format!(
                    "--{format}: this is a comparison, which has no such form: use --html, --markdown or --csv"
                ))
                .into()),
            };
        }
        let Some(format) = FORMATS.iter().find(|row| row.name == format) else {
            return Err(DocumentError(format!(
                "--{format}: only a comparison has that form: use --html, --markdown or --junit"
            ))
            .into());
        };
        (format.render)(&self.cases())
    }

    /// The cases; a run is one.
    fn cases(&self) -> SuiteReport {
        match self {
            ResultDocument::Suite(report) => SuiteReport::clone(report),
            ResultDocument::Run(report) => {
                let mut suite = SuiteReport::new(vec![CaseReport::of_run(RunReport::clone(report))]);
                suite.end(if report.interrupted { SuiteState::Interrupted } else { SuiteState::Incomplete });
                SuiteReport { version: report.version.clone(), ..suite }
            }
            ResultDocument::Comparison(_) => SuiteReport::new(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::compare::tests::{compared, contender};
    use crate::report::sample;

    fn again<T: serde::Serialize>(report: &T) -> ResultDocument {
        read("r.json", &serde_json::to_string(report).expect("a result is JSON")).expect("it is read again")
    }

    #[test]
    fn a_suite_is_rendered_as_it_was() {
        let report = sample::suite();
        let document = again(&report);
        for format in FORMATS {
            let before = (format.render)(&report).expect("it can be rendered");
            assert_eq!(document.render(format.name).expect("it can be rendered"), before, "{}", format.name);
        }
        let text = document.text(Style::PLAIN);
        assert!(text.contains("FAIL         4.1") && text.contains("9 cases: 1 passed, 1 failed"), "{text}");
    }

    #[test]
    fn a_run_is_one_case_and_one_of_an_earlier_version_has_its_verdict() {
        let run = sample::fail().run.expect("it has run");
        let document = again(&run);
        let text = terminal::render(&run, &Closing::default(), Style::PLAIN);
        let head = "seed 7, target 127.0.0.1:7777, started 2026-01-31T12:00:00";
        let shown = document.text(Style::PLAIN);
        assert!(shown.starts_with(head) && shown.ends_with(&text), "{shown}");
        let page = document.render("html").expect("it can be rendered");
        assert!(page.contains("25 × corrupt on 5 of 6 connections") && page.contains("echo-tester 0.0.0"), "{page}");
        let junit = document.render("junit").expect("it can be rendered");
        assert!(junit.contains("blast 127.0.0.1:7777") && junit.contains("failures=\"1\""), "{junit}");
    }

    #[test]
    fn a_comparison_is_rendered_as_it_was_and_has_no_junit() {
        let report = compared(vec![contender("a", &[100.0, 120.0])]);
        let document = again(&report);
        assert_eq!(document.text(Style::PLAIN), compare_text::render(&report, &Closing::default(), Style::PLAIN));
        assert_eq!(document.render("csv").expect("it has one"), compare_csv::csv(&report));
        assert_eq!(document.render("markdown").expect("it has one"), compare_text::markdown(&report));
        assert_eq!(document.render("html").expect("it has one"), page::comparison(&report));
        let why = document.render("junit").expect_err("it has none").to_string();
        assert!(why.contains("use --html, --markdown or --csv"), "{why}");
        let why = again(&sample::suite()).render("csv").expect_err("it has none").to_string();
        assert!(why.contains("use --html, --markdown or --junit"), "{why}");
    }

    #[test]
    fn a_file_that_is_no_result_is_told_with_what_to_do() {
        let why = |text: &str| read("r.json", text).expect_err("it is no result").to_string();
        for (text, said) in [
            ("", "r.json is empty"),
            ("nothing listens", "r.json is not JSON (expected ident at line 1 column 2): give a file"),
            ("{\"form\": \"echo-tester/run/1\"", "r.json is not JSON (EOF"),
            ("{}", "r.json is no result (it has no 'form'): give a file"),
            ("[1]", "r.json is no result (it has no 'form'): give a file"),
            ("{\"form\": \"other/1\"}", "r.json is no result (its form is other/1): give a file"),
            ("{\"form\": \"echo-tester/suite/9\", \"version\": \"9.1\"}", "written by echo-tester 9.1, which this"),
            ("{\"form\": \"echo-tester/run/1\"}", "cannot be read as that: missing field `version`"),
            ("{} {}", "r.json holds 2 results: give one"),
        ] {
            assert!(why(text).contains(said), "{text}: {}", why(text));
        }
    }
}
