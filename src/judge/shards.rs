//! The sum of several processes of one run, judged. Pure.
//!
//! A sum is judged like a run, with two differences. It may lack a shard or mix two runs, and then it never passes
//! unless the user accepts that. And a finding outranks an interrupt: see [`ranking`](super::ranking).

use std::time::{Duration, SystemTime};

use super::time_doubt::TimeDoubt;
use super::verdict::{Verdict, VerdictContext, VerdictReport, judge};
use crate::measure::Counters;
use crate::plan::Shard;
use crate::stream::answer::Answer;

/// The longest time between the end of one process and the start of another in the same run: clocks of hosts differ,
/// and short runs are over before the last process has started.
const MAX_GAP_IN_ONE_RUN: Duration = Duration::from_secs(60);

/// The facts that a verdict on the sum rests on besides its counters.
#[derive(Clone, Debug, Default)]
pub struct ShardContext {
    /// Nothing can be asserted about any connection (`--verify off`).
    pub verify_off: bool,
    /// Why figures of time say nothing about the server, if so.
    pub time_doubt: Option<TimeDoubt>,
    /// One of the processes was interrupted.
    pub interrupted: bool,
    /// The shards whose own verdict is that they were interrupted.
    pub interrupted_shards: Vec<String>,
    /// The shards of which there is no report.
    pub missing: Vec<Shard>,
    /// When the processes ran. One whose times are not known is left out.
    pub processes: Vec<ProcessTime>,
    /// The user accepts doubts (`--partial`): the sum is judged as if it were the whole run.
    pub doubts_accepted: bool,
    /// What the server answered, if it is no echo server.
    pub answered: Option<Answer>,
    /// Both ends are ours.
    pub two_sides: bool,
}

/// When a process of the run ran.
#[derive(Clone, Debug)]
pub struct ProcessTime {
    /// Its name, for the reasons: the file of its report.
    pub name: String,
    /// From its first connect, by the clock of its host.
    pub start: SystemTime,
    /// To its last close.
    pub end: SystemTime,
}

/// Judges the sum of several processes of one run.
pub fn judge_shards(counters: &Counters, context: &ShardContext) -> VerdictReport {
    let found_and_interrupted = context.interrupted && !counters.findings.is_empty();
    let interrupted = context.interrupted && !found_and_interrupted;
    let of_run = VerdictContext {
        interrupted,
        verify_off: context.verify_off,
        time_doubt: context.time_doubt.clone(),
        answered: context.answered.clone(),
        two_sides: context.two_sides,
        ..VerdictContext::default()
    };
    let mut verdict = judge(counters, &of_run);
    if found_and_interrupted {
        verdict.reasons.push(format!("interrupted: {}", context.interrupted_shards.join(", ")));
    }
    let doubts: Vec<String> = missing_shards(&context.missing).into_iter().chain(gap(&context.processes)).collect();
    if context.doubts_accepted {
        verdict.reasons.extend(doubts.iter().map(|doubt| format!("{doubt} (accepted by --partial)")));
        return verdict;
    }
    if doubts.is_empty() {
        return verdict;
    }
    let outcome = match verdict.outcome {
        Verdict::Pass | Verdict::ThresholdMissed => Verdict::Inconclusive,
        outcome => outcome,
    };
    VerdictReport::new(outcome, [doubts, verdict.reasons].concat())
}

/// A sentence about the shards that are missing, if any are.
fn missing_shards(missing: &[Shard]) -> Option<String> {
    let names: Vec<String> = missing.iter().map(Shard::to_string).collect();
    match names.as_slice() {
        [] => None,
        [name] => Some(format!("shard {name} is missing")),
        names => Some(format!("shards {} are missing", names.join(", "))),
    }
}

/// A sentence about processes that can't have been one run, because one started long after another had ended. Most
/// often one of the files is left over from an earlier run.
fn gap(processes: &[ProcessTime]) -> Option<String> {
    let first = processes.iter().min_by_key(|process| process.end)?;
    let last = processes.iter().max_by_key(|process| process.start)?;
    let gap = last.start.duration_since(first.end).ok().filter(|gap| *gap > MAX_GAP_IN_ONE_RUN)?;
    let gap = humantime::format_duration(Duration::from_secs(gap.as_secs()));
    Some(format!("not of one run: {} started {gap} after {} had ended", last.name, first.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::FindingKind;

    fn good() -> Counters {
        Counters { connects: 2, opened: 2, passed: 2, bytes_verified: 10, ..Counters::default() }
    }

    fn shard(index: u32) -> Shard {
        format!("{index}/4").parse().expect("a shard")
    }

    #[test]
    fn a_part_of_a_run_never_passes_and_fails_as_the_whole_would() {
        let mut bad = good();
        bad.found(FindingKind::Lost);
        let part = ShardContext { missing: vec![shard(1)], ..ShardContext::default() };
        assert_eq!((judge_shards(&good(), &part).exit_code, judge_shards(&bad, &part).exit_code), (4, 1));
        assert_eq!(judge_shards(&bad, &part).reasons[0], "shard 1/4 is missing");
        let accepted = ShardContext { missing: vec![shard(1), shard(3)], doubts_accepted: true, ..part };
        let verdict = judge_shards(&good(), &accepted);
        assert_eq!(verdict.outcome, Verdict::Pass);
        assert_eq!(verdict.reasons[1], "shards 1/4, 3/4 are missing (accepted by --partial)");
    }

    #[test]
    fn a_finding_outranks_an_interrupt_and_the_interrupt_is_told() {
        let context =
            ShardContext { interrupted: true, interrupted_shards: vec!["0/2".to_owned()], ..ShardContext::default() };
        assert_eq!(judge_shards(&good(), &context).outcome, Verdict::Interrupted);
        let mut bad = good();
        bad.found(FindingKind::Lost);
        let verdict = judge_shards(&bad, &context);
        assert_eq!(verdict.outcome, Verdict::Fail);
        assert_eq!(verdict.reasons.last().map(String::as_str), Some("interrupted: 0/2"));
    }
}
