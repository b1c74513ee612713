//! A result as JUnit XML, the form that CI systems read: a test suite per case, a test case per check.
//!
//! There is no standard; GitLab and others read what Jenkins reads (<https://llg.cubic.org/docs/junit/>). A test case
//! has the title of its case, since most systems show nothing else; what it checks besides the verdict follows the
//! title. Names hold no measured value, so that a system which follows a test from run to run finds it again. The form
//! has no word for a warning: a weak case is shown as skipped, with its reasons, so that it fails no build. Escape
//! sequences of terminals, and characters that XML can't hold, are left out.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::advice;
use super::case_text::NEEDS_WHOLE_RUN;
use super::finding_list;
use super::run::{LoadReport, RunReport};
use super::style::Style;
use super::suite::{CaseReport, SuiteReport, SuiteState};
use super::text::plain;
use crate::judge::check::CheckReport;
use crate::judge::outcome::CaseOutcome;

/// The class of every test: systems that sort tests by class show all of them together.
const CLASS: &str = "echo-tester";

/// The whole document.
pub(super) fn render(report: &SuiteReport) -> anyhow::Result<String> {
    let mut document = Report::new("echo-tester");
    document.set_time(report.cases.iter().map(CaseReport::elapsed).sum());
    document.add_test_suites(report.cases.iter().map(|case| suite(report.state, case)));
    Ok(document.to_string()?)
}

fn suite(state: SuiteState, case: &CaseReport) -> TestSuite {
    let mut suite = TestSuite::new(plain(&case.title()));
    suite.set_time(case.elapsed());
    suite.add_property(Property::new("grade", case.grade.name()));
    for property in &case.properties {
        let value = property.value.map_or_else(String::new, |value| value.to_string());
        suite.add_property(Property::new(plain(&property.metric), value));
    }
    if let Some(run) = &case.run {
        suite.extra.insert("timestamp".into(), run.started_at.as_str().into());
    }
    for (index, check) in case.checks.iter().enumerate() {
        let mut test = TestCase::new(plain(&test_name(case, check)), status(state, case, check));
        test.set_classname(CLASS);
        if !case.file.is_empty() {
            test.extra.insert("file".into(), plain(&case.file).into());
        }
        // All checks are about the same run: its time and its output count once.
        test.set_time(if index == 0 { case.elapsed() } else { Duration::ZERO });
        if index == 0 && !case.server_output.is_empty() {
            test.set_system_out(plain(&case.server_output.join("\n")));
        }
        suite.add_test_case(test);
    }
    suite
}

/// The title of the case, and what is checked besides its verdict.
fn test_name(case: &CaseReport, check: &CheckReport) -> String {
    if check.is_of_verdict() { case.title() } else { format!("{}: {}", case.title(), check.name) }
}

fn status(state: SuiteState, case: &CaseReport, check: &CheckReport) -> TestCaseStatus {
    let skipped = || {
        let mut status = TestCaseStatus::skipped();
        status.set_message(if case.run.is_some() { NEEDS_WHOLE_RUN.to_owned() } else { reasons(case) });
        status
    };
    // The case does not fail the run, so none of its checks may. The form has no word for it but 'skipped'.
    let outcome = match case.outcome {
        outcome if outcome.is_excused() && !check.outcome.is_good() => outcome,
        CaseOutcome::Stale if check.is_of_verdict() => CaseOutcome::Stale,
        _ => check.outcome,
    };
    let kind = match outcome {
        CaseOutcome::Pass | CaseOutcome::Info => return TestCaseStatus::success(),
        CaseOutcome::Known | CaseOutcome::Expected | CaseOutcome::BackendsOwn => {
            let mut status = TestCaseStatus::skipped();
            status.set_type(outcome.name()).set_message(format!("{}: {}", outcome.name(), reasons(case)));
            status.set_description(plain(&body(case, check)));
            return status;
        }
        CaseOutcome::Skipped | CaseOutcome::Unsupported => return skipped(),
        CaseOutcome::Weak => {
            let mut status = TestCaseStatus::skipped();
            status.set_type("weak").set_message(plain(&format!("weak: {}", check.sentence())));
            status.set_description(plain(&body(case, check)));
            return status;
        }
        // There is a failure or an error already. In any other state, a report that broke off must not look complete.
        CaseOutcome::NotRun if matches!(state, SuiteState::Stopped | SuiteState::NoServer | SuiteState::NoEcho) => {
            return skipped();
        }
        CaseOutcome::Fail | CaseOutcome::Stale | CaseOutcome::ThresholdMissed => NonSuccessKind::Failure,
        CaseOutcome::Inconclusive | CaseOutcome::Interrupted | CaseOutcome::NotRun => NonSuccessKind::Error,
    };
    // If nothing could be looked at, the reason is what counts.
    let message =
        if check.actual.is_none() || outcome == CaseOutcome::Stale { reasons(case) } else { plain(&check.sentence()) };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(outcome.name().to_lowercase()).set_message(message);
    status.set_description(plain(&body(case, check)));
    status
}

/// The reasons on one line.
fn reasons(case: &CaseReport) -> String {
    let reasons = plain(&case.reasons.join("; "));
    reasons.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// The reasons, the findings, the command that runs the case again, and where to look.
fn body(case: &CaseReport, check: &CheckReport) -> String {
    let mut parts = vec![case.reasons.join("\n")];
    if let Some(run) = &case.run {
        parts.extend(
            loads_of(check, &case.checks, run)
                .into_iter()
                .map(|load| finding_list::of_load(run, load, usize::MAX, Style::PLAIN)),
        );
    }
    parts.extend(case.replay.as_ref().map(|replay| format!("replay: {replay}")));
    parts.push(advice::of(case).to_owned());
    let parts: Vec<&str> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

/// The load groups whose findings belong to a check: its own, or all of them for the verdict of a case that has no
/// check for each.
fn loads_of<'r>(check: &CheckReport, checks: &[CheckReport], report: &'r RunReport) -> Vec<&'r LoadReport> {
    let has_groups = checks.iter().any(|check| check.load().is_some());
    let belongs = |load: &&LoadReport| match check.load() {
        Some(name) => load.name == name,
        None => check.is_of_verdict() && !has_groups,
    };
    report.loads.iter().filter(belongs).collect()
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::events::{BytesStart, Event};

    use super::*;
    use crate::report::sample;

    /// Every element that is opened, in the order of the document. Panics if the text is not XML.
    fn elements(text: &str) -> Vec<BytesStart<'_>> {
        let mut reader = Reader::from_str(text);
        let mut elements = Vec::new();
        loop {
            match reader.read_event().unwrap_or_else(|error| panic!("{error} in\n{text}")) {
                Event::Start(element) | Event::Empty(element) => elements.push(element),
                Event::Eof => return elements,
                _ => {}
            }
        }
    }

    fn count(elements: &[BytesStart<'_>], name: &str) -> usize {
        elements.iter().filter(|element| element.name().as_ref() == name.as_bytes()).count()
    }

    #[test]
    fn it_is_well_formed_and_counts_what_it_holds() {
        let report = sample::suite();
        let text = render(&report).expect("a result can be rendered");
        let elements = elements(&text);
        let checks: usize = report.cases.iter().map(|case| case.checks.len()).sum();
        let counts = ["testsuite", "testcase", "failure", "error", "skipped", "system-out"];
        let counts = counts.map(|name| count(&elements, name));
        assert_eq!(counts, [report.cases.len(), checks, 3, 2, 3, 1]);
        let root = elements.first().expect("there is a root");
        for (name, value) in [("tests", checks), ("failures", 3), ("errors", 2), ("skipped", 3)] {
            let attribute = root.try_get_attribute(name).expect("well-formed").expect(name);
            assert_eq!(attribute.value.as_ref(), value.to_string().as_bytes(), "{name}");
        }
    }

    #[test]
    fn a_case_that_was_not_run_is_an_error_except_under_fail_fast() {
        let (stopped, interrupted) = (SuiteState::Stopped, SuiteState::Interrupted);
        for (why, name, other) in [(stopped, "skipped", "error"), (interrupted, "error", "skipped")] {
            let mut report = SuiteReport::new(vec![sample::not_run()]);
            report.end(why);
            let text = render(&report).expect("a result can be rendered");
            let elements = elements(&text);
            assert_eq!((count(&elements, name), count(&elements, other)), (1, 0), "{text}");
        }
    }

    #[test]
    fn a_check_of_the_whole_run_is_skipped_in_a_part_of_it() {
        let mut case = sample::missed();
        case.checks[1].outcome = CaseOutcome::Skipped;
        let text = render(&SuiteReport::new(vec![case])).expect("a result can be rendered");
        assert!(text.contains("<skipped message=\"about the whole run, of which"), "{text}");
    }

    #[test]
    fn a_check_without_a_result_says_why() {
        let mut case = sample::not_run();
        case.record_no_run(CaseOutcome::Inconclusive, "it did not start; it said:\n      no\n      port");
        let text = render(&SuiteReport::new(vec![case])).expect("a result can be rendered");
        assert!(text.contains("message=\"it did not start; it said: no port\""), "{text}");
    }

    #[test]
    fn characters_that_xml_can_not_hold_are_left_out() {
        let text = render(&sample::suite()).expect("a result can be rendered");
        // The production Char of XML 1.0; a char is never a surrogate.
        let is_allowed = |letter: char| match letter {
            '\t' | '\n' | '\r' => true,
            '\u{fffe}' | '\u{ffff}' => false,
            letter => letter >= ' ',
        };
        assert!(text.chars().all(is_allowed), "{text:?}");
        assert!(text.contains("the server said") && !text.contains("<script>"), "{text}");
    }

    #[test]
    fn the_names_are_the_same_however_the_case_went() {
        let names = |case: CaseReport| {
            let text = render(&SuiteReport::new(vec![case])).expect("a result can be rendered");
            let tests = elements(&text).into_iter().filter(|element| element.name().as_ref() == b"testcase");
            let name = |test: BytesStart<'_>| {
                ["classname", "name"].map(|name| {
                    let attribute = test.try_get_attribute(name).expect("well-formed").expect(name);
                    String::from_utf8_lossy(&attribute.value).into_owned()
                })
            };
            tests.map(name).collect::<Vec<_>>()
        };
        let failed = sample::fail();
        let mut skipped = CaseReport { run: None, outcome: CaseOutcome::Skipped, ..failed.clone() };
        for check in &mut skipped.checks {
            (check.actual, check.outcome) = (None, CaseOutcome::Skipped);
        }
        assert_eq!(names(failed), names(skipped));
    }
}
