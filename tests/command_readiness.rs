//! When a server that a scenario starts is ready: when it echoes a byte, or when it accepts a connection. The server is
//! this test program, started again to run the ignored test `server`; it stands for a proxy whose backend comes later.

mod command_line;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use command_line::said;
use serde_json::Value;

/// The variable with the address of the server.
const ADDRESS: &str = "LATE_SERVER_ADDRESS";
/// The variable that says how many connections it ends at once before it echoes.
const ENDED_AT_ONCE: &str = "LATE_SERVER_ENDS";

/// Ends the first connections, as a proxy does without its backend, and echoes on the others.
#[test]
#[ignore = "it is a server that other tests start"]
fn server() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let ended_at_once = std::env::var(ENDED_AT_ONCE).expect("the variable is set").parse().expect("it is a number");
    let listener = TcpListener::bind(address).expect("the port is free");
    for stream in listener.incoming().skip(ended_at_once) {
        let stream = stream.expect("a client connects");
        std::thread::spawn(move || echo(stream));
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

/// Runs a case against it. Returns the exit code and the only case of the report.
fn case(ended_at_once: usize, more: &str) -> (i32, Value) {
    let program = std::env::current_exe().expect("the test's own path is known").display().to_string();
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let file = folder.path().join("case.toml").to_str().expect("the path is UTF-8").to_owned();
    let text = format!(
        "name = 'late'\n[server]\ncommand = ['{program}', '--exact', 'server', '--ignored', '--nocapture']\n\
         env = {{ {ADDRESS} = '{{addr}}', {ENDED_AT_ONCE} = '{ended_at_once}' }}\n{more}\n\
         [[load]]\nconns = 5\nmessages = 3\n"
    );
    std::fs::write(&file, text).expect("the file is writable");
    let (code, out, err) = said(&["run", &file, "--quiet", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    (code, report["cases"][0].clone())
}

#[test]
fn a_proxy_is_awaited_until_its_backend_echoes() {
    let (code, case) = case(7, "");
    assert_eq!((code, &case["outcome"]), (0, &"pass".into()), "{}", case["reasons"]);
}

#[test]
fn a_proxy_whose_backend_never_comes_is_told_from_a_server_that_is_wrong() {
    let (code, case) = case(usize::MAX, "ready_timeout = '300ms'");
    let reasons = case["reasons"].to_string();
    assert_eq!((code, &case["outcome"]), (4, &"inconclusive".into()), "{reasons}");
    for part in ["took connections on 127.0.0.1:", "ended each without an echo, for 300ms", "ready = \\\"connect\\\""] {
        assert!(reasons.contains(part), "{part} in {reasons}");
    }
}

#[test]
fn with_ready_connect_the_first_connection_is_enough() {
    let (code, case) = case(7, "ready = 'connect'");
    assert_eq!((code, &case["outcome"]), (1, &"fail".into()), "{}", case["reasons"]);
}
