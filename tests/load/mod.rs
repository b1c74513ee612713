//! Plans as `blast` makes them, for tests that run the client in their own process.

use std::net::SocketAddr;
use std::sync::Arc;

use echo_tester::client::RunPlan;
use echo_tester::client::target::SourceChoice;
use echo_tester::config::{LoadArgs, SourceAddresses};
use echo_tester::plan::{Shard, Slots};

/// A plan of these loads, each written as in a `[[load]]` of a scenario.
pub(crate) fn plan(target: SocketAddr, loads: &[&str]) -> RunPlan {
    let groups: Vec<_> = loads
        .iter()
        .enumerate()
        .map(|(i, load)| {
            let args: LoadArgs = toml::from_str(load).expect("the load of a test is well-formed");
            args.resolve(&format!("load{i}")).expect("the load of a test is valid")
        })
        .collect();
    RunPlan {
        seed: 42,
        typed_seed: 42,
        targets: vec![target.into()],
        sources: SourceChoice::new(&SourceAddresses::NONE, &[target]),
        slots: Slots::new(&groups).expect("there are ids for so few connections"),
        groups: groups.into_iter().map(Arc::new).collect(),
        shard: Shard::WHOLE,
        only: Vec::new(),
        workers: 2,
        findings: 100,
        replay: Some("replay".to_owned()),
        earlier: Vec::new(),
        backend: None,
    }
}
