//! A result as one HTML page that fetches nothing: light or dark like the reader's system, and fit for a phone and for
//! paper. A few lines of script copy commands, open the case that a link names, and search; all numbers are there
//! without.
//!
//! maud escapes everything that is put into the page, and `text::plain` removes what is not text. Only the style and
//! the script are written as they are. The parts, from the leaves up:
//!
//! - `axis`: scales and their marks; `frame`: title, key and axes around a drawing;
//! - `parts`: commands to copy, blocks of text, classes of outcomes; `style`: style sheet and script;
//! - `hexdump`, `findings`: the bytes of a finding; a card for each kind;
//! - `percentiles`, `time_plots`: latencies of a load; a run over time;
//! - `band`: verdict, facts and tiles; `run`: all figures of a run;
//! - `cases`, `grid`: the table of a suite; cases and servers; `drawn`: how the figures
//!   of a comparison are drawn; `compare`: bars; `compare_sweep`: lines.

mod axis;
mod band;
mod cases;
mod compare;
mod compare_sweep;
mod drawn;
mod findings;
mod frame;
mod grid;
mod hexdump;
mod parts;
mod percentiles;
mod run;
mod style;
mod time_plots;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::band::Band;
use self::parts::{Depth, block, class, class_and_word};
use super::case_text::{self, server_output};
use super::compare::CompareReport;
use super::run::RunReport;
use super::suite::{CaseReport, SuiteReport};
use super::text::plain;
use crate::judge::outcome::CaseOutcome;

/// What a page may do: nothing but its own style and its own script.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
     form-action 'none'";

/// The page of several cases, or of a single run.
pub fn suite(report: &SuiteReport) -> String {
    match report.cases.as_slice() {
        // A run without a scenario needs no table.
        [only] if only.file.is_empty() && only.id.is_empty() => single(report, only),
        _ => several(report),
    }
}

/// The page of a comparison.
pub fn comparison(report: &CompareReport) -> String {
    page(&report.summary(), &compare::render(report))
}

fn single(report: &SuiteReport, case: &CaseReport) -> String {
    let found = case.run.as_ref().filter(|_| case.outcome != CaseOutcome::Pass).and_then(findings::headline);
    let mut reasons = cases::reasons(case);
    let headline = match found {
        Some(found) => found,
        None if reasons.is_empty() => case.name.clone(),
        None => reasons.remove(0),
    };
    let runs: Vec<&RunReport> = case.run.iter().collect();
    let band = Band {
        class: class(case.outcome),
        verdict: case.outcome.name(),
        headline: headline.clone(),
        reasons,
        facts: band::facts(&runs, &report.version),
        replay: case.replay.as_deref(),
    };
    let body = html! {
        (band::render(&band))
        @if let Some(run) = &case.run {
            (band::tiles(&band::of_run(run)))
            (run::notes(run))
            (run::found(run))
            (run::figures(run, Depth::Whole))
        }
        @if case.checks.len() > 1 { h3 { "Checks" } (cases::checks(case)) }
        (block("The server said", &server_output(case)))
    };
    page(&format!("{}: {headline}", case.outcome.name()), &body)
}

fn several(report: &SuiteReport) -> String {
    let anchors = cases::anchors(report);
    let runs: Vec<&RunReport> = report.cases.iter().filter_map(|case| case.run.as_ref()).collect();
    let passed = report.cases.iter().filter(|case| case.outcome == CaseOutcome::Pass).count();
    let (class, verdict) = class_and_word(report.exit());
    let band = Band {
        class,
        verdict,
        headline: report.summary(),
        reasons: case_text::found(report).into_iter().map(|found| format!("found: {found}")).collect(),
        facts: band::facts_of_cases(report, &runs),
        replay: case_text::worst(report).and_then(|case| case.replay.as_deref()),
    };
    let body = html! {
        (band::render(&band))
        @if !runs.is_empty() { (band::tiles(&band::of_cases(passed, report.cases.len(), &runs))) }
        (grid::render(report, &anchors))
        @if !report.cases.is_empty() { (cases::render(report, &anchors)) }
    };
    page(&format!("{verdict}: {}", report.summary()), &body)
}

/// The document around a body.
fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                // Otherwise a browser asks the server of the page for an icon.
                link rel="icon" href="data:,";
                title { "echo-tester: " (plain(title)) }
                style { (PreEscaped(style::STYLE)) (PreEscaped(cases::filter_rules())) }
            }
            body {
                (body)
                footer.aside { "Made by echo-tester " (env!("CARGO_PKG_VERSION")) ". The page fetches nothing." }
                script { (PreEscaped(style::SCRIPT)) }
            }
        }
    };
    page.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::outcome::OUTCOMES;
    use crate::report::sample;

    /// Every kind of page.
    fn pages() -> Vec<String> {
        let single = |mut case: CaseReport| {
            (case.id, case.file) = (String::new(), String::new());
            suite(&SuiteReport::new(vec![case]))
        };
        let all: Vec<CaseOutcome> = OUTCOMES.iter().map(|row| row.outcome).collect();
        let compared = crate::report::compare::tests::compared(Vec::new());
        let swept = crate::report::compare::tests::swept(&["10", "100"]);
        vec![
            suite(&sample::suite()),
            single(sample::fail()),
            single(sample::missed()),
            single(sample::not_run()),
            suite(&SuiteReport::new(sample::cases(&all))),
            suite(&SuiteReport::new(Vec::new())),
            comparison(&compared),
            comparison(&swept),
        ]
    }

    #[test]
    fn text_of_a_person_or_a_server_never_becomes_markup() {
        let page = suite(&sample::suite());
        assert_eq!(page.matches("<script").count(), 1, "its own: {page}");
        assert!(page.matches("&lt;script&gt;").count() >= 2, "{page}");
        for page in pages() {
            let is_allowed = |letter: char| letter == '\n' || !letter.is_control();
            assert!(page.chars().all(is_allowed), "no control characters: {page}");
        }
    }

    #[test]
    fn no_page_fetches_anything() {
        for page in pages() {
            for fetched in [" src=", "@import", "url(", "href=\"http", "fetch(", "XMLHttp"] {
                assert!(!page.contains(fetched), "{fetched}");
            }
            assert_eq!(page.matches("<link").count(), 1, "the empty icon");
        }
    }

    #[test]
    fn every_element_that_is_opened_is_closed() {
        for page in pages() {
            for element in ["html", "body", "div", "section", "article", "details", "summary", "table", "ul", "span"] {
                let opened =
                    page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
                assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}: {page}");
            }
        }
    }

    #[test]
    fn an_id_is_there_once_and_every_link_has_its_target() {
        for page in pages() {
            let values = |name: &str| {
                let begin = format!("{name}=\"");
                let parts = page.split(begin.as_str()).skip(1);
                parts.filter_map(|part| part.split('"').next().map(str::to_owned)).collect::<Vec<String>>()
            };
            let ids = values(" id");
            assert!(ids.iter().all(|id| ids.iter().filter(|other| *other == id).count() == 1), "{ids:?}");
            for link in values("href").iter().filter_map(|link| link.strip_prefix('#').map(str::to_owned)) {
                assert!(ids.contains(&link), "{link}: {ids:?}");
            }
        }
    }

    #[test]
    fn the_band_of_a_run_says_what_was_found_where_and_how_to_run_it_again() {
        let page = &pages()[1];
        let band = page.split("</header>").next().expect("there is a band");
        for said in ["FAIL", "25 × corrupt on 5 of 6 connections", "127.0.0.1:7777", "2026-01-31 12:00:00", "--seed 7"]
        {
            assert!(band.contains(said), "no {said} in {band}");
        }
        let missed = &pages()[2];
        assert!(missed.contains("</span> messages &gt; 1k: it was 9</h1>"), "{missed}");
    }

    #[test]
    fn the_band_of_a_suite_says_how_its_process_ended() {
        let page = suite(&SuiteReport::new(sample::cases(&[CaseOutcome::Pass, CaseOutcome::Stale])));
        assert!(page.contains("<span class=\"badge\">FAIL</span> 2 cases: 1 passed, 1 stale"), "{page}");
        let both = suite(&SuiteReport::new(vec![sample::fail().at(Some("a:1")), sample::not_run().at(Some("b:2"))]));
        let band = both.split("</header>").next().expect("there is a band");
        for said in ["found: 25 × corrupt in 1 case", "--seed 7", "<dt>targets</dt><dd>a:1, b:2</dd>"] {
            assert!(band.contains(said), "no {said} in {band}");
        }
        let page = suite(&SuiteReport::new(sample::cases(&[CaseOutcome::Pass, CaseOutcome::Known])));
        assert!(page.contains("<span class=\"badge\">pass</span> 2 cases: 1 passed, 1 known to fail"), "{page}");
    }
}
