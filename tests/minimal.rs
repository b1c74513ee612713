//! The scripts of `check --minimal`: each shows its fault against a server that has it, and none against a good one.
//! They need python3; without it there is nothing to run.

mod kept_ends;
mod one_thread;
mod ports;
mod program;
mod relay;

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use kept_ends::{keep_open, keeps_a_fin_until_the_other, keeps_a_reset};
use one_thread::locks_up;
use ports::free_port;
use program::{Serving, said, text};
use relay::{Carry, Way, bytes, faithful, loses_ten_on_the_way_back, relay};

/// A script, the flags of a server with its fault, and a part of what it says.
const FAULTS: &[(&str, &[&str], &str)] = &[
    ("3.2", &["--fault", "fin-without-drain"], "then a FIN: WRONG"),
    ("3.2", &["--fault", "no-fin"], "received 1000000 bytes and then TimeoutError"),
    ("3.2", &["--fault", "truncate:at=40000"], "received 40000 bytes and then a FIN: WRONG"),
    ("3.2", &["--fault", "reset-at-end"], "ConnectionResetError"),
    ("3.3", &["--fault", "early-fin", "--buffer", "8MiB"], "then a FIN: WRONG"),
    ("3.9", &["--fault", "early-fin"], "then a FIN: WRONG"),
    ("3.9", &["--fault", "close-timer"], "then a FIN: WRONG"),
    ("reset", &["--fault", "reset-at-end"], "got ConnectionResetError"),
    ("2.1", &["--fault", "lockup:len=64KiB"], "TimeoutError('timed out'): WRONG"),
    ("2.2", &["--fault", "stall:at=4000000"], "4000000 received, TimeoutError('timed out'): WRONG"),
    ("bytes", &["--fault", "drop:len=3,at=40000"], "received 15999997, "),
    ("1.5", &["--fault", "flip:at=40000"], "the first WRONG one is byte 40000"),
    ("1.5", &["--fault", "reorder:len=3,at=40000"], "the first WRONG one is byte 40000"),
];

/// The scripts of two sides, a case of each, a relay with its fault, and a part of what it says.
const FAULTS_OF_TWO_SIDES: &[(&str, &str, Carry, &str)] = &[
    ("server-fin", "11.5", cuts_at_the_first_fin, "the client sent 8000000 bytes and a FIN; the server received"),
    ("client-fin", "11.6", cuts_at_the_first_fin, "the server sent 8000000 bytes and a FIN; the client received"),
    ("server-fin", "11.25", keeps_a_fin_until_the_other, "the client received 1000 bytes and then TimeoutError"),
    ("client-fin", "11.26", keeps_a_fin_until_the_other, "the server received 1000 bytes and then TimeoutError"),
    ("both-fins", "11.1", cuts_at_the_first_fin, "WRONG"),
    (
        "both-fins",
        "11.8",
        loses_ten_on_the_way_back,
        "the client 999990 of 1000000 and then a FIN, and not all were right: WRONG",
    ),
    ("late-readers", "11.3", changes_a_byte, "received 16000000 and then a FIN, and not all were right"),
    ("both-fins", "11.1", changes_a_byte, "and not all were right: WRONG"),
    ("late-readers", "11.14", cuts_at_the_first_fin, "an early end came back"),
    (
        "late-readers",
        "11.4",
        loses_ten_on_the_way_back,
        "down: sent 16000000 bytes and a FIN; after 2 s, received 15999990 and then a FIN",
    ),
    (
        "resets",
        "11.9",
        keeps_a_reset,
        "the server received 40000 of 40000 bytes and reset its connection; the other side got ",
    ),
    (
        "resets",
        "11.10",
        keeps_a_reset,
        "the client received 40000 of 40000 bytes and reset its connection; the other side got ",
    ),
    (
        "resets",
        "11.30",
        keeps_every_end_to_itself,
        "the server received 0 of 40000 bytes and reset its connection; the other",
    ),
    (
        "blocked-way",
        "11.27",
        locks_up,
        "the server does not read; of the 1000000 bytes that it sent, the client received",
    ),
    (
        "blocked-way",
        "11.28",
        locks_up,
        "the client does not read; of the 1000000 bytes that it sent, the server received",
    ),
    ("speaks-first", "11.24", waits_for_the_client, "the client sent nothing and received TimeoutError('timed out')"),
];

/// Carries nothing of the server's before the client has sent something.
fn waits_for_the_client(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    static HAS_SPOKEN: Mutex<bool> = Mutex::new(false);
    static SPOKE: Condvar = Condvar::new();
    if way == Way::Down {
        let spoken = HAS_SPOKEN.lock().expect("nobody panicked");
        drop(SPOKE.wait_timeout_while(spoken, Duration::from_secs(60), |spoken| !*spoken).expect("nobody panicked"));
        return faithful(way, from, to);
    }
    bytes(from, to, |_, _| {
        *HAS_SPOKEN.lock().expect("nobody panicked") = true;
        SPOKE.notify_all();
    })?;
    to.shutdown(Shutdown::Write)
}

/// Changes a byte on the way back.
fn changes_a_byte(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    bytes(from, to, |offset, piece| {
        if way == Way::Down && offset == 0 {
            piece.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
        }
    })?;
    to.shutdown(Shutdown::Write)
}

/// Ends both ways at the first FIN, of whichever side, as most proxies that fail do.
fn cuts_at_the_first_fin(_: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    bytes(from, to, |_, _| {})?;
    for socket in [from, to] {
        // One whose ends were both there already has nothing to shut down.
        let _ = socket.shutdown(Shutdown::Both);
    }
    Ok(())
}

/// Carries bytes, and leaves the other side open at whatever end: of two threads that meet a reset, one may see a FIN.
fn keeps_every_end_to_itself(_: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    let _ = bytes(from, to, |_, _| {});
    keep_open([from, to])
}

/// Runs a script of two sides through this relay, or straight if there is none.
fn ran_between(script: &str, carry: Option<Carry>) -> (i32, String) {
    let backend = free_port();
    let proxy = carry.map_or(backend, |carry| relay(backend, carry)).to_string();
    let (code, python, err) = said(&["check", "--minimal", script, &proxy, "--backend", &backend.to_string()]);
    assert_eq!(code, 0, "{err}");
    run_python(&python)
}

/// The exit code of a script, and what it printed.
fn run_python(python: &str) -> (i32, String) {
    let output = Command::new("python3").args(["-c", python]).output().expect("python3 starts");
    (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
}

/// Runs a script against a server with these flags. Returns its exit code, and what it printed.
fn ran(script: &str, flags: &[&str]) -> (i32, String) {
    let server = Serving::start(flags);
    let args = ["check", "--minimal", script, &server.address, "--patience", "3s"];
    let (code, python, err) = said(&args);
    assert_eq!(code, 0, "{err}");
    let result = run_python(&python);
    server.stop();
    result
}

fn has_python() -> bool {
    Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn each_script_shows_its_fault() {
    if !has_python() {
        return println!("SKIPPED: not installed: python3");
    }
    thread::scope(|scope| {
        for (script, flags, said) in FAULTS {
            scope.spawn(move || {
                let (code, output) = ran(script, flags);
                assert!(code == 1 && output.contains(said), "{script} {flags:?}: {code}: {output}");
            });
        }
    });
}

#[test]
fn a_good_server_has_none_of_the_faults() {
    if !has_python() {
        return println!("SKIPPED: not installed: python3");
    }
    for script in ["half-close", "backlog", "reset", "back-pressure", "bytes"] {
        let (code, output) = ran(script, &["--model", "threads"]);
        assert!(code == 0 && output.contains("right"), "{script}: {code}: {output}");
    }
}

#[test]
fn each_script_of_two_sides_shows_its_fault() {
    if !has_python() {
        return println!("SKIPPED: not installed: python3");
    }
    thread::scope(|scope| {
        for (name, case, carry, part) in FAULTS_OF_TWO_SIDES {
            scope.spawn(move || {
                let (code, output) = ran_between(case, Some(*carry));
                let is_said = output.lines().any(|line| line.contains(part) && line.ends_with("WRONG"));
                assert!(code == 1 && is_said, "{name} {case}: {code}: {output}");
            });
        }
    });
}

#[test]
fn a_faithful_relay_has_none_of_the_faults_and_nor_has_no_relay() {
    if !has_python() {
        return println!("SKIPPED: not installed: python3");
    }
    thread::scope(|scope| {
        for name in ["server-fin", "client-fin", "both-fins", "late-readers", "resets", "blocked-way", "speaks-first"] {
            scope.spawn(move || {
                for carry in [Some(faithful as Carry), None] {
                    let (code, output) = ran_between(name, carry);
                    assert!(code == 0 && output.contains("right"), "{name} {}: {code}: {output}", carry.is_some());
                }
            });
        }
    });
}

#[test]
fn a_script_that_finds_nobody_accuses_nobody() {
    if !has_python() {
        return println!("SKIPPED: not installed: python3");
    }
    let nobody = free_port().to_string();
    const OF_TWO_SIDES: [&str; 3] = ["server-fin", "resets", "speaks-first"];
    for script in ["half-close", "backlog", "reset", "back-pressure", "bytes"].into_iter().chain(OF_TWO_SIDES) {
        let backend = free_port().to_string();
        let two_sides: &[&str] = if OF_TWO_SIDES.contains(&script) { &["--backend", &backend] } else { &[] };
        let (_, python, _) = said(&[&["check", "--minimal", script, &nobody], two_sides].concat());
        let (code, printed) = run_python(&python);
        assert!(code == 2 && printed.contains("cannot connect"), "{script}: {code}: {printed}");
    }
    // A proxy that takes connections, and has no backend.
    let deaf = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr().map(|at| (at, listener)));
    let (at, _open) = deaf.expect("a port is free");
    for case in ["11.5", "11.24"] {
        let args = ["check", "--minimal", case, &at.to_string(), "--backend", &free_port().to_string()];
        let (_, python, _) = said(&[&args[..], &["--patience", "500ms"]].concat());
        let (code, printed) = run_python(&python);
        assert!(code == 2 && printed.contains("cannot connect through"), "{case}: {code}: {printed}");
    }
}

#[test]
fn a_script_needs_one_target_and_a_case_that_has_one() {
    for (args, remedy) in [
        (&["--minimal", "4.1", "127.0.0.1:9"][..], "name one of these, or one of its cases: half-close (3.2"),
        (&["--minimal", "half-clos", "127.0.0.1:9"], "did you mean half-close?"),
        (&["--minimal", "3.2", "127.0.0.1:9", "127.0.0.1:10"], "one target"),
        (&["--minimal", "3.2", "127.0.0.1"], "it has no port"),
        (&["--minimal", "3.2", "--model", "threads"], "cannot be used with"),
        (&["--minimal", "3.2"], "one target"),
        (&["--minimal", "3.2", "unix:/tmp/x"], "of the form HOST:PORT"),
        #[cfg(target_os = "linux")]
        (&["--minimal", "3.2", "vsock:1:7777"], "of the form HOST:PORT"),
        (&["--minimal", "11.5", "127.0.0.1:9"], "add --backend and the address that the proxy forwards to"),
        (&["--minimal", "11.5", "127.0.0.1:9", "--backend", "127.0.0.1:0"], "give the port that the proxy forwards to"),
        (&["--minimal", "3.2", "127.0.0.1:9", "--backend", "7777"], "leave out --backend 127.0.0.1:7777"),
        (&["--minimal", "11.5", "127.0.0.1:9", "--backend", "7777", "--backend-token", "x"], "cannot be used with"),
        (&["--minimal", "3.2", "127.0.0.1:9", "--patience", "0"], "must be longer than 0"),
        (&["--minimal", "3.2", "127.0.0.1:9", "--json=x.json"], "cannot be used with"),
        (&["--minimal", "3.2", "127.0.0.1:9", "--via", "socks5://127.0.0.1:1"], "cannot be used with"),
        (&["--list", "--junit", "x.xml"], "cannot be used with"),
    ] {
        let (code, out, err) = said(&[&["check"], args].concat());
        assert!(code == 2 && out.is_empty() && err.contains(remedy), "{args:?}: {code}: {out}{err}");
    }
}
