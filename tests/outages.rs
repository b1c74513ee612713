//! A server that is down for a time, as the backend of `check --backend`: what a relay makes of it is shown, and that
//! it serves again afterwards is demanded. The relays run in the test.

mod ports;
#[expect(dead_code, reason = "no server of its own is needed here")]
mod program;
#[expect(dead_code, reason = "these relays lose no bytes")]
mod relay;

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use ports::free_port;
use program::said;
use relay::{Carry, Way, faithful, relay_that};
use serde_json::Value;

/// The cases of `filter`, of the suite of two sides, through a relay that does this with a client whose server refuses.
fn through(carry: Carry, refused: fn(TcpStream) -> bool, filter: &str) -> (i32, Value) {
    let backend = free_port();
    let relay = relay_that(backend, carry, refused).to_string();
    let backend = backend.to_string();
    let (code, out, err) = said(&["check", &relay, "--backend", &backend, "--filter", filter, "-q", "--json"]);
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}")))
}

/// The case of this id, which has run.
fn case<'r>(report: &'r Value, id: &str) -> &'r Value {
    let cases = report["cases"].as_array().expect("a report has cases");
    cases.iter().find(|case| case["id"] == id).unwrap_or_else(|| panic!("there is no {id}: {report}"))
}

/// The figures that the case reports.
fn figure(case: &Value, metric: &str) -> f64 {
    let properties = case["properties"].as_array().expect("the case reports figures");
    let property = properties.iter().find(|property| property["metric"] == metric);
    property.and_then(|property| property["value"].as_f64()).unwrap_or_else(|| panic!("no {metric}: {case}"))
}

#[test]
fn a_relay_that_ends_its_clients_passes_and_the_report_says_what_they_saw() {
    let (code, report) = through(faithful, |_| true, "a server that");
    assert_eq!(code, 0, "{report}");
    for id in ["11.20", "11.21"] {
        let case = case(&report, id);
        assert_eq!(case["outcome"], "info", "{case}");
        let (passed, unserved) = (figure(case, "passed"), figure(case, "unserved"));
        assert!(unserved >= 1.0 && passed >= 1.0 && passed + unserved == 20.0, "{case}");
        assert_eq!((figure(case, "unserved_connects"), figure(case, "unserved_silent")), (0.0, 0.0), "{case}");
        assert!(figure(case, "unserved_after.max") > 0.0, "{case}");
    }
    let (code, report) = through(faithful, |_| true, "served again");
    assert_eq!(code, 0, "{report}");
    for id in ["11.22", "11.23"] {
        let case = case(&report, id);
        assert_eq!(case["outcome"], "pass", "{case}");
        assert!(figure(case, "unserved") >= 1.0, "{case}");
    }
}

/// The server was struck out, for ever.
static IS_STRUCK_OUT: AtomicBool = AtomicBool::new(false);

/// Strikes the server out when its side fails, and carries nothing from then on.
fn strikes_out(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    if IS_STRUCK_OUT.load(Ordering::Relaxed) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // A reset is told once, to the thread that reads or to the one that writes. No client resets here.
    let carried = faithful(way, from, to);
    if carried.is_err() {
        IS_STRUCK_OUT.store(true, Ordering::Relaxed);
    }
    carried
}

#[test]
fn a_relay_that_strikes_its_server_out_for_ever_fails() {
    for id in ["11.22", "11.23"] {
        IS_STRUCK_OUT.store(false, Ordering::Relaxed);
        let refused = |_| {
            IS_STRUCK_OUT.store(true, Ordering::Relaxed);
            true
        };
        let (code, report) = through(strikes_out, refused, id);
        let case = case(&report, id);
        assert_eq!((code, &case["outcome"]), (1, &"fail".into()), "{case}");
        let reasons = case["reasons"].to_string();
        assert!(reasons.contains("truncated") || reasons.contains("reset"), "{case}");
    }
}

#[test]
fn a_relay_that_ends_with_the_first_connect_that_fails_fails() {
    for (id, reason) in
        [("11.20", "still serving after the run, got taking no connection"), ("11.22", "connect-failed")]
    {
        let (code, report) = through(faithful, |_| false, id);
        let case = case(&report, id);
        assert_eq!((code, &case["outcome"]), (1, &"fail".into()), "{case}");
        assert!(case["reasons"].to_string().contains(reason), "{case}");
    }
}

#[test]
fn a_relay_that_leaves_its_clients_without_an_end_is_shown() {
    let holds = |client| {
        // Its descriptor stays open as long as this test.
        std::mem::forget(client);
        true
    };
    let (code, report) = through(faithful, holds, "11.20");
    let case = case(&report, "11.20");
    assert_eq!((code, &case["outcome"]), (0, &"info".into()), "{case}");
    assert!(figure(case, "unserved_silent") >= 1.0, "{case}");
    assert_eq!(figure(case, "unserved_silent"), figure(case, "unserved"), "{case}");
}
