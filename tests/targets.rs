//! Servers that somebody else runs, as `run` meets them: still serving at the end, gone by then, or never there.

mod command_line;
mod ports;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use command_line::said;
use ports::free_port;
use serde_json::Value;

/// More than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a scenario of one connection, with these further keys, against a target. Returns the exit code and the only
/// case of the JSON report.
fn run(target: SocketAddr, more: &str) -> (i32, Value) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("case.toml");
    let load = "[[load]]\nconns = 1\nmessages = 3\nconnect_timeout = '400ms'\nstall_timeout = '400ms'";
    std::fs::write(&file, format!("name = 'target'\n{load}\n{more}")).expect("the folder can be written to");
    let (code, out, err) =
        said(&["run", file.to_str().expect("the path is UTF-8"), "-q", "--json", "--target", &target.to_string()]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    (code, report["cases"][0].clone())
}

/// Echoes on this many connections, one after the other, and then accepts no more. Sends a message for each connection
/// that has ended.
fn echo_server(conns: usize) -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    let (sender, ended) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(conns) {
            echo(stream.expect("the listener accepts"));
            // Some tests drop the receiver.
            let _ = sender.send(());
        }
    });
    (address, ended)
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        stream.write_all(&buffer[..n]).expect("the client reads its echo");
    }
}

/// Expected, actual and outcome of the check of the server.
fn server_check(case: &Value) -> Option<[String; 3]> {
    let checks = case["checks"].as_array().expect("the case has checks");
    let check = checks.iter().find(|check| check["name"] == "server")?;
    Some(["expected", "actual", "outcome"].map(|key| check[key].as_str().unwrap_or("null").to_owned()))
}

#[test]
fn a_server_that_still_serves_at_the_end_passes_and_gets_one_more_connection() {
    let (target, server) = echo_server(2);
    let (code, case) = run(target, "");
    assert_eq!((code, case["outcome"].as_str()), (0, Some("pass")), "{case}");
    assert_eq!(
        server_check(&case),
        Some(["still serving after the run", "still serving after the run", "pass"].map(str::to_owned))
    );
    for _ in 0..2 {
        server.recv_timeout(PATIENCE).expect("two connections came");
    }
}

#[test]
fn a_server_that_accepts_no_more_fails_the_case_although_its_bytes_were_right() {
    let (target, _server) = echo_server(1);
    let (code, case) = run(target, "");
    assert_eq!((code, case["run"]["verdict"]["outcome"].as_str()), (1, Some("pass")), "{case}");
    let [_, actual, outcome] = server_check(&case).expect("the case has a check of the server");
    let end = "for 400ms; the target has taken 1 connection since the start";
    assert!(actual.starts_with("taking no connection (") && actual.ends_with(end), "{actual}");
    assert_eq!(outcome, "fail");
}

#[test]
fn a_server_that_accepts_but_echoes_no_more_fails_the_case() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let target = listener.local_addr().expect("the listener is bound");
    // The system keeps accepting connections as long as the listener is open.
    let server = std::thread::spawn(move || {
        echo(listener.accept().expect("the listener accepts").0);
        listener
    });
    let (code, case) = run(target, "");
    let [_, actual, outcome] = server_check(&case).expect("the case has a check of the server");
    let taken = "the target has taken 1 connection since the start";
    assert_eq!(actual, format!("echoing no byte (no answer within 400ms); {taken}"));
    assert_eq!((code, outcome.as_str()), (1, "fail"));
    drop(server.join().expect("the server does not panic"));
}

#[test]
fn a_server_never_there_is_inconclusive_and_one_that_should_fail_is_not_asked() {
    let nobody = free_port();
    let (code, case) = run(nobody, "");
    let [_, actual, outcome] = server_check(&case).expect("the case has a check of the server");
    assert_eq!((code, actual.as_str(), outcome.as_str()), (4, "null", "inconclusive"));
    let (target, _server) = echo_server(1);
    let (code, case) = run(target, "[expect]\nverdict = 'fail'");
    assert_eq!((code, server_check(&case)), (1, None), "{case}");
}
