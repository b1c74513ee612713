//! The rounds of a comparison as CSV (RFC 4180): a line for each round of each server at each point, plain numbers in
//! the units of the JSON. What is not known is empty.

use super::compare::{ComparePoint, CompareReport, Contender};
use super::compare_figures::Figure;
use super::compare_round::Round;

/// The document.
pub fn csv(report: &CompareReport) -> String {
    let before = ["axis", "value", "server", "round", "outcome"];
    let after = ["server_cpu_s", "client_cpu_s", "client_was_bottleneck", "machine_was_full", "elapsed_s", "findings"];
    let header = before.into_iter().chain(Figure::ALL.iter().map(|figure| figure.key())).chain(after);
    let mut lines = vec![header.collect::<Vec<_>>().join(",")];
    for (point, contender) in report.contenders() {
        for (number, round) in (1..).zip(&contender.rounds) {
            lines.push(line(report, point, contender, (number, round)));
        }
    }
    lines.join("\r\n")
}

fn line(report: &CompareReport, point: &ComparePoint, contender: &Contender, (number, round): (u64, &Round)) -> String {
    let axis = report.sweep.as_ref().map(|sweep| sweep.axis.clone()).unwrap_or_default();
    let mut cells = vec![
        axis,
        quoted(point.value.as_deref().unwrap_or_default()),
        quoted(&contender.name),
        number.to_string(),
        round.outcome.name().to_owned(),
    ];
    cells.extend(Figure::ALL.iter().map(|figure| or_empty(*round.figures.get(*figure))));
    cells.extend([
        or_empty(round.server_cpu_s),
        or_empty(round.client_cpu_s),
        or_empty(round.client_was_bottleneck),
        or_empty(round.machine_was_full),
        round.elapsed_s.to_string(),
        round.kinds.values().copied().fold(0, u64::saturating_add).to_string(),
    ]);
    cells.join(",")
}

fn or_empty(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::compare::tests::{compared, contender, swept};

    #[test]
    fn every_round_has_a_line_with_a_cell_for_each_column() {
        let report = compared(vec![contender("mine, \"too\"", &[100.0, 110.0])]);
        let text = csv(&report);
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with(",,\"mine, \"\"too\"\"\",1,pass,100,102400,"), "{}", lines[1]);
        assert_eq!(lines[1].matches(',').count(), lines[0].matches(',').count() + 1, "one stands in the name");
    }

    #[test]
    fn each_line_of_a_sweep_carries_its_value() {
        let text = csv(&swept(&["10", "100"]));
        let starts: Vec<String> =
            text.split("\r\n").skip(1).map(|line| line.split(',').take(4).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(starts[0], "conns 10 epoll 1");
        assert_eq!(starts.last().map(String::as_str), Some("conns 100 select 3"));
        assert_eq!(starts.len(), 2 * 2 * 3);
    }
}
