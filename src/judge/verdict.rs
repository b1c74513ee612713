//! From what was found and measured to pass, fail or inconclusive. Pure.
//!
//! 'Inconclusive' is a verdict: a run in which no byte was verified never passes, however little went wrong in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::measure::Counters;
use crate::stream::FindingKind;

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All that was asked for was verified.
    Pass,
    /// Wrong, missing or extra bytes, or a connection that broke.
    Fail,
    /// The bytes were right but a threshold was missed.
    ThresholdMissed,
    /// Nothing was verified, or the target could not be reached.
    Inconclusive,
    /// Stopped before its end.
    Interrupted,
}

impl Outcome {
    /// The exit code that says the same.
    pub fn exit(self) -> Exit {
        match self {
            Outcome::Pass => Exit::Pass,
            Outcome::Fail => Exit::VerificationFailed,
            Outcome::ThresholdMissed => Exit::ThresholdMissed,
            Outcome::Inconclusive => Exit::Inconclusive,
            Outcome::Interrupted => Exit::Interrupted,
        }
    }

    /// One or two words for people.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::ThresholdMissed => "threshold missed",
            Outcome::Inconclusive => "inconclusive",
            Outcome::Interrupted => "interrupted",
        }
    }
}

/// An outcome and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// What the run came to.
    pub outcome: Outcome,
    /// What the process returns for it.
    pub exit_code: u8,
    /// Why, in sentences. Never empty.
    pub reasons: Vec<String>,
}

impl Verdict {
    fn new(outcome: Outcome, reasons: Vec<String>) -> Verdict {
        Verdict { outcome, exit_code: outcome.exit().code(), reasons }
    }

    /// The same for a run of which a part is not known: what would pass is inconclusive.
    #[must_use]
    pub fn of_a_part(self, why: String) -> Verdict {
        let outcome = match self.outcome {
            Outcome::Pass | Outcome::ThresholdMissed => Outcome::Inconclusive,
            outcome => outcome,
        };
        Verdict::new(outcome, [vec![why], self.reasons].concat())
    }

    /// The same for a run that was ended because its time was over, which is a failure.
    #[must_use]
    pub fn not_done(self, why: String) -> Verdict {
        Verdict::new(Outcome::Fail, [vec![why], self.reasons].concat())
    }
}

/// Judges a run by its counters.
///
/// `asserts` is false when nothing can be asserted about any connection (`--verify off`). `missed` are the thresholds
/// that were missed, as sentences.
pub fn judge(counters: &Counters, interrupted: bool, asserts: bool, missed: &[String]) -> Verdict {
    let mut reasons = Vec::new();
    for (kind, n) in &counters.findings {
        reasons.push(format!("{n} × {}: {}", kind.name(), kind.description()));
    }
    let mut shortfalls = shortfalls(counters);
    if !shortfalls.is_empty() {
        shortfalls.extend(shortages(counters));
    }
    reasons.extend(shortfalls.iter().cloned());
    if interrupted {
        reasons.insert(0, format!("interrupted with {} of {} connections ended", ended(counters), counters.connects));
        return Verdict::new(Outcome::Interrupted, reasons);
    }
    if counters.connects > 0 && counters.opened == 0 {
        reasons.insert(0, "no connection could be opened".to_owned());
        return Verdict::new(Outcome::Inconclusive, reasons);
    }
    if !counters.findings.is_empty() {
        return Verdict::new(Outcome::Fail, reasons);
    }
    if counters.bytes_verified == 0 {
        let why = if asserts { "no byte was verified" } else { "nothing was compared (--verify off)" };
        return Verdict::new(Outcome::Inconclusive, vec![why.to_owned()]);
    }
    if counters.unfinished() > 0 || counters.cut_short > 0 {
        let open = counters.unfinished() + counters.cut_short;
        return Verdict::new(Outcome::Inconclusive, vec![format!("{open} connections did not come to their end")]);
    }
    if !shortfalls.is_empty() {
        return Verdict::new(Outcome::Inconclusive, shortfalls);
    }
    if !missed.is_empty() {
        return Verdict::new(Outcome::ThresholdMissed, missed.to_vec());
    }
    let bytes = counters.bytes_verified;
    Verdict::new(Outcome::Pass, vec![format!("{} connections, {bytes} bytes verified, nothing wrong", counters.passed)])
}

/// What was asked for and not done, for no fault of the server's, and what to do about it.
fn shortfalls(counters: &Counters) -> Vec<String> {
    let mut shortfalls = Vec::new();
    if counters.not_in_time > 0 {
        shortfalls.push(format!(
            "{} connections were not opened before the time was up: give them more of it (--duration), or find out why \
             those before them took so long to open",
            counters.not_in_time
        ));
    }
    if counters.not_opened > 0 {
        shortfalls.push(format!("{} connections could not be opened, for want of something here", counters.not_opened));
    }
    if counters.out_of_ids > 0 {
        shortfalls.push(format!(
            "{} connections ended and were not followed by others as asked, since all ids of a run were used: let them \
             live longer (--lifetime), wait before they reconnect (--reconnect-delay), or split the load over several runs",
            counters.out_of_ids
        ));
    }
    shortfalls
}

/// What the client's own machine had too little of, and what to do about it. That by itself is no fault: what was put
/// off was tried again.
pub fn shortages(counters: &Counters) -> Vec<String> {
    let mut shortages = Vec::new();
    if counters.port_shortages > 0 {
        shortages.push(format!(
            "{} connects were put off because this machine had no local port left for the target, and closed connections \
             keep theirs for a minute or more: add source addresses (--source), reconnect more slowly \
             (--reconnect-delay), or widen the range of ports (net.ipv4.ip_local_port_range)",
            counters.port_shortages
        ));
    }
    if counters.resource_shortages > 0 {
        shortages.push(format!(
            "{} connects were put off because this machine had no descriptors or no memory left: raise the limit ('ulimit \
             -n'), or open fewer connections (--conns)",
            counters.resource_shortages
        ));
    }
    shortages
}

fn ended(counters: &Counters) -> u64 {
    counters.passed + counters.failed
        - counters.findings.get(&FindingKind::ConnectFailed).copied().unwrap_or(0).min(counters.failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Counters {
        Counters { connects: 2, opened: 2, passed: 2, bytes_verified: 10, ..Counters::default() }
    }

    fn outcome(counters: &Counters) -> Outcome {
        judge(counters, false, true, &[]).outcome
    }

    #[test]
    fn zero_verified_bytes_never_pass() {
        assert_eq!(outcome(&good()), Outcome::Pass);
        assert_eq!(outcome(&Counters { bytes_verified: 0, ..good() }), Outcome::Inconclusive);
        assert_eq!(outcome(&Counters::default()), Outcome::Inconclusive);
    }

    #[test]
    fn one_finding_fails_however_much_was_right() {
        let mut counters = good();
        counters.found(FindingKind::Lost);
        assert_eq!(outcome(&counters), Outcome::Fail);
        assert_eq!(judge(&counters, false, true, &["rtt.p99".to_owned()]).exit_code, 1, "fail goes before a threshold");
    }

    #[test]
    fn an_unreachable_target_is_inconclusive_and_a_partly_reachable_one_fails() {
        let mut counters = Counters { connects: 2, connect_failures: 2, failed: 2, ..Counters::default() };
        counters.found(FindingKind::ConnectFailed);
        assert_eq!(outcome(&counters), Outcome::Inconclusive);
        counters.opened = 1;
        counters.bytes_verified = 5;
        assert_eq!(outcome(&counters), Outcome::Fail);
    }

    #[test]
    fn connections_that_did_not_end_do_not_pass() {
        assert_eq!(outcome(&Counters { passed: 1, ..good() }), Outcome::Inconclusive);
        assert_eq!(outcome(&Counters { passed: 1, cut_short: 1, ..good() }), Outcome::Inconclusive);
    }

    #[test]
    fn a_run_that_could_not_do_what_was_asked_does_not_pass_and_says_why_whatever_else_went_wrong() {
        let mut counters = Counters { out_of_ids: 3, ..good() };
        let verdict = judge(&counters, false, true, &["x".to_owned()]);
        assert_eq!(verdict.outcome, Outcome::Inconclusive);
        assert!(verdict.reasons[0].contains("3 connections ended and were not followed"), "{verdict:?}");
        counters.found(FindingKind::Lost);
        let verdict = judge(&counters, false, true, &[]);
        assert_eq!((verdict.outcome, verdict.reasons.len()), (Outcome::Fail, 2));
        assert_eq!(outcome(&Counters { not_in_time: 1, ..good() }), Outcome::Inconclusive);
        assert_eq!(outcome(&Counters { not_opened: 1, ..good() }), Outcome::Inconclusive);
    }

    #[test]
    fn a_shortage_of_the_client_s_own_is_no_fault_and_explains_what_was_not_opened() {
        let short = Counters { port_shortages: 5, ..good() };
        assert_eq!(judge(&short, false, true, &[]).outcome, Outcome::Pass);
        let verdict = judge(&Counters { not_in_time: 1, ..short }, false, true, &[]);
        assert_eq!(verdict.outcome, Outcome::Inconclusive);
        assert!(verdict.reasons[1].contains("5 connects were put off") && verdict.reasons[1].contains("--source"));
    }

    #[test]
    fn a_part_of_a_run_passes_never_and_fails_as_the_whole_would() {
        let mut bad = good();
        bad.found(FindingKind::Lost);
        let of_a_part =
            |counters: &Counters| judge(counters, false, true, &[]).of_a_part("a shard is missing".to_owned());
        assert_eq!((of_a_part(&good()).exit_code, of_a_part(&bad).exit_code), (4, 1));
        assert_eq!(of_a_part(&bad).reasons[0], "a shard is missing");
    }

    #[test]
    fn a_missed_threshold_and_an_interrupt_have_their_own_codes() {
        assert_eq!(judge(&good(), false, true, &["x".to_owned()]).exit_code, 3);
        assert_eq!(judge(&good(), true, true, &[]).exit_code, 130);
    }
}
