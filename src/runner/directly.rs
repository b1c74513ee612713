//! `--direct`: each case through a proxy, and straight at its backend. Which of them a failure accuses, the judge
//! decides.

use super::case::{CaseContext, run_one};
use crate::config::Seed;
use crate::judge::check::CheckReport;
use crate::judge::direct::{Way, judge_proxy};
use crate::judge::expectation::CheckedServer;
use crate::plan::case_seed;
use crate::report::suite::{CaseReport, DirectReport};
use crate::scenario::Scenario;

/// Runs a case through the proxy, and then at its backend. `None`: the user interrupted before anything had run.
pub(super) fn run_both(
    planned: CaseReport,
    scenario: &Scenario,
    through: &CaseContext<'_>,
    at_backend: CaseContext<'_>,
) -> Option<CaseReport> {
    // The backend gets what the proxy passes on.
    let through = CaseContext { also: Some(at_backend.known), ..through.clone() };
    let mut case = run_one(planned, scenario, &through)?;
    // Without a run there is nothing to compare.
    let Some(run) = &case.run else { return Some(case) };
    let backend = at_backend.target.unwrap_or_default();
    // Other bytes than those that came through the proxy, which the backend may still hold.
    let seed = run.seed.parse().ok().map(|seed| Seed(case_seed(seed, backend)));
    let planned = CaseReport::planned(scenario, CheckedServer::Target);
    let direct = match at_backend.known.is_target_gone() {
        true => planned,
        false => run_one(planned.clone(), scenario, &CaseContext { seed, ..at_backend }).unwrap_or(planned),
    };
    let (outcome, reason) = judge_proxy(&way(&case), &way(&direct));
    case.reasons = reason.into_iter().chain(case.reasons).collect();
    case.direct = Some(Box::new(DirectReport {
        target: backend.to_owned(),
        through: case.outcome,
        outcome: direct.outcome,
        reasons: direct.reasons,
        replay: direct.replay,
        run: direct.run,
    }));
    case.outcome = outcome;
    Some(case)
}

fn way(case: &CaseReport) -> Way {
    let findings = case.run.iter().flat_map(|run| run.total.findings.keys().copied());
    let failed = |check: &CheckReport| check.is_of_server() && !check.outcome.is_good();
    Way { outcome: case.outcome, kinds: findings.collect(), server_failed: case.checks.iter().any(failed) }
}
