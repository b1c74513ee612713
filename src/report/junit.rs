//! A result as JUnit XML, the form that CI systems read: a test suite a scenario, a test case a check.
//!
//! There is no standard; what Jenkins reads (<https://llg.cubic.org/docs/junit/>) is what GitLab and others read too.
//! Names hold no figure that is measured, so that a system which follows a test from run to run finds it again.
//! Characters that XML can't hold, and escape sequences of terminals, are left out.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::check::{CheckReport, OF_THE_WHOLE, loads_of};
use super::suite::{Came, CaseReport, State, SuiteReport};
use super::{plain, terminal};

/// The whole document.
pub(super) fn render(report: &SuiteReport) -> anyhow::Result<String> {
    let mut document = Report::new("echo-tester");
    document.set_time(report.cases.iter().map(CaseReport::elapsed).sum());
    document.add_test_suites(report.cases.iter().map(|case| suite(report.state, case)));
    Ok(document.to_string()?)
}

fn suite(state: State, case: &CaseReport) -> TestSuite {
    let mut suite = TestSuite::new(plain(&case.title()));
    suite.set_time(case.elapsed());
    if let Some(run) = &case.run {
        suite.extra.insert("timestamp".into(), run.started_at.as_str().into());
    }
    for (index, check) in case.checks.iter().enumerate() {
        let mut test = TestCase::new(plain(&check.name), status(state, case, check));
        test.set_classname(plain(&case.title()));
        if !case.file.is_empty() {
            test.extra.insert("file".into(), plain(&case.file).into());
        }
        // The checks look at one and the same run: its time counts once, and its output stands once.
        test.set_time(if index == 0 { case.elapsed() } else { Duration::ZERO });
        if index == 0 && !case.server_output.is_empty() {
            test.set_system_out(plain(&case.server_output.join("\n")));
        }
        suite.add_test_case(test);
    }
    suite
}

fn status(state: State, case: &CaseReport, check: &CheckReport) -> TestCaseStatus {
    let skipped = || {
        let mut status = TestCaseStatus::skipped();
        status.set_message(if case.run.is_some() { OF_THE_WHOLE.to_owned() } else { reasons(case) });
        status
    };
    let kind = match check.outcome {
        Came::Pass => return TestCaseStatus::success(),
        Came::Skipped => return skipped(),
        // It was asked for, and there is a failure already. Otherwise a report that broke off would look as if it were
        // complete.
        Came::NotRun if state == State::Stopped => return skipped(),
        Came::Fail | Came::ThresholdMissed => NonSuccessKind::Failure,
        Came::Inconclusive | Came::Interrupted | Came::NotRun => NonSuccessKind::Error,
    };
    // Where nothing could be looked at, what counts is why.
    let message = if check.actual.is_none() { reasons(case) } else { plain(&check.sentence()) };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(check.outcome.name().to_lowercase()).set_message(message);
    status.set_description(plain(&body(case, check)));
    status
}

/// In one line.
fn reasons(case: &CaseReport) -> String {
    let reasons = plain(&case.reasons.join("; "));
    reasons.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Why, what was found, how to run it again, and what to look at.
fn body(case: &CaseReport, check: &CheckReport) -> String {
    let mut parts = vec![case.reasons.join("\n")];
    if let Some(run) = &case.run {
        parts.extend(loads_of(check, &case.checks, run).into_iter().map(|load| terminal::findings(load, usize::MAX)));
    }
    parts.extend(case.replay.as_ref().map(|replay| format!("replay: {replay}")));
    parts.push(case.about.clone());
    let parts: Vec<&str> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::events::{BytesStart, Event};

    use super::*;
    use crate::report::sample;

    /// Every element that is opened, in the order of the document. What is not XML panics.
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
        let text = render(&report).expect("it can be shown");
        let elements = elements(&text);
        let checks: usize = report.cases.iter().map(|case| case.checks.len()).sum();
        let counts = ["testsuite", "testcase", "failure", "error", "skipped", "system-out"];
        let counts = counts.map(|name| count(&elements, name));
        assert_eq!(counts, [report.cases.len(), checks, 3, 2, 1, 1]);
        let root = elements.first().expect("there is a root");
        for (name, value) in [("tests", checks), ("failures", 3), ("errors", 2), ("skipped", 1)] {
            let attribute = root.try_get_attribute(name).expect("well-formed").expect(name);
            assert_eq!(attribute.value.as_ref(), value.to_string().as_bytes(), "{name}");
        }
    }

    #[test]
    fn what_was_not_run_is_an_error_but_for_fail_fast() {
        for (why, name, other) in [(State::Stopped, "skipped", "error"), (State::Interrupted, "error", "skipped")] {
            let mut report = SuiteReport::new(vec![sample::not_run()]);
            report.end(why);
            let text = render(&report).expect("it can be shown");
            let elements = elements(&text);
            assert_eq!((count(&elements, name), count(&elements, other)), (1, 0), "{text}");
        }
    }

    #[test]
    fn a_check_of_the_whole_is_skipped_in_a_part_of_it() {
        let mut case = sample::missed();
        case.checks[1].outcome = Came::Skipped;
        let text = render(&SuiteReport::new(vec![case])).expect("it can be shown");
        assert!(text.contains("<skipped message=\"about the whole run, of which"), "{text}");
    }

    #[test]
    fn a_check_that_nothing_could_be_seen_of_says_why() {
        let mut case = sample::not_run();
        case.without_run(Came::Inconclusive, "it did not start; it said:\n      no\n      port");
        let text = render(&SuiteReport::new(vec![case])).expect("it can be shown");
        assert!(text.contains("message=\"it did not start; it said: no port\""), "{text}");
    }

    #[test]
    fn what_xml_can_not_hold_is_left_out() {
        let text = render(&sample::suite()).expect("it can be shown");
        // The production Char of XML 1.0; a char is no surrogate.
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
            let text = render(&SuiteReport::new(vec![case])).expect("it can be shown");
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
        let mut skipped = CaseReport { run: None, outcome: Came::Skipped, ..failed.clone() };
        for check in &mut skipped.checks {
            (check.actual, check.outcome) = (None, Came::Skipped);
        }
        assert_eq!(names(failed), names(skipped));
    }
}
