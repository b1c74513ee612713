//! Remarks on a run that are no fault: what its times give away about TCP on the way. A run and a case show them alike.

use super::run::{LoadReport, RunReport};
use super::text::show_count;
use crate::measure::{Latency, slow_connects};
use crate::units::{counted, counted_were};

/// How long systems wait with an ACK in the hope of data to send it with, and its name (RFC 1122, 4.2.3.2: less than
/// 500 ms). Linux begins with the shorter time, Windows and the BSDs have the longer one.
const DELAYED_ACKS_MS: [u64; 2] = [40, 200];
/// A round trip that waited for such an ACK takes as long as that, and at most this much longer.
const DELAY_SLACK_MS: u64 = 15;
/// Fewer round trips than this part of all are chance.
const SMALLEST_PLATEAU: f64 = 0.05;

/// Every remark on the run, each without an end mark.
pub(super) fn of(report: &RunReport) -> Vec<String> {
    let mut remarks: Vec<String> = given_up(report).into_iter().chain(without_alpn(report)).collect();
    if report.client.time_doubt(report.elapsed()).is_none() {
        remarks.extend(slow(report));
        remarks.extend(report.loads.iter().filter_map(|load| plateau(load, report)));
    }
    remarks
}

fn given_up(report: &RunReport) -> Option<String> {
    let connections = report.total.given_up;
    (connections > 0).then(|| {
        format!(
            "{} given up after 250 findings each: what came later is not counted",
            counted_were(connections, "connection")
        )
    })
}

fn without_alpn(report: &RunReport) -> Option<String> {
    let (without, of) = (report.total.without_alpn, report.total.opened);
    (without > 0).then(|| {
        format!(
            "the server chose no protocol of --alpn on {} of {}: it ignores ALPN, or is not set to these protocols",
            show_count(without),
            counted(of, "connection")
        )
    })
}

fn slow(report: &RunReport) -> Option<String> {
    let of_load = |load: &LoadReport| {
        let [connects, trips] =
            [&load.connect, &load.rtt].map(|latency| Latency::decode(&latency.hdr).unwrap_or_default());
        slow_connects(&connects, &trips)
    };
    let slow: u64 = report.loads.iter().map(of_load).sum();
    (slow > 0).then(|| {
        format!(
            "{} took 1 s and more: their SYN was dropped, and sent again after 1, 3 or 7 s (RFC 6298): look at the server's \
             backlog (ListenOverflows in nstat), and for loss on the way",
            if slow == 1 { "1 connect".to_owned() } else { format!("{} connects", show_count(slow)) }
        )
    })
}

/// Round trips that wait for a delayed ACK, because Nagle's algorithm holds back a write until all before it is
/// acknowledged (RFC 896).
fn plateau(load: &LoadReport, report: &RunReport) -> Option<String> {
    if load.config.get("nodelay") != Some(&serde_json::Value::Bool(false)) {
        return None;
    }
    let trips = Latency::decode(&load.rtt.hdr).ok()?;
    let fastest_ms = trips.min()?.as_millis() as u64;
    let at = |delay_ms: u64| {
        let from_ms = fastest_ms + delay_ms - 2;
        trips.count_from(from_ms * 1_000_000) - trips.count_from((from_ms + DELAY_SLACK_MS) * 1_000_000)
    };
    let (delay_ms, held) =
        DELAYED_ACKS_MS.map(|delay_ms| (delay_ms, at(delay_ms))).into_iter().max_by_key(|at| at.1)?;
    let part = held as f64 / trips.count() as f64;
    (part >= SMALLEST_PLATEAU).then(|| {
        let of = if report.loads.len() > 1 { format!(" of {}", load.name) } else { String::new() };
        format!(
            "{:.0} % of the round trips{of} took {delay_ms} ms more than the fastest: a write waits for a delayed ACK, as \
             with Nagle's algorithm at both ends: set TCP_NODELAY in the server, or write each answer at once",
            part * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::histogram::LatencyReport;
    use crate::report::sample;

    fn times(millis: &[u64]) -> LatencyReport {
        let mut latency = Latency::default();
        millis.iter().for_each(|ms| latency.record(Duration::from_millis(*ms).as_nanos() as u64));
        LatencyReport::from(&latency)
    }

    fn run() -> RunReport {
        let mut run = sample::fail().run.expect("the case has run");
        run.loads.truncate(1);
        run
    }

    #[test]
    fn a_connect_is_slow_by_the_second_that_it_takes_longer_than_the_fastest() {
        let said = |millis: &[u64]| {
            let mut run = run();
            run.loads[0].rtt = times(&[]);
            run.loads[0].connect = times(millis);
            of(&run)
        };
        assert_eq!(said(&[0, 1, 900]), [""; 0]);
        assert!(said(&[0, 1, 1003])[0].starts_with("1 connect took 1 s and more"));
        assert!(said(&[0, 1003, 3100, 7005])[0].starts_with("3 connects took 1 s and more"));
        assert_eq!(said(&[1100, 1200, 2000]), [""; 0], "a path that takes a second is only a long one");
        let mut all_slow = run();
        (all_slow.loads[0].connect, all_slow.loads[0].rtt) = (times(&[1003, 1004]), times(&[1]));
        assert!(of(&all_slow)[0].starts_with("2 connects"), "their round trips show that the path is short");
        assert!(said(&[600, 1700])[0].starts_with("1 connect"));
    }

    #[test]
    fn connections_that_were_given_up_are_told_whatever_the_time_is_worth() {
        let mut run = run();
        (run.total.given_up, run.client.stood_still_s) = (3, 1.5);
        assert_eq!(of(&run), ["3 connections were given up after 250 findings each: what came later is not counted"]);
    }

    #[test]
    fn a_server_that_ignores_alpn_is_told() {
        let mut run = run();
        (run.total.without_alpn, run.total.opened) = (2, 3);
        assert_eq!(
            of(&run),
            ["the server chose no protocol of --alpn on 2 of 3 connections: it ignores ALPN, or is not set to these \
              protocols"]
        );
    }

    #[test]
    fn a_client_that_stood_still_says_nothing_of_slow_connects() {
        let mut run = run();
        run.loads[0].connect = times(&[0, 1003]);
        run.client.stood_still_s = 1.5;
        assert_eq!(of(&run), [""; 0]);
    }

    #[test]
    fn a_plateau_is_told_of_a_load_with_nagle_alone() {
        let said = |nodelay: bool, millis: &[u64]| {
            let mut run = run();
            run.loads[0].config = serde_json::json!({ "nodelay": nodelay });
            run.loads[0].rtt = times(millis);
            of(&run)
        };
        assert!(said(false, &[0, 0, 0, 41])[0].contains("25 % of the round trips took 40 ms more"));
        assert!(said(false, &[10, 10, 213, 214])[0].contains("50 % of the round trips took 200 ms more"));
        assert_eq!(said(true, &[0, 0, 0, 41]), [""; 0]);
        assert_eq!(said(false, &[40, 41, 42]), [""; 0], "that is how long the path is");
        assert_eq!(said(false, &[[0; 99].as_slice(), &[41]].concat()), [""; 0]);
    }
}
