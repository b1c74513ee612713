//! What an open loop promises: messages are due at their rate whatever the server does, and their round trips count
//! from when they were due. So a server that stands still shows in the tail (no coordinated omission).
#![cfg(unix)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use echo_tester::client::{self, Control};
use echo_tester::measure::LoadStats;
use echo_tester::plan::ConnId;
use echo_tester::runner::judged::judged_run;
use load::plan;
use program::{Serving, said};
use serde_json::Value;

mod load;
mod program;

/// How long the server stands still.
const STANDSTILL: Duration = Duration::from_secs(1);
/// A message that was due in the first half of the standstill can't be back in less than this.
const HALF: Duration = Duration::from_millis(495);

fn signal(server: &Serving, name: &str) {
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs").success());
}

fn wait_for(happened: impl Fn() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(60), "the load makes no progress");
        thread::yield_now();
    }
}

/// Runs a load against a server that is stopped for a while during the run.
fn stats_of_a_standstill(load: &str) -> LoadStats {
    let server = Serving::start(&[]);
    let plan = plan(server.address.parse().expect("the server has an address"), &[load]);
    let control = Control::new(&plan);
    let runner = {
        let control = Arc::clone(&control);
        thread::spawn(move || client::run(plan, &control).expect("the client can start threads"))
    };
    wait_for(|| control.counters().messages_echoed >= 300);
    signal(&server, "STOP");
    let pid = rustix::process::Pid::from_child(&server.child);
    let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::UNTRACED);
    assert!(status.expect("the server is a child of this process").is_some_and(|(_, status)| status.stopped()));
    // sleep: the standstill is the subject of the test.
    thread::sleep(STANDSTILL);
    signal(&server, "CONT");
    let mut outcome = runner.join().expect("the client does not panic");
    server.stop();
    let stats = outcome.groups.remove(0);
    assert_eq!((stats.counters.failed, stats.counters.cut_short), (0, 0), "{:?}", outcome.findings);
    stats
}

#[test]
fn a_standstill_of_the_server_shows_in_the_tail_of_an_open_loop() {
    // With the first pipeline, messages are sent on time and wait in the sockets. With the second they can't be sent,
    // because earlier messages are not back. A round trip that counts from the send would hide their wait.
    for pipeline in ["'unlimited'", "1"] {
        // 5,000 messages in 5 s. Of the 1,000 that are due during the standstill, the first 500 wait for at least half
        // of it.
        let load =
            format!("conns = 10\nmessages = 500\nrate = 1000\nsize = 64\nfragment = 'off'\npipeline = {pipeline}");
        let stats = stats_of_a_standstill(&load);
        let rtt = &stats.rtt;
        assert_eq!(rtt.count(), 5000, "{pipeline}");
        assert!(rtt.max().is_some_and(|max| max >= STANDSTILL - Duration::from_millis(10)), "{pipeline}: {rtt:?}");
        let tail = rtt.percentile(90.2);
        assert!(tail.is_some_and(|time| time >= HALF), "{pipeline}: 500 of 5,000: {tail:?}");
        let late = &stats.sent_after_due;
        assert_eq!(late.count(), 5000, "{pipeline}");
        let late_tail = late.percentile(90.2);
        // What kept the messages back was the server alone: those that need not wait for it go in time.
        assert_eq!(late_tail.is_some_and(|time| time >= HALF), pipeline == "1", "{pipeline}: {late:?}");
    }
}

#[test]
fn a_closed_loop_hides_the_same_standstill() {
    // Each connection has one message in flight, so only 10 messages meet the standstill, however many are sent.
    let stats = stats_of_a_standstill("conns = 10\nduration = '3s'\nsize = 64\nfragment = 'off'");
    let rtt = &stats.rtt;
    assert!(rtt.max().is_some_and(|max| max >= STANDSTILL - Duration::from_millis(10)), "{rtt:?}");
    assert!(rtt.percentile(90.2).is_some_and(|time| time < HALF), "{:?} of {}", rtt.percentile(90.2), rtt.count());
    assert_eq!(stats.sent_after_due.count(), 0, "nothing is due in a closed loop");
}

fn report(args: &[&str]) -> Value {
    let (code, out, err) = said(&[&["blast", "--serve", "-q", "--json"], args].concat());
    assert_eq!(code, 0, "{out}{err}");
    serde_json::from_str(&out).expect("the report is JSON")
}

/// The messages that were sent or were due and could not be sent, and how many they must be when the run ended after
/// `duration` seconds.
fn accounted_and_due(report: &Value, duration: f64) -> (u64, u64) {
    let sent = report["total"]["messages_sent"].as_u64().expect("the key is a number");
    let rate = &report["loads"][0]["rate"];
    let number = |key: &str| rate[key].as_f64().unwrap_or_else(|| panic!("no {key} in {rate}"));
    // From the first message that was due, in whole nanoseconds, because messages are scheduled in these.
    let nanos = ((duration - number("first_due_s")) * 1e9).round();
    (sent + number("unsent") as u64, (nanos * number("asked_per_s") / 1e9).ceil() as u64)
}

#[test]
fn every_message_of_the_schedule_is_accounted_for() {
    let load = ["-c", "7", "--rate", "500", "--duration", "1s", "--size", "64", "--ramp", "200ms"];
    let report = report(&load);
    let (accounted, due) = accounted_and_due(&report, 1.0);
    assert_eq!(accounted, due);
    // The last connection opens after six sevenths of the ramp, and no message is due before that.
    let first_due = report["loads"][0]["rate"]["first_due_s"].as_f64().expect("the schedule started");
    assert!(first_due > 0.2 * 6.0 / 7.0, "{first_due}");
    assert_eq!(report["loads"][0]["rate"]["asked_per_s"], 500.0);
}

#[test]
fn above_saturation_the_report_says_so() {
    let load = ["-c", "4", "--rate", "20m", "--duration", "500ms", "--size", "64", "--fragment", "off"];
    let report = report(&load);
    let rate = &report["loads"][0]["rate"];
    assert_eq!(rate["saturated"], true, "{rate}");
    let (accounted, due) = accounted_and_due(&report, 0.5);
    assert_eq!(accounted, due);
    assert!(rate["sent_per_s"].as_f64().is_some_and(|sent| sent < 19e6), "{rate}");
    let (_, out, _) = said(&[&["blast", "--serve", "-q"], load.as_slice()].concat());
    let flat = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("saturated: 20,000,000/s were asked for")
            && flat.contains("messages that were due were never sent"),
        "{out}"
    );
}

/// A listener whose queue is full, so that the system answers no connect, and the connections that fill it.
#[cfg(target_os = "linux")]
fn full_listener() -> (socket2::Socket, SocketAddr, Vec<TcpStream>) {
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("the system makes a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
    listener.listen(0).expect("the socket can listen");
    let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("the socket is bound");
    let mut filling = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        filling.push(stream);
    }
    (listener, address, filling)
}

/// Echoes on every connection, until one comes after the flag was set.
#[cfg(target_os = "linux")]
fn echo_until(listener: &TcpListener, is_over: &AtomicBool) {
    let echo = |stream: TcpStream| {
        // A connection that breaks off shows in the outcome of the run.
        let _ = std::io::copy(&mut &stream, &mut &stream);
        let _ = stream.shutdown(std::net::Shutdown::Write);
    };
    for stream in listener.incoming().take_while(|_| !is_over.load(Ordering::SeqCst)) {
        let stream = stream.expect("the listener accepts");
        thread::spawn(move || echo(stream));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn slow_handshakes_do_not_count_as_latency_of_messages() {
    let (listener, address, filling) = full_listener();
    let plan = plan(address, &["conns = 12\nmessages = 10\nrate = 200\nsize = 64\nconnect_timeout = '60s'"]);
    let control = Control::new(&plan);
    let is_over = &AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        let runner = scope.spawn(|| client::run(plan, &control).expect("the client can start threads"));
        wait_for(|| control.counters().connects == 12);
        // All SYNs were dropped. The system sends them again after a second at the earliest.
        drop(filling);
        listener.listen(1024).expect("the socket still listens");
        let listener = TcpListener::from(listener);
        scope.spawn(move || echo_until(&listener, is_over));
        let outcome = runner.join();
        is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(address));
        outcome.expect("the client does not panic")
    });
    let stats = &outcome.groups[0];
    assert_eq!((stats.counters.passed, stats.rtt.count()), (12, 120), "{:?}", outcome.findings);
    let slowest = stats.connect.max().expect("connections were opened");
    assert!(slowest > Duration::from_millis(900), "the listener accepted all at once: {slowest:?}");
    // If the handshakes counted, nearly all messages would be late by half a second or more.
    let most = stats.rtt.percentile(75.0);
    assert!(most.is_some_and(|time| time < slowest / 4), "{most:?} after connects of {slowest:?}");
    assert!(stats.open_loop.began.is_some_and(|began| u128::from(began) > slowest.as_nanos()));
}

#[test]
fn connections_that_run_alone_have_only_their_share_of_the_rate() {
    let server = Serving::start(&[]);
    let mut plan = plan(
        server.address.parse().expect("the server has an address"),
        &["conns = 100\nmessages = 5\nrate = 1000\nsize = 64\nduration = '60s'"],
    );
    plan.only = [7, 57].into_iter().filter_map(ConnId::new).collect();
    let outcome = client::run(plan.clone(), &Control::new(&plan)).expect("the client can start threads");
    let report = judged_run(&plan, &outcome, None, None).0;
    let (load, schedule) = (&report.loads[0], &outcome.groups[0].open_loop);
    let rate = load.rate.expect("an open loop reports its rate");
    assert_eq!((rate.asked_per_s, load.counters.messages_sent), (20.0, 10));
    // Connection 7 of 100 is the first, and its message is the eighth of the schedule.
    let first =
        rate.first_due_s.expect("the schedule started") - schedule.began.expect("the schedule started") as f64 / 1e9;
    assert!((first - 0.007).abs() < 1e-6, "{first}");
    // Nine intervals of 50 ms. They are longer if this machine stood still, but not fifty times as long.
    assert!(rate.sent_per_s.is_some_and(|sent| sent > 2.0 && sent < 20.2), "{rate:?}");
    server.stop();
}

#[test]
fn an_overload_is_reported_even_if_the_run_was_interrupted() {
    let server = Serving::start(&[]);
    let plan = plan(
        server.address.parse().expect("the server has an address"),
        &["conns = 4\nrate = '20m'\nsize = 64\nduration = '60s'"],
    );
    let control = Control::new(&plan);
    let outcome = thread::scope(|scope| {
        let runner = scope.spawn(|| client::run(plan.clone(), &control).expect("the client can start threads"));
        wait_for(|| control.counters().messages_echoed >= 1000);
        control.interrupt();
        runner.join().expect("the client does not panic")
    });
    let rate = judged_run(&plan, &outcome, None, None).0.loads[0].rate.expect("an open loop reports its rate");
    assert!(rate.unsent > 1000 && rate.saturated == Some(true), "{rate:?}");
    server.stop();
}

#[test]
fn below_saturation_the_sent_rate_is_exact_to_one_percent() {
    // In every run all that was due must be accounted for. The rate must be exact in one of them: messages that are due
    // in the last moments of a run may have to wait for a busy machine, but a loop that sends too little always does
    // so.
    let load = ["-c", "20", "--rate", "2k", "--duration", "3s", "--size", "64", "--fragment", "off"];
    let mut parts = Vec::new();
    for _ in 0..5 {
        let report = report(&load);
        let (accounted, due) = accounted_and_due(&report, 3.0);
        assert_eq!(accounted, due);
        let rate = &report["loads"][0]["rate"];
        let schedule = 3.0 - rate["first_due_s"].as_f64().expect("the schedule started");
        let sent = report["total"]["messages_sent"].as_f64().expect("the key is a number") / schedule;
        parts.push((sent / 2000.0, rate["sent_per_s"].as_f64().expect("messages were sent") / 2000.0));
        if parts.last().is_some_and(|(of_due, said)| (of_due - 1.0).abs() < 0.01 && (said - 1.0).abs() < 0.01) {
            return;
        }
    }
    panic!("no run was within 1 %: {parts:?}");
}
