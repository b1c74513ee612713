//! The scripts of `check --minimal`: each shows its fault against a server that has it, and none against a good one.
//! They need python3; without it there is nothing to run.

mod program;

use std::process::Command;
use std::thread;

use program::{Serving, said, text};

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

/// Runs a script against a server with these flags. Returns its exit code, and what it printed.
fn ran(script: &str, flags: &[&str]) -> (i32, String) {
    let server = Serving::start(flags);
    let args = ["check", "--minimal", script, &server.address, "--patience", "3s"];
    let (code, python, err) = said(&args);
    assert_eq!(code, 0, "{err}");
    let output = Command::new("python3").args(["-c", &python]).output().expect("python3 starts");
    server.stop();
    (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
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
fn a_script_that_finds_nobody_accuses_nobody() {
    if !has_python() {
        return println!("SKIPPED: not installed: python3");
    }
    // Its port is free again, since nobody has connected to it.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("it is bound");
    for script in ["half-close", "backlog", "reset", "back-pressure", "bytes"] {
        let (_, python, _) = said(&["check", "--minimal", script, &nobody.to_string()]);
        let output = Command::new("python3").args(["-c", &python]).output().expect("python3 starts");
        let printed = text(&output.stdout);
        assert!(output.status.code() == Some(2) && printed.contains("cannot connect"), "{script}: {output:?}");
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
        (&["--minimal", "3.2", "127.0.0.1:9", "--patience", "0"], "must be longer than 0"),
        (&["--minimal", "3.2", "127.0.0.1:9", "--json=x.json"], "cannot be used with"),
        (&["--minimal", "3.2", "127.0.0.1:9", "--via", "socks5://127.0.0.1:1"], "cannot be used with"),
        (&["--list", "--junit", "x.xml"], "cannot be used with"),
    ] {
        let (code, out, err) = said(&[&["check"], args].concat());
        assert!(code == 2 && out.is_empty() && err.contains(remedy), "{args:?}: {code}: {out}{err}");
    }
}
