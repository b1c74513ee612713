//! The findings of a run, grouped by kind: a card for each kind, with the sum of its findings and some examples.

use maud::{Markup, html};

use super::hexdump;
use super::parts::command;
use crate::judge::verdict::Verdict;
use crate::report::closing;
use crate::report::finding::{heading, operations, sentences};
use crate::report::finding_list::{in_order, kind_line};
use crate::report::run::{LoadReport, RunReport};
use crate::report::style::Style;
use crate::report::text::{plain, show_count};
use crate::stream::{Finding, FindingKind};

/// Findings of a kind that are shown.
const EXAMPLES: usize = 3;

/// The findings of a kind in all loads.
struct Kind<'r> {
    kind: FindingKind,
    count: u64,
    /// The loads that have some, each with its count.
    loads: Vec<(&'r LoadReport, u64)>,
}

/// The kinds, in the order of their table.
fn kinds<'r>(run: &'r RunReport) -> Vec<Kind<'r>> {
    let counts = run.total.findings.iter().filter(|(_, count)| **count > 0);
    let of_kind = |(kind, count): (&FindingKind, &u64)| {
        let in_load = |load: &'r LoadReport| Some((load, *load.counters.findings.get(kind)?));
        Kind { kind: *kind, count: *count, loads: run.loads.iter().filter_map(in_load).collect() }
    };
    counts.map(of_kind).collect()
}

/// `122 × crosstalk on 20 of 20 connections`; `None` if that is not why the run came out as it did.
pub(super) fn headline(run: &RunReport) -> Option<String> {
    let is_why = run.verdict.outcome == Verdict::Fail && run.answered.is_none() && run.total.findings_total() > 0;
    is_why.then(|| closing::headline(run))
}

/// A card for each kind. The answers of a server that does not echo are only counted: the verdict says what they are.
pub(super) fn of(run: &RunReport) -> Markup {
    let examples = if run.answered.is_some() { 0 } else { EXAMPLES };
    html! { @for kind in &kinds(run) { (card(run, kind, examples)) } }
}

fn card(run: &RunReport, kind: &Kind<'_>, examples: usize) -> Markup {
    let name = kind.kind.name();
    let kept = kind.loads.iter().flat_map(|(load, _)| in_order(&load.findings, usize::MAX));
    let kept: Vec<&Finding> = kept.filter(|finding| finding.divergence.kind == kind.kind).collect();
    let shown = kept.len().min(examples);
    let more = match kept.len() as u64 {
        kept if shown as u64 == kind.count => format!("all {kept} are shown"),
        kept if kept > shown as u64 => {
            format!("{shown} of {} are shown; the JSON report holds {}", show_count(kind.count), show_count(kept))
        }
        _ => format!("{shown} of {} are shown; --findings N keeps more", show_count(kind.count)),
    };
    html! {
        article.card {
            h4 { span.bad { (name) } " " span.count { "× " (show_count(kind.count)) } }
            p { (kind.kind.described(run.backend.is_some())) }
            ul {
                @for (load, count) in &kind.loads {
                    @let line = kind_line(load, kind.kind, *count, Style::PLAIN);
                    li { @if run.loads.len() > 1 { (plain(&load.name)) ": " } (plain(&line)) }
                }
            }
            @for (n, finding) in kept.iter().take(shown).enumerate() { (example(finding, n == 0)) }
            @if kind.count > 1 { p.aside { (more) } }
        }
    }
}

/// One finding in full.
pub(super) fn example(finding: &Finding, is_first: bool) -> Markup {
    let before = operations(finding);
    html! {
        details.example open[is_first] {
            summary { (plain(&heading(&finding.divergence))) }
            p { (plain(&sentences(finding))) }
            (hexdump::of(&finding.divergence))
            @if !before.is_empty() {
                p.aside { "Before it, the oldest first:" }
                ol.before { @for operation in &before { li { (plain(operation)) } } }
            }
            @if let Some(replay) = &finding.replay { (command("Replay", replay)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn failed() -> RunReport {
        sample::fail().run.expect("it has run")
    }

    #[test]
    fn many_findings_of_a_kind_are_one_card_with_three_examples_the_first_of_them_open() {
        let page = of(&failed()).into_string();
        assert_eq!((page.matches("<article").count(), page.matches("<details").count()), (1, 3), "{page}");
        assert_eq!(page.matches(" open").count(), 1, "{page}");
        assert!(page.contains("3 of 25 are shown; the JSON report holds 5"), "{page}");
        assert!(page.contains("stalled: 25 × corrupt on 5 of 5 connections"), "{page}");
        assert!(page.contains("--only-conn 0"), "{page}");
    }

    #[test]
    fn a_headline_of_findings_is_that_of_a_run_that_failed_by_them() {
        let run = failed();
        assert_eq!(headline(&run).as_deref(), Some("25 × corrupt on 5 of 6 connections"));
        let expected = RunReport { verdict: sample::run(&["load"]).verdict, ..run };
        assert_eq!(headline(&expected), None, "they do not decide");
        assert_eq!(headline(&sample::run(&["load"])), None);
    }

    #[test]
    fn a_report_without_sums_has_its_cards_all_the_same() {
        let mut run = failed();
        run.loads[0].kinds.clear();
        assert!(of(&run).into_string().contains("stalled: 25 × corrupt</li>"));
    }
}
