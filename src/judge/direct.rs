//! A proxy and its backend: whom a failure accuses. Pure.
//!
//! A case runs through the proxy and straight at the backend. The proxy answers for what it makes worse: what fails in
//! both is the backend's own. Wrong bytes that come through the proxy alone accuse it even then, and so does a proxy
//! that does not serve in the end while its backend does. The ways in which a connection breaks are no evidence: a
//! proxy translates a reset into an end of the stream, or into silence.

use super::outcome::CaseOutcome;
use crate::stream::FindingKind;

/// How a case went on one of the two ways.
#[derive(Clone, Debug)]
pub struct Way {
    /// Its outcome.
    pub outcome: CaseOutcome,
    /// The kinds of its findings.
    pub kinds: Vec<FindingKind>,
    /// The server no longer served in the end.
    pub server_failed: bool,
}

impl Way {
    fn failed(&self) -> bool {
        matches!(self.outcome, CaseOutcome::Fail | CaseOutcome::ThresholdMissed)
    }
}

/// The outcome of a case, given how it went both ways, and a sentence about it if there is something to say.
pub fn judge_proxy(through: &Way, direct: &Way) -> (CaseOutcome, Option<String>) {
    let say = |outcome, text: String| (outcome, Some(text));
    let directly = direct.outcome.name();
    if !through.failed() {
        return match direct.failed() {
            true => say(through.outcome, format!("directly, the backend does not pass ({directly})")),
            false => (through.outcome, None),
        };
    }
    if matches!(direct.outcome, CaseOutcome::Pass | CaseOutcome::Info | CaseOutcome::Weak) {
        return say(through.outcome, "directly, the backend passes: the proxy makes it worse".to_owned());
    }
    if !direct.failed() {
        let text = format!("whether the backend itself fails is not known: directly it was {directly}");
        return say(CaseOutcome::Inconclusive, text);
    }
    if through.outcome == CaseOutcome::Fail && direct.outcome == CaseOutcome::ThresholdMissed {
        return say(CaseOutcome::Fail, "directly, only a threshold is missed: the proxy makes it worse".to_owned());
    }
    let new: Vec<&str> = through
        .kinds
        .iter()
        .filter(|kind| kind.is_of_bytes() && !direct.kinds.contains(kind))
        .map(|k| k.name())
        .collect();
    if !new.is_empty() {
        return say(through.outcome, format!("directly it fails too, but without this: {}", new.join(", ")));
    }
    if through.server_failed && !direct.server_failed {
        return say(through.outcome, "directly it fails too, but the backend still serves after it".to_owned());
    }
    say(CaseOutcome::BackendsOwn, format!("the backend fails too (directly: {directly})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use CaseOutcome::{BackendsOwn, Fail, Inconclusive, Pass, Skipped, ThresholdMissed};
    use FindingKind::{Crosstalk, Reset, Truncated};

    #[test]
    fn a_proxy_answers_for_what_it_makes_worse() {
        let way = |outcome, kinds: &[FindingKind]| Way { outcome, kinds: kinds.to_vec(), server_failed: false };
        let gone = |outcome| Way { server_failed: true, ..way(outcome, &[Reset]) };
        for (through, direct, outcome, words) in [
            (way(Pass, &[]), way(Pass, &[]), Pass, ""),
            (way(Pass, &[]), way(Fail, &[Reset]), Pass, "the backend does not pass"),
            (way(Skipped, &[]), way(Skipped, &[]), Skipped, ""),
            (way(Fail, &[Truncated]), way(Pass, &[]), Fail, "the proxy makes it worse"),
            (way(Fail, &[Truncated]), way(Fail, &[Truncated]), BackendsOwn, "backend fails too"),
            (way(Fail, &[Truncated]), way(Fail, &[Reset]), BackendsOwn, "backend fails too"),
            (way(Fail, &[Truncated, Crosstalk]), way(Fail, &[Truncated]), Fail, "without this: crosstalk"),
            (way(Fail, &[Reset]), way(ThresholdMissed, &[]), Fail, "only a threshold"),
            (way(ThresholdMissed, &[]), way(ThresholdMissed, &[]), BackendsOwn, "backend fails too"),
            (way(ThresholdMissed, &[]), way(Fail, &[Reset]), BackendsOwn, "backend fails too"),
            (way(Fail, &[Reset]), way(Inconclusive, &[]), Inconclusive, "not known"),
            (gone(Fail), way(Fail, &[Reset]), Fail, "still serves"),
            (gone(Fail), gone(Fail), BackendsOwn, "backend fails too"),
        ] {
            let (judged, reason) = judge_proxy(&through, &direct);
            assert_eq!(judged, outcome, "{through:?} {direct:?}");
            assert!(reason.unwrap_or_default().contains(words), "{through:?} {direct:?}");
        }
    }
}
