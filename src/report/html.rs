//! A result as one HTML page: no scripts, nothing to fetch, light or dark like the reader's system.
//!
//! maud escapes everything that is put into the page. Only the style below is written as raw text.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::case_text::{columns, directly, has_unmet_checks, name_in_table, server_output};
use super::run::{LoadReport, RunReport};
use super::style::Style;
use super::suite::{CaseReport, SuiteReport};
use super::text::plain;
use super::{chart, finding_list, target_grid, terminal, usage_chart};
use crate::judge::outcome::CaseOutcome;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #d8dee4; --good: #1a7f37; --bad: #cf222e;
  --so-so: #9a6700; --bytes: #8ec5ff; --time: #bc4c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #30363d; --good: #3fb950;
  --bad: #ff7b72; --so-so: #d29922; --bytes: #1f4f82; --time: #f0883e; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 70rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: start; padding: .25rem .75rem; border-bottom: 1px solid var(--faint); }
th.figure, td.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid var(--faint); border-radius: 6px; font-size: 13px; }
summary { cursor: pointer; font-weight: 600; margin: .5rem 0; }
a { color: inherit; }
.pass { color: var(--good); } .bad { color: var(--bad); font-weight: 600; } .so-so { color: var(--so-so); }
svg { width: 100%; max-width: 44rem; height: auto; display: block; }
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
svg .bytes { fill: var(--bytes); } svg .time { fill: none; stroke: var(--time); stroke-width: 1.5; }
svg .axis { stroke: var(--faint); }
";

/// The whole page.
pub(super) fn render(report: &SuiteReport) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "echo-tester: " (report.summary()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "echo-tester: " (report.summary()) }
                (overview(report))
                (block("Side by side", &target_grid::render(report, Style::PLAIN).unwrap_or_default()))
                @for (index, case) in report.cases.iter().enumerate() { (section(index, case)) }
                p { "echo-tester " (report.version) }
            }
        }
    };
    page.into_string()
}

fn overview(report: &SuiteReport) -> Markup {
    html! {
        table {
            tr {
                @for name in ["verdict", "grade", "id", "name"] { th { (name) } }
                @for name in ["time", "verified", "rtt p99"] { th.figure { (name) } }
            }
            @for (index, case) in report.cases.iter().enumerate() {
                @let columns = columns(case);
                tr {
                    td class=(class(case.outcome)) { (case.outcome.name()) }
                    td { (case.grade.name()) }
                    td { (plain(&case.id)) }
                    td { a href={ "#case-" (index) } { (plain(&name_in_table(case))) } (directly(case)) }
                    @for figure in [columns.time, columns.verified, columns.rtt_p99] { td.figure { (figure) } }
                }
            }
        }
    }
}

fn section(index: usize, case: &CaseReport) -> Markup {
    let is_good = case.outcome.is_good() && !has_unmet_checks(case);
    html! {
        details id={ "case-" (index) } open[!is_good && case.outcome != CaseOutcome::NotRun] {
            summary { span class=(class(case.outcome)) { (case.outcome.name()) } " " (plain(&case.title())) }
            ul { @for reason in &case.reasons { li { (plain(reason)) } } }
            table {
                tr { @for name in ["check", "expected", "actual", ""] { th { (name) } } }
                @for check in &case.checks {
                    tr {
                        td { (plain(&check.name)) }
                        td { (plain(&check.expected)) }
                        td { (check.actual.as_deref().map_or("–".to_owned(), plain)) }
                        td class=(class(check.outcome)) { (check.outcome.name()) }
                    }
                }
            }
            @if let Some(run) = &case.run {
                (block("Loads", &terminal::groups(run, Style::PLAIN)))
                (loads(run, is_good))
            }
            (block("Run it again", case.replay.as_deref().unwrap_or_default()))
            (block("The server said", &server_output(case)))
            (block("About", &case.about))
        }
    }
}

fn loads(run: &RunReport, is_good: bool) -> Markup {
    let findings = |load: &LoadReport| {
        if is_good { String::new() } else { finding_list::of_load(run, load, usize::MAX, Style::PLAIN) }
    };
    html! {
        @for load in &run.loads {
            h3 { (plain(&load.name)) ": " (plain(&load.about)) }
            (chart::timeline(&load.timeline))
            (block("Findings", &findings(load)))
        }
        @if let Some(usage) = &run.server_usage { (usage_chart::server_usage(usage)) }
    }
}

/// Preformatted text under a heading; nothing if there is no text.
fn block(title: &str, text: &str) -> Markup {
    let text = plain(text);
    html! { @if !text.trim().is_empty() { h4 { (title) } pre { (text.trim_end()) } } }
}

fn class(outcome: CaseOutcome) -> &'static str {
    match outcome {
        CaseOutcome::Pass => "pass",
        CaseOutcome::Fail | CaseOutcome::Stale | CaseOutcome::ThresholdMissed => "bad",
        CaseOutcome::Info => "info",
        CaseOutcome::Known
        | CaseOutcome::Expected
        | CaseOutcome::BackendsOwn
        | CaseOutcome::Weak
        | CaseOutcome::Inconclusive
        | CaseOutcome::Skipped
        | CaseOutcome::Unsupported
        | CaseOutcome::Interrupted
        | CaseOutcome::NotRun => "so-so",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn text_of_a_person_or_a_server_never_becomes_markup() {
        let page = render(&sample::suite());
        assert!(!page.contains("<script") && page.matches("&lt;script&gt;").count() >= 3, "{page}");
        let is_allowed = |letter: char| letter == '\n' || !letter.is_control();
        assert!(page.chars().all(is_allowed), "no control characters");
    }

    #[test]
    fn the_page_fetches_nothing() {
        let page = render(&sample::suite());
        for fetched in ["src=", "<link", "@import", "url(", "href=\"http"] {
            assert!(!page.contains(fetched), "{fetched}");
        }
    }

    #[test]
    fn every_load_group_has_its_timeline() {
        let report = sample::suite();
        let loads: usize = report.cases.iter().filter_map(|case| case.run.as_ref()).map(|run| run.loads.len()).sum();
        assert_eq!(render(&report).matches("<svg").count(), loads);
    }
}
