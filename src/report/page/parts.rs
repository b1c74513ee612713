//! Small parts that several places of a page share: a command to copy, preformatted text, the class of an outcome.

use maud::{Markup, html};

use crate::exit::Exit;
use crate::judge::outcome::CaseOutcome;
use crate::report::suite::CaseReport;
use crate::report::text::plain;

/// How much of a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Everything.
    Whole,
    /// No plots: there are too many runs on the page.
    WithoutPlots,
}

/// A command with a button that copies it. Without script there is no button.
pub(super) fn command(title: &str, line: &str) -> Markup {
    html! {
        @if !line.is_empty() {
            div.command { span.aside { (title) } code { (plain(line)) } button.copy type="button" { "copy" } }
        }
    }
}

/// Preformatted text under a heading; nothing if there is no text.
pub(super) fn block(title: &str, text: &str) -> Markup {
    let text = plain(text);
    html! { @if !text.trim().is_empty() { h4 { (title) } pre.text { (text.trim_end()) } } }
}

/// The name of a case without its server, and the server: its target, or the model that stands in brackets at the end.
/// `None` if its name has no server.
pub(super) fn of_server(case: &CaseReport) -> Option<(&str, &str)> {
    let (name, server) = case.name.strip_suffix(']')?.rsplit_once(" [")?;
    Some((name, case.target.as_deref().unwrap_or(server)))
}

/// The class of an outcome: its colour.
pub(super) fn class(outcome: CaseOutcome) -> &'static str {
    match outcome {
        CaseOutcome::Pass => "pass",
        CaseOutcome::Fail | CaseOutcome::Stale | CaseOutcome::ThresholdMissed => "bad",
        CaseOutcome::Info => "info",
        CaseOutcome::Known
        | CaseOutcome::Expected
        | CaseOutcome::BackendsOwn
        | CaseOutcome::Weak
        | CaseOutcome::Inconclusive
        | CaseOutcome::Skipped
        | CaseOutcome::Unsupported
        | CaseOutcome::Interrupted
        | CaseOutcome::NotRun => "so-so",
    }
}

/// The class and the word of the exit code that a suite or a comparison has.
pub(super) fn class_and_word(exit: Exit) -> (&'static str, &'static str) {
    match exit {
        Exit::Pass => (class(CaseOutcome::Pass), CaseOutcome::Pass.name()),
        Exit::VerificationFailed => (class(CaseOutcome::Fail), CaseOutcome::Fail.name()),
        Exit::ThresholdMissed => (class(CaseOutcome::ThresholdMissed), CaseOutcome::ThresholdMissed.name()),
        Exit::Interrupted => (class(CaseOutcome::Interrupted), CaseOutcome::Interrupted.name()),
        Exit::Inconclusive | Exit::Usage => (class(CaseOutcome::Inconclusive), CaseOutcome::Inconclusive.name()),
    }
}

/// The name of an outcome as a part of a class or an id: `not-run`.
pub(super) fn slug(text: &str) -> String {
    let part = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
    let slug: String = text.chars().map(part).collect();
    slug.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// A moment in UTC as people read it: `2026-01-31 12:00:00 UTC`. A text that is no such moment stays as it is.
pub(super) fn moment(rfc3339: &str) -> String {
    match (humantime::parse_rfc3339_weak(rfc3339).is_ok(), rfc3339.get(..10), rfc3339.get(11..19)) {
        (true, Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => plain(rfc3339),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_has_only_what_an_id_may_have() {
        assert_eq!(slug("backend's"), "backend-s");
        assert_eq!(slug("4.1 \"><script> [epoll] é"), "4.1-script-epoll");
    }

    #[test]
    fn a_moment_is_shown_to_the_second_and_anything_else_as_it_is() {
        assert_eq!(moment("2026-01-31T12:00:00.000Z"), "2026-01-31 12:00:00 UTC");
        assert_eq!(moment("yesterday"), "yesterday");
    }
}
