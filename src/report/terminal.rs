//! A run as people read it on a terminal, made of its [`RunReport`] alone.

use std::fmt::Write as _;
use std::time::Duration;

use super::backend_connections::BackendReport;
use super::closing::{self, Closing};
use super::finding_list;
use super::kept_rates;
use super::quantity::tells;
use super::remarks;
use super::run::{LoadReport, PartReport, RunReport};
use super::style::{Role, Style};
use super::table::Table;
use super::text::{show_bytes, show_count, show_time, visible, wrapped};
use super::two_sides;
use crate::judge::check::findings_in_words;
use crate::judge::leftovers::LEFT_BEHIND;
use crate::judge::verdict::shortages;
use crate::measure::ResourceUsage;
use crate::measure::histogram::LatencyReport;
use crate::measure::open_loop::RateReport;
use crate::measure::usage::{UsageFigure, UsageLevel};
use crate::units::counted;

/// The whole report, ending in the verdict.
pub fn render(report: &RunReport, closing: &Closing, style: Style) -> String {
    let mut text = String::new();
    for load in &report.loads {
        if report.loads.len() > 1 {
            text.push_str(&wrapped(&visible(&format!("{}: {}", load.name, load.about)), style));
        }
        let _ = writeln!(text, "{}\n", latencies(load, style));
    }
    let _ = writeln!(text, "{}\n", totals(report, style));
    for load in &report.loads {
        text.push_str(&finding_list::briefly(report, load, usize::MAX, style));
    }
    for note in notes(report) {
        let _ = writeln!(text, "{}", wrapped(&visible(&note), style));
    }
    text + &closing::of_run(report, closing, style)
}

fn latencies(load: &LoadReport, style: Style) -> String {
    let header = ["", "count", "p50", "p90", "p99", "p99.9", "max"];
    let row = |name: &str, latency: &LatencyReport| {
        let told = |percent, nanos: Option<u64>| show_nanos(nanos.filter(|_| tells(latency.count, percent)));
        let LatencyReport { p50_ns, p90_ns, p99_ns, p999_ns, max_ns, .. } = *latency;
        let percentiles = [told(90.0, p90_ns), told(99.0, p99_ns), told(99.9, p999_ns)];
        let times = [vec![show_nanos(p50_ns)], percentiles.to_vec(), vec![show_nanos(max_ns)]].concat();
        [vec![name.to_owned(), show_count(latency.count)], times].concat()
    };
    let mut rows =
        vec![row("round trip", &load.rtt), row("first byte", &load.first_byte), row("connect", &load.connect)];
    rows.extend(load.sent_after_due.as_ref().map(|late| row("sent after due", late)));
    Table::new(&header, rows).dispensable(&[5, 3]).render(style)
}

fn totals(report: &RunReport, style: Style) -> String {
    let total = &report.total;
    let rate = |amount: u64| report.per_second(amount);
    let bytes_rate = rate(total.bytes_verified).map_or_else(String::new, |r| format!("{}/s", show_bytes(r)));
    let messages_rate = rate(total.messages_echoed).map_or_else(String::new, |r| format!("{}/s", show_count(r as u64)));
    let failed = format!("{} failed", show_count(total.failed));
    let failed = if total.failed > 0 { style.paint(Role::Bad, &failed) } else { failed };
    let mut rows = vec![
        vec![
            "connections".to_owned(),
            show_count(total.opened),
            format!("{} passed, {}", show_count(total.passed), failed),
        ],
        vec!["messages".to_owned(), show_count(total.messages_echoed), messages_rate],
        vec!["verified".to_owned(), show_bytes(total.bytes_verified as f64), bytes_rate],
    ];
    rows.extend(two_sides::rows(report));
    rows.push(vec!["time".to_owned(), show_time(report.elapsed()), String::new()]);
    for load in &report.loads {
        let named = report.loads.len() > 1;
        rows.extend(load.rate.iter().map(|schedule| rate_row(load, ("rate", schedule), named)));
        rows.extend(load.backend_rate.iter().map(|schedule| rate_row(load, ("server's rate", schedule), named)));
    }
    if total.unserved > 0 {
        rows[0][2].push_str(&format!(", {} unserved while the backend was down", show_count(total.unserved)));
    }
    if total.cut_short > 0 {
        rows[0][2].push_str(&format!(", {} cut short", show_count(total.cut_short)));
    }
    if let Some(server) = &report.server
        && let Some(counters) = &server.counters
    {
        let moved = format!("{} in, {} out", show_count(counters.bytes_in), show_count(counters.bytes_out));
        let turned_away = [(counters.refused, "refused"), (counters.accept_errors, "failed accepts")];
        let turned_away = turned_away.iter().filter(|(count, _)| *count > 0);
        let turned_away: String = turned_away.map(|(count, what)| format!(", {} {what}", show_count(*count))).collect();
        rows.push(vec!["server".to_owned(), server.model.clone(), format!("{moved} bytes{turned_away}")]);
    }
    rows.extend(report.server_usage.as_ref().and_then(peak_of_server));
    if !report.parts.is_empty() {
        rows.extend(processes(report));
    }
    Table::new(&[], rows).left(&[0, 2]).render(style)
}

/// A line for each load group, with what it did.
pub(super) fn groups(report: &RunReport, style: Style) -> String {
    let header = ["load", "passed", "failed", "verified", "rtt p50", "rtt p99", "findings"];
    let row = |load: &LoadReport| {
        let LoadReport { name, counters, rtt, .. } = load;
        vec![
            visible(name),
            show_count(counters.passed),
            show_count(counters.failed),
            show_bytes(counters.bytes_verified as f64),
            show_nanos(rtt.p50_ns),
            show_nanos(rtt.p99_ns),
            findings_in_words(counters),
        ]
    };
    Table::new(&header, report.loads.iter().map(row).collect()).dispensable(&[4, 3]).render(style)
}

/// A time; `-` if it was not measured.
pub(super) fn show_nanos(nanos: Option<u64>) -> String {
    nanos.map_or_else(|| "-".to_owned(), |n| show_time(Duration::from_nanos(n)))
}

/// How an open loop kept its rate.
fn rate_row(load: &LoadReport, (what, schedule): (&str, &RateReport), named: bool) -> Vec<String> {
    let name = if named { format!("{what} of {}", load.name) } else { what.to_owned() };
    let sent = schedule.sent_per_s.map_or_else(|| "-".to_owned(), |rate| format!("{}/s", show_rate(rate)));
    vec![name, sent, format!("sent, {}/s asked for", show_rate(schedule.asked_per_s))]
}

/// The most that the server's processes used; nothing if the system does not tell.
fn peak_of_server(usage: &ResourceUsage) -> Option<Vec<String>> {
    let UsageLevel { fds, threads, memory_bytes } = usage.peak;
    // Every process has some. Wine counts none.
    let fds = fds.filter(|fds| *fds > 0);
    let counts = [fds.map(|n| format!("{} descriptors", show_count(n))), threads.map(|n| counted(n, "thread"))];
    let counts = counts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let memory = memory_bytes.map(|bytes| show_bytes(bytes as f64))?;
    Some(vec!["server peak".to_owned(), memory, counts])
}

/// Says that the server has more open than before. What is pooled and what leaks look alike after one run.
fn left_open(report: &RunReport) -> Option<String> {
    let usage = report.server_usage.as_ref()?;
    let kinds: [(&str, UsageFigure); 2] = [("descriptors", |level| level.fds), ("threads", |level| level.threads)];
    // How our own models pool their threads is known, and tested.
    let kinds = kinds.iter().filter(|(what, _)| *what != "threads" || report.server.is_none());
    let more = kinds.filter_map(|(what, of)| {
        let (before, after) = of(&usage.before).zip(of(&usage.settled))?;
        (after >= before + LEFT_BEHIND)
            .then(|| format!("{} {what}, and {} before", show_count(after), show_count(before)))
    });
    let more: Vec<String> = more.collect();
    (!more.is_empty()).then(|| {
        format!(
            "note: the server has {} the first connection: it pools them, or leaks them; case 10.3 of 'check' tells these \
             apart",
            more.join(", and ")
        )
    })
}

/// The resources of the processes of a merged report.
fn processes(report: &RunReport) -> Vec<Vec<String>> {
    let unknown = || "-".to_owned();
    let client = &report.client;
    let files: Vec<String> = report.parts.iter().map(|part| part.shard.clone()).collect();
    let shards =
        if files.len() > 8 { format!("shards {} to {}", files[0], files[files.len() - 1]) } else { files.join(", ") };
    let memory = client.peak_memory_bytes.map_or_else(unknown, |bytes| show_bytes(bytes as f64));
    let cpu = client.cpu_s.map_or_else(unknown, |s| show_time(Duration::try_from_secs_f64(s).unwrap_or_default()));
    vec![
        vec!["processes".to_owned(), show_count(report.parts.len() as u64), shards],
        vec!["total CPU".to_owned(), cpu, String::new()],
        vec!["total memory".to_owned(), memory, "the sum of each process's peak".to_owned()],
    ]
}

/// Notes that a reader of the figures needs.
pub(super) fn notes(report: &RunReport) -> Vec<String> {
    let sides = report.loads.iter().flat_map(|load| [(load, false), (load, true)]);
    let mut notes: Vec<String> = sides.filter_map(|(load, of_server)| saturation(load, of_server, report)).collect();
    notes.extend(shortages(&report.total).into_iter().map(|shortage| format!("note: {shortage}")));
    notes.extend(report.loads.iter().filter_map(|load| never_begun(load, report)));
    notes.extend(remarks::of(report).into_iter().map(|remark| format!("note: {remark}")));
    notes.extend(time_doubt(report));
    notes.extend(bottleneck(report).or_else(|| full_machine(report)));
    notes.extend(not_together(report));
    notes.extend(left_open(report));
    notes
}

/// Says that an open loop did not keep its rate, and what to do. `of_server`: where both ends are ours, it is the
/// server's.
fn saturation(load: &LoadReport, of_server: bool, report: &RunReport) -> Option<String> {
    let schedule = if of_server { &load.backend_rate } else { &load.rate };
    let schedule = schedule.as_ref().filter(|schedule| schedule.saturated == Some(true))?;
    let rate = |rate: Option<f64>| rate.map_or_else(|| "none".to_owned(), |rate| format!("{}/s", show_rate(rate)));
    let unsent = match schedule.unsent {
        0 => String::new(),
        unsent => format!(", and {} messages that were due were never sent", show_count(unsent)),
    };
    let advice = match report.client.was_bottleneck {
        Some(true) => {
            "the client had no CPU time left: give it more cores, or split the run over several processes (--shard)"
        }
        _ if report.client.machine_was_full == Some(true) => {
            "client and server together used all CPU time of this machine: give each its own"
        }
        _ if load.backend.is_some() => {
            "the path, or a machine that it shares with this program, is slower than that: ask for less to see its latency"
        }
        _ => {
            "the server, the path to it, or a machine that it shares with the client is slower than that: ask for less to \
             see its latency"
        }
    };
    let who = match (report.loads.len() > 1, of_server) {
        (false, false) => String::new(),
        (true, false) => format!("{} was ", load.name),
        (false, true) => "the server's side was ".to_owned(),
        (true, true) => format!("the server's side of {} was ", load.name),
    };
    let has_round_trips = load.backend.is_none() || kept_rates::has_replies(&load.config);
    let (done, trips) = if has_round_trips {
        ("came back", ". The round trips above are those of an overload, and grow with the length of the run")
    } else {
        ("arrived", "")
    };
    Some(format!(
        "note: {who}saturated: {}/s were asked for, {} were sent and {} {done}{unsent}: {advice}{trips}",
        show_rate(schedule.asked_per_s),
        rate(schedule.sent_per_s),
        rate(schedule.echoed_per_s)
    ))
}

/// Says that no message of an open loop was due.
fn never_begun(load: &LoadReport, report: &RunReport) -> Option<String> {
    let schedule = load.rate.or(load.backend_rate)?;
    if schedule.first_due_s.is_some() || report.total.opened == 0 {
        return None;
    }
    let whose = if report.loads.len() > 1 { format!(" of {}", load.name) } else { String::new() };
    let flag = if load.rate.is_some() { "--rate" } else { "--backend-rate" };
    Some(format!(
        "note: no message{whose} was due: under {flag}, messages are due once all connections are open, and the run ended \
         before that"
    ))
}

/// Says that the figures above are not those of the server alone, unless the verdict says so.
fn time_doubt(report: &RunReport) -> Option<String> {
    let gone = report.backend.as_ref().and_then(BackendReport::doubt);
    let doubt = gone.or_else(|| report.client.time_doubt(report.elapsed()))?.sentence;
    (!report.verdict.reasons.contains(&doubt)).then(|| format!("note: {doubt}"))
}

/// Says that processes did not run at the same time.
fn not_together(report: &RunReport) -> Option<String> {
    let started = |part: &PartReport| humantime::parse_rfc3339_weak(&part.started_at).ok();
    let starts: Vec<_> = report.parts.iter().filter_map(started).collect();
    let apart = starts.iter().max()?.duration_since(*starts.iter().min()?).ok()?;
    (apart.as_secs_f64() > report.elapsed_s / 10.0).then(|| {
        format!(
            "note: the processes started up to {} apart, and figures per second cover the whole time: --start-at makes \
             them start together",
            show_time(apart)
        )
    })
}

/// A rate with as many digits as it needs: 0.5, 99.7, 1,234.
fn show_rate(rate: f64) -> String {
    if rate < 100.0 { format!("{}", (rate * 100.0).round() / 100.0) } else { show_count(rate.round() as u64) }
}

fn bottleneck(report: &RunReport) -> Option<String> {
    (report.client.was_bottleneck == Some(true)).then(|| {
        let busy = report.client.busy.iter().flatten().copied().fold(0.0, f64::max);
        format!(
            "note: the client was the bottleneck (in its busiest second its busiest worker was {:.0} % busy): the server \
             may be faster than this",
            busy * 100.0
        )
    })
}

fn full_machine(report: &RunReport) -> Option<String> {
    (report.client.machine_was_full == Some(true)).then(|| {
        "note: client and server together used all CPU time of this machine: on its own the server may be faster than this"
            .to_owned()
    })
}
