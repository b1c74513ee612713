//! A comparison: for each figure a bar for each server, as long as the median, with the interval from the least to the
//! greatest round and a dot for each round; and the table of all figures.

use maud::{Markup, html};

use super::axis::Quantity;
use super::band::{self, Band};
use super::findings::example;
use super::parts::class;
use crate::judge::outcome::CaseOutcome;
use crate::report::compare::{CompareReport, Contender, Round, RoundSummary, Spread};
use crate::report::compare_text::{HEADER, cells, notes};
use crate::report::text::plain;
use crate::units::counted;

/// A figure that is drawn.
struct Figure {
    title: &'static str,
    better: &'static str,
    quantity: Quantity,
    of_all: fn(&RoundSummary) -> Option<Spread>,
    of_round: fn(&Round) -> Option<f64>,
}

const FIGURES: [Figure; 5] = [
    Figure {
        title: "Round trips per second",
        better: "more is better",
        quantity: Quantity::PerSecond,
        of_all: |figures| Some(figures.messages_per_s),
        of_round: |round| Some(round.messages_per_s),
    },
    Figure {
        title: "Verified bytes per second",
        better: "more is better",
        quantity: Quantity::BytesPerSecond,
        of_all: |figures| Some(figures.bytes_per_s),
        of_round: |round| Some(round.bytes_per_s),
    },
    Figure {
        title: "Median round trip",
        better: "less is better",
        quantity: Quantity::Nanos,
        of_all: |figures| figures.rtt_p50_ns,
        of_round: |round| round.rtt_p50_ns.map(|nanos| nanos as f64),
    },
    Figure {
        title: "99th percentile of the round trips",
        better: "less is better",
        quantity: Quantity::Nanos,
        of_all: |figures| figures.rtt_p99_ns,
        of_round: |round| round.rtt_p99_ns.map(|nanos| nanos as f64),
    },
    Figure {
        title: "Server's CPU time per 1,000 messages",
        better: "less is better",
        quantity: Quantity::Seconds,
        of_all: |figures| figures.server_cpu_s_per_1000_messages,
        of_round: |round| round.server_cpu_s_per_1000_messages,
    },
];

/// The class of the comparison's verdict and its word.
fn verdict(report: &CompareReport) -> (&'static str, &'static str) {
    match report.exit_code {
        0 => ("pass", "pass"),
        1 => ("bad", "FAIL"),
        130 => ("so-so", "interrupted"),
        _ => ("so-so", "inconclusive"),
    }
}

/// The headline: how many servers passed.
pub(super) fn headline(report: &CompareReport) -> String {
    let passed = report.contenders.iter().filter(|contender| contender.outcome == CaseOutcome::Pass).count();
    let all = counted(report.contenders.len() as u64, "server");
    let rounds = report.contenders.iter().map(|contender| contender.rounds.len()).max().unwrap_or_default();
    format!("{all} compared in {}: {passed} passed every one", counted(rounds as u64, "round"))
}

/// The page's body.
pub(super) fn render(report: &CompareReport) -> Markup {
    let (class, verdict) = verdict(report);
    let band = Band {
        class,
        verdict,
        headline: headline(report),
        facts: vec![
            ("load", report.about.clone()),
            ("seed", report.seed.clone()),
            ("version", format!("echo-tester {}", report.version)),
        ],
        ..Band::default()
    };
    html! {
        (band::render(&band))
        @let notes = notes(report);
        @if !notes.is_empty() {
            ul.notes { @for note in &notes { li { (plain(note.strip_prefix("note: ").unwrap_or(note))) } } }
        }
        @for contender in report.contenders.iter().filter(|contender| contender.outcome != CaseOutcome::Pass) {
            (failed(contender))
        }
        @for figure in &FIGURES { (bars(report, figure)) }
        h2 { "All figures" }
        (table(report))
    }
}

/// A server without figures: what was wrong with it.
fn failed(contender: &Contender) -> Markup {
    html! {
        article.card {
            h4 { span.(class(contender.outcome)) { (contender.outcome_name()) } " " (plain(&contender.name)) }
            ul { @for reason in &contender.reasons { li { (plain(reason)) } } }
            @if let Some(finding) = contender.rounds.iter().flat_map(|round| &round.findings).next() {
                (example(finding, true))
            }
        }
    }
}

/// The bars of a figure; nothing if no server has it.
fn bars(report: &CompareReport, figure: &Figure) -> Markup {
    let spread = |contender: &Contender| contender.figures.as_ref().and_then(figure.of_all);
    let most = report.contenders.iter().filter_map(spread).map(|spread| spread.max).fold(0.0, f64::max);
    if most <= 0.0 {
        return html! {};
    }
    let percent = |value: f64| format!("{:.2}%", value / most * 100.0);
    html! {
        section.bars {
            h3 { (figure.title) " " span.aside { (figure.better) } }
            @for contender in &report.contenders {
                @match spread(contender) {
                    Some(spread) => {
                        div.bar {
                            span.name { (plain(&contender.name)) }
                            div.track {
                                span.median style={ "width:" (percent(spread.median)) } {}
                                span.interval
                                    style={ "left:" (percent(spread.min)) ";width:" (percent(spread.max - spread.min)) } {}
                                @for value in contender.rounds.iter().filter_map(figure.of_round) {
                                    span.dot style={ "left:" (percent(value)) } {}
                                }
                            }
                            span.figure {
                                b { (figure.quantity.show(spread.median)) } " "
                                span.aside { (figure.quantity.show(spread.min)) " to " (figure.quantity.show(spread.max)) }
                            }
                        }
                    }
                    None => {
                        div.bar {
                            span.name { (plain(&contender.name)) }
                            span.aside { (contender.outcome_name()) ": no figures" }
                        }
                    }
                }
            }
        }
    }
}

fn table(report: &CompareReport) -> Markup {
    html! {
        div.wide {
            table.all {
                tr { @for (n, name) in HEADER.iter().enumerate() { th.figure[n > 1] { (name) } } }
                @for contender in &report.contenders {
                    tr { @for (n, cell) in cells(contender).iter().enumerate() { td.figure[n > 1] { (plain(cell)) } } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::verdict::Verdict;
    use crate::report::compare::tests::{compared, contender, round};
    use crate::report::sample;

    #[test]
    fn a_bar_is_as_long_as_the_median_with_the_interval_and_a_dot_for_each_round() {
        let report = compared(vec![contender("a", &[100.0, 150.0, 200.0]), contender("b", &[50.0, 50.0, 50.0])]);
        let page = bars(&report, &FIGURES[0]).into_string();
        assert!(page.contains("class=\"median\" style=\"width:75.00%\""), "{page}");
        assert!(page.contains("class=\"interval\" style=\"left:50.00%;width:50.00%\""), "{page}");
        assert_eq!(page.matches("class=\"dot\"").count(), 6, "{page}");
        assert!(page.contains("<b>150/s</b>") && page.contains("100/s to 200/s"), "{page}");
    }

    #[test]
    fn a_server_that_failed_has_its_finding_and_no_figures() {
        let bad = Round { findings: vec![sample::finding(3)], ..round(Verdict::Fail, 9.0) };
        let report = compared(vec![contender("a", &[100.0]), Contender::new(sample::HOSTILE.to_owned(), vec![bad])]);
        let page = render(&report).into_string();
        assert!(page.contains("FAIL") && page.contains("2 servers compared in 1 round: 1 passed every one"), "{page}");
        assert!(page.contains("no figures") && page.contains("connection 3: corrupt"), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }

    #[test]
    fn a_comparison_without_servers_is_a_page_too() {
        let page = render(&compared(Vec::new())).into_string();
        assert!(page.contains("0 servers compared in 0 rounds"), "{page}");
    }
}
