//! What a run does about connections that can't be opened, or not in time, or not any more.

use super::*;

#[test]
fn a_churn_that_runs_out_of_ids_does_not_pass() {
    let server = good_server();
    // All ids but a few are those of connections that other processes have.
    let crowd = "conns = 16777212\nmessages = 1";
    let churn = "conns = 1\nduration = '1h'\nlifetime = 1\nsize = 10";
    let mut plan = plan(server.address(), &[churn, crowd]);
    plan.shard = "0/65536".parse().expect("a shard");
    let outcome = run(plan);
    let counters = &outcome.groups[0].counters;
    // Three ids are left, each for 128 connections that share its words.
    assert_eq!((counters.passed, counters.failed), (1 + 3 * 128, 0), "{counters:?}");
    let verdict = verdict::judge(counters, false, true, &[]);
    assert_eq!(verdict.outcome, Came::Inconclusive, "{counters:?}");
    assert!(verdict.reasons.iter().any(|reason| reason.contains("ids")), "{verdict:?}");
}
