//! The cases of a suite as one table: a row opens and shows the whole case. Those that did not pass come first, the
//! others are grouped by the sections of their ids, and filters show those of one outcome.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::findings;
use super::parts::{Depth, block, class, command, of_server, slug};
use super::run;
use crate::judge::check::CheckReport;
use crate::judge::grade::Grade;
use crate::judge::outcome::{CaseOutcome, OUTCOMES};
use crate::report::advice;
use crate::report::case_text::{columns, directly, has_unmet_checks, name_in_table, paragraphs, server_output};
use crate::report::quantity::UNKNOWN;
use crate::report::suite::{CaseReport, SuiteReport};
use crate::report::text::{plain, show_count};

/// From this number of cases on, only those that did not pass have plots: a page of thousands would be slow.
const MOST_WITH_PLOTS: usize = 120;

/// The anchors of the cases: `case-4.1`. Each is there once.
pub(super) fn anchors(report: &SuiteReport) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let anchor = |case: &CaseReport| {
        let named = if case.id.is_empty() { slug(&case.name) } else { slug(&case.id) };
        let whole = slug(&case.title());
        let numbered = (2..).map(|n| format!("case-{whole}-{n}"));
        let mut names = [format!("case-{named}"), format!("case-{whole}")].into_iter().chain(numbered);
        names.find(|name| taken.insert(name.clone())).unwrap_or_default()
    };
    report.cases.iter().map(anchor).collect()
}

/// The table.
pub(super) fn render(report: &SuiteReport, anchors: &[String]) -> Markup {
    let all: Vec<(&CaseReport, &String)> = report.cases.iter().zip(anchors).collect();
    let (bad, good): (Vec<_>, Vec<_>) = all.iter().partition(|(case, _)| is_first(case));
    let is_large = report.cases.len() > MOST_WITH_PLOTS;
    let row = |(case, anchor): &(&CaseReport, &String)| {
        row(case, anchor, if is_large && !is_first(case) { Depth::WithoutPlots } else { Depth::Whole })
    };
    html! {
        section.cases {
            (filters(report))
            div.head { span { "verdict" } span { "case" } span { "time" } span { "verified" } span { "rtt p99" } }
            @if !bad.is_empty() {
                h2.group { "Not passed" }
                @for case in &bad { (row(case)) }
            }
            @for (name, cases) in groups(&good) {
                h2.group { (name) }
                @for case in &cases { (row(case)) }
            }
        }
    }
}

/// Whether a case is among those that come first: it did not pass, or missed something that its grade excuses. Those
/// that were not run have nothing to show.
fn is_first(case: &CaseReport) -> bool {
    match case.outcome {
        CaseOutcome::NotRun => false,
        CaseOutcome::Info => has_unmet_checks(case),
        outcome => !outcome.is_good(),
    }
}

/// The cases by section: the first part of their ids.
fn groups<'c>(cases: &[(&'c CaseReport, &'c String)]) -> Vec<(String, Vec<(&'c CaseReport, &'c String)>)> {
    let mut groups: Vec<(String, Vec<_>)> = Vec::new();
    for case in cases {
        let section = case.0.id.split('.').next().unwrap_or_default();
        let target = of_server(case.0).map_or_else(String::new, |(_, server)| format!(" · {}", plain(server)));
        let name = if section.is_empty() { format!("Cases{target}") } else { format!("Section {section}{target}") };
        match groups.last_mut() {
            Some((last, of_group)) if *last == name => of_group.push(*case),
            _ => groups.push((name, vec![*case])),
        }
    }
    groups
}

/// A filter for each outcome that occurs. They work without script; the field for words needs it.
fn filters(report: &SuiteReport) -> Markup {
    let count = |outcome| report.cases.iter().filter(|case| case.outcome == outcome).count();
    let rows = OUTCOMES.iter().map(|row| (row, count(row.outcome))).filter(|(_, count)| *count > 0);
    let rows: Vec<_> = rows.collect();
    html! {
        @if rows.len() > 1 {
            div.filters role="group" aria-label="Show" {
                label { input type="radio" name="show" id="show-all" checked; "all " (report.cases.len()) }
                @for (row, count) in &rows {
                    label {
                        input type="radio" name="show" id={ "show-" (slug(row.name)) };
                        span.(class(row.outcome)) { (row.name) } " " (show_count(*count as u64))
                    }
                }
                input.find type="search" placeholder="words in a case" aria-label="Show only cases with these words";
            }
        }
    }
}

/// The rules of the filters: with a filter chosen, the cases of other outcomes are hidden.
pub(super) fn filter_rules() -> String {
    let rule = |name: &str| {
        let slug = slug(name);
        format!(
            "body:has(#show-{slug}:checked) .case:not(.is-{slug}),body:has(#show-{slug}:checked) .group{{display:none}}\n"
        )
    };
    OUTCOMES.iter().map(|row| rule(row.name)).collect()
}

fn row(case: &CaseReport, anchor: &str, depth: Depth) -> Markup {
    let columns = columns(case);
    let why = why(case);
    html! {
        details.case.{ "is-" (slug(case.outcome.name())) } id=(anchor) {
            summary {
                span.verdict.(class(case.outcome)) { (case.outcome.name()) }
                span.name {
                    @if !case.id.is_empty() { b { (plain(&case.id)) } " " }
                    (plain(&name_in_table(case)))
                    @if case.grade != Grade::Must { " " span.tag { (case.grade.name()) } }
                    (directly(case))
                    @if let Some(why) = &why { span.why { (plain(why)) } }
                }
                @for (name, figure) in [("time", columns.time), ("verified", columns.verified), ("p99", columns.rtt_p99)] {
                    span.figure data-name=(name) { (figure) }
                }
            }
            div.body { (body(case, depth)) }
        }
    }
}

/// Why it did not pass, on one line: what was found, or else the first reason that says more than the verdict.
fn why(case: &CaseReport) -> Option<String> {
    if case.outcome == CaseOutcome::Pass {
        return None;
    }
    let found = case.run.as_ref().filter(|run| run.answered.is_none()).and_then(findings::headline);
    let first_line = |reason: &String| reason.lines().next().unwrap_or_default().to_owned();
    let reasons = reasons(case);
    found.filter(|_| !case.outcome.is_left_out()).or_else(|| reasons.first().map(first_line))
}

/// The reasons that say more than the word of the verdict.
pub(super) fn reasons(case: &CaseReport) -> Vec<String> {
    let of_verdict = case.checks.iter().find(|check| check.is_of_verdict()).map(CheckReport::sentence);
    let says_more = |reason: &&String| Some(*reason) != of_verdict.as_ref();
    case.reasons.iter().filter(says_more).cloned().collect()
}

/// What a row shows when it is open.
fn body(case: &CaseReport, depth: Depth) -> Markup {
    let about = if case.outcome.is_good() { &case.about } else { advice::of(case) };
    // The lines of the source are no lines of a page: it breaks them where it must.
    let about = paragraphs(about.trim());
    html! {
        @for line in about.lines().filter(|line| !line.trim().is_empty()) { p.about { (plain(line)) } }
        @if case.outcome != CaseOutcome::Pass && !case.reasons.is_empty() {
            ul { @for reason in &reasons(case) { li { (plain(reason)) } } }
        }
        (command("Run it again", case.replay.as_deref().unwrap_or_default()))
        @if let Some(run) = &case.run { (run::notes(run)) (run::found(run)) }
        (checks(case))
        @if let Some(direct) = &case.direct {
            h4 { "Straight at the backend " (plain(&direct.target)) ": " (direct.outcome.name()) }
            ul { @for reason in &direct.reasons { li { (plain(reason)) } } }
            (command("Run it there again", direct.replay.as_deref().unwrap_or_default()))
            @if let Some(run) = &direct.run { (run::found(run)) }
        }
        (block("The server said", &server_output(case)))
        @if let Some(run) = &case.run { (run::figures(run, depth)) }
        @if !case.file.is_empty() { p.aside { (plain(&case.file)) } }
    }
}

/// The expectations and what came of them.
pub(super) fn checks(case: &CaseReport) -> Markup {
    html! {
        @if !case.checks.is_empty() {
            div.wide {
                table {
                    tr { th { "check" } th { "expected" } th { "actual" } th {} }
                    @for check in &case.checks {
                        tr {
                            td { (plain(&check.name)) }
                            td { (plain(&check.expected)) }
                            td { (check.actual.as_deref().map_or(UNKNOWN.to_owned(), plain)) }
                            td.(class(check.outcome)) { (check.outcome.name()) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn those_that_did_not_pass_come_first_and_the_others_by_section() {
        let report = sample::suite();
        let page = render(&report, &anchors(&report)).into_string();
        let order: Vec<usize> = ["Not passed", "two groups", "many messages", "Section 1", "one byte"]
            .iter()
            .map(|word| page.find(word).unwrap_or_else(|| panic!("no {word}")))
            .collect();
        assert!(order.is_sorted(), "{order:?}");
        assert_eq!(page.matches("<details class=\"case").count(), report.cases.len());
        assert!(!page.contains("<details class=\"case is-pass\" id=\"case-1.1\" open"), "a row is closed at first");
    }

    #[test]
    fn every_outcome_has_a_filter_and_its_rule() {
        let all: Vec<CaseOutcome> = OUTCOMES.iter().map(|row| row.outcome).collect();
        let report = SuiteReport::new(sample::cases(&all));
        let (page, rules) = (render(&report, &anchors(&report)).into_string(), filter_rules());
        for row in OUTCOMES {
            let slug = slug(row.name);
            assert!(page.contains(&format!("id=\"show-{slug}\"")), "{slug}");
            assert!(page.contains(&format!("class=\"case is-{slug}\"")), "{slug}");
            assert!(rules.contains(&format!("body:has(#show-{slug}:checked) .case:not(.is-{slug})")), "{slug}");
        }
    }

    #[test]
    fn every_case_has_an_anchor_of_its_own() {
        let report = SuiteReport::new(sample::cases(&[CaseOutcome::Pass; 4]));
        let anchors = anchors(&report);
        assert_eq!(anchors, ["case-1.1", "case-1.1-n", "case-1.1-n-2", "case-1.1-n-3"]);
    }
}
