//! All that turns a measured run into a verdict and an exit code. Pure: no I/O, no clock.
//!
//! - [`measured`]: a run that has ended, as the judge sees it;
//! - [`metric`]: the table of what a threshold can name;
//! - [`threshold`]: expressions over metrics;
//! - [`verdict`]: pass, fail or inconclusive, and why;
//! - [`expectation`]: what a case must come to;
//! - [`check`]: the run held against that, check by check;
//! - [`outcome`]: what a case came to, and the exit code.
//!
//! A run is judged once, when it has ended: [`judge_case`]. Its reports are made of the [`Judgement`] and are never
//! changed afterwards.

pub mod check;
pub mod expectation;
pub mod measured;
pub mod metric;
pub mod outcome;
pub mod threshold;
pub mod verdict;

use check::{CheckReport, Evidence};
use expectation::Expectations;
use measured::{MeasuredRun, MetricSource};
use outcome::{CaseOutcome, gravest};
use threshold::EvaluatedThreshold;
use verdict::{Circumstances, Verdict, VerdictReport, judge};

/// A run, judged.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The verdict on its bytes.
    pub verdict: VerdictReport,
    /// Whether it counts as interrupted.
    pub is_interrupted: bool,
    /// What was expected, one by one, and what came.
    pub checks: Vec<CheckReport>,
    /// What the case came to, by its checks.
    pub outcome: CaseOutcome,
    /// Why, in sentences: the checks that were not met, then the reasons of the verdict.
    pub reasons: Vec<String>,
}

/// Judges a run by what was expected of it. What is no scenario is judged by [`Expectations::default`].
pub fn judge_case(expect: &Expectations, run: &MeasuredRun<'_>) -> Judgement {
    let total = run.total();
    let is_interrupted = run.ending.is_interrupted();
    let source = MetricSource::new(run);
    // Metrics of the whole run can't be told from a part of it.
    let looked_at = expect.thresholds.iter().filter(|_| !run.ending.is_partial);
    let thresholds: Vec<EvaluatedThreshold<'_>> = looked_at.map(|threshold| threshold.evaluate(&source)).collect();
    let missed = thresholds.iter().filter(|threshold| !threshold.met);
    let circumstances = Circumstances {
        interrupted: is_interrupted,
        timed_out: run.ending.timed_out_after.is_some(),
        verify_off: run.is_unverified(),
        missed_thresholds: missed.map(EvaluatedThreshold::sentence).collect(),
    };
    let verdict = judge(&total, &circumstances);
    let evidence = Evidence {
        verdict: verdict.outcome,
        total: &total,
        loads: &run.loads,
        thresholds: &thresholds,
        ending: &run.ending,
    };
    let checks = check::evaluated(expect, &evidence);
    let outcome = gravest(checks.iter().map(|check| check.outcome)).unwrap_or(CaseOutcome::Pass);
    let reasons = reasons(&checks, &verdict);
    Judgement { verdict, is_interrupted, checks, outcome, reasons }
}

fn reasons(checks: &[CheckReport], verdict: &VerdictReport) -> Vec<String> {
    let unmet = checks.iter().filter(|check| !check.outcome.is_good()).map(CheckReport::sentence);
    let of_the_verdict = match verdict.outcome {
        // Each missed threshold is a check, and has said so.
        Verdict::ThresholdMissed => &[][..],
        _ => &verdict.reasons,
    };
    unmet.chain(of_the_verdict.iter().cloned()).collect()
}

#[cfg(test)]
mod tests;
