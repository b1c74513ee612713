//! Self-proof: every kind of fault, under several loads, is found by the real client, by its right name, at the right
//! place, with the right extent and source, reconciled one to one with the faulty server's own log; and runs without a
//! fault raise no finding.
//!
//! The table in the README, with what there was to complain about below it:
//! `cargo test --release --test detection -- --nocapture`

mod cases;
mod reconcile;
mod run;
mod table;

use std::collections::BTreeMap;
use std::sync::Mutex;

use cases::{FAULTS, LOADS, Load, MIXED, OF_THE_SERVER, STAYING};
use echo_tester::server::fault::spec::StaleOrigin;
use echo_tester::server::fault::{Fault, FaultKind};
use echo_tester::server::models::{self, TABLE};
use echo_tester::server::{Options, Server};
use reconcile::{Reconciled, Truth, Verdict, reconcile};

/// Cases at a time: most of them wait for a stall time-out.
const AT_A_TIME: usize = 16;
/// Runs of each fault under each load, each with a seed of its own.
const SEEDS: u64 = 3;

struct Case {
    /// The kind, or what stands for several.
    name: String,
    faults: Vec<Fault>,
    load: &'static str,
    toml: &'static str,
    same_numbers: bool,
    seed: u64,
}

impl Case {
    fn title(&self) -> String {
        let faults: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        format!("{} under {}, seed {}", faults.join(" "), self.load, self.seed)
    }
}

fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, faults: &[Fault], load: &'static str, toml: &'static str, same_numbers: bool| {
        for _ in 0..SEEDS {
            let seed = cases.len() as u64;
            cases.push(Case { name: name.clone(), faults: faults.to_vec(), load, toml, same_numbers, seed });
        }
    };
    for template in FAULTS {
        for load in LOADS {
            let fault = cases::fault(template, load);
            add(format!("`{}`", fault.kind), &[fault], load.name, load.toml, !load.churns);
        }
    }
    for spec in OF_THE_SERVER {
        let fault: Fault = spec.parse().expect("a fault");
        add(format!("`{}`", fault.kind), &[fault], "connections that stay", STAYING, true);
    }
    let mixed: Vec<Fault> = MIXED.iter().map(|spec| spec.parse().expect(spec)).collect();
    let bulk = LOADS.iter().find(|load| load.stream > 500_000).expect("one load is bulk");
    add("eight kinds mixed".to_owned(), &mixed, bulk.name, bulk.toml, true);
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
        let came = run::against_faults(&case.faults, case.toml, case.seed);
        let truth = Truth::new(case.seed, &came.findings, case.same_numbers);
        reconcile(&truth, &came.log, &came.findings)
    });
    table::print(cases.iter().zip(&results).map(|(case, result)| (case.name.as_str(), case.load, result)));
    let complaints: Vec<String> =
        cases.iter().zip(&results).flat_map(|(case, result)| complaints(case, result)).collect();
    println!("\n{} complaints\n{}", complaints.len(), complaints.join("\n"));
    let injected: usize = results.iter().map(|result| result.faults.len()).sum();
    let missed = count(&results, Verdict::Missed);
    let misnamed = missed + count(&results, Verdict::Misnamed);
    let misplaced = misnamed + count(&results, Verdict::Misplaced);
    let unexplained: usize = results.iter().map(|result| result.unexplained.len()).sum();
    assert!(injected > 5_000, "{injected} faults prove little");
    assert_eq!(missed, 0, "of {injected} faults: not found");
    // Random bytes look like something else now and then: a doubled byte like a text conversion.
    assert!(misnamed * 1000 <= injected, "{misnamed} of {injected} faults: found by another name");
    assert!(misplaced * 1000 <= injected, "{misplaced} of {injected} faults: found at another place");
    assert!(unexplained * 1000 <= injected, "{unexplained} findings that no fault explains");
    let alarms: Vec<String> = results.iter().flat_map(|result| result.false_alarms()).map(table::sentence).collect();
    assert!(alarms.is_empty(), "on connections without a fault:\n{}", alarms.join("\n"));
    for (cases, results) in cases.chunks(SEEDS as usize).zip(results.chunks(SEEDS as usize)) {
        // Bytes of closed connections need some that were closed a while ago, which most loads don't have.
        let may_be_idle = |fault: &Fault| fault.kind == FaultKind::Stale && fault.from == StaleOrigin::Closed;
        let injected = results.iter().any(|result| !result.faults.is_empty());
        assert!(injected || cases[0].faults.iter().all(may_be_idle), "{} did nothing", cases[0].title());
    }
}

fn count(results: &[Reconciled], wanted: Verdict) -> usize {
    results.iter().flat_map(|result| &result.faults).filter(|(_, verdict, _)| *verdict == wanted).count()
}

fn complaints(case: &Case, result: &Reconciled) -> Vec<String> {
    let title = case.title();
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
