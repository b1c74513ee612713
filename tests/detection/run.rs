//! Runs one case: a faulty server and the real client, in one process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use echo_tester::client::target::SourceChoice;
use echo_tester::client::{self, Control, RunPlan};
use echo_tester::config::LoadArgs;
use echo_tester::measure::Counters;
use echo_tester::plan::{Shard, Slots};
use echo_tester::server::fault::{Fault, FaultLog, FaultRecord, FaultyServer};
use echo_tester::server::{CountersSnapshot, Options, Server};
use echo_tester::stream::Finding;

/// The result of a run on both sides.
pub(crate) struct DetectionOutcome {
    /// What the client found.
    pub(crate) findings: Vec<Finding>,
    /// What the server injected.
    pub(crate) log: Vec<FaultRecord>,
}

/// Findings to keep in full: more than any case has.
const MAX_FINDINGS: usize = 100_000;

/// Runs `load` (TOML, as in a scenario) against `target`.
pub(crate) fn blast(target: SocketAddr, load: &str, seed: u64) -> (Counters, Vec<Finding>) {
    let args: LoadArgs = toml::from_str(load).expect("the load of a test parses");
    let profile = args.resolve("load").expect("the load of a test is valid");
    let plan = RunPlan {
        seed,
        typed_seed: seed,
        targets: vec![target.into()],
        sources: SourceChoice::System,
        slots: Slots::new([&profile]).expect("the load has few connections"),
        groups: vec![Arc::new(profile)],
        shard: Shard::WHOLE,
        only: Vec::new(),
        workers: 2,
        findings: MAX_FINDINGS,
        replay: None,
        earlier: Vec::new(),
        backend: None,
    };
    let control = Control::new(&plan);
    let mut outcome = client::run(plan, &control).expect("the client starts its threads");
    (outcome.groups.remove(0).counters, outcome.findings.remove(0))
}

/// Runs `load` against a server with these faults.
pub(crate) fn against_faults(faults: &[Fault], load: &str, seed: u64) -> DetectionOutcome {
    let (to, records) = FaultLog::channel();
    let faulty = FaultyServer { faults: faults.to_vec(), seed, log: to };
    let run = |listener, context| faulty.run(listener, context);
    let server = Server::start_with(run, "faulty", any_port().into(), Options::default()).expect("the server starts");
    let (counters, findings) = blast(server.address(), load, seed);
    assert_eq!(counters.findings_total(), findings.len() as u64, "every finding is kept in full");
    stop(server);
    DetectionOutcome { findings, log: records.try_iter().collect() }
}

/// Stops a server after the client has closed all its connections.
pub(crate) fn stop(server: Server) -> CountersSnapshot {
    let stopped = server.stop(Duration::from_secs(20));
    assert!(!stopped.hung, "{stopped:?}");
    stopped.counters
}

/// The loopback address, any port.
pub(crate) fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}
