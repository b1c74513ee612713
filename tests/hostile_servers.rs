//! Servers that do everything wrong that a server can, against `blast`, `check` and `compare` as programs: the verdict
//! and its kinds are right, the run ends, its memory is bounded, nothing panics, and Ctrl-C ends it at once.
//! The table of docs/reliability.md is what this prints:
//!
//!     cargo test --release --test hostile_servers -- --nocapture
#![cfg(unix)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use at_once::at_once;
use program::{Serving, finish, program, said, text};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use socket2::SockRef;

mod at_once;
mod program;

/// The longest time that a test waits for an event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);
/// The memory that a run of a few connections may add to that of the program, whatever the server sends.
const MAX_MEMORY_ADDED: u64 = 64 << 20;

/// What a server does with a connection, until the client has gone. `before`: for what it keeps of the one before.
type Behaviour = fn(stream: TcpStream, before: &Mutex<Option<TcpStream>>) -> std::io::Result<()>;

/// A server, and what a run against it finds.
struct Hostile {
    name: &'static str,
    serve: Behaviour,
    /// All kinds that may be found. The first is found in each run.
    kinds: &'static [&'static str],
}

const SERVERS: &[Hostile] = &[
    Hostile { name: "never reads", serve: |_, _| forever(), kinds: &["stalled"] },
    Hostile { name: "never answers", serve: |stream, _| swallow(&stream), kinds: &["stalled"] },
    Hostile { name: "speaks first", serve: speak_first, kinds: &["surplus", "corrupt"] },
    Hostile {
        name: "sends without end",
        serve: send_without_end,
        kinds: &["surplus", "corrupt", "too-slow", "no-fin", "stalled"],
    },
    Hostile { name: "a byte a second", serve: trickle, kinds: &["too-slow", "stalled"] },
    Hostile { name: "closes at once", serve: |_, _| Ok(()), kinds: &["reset", "truncated"] },
    Hostile { name: "resets after a byte", serve: reset_after_a_byte, kinds: &["reset"] },
    Hostile {
        name: "answers on the connection before",
        serve: answer_elsewhere,
        kinds: &["crosstalk", "stalled", "truncated", "surplus", "reset", "no-fin", "too-slow"],
    },
    Hostile { name: "never closes", serve: never_close, kinds: &["no-fin"] },
];

fn forever() -> std::io::Result<()> {
    loop {
        thread::park();
    }
}

fn swallow(mut stream: &TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut stream, &mut std::io::sink())?;
    forever()
}

fn speak_first(mut stream: TcpStream, _: &Mutex<Option<TcpStream>>) -> std::io::Result<()> {
    stream.write_all(b"220 ready\r\n")?;
    std::io::copy(&mut &stream, &mut &stream)?;
    Ok(())
}

fn send_without_end(mut stream: TcpStream, _: &Mutex<Option<TcpStream>>) -> std::io::Result<()> {
    let mut reader = stream.try_clone()?;
    thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    // No repetition that could pass for an answer.
    let noise: Vec<u8> = (0..64u32 << 10).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    loop {
        stream.write_all(&noise)?;
    }
}

fn trickle(mut stream: TcpStream, _: &Mutex<Option<TcpStream>>) -> std::io::Result<()> {
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)?;
        // sleep: this is how slow the server is
        thread::sleep(Duration::from_secs(1));
    }
}

fn reset_after_a_byte(mut stream: TcpStream, _: &Mutex<Option<TcpStream>>) -> std::io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    stream.write_all(&byte)?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

/// Its FIN comes while the client still sends, which it reads.
fn end_after_a_byte(mut stream: TcpStream, _: &Mutex<Option<TcpStream>>) -> std::io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    stream.write_all(&byte)?;
    stream.shutdown(Shutdown::Write)?;
    swallow(&stream)
}

/// Echoes all bytes, with an urgent one among the first that is none of them.
#[cfg(target_os = "linux")]
fn send_urgent(mut stream: TcpStream, _: &Mutex<Option<TcpStream>>) -> std::io::Result<()> {
    let mut piece = vec![0; 1000];
    stream.read_exact(&mut piece)?;
    stream.write_all(&piece[..500])?;
    SockRef::from(&stream).send_out_of_band(b"!")?;
    stream.write_all(&piece[500..])?;
    std::io::copy(&mut &stream, &mut &stream)?;
    Ok(())
}

fn answer_elsewhere(stream: TcpStream, before: &Mutex<Option<TcpStream>>) -> std::io::Result<()> {
    let own = stream.try_clone()?;
    let other = before.lock().expect("nobody panicked").replace(own);
    std::io::copy(&mut &stream, &mut other.as_ref().unwrap_or(&stream))?;
    Ok(())
}

fn never_close(stream: TcpStream, _: &Mutex<Option<TcpStream>>) -> std::io::Result<()> {
    std::io::copy(&mut &stream, &mut &stream)?;
    forever()
}

/// Starts the server. Returns its address, and a channel that tells of each connection. It lasts as long as the test.
fn start(serve: Behaviour) -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound").to_string();
    let (accepted, connections) = channel();
    thread::spawn(move || {
        let before: Arc<Mutex<Option<TcpStream>>> = Arc::default();
        for stream in listener.incoming().map_while(Result::ok) {
            let before = Arc::clone(&before);
            // The client may break off at any time, and the test may have ended.
            thread::spawn(move || drop(serve(stream, &before)));
            let _ = accepted.send(());
        }
    });
    (address, connections)
}

/// Short times, so that no run takes long.
const LIMITS: [&str; 6] = ["--stall-timeout", "1s", "--connect-timeout", "1s", "--grace", "3s"];

/// Runs `blast` against this address and returns its report.
fn blast(address: &str, flags: &[&str]) -> Value {
    let args = [&["blast", address, "--plain", "--quiet", "--json"], &LIMITS[..], flags].concat();
    let (_, out, err) = said(&args);
    assert!(!err.contains("panicked"), "{args:?}: {err}");
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}{err}"));
    let added = memory_added(&report);
    assert!(added < MAX_MEMORY_ADDED, "{args:?} took {added} bytes");
    report
}

/// By how much the memory of the client has grown in the run, in bytes.
fn memory_added(report: &Value) -> u64 {
    let memory = |key: &str| report["client"][key].as_u64().unwrap_or_default();
    memory("peak_memory_bytes").saturating_sub(memory("memory_before_bytes"))
}

fn outcome(report: &Value) -> &str {
    report["verdict"]["outcome"].as_str().expect("a verdict is a word")
}

/// The kinds that were found, none in a report without findings.
fn kinds(report: &Value) -> Vec<&str> {
    let findings = report["total"]["findings"].as_object();
    findings
        .into_iter()
        .flatten()
        .filter(|(_, count)| count.as_u64() > Some(0))
        .map(|(kind, _)| kind.as_str())
        .collect()
}

/// Whether the client itself stood still: on a busy machine it then accuses nobody of a silence.
fn was_late(report: &Value) -> bool {
    let seconds = |key: &str| report["client"][key].as_f64().unwrap_or_default();
    seconds("stood_still_s") + seconds("starved_s") > 0.0
}

#[test]
fn blast_names_what_each_server_does() {
    let rows = at_once(SERVERS, |Hostile { name, serve, kinds: expected }| {
        let (address, _connections) = start(*serve);
        let report = blast(&address, &["--conns", "8", "--duration", "1s"]);
        let found = kinds(&report);
        assert!(outcome(&report) == "fail" || was_late(&report), "{name}: {report}");
        assert!(found.contains(&expected[0]) && found.iter().all(|kind| expected.contains(kind)), "{name}: {found:?}");
        let seconds = report["elapsed_s"].as_f64().expect("a run takes time");
        let (verdict, memory) = (outcome(&report), memory_added(&report) as f64 / f64::from(1 << 20));
        format!("| {name} | {verdict}: {} | {seconds:.1} s | {memory:.1} MiB |", found.join(", "))
    });
    let rows = rows.join("\n");
    println!("| server | verdict | time | memory added |\n| --- | --- | ---: | ---: |\n{rows}");
}

#[test]
fn a_server_that_ends_connections_itself_fails_however_the_client_was_to_end_them() {
    let ends: [(Behaviour, &str); 2] = [(reset_after_a_byte, "reset"), (end_after_a_byte, "truncated")];
    for (serve, expected) in ends {
        at_once(&["reset", "half-close-reset", "abandon", "shutdown-read", "shutdown-both"], |close| {
            let (address, _connections) = start(serve);
            let report = blast(&address, &["--conns", "4", "--messages", "2000", "--close", close]);
            let found = kinds(&report);
            assert!(outcome(&report) == "fail" && found.contains(&expected), "{close}: {report}");
        });
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_urgent_byte_of_the_server_is_surplus_and_holds_up_no_bytes_behind_it() {
    let (address, _connections) = start(send_urgent);
    // Nothing but what comes from the server may end the wait for it.
    let flags = ["--messages", "5", "--size", "4000", "--fragment", "off", "--stall-timeout", "1h"];
    let report = Blasting::start(&address, &flags).report();
    let findings = &report["total"]["findings"];
    assert_eq!((outcome(&report), findings), ("fail", &serde_json::json!({ "surplus": 4 })), "{report}");
    assert_eq!(report["total"]["bytes_verified"], 4 * 5 * 4000, "{report}");
}

#[test]
fn check_and_compare_end_and_blame_each_server() {
    at_once(SERVERS, |Hostile { name, serve, .. }| {
        let (address, _connections) = start(*serve);
        let cases = ["check", &address, "--filter", "3.2", "--patience", "1s", "--quiet"];
        let target = format!("it={address}");
        let comparison = [
            &["compare", "--target", &target, "--rounds", "1", "--conns", "2", "--duration", "1s", "--quiet"][..],
            &LIMITS,
        ]
        .concat();
        for args in [&cases[..], &comparison] {
            let (code, out, err) = said(args);
            // 4: it was silent, but this machine is too busy to be sure; or it is slow, which may be no fault.
            let is_in_doubt = out.contains("stood still") || out.contains("not done within");
            let is_blamed = code == 1 || (code == 4 && is_in_doubt);
            assert!(is_blamed && !err.contains("panicked"), "{name}: {args:?}: {code}: {out}{err}");
        }
    });
}

#[test]
fn ctrl_c_ends_a_run_against_each_server() {
    let times = at_once(SERVERS, |Hostile { name, serve, .. }| {
        let (address, connections) = start(*serve);
        // Only an interrupt ends it. What the server does may end single connections earlier: others follow.
        let args = [
            "blast",
            &address,
            "--plain",
            "--quiet",
            "--conns",
            "8",
            "--duration",
            "1h",
            "--reconnect",
            "forever",
            "--stall-timeout",
            "1h",
            "--grace",
            "1h",
            "--reconnect-delay",
            "100ms",
        ];
        let child: Child = program(&args).process_group(0).spawn().expect("the program starts");
        connections.recv_timeout(EVENT_TIMEOUT).expect("the client connects");
        kill_process_group(Pid::from_child(&child), Signal::INT).expect("it runs");
        let pressed = Instant::now();
        let output = finish(child, &args);
        let took = pressed.elapsed();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 130)), "{name}: {}: {said}", output.status);
        assert!(!said.contains("panicked"), "{name}: {said}");
        took
    });
    println!("the longest time from Ctrl-C to the end: {:?}", times.iter().max());
}

#[test]
fn a_backlog_that_is_full_is_told_as_connections_that_do_not_open() {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any = "127.0.0.1:0".parse::<std::net::SocketAddr>().expect("an address");
    listener.bind(&any.into()).expect("a port is free");
    listener.listen(0).expect("it listens");
    let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound").to_string();
    let report = blast(&address, &["--conns", "8", "--messages", "1"]);
    let found = kinds(&report);
    assert!(outcome(&report) == "fail" && found.contains(&"connect-failed"), "{report}");
    assert!(found.iter().all(|kind| ["connect-failed", "stalled"].contains(kind)), "{found:?}");
}

/// A child that is waited for even if the test fails.
struct Blasting(Option<Child>, Vec<String>);

impl Blasting {
    fn start(address: &str, flags: &[&str]) -> Blasting {
        let args = [&["blast", address, "--plain", "--quiet", "--json", "--conns", "4"], flags].concat();
        let child = program(&args).spawn().expect("the program starts");
        Blasting(Some(child), args.iter().map(|word| (*word).to_owned()).collect())
    }

    fn report(mut self) -> Value {
        let args: Vec<&str> = self.1.iter().map(String::as_str).collect();
        let output = finish(self.0.take().expect("it runs"), &args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(!err.contains("panicked"), "{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
    }
}

#[test]
fn a_server_that_vanishes_and_comes_back_fails_only_what_was_open() {
    let mut first = Serving::start(&[]);
    let address = first.address.clone();
    let run = Blasting::start(&address, &["--lifetime", "1..20", "--reconnect", "forever", "--duration", "4s"]);
    // sleep: the server is there for this part of the run, and away for the next
    thread::sleep(Duration::from_secs(1));
    first.child.kill().expect("it runs");
    first.child.wait().expect("it can be waited for");
    // sleep: as long as it is away
    thread::sleep(Duration::from_millis(300));
    let second = Serving::start(&["--bind", &address]);
    let report = run.report();
    let found = kinds(&report);
    assert_eq!(outcome(&report), "fail", "{report}");
    assert!(found.iter().all(|kind| ["reset", "truncated", "connect-failed"].contains(kind)), "{found:?}");
    let taken = &second.stop()["counters"];
    assert!(taken["accepted"].as_u64() > Some(0) && taken["bytes_in"] == taken["bytes_out"], "it was found: {taken}");
}

#[test]
fn a_server_that_stands_still_is_stalled_once_the_client_has_waited_enough() {
    for (patience, expected) in [("30s", "pass"), ("300ms", "fail")] {
        let server = Serving::start(&[]);
        let run = Blasting::start(&server.address, &["--duration", "3s", "--stall-timeout", patience]);
        let pid = Pid::from_child(&server.child);
        // sleep: the server runs, then stands still for this long
        thread::sleep(Duration::from_millis(700));
        kill_process(pid, Signal::STOP).expect("it runs");
        // sleep: as long as it stands still
        thread::sleep(Duration::from_millis(1500));
        kill_process(pid, Signal::CONT).expect("it runs");
        let report = run.report();
        assert!(outcome(&report) == expected || was_late(&report), "{patience}: {report}");
        assert!(kinds(&report).iter().all(|kind| *kind == "stalled"), "{report}");
        server.stop();
    }
}
