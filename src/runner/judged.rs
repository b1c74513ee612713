//! From a run that has ended to its report: it is judged once, and then reported.

use std::time::Duration;

use crate::client::{RunOutcome, RunPlan};
use crate::judge::expectation::Expectations;
use crate::judge::measured::{MeasuredLoad, MeasuredRun, RunEnding, RunResources, of_backend};
use crate::judge::{Judgement, judge_case};
use crate::measure::ResourceUsage;
use crate::report::run::{RunReport, ServerReport, server_cpu};
use crate::units::Time;

/// Judges and reports a run without a scenario: nothing may be wrong in it. `timed_out_after` is the time limit that
/// ended the run, if one did.
pub fn judged_run(
    plan: &RunPlan,
    outcome: &RunOutcome,
    server: Option<ServerReport>,
    timed_out_after: Option<Duration>,
) -> (RunReport, Judgement) {
    let ending = RunEnding { timed_out_after: timed_out_after.map(Time), ..RunEnding::default() };
    judged_case(plan, outcome, server, &Expectations::default(), ending)
}

/// Judges and reports the run of a scenario, by what was expected of it. `ending.loads_interrupted` is taken from the
/// outcome.
pub fn judged_case(
    plan: &RunPlan,
    outcome: &RunOutcome,
    server: Option<ServerReport>,
    expect: &Expectations,
    ending: RunEnding,
) -> (RunReport, Judgement) {
    let loads = plan.groups.iter().zip(&outcome.groups);
    let loads = loads.map(|(profile, stats)| MeasuredLoad { name: &profile.name, verify: profile.verify, stats });
    let names: Vec<String> = plan.groups.iter().map(|profile| of_backend(&profile.name)).collect();
    let halves = names.iter().zip(&plan.groups).zip(&outcome.backend_groups);
    let halves = halves.map(|((name, profile), stats)| MeasuredLoad { name, verify: profile.verify, stats });
    let run = MeasuredRun {
        loads: loads.chain(halves).collect(),
        resources: RunResources {
            elapsed: outcome.elapsed,
            client_cpu: outcome.client.cpu,
            client_memory: outcome.client.peak_memory,
            client: outcome.client.usage.as_ref().map(ResourceUsage::figures_in_run).unwrap_or_default(),
            server_cpu: server_cpu(outcome, server.as_ref()),
            server: outcome.server.as_ref().map(ResourceUsage::figures_at_rest).unwrap_or_default(),
            is_server_watched: outcome.server.is_some(),
            stood_still: outcome.client.stood_still,
            starved: outcome.client.starved,
            tcp_memory_short: outcome.client.tcp_memory_short,
            stolen: outcome.client.stolen,
            lost_backend: outcome.backend.and_then(|counts| counts.lost),
        },
        ending: RunEnding { loads_interrupted: outcome.interrupted, ..ending },
        answered: outcome.answered(),
        two_sides: outcome.backend.is_some(),
    };
    let judgement = judge_case(expect, &run);
    (RunReport::new(plan, outcome, server, &judgement), judgement)
}
