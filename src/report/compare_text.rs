//! A comparison as text: the table of the terminal, the same in Markdown, and the rounds as CSV.

use std::fmt::Write as _;
use std::time::Duration;

use super::compare::{CompareReport, Contender, SkippedModel, Spread};
use super::finding;
use super::style::Style;
use super::table::Table;
use super::text::{show_bytes, show_count, show_time, visible, wrapped};
use crate::judge::outcome::CaseOutcome;

/// The columns that a narrow screen can do without, the first of them first.
const DISPENSABLE: [usize; 4] = [8, 4, 3, 5];

/// The columns of the table.
pub(super) const HEADER: [&str; 10] = [
    "server",
    "verdict",
    "round trips",
    "spread",
    "throughput",
    "p50",
    "p99",
    "CPU/1,000 messages",
    "CPU/GiB",
    "ratio",
];

/// The cells of a server's row.
pub(super) fn cells(contender: &Contender) -> Vec<String> {
    let mut cells = vec![contender.name.clone(), contender.outcome_name().to_owned()];
    let Some(figures) = &contender.figures else {
        cells.resize(HEADER.len(), "-".to_owned());
        return cells;
    };
    let time = |seconds: f64| show_time(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let or_none = |spread: Option<Spread>, unit: f64| spread.map_or_else(|| "-".to_owned(), |s| time(s.median * unit));
    cells.extend([
        format!("{}/s", show_count(figures.messages_per_s.median.round() as u64)),
        format!("{:.1} %", figures.messages_per_s.percent()),
        format!("{}/s", show_bytes(figures.bytes_per_s.median)),
        or_none(figures.rtt_p50_ns, 1e-9),
        or_none(figures.rtt_p99_ns, 1e-9),
        or_none(figures.server_cpu_s_per_1000_messages, 1.0),
        or_none(figures.server_cpu_s_per_gib, 1.0),
        contender.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
    ]);
    cells
}

/// The comparison as people read it on a terminal: the table, the first finding of each server that failed, and notes
/// on the figures.
pub fn render(report: &CompareReport, style: Style) -> String {
    let painted = |contender: &Contender| {
        let mut cells = cells(contender);
        cells[0] = visible(&cells[0]);
        cells[1] = style.paint(contender.outcome.into(), &cells[1]);
        cells
    };
    let table = Table::new(&HEADER, report.contenders.iter().map(painted).collect());
    let mut text = format!("{}\n", table.left(&[0, 1]).dispensable(&DISPENSABLE).render(style));
    for contender in report.contenders.iter().filter(|contender| contender.outcome != CaseOutcome::Pass) {
        let _ = write!(text, "\n{}: {}", contender.name, contender.outcome_name());
        contender.reasons.iter().for_each(|reason| {
            let _ = write!(text, "\n  {reason}");
        });
        text.push('\n');
        if let Some(finding) = contender.rounds.iter().flat_map(|round| &round.findings).next() {
            let _ = write!(text, "\n{}", finding::render(finding, style));
        }
    }
    for note in notes(report) {
        let _ = write!(text, "\n{}", wrapped(&note, style));
    }
    text.trim_end().to_owned()
}

/// What a reader of the figures must know.
pub(super) fn notes(report: &CompareReport) -> Vec<String> {
    let skipped = |skipped: &SkippedModel| format!("skipped: {}: {}", skipped.name, skipped.why);
    let mut notes: Vec<String> = report.skipped.iter().map(skipped).collect();
    let rounds_in = |count: fn(&Contender) -> u64| {
        let some = report.contenders.iter().filter(|contender| count(contender) > 0);
        let text =
            |contender: &Contender| format!("{} in {} of {}", contender.name, count(contender), contender.rounds.len());
        Some(some.map(text).collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
    };
    notes.extend(rounds_in(|contender| contender.client_was_bottleneck).map(|which| {
        format!(
            "note: the client had no CPU time left ({which} rounds), which hides how much faster a server is: compare the \
             CPU columns, or give the client more cores"
        )
    }));
    notes.extend(rounds_in(|contender| contender.machine_was_full).map(|which| {
        format!(
            "note: the machine had no CPU time left for client and server together ({which} rounds): on separate machines \
             the figures and their ratios may differ"
        )
    }));
    for contender in &report.contenders {
        for (number, round) in (1..).zip(&contender.rounds) {
            let Some(doubt) = &round.time_doubt else { continue };
            notes.push(format!(
                "note: in round {number} of {}, {doubt}: its figures are not those of the server",
                contender.name
            ));
        }
    }
    notes
}

/// The table in Markdown.
pub fn markdown(report: &CompareReport) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
    let mut text = format!("{}, seed {}\n\n", report.about, report.seed);
    text.push_str(&row(&HEADER.map(str::to_owned)));
    let aligned = HEADER.iter().enumerate().map(|(i, _)| if i < 2 { "---" } else { "---:" }.to_owned());
    text.push_str(&row(&aligned.collect::<Vec<_>>()));
    for contender in &report.contenders {
        let cells: Vec<String> = cells(contender).iter().map(|cell| cell.replace('|', "\\|")).collect();
        text.push_str(&row(&cells));
    }
    for note in notes(report) {
        let _ = write!(text, "\n{note}\n");
    }
    text.trim_end().to_owned()
}

/// The rounds as CSV (RFC 4180): a line for each round of each server, plain numbers in the units of the JSON.
pub fn csv(report: &CompareReport) -> String {
    let mut lines = vec![
        "server,round,outcome,messages_per_s,bytes_per_s,rtt_p50_ns,rtt_p99_ns,server_cpu_s,\
         server_cpu_s_per_1000_messages,server_cpu_s_per_gib,client_cpu_s,client_was_bottleneck,elapsed_s,machine_was_full"
            .to_owned(),
    ];
    for contender in &report.contenders {
        for (number, round) in contender.rounds.iter().enumerate() {
            fn or_empty(value: Option<impl ToString>) -> String {
                value.map_or_else(String::new, |value| value.to_string())
            }
            let cells = [
                quoted(&contender.name),
                (number + 1).to_string(),
                round.outcome.name().to_owned(),
                round.messages_per_s.to_string(),
                round.bytes_per_s.to_string(),
                or_empty(round.rtt_p50_ns),
                or_empty(round.rtt_p99_ns),
                or_empty(round.server_cpu_s),
                or_empty(round.server_cpu_s_per_1000_messages),
                or_empty(round.server_cpu_s_per_gib),
                or_empty(round.client_cpu_s),
                or_empty(round.client_was_bottleneck),
                round.elapsed_s.to_string(),
                or_empty(round.machine_was_full),
            ];
            lines.push(cells.join(","));
        }
    }
    lines.join("\r\n")
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::verdict::Verdict;
    use crate::report::compare::tests::{compared, contender, round};

    #[test]
    fn a_server_that_failed_is_shown_with_its_reasons() {
        let report = compared(vec![Contender::new("a".to_owned(), vec![round(Verdict::Fail, 2000.0)])]);
        assert!(render(&report, Style::PLAIN).contains("a: fail\n  why"), "{}", render(&report, Style::PLAIN));
    }

    #[test]
    fn the_tables_read_like_this() {
        let mut report = compared(vec![
            contender("epoll", &[100.0, 110.0]),
            contender("io-uring", &[200.0, 210.0]),
            Contender::new("mine, too".to_owned(), vec![round(Verdict::Inconclusive, 5.0)]),
        ]);
        report.skipped = vec![SkippedModel { name: "iocp".to_owned(), why: "it needs Windows".to_owned() }];
        insta::assert_snapshot!(render(&report, Style::PLAIN));
        insta::assert_snapshot!(markdown(&report));
        insta::assert_snapshot!(csv(&report));
    }
}
