//! A result as Markdown, as GitHub shows it: a table, and a section for each case that did not pass.
//!
//! The dialect is GitHub Flavored Markdown (<https://github.github.com/gfm/>): a backslash before any ASCII punctuation
//! makes it plain text, even a pipe in a table's cell; a code block's fence is longer than any inside it.

use std::fmt::Write as _;

use super::advice;
use super::case_text::{columns, directly, has_unmet_checks, name_in_table, server_output};
use super::finding_list;
use super::quantity::UNKNOWN;
use super::style::Style;
use super::suite::{CaseReport, SuiteReport};
use super::text::plain;
use super::{target_grid, terminal};
use crate::judge::outcome::CaseOutcome;
use crate::units::counted;

/// The whole document.
pub(super) fn render(report: &SuiteReport) -> String {
    pieces(report).concat()
}

/// As much of the document as fits into `limit` bytes; if something is left out, the document says so.
pub(super) fn render_within(report: &SuiteReport, limit: usize) -> String {
    let pieces = pieces(report);
    let len: usize = pieces.iter().map(String::len).sum();
    if len <= limit {
        return pieces.concat();
    }
    let note =
        "\n*This is not all of it: there is no room for more. The files of --markdown and --html hold the rest.*\n";
    let mut text = String::new();
    for piece in pieces {
        if text.len() + piece.len() + note.len() > limit {
            break;
        }
        text.push_str(&piece);
    }
    if text.len() + note.len() <= limit {
        text.push_str(note);
    }
    text
}

/// The document in parts; it may end after any of them.
fn pieces(report: &SuiteReport) -> Vec<String> {
    let mut pieces = vec![format!(
        "## echo-tester: {}\n\n| verdict | grade | id | name | time | verified | rtt p99 |\n| --- | --- | --- | --- | ---: | ---: | ---: |\n",
        report.summary()
    )];
    pieces.extend(report.cases.iter().filter(|case| case.outcome != CaseOutcome::NotRun).map(row));
    pieces.extend(not_run(report));
    pieces.extend(target_grid::render(report, Style::PLAIN).map(|grid| block("Side by side", "text", &grid)));
    // The row says all there is to say of a case that was not run.
    let unmet = |case: &&CaseReport| match case.outcome {
        CaseOutcome::Info => has_unmet_checks(case),
        outcome => !outcome.is_good() && outcome != CaseOutcome::NotRun,
    };
    pieces.extend(report.cases.iter().filter(unmet).map(section));
    pieces
}

/// A row for all cases that were not run for the same reason, which would fill pages.
fn not_run(report: &SuiteReport) -> Vec<String> {
    let mut reasons: Vec<(String, u64)> = Vec::new();
    for case in report.cases.iter().filter(|case| case.outcome == CaseOutcome::NotRun) {
        let reason = case.reasons.join("; ");
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    let row = |(reason, count): &(String, u64)| {
        let name = escaped(format!("{} ({reason})", counted(*count, "case")));
        format!("| **{}** | | | {name} | | | |\n", CaseOutcome::NotRun.name())
    };
    reasons.iter().map(row).collect()
}

fn row(case: &CaseReport) -> String {
    let columns = columns(case);
    let verdict = match case.outcome {
        outcome if outcome.is_good() => outcome.name().to_owned(),
        outcome => format!("**{}**", outcome.name()),
    };
    let name = match case.outcome {
        outcome if outcome.is_left_out() => {
            format!("{} ({})", case.name, case.reasons.join("; "))
        }
        outcome if outcome.is_excused() => {
            format!("{}{} ({})", case.name, directly(case), case.reasons.first().map_or("", String::as_str))
        }
        _ => format!("{}{}", name_in_table(case), directly(case)),
    };
    let (grade, id, name) = (case.grade.name(), escaped(&case.id), escaped(&name));
    format!("| {verdict} | {grade} | {id} | {name} | {} | {} | {} |\n", columns.time, columns.verified, columns.rtt_p99)
}

fn section(case: &CaseReport) -> String {
    let mut text = format!("\n### {}: {}\n\n", case.outcome.name(), escaped(case.title()));
    for reason in &case.reasons {
        let _ = writeln!(text, "- {}", escaped(reason));
    }
    text.push_str("\n| check | expected | actual | |\n| --- | --- | --- | --- |\n");
    for check in &case.checks {
        let cells = [&check.name, &check.expected, check.actual.as_deref().unwrap_or(UNKNOWN)].map(escaped);
        let _ = writeln!(text, "| {} | {} |", cells.join(" | "), check.outcome.name());
    }
    let groups: String =
        case.run.iter().filter(|run| run.loads.len() > 1).map(|run| terminal::groups(run, Style::PLAIN)).collect();
    text.push_str(&block("Loads", "text", &groups));
    let loads = case.run.iter().flat_map(|run| run.loads.iter().map(move |load| (run, load)));
    let findings: String =
        loads.map(|(run, load)| finding_list::of_load(run, load, usize::MAX, Style::PLAIN)).collect();
    text.push_str(&block("Findings", "text", &findings));
    text.push_str(&block("Run it again", "sh", case.replay.as_deref().unwrap_or_default()));
    text.push_str(&block("The server said", "text", &server_output(case)));
    for line in advice::of(case).trim().lines() {
        let _ = write!(text, "\n> {}", escaped(line));
    }
    text.push('\n');
    text
}

/// A block of code under a heading; nothing if there is no code.
fn block(title: &str, language: &str, code: &str) -> String {
    let code = plain(code);
    if code.trim().is_empty() {
        return String::new();
    }
    let longest = code.split(|letter| letter != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat((longest + 1).max(3));
    format!("\n{title}:\n\n{fence}{language}\n{}\n{fence}\n", code.trim_end())
}

/// Text that stays plain text within a line or a cell.
fn escaped(text: impl AsRef<str>) -> String {
    let mut escaped = String::new();
    for letter in plain(text.as_ref()).trim().chars() {
        match letter {
            '\n' => escaped.push(' '),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&' | '$' => {
                escaped.extend(['\\', letter]);
            }
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_row_has_its_seven_cells_whatever_the_name_is() {
        let text = render(&sample::suite());
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
        let head = rows.iter().filter(|row| row.replace("\\|", "").matches('|').count() == 8);
        assert_eq!(head.count(), sample::suite().cases.len() + 2, "{text}");
    }

    #[test]
    fn a_fence_is_longer_than_any_inside_it() {
        let text = block("t", "text", "a ```` b");
        assert_eq!(text, "\nt:\n\n`````text\na ```` b\n`````\n");
    }

    #[test]
    fn a_part_that_does_not_fit_is_left_out_and_the_document_says_so() {
        let report = sample::suite();
        let whole = render(&report);
        assert_eq!(render_within(&report, whole.len()), whole);
        for limit in 0..whole.len() {
            let text = render_within(&report, limit);
            assert!(text.len() <= limit, "{} > {limit}", text.len());
            assert!(limit < 400 || text.contains("This is not all of it"), "{limit}: {text}");
            let fences = text.lines().filter(|line| line.starts_with("```")).count();
            assert!(fences.is_multiple_of(2), "a block is open: {text}");
        }
    }
}
