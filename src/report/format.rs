//! The formats that a result is written in, as a table. A new format is a file beside this one and a row here; its
//! flag, its tests and the check that its file can be written follow from the row.

use super::suite::SuiteReport;
use super::{junit, markdown, page};

/// One row of [`FORMATS`].
pub struct Format {
    /// The flag's name.
    pub name: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// The flag's help.
    pub help: &'static str,
    /// The whole document.
    pub render: fn(&SuiteReport) -> anyhow::Result<String>,
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// JSON. It is not in the table because its flag is of another kind: it may go to standard output, and `blast` writes a
/// form of its own.
pub const JSON: Format = Format {
    name: "json",
    env: "ECHO_TESTER_JSON",
    help: "Write the result as JSON: to standard output in place of the text, or to FILE in addition to it",
    render: |report| Ok(serde_json::to_string_pretty(report)?),
};

/// The formats that go to files.
pub const FORMATS: &[Format] = &[
    Format {
        name: "junit",
        env: "ECHO_TESTER_JUNIT",
        help: "Write the result as JUnit XML, as CI systems read it: a test suite per case, a test per check",
        render: junit::render,
    },
    Format {
        name: "markdown",
        env: "ECHO_TESTER_MARKDOWN",
        help: "Write the result as Markdown: a table, and a section for each case that did not pass",
        render: |report| Ok(markdown::render(report)),
    },
    Format {
        name: "html",
        env: "ECHO_TESTER_HTML",
        help: "Write the result as one HTML page: verdict, findings, latencies, and the run over time",
        render: |report| Ok(page::suite(report)),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn all() -> impl Iterator<Item = &'static Format> {
        std::iter::once(&JSON).chain(FORMATS)
    }

    #[test]
    fn every_format_shows_the_same_result_like_this() {
        for format in all() {
            let text = (format.render)(&sample::suite()).expect("a result can be rendered");
            insta::assert_snapshot!(format.name, text);
        }
    }

    #[test]
    fn every_format_names_every_case_and_what_was_wrong() {
        for format in all() {
            let text = (format.render)(&sample::suite()).expect("a result can be rendered");
            for word in ["two groups", "--seed 7", "rtt.p99", "messages \u{3e} 1k", "does not run here", "Look at: "] {
                let escaped = [word.replace('>', "&gt;"), word.replace('>', "\\>"), word.replace('.', "\\.")];
                let shown = text.contains(word) || escaped.iter().any(|word| text.contains(word));
                assert!(shown, "{}: no '{word}' in\n{text}", format.name);
            }
        }
    }

    #[test]
    fn every_format_can_show_a_result_without_cases() {
        for format in all() {
            let text = (format.render)(&SuiteReport::new(Vec::new())).expect("a result can be rendered");
            assert!(!text.is_empty(), "{}", format.name);
        }
    }

    #[test]
    fn every_format_has_its_own_name_and_variable() {
        for format in all() {
            assert_eq!(format.env, format!("ECHO_TESTER_{}", format.name.to_uppercase()));
            assert_eq!(all().filter(|other| other.name == format.name).count(), 1);
        }
    }
}
