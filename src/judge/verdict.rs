//! The verdict on the bytes of a run: from its counters to pass, fail or inconclusive. Pure.
//!
//! 'Inconclusive' is a verdict: a run in which no byte was verified never passes, even if nothing went wrong in it.
//! Whether the verdict was expected is a [`CaseOutcome`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outcome::CaseOutcome;
use super::time_doubt::{Explained, TimeDoubt};
use crate::exit::Exit;
use crate::measure::Counters;
use crate::stream::FindingKind;
use crate::stream::answer::Answer;
use crate::sys::advice;
use crate::units::{counted, counted_were, grouped};

/// The verdict on the bytes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Outcome")]
pub enum Verdict {
    /// Everything that was asked for was verified.
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

impl Verdict {
    /// The exit code that says the same.
    pub fn exit(self) -> Exit {
        CaseOutcome::from(self).exit()
    }

    /// The verdict that an exit code stands for. A command line that is wrong has none: nothing ran.
    pub fn of(exit: Exit) -> Verdict {
        let all = [Verdict::Pass, Verdict::Fail, Verdict::ThresholdMissed, Verdict::Interrupted];
        all.into_iter().find(|verdict| verdict.exit() == exit).unwrap_or(Verdict::Inconclusive)
    }

    /// One or two words for people.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::ThresholdMissed => "threshold missed",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Interrupted => "interrupted",
        }
    }
}

impl From<Verdict> for CaseOutcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => CaseOutcome::Pass,
            Verdict::Fail => CaseOutcome::Fail,
            Verdict::ThresholdMissed => CaseOutcome::ThresholdMissed,
            Verdict::Inconclusive => CaseOutcome::Inconclusive,
            Verdict::Interrupted => CaseOutcome::Interrupted,
        }
    }
}

/// A verdict with its reasons, as the JSON report holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "Verdict")]
pub struct VerdictReport {
    /// The verdict.
    pub outcome: Verdict,
    /// The exit code of a process that ends with this verdict.
    pub exit_code: u8,
    /// Why, in sentences. Never empty.
    pub reasons: Vec<String>,
}

/// The facts that a verdict rests on besides the counters.
#[derive(Clone, Debug, Default)]
pub struct VerdictContext {
    /// Somebody stopped the run before its end.
    pub interrupted: bool,
    /// The run was ended at its time limit, which is a failure.
    pub timed_out: bool,
    /// Nobody asked for that limit: it is a failure only if something was wrong.
    pub is_default_limit: bool,
    /// The loads are those of the conformance suite, which have no flags.
    pub is_suite: bool,
    /// Nothing can be asserted about any connection (`--verify off`).
    pub verify_off: bool,
    /// The thresholds that were missed, as sentences.
    pub missed_thresholds: Vec<String>,
    /// The thresholds that were missed too, but are about time, which is in doubt.
    pub doubtful_thresholds: Vec<String>,
    /// Why what the run says about time cannot be trusted, if so.
    pub time_doubt: Option<TimeDoubt>,
    /// What the server answered, if it is no echo server.
    pub answered: Option<Answer>,
    /// Both ends are ours.
    pub two_sides: bool,
}

impl VerdictReport {
    pub(super) fn new(outcome: Verdict, reasons: Vec<String>) -> VerdictReport {
        VerdictReport { outcome, exit_code: outcome.exit().code(), reasons }
    }
}

/// Judges a run by its counters and its context.
pub fn judge(counters: &Counters, context: &VerdictContext) -> VerdictReport {
    let mut verdict = judge_finished(counters, context);
    let gone = context.time_doubt.as_ref().filter(|doubt| doubt.explains == Explained::Endings);
    if let Some(doubt) = gone.filter(|_| verdict.outcome == Verdict::Inconclusive)
        && !verdict.reasons.contains(&doubt.sentence)
    {
        verdict.reasons.insert(0, doubt.sentence.clone());
    }
    if !context.timed_out {
        return verdict;
    }
    let why = "the run was ended at its time limit: --timeout, or timeout in [run], raises it".to_owned();
    match &context.time_doubt {
        None if context.is_default_limit && counters.findings.is_empty() => {
            VerdictReport::new(Verdict::Inconclusive, [vec![why], verdict.reasons].concat())
        }
        Some(doubt) => {
            verdict.reasons.retain(|reason| *reason != doubt.sentence);
            let reasons = [vec![doubt.sentence.clone(), why], verdict.reasons].concat();
            VerdictReport::new(Verdict::Inconclusive, reasons)
        }
        None => VerdictReport::new(Verdict::Fail, [vec![why], verdict.reasons].concat()),
    }
}

/// The verdict, had there been no time limit.
fn judge_finished(counters: &Counters, context: &VerdictContext) -> VerdictReport {
    let has_findings = !counters.findings.is_empty();
    let mut reasons = findings(counters, context.two_sides);
    let mut shortfalls = shortfalls(counters, context.is_suite);
    if !shortfalls.is_empty() {
        shortfalls.extend(shortages(counters));
    }
    reasons.extend(shortfalls.iter().cloned());
    if context.interrupted {
        reasons.insert(
            0,
            format!(
                "interrupted with {} of {} ended",
                grouped(ended(counters)),
                counted(counters.connects, "connection")
            ),
        );
        return VerdictReport::new(Verdict::Interrupted, reasons);
    }
    if counters.connects > 0 && counters.opened == 0 {
        reasons.insert(0, "no connection could be opened".to_owned());
        return VerdictReport::new(Verdict::Inconclusive, reasons);
    }
    let explains = |doubt: &&TimeDoubt| doubt.explains_all(counters);
    if let Some(doubt) = context.time_doubt.as_ref().filter(explains).filter(|_| has_findings) {
        reasons.insert(0, doubt.sentence.clone());
        return VerdictReport::new(Verdict::Inconclusive, reasons);
    }
    if has_findings {
        reasons.splice(0..0, context.answered.as_ref().map(Answer::sentence));
        return VerdictReport::new(Verdict::Fail, reasons);
    }
    if counters.bytes_verified == 0 {
        let why = if context.verify_off { "nothing was compared (--verify off)" } else { "no byte was verified" };
        return VerdictReport::new(Verdict::Inconclusive, vec![why.to_owned()]);
    }
    let open = counters.unfinished() + counters.cut_short;
    if open > 0 {
        return VerdictReport::new(
            Verdict::Inconclusive,
            vec![format!("{} did not finish", counted(open, "connection"))],
        );
    }
    if !shortfalls.is_empty() {
        return VerdictReport::new(Verdict::Inconclusive, shortfalls);
    }
    if !context.missed_thresholds.is_empty() {
        return VerdictReport::new(Verdict::ThresholdMissed, context.missed_thresholds.clone());
    }
    if let Some(doubt) = context.time_doubt.as_ref().filter(|_| !context.doubtful_thresholds.is_empty()) {
        return VerdictReport::new(
            Verdict::Inconclusive,
            [vec![doubt.sentence.clone()], context.doubtful_thresholds.clone()].concat(),
        );
    }
    let (passed, bytes) = (counted(counters.passed, "connection"), counted(counters.bytes_verified, "byte"));
    VerdictReport::new(Verdict::Pass, vec![format!("{passed}, {bytes} verified, nothing wrong")])
}

/// The findings, kind by kind.
fn findings(counters: &Counters, two_sides: bool) -> Vec<String> {
    counters
        .findings
        .iter()
        .map(|(kind, n)| format!("{} × {}: {}", grouped(*n), kind.name(), kind.described(two_sides)))
        .collect()
}

/// Tasks that were not done through no fault of the server, and the remedies: flags that the command has.
fn shortfalls(counters: &Counters, is_suite: bool) -> Vec<String> {
    let mut shortfalls = Vec::new();
    if counters.not_in_time > 0 {
        shortfalls.push(format!(
            "{} not opened before the time was up: give {}, or find out why earlier connections were slow to open",
            counted_were(counters.not_in_time, "connection"),
            if is_suite { "the case more time (--patience)" } else { "the run more time (--duration)" }
        ));
    }
    if counters.not_opened > 0 {
        shortfalls.push(format!(
            "{} could not be opened, because this machine lacked the resources",
            counted(counters.not_opened, "connection")
        ));
    }
    if counters.out_of_ids > 0 {
        shortfalls.push(format!(
            "{} ended and did not reconnect as asked, because the run had used all its connection ids: let \
             connections live longer (--lifetime), wait before they reconnect (--reconnect-delay), or split the load \
             over several runs",
            counted(counters.out_of_ids, "connection")
        ));
    }
    shortfalls
}

/// Resources that the client's machine ran short of, and the remedies. A shortage alone is no fault: connects that were
/// put off were tried again.
pub fn shortages(counters: &Counters) -> Vec<String> {
    let mut shortages = Vec::new();
    if counters.port_shortages > 0 {
        shortages.push(format!(
            "{} put off because this machine had no local port left for the target, and closed connections \
             keep theirs for a minute or more: {}reconnect more slowly \
             (--reconnect-delay), or widen the range of ports ({})",
            counted_were(counters.port_shortages, "connect"),
            if advice::HERE.has_ports_per_address { "add source addresses (--source), " } else { "" },
            advice::HERE.port_range
        ));
    }
    if counters.source_ports_refused > 0 {
        shortages.push(format!(
            "{} put off because this machine still kept the source port for the connection before \
             (TIME_WAIT, which on Linux net.ipv4.tcp_tw_reuse shortens): give more ports (--source-port), or reconnect \
             more slowly (--reconnect-delay)",
            counted_were(counters.source_ports_refused, "connect")
        ));
    }
    if counters.resource_shortages > 0 {
        shortages.push(format!(
            "{} put off because this machine had {}: {}, or open fewer connections (--conns)",
            counted_were(counters.resource_shortages, "connect"),
            advice::HERE.no_socket,
            advice::HERE.more_sockets
        ));
    }
    shortages
}

/// Connections that were opened and have ended.
fn ended(counters: &Counters) -> u64 {
    let never_opened = counters.findings.get(&FindingKind::ConnectFailed).copied().unwrap_or(0);
    let unserved = counters.unserved.saturating_sub(counters.unserved_connects);
    counters.passed + unserved + counters.failed - never_opened.min(counters.failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Counters {
        Counters { connects: 2, opened: 2, passed: 2, bytes_verified: 10, ..Counters::default() }
    }

    fn judged(counters: &Counters) -> VerdictReport {
        judge(counters, &VerdictContext::default())
    }

    fn outcome(counters: &Counters) -> Verdict {
        judged(counters).outcome
    }

    fn missed() -> VerdictContext {
        VerdictContext { missed_thresholds: vec!["rtt.p99".to_owned()], ..VerdictContext::default() }
    }

    #[test]
    fn findings_of_two_sides_are_told_without_an_echo() {
        let mut counters = good();
        counters.found(FindingKind::Lost);
        assert_eq!(
            judged(&counters).reasons,
            ["1 × lost: Bytes did not come back while later ones did, or never came at all."]
        );
        let two_sides = judge(&counters, &VerdictContext { two_sides: true, ..VerdictContext::default() });
        assert_eq!(
            two_sides.reasons,
            ["1 × lost: Bytes did not arrive while later ones did, or never arrived at all."]
        );
    }

    #[test]
    fn zero_verified_bytes_never_pass() {
        assert_eq!(outcome(&good()), Verdict::Pass);
        assert_eq!(outcome(&Counters { bytes_verified: 0, ..good() }), Verdict::Inconclusive);
        assert_eq!(outcome(&Counters::default()), Verdict::Inconclusive);
    }

    #[test]
    fn one_finding_fails_however_much_was_right() {
        let mut counters = good();
        counters.found(FindingKind::Lost);
        assert_eq!(outcome(&counters), Verdict::Fail);
        assert_eq!(judge(&counters, &missed()).exit_code, 1, "a failure outranks a threshold");
    }

    #[test]
    fn a_server_that_does_not_echo_fails_and_the_first_reason_says_what_it_is() {
        let mut counters = Counters { bytes_verified: 0, ..good() };
        counters.found(FindingKind::Corrupt);
        let answered = Some(Answer { protocol: "SSH".to_owned(), begins: "SSH-2.0".to_owned() });
        let verdict = judge(&counters, &VerdictContext { answered, ..VerdictContext::default() });
        assert_eq!((verdict.outcome, verdict.reasons.len()), (Verdict::Fail, 2));
        assert_eq!(verdict.reasons[0], "this is no echo server: it answered \"SSH-2.0\" (SSH)");
    }

    #[test]
    fn an_unreachable_target_is_inconclusive_and_a_partly_reachable_one_fails() {
        let mut counters = Counters { connects: 2, connect_failures: 2, failed: 2, ..Counters::default() };
        counters.found(FindingKind::ConnectFailed);
        assert_eq!(outcome(&counters), Verdict::Inconclusive);
        counters.opened = 1;
        counters.bytes_verified = 5;
        assert_eq!(outcome(&counters), Verdict::Fail);
    }

    #[test]
    fn connections_that_did_not_finish_do_not_pass() {
        assert_eq!(outcome(&Counters { passed: 1, ..good() }), Verdict::Inconclusive);
        assert_eq!(outcome(&Counters { passed: 1, cut_short: 1, ..good() }), Verdict::Inconclusive);
    }

    #[test]
    fn a_run_that_fell_short_of_what_was_asked_does_not_pass_and_says_why() {
        let mut counters = Counters { out_of_ids: 3, ..good() };
        let verdict = judge(&counters, &missed());
        assert_eq!(verdict.outcome, Verdict::Inconclusive);
        assert!(verdict.reasons[0].contains("3 connections ended and did not reconnect"), "{verdict:?}");
        counters.found(FindingKind::Lost);
        let verdict = judged(&counters);
        assert_eq!((verdict.outcome, verdict.reasons.len()), (Verdict::Fail, 2));
        assert_eq!(outcome(&Counters { not_in_time: 1, ..good() }), Verdict::Inconclusive);
        assert_eq!(outcome(&Counters { not_opened: 1, ..good() }), Verdict::Inconclusive);
    }

    #[test]
    fn a_shortage_is_no_fault_and_explains_what_was_not_opened() {
        let short = Counters { port_shortages: 5, ..good() };
        assert_eq!(outcome(&short), Verdict::Pass);
        let verdict = judged(&Counters { not_in_time: 1, ..short });
        assert_eq!(verdict.outcome, Verdict::Inconclusive);
        assert!(verdict.reasons[1].contains("5 connects were put off"), "{verdict:?}");
        assert!(verdict.reasons[1].contains(advice::HERE.port_range), "{verdict:?}");
        let sources_help = advice::HERE.has_ports_per_address;
        assert_eq!(verdict.reasons[1].contains("--source"), sources_help, "{verdict:?}");
    }

    #[test]
    fn a_missed_threshold_an_interrupt_and_a_time_limit_have_their_own_codes() {
        assert_eq!(judge(&good(), &missed()).exit_code, 3);
        let interrupted = VerdictContext { interrupted: true, ..VerdictContext::default() };
        assert_eq!(judge(&good(), &interrupted).exit_code, 130);
        let timed_out = judge(&good(), &VerdictContext { timed_out: true, ..interrupted });
        assert_eq!(timed_out.exit_code, 1);
        assert!(timed_out.reasons[0].contains("--timeout") && timed_out.reasons.len() == 2, "{timed_out:?}");
    }
}
