//! A comparison as text: the tables of the terminal, and the same in Markdown.

use std::fmt::Write as _;

use super::closing::Closing;
use super::compare::{ComparePoint, CompareReport, Contender};
use super::compare_figures::Figure;
use super::quantity::{UNKNOWN, two_digits};
use super::style::Style;
use super::table::Table;
use super::text::{visible, wrapped};
use super::{closing, compare_sweep_text, finding};
use crate::judge::difference::{Difference, Ratio, chance_of_a_false_difference};
use crate::judge::outcome::CaseOutcome;
use crate::judge::verdict::Verdict;
use crate::units::counted;

/// The columns of the first table, after the server and its verdict.
const SPEED: [(&str, Figure); 4] = [
    ("round trips", Figure::MessagesPerS),
    ("p50", Figure::RttP50Ns),
    ("p99", Figure::RttP99Ns),
    ("connect p99", Figure::ConnectP99Ns),
];
/// The columns of the second table, after the server.
const COST: [(&str, Figure); 6] = [
    ("CPU", Figure::ServerCpuUsPerMessage),
    ("switches", Figure::ContextSwitchesPerMessage),
    ("calls", Figure::SystemCallsPerMessage),
    ("threads", Figure::Threads),
    ("at rest", Figure::MemoryAtRestBytes),
    ("a conn.", Figure::MemoryPerConnectionBytes),
];
const COST_TITLE: &str =
    "a message: CPU time, context switches, system calls; the most threads; memory at rest and a conn.";

/// The median of a figure, with its unit.
pub(super) fn cell(contender: &Contender, figure: Figure) -> String {
    contender.figure(figure).map_or_else(|| UNKNOWN.to_owned(), |spread| figure.quantity().show(spread.median))
}

/// The comparison as people read it on a terminal: the tables, the first finding of each server that failed, notes on
/// the figures, and the last lines with the verdict.
pub fn render(report: &CompareReport, closing: &Closing, style: Style) -> String {
    let mut text = String::new();
    match (&report.sweep, report.points.as_slice()) {
        (Some(sweep), _) => text.push_str(&compare_sweep_text::render(report, sweep, style)),
        (None, points) => points.iter().for_each(|point| text.push_str(&tables(report, point, style))),
    }
    text.push_str(&failures(report, style));
    for note in notes(report) {
        let _ = write!(text, "\n{}", wrapped(&visible(&note), style));
    }
    let mut text = format!("{}\n\n", text.trim_end());
    text.extend(closing.files(style));
    if report.verdict() != Verdict::Pass {
        text.extend(closing.replay.as_ref().map(|again| closing::command("again", again, style)));
    }
    text + &closing::verdict_line(report.verdict(), &report.summary(), style)
}

/// The tables of one point.
fn tables(report: &CompareReport, point: &ComparePoint, style: Style) -> String {
    let speed = |contender: &Contender| {
        let verdict = style.paint(contender.outcome.into(), contender.outcome_name());
        let own = [visible(&contender.name), verdict];
        own.into_iter().chain(SPEED.map(|(_, figure)| cell(contender, figure))).collect()
    };
    let header: Vec<&str> = ["server", "verdict"].into_iter().chain(SPEED.map(|(title, _)| title)).collect();
    let speeds = Table::new(&header, point.contenders.iter().map(speed).collect()).left(&[0, 1]);
    let mut text = format!("{}\n", speeds.dispensable(&[5, 3]).render(style));
    let with_figures = || point.contenders.iter().filter(|contender| contender.figures.is_some());
    if with_figures().any(|contender| COST.iter().any(|(_, figure)| contender.figure(*figure).is_some())) {
        let header: Vec<&str> = ["server"].into_iter().chain(COST.map(|(title, _)| title)).collect();
        let cost = |contender: &Contender| {
            [visible(&contender.name)].into_iter().chain(COST.map(|(_, figure)| cell(contender, figure))).collect()
        };
        let _ = write!(
            text,
            "\n{}{}",
            wrapped(COST_TITLE, style),
            table(&header, with_figures().map(cost).collect(), style)
        );
    }
    if let Some(basis) = point.basis(report.compared_by) {
        let rows: Vec<Vec<String>> = with_figures()
            .filter_map(|contender| {
                let ratio = contender.ratio?;
                Some(vec![visible(&contender.name), ratio_text(&ratio), interval_text(&ratio), said(&ratio).to_owned()])
            })
            .collect();
        if !rows.is_empty() {
            let title = format!("{}, as a multiple of that of {}", report.compared_by.title(), basis.name);
            let _ = write!(
                text,
                "\n{}{}",
                wrapped(&title, style),
                table(&["server", "ratio", "interval", ""], rows, style)
            );
        }
    }
    text
}

fn table(header: &[&str], rows: Vec<Vec<String>>, style: Style) -> String {
    format!("{}\n", Table::new(header, rows).render(style))
}

/// The ratio of the medians.
pub(super) fn ratio_text(ratio: &Ratio) -> String {
    two_digits(ratio.value)
}

/// From the least to the greatest ratio of two rounds.
pub(super) fn interval_text(ratio: &Ratio) -> String {
    format!("{}–{}", two_digits(ratio.low), two_digits(ratio.high))
}

/// What must be said beside a ratio, if anything.
pub(super) fn said(ratio: &Ratio) -> &'static str {
    match ratio.difference {
        Difference::Shown => "",
        Difference::NotShown => "no difference shown",
        Difference::TooFewRounds => "too few rounds to tell",
    }
}

/// Each server that did not pass, where it did not, with its reasons and its first finding. What was told of a server
/// is not told again.
fn failures(report: &CompareReport, style: Style) -> String {
    let mut text = String::new();
    let mut told: Vec<(&str, &[String])> = Vec::new();
    for (point, contender) in report.contenders().filter(|(_, contender)| contender.outcome != CaseOutcome::Pass) {
        let is_first = told.iter().all(|(name, _)| *name != contender.name);
        if told.contains(&(&contender.name, &contender.reasons)) {
            continue;
        }
        told.push((&contender.name, &contender.reasons));
        let place = report.place(point).map_or_else(String::new, |place| format!(" ({place})"));
        let _ = write!(text, "\n{}{place}: {}", visible(&contender.name), contender.outcome_name());
        contender.reasons.iter().for_each(|reason| {
            let lines = wrapped(&visible(reason), style.indented(2)).replace('\n', "\n  ");
            let _ = write!(text, "\n  {}", lines.trim_end());
        });
        text.push('\n');
        let finding = contender.rounds.iter().flat_map(|round| &round.findings).next();
        if let Some(finding) = finding.filter(|_| is_first) {
            let _ = write!(text, "\n{}", finding::render(finding, style));
        }
    }
    text
}

/// Remarks on the figures: what was left out, what is in doubt, what an interval says.
pub(super) fn notes(report: &CompareReport) -> Vec<String> {
    let mut notes: Vec<String> =
        report.skipped.iter().map(|skipped| format!("skipped: {}: {}", skipped.name, skipped.why)).collect();
    notes.extend(rounds_in(report, |contender| contender.client_was_bottleneck).map(|which| {
        format!(
            "note: the client had no CPU time left ({which} rounds), which hides how much faster a server is: compare the \
             CPU columns, or give the client more cores"
        )
    }));
    notes.extend(rounds_in(report, |contender| contender.machine_was_full).map(|which| {
        format!(
            "note: the machine had no CPU time left for client and server together ({which} rounds): on separate machines \
             the figures and their ratios may differ"
        )
    }));
    notes.extend(doubtful_rounds(report));
    notes.extend(uncounted_calls(report));
    notes.extend(about_intervals(report));
    notes
}

/// Why there are no system calls where the processes of a server are watched, on the system that could count them.
fn uncounted_calls(report: &CompareReport) -> Option<String> {
    let figures = || report.contenders().map(|(_, contender)| move |figure| contender.figure(figure).is_some());
    let is_watched = figures().any(|has| has(Figure::MemoryAtRestBytes) || has(Figure::ServerCpuUsPerMessage));
    let is_counted = figures().any(|has| has(Figure::SystemCallsPerMessage));
    let is_linux = report.setting.machine.as_ref().is_some_and(|machine| machine.system.starts_with("linux"));
    (is_watched && !is_counted && is_linux).then(|| {
        "note: the system calls could not be counted: that needs a tracefs that is mounted (mount -t tracefs tracefs \
         /sys/kernel/tracing) and may be read, and root or a perf_event_paranoid of 1 or less"
            .to_owned()
    })
}

/// The rounds whose times are in doubt: how many of each server, and why the first one is.
fn doubtful_rounds(report: &CompareReport) -> Option<String> {
    let doubts: fn(&Contender) -> u64 =
        |contender| contender.rounds.iter().filter(|round| round.time_doubt.is_some()).count() as u64;
    let which = rounds_in(report, doubts)?;
    let (point, contender) = report.contenders().find(|(_, contender)| doubts(contender) > 0)?;
    let (number, why) =
        (1..).zip(&contender.rounds).find_map(|(number, round)| Some((number, round.time_doubt.as_ref()?)))?;
    let place = report.place(point).map_or_else(String::new, |place| format!(" at {place}"));
    Some(format!(
        "note: some figures may be those of the machine ({which} rounds). In round {number} of {}{place}, {why}",
        contender.name
    ))
}

/// The servers for which `count` is not 0, with their counts over all points: `epoll in 2 of 3, poll in 1 of 3`.
fn rounds_in(report: &CompareReport, count: fn(&Contender) -> u64) -> Option<String> {
    let counts = report.names().into_iter().filter_map(|name| {
        let own = || report.contenders().map(|(_, contender)| contender).filter(|contender| contender.name == name);
        let (some, all): (u64, usize) = (own().map(count).sum(), own().map(|contender| contender.rounds.len()).sum());
        (some > 0).then(|| format!("{name} in {some} of {all}"))
    });
    Some(counts.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
}

/// What an interval says, and how far it can be trusted.
fn about_intervals(report: &CompareReport) -> Option<String> {
    let rounds = report.contenders().filter(|(_, contender)| contender.ratio.is_some());
    let rounds = rounds.filter_map(|(_, contender)| contender.figure(report.compared_by)).map(|spread| spread.rounds);
    let rounds = rounds.min()?;
    if rounds < 3 {
        return Some(format!(
            "note: {} of each server cannot show whether they differ: write --rounds 3 or more",
            counted(rounds, "round")
        ));
    }
    let one_in = (1.0 / chance_of_a_false_difference(rounds, rounds)).round() as u64;
    Some(format!(
        "note: an interval holds the ratio of any two of the {rounds} rounds. Where they overlap, no difference is shown; \
         of two servers that are equal, 1 comparison in {one_in} would show one"
    ))
}

/// The table in Markdown: all figures, with a row for each server at each point.
pub fn markdown(report: &CompareReport) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
    let axis = report.sweep.as_ref().map(|sweep| sweep.axis.clone());
    let names = axis.iter().cloned().chain(["server".to_owned(), "verdict".to_owned()]);
    let ratios = [report.compared_by.title().to_owned() + " ratio", "interval".to_owned()];
    let header: Vec<String> =
        names.chain(Figure::ALL.iter().map(|figure| figure.title().to_owned())).chain(ratios).collect();
    let left = 2 + usize::from(axis.is_some());
    let aligned: Vec<String> = (0..header.len()).map(|i| if i < left { "---" } else { "---:" }.to_owned()).collect();
    let about = report.points.first().map_or("", |point| point.about.as_str());
    let about = if axis.is_some() { "" } else { about };
    let mut text = format!("{about}{}seed {}\n\n", if about.is_empty() { "" } else { ", " }, report.setting.seed);
    text.push_str(&row(&header));
    text.push_str(&row(&aligned));
    for (point, contender) in report.contenders() {
        let value = axis.is_some().then(|| point.value.clone().unwrap_or_default());
        let own = value.into_iter().chain([contender.name.clone(), contender.outcome_and_kinds()]);
        let ratio = contender.ratio.as_ref();
        let ratios = [
            ratio.map_or_else(|| UNKNOWN.to_owned(), ratio_text),
            ratio.map_or_else(
                || UNKNOWN.to_owned(),
                |r| format!("{} {}", interval_text(r), said(r)).trim_end().to_owned(),
            ),
        ];
        let cells = own.chain(Figure::ALL.iter().map(|figure| cell(contender, *figure))).chain(ratios);
        text.push_str(&row(&cells.map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>()));
    }
    for note in notes(report) {
        let _ = write!(text, "\n{note}\n");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::compare::SkippedModel;
    use crate::report::compare::tests::{compared, contender, round, swept};

    fn text_of(report: &CompareReport, style: Style) -> String {
        render(report, &Closing::default(), style)
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        let closing =
            Closing { files: vec!["r.json".to_owned()], replay: Some("echo-tester compare --seed 7".to_owned()) };
        let last = |report: &CompareReport| {
            let text = render(report, &closing, Style::PLAIN);
            text.rsplit_once("\n\n").expect("the last lines stand apart").1.to_owned()
        };
        let good = || vec![contender("a", &[100.0, 110.0]), contender("b", &[200.0, 210.0])];
        assert_eq!(last(&compared(good())), "reports: r.json\nverdict: pass · 2 servers verified in 2 rounds each");
        let bad = Contender::new("wrong".to_owned(), vec![round(Verdict::Fail, 900.0)]);
        assert_eq!(
            last(&compared(good().into_iter().chain([bad]).collect())),
            "reports: r.json\nagain: echo-tester compare --seed 7\nverdict: fail · 1 of 3 servers did not pass: wrong (fail)"
        );
        let sweep = last(&swept(&["10", "100"]));
        assert!(sweep.ends_with("2 servers verified in 3 rounds each at 2 values of conns"), "{sweep}");
    }

    #[test]
    fn a_server_that_failed_is_shown_with_its_reasons() {
        let report = compared(vec![Contender::new("a".to_owned(), vec![round(Verdict::Fail, 2000.0)])]);
        assert!(text_of(&report, Style::PLAIN).contains("a: fail\n  why"), "{}", text_of(&report, Style::PLAIN));
    }

    #[test]
    fn the_tables_read_like_this() {
        let mut report = compared(vec![
            contender("epoll", &[100.0, 110.0, 104.0]),
            contender("io-uring", &[200.0, 210.0, 204.0]),
            contender("poll", &[90.0, 210.0, 95.0]),
            Contender::new("mine, too".to_owned(), vec![round(Verdict::Inconclusive, 5.0)]),
        ]);
        report.skipped =
            vec![SkippedModel { name: "iocp".to_owned(), why: "it needs Windows".to_owned(), named: true }];
        insta::assert_snapshot!(text_of(&report, Style::PLAIN));
        insta::assert_snapshot!(markdown(&report));
    }

    #[test]
    fn the_tables_of_the_longest_names_fit_a_terminal() {
        let report = compared(vec![
            contender("overlapped-callback", &[1_234_567.0, 1_234_568.0, 1_234_569.0]),
            Contender::new("socket-notification".to_owned(), vec![round(Verdict::Inconclusive, 5.0)]),
            contender("threadpool-io", &[234_567.0, 2_234_568.0, 1_234_569.0]),
        ]);
        let text = text_of(&report, Style::new(80, false));
        assert!(!text.contains("\n  p50"), "there are no cards: {text}");
        let tables = text.split("\nnote:").next().expect("there is text");
        assert!(tables.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn too_few_rounds_are_told() {
        let text =
            text_of(&compared(vec![contender("a", &[100.0, 110.0]), contender("b", &[200.0, 210.0])]), Style::PLAIN);
        assert!(text.contains("too few rounds to tell") && text.contains("write --rounds 3 or more"), "{text}");
        assert!(
            !text_of(&compared(vec![contender("a", &[1.0])]), Style::PLAIN).contains("--rounds"),
            "there is nothing to compare"
        );
    }

    #[test]
    fn a_dead_server_is_told_once_in_a_sweep() {
        let mut report = swept(&["10", "100"]);
        for point in &mut report.points {
            point.contenders.push(Contender::new("dead".to_owned(), vec![round(Verdict::Inconclusive, 0.0)]));
        }
        let text = text_of(&report, Style::PLAIN);
        assert_eq!(text.matches("why").count(), 1, "{text}");
        assert!(text.contains("dead (conns 10): inconclusive\n  why"), "{text}");
    }

    #[test]
    fn markdown_of_a_sweep_has_a_row_for_each_server_at_each_value() {
        let text = markdown(&swept(&["10", "100"]));
        assert!(text.contains("| conns | server | verdict |") && text.contains("| 100 | select | pass |"), "{text}");
    }
}
