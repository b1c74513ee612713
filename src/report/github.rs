//! The forms that GitHub Actions reads besides files: annotations, which are lines of the log, and the summary of a
//! step.
//!
//! Workflow commands: <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>; their escapes:
//! `actions/toolkit`, packages/core/src/command.ts.

use super::markdown;
use super::suite::{CaseReport, SuiteReport};
use crate::judge::outcome::CaseOutcome;

/// Bytes that the summary of one step may hold. GitHub throws a longer one away as a whole.
pub const MAX_SUMMARY_BYTES: usize = 1 << 20;

/// The summary of a step, in a file that already holds `used` bytes.
pub fn summary(report: &SuiteReport, used: usize) -> String {
    markdown::render_within(report, MAX_SUMMARY_BYTES.saturating_sub(used))
}

/// The line that marks a case as failed, or warns of a weak one; nothing for a case in which nothing is wrong, or that
/// has no result. `place` is a
/// file of the repository and a line in it, counted from 1.
pub fn annotation(case: &CaseReport, place: Option<(&str, usize)>) -> Option<String> {
    if case.outcome.is_good() || case.outcome == CaseOutcome::NotRun {
        return None;
    }
    let title = property(&format!("{}: {}", case.outcome.name(), case.title()));
    let place = place.map_or_else(String::new, |(file, line)| format!(",file={},line={line}", property(file)));
    let replay = case.replay.as_ref().map(|replay| format!("replay: {replay}"));
    let lines: Vec<String> = case.reasons.iter().cloned().chain(replay).collect();
    let level = if case.outcome == CaseOutcome::Weak { "warning" } else { "error" };
    Some(format!("::{level} title={title}{place}::{}", message(&lines.join("\n"))))
}

fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn an_annotation_is_one_line_with_everything_escaped() {
        let mut case = sample::fail();
        case.name = "50 % of: all, and\nmore".to_owned();
        case.reasons = vec!["100 % wrong".to_owned(), "a: b, c".to_owned()];
        let line = annotation(&case, Some(("a,b:c.toml", 7))).expect("it failed");
        assert_eq!(
            line,
            "::error title=FAIL%3A 4.1 50 %25 of%3A all%2C and%0Amore,file=a%2Cb%3Ac.toml,line=7::\
             100 %25 wrong%0Aa: b, c%0Areplay: echo-tester run 'scenarios/4.1.toml' --seed 7"
        );
    }

    #[test]
    fn only_cases_that_did_not_pass_are_marked() {
        let marked: Vec<String> = sample::suite().cases.iter().filter_map(|case| annotation(case, None)).collect();
        let level = |line: &String| line.split_once(' ').map(|(level, _)| level.to_owned()).expect("it has a title");
        let levels: Vec<String> = marked.iter().map(level).collect();
        assert_eq!(levels, ["::error", "::error", "::warning", "::error"]);
    }

    #[test]
    fn a_summary_stays_within_the_limit_of_github() {
        let report = SuiteReport::new(vec![sample::fail(); 500]);
        let text = summary(&report, 1000);
        assert!(text.len() <= MAX_SUMMARY_BYTES - 1000 && text.len() > MAX_SUMMARY_BYTES / 2, "{}", text.len());
        assert!(text.contains("This is not all of it"));
    }
}
