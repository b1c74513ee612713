//! A result as fixed data, in which everything occurs that a format must cope with: each outcome, several load groups,
//! findings, and text that is markup in one format or another.

use super::check::{CheckReport, found, planned_verdict};
use super::run::{ClientReport, FORM, LoadReport, RunReport};
use super::suite::{Came, CaseReport, SuiteReport};
use crate::judge::verdict::{Outcome, Verdict};
use crate::measure::active_time::ActiveTimeReport;
use crate::measure::timeline::Point;
use crate::measure::{Counters, LoadStats, Timeline};
use crate::scenario::Expected;
use crate::stream::{Change, ConnId, Corruption, Divergence, Finding, FindingKind};

/// What would end a string, a cell, a fence, an element or a document.
pub(super) const HOSTILE: &str =
    "<script>alert(1)</script> | `a` ```b``` ]]> \"q\" & \u{1b}[31mred\u{1b}[0m \0 \u{7} \u{fffe}\u{ffff} é";

/// One case of each kind.
pub(super) fn suite() -> SuiteReport {
    let mut report = SuiteReport::new(vec![pass(), fail(), missed(), skipped(), inconclusive(), not_run()]);
    report.version = "0.0.0".to_owned();
    report
}

fn case(id: &str, name: &str, outcome: Came) -> CaseReport {
    CaseReport {
        id: id.to_owned(),
        name: name.to_owned(),
        about: "Proves: that it does.\nLook at: the server.\n".to_owned(),
        file: format!("scenarios/{id}.toml"),
        outcome,
        reasons: Vec::new(),
        checks: vec![check("verdict", "pass", Some("pass"), Came::Pass)],
        replay: Some(format!("echo-tester run 'scenarios/{id}.toml' --seed 7")),
        run: None,
        server_output: Vec::new(),
    }
}

fn check(name: &str, expected: &str, actual: Option<&str>, outcome: Came) -> CheckReport {
    CheckReport { name: name.to_owned(), expected: expected.to_owned(), actual: actual.map(str::to_owned), outcome }
}

/// A run in which all went well.
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
        loads,
        total,
        elapsed_s: 1.25,
        client: ClientReport {
            cpu_s: Some(0.5),
            peak_memory_bytes: None,
            memory_before_bytes: None,
            busy: vec![Some(0.5)],
            was_bottleneck: Some(false),
            machine_was_full: None,
        },
        verdict: Verdict { outcome: Outcome::Pass, exit_code: 0, reasons: vec!["nothing wrong".to_owned()] },
        interrupted: false,
        parts: Vec::new(),
    }
}

fn load(name: &str) -> LoadReport {
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
        rtt: (&stats.rtt).into(),
        connect: (&stats.connect).into(),
        first_byte: (&stats.first_byte).into(),
        active: ActiveTimeReport { first_connect_s: Some(0.0), last_echo_s: Some(0.25) },
        rate: None,
        timeline: Timeline {
            interval_ms: 100,
            points: vec![point(1 << 19, 1_000_000), point(0, 0), point(1 << 18, 38_000_000), point(1 << 18, 2_000_000)],
        },
        findings: Vec::new(),
    }
}

/// A byte that came back changed, in connection `conn`.
pub(super) fn finding(conn: u32) -> Finding {
    let conn = ConnId::new(conn).expect("small");
    let mut divergence = Divergence::of_connection(FindingKind::Corrupt, conn, 10, 1);
    divergence.detail = Some(Corruption { bytes: 1, bits: 1, looks_like: Some(Change::ZeroFilled) });
    (divergence.expected, divergence.received) = (vec![1, 2], vec![1, 0]);
    Finding {
        divergence,
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
    CaseReport { run: Some(run(&["load"])), ..case("1.1", "one byte", Came::Pass) }
}

/// Two groups, one of which has findings, and hostile text wherever a person or a server can put it.
pub(super) fn fail() -> CaseReport {
    let mut run = run(&["stalled", "others"]);
    let stalled = &mut run.loads[0];
    stalled.findings = (0..5).map(finding).collect();
    stalled.counters.findings.insert(FindingKind::Corrupt, 25);
    run.total.findings.insert(FindingKind::Corrupt, 25);
    let kinds = found(&run.total);
    run.verdict = Verdict {
        outcome: Outcome::Fail,
        exit_code: 1,
        reasons: vec![format!("{kinds}: {}", FindingKind::Corrupt.description())],
    };
    CaseReport {
        reasons: vec!["verdict: expected pass, it was fail".to_owned(), run.verdict.reasons[0].clone()],
        checks: vec![
            check("verdict", "pass", Some("fail"), Came::Fail),
            check("load stalled", "no finding", Some(&kinds), Came::Fail),
            check("load others", "no finding", Some("no finding"), Came::Pass),
            check("rtt.p99 < 1s", "rtt.p99 < 1s", Some("38ms"), Came::Pass),
        ],
        run: Some(run),
        server_output: vec!["the server said".to_owned(), HOSTILE.to_owned()],
        ..case("4.1", &format!("two groups {HOSTILE}"), Came::Fail)
    }
}

pub(super) fn missed() -> CaseReport {
    CaseReport {
        run: Some(run(&["load"])),
        reasons: vec!["messages > 1k: it was 9".to_owned()],
        checks: vec![
            check("verdict", "pass", Some("pass"), Came::Pass),
            check("messages > 1k", "messages > 1k", Some("9"), Came::ThresholdMissed),
        ],
        ..case("5.1", "many messages", Came::ThresholdMissed)
    }
}

fn skipped() -> CaseReport {
    CaseReport {
        reasons: vec!["the model iocp does not run here: it is for Windows".to_owned()],
        checks: vec![check("verdict", "pass", None, Came::Skipped)],
        ..case("6.1", "elsewhere", Came::Skipped)
    }
}

fn inconclusive() -> CaseReport {
    CaseReport {
        reasons: vec!["no connection could be opened".to_owned()],
        checks: vec![check("verdict", "pass", Some("inconclusive"), Came::Inconclusive)],
        ..case("6.2", "unreachable", Came::Inconclusive)
    }
}

pub(super) fn not_run() -> CaseReport {
    CaseReport { checks: vec![planned_verdict(Expected::Pass)], replay: None, ..case("6.3", "the rest", Came::NotRun) }
}
