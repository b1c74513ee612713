//! The findings of a load group as people read them: a line for each kind, then findings in full, the first of each
//! kind before the others.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::finding;
use super::run::{LoadReport, RunReport};
use super::style::{Role, Style};
use super::text::{show_count, show_time, wrapped};
use crate::measure::KindStats;
use crate::stream::{Finding, FindingKind};
use crate::units::counted;

/// Findings of a kind from which on it says something that all of them have in common.
const MIN_COMMON: u64 = 4;

/// Byte values that a known mechanism takes out of a stream, or doubles.
const KNOWN_VALUES: &[(&[u8], &str)] = &[
    (&[0x00], "NUL, which ends a C string"),
    (&[0xff], "IAC of telnet"),
    (&[0x00, 0xff], "NUL and IAC of telnet"),
    (&[0x11, 0x13], "XON and XOFF, the flow control of a terminal"),
    (&[0x0d], "CR"),
    (&[0x0a], "LF"),
    (&[0x03], "Ctrl-C of a terminal"),
    (&[0x04], "Ctrl-D, the end of file of a terminal"),
    (&[0x1a], "Ctrl-Z, the end of file of DOS"),
];

/// The kinds of findings of a load group of a run, and at most `at_most` of the findings that were kept. The answers of
/// a server that does not echo are not taken apart: the verdict says what they are.
pub(super) fn of_load(run: &RunReport, load: &LoadReport, at_most: usize, style: Style) -> String {
    render(load, in_order(&load.findings, if run.answered.is_some() { 0 } else { at_most }), style)
}

/// The same for a terminal: one finding of each kind of a connection, since the others look much like it.
pub(super) fn briefly(run: &RunReport, load: &LoadReport, at_most: usize, style: Style) -> String {
    let mut seen = BTreeSet::new();
    let mut shown = in_order(&load.findings, if run.answered.is_some() { 0 } else { usize::MAX });
    shown.retain(|finding| seen.insert((finding.divergence.conn, finding.divergence.kind)));
    shown.truncate(at_most);
    render(load, shown, style)
}

/// The kinds, and these of the findings that were kept.
fn render(load: &LoadReport, shown: Vec<&Finding>, style: Style) -> String {
    let counted = load.counters.findings_total();
    if counted == 0 {
        return String::new();
    }
    let mut text = String::new();
    if counted > 1 {
        for (kind, n) in &load.counters.findings {
            text.push_str(&wrapped(&kind_line(load, *kind, *n, style), style));
        }
        text.push('\n');
    }
    for finding in &shown {
        let _ = writeln!(text, "{}", finding::render(finding, style));
    }
    if counted > shown.len() as u64 {
        let kept = load.findings.len();
        let more = match kept {
            kept if shown.len() < kept => format!("--json holds {}", show_count(kept as u64)),
            _ => "--findings N shows more".to_owned(),
        };
        let _ = writeln!(text, "{} of {} findings are shown, {more}\n", shown.len(), show_count(counted));
    }
    text
}

/// The first of each kind, and then the others; both by their place. None says what another has said.
pub(super) fn in_order(findings: &[Finding], at_most: usize) -> Vec<&Finding> {
    let place = |finding: &&Finding| (finding.divergence.conn, finding.divergence.offset);
    let mut all: Vec<&Finding> = findings.iter().collect();
    all.sort_by_key(place);
    all.dedup_by(|later, earlier| later.divergence == earlier.divergence && later.local == earlier.local);
    let is_first = |n: usize| all[..n].iter().all(|other| other.divergence.kind != all[n].divergence.kind);
    let (first, others): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|&n| is_first(n));
    first.into_iter().chain(others).take(at_most).map(|n| all[n]).collect()
}

/// `122 × crosstalk on 20 of 20 connections, 512 bytes each, from 357 ms on`.
pub(super) fn kind_line(load: &LoadReport, kind: FindingKind, count: u64, style: Style) -> String {
    let mut line = format!("{} × {}", show_count(count), style.paint(Role::Kind, kind.name()));
    // A report of an earlier version has no sums.
    let Some(stats) = load.kinds.get(&kind) else { return line };
    let connections = match kind {
        FindingKind::ConnectFailed => load.counters.connects,
        _ => load.counters.opened,
    };
    let all = counted(connections.max(stats.connections), "connection");
    let _ = write!(line, " on {} of {all}", show_count(stats.connections));
    line.push_str(&sizes(kind, stats));
    let first = show_time(std::time::Duration::from_nanos((stats.first_ms.max(0.0) * 1e6) as u64));
    let _ = if count == 1 { write!(line, ", after {first}") } else { write!(line, ", from {first} on") };
    line + &in_common(kind, stats)
}

/// How many bytes each of them is about; nothing if they are not about bytes.
fn sizes(kind: FindingKind, stats: &KindStats) -> String {
    let KindStats { count, least_bytes: least, most_bytes: most, bytes, .. } = stats;
    let missing = match kind {
        FindingKind::Truncated | FindingKind::Stalled | FindingKind::Reset | FindingKind::TooSlow => " missing",
        _ => "",
    };
    let each = if *count == 1 { "" } else { " each" };
    match (least, most) {
        (_, 0) => String::new(),
        _ if least == most => format!(", {}{missing}{each}", counted(*most, "byte")),
        _ => format!(
            ", {} to {} bytes{missing}{each}, {} in all",
            show_count(*least),
            show_count(*most),
            show_count(*bytes)
        ),
    }
}

/// What the bytes of all of them have in common, after a colon.
fn in_common(kind: FindingKind, stats: &KindStats) -> String {
    let what = match kind {
        FindingKind::Lost => "lost",
        FindingKind::Duplicated => "doubled",
        _ => return String::new(),
    };
    if stats.count < MIN_COMMON {
        return String::new();
    }
    let name = |value: &u8| format!("0x{value:02x}");
    let known = |values: &[u8]| {
        let known = KNOWN_VALUES.iter().find(|(known, _)| *known == values);
        known.map_or_else(String::new, |(_, meaning)| format!(" ({meaning})"))
    };
    let KindStats { count, single, bytes, .. } = stats;
    let values = stats.values.as_deref().unwrap_or_default();
    // By chance, this many bytes hardly ever have so few values.
    let are_few = !values.is_empty() && values.len() as u64 * 4 <= *single && single * 2 >= *count;
    let names = || values.iter().map(name).collect::<Vec<_>>().join(" or ") + &known(values);
    match stats.in_each.as_deref() {
        _ if are_few && single == count => format!(": all {} {what} bytes were {}", show_count(*bytes), names()),
        Some([value]) => format!(": each {what} piece contains {}{}", name(value), known(&[*value])),
        _ if are_few => format!(": all {} that were {what} alone were {}", show_count(*single), names()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{LoadStats, kind_stats};
    use crate::report::sample;
    use crate::stream::{ConnId, Divergence};

    /// A load group with these findings, all of which were kept: their kind, connection, offset and bytes.
    fn load(findings: &[(FindingKind, u32, u64, &[u8])]) -> LoadReport {
        let mut load = sample::load("load");
        let mut stats = LoadStats::default();
        for (n, (kind, conn, offset, bytes)) in findings.iter().enumerate() {
            let mut finding = sample::finding(*conn);
            let conn = ConnId::new(*conn).expect("small");
            finding.divergence = Divergence::of_connection(*kind, conn, *offset, bytes.len() as u64);
            finding.divergence.short = Some(bytes.to_vec());
            let is_first =
                load.findings.iter().all(|other| (other.divergence.conn, other.divergence.kind) != (conn, *kind));
            finding.at_ms = 357.0 + n as f64;
            stats.found(&finding.divergence, finding.at_ms, is_first);
            load.findings.push(finding);
        }
        load.counters.findings = stats.counters.findings;
        load.counters.opened = 20;
        load.kinds = stats.kinds;
        load
    }

    fn kind_lines(load: &LoadReport) -> Vec<String> {
        let text = render(load, Vec::new(), Style::PLAIN);
        text.lines().take_while(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn a_line_says_how_many_of_a_kind_on_which_share_of_the_connections_and_since_when() {
        let crosstalk: Vec<_> = (0..40).map(|n| (FindingKind::Crosstalk, n % 20, 0, &[1u8; 512][..])).collect();
        assert_eq!(
            kind_lines(&load(&crosstalk)),
            ["40 × crosstalk on 20 of 20 connections, 512 bytes each, from 357 ms on"]
        );
        let mixed = [(FindingKind::Truncated, 1, 0, &[0u8; 1500][..]), (FindingKind::NoFin, 2, 0, &[])];
        assert_eq!(
            kind_lines(&load(&mixed)),
            [
                "1 × truncated on 1 of 20 connections, 1,500 bytes missing, after 357 ms",
                "1 × no-fin on 1 of 20 connections, after 358 ms"
            ]
        );
        assert_eq!(
            render(&load(&mixed[..1]), Vec::new(), Style::PLAIN),
            "0 of 1 findings are shown, --json holds 1\n\n",
            "one needs no sum"
        );
    }

    #[test]
    fn lost_bytes_that_are_all_the_same_say_so() {
        let lost = |pieces: &[&'static [u8]]| {
            let pieces: Vec<_> = pieces.iter().map(|bytes| (FindingKind::Lost, 1, 0, *bytes)).collect();
            kind_lines(&load(&pieces)).concat().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let nul = lost(&[&[0], &[0], &[0], &[0], &[0]]);
        assert!(nul.contains("1 byte each, from 357 ms on: all 5 lost bytes were 0x00 (NUL,"), "{nul}");
        let flow = lost(&[&[0x11], &[0x13], &[0x11], &[0x13], &[0x11], &[0x11], &[0x11], &[0x13]]);
        assert!(flow.contains("all 8 lost bytes were 0x11 or 0x13 (XON"), "{flow}");
        let pieces: [&[u8]; 10] =
            [&[0x11], &[0x13], &[0x11, 7, 0x13], &[0x11], &[8, 0x13], &[0x11], &[0x11], &[0x13], &[0x13], &[0x11]];
        let some_together = lost(&pieces);
        assert!(some_together.contains("all 8 that were lost alone were 0x11 or 0x13 (XON"), "{some_together}");
        let telnet = lost(&[&[0xff, 3], &[7, 0xff], &[0xff, 9, 3], &[0xff, 1, 2]]);
        assert!(telnet.contains("each lost piece contains 0xff (IAC of"), "{telnet}");
        for few_or_varied in [&[&[0][..], &[0], &[0]][..], &[&[1], &[2], &[3], &[4], &[5], &[6]]] {
            let line = lost(few_or_varied);
            assert!(line.ends_with(" on"), "{line}");
        }
    }

    #[test]
    fn one_of_each_kind_comes_first_then_the_others_by_place_and_none_twice() {
        use FindingKind::{Lost, Stale};
        let load =
            load(&[(Lost, 2, 9, &[1]), (Lost, 1, 9, &[1]), (Stale, 3, 0, &[]), (Lost, 1, 7, &[1]), (Lost, 1, 7, &[1])]);
        let places = |at_most| {
            let shown = in_order(&load.findings, at_most);
            shown.iter().map(|f| (f.divergence.conn.get(), f.divergence.offset)).collect::<Vec<_>>()
        };
        assert_eq!(places(9), [(1, 7), (3, 0), (1, 9), (2, 9)]);
        assert_eq!(places(2), [(1, 7), (3, 0)]);
    }

    #[test]
    fn a_terminal_shows_one_finding_of_each_kind_of_a_connection() {
        use FindingKind::{Lost, Stale};
        let load = load(&[(Lost, 1, 7, &[1]), (Lost, 1, 9, &[1]), (Stale, 1, 11, &[]), (Lost, 2, 9, &[1])]);
        let run = sample::run(&["load"]);
        let text = briefly(&run, &load, usize::MAX, Style::PLAIN);
        assert_eq!(text.matches("connection 1: ").count(), 2, "{text}");
        assert!(
            text.contains("connection 2: ") && text.contains("3 of 4 findings are shown, --json holds 4"),
            "{text}"
        );
        assert!(briefly(&run, &load, 1, Style::PLAIN).contains("1 of 4 findings are shown"), "{text}");
    }

    #[test]
    fn a_report_without_sums_still_counts() {
        let mut load = load(&[(FindingKind::Lost, 2, 9, &[1]), (FindingKind::Lost, 1, 9, &[1])]);
        load.kinds = kind_stats::KindStatsMap::new();
        assert_eq!(kind_lines(&load), ["2 × lost"]);
    }

    #[test]
    fn the_known_values_are_listed_once_in_order() {
        for (n, (values, meaning)) in KNOWN_VALUES.iter().enumerate() {
            assert!(values.is_sorted() && !values.is_empty() && !meaning.is_empty());
            assert!(KNOWN_VALUES[..n].iter().all(|(other, _)| other != values));
        }
    }
}
