//! What the client's own process keeps while its connections come and go. The test leaks in the place of a client that
//! does, and frees everything before the end, as a worker of the client would. It has a process of its own, because
//! descriptors and memory are those of a process.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use echo_tester::client::{self, Control};
use echo_tester::measure::{ResourceUsage, UsageFigures};
use echo_tester::target::resources::UsageWatch;
use load::plan;
use program::Serving;

mod load;
#[expect(dead_code, reason = "this test uses the program only as the server")]
mod program;

/// Twenty connections at a time, 300 times. The gaps let it last for seconds, so that samples fall into each part.
const CHURN: &str = "conns = 20\nreconnect = 299\nmessages = 4\nsize = 64\nfragment = 'off'\ngap = '4ms'";
const CONNECTIONS: u64 = 6000;
/// The descriptors that are leaked with them.
const LEAKED: u64 = 200;
/// How much memory is leaked with each of them.
const LEAKED_BYTES: usize = 256 << 10;
/// What an allocator may keep or find.
const ALLOWED_BYTES: i64 = 16 << 20;

/// Leaks with the connections that are opened, until the run has ended.
fn leak(control: &Control, has_ended: &AtomicBool) {
    let mut leaked = Vec::new();
    while !has_ended.load(Ordering::Relaxed) {
        let due = control.counters().opened * LEAKED / CONNECTIONS;
        while (leaked.len() as u64) < due {
            let memory = std::hint::black_box(vec![1_u8; LEAKED_BYTES]);
            leaked.push((File::open("/dev/null").expect("there are descriptors"), memory));
        }
        thread::yield_now();
    }
}

/// The usage of this process in a run, in which it leaks or not.
fn usage(server: &Serving, leaks: bool) -> ResourceUsage {
    let plan = plan(server.address.parse().expect("the server has an address"), &[CHURN]);
    let control = Control::new(&plan);
    let watch = UsageWatch::of_this_program().expect("Linux tells");
    let has_ended = AtomicBool::new(!leaks);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| leak(&control, &has_ended));
        let sampler = watch.sample(&control);
        let outcome = client::run(plan, &Arc::clone(&control)).expect("the client can start threads");
        drop(sampler);
        has_ended.store(true, Ordering::Relaxed);
        outcome
    });
    assert_eq!(outcome.opened(), CONNECTIONS);
    watch.look_at_the_end();
    watch.usage(outcome.opened())
}

#[test]
fn a_client_that_grows_with_its_connections_shows_even_if_it_frees_all_at_its_end() {
    let server = Serving::start(&[]);
    let good = usage(&server, false);
    let bad = usage(&server, true);
    server.stop();
    let UsageFigures { fds_growth, memory_growth, .. } = good.figures_in_run();
    assert!(fds_growth.is_some_and(|fds| fds.abs() < 20), "{good:?}");
    assert!(memory_growth.is_some_and(|bytes| bytes < ALLOWED_BYTES), "{good:?}");
    let UsageFigures { fds_growth, memory_growth, .. } = bad.figures_in_run();
    // A half and more of it is leaked after the first connections.
    assert!(fds_growth.is_some_and(|fds| fds > LEAKED as i64 / 3), "{bad:?}");
    assert!(memory_growth.is_some_and(|bytes| bytes > ALLOWED_BYTES), "{bad:?}");
    assert!(bad.settled.fds < bad.late.and_then(|late| late.fds), "it has freed them: {bad:?}");
}
