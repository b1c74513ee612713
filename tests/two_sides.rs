//! What the suite of two sides shows of a proxy that the echo suite can't see. The relays of these tests have one fault
//! each, and run in the test.

mod kept_ends;
mod one_thread;
mod outcomes;
mod ports;
mod program;
mod relay;

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kept_ends::{keep_open, keeps_a_fin_until_the_other, keeps_a_reset};
use one_thread::{in_one_thread, locks_up};
use outcomes::{ids, reasons};
use ports::free_port;
use program::{Serving, said};
use relay::{Carry, Way, bytes, faithful, loses_ten_on_the_way_back, relay};
use serde_json::Value;

/// The exit code of `check` with these arguments, and its cases: id and outcome, if they ran.
fn check(args: &[&str]) -> (i32, Value) {
    let (code, out, err) = said(&[&["check"], args, &["-q", "--json"]].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}")))
}

/// The suite of two sides through such a relay: only the cases of `filter`.
fn two_sides(carry: Carry, filter: &str) -> (i32, Value) {
    let backend = free_port();
    let relay = relay(backend, carry).to_string();
    check(&[&relay, "--backend", &backend.to_string(), "--filter", filter])
}

/// The echo suite through such a relay, with an echo server behind it: only the cases of `filter`.
fn echo(carry: Carry, filter: &str) -> (i32, Value) {
    let server = Serving::start(&[]);
    let relay = relay(server.address.parse().expect("it is an address"), carry).to_string();
    let result = check(&[&relay, "--filter", filter]);
    server.stop();
    result
}

/// Ends both ways when the server ends its own: it passes the client's FIN on, and cuts the server's half-close.
fn cuts_at_the_server_s_fin(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    bytes(from, to, |_, _| {})?;
    if way == Way::Down {
        // Also the way from the client, which may still send.
        for socket in [from, to] {
            // One whose ends were both there already has nothing to shut down.
            let _ = socket.shutdown(Shutdown::Both);
        }
        return Ok(());
    }
    to.shutdown(Shutdown::Write)
}

#[test]
fn a_cut_of_the_server_s_half_close_is_found_by_two_sides_and_passed_by_the_echo() {
    // Every case of the echo suite that ends connections: group 3 is about ends alone.
    let (code, by_echo) = echo(cuts_at_the_server_s_fin, "3.");
    assert_eq!((code, ids(&by_echo, "fail")), (0, vec![]), "{}", reasons(&by_echo));
    assert!(ids(&by_echo, "pass").len() > 2, "{}", reasons(&by_echo));

    only_a_fault_fails(cuts_at_the_server_s_fin, &["11.5"]);
}

fn cuts_off_what_is_far_behind_a_fin(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    in_one_thread(way, from, to, 2_000_000)
}

/// Loses the error of a connection that is younger than this, and leaves the other socket open.
fn keeps_an_early_reset(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    const YOUNG: Duration = Duration::from_millis(200);
    let began = Instant::now();
    faithful(way, from, to).or_else(|error| {
        if began.elapsed() > YOUNG {
            return Err(error);
        }
        keep_open([from, to])
    })
}

/// Sends on what has come in 20 ms.
fn collects(_: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    // sleep: it stands for a timer of the relay
    bytes(from, to, |_, _| thread::sleep(Duration::from_millis(20)))?;
    to.shutdown(Shutdown::Write)
}

/// These cases fail through such a relay, and pass through one without a fault.
fn only_a_fault_fails(carry: Carry, cases: &[&str]) {
    for id in cases {
        let (code, faulty) = two_sides(carry, &format!("{id} "));
        assert_eq!((code, ids(&faulty, "fail")), (1, vec![*id]), "{}", reasons(&faulty));
        let (code, without_fault) = two_sides(faithful, &format!("{id} "));
        assert_eq!((code, ids(&without_fault, "pass")), (0, vec![*id]), "{}", reasons(&without_fault));
    }
}

#[test]
fn a_fin_that_is_kept_until_the_other_side_ends_is_found() {
    only_a_fault_fails(keeps_a_fin_until_the_other, &["11.5", "11.6"]);
}

#[test]
fn what_is_lost_far_behind_a_fin_is_found() {
    only_a_fault_fails(cuts_off_what_is_far_behind_a_fin, &["11.25", "11.26"]);
}

#[test]
fn a_way_that_is_blocked_by_the_other_one_is_found() {
    only_a_fault_fails(locks_up, &["11.27", "11.28"]);
}

#[test]
fn a_reset_that_does_not_end_a_silent_side_is_found() {
    only_a_fault_fails(keeps_a_reset, &["11.9", "11.10"]);
}

#[test]
fn a_reset_right_behind_the_first_bytes_that_does_not_end_the_other_side_is_found() {
    only_a_fault_fails(keeps_an_early_reset, &["11.30"]);
    for id in ["11.9", "11.10"] {
        let (code, report) = two_sides(keeps_an_early_reset, &format!("{id} "));
        assert_eq!((code, ids(&report, "pass")), (0, vec![id]), "{}", reasons(&report));
    }
}

#[test]
fn a_relay_that_collects_bytes_passes_the_resets() {
    for id in ["11.9", "11.10", "11.19", "11.30"] {
        let (code, report) = two_sides(collects, &format!("{id} "));
        assert_eq!((code, ids(&report, "pass")), (0, vec![id]), "{}", reasons(&report));
    }
}

#[test]
fn what_does_not_go_with_a_backend_is_said_with_what_does() {
    let (_, out, err) = said(&["check", "127.0.0.1:9", "--backend", "127.0.0.1:9", "--filter", "3.2"]);
    assert!(out.is_empty() && err.contains("with --backend there is group 11 alone"), "{out}{err}");
    let (code, report) = two_sides(faithful, "11.18 ");
    assert_eq!((code, ids(&report, "skipped")), (4, vec!["11.18"]), "{}", reasons(&report));
    assert!(report.to_string().contains("suite = \\\"two-sides\\\""), "{report}");
}

/// Like a proxy that checks the health of its backend: it serves from the fourth connection on.
fn takes_the_backend_back_after_a_while(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    static UNSERVED: AtomicI32 = AtomicI32::new(3);
    if way == Way::Up && UNSERVED.fetch_sub(1, Ordering::Relaxed) > 0 {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    faithful(way, from, to)
}

#[test]
fn a_proxy_that_notices_its_backend_late_is_waited_for() {
    let backend = free_port();
    let proxy = relay(backend, takes_the_backend_back_after_a_while).to_string();
    let (code, out, err) = said(&["blast", &proxy, "--backend", &backend.to_string(), "--conns", "5"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(err.matches("and none reached the backend").count(), 1, "{err}");
}

/// Opens a second connection to the server, and sends it what the client sends.
fn mirrors(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    let mut second = (way == Way::Up).then(|| to.peer_addr().and_then(TcpStream::connect)).transpose()?;
    bytes(from, to, |_, piece| {
        // The backend may have closed it.
        let _ = second.as_mut().map(|second| second.write_all(piece));
    })?;
    to.shutdown(Shutdown::Write)
}

/// Damages the first byte of the client.
fn flips_the_first_byte(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    bytes(from, to, |offset, piece| {
        if way == Way::Up && offset == 0 {
            piece[0] ^= 0x20;
        }
    })?;
    to.shutdown(Shutdown::Write)
}

/// Loses the first byte of the client.
fn swallows_the_first_byte(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    bytes(from, to, |offset, piece| {
        if way == Way::Up && offset == 0 {
            drop(piece.drain(..1));
        }
    })?;
    to.shutdown(Shutdown::Write)
}

/// Says something to the server before the client does.
fn speaks_for_the_client(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    if way == Way::Up {
        to.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    }
    faithful(way, from, to)
}

/// The first connection names its own client, and each further one that of the connection before it.
fn names_the_client_before(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    static LAST: Mutex<Option<SocketAddr>> = Mutex::new(None);
    if way == Way::Up {
        let (client, here) = (from.peer_addr()?, from.local_addr()?);
        let last = LAST.lock().expect("no thread has panicked").replace(client).unwrap_or(client);
        let header = format!("PROXY TCP4 {} {} {} {}\r\n", last.ip(), here.ip(), last.port(), here.port());
        to.write_all(header.as_bytes())?;
    }
    faithful(way, from, to)
}

#[test]
fn damage_at_the_very_beginning_is_named_with_its_kind_and_its_way() {
    let faults: [(Carry, &str); 5] = [
        (flips_the_first_byte, "corrupt"),
        (swallows_the_first_byte, "lost"),
        (speaks_for_the_client, "surplus"),
        (mirrors, "duplicated"),
        (names_the_client_before, "crosstalk"),
    ];
    for (carry, kind) in faults {
        let backend = free_port();
        let proxy = relay(backend, carry).to_string();
        let args = ["blast", &proxy, "--backend", &backend.to_string(), "--conns", "20", "--messages", "5"];
        let (code, out, err) = said(&[&args[..], &["--gap", "5ms", "-q", "--json"]].concat());
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
        let findings = report["loads"][0]["findings"].as_array().expect("they are listed");
        let named = findings.iter().filter(|finding| finding["divergence"]["kind"] == kind);
        let ways: Vec<&Value> = named.map(|finding| &finding["direction"]).collect();
        assert!(code == 1 && ways.len() >= 10 && ways.iter().all(|way| **way == "up"), "{kind}: {findings:?}");
        assert_eq!(report["backend"]["unknown"], 0, "{kind}");
    }
}

#[test]
fn a_dry_run_shows_what_each_side_will_send() {
    let address = free_port().to_string();
    let args = ["blast", &address, "--backend", &address, "-c", "1", "-n", "3", "--seed", "5", "-q", "--json"];
    let json = |args: &[&str]| -> Value {
        let (_, out, err) = said(args);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"))
    };
    let planned = json(&[&args[..], &["--dry-run"]].concat());
    let bytes = |side: &str| -> u64 {
        let messages = planned["connections"][0][side]["messages"].as_array().expect("it has messages");
        messages.iter().map(|message| message["len"].as_u64().expect("it has bytes")).sum()
    };
    assert_eq!(json(&args)["total"]["bytes_received"], bytes("plan") + bytes("backend"), "{planned}");
}

#[test]
fn a_proxy_header_is_read_and_its_address_is_the_client_s() {
    for version in ["v1", "v2"] {
        let address = free_port().to_string();
        let args = ["blast", &address, "--backend", &address, "--send-proxy", version, "--conns", "10"];
        let (code, out, err) = said(&[&args[..], &["--messages", "3", "-q", "--json"]].concat());
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
        let backend = &report["backend"];
        assert_eq!((code, &backend["recognized"], &backend["unknown"]), (0, &10.into(), &0.into()), "{backend}");
        assert_eq!((&backend["with_header"], &backend["with_client_address"]), (&10.into(), &10.into()), "{backend}");
        assert_eq!(backend["seen_from"], "127.0.0.1");
    }
    let address = free_port().to_string();
    let flags = ["blast", &address, "--backend", &address, "--send-proxy", "v2", "--speaks-first", "server"];
    let (code, _, err) = said(&flags);
    assert!(code == 2 && err.contains("does not wait for a header of the PROXY protocol"), "{code}: {err}");
    let (code, without) = direct(&[]);
    assert_eq!((code, &without["backend"]["with_header"]), (0, &0.into()), "{without}");
}

/// Ten connections straight at the backend, with these flags too: the exit code and the report.
fn direct(flags: &[&str]) -> (i32, Value) {
    let address = free_port().to_string();
    let args = ["blast", &address, "--backend", &address, "--conns", "10", "--messages", "3", "-q", "--json"];
    let (code, out, err) = said(&[&args[..], flags].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}")))
}

#[test]
fn a_report_says_how_each_side_kept_its_rate() {
    let (code, report) = direct(&["--flow", "both", "--rate", "1k", "--backend-rate", "100", "--size", "100"]);
    let load = &report["loads"][0];
    assert_eq!(
        (code, &load["rate"]["asked_per_s"], &load["backend_rate"]["asked_per_s"]),
        (0, &1e3.into(), &1e2.into())
    );
    for rate in [&load["rate"], &load["backend_rate"]] {
        assert!(rate["sent_per_s"].is_f64() && rate["echoed_per_s"].is_f64(), "{rate}");
    }
    // What arrived counts, since nothing comes back.
    let (code, report) = direct(&["--flow", "upload", "--rate", "1k", "--size", "100"]);
    let load = &report["loads"][0];
    assert!(code == 0 && load["rate"]["echoed_per_s"].is_f64() && load["backend_rate"].is_null(), "{load}");
}

#[test]
fn the_processes_of_a_sharded_run_have_a_backend_each_and_merge() {
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let mut files = Vec::new();
    for shard in ["0/2", "1/2"] {
        let (code, report) = direct(&["--seed", "5", "--shard", shard]);
        assert_eq!((code, &report["backend"]["recognized"]), (0, &5.into()), "{report}");
        let file = folder.path().join(format!("{}.json", files.len()));
        std::fs::write(&file, report.to_string()).expect("the file is writable");
        files.push(file.to_str().expect("the path is UTF-8").to_owned());
    }
    let (code, out, err) = said(&["merge", &files[0], &files[1], "--json"]);
    let merged: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    assert_eq!((code, &merged["backend"]["recognized"], &merged["total"]["passed"]), (0, &10.into(), &10.into()));
}

#[test]
fn a_backend_that_another_process_has_is_told_so() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (code, _, err) = said(&["blast", &address, "--backend", &address, "--shard", "1/2", "--seed", "5", "-q"]);
    assert!(code == 2 && err.contains("another program listens there"), "{code}: {err}");
}

#[test]
fn a_loss_on_the_way_back_is_named_so_by_the_suite() {
    let (code, report) = two_sides(loses_ten_on_the_way_back, "11.1 ");
    assert_eq!((code, ids(&report, "fail")), (1, vec!["11.1"]), "{}", reasons(&report));
    let case = report["cases"].as_array().and_then(|cases| cases.iter().find(|case| case["id"] == "11.1"));
    let findings = case.map(|case| case["run"]["loads"][0]["findings"].clone()).expect("the case has run");
    let findings = findings.as_array().expect("it lists its findings");
    assert!(
        !findings.is_empty() && findings.iter().all(|finding| finding["divergence"]["kind"] == "lost"),
        "{findings:?}"
    );
    assert!(findings.iter().all(|finding| finding["direction"] == "down"), "{findings:?}");
}
