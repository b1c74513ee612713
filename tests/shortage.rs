//! A client that runs out of descriptors. In a process of its own, because the limit is the process's.
#![cfg(unix)]

use std::fs::File;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use echo_tester::client::{self, Control, RunOutcome};
use echo_tester::judge::verdict::{Outcome as Came, judge};
use load::plan;
use program::Serving;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

mod load;
#[expect(dead_code, reason = "the program is only the server here")]
mod program;

/// Descriptors that this process may have.
const LIMIT: u64 = 200;
/// What is left of them to the client, for its workers and for fewer connections than it is to open.
const LEFT: usize = 40;

/// All descriptors but so many.
fn hold_all_but(left: usize) -> Vec<File> {
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
        assert!(held.len() < LIMIT as usize, "the limit does not hold");
    }
    held.truncate(held.len() - left);
    held
}

#[test]
fn connections_for_which_the_client_has_no_descriptors_are_opened_later_and_no_fault_of_the_server() {
    let server = Serving::start(&[]);
    let target = server.address.parse().expect("an address");
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), maximum }).expect("it is lowered");

    // Each stays open until all have had their echo.
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
        assert!(began.elapsed() < Duration::from_secs(60) && !runner.is_finished(), "nothing was short");
        thread::yield_now();
    }
    drop(held);
    let RunOutcome { groups, findings, .. } = runner.join().expect("no panic");
    let counters = &groups[0].counters;
    assert_eq!((counters.passed, counters.connect_failures, findings[0].len()), (80, 0, 0), "{counters:?}");
    assert_eq!(judge(counters, false, true, &[]).outcome, Came::Pass);

    // An open loop begins with those that it has.
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
    let verdict = judge(counters, false, true, &[]);
    assert_eq!(verdict.outcome, Came::Inconclusive);
    assert!(verdict.reasons.iter().any(|reason| reason.contains("ulimit -n")), "{verdict:?}");
    server.stop();
}
