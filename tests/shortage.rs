//! A client that runs out of descriptors. The test has a process of its own, because the limit is one of the process.
#![cfg(unix)]

use std::fs::File;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use echo_tester::client::{self, Control, RunOutcome};
use echo_tester::judge::verdict::{Verdict, VerdictContext, judge};
use load::plan;
use program::Serving;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

mod load;
#[expect(dead_code, reason = "this test uses the program only as the server")]
mod program;

/// Descriptors that this process may have.
const LIMIT: u64 = 200;
/// How many of them are left to the client: for its workers, and for fewer connections than it is to open.
const LEFT: usize = 40;

/// Takes all descriptors but this many.
fn hold_all_but(left: usize) -> Vec<File> {
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
        assert!(held.len() < LIMIT as usize, "the limit has no effect");
    }
    held.truncate(held.len() - left);
    held
}

#[test]
fn connections_that_lack_descriptors_are_opened_later_and_blame_no_server() {
    let server = Serving::start(&[]);
    let target = server.address.parse().expect("the server has an address");
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), maximum }).expect("a limit can be lowered");

    // Each connection stays open until all have had their echo.
    let load = "conns = 80\nmessages = 2\nclose = 'keep'";
    let held = hold_all_but(LEFT);
    let plan_of_all = plan(target, &[load]);
    let control = Control::new(&plan_of_all);
    let runner = {
        let control = Arc::clone(&control);
        thread::spawn(move || client::run(plan_of_all, &control).expect("the client can start threads"))
    };
    let began = Instant::now();
    while control.counters().resource_shortages == 0 {
        assert!(
            began.elapsed() < Duration::from_secs(60) && !runner.is_finished(),
            "the client never ran out of descriptors"
        );
        thread::yield_now();
    }
    drop(held);
    let RunOutcome { groups, findings, .. } = runner.join().expect("the client does not panic");
    let counters = &groups[0].counters;
    assert_eq!((counters.passed, counters.connect_failures, findings[0].len()), (80, 0, 0), "{counters:?}");
    assert_eq!(judge(counters, &VerdictContext::default()).outcome, Verdict::Pass);

    // An open loop starts with the connections that are open.
    let held = hold_all_but(LEFT);
    let plan_in_time = plan(target, &["conns = 80\nrate = 1000\nsize = 64\nclose = 'keep'\nduration = '1s'"]);
    let control = Control::new(&plan_in_time);
    let RunOutcome { groups, findings, .. } =
        client::run(plan_in_time, &control).expect("the client can start threads");
    drop(held);
    let counters = &groups[0].counters;
    assert!(counters.passed > 0 && counters.not_in_time > 0 && findings[0].is_empty(), "{counters:?}");
    assert_eq!(counters.passed + counters.not_in_time, 80, "{counters:?}");
    assert!(counters.messages_echoed > 0, "{counters:?}");
    let verdict = judge(counters, &VerdictContext::default());
    assert_eq!(verdict.outcome, Verdict::Inconclusive);
    assert!(verdict.reasons.iter().any(|reason| reason.contains("ulimit -n")), "{verdict:?}");
    server.stop();
}
