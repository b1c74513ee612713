//! A comparison: for each figure a bar for each server, as long as the median, with the interval from the least to the
//! greatest round and a dot for each round; how the servers compare; and the table of all figures. A sweep has lines
//! along its axis instead of the bars ([`compare_sweep`]).

use maud::{Markup, html};

use super::band::{self, Band};
use super::compare_sweep;
use super::drawn::{better, capitalized};
use super::findings::example;
use super::parts::{class, class_and_word, moment};
use super::run;
use crate::judge::outcome::CaseOutcome;
use crate::report::compare::{ComparePoint, CompareReport, CompareSetting, Contender};
use crate::report::compare_figures::{Figure, main_figures};
use crate::report::compare_text::{cell, interval_text, notes, ratio_text, said};
use crate::report::quantity::UNKNOWN;
use crate::report::text::plain;

fn facts(report: &CompareReport) -> Vec<(&'static str, String)> {
    let CompareSetting { started_at, seed, cores, machine, pinned, .. } = &report.setting;
    let mut facts = vec![("seed", seed.clone()), ("version", format!("echo-tester {}", report.version))];
    match (&report.sweep, report.points.first()) {
        (Some(sweep), _) => facts.insert(0, ("along", format!("{} = {}", sweep.axis, sweep.values.join(", ")))),
        (None, Some(point)) => facts.insert(0, ("load", point.about.clone())),
        (None, None) => {}
    }
    if !started_at.is_empty() {
        facts.push(("started", moment(started_at)));
    }
    facts.extend(match machine {
        Some(machine) => Some(("ran on", band::machine(machine))),
        None => cores.map(|cores| ("cores", cores.to_string())),
    });
    if let Some(pinned) = pinned {
        let count = |ids: &[u32]| ids.len();
        facts.push(("pinned", format!("servers on {}, client on {}", count(&pinned.servers), count(&pinned.client))));
    }
    facts
}

/// The page's body.
pub(super) fn render(report: &CompareReport) -> Markup {
    let (class, verdict) = class_and_word(report.exit());
    let command = &report.setting.command;
    let band = Band {
        class,
        verdict,
        headline: report.summary(),
        facts: facts(report),
        replay: (!command.is_empty()).then_some(command.as_str()),
        ..Band::default()
    };
    html! {
        (band::render(&band))
        (run::listed(&notes(report)))
        @for (point, contender) in report.contenders().filter(|(_, contender)| contender.outcome != CaseOutcome::Pass) {
            (failed(report, point, contender))
        }
        @match &report.sweep {
            Some(sweep) => (compare_sweep::render(report, sweep)),
            None => @for point in &report.points {
                (ratios(report, point))
                @for figure in main_figures(report.compared_by) { (bars(point, figure)) }
            }
        }
        h2 { "All figures" }
        (table(report))
    }
}

/// A server without figures: what was wrong with it.
fn failed(report: &CompareReport, point: &ComparePoint, contender: &Contender) -> Markup {
    let place = report.place(point).map_or_else(String::new, |place| format!(" ({place})"));
    html! {
        article.card {
            h4 { span.(class(contender.outcome)) { (contender.outcome_and_kinds()) } " " (plain(&contender.name)) (place) }
            ul { @for reason in &contender.reasons { li { (plain(reason)) } } }
            @if let Some(finding) = contender.rounds.iter().flat_map(|round| &round.findings).next() {
                (example(finding, true))
            }
        }
    }
}

/// How each server compares with the first, in a sentence each; nothing if there is nothing to compare.
fn ratios(report: &CompareReport, point: &ComparePoint) -> Markup {
    let Some(basis) = point.basis(report.compared_by) else { return html! {} };
    let compared: Vec<_> =
        point.contenders.iter().filter_map(|contender| Some((contender, contender.ratio?))).collect();
    html! {
        @if !compared.is_empty() {
            h2 { "Compared with " (plain(&basis.name)) " by " (report.compared_by.title()) }
            table {
                tr { th { "server" } th.figure { "ratio" } th.figure { "interval" } th {} }
                @for (contender, ratio) in &compared {
                    tr {
                        td { (plain(&contender.name)) }
                        td.figure { b { (ratio_text(ratio)) } }
                        td.figure { (interval_text(ratio)) }
                        td { (said(ratio)) }
                    }
                }
            }
        }
    }
}

/// The bars of a figure; nothing if no server has it.
fn bars(point: &ComparePoint, figure: Figure) -> Markup {
    let spread = |contender: &Contender| contender.figure(figure);
    let most = point.contenders.iter().filter_map(spread).map(|spread| spread.max).fold(0.0, f64::max);
    if most <= 0.0 {
        return html! {};
    }
    let percent = |value: f64| format!("{:.2}%", value / most * 100.0);
    let show = |value: f64| figure.quantity().show(value);
    html! {
        section.bars {
            h3 { (capitalized(figure.title())) " " span.aside { (better(figure)) } }
            @for contender in &point.contenders {
                @match spread(contender) {
                    Some(spread) => {
                        div.bar {
                            span.name { (plain(&contender.name)) }
                            div.track {
                                span.median style={ "width:" (percent(spread.median)) } {}
                                span.interval
                                    style={ "left:" (percent(spread.min)) ";width:" (percent(spread.max - spread.min)) } {}
                                @for value in contender.rounds.iter().filter_map(|round| *round.figures.get(figure)) {
                                    span.dot style={ "left:" (percent(value)) } {}
                                }
                            }
                            span.figure {
                                b { (show(spread.median)) } " "
                                @if spread.min < spread.max {
                                    span.aside { (show(spread.min)) " to " (show(spread.max)) }
                                }
                            }
                        }
                    }
                    None => {
                        div.bar {
                            span.name { (plain(&contender.name)) }
                            span.aside { (without(contender)) }
                        }
                    }
                }
            }
        }
    }
}

/// Why a server has no bar.
fn without(contender: &Contender) -> String {
    match contender.outcome {
        CaseOutcome::Pass => "not known".to_owned(),
        _ => format!("{}: no figures", contender.outcome_name()),
    }
}

/// A text, or what stands for one that is not known.
fn known(text: Option<String>) -> String {
    text.unwrap_or_else(|| UNKNOWN.to_owned())
}

fn table(report: &CompareReport) -> Markup {
    let axis = report.sweep.as_ref().map(|sweep| sweep.axis.as_str());
    html! {
        div.wide {
            table.all {
                tr {
                    @if let Some(axis) = axis { th { (axis) } }
                    th { "server" } th { "verdict" }
                    @for figure in Figure::ALL { th.figure { (figure.title()) } }
                    th.figure { "ratio" } th.figure { "interval" }
                }
                @for (point, contender) in report.contenders() {
                    tr {
                        @if axis.is_some() { td { (point.value.as_deref().unwrap_or_default()) } }
                        td { (plain(&contender.name)) } td { (contender.outcome_and_kinds()) }
                        @for figure in Figure::ALL { td.figure { (cell(contender, *figure)) } }
                        td.figure { (known(contender.ratio.map(|ratio| ratio_text(&ratio)))) }
                        td.figure { (known(contender.ratio.map(|ratio| interval_text(&ratio)))) }
                    }
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
    use crate::report::compare_round::Round;
    use crate::report::sample;

    #[test]
    fn a_bar_is_as_long_as_the_median_with_the_interval_and_a_dot_for_each_round() {
        let report = compared(vec![contender("a", &[100.0, 150.0, 200.0]), contender("b", &[50.0, 50.0, 50.0])]);
        let page = bars(&report.points[0], Figure::MessagesPerS).into_string();
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
        assert!(page.contains("FAIL") && page.contains("1 of 2 servers did not pass"), "{page}");
        assert!(page.contains("no figures") && page.contains("connection 3: corrupt"), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }

    #[test]
    fn a_ratio_has_its_interval_and_says_where_no_difference_is_shown() {
        let report = compared(vec![
            contender("a", &[100.0, 110.0, 105.0]),
            contender("b", &[50.0, 55.0, 52.0]),
            contender("c", &[90.0, 120.0, 104.0]),
        ]);
        let page = render(&report).into_string();
        assert!(page.contains("Compared with a by round trips"), "{page}");
        assert!(page.contains("<b>0.50</b></td><td class=\"figure\">0.45–0.55</td><td></td>"), "{page}");
        assert_eq!(page.matches("no difference shown</td>").count(), 1, "{page}");
    }

    #[test]
    fn a_comparison_without_servers_is_a_page_too() {
        let page = render(&compared(Vec::new())).into_string();
        assert!(page.contains("no server was compared"), "{page}");
    }
}
