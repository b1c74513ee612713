//! A fixed result with everything that a format must cope with: each outcome, several load groups, findings, and text
//! that is markup in one format or another.

use super::run::{ClientReport, FORM, LoadReport, RunReport};
use super::suite::{CaseReport, SuiteReport};
use crate::judge::check::{CheckReport, findings_in_words};
use crate::judge::grade::Grade;
use crate::judge::metric_unit::MetricUnit;
use crate::judge::outcome::CaseOutcome;
use crate::judge::property::Property;
use crate::judge::verdict::{Verdict, VerdictReport};
use crate::measure::active_time::ActiveTimeReport;
use crate::measure::timeline::Point;
use crate::measure::{Counters, LoadStats, Timeline, kind_stats};
use crate::stream::{Change, ConnId, Corruption, Divergence, Finding, FindingKind};

/// Text that could end a string, a cell, a fence, an element or a document.
pub(super) const HOSTILE: &str =
    "<script>alert(1)</script> | `a` ```b``` ]]> \"q\" & \u{1b}[31mred\u{1b}[0m \0 \u{7} \u{fffe}\u{ffff} é";

/// One case of each outcome.
pub(super) fn suite() -> SuiteReport {
    let mut report = SuiteReport::new(vec![
        pass(),
        fail(),
        missed(),
        weak(),
        info(),
        unsupported(),
        skipped(),
        inconclusive(),
        not_run(),
    ]);
    report.version = "0.0.0".to_owned();
    report
}

/// A case for each of these outcomes, without a run.
pub(super) fn cases(outcomes: &[CaseOutcome]) -> Vec<CaseReport> {
    let case = |outcome: &CaseOutcome| CaseReport {
        id: "1.1".to_owned(),
        name: "n".to_owned(),
        about: "Look there.\n".to_owned(),
        file: "a.toml".to_owned(),
        grade: Grade::Must,
        target: None,
        outcome: *outcome,
        reasons: vec!["why".to_owned()],
        checks: Vec::new(),
        properties: Vec::new(),
        replay: Some("again".to_owned()),
        run: None,
        direct: None,
        server_output: Vec::new(),
    };
    outcomes.iter().map(case).collect()
}

fn case(id: &str, name: &str, outcome: CaseOutcome) -> CaseReport {
    CaseReport {
        id: id.to_owned(),
        name: name.to_owned(),
        about: "Proves: that it does.\nLook at: the server.\n".to_owned(),
        file: format!("scenarios/{id}.toml"),
        grade: Grade::Must,
        target: None,
        outcome,
        reasons: Vec::new(),
        checks: vec![check("verdict", "pass", Some("pass"), CaseOutcome::Pass)],
        properties: Vec::new(),
        replay: Some(format!("echo-tester run 'scenarios/{id}.toml' --seed 7")),
        run: None,
        direct: None,
        server_output: Vec::new(),
    }
}

fn check(name: &str, expected: &str, actual: Option<&str>, outcome: CaseOutcome) -> CheckReport {
    CheckReport { name: name.to_owned(), expected: expected.to_owned(), actual: actual.map(str::to_owned), outcome }
}

/// A run in which nothing went wrong.
pub(super) fn run(loads: &[&str]) -> RunReport {
    let loads: Vec<LoadReport> = loads.iter().map(|name| load(name)).collect();
    let mut total = Counters::default();
    loads.iter().for_each(|load| total.add(&load.counters));
    RunReport {
        form: FORM.to_owned(),
        version: "0.0.0".to_owned(),
        started_at: "2026-01-31T12:00:00.000Z".to_owned(),
        seed: "7".to_owned(),
        targets: vec!["127.0.0.1:7777".to_owned()],
        shard: "0/1".to_owned(),
        server: None,
        server_usage: None,
        loads,
        total,
        elapsed_s: 1.25,
        client: ClientReport {
            cpu_s: Some(0.5),
            peak_memory_bytes: None,
            memory_before_bytes: None,
            usage: None,
            busy: vec![Some(0.5)],
            was_bottleneck: Some(false),
            stood_still_s: 0.0,
            starved_s: Some(0.0),
            tcp_memory_short_s: Some(0.0),
            stolen_s: Some(0.0),
            machine_was_full: None,
            machine: None,
        },
        backend: None,
        verdict: VerdictReport { outcome: Verdict::Pass, exit_code: 0, reasons: vec!["nothing wrong".to_owned()] },
        answered: None,
        interrupted: false,
        case: None,
        parts: Vec::new(),
    }
}

pub(super) fn load(name: &str) -> LoadReport {
    let mut stats = LoadStats {
        counters: Counters { connects: 3, opened: 3, passed: 3, bytes_verified: 1 << 20, ..Counters::default() },
        ..LoadStats::default()
    };
    stats.rtt.record(1_000_000);
    stats.rtt.record(38_000_000);
    let point = |bytes_verified, rtt_max_ns| Point { bytes_verified, rtt_max_ns, ..Point::default() };
    LoadReport {
        name: name.to_owned(),
        config: serde_json::json!({ "name": name }),
        about: "3 connections".to_owned(),
        counters: stats.counters,
        backend: None,
        kinds: stats.kinds,
        rtt: (&stats.rtt).into(),
        connect: (&stats.connect).into(),
        first_byte: (&stats.first_byte).into(),
        sent_after_due: None,
        active: ActiveTimeReport { first_connect_s: Some(0.0), last_echo_s: Some(0.25) },
        rate: None,
        backend_rate: None,
        timeline: Timeline {
            interval_ms: 100,
            points: vec![point(1 << 19, 1_000_000), point(0, 0), point(1 << 18, 38_000_000), point(1 << 18, 2_000_000)],
        },
        findings: Vec::new(),
    }
}

/// A byte that came back changed in connection `conn`.
pub(super) fn finding(conn: u32) -> Finding {
    let conn = ConnId::new(conn).expect("small");
    let mut divergence = Divergence::of_connection(FindingKind::Corrupt, conn, 10, 1);
    divergence.detail = Some(Corruption { bytes: 1, bits: 1, looks_like: Some(Change::ZeroFilled) });
    (divergence.expected, divergence.received) = (vec![1, 2], vec![1, 0]);
    Finding {
        divergence,
        direction: None,
        other: None,
        source_shard: None,
        local: Some("127.0.0.1:40312".to_owned()),
        remote: Some("127.0.0.1:7777".to_owned()),
        at_ms: 250.0,
        cause: None,
        recent: Vec::new(),
        replay: Some(format!("echo-tester run 'scenarios/4.1.toml' --seed 7 --only-conn {conn}")),
    }
}

fn pass() -> CaseReport {
    CaseReport { run: Some(run(&["load"])), ..case("1.1", "one byte", CaseOutcome::Pass) }
}

/// Two groups, one with findings, and hostile text wherever a person or a server can put it.
pub(super) fn fail() -> CaseReport {
    let mut run = run(&["stalled", "others"]);
    let stalled = &mut run.loads[0];
    stalled.findings = (0..5).map(finding).collect();
    stalled.counters.findings.insert(FindingKind::Corrupt, 25);
    (0..25).for_each(|n| kind_stats::count(&mut stalled.kinds, &finding(n % 5).divergence, 250.0, n < 5));
    run.total.findings.insert(FindingKind::Corrupt, 25);
    (run.total.passed, run.total.failed) = (1, 5);
    let kinds = findings_in_words(&run.total);
    run.verdict = VerdictReport {
        outcome: Verdict::Fail,
        exit_code: 1,
        reasons: vec![format!("{kinds}: {}", FindingKind::Corrupt.description())],
    };
    CaseReport {
        reasons: vec!["verdict: expected pass, got fail".to_owned(), run.verdict.reasons[0].clone()],
        checks: vec![
            check("verdict", "pass", Some("fail"), CaseOutcome::Fail),
            check("load stalled", "no finding", Some(&kinds), CaseOutcome::Fail),
            check("load others", "no finding", Some("no finding"), CaseOutcome::Pass),
            check("rtt.p99 < 1s", "rtt.p99 < 1s", Some("38ms"), CaseOutcome::Pass),
        ],
        run: Some(run),
        server_output: vec!["the server said".to_owned(), HOSTILE.to_owned()],
        ..case("4.1", &format!("two groups {HOSTILE}"), CaseOutcome::Fail)
    }
}

pub(super) fn missed() -> CaseReport {
    CaseReport {
        run: Some(run(&["load"])),
        reasons: vec!["messages > 1k: it was 9".to_owned()],
        checks: vec![
            check("verdict", "pass", Some("pass"), CaseOutcome::Pass),
            check("messages > 1k", "messages > 1k", Some("9"), CaseOutcome::ThresholdMissed),
        ],
        ..case("5.1", "many messages", CaseOutcome::ThresholdMissed)
    }
}

fn weak() -> CaseReport {
    CaseReport {
        grade: Grade::Should,
        run: Some(run(&["load"])),
        reasons: vec!["passed == 500: it was 128".to_owned()],
        checks: vec![
            check("verdict", "pass", Some("pass"), CaseOutcome::Pass),
            check("passed == 500", "passed == 500", Some("128"), CaseOutcome::Weak),
        ],
        ..case("5.4", "a burst", CaseOutcome::Weak)
    }
}

pub(super) fn info() -> CaseReport {
    let property = |metric: &str, unit, value| Property { metric: metric.to_owned(), unit, value };
    CaseReport {
        grade: Grade::Info,
        run: Some(run(&["load"])),
        properties: vec![
            property("buffered.max", MetricUnit::Bytes, Some(5_347_738.0)),
            property("rtt.p50", MetricUnit::Time, None),
        ],
        ..case("2.4", "the room in the path", CaseOutcome::Info)
    }
}

fn unsupported() -> CaseReport {
    CaseReport {
        reasons: vec!["this machine's loopback has no IPv6 address ::1".to_owned()],
        checks: vec![check("verdict", "pass", None, CaseOutcome::Unsupported)],
        ..case("10.1", "dual stack", CaseOutcome::Unsupported)
    }
}

fn skipped() -> CaseReport {
    CaseReport {
        reasons: vec!["the model iocp does not run here: it is for Windows".to_owned()],
        checks: vec![check("verdict", "pass", None, CaseOutcome::Skipped)],
        ..case("6.1", "elsewhere", CaseOutcome::Skipped)
    }
}

fn inconclusive() -> CaseReport {
    CaseReport {
        reasons: vec!["no connection could be opened".to_owned()],
        checks: vec![check("verdict", "pass", Some("inconclusive"), CaseOutcome::Inconclusive)],
        ..case("6.2", "unreachable", CaseOutcome::Inconclusive)
    }
}

pub(super) fn not_run() -> CaseReport {
    let planned = CaseReport::planned_run(String::new(), String::new());
    CaseReport { checks: planned.checks, replay: None, ..case("6.3", "the rest", CaseOutcome::NotRun) }
}
