//! Several targets, or a proxy and its backend, side by side: a row for each, a letter for each case.

use std::fmt::Write as _;

use super::style::Style;
use super::suite::{CaseReport, SuiteReport};
use crate::judge::outcome::{CaseOutcome, OUTCOMES};

/// Columns of a target's name; a longer one loses its beginning, since ends tell targets apart.
const MAX_NAME_COLUMNS: usize = 28;

/// A row: its name, and the outcome of each case.
struct Row {
    name: String,
    outcomes: Vec<CaseOutcome>,
}

/// The lines and the grid of all targets; nothing if there is only one server to look at.
pub(super) fn render(report: &SuiteReport, style: Style) -> Option<String> {
    let (cases, rows, lines) = match report.cases.iter().any(|case| case.direct.is_some()) {
        true => (report.cases.iter().collect(), both_ways(&report.cases), String::new()),
        false => {
            let targets = targets(report)?;
            let first = of_target(report, targets[0]).collect::<Vec<_>>();
            let row = |target: &&str| Row {
                name: (*target).to_owned(),
                outcomes: of_target(report, target).map(|case| case.outcome).collect(),
            };
            let lines =
                targets.iter().map(|target| format!("{target}: {}\n", SuiteReport::count(of_target(report, target))));
            (first, targets.iter().map(row).collect(), format!("{}\n", lines.collect::<String>()))
        }
    };
    Some(format!("{lines}{}{}", grid(&sections(&cases), &rows, style), legend(&rows)))
}

/// The targets in their order, if the cases have several.
fn targets(report: &SuiteReport) -> Option<Vec<&str>> {
    let mut targets: Vec<&str> = Vec::new();
    for target in report.cases.iter().filter_map(|case| case.target.as_deref()) {
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    (!targets.is_empty()).then_some(targets)
}

fn of_target<'r>(report: &'r SuiteReport, target: &'r str) -> impl Iterator<Item = &'r CaseReport> + Clone {
    report.cases.iter().filter(move |case| case.target.as_deref() == Some(target))
}

/// A proxy, its backend, and what follows from both.
fn both_ways(cases: &[CaseReport]) -> Vec<Row> {
    let row = |name: &str, of: fn(&CaseReport) -> CaseOutcome| Row {
        name: name.to_owned(),
        outcomes: cases.iter().map(of).collect(),
    };
    vec![
        row("through the proxy", |case| case.direct.as_ref().map_or(case.outcome, |direct| direct.through)),
        row("directly", |case| case.direct.as_ref().map_or(CaseOutcome::NotRun, |direct| direct.outcome)),
        row("the proxy's own", |case| case.outcome),
    ]
}

/// The cases of each section, in their order: those whose ids have the same beginning.
fn sections(cases: &[&CaseReport]) -> Vec<(String, usize)> {
    let mut sections: Vec<(String, usize)> = Vec::new();
    for case in cases {
        let section = case.id.split('.').next().unwrap_or_default();
        match sections.last_mut() {
            Some((last, count)) if last == section => *count += 1,
            _ => sections.push((section.to_owned(), 1)),
        }
    }
    sections
}

/// The grid. If it is too wide, it is several grids, one below the other.
fn grid(sections: &[(String, usize)], rows: &[Row], style: Style) -> String {
    let width = rows.iter().map(|row| shortened(&row.name).chars().count()).max().unwrap_or(0);
    let room = style.columns().saturating_sub(width + 1);
    let mut text = String::new();
    let mut from = 0;
    let mut rest = pieces(sections, room).into_iter().peekable();
    while rest.peek().is_some() {
        let mut columns = 0;
        let mut block = Vec::new();
        while let Some((section, count)) = rest.next_if(|(_, count)| block.is_empty() || columns + 1 + count <= room) {
            columns += 1 + count;
            block.push((section, count));
        }
        let heading: String = block.iter().map(|(section, count)| format!(" {section:<count$.count$}")).collect();
        let _ = writeln!(text, "{}", format!("{:width$}{heading}", "").trim_end());
        for row in rows {
            let mut at = from;
            let _ = write!(text, "{:<width$}", shortened(&row.name));
            for (_, count) in &block {
                let letters: String = row.outcomes[at..at + count].iter().map(|outcome| letter(*outcome)).collect();
                let _ = write!(text, " {letters}");
                at += count;
            }
            text.push('\n');
        }
        from += block.iter().map(|(_, count)| count).sum::<usize>();
    }
    text
}

/// The sections, with those that are wider than a line divided.
fn pieces(sections: &[(String, usize)], room: usize) -> Vec<(String, usize)> {
    let most = room.saturating_sub(1).max(1);
    let divided = |(section, count): &(String, usize)| {
        let section = section.clone();
        (0..*count).step_by(most).map(|from| (section.clone(), most.min(count - from))).collect::<Vec<_>>()
    };
    sections.iter().flat_map(divided).collect()
}

fn shortened(name: &str) -> String {
    let length = name.chars().count();
    if length <= MAX_NAME_COLUMNS {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length + 1 - MAX_NAME_COLUMNS).collect();
    format!("…{end}")
}

/// The letters that occur, with their meanings.
fn legend(rows: &[Row]) -> String {
    let occurs = |outcome: CaseOutcome| rows.iter().any(|row| row.outcomes.contains(&outcome));
    let known = OUTCOMES.iter().filter(|row| occurs(row.outcome));
    let meanings: Vec<String> =
        known.map(|row| format!("{} {}", letter(row.outcome), row.name.to_lowercase())).collect();
    meanings.join(" · ")
}

fn letter(outcome: CaseOutcome) -> char {
    match outcome {
        CaseOutcome::Pass => '.',
        CaseOutcome::Fail => 'F',
        CaseOutcome::ThresholdMissed => 'M',
        CaseOutcome::Stale => 'S',
        CaseOutcome::Known => 'k',
        CaseOutcome::Expected => 'e',
        CaseOutcome::BackendsOwn => 'b',
        CaseOutcome::Inconclusive => '?',
        CaseOutcome::Weak => 'w',
        CaseOutcome::Info => 'i',
        CaseOutcome::Unsupported => 'u',
        CaseOutcome::Skipped => 's',
        CaseOutcome::Interrupted => '!',
        CaseOutcome::NotRun => '-',
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::report::sample;

    /// Cases of this many sections with this many cases each, against each target.
    fn report(targets: &[&str], sections: usize, cases: usize) -> SuiteReport {
        let case = |target: &str, section: usize, n: usize| {
            let outcome = if n == 1 { CaseOutcome::Fail } else { CaseOutcome::Pass };
            let case = sample::cases(&[outcome]).remove(0);
            CaseReport { id: format!("{section}.{n}"), target: Some(target.to_owned()), ..case }
        };
        let of_target = |target: &&str| {
            let target = (*target).to_owned();
            (1..=sections)
                .flat_map(move |s| (1..=cases).map(move |n| (s, n)))
                .map(move |(s, n)| case(&target, s, n))
                .collect::<Vec<_>>()
        };
        SuiteReport::new(targets.iter().flat_map(of_target).collect())
    }

    #[test]
    fn each_target_has_a_line_and_a_row_with_a_letter_for_each_case() {
        let text =
            render(&report(&["127.0.0.1:7001", "example.com:80"], 3, 3), Style::PLAIN).expect("there are two targets");
        insta::assert_snapshot!(text, @r"
        127.0.0.1:7001: 9 cases: 6 passed, 3 failed
        example.com:80: 9 cases: 6 passed, 3 failed

                       1   2   3
        127.0.0.1:7001 F.. F.. F..
        example.com:80 F.. F.. F..
        . pass · F fail
        ");
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_and_every_case_is_there() {
        let long = "a-very-long-name.of.a.host.in.some.cluster.example.com:12345";
        for (sections, cases) in [(1, 200), (10, 9), (60, 1), (5, 77)] {
            let text =
                render(&report(&[long, "b:1"], sections, cases), Style::new(80, false)).expect("there are two targets");
            let grid: Vec<&str> = text.lines().skip_while(|line| !line.is_empty()).collect();
            assert!(grid.iter().all(|line| line.chars().count() <= 80), "{text}");
            let letters = grid.iter().filter_map(|line| line.strip_prefix("b:1 ")).flat_map(str::chars);
            assert_eq!(letters.filter(|letter| ".F".contains(*letter)).count(), sections * cases, "{text}");
        }
        assert_eq!(render(&sample::suite(), Style::PLAIN), None, "one server needs no grid");
    }

    #[test]
    fn every_outcome_has_its_own_letter() {
        let letters: BTreeSet<char> = OUTCOMES.iter().map(|row| letter(row.outcome)).collect();
        assert_eq!(letters.len(), OUTCOMES.len());
    }
}
