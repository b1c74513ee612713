//! The last lines of a result on a terminal, where the eye is: what was found, the report files, the command that runs
//! it again, and as the very last line the verdict.

use std::fmt::Write as _;

use super::run::RunReport;
use super::style::{Role, Style};
use super::text::{hanging, show_count, visible};
use crate::judge::verdict::Verdict;
use crate::measure::Counters;
use crate::units::counted;

/// Kinds of findings that a line names; of the others it says only how many they are.
const MAX_KINDS: usize = 4;

/// What a result leaves for its reader besides what was measured.
#[derive(Clone, Debug, Default)]
pub struct Closing {
    /// The report files that were written.
    pub files: Vec<String>,
    /// The command that runs it again.
    pub replay: Option<String>,
}

impl Closing {
    /// A line for the files, if there are any.
    pub(super) fn files(&self, style: Style) -> Option<String> {
        let label = style.paint(Role::Quiet, "reports:");
        let files: Vec<String> = self.files.iter().map(|file| visible(file)).collect();
        (!files.is_empty()).then(|| hanging(&format!("{label} {}", files.join(", ")), "  ", style) + "\n")
    }
}

/// A line with a command that can be copied, so it is never broken. `what` says what it does.
pub(super) fn command(what: &str, command: &str, style: Style) -> String {
    format!("{} {}\n", style.paint(Role::Quiet, &format!("{what}:")), visible(command))
}

/// The last line: the verdict, and in a few words why.
pub(super) fn verdict_line(verdict: Verdict, why: &str, style: Style) -> String {
    let word = style.paint(verdict.into(), verdict.name());
    // The word is not said twice.
    let why = why.strip_prefix("interrupted with ").unwrap_or(why);
    hanging(&format!("verdict: {word} · {}", visible(why)), "  ", style)
}

/// The last lines of a run, without a line break at the end.
pub(super) fn of_run(report: &RunReport, closing: &Closing, style: Style) -> String {
    let verdict = &report.verdict;
    let headline = headline(report);
    let mut text = String::new();
    let is_said = |reason: &&String| headline.starts_with(reason.as_str());
    for reason in verdict.reasons.iter().filter(|reason| !is_said(reason)) {
        let _ = writeln!(text, "  {}", hanging(&visible(reason), "  ", style.indented(2)));
    }
    text.extend(closing.files(style));
    if verdict.outcome != Verdict::Pass {
        text.extend(closing.replay.as_ref().map(|replay| command("replay", replay, style)));
    }
    text + &verdict_line(verdict.outcome, &headline, style)
}

/// Why the verdict is what it is, in a few words: `122 × crosstalk on 20 of 20 connections`.
pub fn headline(report: &RunReport) -> String {
    let total = &report.total;
    let first = report.verdict.reasons.first().cloned().unwrap_or_default();
    if report.verdict.outcome == Verdict::Interrupted && !total.findings.is_empty() {
        return format!("{first}, {}", kinds(total));
    }
    if report.verdict.outcome != Verdict::Fail || report.answered.is_some() || total.findings.is_empty() {
        return first;
    }
    let all = counted(total.connects.max(total.opened), "connection");
    format!("{} on {} of {all}", kinds(total), show_count(total.failed))
}

/// `122 × crosstalk, 4 × lost`: the most frequent kinds first.
pub(super) fn kinds(counters: &Counters) -> String {
    let mut all: Vec<_> = counters.findings.iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let more = all.split_off(all.len().min(MAX_KINDS));
    let mut named: Vec<String> =
        all.iter().map(|(kind, count)| format!("{} × {}", show_count(**count), kind.name())).collect();
    named.extend((!more.is_empty()).then(|| counted(more.len() as u64, "more kind")));
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use crate::stream::FindingKind;

    fn run() -> RunReport {
        sample::fail().run.expect("the case has run")
    }

    #[test]
    fn the_last_line_is_the_verdict_after_what_to_do_next() {
        let closing = Closing {
            files: vec!["r.json".to_owned(), "page.html".to_owned()],
            replay: Some("echo-tester blast 127.0.0.1:9000 --seed 7".to_owned()),
        };
        let mut failed = run();
        failed.verdict.outcome = Verdict::Fail;
        failed.verdict.reasons = vec!["2 × corrupt: Bytes came back changed, in their right place.".to_owned()];
        (failed.total.failed, failed.total.opened, failed.total.connects) = (1, 20, 20);
        failed.total.findings = [(FindingKind::Corrupt, 2)].into();
        insta::assert_snapshot!(of_run(&failed, &closing, Style::PLAIN), @r"
          2 × corrupt: Bytes came back changed, in their right place.
        reports: r.json, page.html
        replay: echo-tester blast 127.0.0.1:9000 --seed 7
        verdict: fail · 2 × corrupt on 1 of 20 connections
        ");
        assert_eq!(
            verdict_line(Verdict::Interrupted, "interrupted with 2 of 3 connections ended", Style::PLAIN),
            "verdict: interrupted · 2 of 3 connections ended"
        );
        failed.verdict.outcome = Verdict::Interrupted;
        failed.verdict.reasons.insert(0, "interrupted with 1 of 20 connections ended".to_owned());
        let interrupted = of_run(&failed, &Closing::default(), Style::PLAIN);
        let last = "\nverdict: interrupted · 1 of 20 connections ended, 2 × corrupt";
        assert!(interrupted.ends_with(last) && interrupted.matches("1 of 20").count() == 1, "{interrupted}");
        failed.verdict.outcome = Verdict::Pass;
        failed.verdict.reasons = vec!["20 connections, nothing wrong".to_owned()];
        assert_eq!(
            of_run(&failed, &Closing { files: Vec::new(), ..closing }, Style::PLAIN),
            "verdict: pass · 20 connections, nothing wrong",
            "what passed needs no replay"
        );
    }

    #[test]
    fn the_most_frequent_kinds_come_first_and_rare_ones_are_counted() {
        use FindingKind::{Corrupt, Crosstalk, Lost, NoFin, Reset, Stale};
        let of = |findings: &[(FindingKind, u64)]| {
            kinds(&Counters { findings: findings.iter().copied().collect(), ..Counters::default() })
        };
        assert_eq!(of(&[(Corrupt, 3), (Crosstalk, 1220)]), "1,220 × crosstalk, 3 × corrupt");
        let many = [(Corrupt, 3), (Crosstalk, 9), (Lost, 8), (NoFin, 7), (Reset, 6), (Stale, 2)];
        assert_eq!(of(&many), "9 × crosstalk, 8 × lost, 7 × no-fin, 6 × reset, 2 more kinds");
    }
}
