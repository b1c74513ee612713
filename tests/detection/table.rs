//! Prints the result of the reconciliation.

#![expect(clippy::print_stdout, reason = "the table is printed for people who run the test with --nocapture")]

use echo_tester::server::fault::FaultRecord;
use echo_tester::stream::Finding;

use super::reconcile::{Reconciled, Verdict};

#[derive(Default)]
struct ResultRow {
    cases: usize,
    injected: usize,
    detected: usize,
    named: usize,
    placed: usize,
    together: usize,
    exact: usize,
    unexplained: usize,
}

impl ResultRow {
    fn add(&mut self, result: &Reconciled) {
        let count = |worst| result.faults.iter().filter(|(_, verdict, _)| *verdict <= worst).count();
        self.cases += 1;
        self.injected += result.faults.len();
        self.detected += count(Verdict::Misnamed);
        self.named += count(Verdict::Misplaced);
        self.together += count(Verdict::Together) - count(Verdict::Equal);
        self.placed += count(Verdict::Together);
        self.exact += count(Verdict::Exact);
        self.unexplained += result.unexplained.len();
    }

    fn print(&self, name: &str) {
        let ResultRow { cases, injected, detected, named, placed, exact, together, unexplained } = self;
        println!(
            "| {name} | {cases} | {injected} | {detected} | {named} | {placed} | {exact} | {together} | {unexplained} |"
        );
    }
}

/// Prints two tables in Markdown, of the same cases: a row for each kind of fault, and a row for each load.
pub(crate) fn print<'r>(results: impl Iterator<Item = (&'r str, &'r str, &'r Reconciled)>) {
    let mut kinds: Vec<(&str, ResultRow)> = Vec::new();
    let mut loads: Vec<(&str, ResultRow)> = Vec::new();
    let mut all = ResultRow::default();
    for (kind, load, result) in results {
        row(&mut kinds, kind).add(result);
        row(&mut loads, load).add(result);
        all.add(result);
    }
    for (title, rows) in [("fault", &kinds), ("load", &loads)] {
        println!(
            "| {title} | cases | injected | detected | named right | placed right | to the byte | together | \
             unexplained |"
        );
        println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        rows.iter().for_each(|(name, row)| row.print(name));
        all.print("**all**");
        println!();
    }
}

/// The row with this name; a new one goes to the end.
fn row<'t, 'r>(rows: &'t mut Vec<(&'r str, ResultRow)>, name: &'r str) -> &'t mut ResultRow {
    let n = rows.iter().position(|(known, _)| *known == name).unwrap_or(rows.len());
    if n == rows.len() {
        rows.push((name, ResultRow::default()));
    }
    &mut rows[n].1
}

/// A log entry in one line.
pub(crate) fn record(record: &FaultRecord) -> String {
    serde_json::to_string(record).expect("a record can always be written as JSON")
}

/// A finding in one line.
pub(crate) fn sentence(finding: &Finding) -> String {
    let found = &finding.divergence;
    let source = found.source.map(|source| format!(" from {} at {}", source.conn, source.offset)).unwrap_or_default();
    let local = finding.local.as_deref().unwrap_or("?");
    format!(
        "{} on {} ({local}) at {}, {} bytes, {} replaced, {} before them{source}, {:?}, after {:.0} ms",
        found.kind.name(),
        found.conn,
        found.offset,
        found.extent,
        found.replaced,
        found.overtaken_by,
        found.detail,
        finding.at_ms,
    )
}
