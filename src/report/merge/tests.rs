//! Adding up reports loses nothing, and refuses reports that do not belong together.

use super::*;
use crate::judge::verdict::{Verdict, VerdictContext, judge};
use crate::measure::Point;
use crate::measure::open_loop::OpenLoopStats;
use crate::report::closing::Closing;
use crate::report::style::Style;
use crate::stream::{ConnId, Divergence, FindingKind, Op, OpKind};

/// Shard `index` of `count`, started `start` seconds after the others, with `rtts` in milliseconds.
fn shard(index: u32, count: u32, start: u64, rtts: &[u64]) -> Input {
    let counters = Counters {
        connects: 1,
        opened: 1,
        passed: 1,
        messages_sent: rtts.len() as u64,
        messages_echoed: rtts.len() as u64,
        bytes_verified: 10,
        ..Counters::default()
    };
    let mut rtt = Latency::default();
    rtts.iter().for_each(|ms| rtt.record(ms * 1_000_000));
    let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + start);
    let client = ClientReport {
        cpu_s: Some(1.5),
        peak_memory_bytes: Some(1000),
        memory_before_bytes: Some(600),
        usage: None,
        busy: vec![Some(0.5)],
        was_bottleneck: Some(false),
        stood_still_s: 0.0,
        starved_s: None,
        tcp_memory_short_s: None,
        stolen_s: None,
        machine_was_full: None,
        machine: None,
    };
    let none = LatencyReport::from(&Latency::default());
    let load = LoadReport {
        name: "load".to_owned(),
        config: serde_json::json!({ "conns": 2, "verify": "full" }),
        about: "2 connections".to_owned(),
        counters: counters.clone(),
        backend: None,
        kinds: KindStatsMap::new(),
        rtt: LatencyReport::from(&rtt),
        connect: none.clone(),
        first_byte: none,
        sent_after_due: None,
        active: ActiveTimeReport { first_connect_s: Some(0.5), last_echo_s: Some(9.0) },
        rate: None,
        backend_rate: None,
        timeline: Timeline { interval_ms: 100, points: vec![Point { messages: 1, ..Point::default() }] },
        findings: Vec::new(),
    };
    let report = RunReport {
        form: FORM.to_owned(),
        version: "0.1.0".to_owned(),
        started_at: humantime::format_rfc3339_micros(began).to_string(),
        seed: "7".to_owned(),
        targets: vec!["127.0.0.1:7777".to_owned()],
        shard: format!("{index}/{count}"),
        server: None,
        server_usage: None,
        loads: vec![load],
        total: counters.clone(),
        elapsed_s: 10.0,
        client,
        backend: None,
        verdict: judge(&counters, &VerdictContext::default()),
        answered: None,
        interrupted: false,
        case: None,
        parts: Vec::new(),
    };
    Input { file: format!("{index}.json"), report }
}

fn merged(inputs: &[Input]) -> RunReport {
    merge(inputs.to_vec(), 20, Missing::Inconclusive).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(inputs: &[Input]) -> String {
    merge(inputs.to_vec(), 20, Missing::Inconclusive).expect_err("a refusal").to_string()
}

/// The recorded round trips. The encoded form depends on the order in which it grew, so it can't be compared.
fn rtt(report: &RunReport) -> Latency {
    Latency::decode(&report.loads[0].rtt.hdr).expect("own encoding")
}

#[test]
fn counters_and_histograms_add_up_to_those_of_one_process() {
    let sum = merged(&[shard(1, 2, 0, &[2, 100]), shard(0, 2, 0, &[1, 3])]);
    assert_eq!((sum.total.passed, sum.total.messages_echoed, sum.total.bytes_verified), (2, 4, 20));
    let one = shard(0, 1, 0, &[1, 2, 3, 100]);
    assert_eq!(rtt(&sum), rtt(&one.report), "to the last count");
    assert_eq!((sum.shard.as_str(), sum.verdict.outcome), ("0/1", Verdict::Pass));
    assert_eq!(sum.targets, ["127.0.0.1:7777"]);
}

#[test]
fn processes_are_listed_by_shard_and_their_resources_add_up() {
    let sum = merged(&[shard(2, 3, 0, &[1]), shard(0, 3, 0, &[1]), shard(1, 3, 0, &[1])]);
    assert_eq!(sum.parts.iter().map(|part| part.file.as_str()).collect::<Vec<_>>(), ["0.json", "1.json", "2.json"]);
    assert_eq!((sum.client.cpu_s, sum.client.peak_memory_bytes), (Some(4.5), Some(3000)));
    assert_eq!((sum.client.busy.len(), sum.client.was_bottleneck), (3, Some(false)));
    let mut unknown = shard(1, 2, 0, &[1]);
    unknown.report.client.cpu_s = None;
    unknown.report.client.was_bottleneck = Some(true);
    unknown.report.client.machine_was_full = Some(false);
    let sum = merged(&[shard(0, 2, 0, &[1]), unknown]);
    assert_eq!((sum.client.cpu_s, sum.client.was_bottleneck), (None, Some(true)), "an unknown part is not 0");
    assert_eq!(sum.client.machine_was_full, None, "one is unknown, and the other was not full");
}

fn finding() -> Finding {
    let mut divergence = Divergence::of_connection(FindingKind::Lost, ConnId::new(4).expect("the id is small"), 0, 1);
    divergence.extent = 2;
    let recent = vec![Op { kind: OpKind::Write, offset: 0, len: 1, at_ms: 50.0 }];
    Finding {
        divergence,
        direction: None,
        other: None,
        source_shard: None,
        local: None,
        remote: None,
        at_ms: 60.0,
        cause: None,
        recent,
        replay: None,
    }
}

#[test]
fn times_are_relative_to_the_earliest_process() {
    let mut late = shard(0, 2, 3, &[1]);
    let finding = finding();
    late.report.loads[0].findings = vec![finding.clone()];
    late.report.total.found(FindingKind::Lost);
    let mut early = shard(1, 2, 0, &[1]);
    early.report.loads[0].findings = vec![Finding { at_ms: 9000.0, ..finding }];
    let sum = merged(&[late.clone(), early.clone()]);
    assert_eq!(sum.started_at, early.report.started_at);
    assert!((sum.elapsed_s - 13.0).abs() < 1e-6, "{}", sum.elapsed_s);
    let load = &sum.loads[0];
    assert_eq!(load.active, ActiveTimeReport { first_connect_s: Some(0.5), last_echo_s: Some(12.0) }, "3 s later");
    assert_eq!(load.timeline.points.iter().position(|point| point.messages > 0), Some(0));
    assert_eq!(load.timeline.points.iter().rposition(|point| point.messages > 0), Some(30), "3 s later");
    assert_eq!(load.findings.iter().map(|finding| finding.at_ms).collect::<Vec<_>>(), [3060.0, 9000.0]);
    assert!((load.findings[0].recent[0].at_ms - 3050.0).abs() < 1e-6);
    assert_eq!(sum.verdict.outcome, Verdict::Fail);
    let few = merge(vec![late, early], 1, Missing::Inconclusive).expect("the shards are one run");
    assert_eq!(few.loads[0].findings.len(), 1);
}

#[test]
fn the_rates_of_shards_add_up() {
    let with_rate = |index: u32| {
        let mut input = shard(index, 2, 0, &[1]);
        let counters = Counters { messages_sent: 500, messages_echoed: 500, ..Counters::default() };
        let schedule = OpenLoopStats { began: Some(0), due_until: 9_980_000_000, last_echo: 9_980_000_000, unsent: 0 };
        input.report.loads[0].rate = Some(RateReport::new(50.0, Duration::ZERO, &schedule, &counters));
        input.report.loads[0].counters = counters;
        input
    };
    let rate = merged(&[with_rate(0), with_rate(1)]).loads[0].rate.expect("an open loop");
    assert_eq!((rate.asked_per_s, rate.saturated), (100.0, Some(false)));
    assert!(rate.sent_per_s.is_some_and(|sent| (sent - 100.0).abs() < 0.2), "{rate:?}");
}

#[test]
fn an_interrupt_of_one_interrupts_the_sum_unless_something_was_found() {
    let mut stopped = shard(1, 2, 0, &[1]);
    stopped.report.interrupted = true;
    stopped.report.verdict =
        judge(&stopped.report.total, &VerdictContext { interrupted: true, ..VerdictContext::default() });
    assert_eq!(merged(&[shard(0, 2, 0, &[1]), stopped.clone()]).verdict.outcome, Verdict::Interrupted);

    let mut found = shard(0, 2, 0, &[1]);
    found.report.total.found(FindingKind::Lost);
    let sum = merged(&[found, stopped]);
    assert_eq!((sum.verdict.exit_code, sum.interrupted), (1, true), "a finding outranks an interrupt");
    assert!(sum.verdict.reasons.iter().any(|reason| reason == "interrupted: 1/2"), "{:?}", sum.verdict);
}

#[test]
fn missing_shards_are_named_and_never_pass_unless_accepted() {
    let some = [shard(1, 4, 0, &[1]), shard(3, 4, 0, &[1])];
    let sum = merged(&some);
    assert_eq!((sum.shard.as_str(), sum.verdict.exit_code), ("1,3/4", 4));
    assert_eq!(sum.verdict.reasons[0], "shards 0/4, 2/4 are missing");
    let accepted = merge(some.to_vec(), 20, Missing::Accepted).expect("the shards are one run");
    assert_eq!(accepted.verdict.outcome, Verdict::Pass);
    assert!(
        accepted.verdict.reasons[1].contains("shards 0/4, 2/4 are missing (accepted by --partial)"),
        "{:?}",
        accepted.verdict
    );
}

#[test]
fn processes_that_ran_at_different_times_are_not_one_run() {
    // Each runs for 10 s.
    let three_hours = [shard(0, 2, 10_810, &[1]), shard(1, 2, 0, &[1])];
    let sum = merged(&three_hours);
    assert_eq!(sum.verdict.exit_code, 4);
    assert_eq!(sum.verdict.reasons[0], "not of one run: 0.json started 3h after 1.json had ended");
    let accepted = merge(three_hours.to_vec(), 20, Missing::Accepted).expect("the shards are one run");
    assert_eq!(accepted.verdict.outcome, Verdict::Pass);
    let mut found = three_hours[0].clone();
    found.report.total.found(FindingKind::Lost);
    assert_eq!(merged(&[found, three_hours[1].clone()]).verdict.exit_code, 1, "wrong bytes are wrong in any run");
    assert_eq!(merged(&[shard(0, 2, 70, &[1]), shard(1, 2, 0, &[1])]).verdict.outcome, Verdict::Pass, "a slow start");
    let part = Input { file: "sum.json".to_owned(), report: merged(&[shard(1, 4, 0, &[1]), shard(3, 4, 0, &[1])]) };
    let whole = merged(&[part, shard(0, 4, 10_810, &[1]), shard(2, 4, 10_800, &[1])]);
    assert_eq!(whole.verdict.reasons[0], "not of one run: 0.json started 3h after 1.json had ended");
}

#[test]
fn a_merged_report_can_be_merged_again() {
    let part = |sum| Input { file: "sum.json".to_owned(), report: sum };
    let first = part(merged(&[shard(1, 4, 0, &[1]), shard(3, 4, 0, &[2])]));
    let second = part(merged(&[shard(0, 4, 0, &[3]), shard(2, 4, 0, &[4])]));
    let whole = merged(&[first.clone(), second]);
    let mut at_once = merged(&[shard(0, 4, 0, &[3]), shard(1, 4, 0, &[1]), shard(2, 4, 0, &[4]), shard(3, 4, 0, &[2])]);
    assert_eq!(rtt(&whole), rtt(&at_once));
    at_once.loads[0].rtt.hdr.clone_from(&whole.loads[0].rtt.hdr);
    assert_eq!(
        serde_json::to_value(&whole).expect("a report is JSON"),
        serde_json::to_value(&at_once).expect("a report is JSON")
    );
    assert_eq!(
        refusal(&[first, shard(3, 4, 0, &[1])]),
        "sum.json and 3.json are both shard 3/4: leave one of them \
         out, or start each process with its own --shard"
    );
    assert!(refusal(&[part(whole), shard(3, 4, 0, &[1])]).contains("both shard 3/4"));
}

#[test]
fn reports_of_different_runs_are_refused_with_the_files_and_the_remedy() {
    let mut other_seed = shard(1, 2, 0, &[1]);
    other_seed.report.seed = "8".to_owned();
    assert_eq!(
        refusal(&[shard(0, 2, 0, &[1]), other_seed]),
        "0.json ran with seed 7 and 1.json with seed 8: merge adds up the processes of one run; start them with the same \
         --seed, each with its own --shard"
    );
    let mut other_load = shard(1, 2, 0, &[1]);
    other_load.report.loads[0].config["conns"] = 3.into();
    assert_eq!(
        refusal(&[shard(0, 2, 0, &[1]), other_load]),
        "0.json and 1.json ran different loads (load: conns is 2 and 3): the processes of one run need the same load \
         flags"
    );
    assert_eq!(
        refusal(&[shard(0, 2, 0, &[1]), shard(1, 3, 0, &[1])]),
        "0.json is a shard of 2 and 1.json one of 3: the processes of one run use the same N of --shard I/N"
    );
    assert!(refusal(&[shard(1, 2, 0, &[1]), shard(1, 2, 5, &[1])]).contains("both shard 1/2"));
    let mut damaged = shard(0, 1, 0, &[1]);
    damaged.report.loads[0].rtt.hdr = "AAAA".to_owned();
    assert!(refusal(&[damaged]).starts_with("0.json: the histogram rtt of load is damaged"));
}

#[test]
fn only_reports_of_a_known_form_are_read() {
    let text = serde_json::to_string(&shard(0, 2, 0, &[1]).report).expect("a report is JSON");
    let both = format!("{text}\n{text}\n");
    assert_eq!(read("a.json", &both).expect("two reports").len(), 2, "as in the logs of two processes");
    let refusal = |text: &str| read("a.json", text).expect_err("a refusal").to_string();
    assert!(refusal("").contains("a.json is empty"));
    assert!(refusal("seed 5, 2 workers").contains("a.json is not JSON"));
    assert!(refusal("{}").contains("it has no form"));
    assert!(
        refusal(&text.replace("echo-tester/run/1", "echo-tester/suite/1")).contains("its form is echo-tester/suite/1")
    );
    let newer = refusal(&text.replace("echo-tester/run/1", "echo-tester/run/2").replace("\"0.1.0\"", "\"7.0.0\""));
    assert!(newer.contains("form 2, written by echo-tester 7.0.0"), "{newer}");
    assert!(refusal(&text.replace("\"total\"", "\"totals\"")).contains("cannot be read as one: "));
}

#[test]
fn keys_that_this_version_does_not_know_are_ignored_at_any_depth() {
    fn add_a_key(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(add_a_key),
            Value::Object(map) => {
                map.values_mut().for_each(add_a_key);
                map.insert("added_by_a_later_version".to_owned(), serde_json::json!({ "any": [1] }));
            }
            _ => {}
        }
    }
    let inputs = [shard(0, 2, 0, &[1]), shard(1, 2, 0, &[2])].map(|mut input| {
        let counters = Some(CountersSnapshot::default());
        input.report.server = Some(ServerReport { model: "epoll".to_owned(), counters, cpu_s: None });
        input.report.loads[0].findings = vec![finding()];
        let mut report = serde_json::to_value(&input.report).expect("a report is JSON");
        add_a_key(&mut report);
        assert!(report["loads"][0]["findings"][0]["divergence"].get("added_by_a_later_version").is_some(), "{report}");
        read(&input.file, &report.to_string()).expect("a later report is read").swap_remove(0)
    });
    assert_eq!(merged(&inputs).total.passed, 2);
}

#[test]
fn processes_that_did_not_run_at_the_same_time_are_reported() {
    let render = |inputs: &[Input]| crate::report::terminal::render(&merged(inputs), &Closing::default(), Style::PLAIN);
    let apart = render(&[shard(0, 2, 0, &[1]), shard(1, 2, 5, &[1])]);
    assert!(apart.contains("started up to 5 s apart") && apart.contains("--start-at"), "{apart}");
    let together = render(&[shard(0, 2, 0, &[1]), shard(1, 2, 0, &[1])]);
    assert!(!together.contains("apart") && together.contains("the sum of each process's peak"), "{together}");
}
