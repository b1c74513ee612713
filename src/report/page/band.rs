//! The head of a page: the verdict in words, what was tested, when, with which seed, by which version, on which
//! machine; and the tiles with the figures that everybody asks for.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::parts::{command, moment};
use crate::report::quantity::{Quantity, UNKNOWN};
use crate::report::run::{MachineReport, RunReport};
use crate::report::suite::SuiteReport;
use crate::report::text::{plain, show_bytes, show_count, show_time};
use crate::units::counted;

/// Values of a kind that are named one by one.
const MOST_NAMED: usize = 4;

/// What a band says.
#[derive(Default)]
pub(super) struct Band<'b> {
    /// The class of the verdict.
    pub(super) class: &'static str,
    /// The verdict in one or two words.
    pub(super) verdict: &'b str,
    /// The rest of the headline.
    pub(super) headline: String,
    /// Why, in sentences.
    pub(super) reasons: Vec<String>,
    /// Names and values.
    pub(super) facts: Vec<(&'static str, String)>,
    /// The command that runs it again.
    pub(super) replay: Option<&'b str>,
}

/// The band.
pub(super) fn render(band: &Band<'_>) -> Markup {
    html! {
        header.band.(band.class) {
            h1 { span.badge { (band.verdict) } " " (plain(&band.headline)) }
            @if !band.reasons.is_empty() {
                ul { @for reason in &band.reasons { li { (plain(reason)) } } }
            }
            dl.facts {
                @for (name, value) in &band.facts { div { dt { (name) } dd { (plain(value)) } } }
            }
            @if let Some(replay) = band.replay { (command("Run it again", replay)) }
        }
    }
}

/// The facts of one run or of several: what they share, and from when to when they ran.
pub(super) fn facts(runs: &[&RunReport], version: &str) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let targets = distinct(runs.iter().map(|run| target(run)));
    facts.extend(named(if targets.len() > 1 { "targets" } else { "target" }, &targets));
    let times: Vec<(SystemTime, SystemTime)> = runs.iter().filter_map(|run| span(run)).collect();
    if let Some(first) = runs.iter().min_by_key(|run| &run.started_at) {
        facts.push(("started", moment(&first.started_at)));
    }
    if let [run] = runs {
        facts.push(("took", show_time(run.elapsed())));
    } else if let (Some(from), Some(to)) =
        (times.iter().map(|time| time.0).min(), times.iter().map(|time| time.1).max())
    {
        facts.push(("took", show_time(to.duration_since(from).unwrap_or_default())));
    }
    match distinct(runs.iter().map(|run| run.seed.clone())).as_slice() {
        [] => {}
        [seed] => facts.push(("seed", seed.clone())),
        _ => facts.push(("seed", "each case has its own".to_owned())),
    }
    if let [run] = runs
        && !run.parts.is_empty()
    {
        facts.push(("processes", show_count(run.parts.len() as u64)));
    }
    facts.extend(named("ran on", &distinct(runs.iter().flat_map(|run| machines(run)))));
    facts.push(("version", format!("echo-tester {version}")));
    facts
}

/// The facts of the cases of a suite. Of several targets, those that never took a connection are named too.
pub(super) fn facts_of_cases(report: &SuiteReport, runs: &[&RunReport]) -> Vec<(&'static str, String)> {
    let mut facts = facts(runs, &report.version);
    let targets = distinct(report.cases.iter().filter_map(|case| case.target.clone()));
    if let Some(named) = named(if targets.len() > 1 { "targets" } else { "target" }, &targets) {
        facts.retain(|(name, _)| !["target", "targets"].contains(name));
        facts.insert(0, named);
    }
    facts
}

/// A fact with these values; none without a value.
fn named(name: &'static str, values: &[String]) -> Option<(&'static str, String)> {
    let more = values.len().saturating_sub(MOST_NAMED);
    let shown = values.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match (values.len(), more) {
        (0, _) => None,
        (_, 0) => Some((name, shown)),
        (_, more) => Some((name, format!("{shown} and {} more", show_count(more as u64)))),
    }
}

fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

/// The server of a run. The port of a bundled one is another in each run, and says nothing.
fn target(run: &RunReport) -> String {
    match &run.server {
        Some(server) => format!("bundled server {}", server.model),
        None => run.targets.join(", "),
    }
}

fn span(run: &RunReport) -> Option<(SystemTime, SystemTime)> {
    let start = humantime::parse_rfc3339_weak(&run.started_at).ok()?;
    Some((start, start.checked_add(run.elapsed())?))
}

/// The machine of a run, or those of its processes.
fn machines(run: &RunReport) -> Vec<String> {
    let own = run.client.machine.iter();
    let of_parts = run.parts.iter().filter_map(|part| part.client.machine.as_ref());
    own.chain(of_parts).map(machine).collect()
}

/// A machine: its name, its system with the kernel, its processor, and how many cores of it could be used.
pub(super) fn machine(machine: &MachineReport) -> String {
    let system = [&machine.system].into_iter().chain(&machine.kernel).cloned().collect::<Vec<_>>().join(" ");
    let cores = machine.cores.map(|cores| counted(cores, "core"));
    let known = machine.host.clone().into_iter().chain([system]).chain(machine.processor.clone()).chain(cores);
    known.collect::<Vec<_>>().join(" · ")
}

/// A tile: its name, its figure, and what explains the figure.
pub(super) struct Tile {
    name: &'static str,
    figure: String,
    aside: String,
}

/// The tiles.
pub(super) fn tiles(tiles: &[Tile]) -> Markup {
    html! {
        div.tiles {
            @for tile in tiles {
                div { span.aside { (tile.name) } b { (tile.figure) } span.aside { (plain(&tile.aside)) } }
            }
        }
    }
}

/// The tiles of one run. The latencies are those of the load with the most round trips.
pub(super) fn of_run(run: &RunReport) -> Vec<Tile> {
    let total = &run.total;
    let connections = total.opened.max(total.passed.saturating_add(total.failed));
    let failed = match (total.failed, total.cut_short) {
        (failed, 0) => format!("{} failed", show_count(failed)),
        (failed, cut) => format!("{} failed, {} cut short", show_count(failed), show_count(cut)),
    };
    let rate = |amount: Option<f64>, show: fn(f64) -> String| amount.map_or_else(|| UNKNOWN.to_owned(), show);
    let bytes_rate = rate(run.per_second(total.bytes_verified), |rate| format!("{}/s", show_bytes(rate)));
    let message_rate =
        rate(run.per_second(total.messages_echoed), |rate| format!("{} messages/s", show_count(rate as u64)));
    let mut tiles = vec![
        Tile {
            name: "connections passed",
            figure: format!("{} of {}", show_count(total.passed), show_count(connections)),
            aside: failed,
        },
        Tile {
            name: "verified",
            figure: show_bytes(total.bytes_verified as f64),
            aside: counted(total.messages_echoed, "message"),
        },
        Tile { name: "throughput", figure: bytes_rate, aside: message_rate },
    ];
    if let Some(load) = run.loads.iter().max_by_key(|load| load.rtt.count) {
        let of = if run.loads.len() > 1 { format!("round trip of {}", load.name) } else { "round trip".to_owned() };
        for (name, value) in [("p50", load.rtt.p50_ns), ("p99", load.rtt.p99_ns), ("max", load.rtt.max_ns)] {
            tiles.push(Tile { name, figure: Quantity::Nanoseconds.show_known(value), aside: of.clone() });
        }
    }
    tiles
}

/// The tiles of several cases: how many passed, and the sums of their runs.
pub(super) fn of_cases(passed: usize, cases: usize, runs: &[&RunReport]) -> Vec<Tile> {
    let sum = |of: fn(&RunReport) -> u64| runs.iter().map(|run| of(run)).fold(0, u64::saturating_add);
    let busy: Duration = runs.iter().map(|run| run.elapsed()).sum();
    vec![
        Tile {
            name: "cases passed",
            figure: format!("{passed} of {cases}"),
            aside: format!("{} ran", show_count(runs.len() as u64)),
        },
        Tile {
            name: "connections passed",
            figure: format!(
                "{} of {}",
                show_count(sum(|run| run.total.passed)),
                show_count(sum(|run| run.total.opened))
            ),
            aside: format!("{} failed", show_count(sum(|run| run.total.failed))),
        },
        Tile {
            name: "verified",
            figure: show_bytes(sum(|run| run.total.bytes_verified) as f64),
            aside: counted(sum(|run| run.total.messages_echoed), "message"),
        },
        Tile { name: "time in runs", figure: show_time(busy), aside: "of all cases together".to_owned() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::closing::Closing;
    use crate::report::sample;
    use crate::report::style::Style;

    #[test]
    fn runs_share_one_band_and_their_time_is_from_the_first_to_the_last() {
        let first = sample::run(&["load"]);
        let mut second = RunReport { started_at: "2026-01-31T12:00:10.000Z".to_owned(), ..first.clone() };
        second.client.machine = Some(MachineReport {
            host: Some("h".to_owned()),
            system: "linux x86_64".to_owned(),
            kernel: Some("6.1.0".to_owned()),
            processor: Some("Some CPU".to_owned()),
            cores: Some(2),
        });
        let facts = facts(&[&second, &first], "1.2.3");
        let facts: Vec<String> = facts.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            facts,
            [
                "target: 127.0.0.1:7777",
                "started: 2026-01-31 12:00:00 UTC",
                "took: 11.2 s",
                "seed: 7",
                "ran on: h · linux x86_64 6.1.0 · Some CPU · 2 cores",
                "version: echo-tester 1.2.3"
            ]
        );
    }

    #[test]
    fn the_tiles_say_what_the_terminal_says() {
        let run = sample::run(&["load", "others"]);
        let tiles: Vec<String> =
            of_run(&run).iter().map(|t| format!("{}: {} ({})", t.name, t.figure, t.aside)).collect();
        assert_eq!(tiles[0], "connections passed: 6 of 6 (0 failed)");
        assert_eq!(tiles[2], "throughput: 1.60 MiB/s (0 messages/s)");
        assert!(crate::report::terminal::render(&run, &Closing::default(), Style::PLAIN).contains("1.60 MiB/s"));
        assert!(tiles[4].contains("p99: 38.") && tiles[4].contains("(round trip of "), "{tiles:?}");
    }
}
