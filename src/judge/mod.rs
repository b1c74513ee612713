//! All that turns a measured run into a verdict and an exit code. Pure: no I/O, no clock.
//!
//! - [`measured`]: a run that has ended, as the judge sees it;
//! - [`metric`]: the table of metrics that a threshold can name;
//! - [`metric_unit`]: the units of metrics;
//! - [`threshold`]: expressions over metrics;
//! - [`property`]: metrics that are reported without a limit;
//! - [`time_doubt`]: whether what a run says about time can be trusted;
//! - [`verdict`]: pass, fail or inconclusive, and why;
//! - [`expectation`]: the expectations of a case;
//! - [`check`]: the run compared with them, check by check;
//! - [`grade`]: how much a case weighs;
//! - `weighing`: what the grade makes of the checks;
//! - [`leftovers`]: whether a server kept descriptors or threads of connections that have closed;
//! - [`outcome`]: the outcome of a case, and the exit code;
//! - [`assumption`]: what a user knows of a target before, and what follows from it;
//! - [`direct`]: a proxy, compared with its backend;
//! - [`baseline`]: failures that are known;
//! - [`difference`]: whether the rounds of two servers show a difference;
//! - [`ranking`]: which of several outcomes decides;
//! - [`shards`]: the verdict on the sum of several processes.
//!
//! A run is judged once, when it has ended: [`judge_case`]. Its reports are made of the [`Judgement`] and are never
//! changed afterwards.

pub mod assumption;
pub mod baseline;
pub mod check;
pub mod difference;
pub mod direct;
pub mod expectation;
pub mod grade;
pub mod leftovers;
pub mod measured;
pub mod metric;
pub mod metric_unit;
pub mod outcome;
pub mod property;
pub mod ranking;
pub mod shards;
pub mod threshold;
pub mod time_doubt;
pub mod verdict;
mod weighing;

use crate::measure::Counters;
use check::{CheckReport, Evidence};
use expectation::Expectations;
use measured::{MeasuredRun, MetricSource};
use outcome::CaseOutcome;
use property::Property;
use ranking::gravest;
use threshold::EvaluatedThreshold;
use verdict::{Verdict, VerdictContext, VerdictReport, judge};

/// A run, judged.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The verdict on its bytes.
    pub verdict: VerdictReport,
    /// Whether it counts as interrupted.
    pub is_interrupted: bool,
    /// The checks: each expectation and its result.
    pub checks: Vec<CheckReport>,
    /// The metrics that the case reports.
    pub properties: Vec<Property>,
    /// The outcome of the case, by its checks and its grade.
    pub outcome: CaseOutcome,
    /// Why, in sentences: the checks that were not met, then the reasons of the verdict.
    pub reasons: Vec<String>,
}

/// Judges a run by its expectations. A run without a scenario is judged by [`Expectations::default`].
pub fn judge_case(expect: &Expectations, run: &MeasuredRun<'_>) -> Judgement {
    let total = run.total();
    let is_interrupted = run.ending.is_interrupted();
    let source = MetricSource::new(run);
    // A part of a run says nothing about metrics of the whole run.
    let known = expect.thresholds.iter().filter(|_| !run.ending.is_partial);
    let time_doubt = time_doubt::of(&run.resources);
    let is_time_known = time_doubt.is_none();
    let thresholds: Vec<EvaluatedThreshold<'_>> =
        known.map(|threshold| threshold.evaluate(&source, is_time_known)).collect();
    let missed = thresholds.iter().filter(|threshold| threshold.is_missed());
    let doubtful = thresholds.iter().filter(|threshold| threshold.is_doubtful);
    let context = VerdictContext {
        interrupted: is_interrupted,
        timed_out: run.ending.timed_out_after.is_some(),
        is_default_limit: run.ending.is_default_limit,
        is_suite: run.ending.is_suite,
        verify_off: run.is_unverified(),
        missed_thresholds: missed.map(EvaluatedThreshold::sentence).collect(),
        doubtful_thresholds: doubtful.map(EvaluatedThreshold::sentence).collect(),
        time_doubt,
        answered: run.answered.clone(),
        two_sides: run.two_sides,
    };
    let verdict = judge(&total, &context);
    let evidence = Evidence {
        verdict: verdict.outcome,
        total: &total,
        loads: &run.loads,
        thresholds: &thresholds,
        ending: &run.ending,
        is_time_known,
    };
    let mut checks = check::evaluated(expect, &evidence);
    let grave = weighing::weigh(&mut checks, expect.grade, &total, &expect.findings);
    let outcome = gravest(checks.iter().map(|check| check.outcome)).unwrap_or(CaseOutcome::Pass);
    let outcome = weighing::outcome_of_case(expect.grade, outcome);
    let excuse = excuse(expect, outcome, &total, &checks);
    let outcome = if excuse.is_some() { CaseOutcome::Expected } else { outcome };
    let reasons = excuse.into_iter().chain(reasons(&checks, &verdict)).chain(grave).collect();
    let properties = expect.report.iter().map(|metric| metric.measured(&source)).collect();
    Judgement { verdict, is_interrupted, checks, properties, outcome, reasons }
}

/// Why a failure had to come, given what is known of the target. A server that is gone afterwards is gone for all.
fn excuse(expect: &Expectations, outcome: CaseOutcome, total: &Counters, checks: &[CheckReport]) -> Option<String> {
    let is_server_well = checks.iter().all(|check| !check.is_of_server() || check.outcome.is_good());
    let assumed = expect.assumed.filter(|_| outcome == CaseOutcome::Fail && is_server_well)?;
    assumed.excuse(total.findings.keys().copied())
}

fn reasons<'r>(checks: &'r [CheckReport], verdict: &'r VerdictReport) -> impl Iterator<Item = String> + 'r {
    let is_unmet = |check: &&CheckReport| !check.outcome.is_good() || check.outcome == CaseOutcome::Info;
    let unmet = checks.iter().filter(is_unmet).map(CheckReport::sentence);
    let of_the_verdict = match verdict.outcome {
        // Each missed threshold is a check, and has said so.
        Verdict::ThresholdMissed => &[][..],
        _ => &verdict.reasons,
    };
    unmet.chain(of_the_verdict.iter().cloned())
}

#[cfg(test)]
mod tests;
