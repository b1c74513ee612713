//! The report as people read it on a terminal. Made of a [`RunReport`] and of nothing else.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::run::{LoadReport, RunReport};
use super::{show_bytes, show_count, show_time};
use crate::measure::histogram::LatencyReport;

/// The whole report, ending in the verdict.
pub fn render(report: &RunReport) -> String {
    let mut text = String::new();
    for load in &report.loads {
        if report.loads.len() > 1 {
            let _ = writeln!(text, "{}: {}", load.name, load.about);
        }
        let _ = writeln!(text, "{}\n", latencies(load));
    }
    let _ = writeln!(text, "{}\n", totals(report));
    for load in &report.loads {
        text.push_str(&findings(load, usize::MAX));
    }
    if let Some(note) = bottleneck(report) {
        let _ = writeln!(text, "{note}\n");
    }
    text.push_str(&verdict(report));
    text
}

/// A table without frames, the first column to the left and the figures to the right.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(Cell::new));
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn latencies(load: &LoadReport) -> String {
    let header = ["", "count", "p50", "p90", "p99", "p99.9", "max"];
    let row = |name: &str, latency: &LatencyReport| {
        let times = [latency.p50_ns, latency.p90_ns, latency.p99_ns, latency.p999_ns, latency.max_ns].map(nanos);
        [vec![name.to_owned(), show_count(latency.count)], times.to_vec()].concat()
    };
    let rows = vec![row("round trip", &load.rtt), row("first byte", &load.first_byte), row("connect", &load.connect)];
    trimmed(&table(&header, rows))
}

fn totals(report: &RunReport) -> String {
    let total = &report.total;
    let rate = |amount: u64| report.per_second(amount);
    let bytes_rate = rate(total.bytes_verified).map_or_else(String::new, |r| format!("{}/s", show_bytes(r)));
    let messages_rate = rate(total.messages_echoed).map_or_else(String::new, |r| format!("{}/s", show_count(r as u64)));
    let mut rows = vec![
        vec![
            "connections".to_owned(),
            show_count(total.opened),
            format!("{} passed, {} failed", show_count(total.passed), show_count(total.failed)),
        ],
        vec!["messages".to_owned(), show_count(total.messages_echoed), messages_rate],
        vec!["verified".to_owned(), show_bytes(total.bytes_verified as f64), bytes_rate],
        vec!["time".to_owned(), show_time(report.elapsed()), String::new()],
    ];
    if total.cut_short > 0 {
        rows[0][2].push_str(&format!(", {} cut short", show_count(total.cut_short)));
    }
    if let Some(server) = &report.server
        && let Some(counters) = &server.counters
    {
        let moved = format!("{} in, {} out", show_count(counters.bytes_in), show_count(counters.bytes_out));
        rows.push(vec!["server".to_owned(), server.model.clone(), format!("{moved} bytes")]);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index == 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    trimmed(&table)
}

/// The findings of a load group that were kept, `at_most` so many of them, and how many there are in all.
pub(super) fn findings(load: &LoadReport, at_most: usize) -> String {
    let mut text = String::new();
    let (kept, shown) = (load.findings.len(), load.findings.len().min(at_most));
    for finding in load.findings.iter().take(shown) {
        let _ = writeln!(text, "{}", super::finding::render(finding));
    }
    let counted = load.counters.findings_total();
    if counted > shown as u64 {
        let kinds: Vec<String> =
            load.counters.findings.iter().map(|(kind, n)| format!("{n} {}", kind.name())).collect();
        let more = if shown < kept { format!("--json holds {kept}") } else { "--findings N shows more".to_owned() };
        let _ = writeln!(
            text,
            "{} findings in all ({}); the first {shown} are shown, {more}\n",
            show_count(counted),
            kinds.join(", ")
        );
    }
    text
}

/// A line for each load group: which of them did what.
pub(super) fn groups(report: &RunReport) -> String {
    let header = ["load", "passed", "failed", "verified", "rtt p50", "rtt p99", "findings"];
    let row = |load: &LoadReport| {
        let LoadReport { name, counters, rtt, .. } = load;
        vec![
            name.clone(),
            show_count(counters.passed),
            show_count(counters.failed),
            show_bytes(counters.bytes_verified as f64),
            nanos(rtt.p50_ns),
            nanos(rtt.p99_ns),
            super::check::found(counters),
        ]
    };
    trimmed(&table(&header, report.loads.iter().map(row).collect()))
}

/// A time that may not have been measured.
pub(super) fn nanos(nanos: Option<u64>) -> String {
    nanos.map_or_else(|| "-".to_owned(), |n| show_time(Duration::from_nanos(n)))
}

fn bottleneck(report: &RunReport) -> Option<String> {
    (report.client.was_bottleneck == Some(true)).then(|| {
        let busy = report.client.busy.iter().flatten().copied().fold(0.0, f64::max);
        format!(
            "note: the client was the bottleneck (its busiest worker {:.0} % busy): the server may be faster than this",
            busy * 100.0
        )
    })
}

fn verdict(report: &RunReport) -> String {
    let mut text = format!("verdict: {}", report.verdict.outcome.name());
    for reason in &report.verdict.reasons {
        let _ = write!(text, "\n  {reason}");
    }
    text
}

fn trimmed(table: &Table) -> String {
    table.trim_fmt()
}
