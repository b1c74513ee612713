//! Servers that somebody else runs, as `run`, `check` and `blast` meet them: ready late, or gone in the end.

mod command_line;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use command_line::said;
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Exit code and the only case of the JSON report: a connection and then another, with these further keys.
fn run(target: SocketAddr, more: &str) -> (i32, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("case.toml");
    let load = "[[load]]\nconns = 1\nmessages = 3\nconnect_timeout = '400ms'\nstall_timeout = '400ms'";
    std::fs::write(&file, format!("name = 'target'\n{load}\n{more}")).expect("the folder can be written");
    let (code, out, err) =
        said(&["run", file.to_str().expect("a plain path"), "-q", "--json", "--target", &target.to_string()]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    (code, report["cases"][0].clone())
}

/// Echoes on so many connections, one after the other, and then takes no more. It tells of each that has ended.
fn echo_server(conns: usize) -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    let (sender, ended) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(conns) {
            echo(stream.expect("somebody connects"));
            // In some tests nobody listens.
            let _ = sender.send(());
        }
    });
    (address, ended)
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        stream.write_all(&buffer[..n]).expect("it is read");
    }
}

/// The check of the server: expected, actual, outcome.
fn server_check(case: &Value) -> Option<[String; 3]> {
    let checks = case["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["name"] == "server")?;
    Some(["expected", "actual", "outcome"].map(|key| check[key].as_str().unwrap_or("null").to_owned()))
}

#[test]
fn one_that_serves_in_the_end_passes_and_is_met_once_more() {
    let (target, server) = echo_server(2);
    let (code, case) = run(target, "");
    assert_eq!((code, case["outcome"].as_str()), (0, Some("pass")), "{case}");
    assert_eq!(server_check(&case), Some(["serving in the end", "serving in the end", "pass"].map(str::to_owned)));
    for _ in 0..2 {
        server.recv_timeout(PATIENCE).expect("two connections came");
    }
}

#[test]
fn one_that_takes_no_connection_in_the_end_fails_the_case_whose_bytes_were_right() {
    let (target, _server) = echo_server(1);
    let (code, case) = run(target, "");
    assert_eq!((code, case["run"]["verdict"]["outcome"].as_str()), (1, Some("pass")), "{case}");
    let [_, actual, outcome] = server_check(&case).expect("the check");
    assert!(actual.starts_with("taking no connection (") && actual.ends_with("for 400ms"), "{actual}");
    assert_eq!(outcome, "fail");
}

#[test]
fn one_that_takes_connections_and_echoes_no_more_fails_the_case() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = listener.local_addr().expect("it has one");
    // The system goes on to take connections for as long as the listener is open.
    let server = std::thread::spawn(move || {
        echo(listener.accept().expect("somebody connects").0);
        listener
    });
    let (code, case) = run(target, "");
    let [_, actual, outcome] = server_check(&case).expect("the check");
    assert!(actual.starts_with("echoing no byte (") && actual.ends_with("for 400ms"), "{actual}");
    assert_eq!((code, outcome.as_str()), (1, "fail"));
    drop(server.join().expect("a connection came"));
}

#[test]
fn one_that_was_never_there_is_inconclusive_and_one_that_must_fail_is_not_asked() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let (code, case) = run(nobody, "");
    let [_, actual, outcome] = server_check(&case).expect("the check");
    assert_eq!((code, actual.as_str(), outcome.as_str()), (4, "null", "inconclusive"));
    let (target, _server) = echo_server(1);
    let (code, case) = run(target, "[expect]\nverdict = 'fail'");
    assert_eq!((code, server_check(&case)), (1, None), "{case}");
}
