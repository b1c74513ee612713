//! What a terminal shows of a run while it is going on: two or three lines, each of which fits. What does not fit is
//! left out, the least important first; a number or a word is never cut.

use std::time::Duration;

use textwrap::core::display_width;

use super::closing;
use super::style::{Role, Style};
use super::text::{show_bytes, show_count, show_time, visible};
use crate::measure::Counters;
use crate::units::counted;

/// Cells of the bar.
const BAR_CELLS: usize = 20;
/// What is said of a load before anything has come back.
const NOTHING_YET: &str = "no byte came back yet";
/// The heights of a sparkline.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The loads that are running, in sum.
#[derive(Clone, Debug, Default)]
pub struct LiveLoad {
    /// Totals so far.
    pub counters: Counters,
    /// Connections that are open at a time, as planned.
    pub connections: u64,
    /// Messages per second over the last moments, the latest at the end; empty at the start.
    pub rates: Vec<f64>,
    /// Verified bytes per second.
    pub bytes_per_s: f64,
    /// The median round trip and the 99th percentile so far.
    pub round_trips: Option<(Duration, Duration)>,
    /// How long it has been running.
    pub elapsed: Duration,
    /// The fraction that is done, 0 to 1, if it can be known.
    pub done: Option<f64>,
}

/// Several cases or rounds.
#[derive(Clone, Debug, Default)]
pub struct LiveSuite {
    /// How many have ended.
    pub ended: usize,
    /// How many there are.
    pub total: usize,
    /// Those that are running: what they are called, and for how long.
    pub running: Vec<(String, Duration)>,
    /// What is to end, in a word, if the whole is more than what is shown.
    pub whole: &'static str,
    /// How long the whole will still take.
    pub left: Option<Duration>,
}

impl LiveLoad {
    /// The time until it is done, if the part that is done is large enough to tell.
    fn left(&self) -> Option<Duration> {
        let done = self.done.filter(|done| *done > 0.02)?;
        let left = self.elapsed.as_secs_f64() * (1.0 - done).max(0.0) / done;
        (left >= 0.5).then(|| Duration::from_secs_f64(left))
    }

    /// `100 of 100 open`, and where connections come and go, how many have been opened.
    fn open(&self) -> String {
        let Counters { opened, reconnects, .. } = self.counters;
        let open = show_count(self.counters.open());
        match reconnects {
            0 => format!("{open} of {} open", show_count(self.connections)),
            _ => format!("{open} open · {} opened so far", show_count(opened)),
        }
    }

    fn rate(&self, style: Style) -> Option<String> {
        let spark = style.paint(Role::Quiet, &sparkline(&self.rates));
        Some(format!("{} {spark}", self.latest_rate()?))
    }

    fn latest_rate(&self) -> Option<String> {
        self.rates.last().map(|rate| format!("{}/s", counted(rate.round() as u64, "message")))
    }

    fn times(&self) -> Option<String> {
        self.round_trips.map(|(p50, p99)| format!("p50 {} · p99 {}", show_time(p50), show_time(p99)))
    }

    fn findings(&self, style: Style) -> Option<String> {
        let total = self.counters.findings_total();
        if total == 0 && self.counters.undecided > 0 {
            return Some(style.paint(Role::Bad, "bytes are wrong, and how is not certain yet"));
        }
        let label = style.paint(Role::Bad, &counted(total, "finding"));
        (total > 0).then(|| format!("{label}: {}", closing::kinds(&self.counters)))
    }
}

/// The lines of a single run.
pub fn of_run(load: &LiveLoad, style: Style) -> Vec<String> {
    let left = load.left().map(|left| format!("about {} left", whole(left)));
    let bar = load.done.map(|done| format!("{} {:.0} %", bar(done), (done * 100.0).floor()));
    let verified = show_bytes(load.counters.bytes_verified as f64);
    let so_far = match load.findings(style) {
        Some(findings) => findings,
        None if load.counters.bytes_verified == 0 => NOTHING_YET.to_owned(),
        None => format!("{verified} verified, nothing wrong so far"),
    };
    vec![
        fitting(&[Some(tenths(load.elapsed)), bar, left], &[1, 2], style),
        fitting(&[Some(load.open()), load.rate(style), rate_of_bytes(load)], &[2, 1], style),
        fitting(&[load.times(), Some(so_far)], &[0], style),
    ]
}

/// The lines of several cases or rounds, of which one or more are running.
pub fn of_suite(suite: &LiveSuite, load: Option<&LiveLoad>, style: Style) -> Vec<String> {
    let place = format!("[{}/{}]", (suite.ended + 1).min(suite.total), suite.total);
    // What takes longer than usual has no time left that could be told.
    let left = suite.left.filter(|left| left.as_secs_f64() >= 0.5);
    let left = left.map(|left| format!("{} about {} left", suite.whole, whole(left)).trim().to_owned());
    let mut lines = Vec::new();
    match &suite.running[..] {
        [] => lines.push(fitting(&[Some(place), left], &[1], style)),
        [(title, time)] => {
            let end = [Some(tenths(*time)), left].into_iter().flatten().collect::<Vec<_>>().join(" · ");
            let room = style.columns().saturating_sub(display_width(&place) + display_width(&end) + 5);
            let title = words(&visible(title), room);
            let gap = if title.ends_with('…') { " " } else { " … " };
            lines.push(format!("{} {title}{gap}{end}", style.paint(Role::Strong, &place)));
        }
        several => {
            let count = format!("{} {} at a time", style.paint(Role::Strong, &place), several.len());
            lines.push(fitting(&[Some(count), left], &[1], style));
            lines.push(as_many(
                several.iter().map(|(title, time)| format!("{} {}", short(title), tenths(*time))),
                style,
            ));
        }
    }
    let Some(load) = load else { return lines };
    let times = load.times().filter(|_| suite.running.len() == 1);
    lines.push(fitting(&[Some(load.open()), load.rate(style), times], &[2, 1], style));
    lines.extend(load.findings(style).map(|findings| fitting(&[Some(findings)], &[], style)));
    lines
}

/// A line for a log, where nothing can be redrawn.
pub fn log_line(load: &LiveLoad) -> String {
    let verified = match load.counters.bytes_verified {
        0 => NOTHING_YET.to_owned(),
        bytes => format!("{} verified", show_bytes(bytes as f64)),
    };
    let parts = [Some(load.open()), Some(verified), rate_of_bytes(load), load.latest_rate()];
    let text = parts.into_iter().flatten().chain(load.findings(Style::PLAIN)).collect::<Vec<_>>().join(" · ");
    format!("{}: {text}", tenths(load.elapsed))
}

fn rate_of_bytes(load: &LiveLoad) -> Option<String> {
    (!load.rates.is_empty()).then(|| format!("{}/s", show_bytes(load.bytes_per_s)))
}

/// The parts in one line. Where they do not fit, those that `dispensable` lists are left out, the first of them first.
fn fitting(parts: &[Option<String>], dispensable: &[usize], style: Style) -> String {
    let mut parts = parts.to_vec();
    let joined = |parts: &[Option<String>]| parts.iter().flatten().cloned().collect::<Vec<_>>().join(" · ");
    for n in dispensable {
        if display_width(&joined(&parts)) < style.columns() {
            break;
        }
        parts[*n] = None;
    }
    words(&joined(&parts), style.columns() - 1)
}

/// As many of these as fit in one line.
fn as_many(parts: impl Iterator<Item = String>, style: Style) -> String {
    let mut line = String::new();
    for part in parts {
        let gap = if line.is_empty() { "" } else { " · " };
        if display_width(&line) + display_width(gap) + display_width(&part) + 2 >= style.columns() {
            return line + " …";
        }
        line = line + gap + &part;
    }
    line
}

/// The text, or as many of its words as there is room for.
fn words(text: &str, room: usize) -> String {
    if display_width(text) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for word in text.split(' ') {
        if display_width(&kept) + display_width(word) + 2 > room {
            break;
        }
        kept = if kept.is_empty() { word.to_owned() } else { format!("{kept} {word}") };
    }
    kept + "…"
}

/// The id of a title, or its first words.
fn short(title: &str) -> String {
    let title = visible(title);
    match title.split_once(' ') {
        Some((id, _)) if id.starts_with(|c: char| c.is_ascii_digit()) => id.to_owned(),
        _ => words(&title, 24),
    }
}

/// `2.5 s`.
fn tenths(time: Duration) -> String {
    if time < Duration::from_secs(60) { format!("{:.1} s", time.as_secs_f64()) } else { whole(time) }
}

/// `14 s`, `2 min 5 s`, `1 h 12 min`: no more digits than such an estimate has.
fn whole(time: Duration) -> String {
    match time.as_secs_f64().ceil() as u64 {
        s if s < 60 => format!("{s} s"),
        s if s < 3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

fn bar(done: f64) -> String {
    let full = (done.clamp(0.0, 1.0) * BAR_CELLS as f64) as usize;
    "━".repeat(full) + &"╌".repeat(BAR_CELLS - full)
}

fn sparkline(values: &[f64]) -> String {
    let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let height = |value: &f64| HEIGHTS[((value / most) * (HEIGHTS.len() - 1) as f64).round() as usize];
    values.iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::FindingKind;

    fn load() -> LiveLoad {
        LiveLoad {
            counters: Counters {
                connects: 100,
                opened: 100,
                passed: 4,
                bytes_verified: 64 << 20,
                ..Counters::default()
            },
            connections: 100,
            rates: vec![0.0, 12_000.0, 24_310.4],
            bytes_per_s: 3e8,
            round_trips: Some((Duration::from_micros(4100), Duration::from_micros(9700))),
            elapsed: Duration::from_millis(3040),
            done: Some(0.381),
        }
    }

    fn suite() -> LiveSuite {
        let running = vec![("4.1 a silent connection delays nobody".to_owned(), Duration::from_millis(2500))];
        LiveSuite { ended: 11, total: 26, running, whole: "suite", left: Some(Duration::from_millis(13_200)) }
    }

    #[test]
    fn a_run_shows_like_this() {
        insta::assert_snapshot!(of_run(&load(), Style::PLAIN).join("\n"), @r"
        3.0 s · ━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌ 38 % · about 5 s left
        96 of 100 open · 24,310 messages/s ▁▄█ · 286 MiB/s
        p50 4.10 ms · p99 9.70 ms · 64 MiB verified, nothing wrong so far
        ");
        let mut churn = load();
        (churn.counters.reconnects, churn.counters.opened, churn.done) = (28_714, 28_814, None);
        (churn.counters.passed, churn.counters.failed) = (28_716, 2);
        churn.counters.findings = [(FindingKind::Crosstalk, 8), (FindingKind::Lost, 4)].into();
        insta::assert_snapshot!(of_run(&churn, Style::PLAIN).join("\n"), @r"
        3.0 s
        96 open · 28,814 opened so far · 24,310 messages/s ▁▄█ · 286 MiB/s
        p50 4.10 ms · p99 9.70 ms · 12 findings: 8 × crosstalk, 4 × lost
        ");
    }

    #[test]
    fn bytes_that_are_wrong_in_a_way_that_is_not_certain_are_not_called_right() {
        let mut undecided = load();
        undecided.counters.undecided = 1;
        let lines = of_run(&undecided, Style::PLAIN);
        assert!(lines[2].ends_with("bytes are wrong, and how is not certain yet"), "{lines:?}");
    }

    #[test]
    fn a_suite_shows_like_this() {
        insta::assert_snapshot!(of_suite(&suite(), Some(&load()), Style::PLAIN).join("\n"), @r"
        [12/26] 4.1 a silent connection delays nobody … 2.5 s · suite about 14 s left
        96 of 100 open · 24,310 messages/s ▁▄█ · p50 4.10 ms · p99 9.70 ms
        ");
        let mut several = suite();
        several.running.push(("it has no id".to_owned(), Duration::from_millis(300)));
        insta::assert_snapshot!(of_suite(&several, Some(&load()), Style::PLAIN).join("\n"), @r"
        [12/26] 2 at a time · suite about 14 s left
        4.1 2.5 s · it has no id 0.3 s
        96 of 100 open · 24,310 messages/s ▁▄█
        ");
    }

    #[test]
    fn no_line_is_wider_than_the_screen_or_ends_within_a_word() {
        let mut many = suite();
        many.running = (0..40).map(|n| (format!("{n}.1 x"), Duration::from_secs(n))).collect();
        let mut found = load();
        found.counters.findings = crate::stream::FINDING_KINDS.iter().map(|row| (row.kind, 1 << 40)).collect();
        for columns in [40, 60, 80, 100] {
            let style = Style::new(columns, true);
            let views = [of_run(&found, style), of_suite(&suite(), Some(&found), style), of_suite(&many, None, style)];
            for line in views.concat() {
                assert!(display_width(&line) < columns, "{columns}: {line}");
            }
        }
        assert_eq!(words("a silent connection delays nobody", 22), "a silent connection…");
    }

    #[test]
    fn times_have_the_digits_of_an_estimate() {
        let shown = [13.2, 125.0, 4320.0].map(|s| whole(Duration::from_secs_f64(s)));
        assert_eq!(shown, ["14 s", "2 min 5 s", "1 h 12 min"]);
    }
}
