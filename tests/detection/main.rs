//! Self-proof: every kind of fault, under several loads, is found by the real client, by its right name, at the right
//! place, with the right extent and source, reconciled one to one with the faulty server's own log; and runs without a
//! fault raise no finding.
//!
//! `cargo test --release --test detection -- --nocapture` prints the table in the README.

mod cases;
mod reconcile;
mod run;
mod table;

use std::collections::BTreeMap;
use std::sync::Mutex;

use cases::{FAULTS, LOADS, Load, OF_THE_SERVER, STAYING};
use echo_tester::server::faulty::Fault;
use echo_tester::server::models::{self, TABLE};
use echo_tester::server::{Options, Server};
use reconcile::{Reconciled, Truth, Verdict, reconcile};

/// Cases at a time: most of them wait for a stall time-out.
const AT_A_TIME: usize = 16;
/// Runs of each fault under each load, each with a seed of its own.
const SEEDS: u64 = 2;

struct Case {
    fault: Fault,
    load: &'static str,
    toml: &'static str,
    same_numbers: bool,
    seed: u64,
}

fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |fault: Fault, load: &'static str, toml: &'static str, same_numbers: bool| {
        for _ in 0..SEEDS {
            let seed = cases.len() as u64;
            cases.push(Case { fault: fault.clone(), load, toml, same_numbers, seed });
        }
    };
    for template in FAULTS {
        for load in LOADS {
            add(cases::fault(template, load), load.name, load.toml, !load.churns);
        }
    }
    for spec in OF_THE_SERVER {
        add(spec.parse().expect("a fault"), "connections that stay", STAYING, true);
    }
    cases
}

/// Does `work` with each of these, several at a time; gives the results in order.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(items.iter().enumerate());
    let results = Mutex::new(BTreeMap::new());
    let take = || queue.lock().expect("nobody panics with it").next();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((n, item)) = take() {
                    let result = work(item);
                    results.lock().expect("nobody panics with it").insert(n, result);
                }
            });
        }
    });
    results.into_inner().expect("all are done").into_values().collect()
}

#[test]
fn every_fault_is_found_named_and_placed() {
    let cases = all();
    let results = in_parallel(&cases, |case| {
        let came = run::against_faults(std::slice::from_ref(&case.fault), case.toml, case.seed);
        let truth = Truth::new(case.seed, &came.findings, case.same_numbers);
        reconcile(&truth, &came.log, &came.findings)
    });
    table::print(cases.iter().zip(&results).map(|(case, result)| (&case.fault, case.load, result)));
    let mut wrong = Vec::new();
    for (case, result) in cases.iter().zip(&results) {
        wrong.extend(complaints(case, result));
    }
    assert!(wrong.is_empty(), "{} complaints:\n{}", wrong.len(), wrong.join("\n"));
}

fn complaints(case: &Case, result: &Reconciled) -> Vec<String> {
    let title = format!("{} under {}, seed {}", case.fault, case.load, case.seed);
    let bad = result.faults.iter().filter(|(_, verdict, _)| *verdict > Verdict::Together);
    let bad = bad.map(|(record, verdict, finding)| {
        let found = finding.as_ref().map(table::sentence);
        let Some(found) = found else { return format!("{title}: {verdict:?}: {}", table::record(record)) };
        format!("{title}: {verdict:?}: {}\n    found: {found}", table::record(record))
    });
    let unexplained = result.unexplained.iter();
    bad.chain(unexplained.map(|finding| format!("{title}: unexplained: {}", table::sentence(finding)))).collect()
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let models: Vec<_> = TABLE.iter().filter(|model| model.run.is_some() && (model.probe)().is_ok()).collect();
    assert!(!models.is_empty());
    let runs: Vec<_> = models.iter().flat_map(|model| LOADS.iter().map(move |load| (*model, load))).collect();
    let found = in_parallel(&runs, |(model, load): &(&models::Model, &Load)| {
        let server = Server::start(model, run::any_port(), Options::default()).expect(model.name);
        let (counters, findings) = run::blast(server.address(), load.toml, 7);
        assert!(run::stop(server).add_up(), "{}", model.name);
        assert!(counters.bytes_verified > 0 && counters.bytes_verified == counters.bytes_sent);
        findings.iter().map(|found| format!("{} under {}: {}", model.name, load.name, table::sentence(found))).collect()
    });
    let found: Vec<String> = found.into_iter().flat_map(|found: Vec<String>| found).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    println!("{} clean runs, {} models, no finding", runs.len(), models.len());
}
