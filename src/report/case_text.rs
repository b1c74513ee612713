//! A case as text: the lines that the terminal shows when it ends, and the parts that several documents share.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::advice;
use super::closing::{self, Closing};
use super::finding_list;
use super::remarks;
use super::style::Style;
use super::suite::{CaseReport, DirectReport, SuiteReport};
use super::target_grid;
use super::terminal;
use super::text::{both_ends, hanging, show_bytes, show_count, show_time, visible};
use crate::judge::check::CheckReport;
use crate::judge::metric_unit::MetricUnit;
use crate::judge::outcome::CaseOutcome;
use crate::judge::property::Property;
use crate::measure::Counters;
use crate::units::counted;

/// Lines of a server's output that documents show people, the first and the last ones; JSON and JUnit hold all of it.
const DOCUMENT_LINES: (usize, usize) = (15, 35);
/// Lines of it that the terminal shows, if the server ended on its own.
const TERMINAL_LINES: (usize, usize) = (4, 6);
/// Characters that are shown of each of these lines.
const MAX_OUTPUT_COLUMNS: usize = 500;
/// Findings of a load group that the terminal shows of a case.
const MAX_FINDINGS: usize = 3;
/// Why a check of a case that ran was skipped.
pub(super) const NEEDS_WHOLE_RUN: &str = "about the whole run, of which --only-conn or --shard runs a part";

/// The columns of a table of cases besides the name; empty if there was no run.
#[derive(Default)]
pub(super) struct CaseColumns {
    /// How long the run took.
    pub(super) time: String,
    /// Bytes that were verified.
    pub(super) verified: String,
    /// Of the slowest load group.
    pub(super) rtt_p99: String,
}

/// The columns of a table of cases besides the name.
pub(super) fn columns(case: &CaseReport) -> CaseColumns {
    let Some(run) = &case.run else { return CaseColumns::default() };
    // Percentiles of several groups can't be added up: the slowest group is what a reader should see.
    let rtt_p99 = run.loads.iter().filter_map(|load| load.rtt.p99_ns).max();
    CaseColumns {
        time: show_time(run.elapsed()),
        verified: show_bytes(run.total.bytes_verified as f64),
        rtt_p99: terminal::show_nanos(rtt_p99),
    }
}

/// The metrics that the case reports: `buffered.max 5.1 MiB, rtt.p50 38.1 µs`.
pub(super) fn properties(case: &CaseReport) -> String {
    case.properties.iter().map(property).collect::<Vec<_>>().join(", ")
}

fn property(property: &Property) -> String {
    let shown = property.value.map(|value| match property.unit {
        MetricUnit::Time => show_time(Duration::from_nanos(value as u64)),
        MetricUnit::Count => show_count(value as u64),
        MetricUnit::Bytes => show_bytes(value),
        MetricUnit::BytesPerSecond => format!("{}/s", show_bytes(value)),
        MetricUnit::PerSecond => format!("{value:.1}/s"),
    });
    format!("{} {}", property.metric, shown.as_deref().unwrap_or("not measured"))
}

/// The name and what the case reports, in a table.
pub(super) fn name_in_table(case: &CaseReport) -> String {
    match case.properties.is_empty() {
        true => case.name.clone(),
        false => format!("{}: {}", case.name, properties(case)),
    }
}

/// Whether the case, whose grade excuses it, missed anything that it looks for.
pub(super) fn has_unmet_checks(case: &CaseReport) -> bool {
    case.checks.iter().any(|check| matches!(check.outcome, CaseOutcome::Info | CaseOutcome::Weak))
}

/// The beginning and the end of a server's output, for a document.
pub(super) fn server_output(case: &CaseReport) -> String {
    lines_of_output(case, DOCUMENT_LINES).join("\n")
}

fn lines_of_output(case: &CaseReport, most: (usize, usize)) -> Vec<String> {
    let lines = both_ends(&case.server_output, most);
    lines.iter().map(|line| line.chars().take(MAX_OUTPUT_COLUMNS).collect()).collect()
}

/// The last lines of a suite: which cases did not pass, what was found, what to do next, and the verdict with the
/// counts. Cases that were not run are only counted.
pub fn last_lines(report: &SuiteReport, closing: &Closing, style: Style) -> String {
    let mut text = String::new();
    for case in bad(report) {
        let line = format!("  {} {}", outcome(case.outcome, style), visible(&case.title()));
        let _ = writeln!(text, "{}", hanging(&line, &" ".repeat(2 + OUTCOME_COLUMNS + 1), style));
    }
    text.extend(found(report).map(|found| hanging(&format!("found: {found}"), "  ", style) + "\n"));
    if let Some(grid) = target_grid::render(report, style) {
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}{}\n", visible(&grid));
    }
    text.extend(closing.files(style));
    // A single case has told its own just before.
    let is_one_of_many = report.cases.iter().filter(|case| case.outcome != CaseOutcome::NotRun).nth(1).is_some();
    if let Some((id, replay)) =
        worst(report).filter(|_| is_one_of_many).and_then(|case| Some((&case.id, case.replay.as_ref()?)))
    {
        let what = format!("replay {}", visible(id));
        text.push_str(&closing::command(what.trim_end(), replay, style));
    }
    text + &closing::verdict_line(report.verdict(), &report.summary(), style)
}

/// The cases that did not pass.
fn bad(report: &SuiteReport) -> impl Iterator<Item = &CaseReport> {
    report.cases.iter().filter(|case| !case.outcome.is_good() && case.outcome != CaseOutcome::NotRun)
}

/// The case to run again first; `None` if all passed, or the user stopped them.
pub(super) fn worst(report: &SuiteReport) -> Option<&CaseReport> {
    let worst = bad(report).find(|case| case.outcome == CaseOutcome::Fail).or_else(|| bad(report).next());
    worst.filter(|case| case.outcome != CaseOutcome::Interrupted)
}

/// `3 × lost in 2 cases; descriptors left open in 21 cases`; `None` if nothing was found.
pub(super) fn found(report: &SuiteReport) -> Option<String> {
    let (mut sum, mut count, mut left) = (Counters::default(), 0, BTreeMap::<&str, u64>::new());
    for case in bad(report) {
        advice::left_behind(case).into_iter().for_each(|what| *left.entry(what).or_default() += 1);
        if let Some(run) = case.run.as_ref().filter(|run| !run.total.findings.is_empty()) {
            sum.add(&run.total);
            count += 1;
        }
    }
    let found = (count > 0).then(|| format!("{} in {}", closing::kinds(&sum), counted(count, "case")));
    let left = left.into_iter().map(|(what, cases)| format!("{what} in {}", counted(cases, "case")));
    let all: Vec<String> = found.into_iter().chain(left).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Columns of an outcome.
const OUTCOME_COLUMNS: usize = 12;

/// An outcome in its colour, with the blanks after it.
fn outcome(outcome: CaseOutcome, style: Style) -> String {
    let room = OUTCOME_COLUMNS.saturating_sub(outcome.name().len());
    format!("{}{}", style.paint(outcome.into(), outcome.name()), " ".repeat(room))
}

/// The text that is shown when a case ends: a line, and if it did not pass, the reasons, the load groups, the findings,
/// the command that runs it again, and where to look.
pub fn line(case: &CaseReport, style: Style) -> String {
    let elapsed = case.run.as_ref().map_or_else(String::new, |run| format!(" ({})", show_time(run.elapsed())));
    let directly = directly(case);
    let mut head = format!("{:<4} {}{elapsed}{directly}", case.id, case.name);
    if !case.properties.is_empty() {
        let _ = write!(head, ": {}", properties(case));
    }
    let head = format!("{} {}", outcome(case.outcome, style), visible(&head));
    let mut text = hanging(&head, &" ".repeat(OUTCOME_COLUMNS + 6), style);
    let mut parts: Vec<String> = Vec::new();
    let within = style.indented(PART_INDENT.len());
    let is_plain = match case.outcome {
        CaseOutcome::Info => !has_unmet_checks(case),
        outcome => outcome == CaseOutcome::Pass,
    };
    if !is_plain {
        parts.extend(case.reasons.iter().map(|reason| reason_lines(reason, within)));
    }
    parts.extend(skipped_checks(case).map(|skipped| foreign(&skipped, within)));
    let remarks = case.run.iter().flat_map(remarks::of);
    parts.extend(remarks.map(|remark| foreign(&format!("note: {remark}"), within)));
    if !case.outcome.is_good() {
        parts.extend(last_words_of_server(case, within));
        parts.extend(case.run.iter().filter(|run| run.loads.len() > 1).map(|run| terminal::groups(run, within)));
    }
    let loads = case.run.iter().flat_map(|run| run.loads.iter().map(move |load| (run, load)));
    parts.extend(loads.filter(|_| !is_plain).map(|(run, load)| finding_list::briefly(run, load, MAX_FINDINGS, within)));
    if !case.outcome.is_good() {
        parts.extend(case.replay.as_ref().map(|replay| closing::command("replay", replay, style)));
        // Where to look when the case fails is no advice where its server was not there, or the user stopped it.
        let has_run = match case.outcome {
            CaseOutcome::Inconclusive => case.run.is_some(),
            outcome => outcome != CaseOutcome::Interrupted,
        };
        parts.extend(has_run.then(|| foreign(&paragraphs(advice::of(case)), within)));
    }
    for line in parts.iter().flat_map(|part| part.trim_end().lines()) {
        // GitHub Actions reads a line that begins with '::' as a command, even after blanks.
        let mark = if line.trim_start().starts_with("::") { "| " } else { "" };
        text.push('\n');
        text.push_str(format!("{PART_INDENT}{mark}{line}").trim_end());
    }
    text
}

/// What stands before each line below a case.
const PART_INDENT: &str = "    ";

/// Lines of somebody else, each a paragraph.
fn foreign(text: &str, style: Style) -> String {
    text.lines().map(|line| hanging(&visible(line), "  ", style)).collect::<Vec<_>>().join("\n")
}

/// A text with a line for each paragraph. A file breaks its lines where it likes; the terminal is of another width. A
/// line goes on with the paragraph before it, unless it begins with a label ('Look at: '), a bullet or a blank.
pub(super) fn paragraphs(text: &str) -> String {
    let has_label = |line: &str| {
        let label = line.split_once(": ").map_or("", |(label, _)| label);
        label.starts_with(char::is_uppercase) && label.split(' ').count() <= 2
    };
    let begins = |line: &str| line.is_empty() || line.starts_with([' ', '\t', '-', '*']) || has_label(line);
    let mut joined = String::new();
    for line in text.lines() {
        match joined.chars().last() {
            None => {}
            Some(last) if last == '\n' || begins(line) => joined.push('\n'),
            Some(_) => joined.push(' '),
        }
        joined.push_str(line);
    }
    joined
}

/// Both columns of a case that ran through a proxy and straight at its backend.
pub(super) fn directly(case: &CaseReport) -> String {
    let both =
        |direct: &DirectReport| format!(" · proxy: {}, directly: {}", direct.through.name(), direct.outcome.name());
    case.direct.as_deref().map_or_else(String::new, both)
}

/// The checks that were skipped although the case ran.
fn skipped_checks(case: &CaseReport) -> Option<String> {
    let skipped = case.checks.iter().filter(|check| case.run.is_some() && check.outcome == CaseOutcome::Skipped);
    let names: Vec<&str> = skipped.map(|check| check.name.as_str()).collect();
    (!names.is_empty()).then(|| format!("not evaluated: {} ({})", names.join(", "), NEEDS_WHOLE_RUN))
}

/// A reason. Its further lines are somebody else's output, and are marked as such.
fn reason_lines(reason: &str, style: Style) -> String {
    let mut lines = reason.lines();
    let first = foreign(lines.next().unwrap_or_default(), style);
    lines.map(|line| line.trim_start().trim_start_matches("| ")).fold(first, |text, line| text + &quoted(line, style))
}

/// A line of a server, marked as such, after a line break.
fn quoted(line: &str, style: Style) -> String {
    format!("\n{}", hanging(&visible(&format!("| {line}")), "| ", style))
}

/// The output of a server that ended on its own, which may say why. If a server did not start, the reasons
/// hold its output.
fn last_words_of_server(case: &CaseReport, style: Style) -> Option<String> {
    let died = |check: &CheckReport| check.is_of_server() && check.outcome == CaseOutcome::Fail;
    if case.run.is_none() || !case.checks.iter().any(died) || !advice::left_behind(case).is_empty() {
        return None;
    }
    if case.server_output.is_empty() {
        // The output of a server that somebody else started was not seen.
        let is_ours = case.run.as_ref().is_some_and(|run| run.server.is_some());
        return is_ours.then(|| "the server said nothing".to_owned());
    }
    let lines = lines_of_output(case, TERMINAL_LINES);
    Some(lines.iter().fold("the server said:".to_owned(), |text, line| text + &quoted(line, style)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_paragraph_are_joined_and_labels_and_bullets_begin_one() {
        let text = "Proves: one\ntwo: three.\nLook at: four\nRFC 862 and\n- five\nsix\n\nseven\neight";
        let joined = "Proves: one two: three.\nLook at: four RFC 862 and\n- five six\n\nseven eight";
        assert_eq!(paragraphs(text), joined);
        assert_eq!(paragraphs(""), "");
    }
    use crate::report::sample;

    #[test]
    fn the_output_of_a_server_does_nothing_to_a_terminal_or_a_log() {
        let mut case = sample::fail();
        case.name = "\u{1b}[2Jcleared".to_owned();
        case.about = "::warning::about".to_owned();
        case.reasons = vec!["it did not start; it said:\n      ::error::a\n      ##[error]b\u{1b}[31m".to_owned()];
        let server = |outcome| CheckReport { name: "server".to_owned(), outcome, ..case.checks[0].clone() };
        let (died, alive) = (server(CaseOutcome::Fail), server(CaseOutcome::Pass));
        case.server_output = (0..12).map(|n| format!("  ::error::line {n}")).collect();
        case.checks.push(died);
        let text = line(&case, Style::PLAIN);
        assert!(text.starts_with("FAIL         4.1  \\u{1b}[2Jcleared"), "{text}");
        assert!(text.contains("it said:\n    | ::error::a\n    | ## [error]b\\u{1b}[31m\n"), "{text}");
        assert!(text.contains("the server said:\n    |   ::error::line 0\n"), "{text}");
        assert!(text.contains("line 3\n    | (the lines between are not shown)\n    |   ::error::line 6\n"), "{text}");
        assert!(text.contains("    | ::warning::about"), "{text}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("::")), "{text}");
        case.checks.pop();
        case.checks.push(alive);
        assert!(!line(&case, Style::PLAIN).contains("line 11"), "it has not died");
    }

    #[test]
    fn checks_that_a_part_of_a_run_skips_are_listed_even_if_it_passed() {
        let mut case = sample::missed();
        case.outcome = CaseOutcome::Pass;
        case.checks[1].outcome = CaseOutcome::Skipped;
        let text = line(&case, Style::PLAIN);
        assert!(
            text.ends_with(
                "\n    not evaluated: messages > 1k (about the whole run, of which --only-conn or --shard \
                               runs a part)"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_servers_keep_is_counted_by_cases_in_the_line_of_what_was_found() {
        let mut leaks = sample::fail();
        let left = "10 descriptors left open: 9 before the first connection".to_owned();
        let server = CheckReport { name: "server".to_owned(), actual: Some(left), ..leaks.checks[0].clone() };
        leaks.checks.push(server);
        let report = SuiteReport::new(vec![leaks.clone(), leaks]);
        let lines = last_lines(&report, &Closing::default(), Style::PLAIN);
        assert!(lines.contains("\nfound: 50 × corrupt in 2 cases; descriptors left open in 2 cases\n"), "{lines}");
    }

    #[test]
    fn a_case_that_reports_a_property_is_one_line_unless_it_found_something() {
        let mut case = sample::info();
        assert_eq!(
            line(&case, Style::PLAIN),
            "info         2.4  the room in the path (1.25 s): buffered.max 5.10 MiB, rtt.p50 not measured"
        );
        case.checks[0].outcome = CaseOutcome::Info;
        case.reasons = vec!["verdict: expected pass, got fail".to_owned()];
        assert!(
            line(&case, Style::PLAIN).ends_with("\n    verdict: expected pass, got fail"),
            "{}",
            line(&case, Style::PLAIN)
        );
        assert!(
            !last_lines(&SuiteReport::new(vec![case]), &Closing::default(), Style::PLAIN).contains('\n'),
            "it is not among those that failed"
        );
    }

    #[test]
    fn a_case_that_passed_is_one_line_and_one_that_failed_says_why() {
        let [passed, failed] = &sample::cases(&[CaseOutcome::Pass, CaseOutcome::Fail])[..] else {
            unreachable!("two in, two out")
        };
        assert_eq!(line(passed, Style::PLAIN), "pass         1.1  n");
        assert_eq!(line(failed, Style::PLAIN), "FAIL         1.1  n\n    why\n    replay: again\n    Look there.");
        let report = SuiteReport::new(sample::cases(&[CaseOutcome::Pass, CaseOutcome::Pass, CaseOutcome::Skipped]));
        assert_eq!(report.summary(), "3 cases: 2 passed, 1 skipped");
        assert_eq!(SuiteReport::new(sample::cases(&[CaseOutcome::Fail])).summary(), "1 case: failed");
    }
}
