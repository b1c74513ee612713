//! Self-proof: the real client finds every kind of fault under several loads, with the right name, place, extent and
//! source. Each finding is matched with one entry of the faulty server's own log. Runs without a fault raise no
//! finding.
//!
//! This prints the tables in docs/detection.md, and below it what was not perfect:
//! `cargo test --release --test detection -- --nocapture`

mod cases;
mod reconcile;
mod run;
mod table;

use std::collections::BTreeMap;
use std::sync::Mutex;

use cases::{CONNECTION_FAULTS, FAULTS, LOADS, Load, MIXED, SERVER_FAULTS, STAYING};
use echo_tester::server::fault::choice::StaleOrigin;
use echo_tester::server::fault::{Fault, FaultKind};
use echo_tester::server::models::{self, TABLE};
use echo_tester::server::{Options, Server};
use reconcile::{Reconciled, Truth, Verdict, reconcile};

/// Cases that run at the same time: most of them only wait for a stall time-out.
const PARALLEL_CASES: usize = 16;
/// Runs of each fault under each load, each with its own seed.
const SEEDS_PER_CASE: u64 = 3;

struct DetectionCase {
    /// The kind of its fault, or a name for several.
    name: String,
    faults: Vec<Fault>,
    load: &'static str,
    toml: &'static str,
    /// No connection is reopened, so both sides number them alike.
    same_numbers: bool,
    seed: u64,
}

impl DetectionCase {
    fn title(&self) -> String {
        let faults: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        format!("{} under {}, seed {}", faults.join(" "), self.load, self.seed)
    }
}

fn all_cases() -> Vec<DetectionCase> {
    let mut cases = Vec::new();
    let mut add = |name: String, faults: &[Fault], load: &'static str, toml: &'static str, same_numbers: bool| {
        for _ in 0..SEEDS_PER_CASE {
            let seed = cases.len() as u64;
            cases.push(DetectionCase { name: name.clone(), faults: faults.to_vec(), load, toml, same_numbers, seed });
        }
    };
    for template in FAULTS {
        for load in LOADS {
            let fault = cases::fault(template, load);
            add(format!("`{}`", fault.kind), &[fault], load.name, load.toml, !load.churns);
        }
    }
    for spec in SERVER_FAULTS {
        let fault: Fault = spec.parse().expect("a valid fault spec");
        add(format!("`{}`", fault.kind), &[fault], "connections that stay", STAYING, true);
    }
    for (spec, load, toml) in CONNECTION_FAULTS {
        let fault: Fault = spec.parse().expect("a valid fault spec");
        let reopens = fault.kind == FaultKind::SlotLeak;
        add(format!("`{}`", fault.kind), &[fault], load, toml, !reopens);
    }
    let mixed: Vec<Fault> = MIXED.iter().map(|spec| spec.parse().expect(spec)).collect();
    let bulk = LOADS.iter().find(|load| load.stream > 500_000).expect("one load is bulk");
    add("eight kinds mixed".to_owned(), &mixed, bulk.name, bulk.toml, true);
    cases
}

/// Does `work` with each item, several at a time, and returns the results in order.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(items.iter().enumerate());
    let results = Mutex::new(BTreeMap::new());
    let take = || queue.lock().expect("no thread panics while it holds the lock").next();
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL_CASES {
            scope.spawn(|| {
                while let Some((n, item)) = take() {
                    let result = work(item);
                    results.lock().expect("no thread panics while it holds the lock").insert(n, result);
                }
            });
        }
    });
    results.into_inner().expect("no thread panics while it holds the lock").into_values().collect()
}

#[test]
fn every_fault_is_found_named_and_placed() {
    let cases = all_cases();
    let results = in_parallel(&cases, |case| {
        let outcome = run::against_faults(&case.faults, case.toml, case.seed);
        let truth = Truth::new(case.seed, &outcome.findings, case.same_numbers);
        reconcile(&truth, &outcome.log, &outcome.findings)
    });
    table::print(cases.iter().zip(&results).map(|(case, result)| (case.name.as_str(), case.load, result)));
    let imperfections: Vec<String> =
        cases.iter().zip(&results).flat_map(|(case, result)| imperfections(case, result)).collect();
    println!("\n{} imperfections\n{}", imperfections.len(), imperfections.join("\n"));
    let injected: usize = results.iter().map(|result| result.faults.len()).sum();
    let missed = count(&results, Verdict::Missed);
    let misnamed = missed + count(&results, Verdict::Misnamed);
    let misplaced = misnamed + count(&results, Verdict::Misplaced);
    let unexplained: usize = results.iter().map(|result| result.unexplained.len()).sum();
    assert!(injected > 5_000, "{injected} faults are too few to prove anything");
    assert_eq!(missed, 0, "faults of {injected} that were not found");
    // Random bytes sometimes look like another fault: a duplicated byte may look like a text conversion.
    assert!(misnamed * 1000 <= injected, "{misnamed} of {injected} faults were found with a wrong name");
    assert!(misplaced * 1000 <= injected, "{misplaced} of {injected} faults were found at a wrong place");
    assert!(unexplained * 1000 <= injected, "no fault explains {unexplained} findings");
    let alarms: Vec<String> = results.iter().flat_map(|result| result.false_alarms()).map(table::sentence).collect();
    assert!(alarms.is_empty(), "findings on connections without a fault:\n{}", alarms.join("\n"));
    for (cases, results) in cases.chunks(SEEDS_PER_CASE as usize).zip(results.chunks(SEEDS_PER_CASE as usize)) {
        // Bytes of closed connections need connections that closed a while ago, which most loads do not have.
        let may_do_nothing = |fault: &Fault| fault.kind == FaultKind::Stale && fault.from == StaleOrigin::Closed;
        let injected = results.iter().any(|result| !result.faults.is_empty());
        assert!(injected || cases[0].faults.iter().all(may_do_nothing), "{} injected nothing", cases[0].title());
    }
}

fn count(results: &[Reconciled], wanted: Verdict) -> usize {
    results.iter().flat_map(|result| &result.faults).filter(|(_, verdict, _)| *verdict == wanted).count()
}

fn imperfections(case: &DetectionCase, result: &Reconciled) -> Vec<String> {
    let title = case.title();
    let imperfect = result.faults.iter().filter(|(_, verdict, _)| *verdict > Verdict::Together);
    let imperfect = imperfect.map(|(record, verdict, finding)| {
        let found = finding.as_ref().map(table::sentence);
        let Some(found) = found else { return format!("{title}: {verdict:?}: {}", table::record(record)) };
        format!("{title}: {verdict:?}: {}\n    found: {found}", table::record(record))
    });
    let unexplained = result.unexplained.iter();
    imperfect.chain(unexplained.map(|finding| format!("{title}: unexplained: {}", table::sentence(finding)))).collect()
}

#[test]
fn runs_without_a_fault_raise_no_finding() {
    // Here `fork` would copy this whole process, with the sockets of all clients and servers, for each connection.
    // `tests/models.rs` and `check` have it in a process of its own.
    let is_tried = |model: &&models::Model| model.run.is_some() && (model.probe)().is_ok() && model.name != "fork";
    let models: Vec<_> = TABLE.iter().filter(is_tried).collect();
    assert!(!models.is_empty());
    let runs: Vec<_> = models.iter().flat_map(|model| LOADS.iter().map(move |load| (*model, load))).collect();
    let found = in_parallel(&runs, |(model, load): &(&models::Model, &Load)| {
        let server = Server::start(model, run::any_port(), Options::default()).expect(model.name);
        let (counters, findings) = run::blast(server.address(), load.toml, 7);
        assert!(run::stop(server).add_up(), "{}", model.name);
        let is_complete = counters.bytes_verified > 0 && counters.bytes_verified == counters.bytes_sent;
        assert!(is_complete, "{} under {}: {counters:?}: {findings:?}", model.name, load.name);
        findings.iter().map(|found| format!("{} under {}: {}", model.name, load.name, table::sentence(found))).collect()
    });
    let found: Vec<String> = found.into_iter().flat_map(|found: Vec<String>| found).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    println!("{} clean runs, {} models, no finding", runs.len(), models.len());
}
