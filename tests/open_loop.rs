//! What an open loop promises: messages are due at their rate whatever the server does, and count from when they were
//! due, so that a server which stands still shows in the tail (no coordinated omission).
#![cfg(unix)]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use echo_tester::client::target::SourceChoice;
use echo_tester::client::{self, Control, Plan};
use echo_tester::config::{LoadArgs, Sources};
use echo_tester::measure::Figures;
use echo_tester::plan::{Shard, Slots};
use program::{Serving, said};
use serde_json::Value;

mod program;

/// How long the server stands still.
const STANDSTILL: Duration = Duration::from_secs(1);
/// A message that was due in the first half of it can't be back within this.
const HALF: Duration = Duration::from_millis(495);

fn plan(target: SocketAddr, load: &str) -> Plan {
    let args: LoadArgs = toml::from_str(load).expect("the load of a test is well-formed");
    let profile = args.resolve("load").expect("the load of a test makes sense");
    Plan {
        seed: 42,
        targets: vec![target],
        sources: SourceChoice::new(&Sources::NONE, &[target]),
        slots: Slots::new([&profile]).expect("few connections"),
        groups: vec![Arc::new(profile)],
        shard: Shard::WHOLE,
        only: Vec::new(),
        workers: 2,
        findings: 10,
        replay: None,
    }
}

fn signal(server: &Serving, name: &str) {
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().expect("kill is there").success());
}

/// Runs a load against a server that is stopped for a while in its midst.
fn figures_of_a_standstill(load: &str) -> Figures {
    let server = Serving::start(&[]);
    let plan = plan(server.address.parse().expect("an address"), load);
    let control = Control::new(&plan);
    let runner = {
        let control = Arc::clone(&control);
        thread::spawn(move || client::run(plan, &control).expect("runs"))
    };
    let began = Instant::now();
    while control.counters().messages_echoed < 300 {
        assert!(began.elapsed() < Duration::from_secs(60), "the load does not move");
        thread::yield_now();
    }
    signal(&server, "STOP");
    let pid = rustix::process::Pid::from_child(&server.child);
    let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::UNTRACED);
    assert!(status.expect("it is a child").is_some_and(|(_, status)| status.stopped()));
    // sleep: the standstill is what is tested.
    thread::sleep(STANDSTILL);
    signal(&server, "CONT");
    let mut outcome = runner.join().expect("no panic");
    server.stop();
    let figures = outcome.groups.remove(0);
    assert_eq!((figures.counters.failed, figures.counters.cut_short), (0, 0), "{:?}", outcome.findings);
    figures
}

#[test]
fn a_standstill_of_the_server_shows_in_the_tail_of_an_open_loop() {
    // Messages that are sent on time and wait in the sockets; and messages that can't be sent, since those before them
    // are not back, and would be forgotten by who counts from when they were sent.
    for pipeline in ["'unlimited'", "1"] {
        // 5,000 messages in 5 s. Of the 1,000 due during the standstill, the first 500 wait for half of it or more.
        let load =
            format!("conns = 10\nmessages = 500\nrate = 1000\nsize = 64\nfragment = 'off'\npipeline = {pipeline}");
        let figures = figures_of_a_standstill(&load);
        let rtt = &figures.rtt;
        assert_eq!(rtt.count(), 5000, "{pipeline}");
        assert!(rtt.max().is_some_and(|max| max >= STANDSTILL - Duration::from_millis(10)), "{pipeline}: {rtt:?}");
        let tail = rtt.percentile(90.2);
        assert!(tail.is_some_and(|time| time >= HALF), "{pipeline}: 500 of 5,000: {tail:?}");
    }
}

#[test]
fn the_same_standstill_hides_from_a_closed_loop() {
    // Each connection has one message under way: 10 in all meet the standstill, whatever their number.
    let figures = figures_of_a_standstill("conns = 10\nduration = '3s'\nsize = 64\nfragment = 'off'");
    let rtt = &figures.rtt;
    assert!(rtt.max().is_some_and(|max| max >= STANDSTILL - Duration::from_millis(10)), "{rtt:?}");
    assert!(rtt.percentile(90.2).is_some_and(|time| time < HALF), "{:?} of {}", rtt.percentile(90.2), rtt.count());
}

fn report(args: &[&str]) -> Value {
    let (code, out, err) = said(&[&["blast", "--serve", "-q", "--json"], args].concat());
    assert_eq!(code, 0, "{out}{err}");
    serde_json::from_str(&out).expect("JSON")
}

/// Messages that were sent, and those that were due and could not be.
fn sent_and_unsent(report: &Value) -> (u64, u64) {
    let sent = report["total"]["messages_sent"].as_u64().expect("a number");
    (sent, report["loads"][0]["rate"]["unsent"].as_u64().expect("a number"))
}

#[test]
fn no_message_of_the_schedule_is_forgotten() {
    let load = ["-c", "7", "--rate", "500", "--duration", "1s", "--size", "64", "--ramp", "200ms"];
    let report = report(&load);
    // The last connection opens after six sevenths of the ramp, and there the schedule begins.
    let (sent, unsent) = sent_and_unsent(&report);
    assert_eq!(sent + unsent, (500.0f64 * (1.0 - 0.2 * 6.0 / 7.0)).ceil() as u64);
    assert_eq!(report["loads"][0]["rate"]["asked_per_s"], 500.0);
}

#[test]
fn above_saturation_the_report_says_so() {
    let load = ["-c", "4", "--rate", "20m", "--duration", "500ms", "--size", "64", "--fragment", "off"];
    let report = report(&load);
    let rate = &report["loads"][0]["rate"];
    assert_eq!(rate["saturated"], true, "{rate}");
    let (sent, unsent) = sent_and_unsent(&report);
    assert_eq!(sent + unsent, 10_000_000);
    assert!(rate["sent_per_s"].as_f64().is_some_and(|sent| sent < 19e6), "{rate}");
    let (_, out, _) = said(&[&["blast", "--serve", "-q"], load.as_slice()].concat());
    let flat = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("saturated: 20,000,000/s were asked for") && flat.contains("not sent at all"), "{out}");
}
