//! The figures of one run: notes, findings, latencies of each load, and the run over time.

use maud::{Markup, html};

use super::drawn::capitalized;
use super::parts::Depth;
use super::{findings, percentiles, time_plots};
use crate::report::run::{LoadReport, RunReport};
use crate::report::terminal;
use crate::report::text::{plain, show_bytes, show_count};

/// The notes that a reader of the figures needs.
pub(super) fn notes(run: &RunReport) -> Markup {
    listed(&terminal::notes(run))
}

/// Notes as a list, each as a sentence.
pub(super) fn listed(notes: &[String]) -> Markup {
    let sentence = |note: &String| capitalized(note.strip_prefix("note: ").unwrap_or(note));
    html! {
        @if !notes.is_empty() {
            ul.notes { @for note in notes { li { (plain(&sentence(note))) } } }
        }
    }
}

/// The findings under a heading.
pub(super) fn found(run: &RunReport) -> Markup {
    html! { @if run.total.findings_total() > 0 { h3 { "Findings" } (findings::of(run)) } }
}

/// The table of loads if there are several, latencies, and the run over time.
pub(super) fn figures(run: &RunReport, depth: Depth) -> Markup {
    // The load with the most connections comes first, and is open.
    let mut loads: Vec<&LoadReport> = run.loads.iter().collect();
    loads.sort_by_key(|load| std::cmp::Reverse(load.counters.connects));
    html! {
        @if run.loads.len() > 1 { h3 { "Loads" } (table(run)) }
        h3 { "Latency" }
        @for (n, load) in loads.iter().enumerate() {
            @if run.loads.len() == 1 {
                p.aside { (plain(&load.about)) }
                (percentiles::of(load, depth))
            } @else {
                details.load open[n == 0] {
                    summary { (plain(&load.name)) ": " (plain(&load.about)) }
                    (percentiles::of(load, depth))
                }
            }
        }
        @if depth == Depth::Whole {
            @let plots = time_plots::of(run).into_string();
            @if !plots.is_empty() { h3 { "Over time" } (maud::PreEscaped(plots)) }
        }
    }
}

fn table(run: &RunReport) -> Markup {
    html! {
        div.wide {
            table.loads {
                tr {
                    th { "load" }
                    @for name in ["passed", "failed", "verified", "p50", "p99", "findings"] { th.figure { (name) } }
                }
                @for load in &run.loads {
                    @let LoadReport { counters, rtt, .. } = load;
                    tr {
                        td { (plain(&load.name)) }
                        td.figure { (show_count(counters.passed)) }
                        td.figure { (show_count(counters.failed)) }
                        td.figure { (show_bytes(counters.bytes_verified as f64)) }
                        td.figure { (terminal::show_nanos(rtt.p50_ns)) }
                        td.figure { (terminal::show_nanos(rtt.p99_ns)) }
                        td.figure { (show_count(counters.findings_total())) }
                    }
                }
            }
        }
    }
}
