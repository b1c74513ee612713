//! The cases about addresses, ports, descriptors and SIGTERM, against servers with the defect that each of them is for.

use std::collections::BTreeSet;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;

#[cfg(unix)]
use serde_json::Value;

#[cfg(unix)]
use super::command_line::said;
use super::{failed, server};

/// Echoes until the client's FIN, and then ends the connection.
/// With one descriptor for each connection, so that a limit of them counts connections.
pub(super) fn echo(stream: TcpStream) -> io::Result<()> {
    io::copy(&mut &stream, &mut &stream)?;
    stream.shutdown(Shutdown::Write)
}

#[test]
fn a_server_that_keeps_a_session_for_each_address_and_port_fails_7_4_alone() {
    let seen = Mutex::new(BTreeSet::new());
    let forgets_nothing = server(move |stream| {
        let is_new = seen.lock().map_err(|_| io::Error::other("poisoned"))?.insert(stream.peer_addr()?);
        if is_new { echo(stream) } else { Ok(()) }
    });
    assert_eq!(failed(forgets_nothing, &["1.1", "3.1", "7.4"]), ["7.4"]);
}

/// A scenario file with the suite against a server that this test program plays when it is started again.
#[cfg(unix)]
fn of_own_server(defect: &str, filter: &str) -> Value {
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let program = std::env::current_exe().expect("the test has a program");
    let text = format!(
        "name = '{defect}'\nsuite = 'conformance'\n[server]\n\
         command = ['{}', '--exact', 'sockets::plays_a_server', '--ignored', '--nocapture']\n\
         env = {{ LISTEN = '{{addr}}', DEFECT = '{defect}' }}\n",
        program.display()
    );
    let path = folder.path().join("suite.toml");
    std::fs::write(&path, text).expect("the file is writable");
    let (_, out, err) = said(&["run", &path.to_string_lossy(), "--filter", filter, "-q", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    report["cases"][0].clone()
}

#[test]
#[ignore = "it is the server of other tests, which start it"]
fn plays_a_server() {
    let (Ok(listen), Ok(defect)) = (std::env::var("LISTEN"), std::env::var("DEFECT")) else { return };
    let listener = TcpListener::bind(listen).expect("the address is free");
    loop {
        match listener.accept() {
            Ok((stream, _)) => drop(std::thread::spawn(move || echo(stream).ok())),
            Err(_) if defect == "accept-ends" => loop {
                std::thread::park();
            },
            Err(_) if defect == "spins" => {}
            // sleep: descriptors come back when clients go.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
}

#[test]
#[cfg(unix)]
fn a_server_that_never_accepts_again_or_spins_fails_10_1_and_one_that_waits_passes() {
    let ends = of_own_server("accept-ends", "10.1 ");
    assert_eq!(ends["outcome"], "fail", "{ends}");
    let spins = of_own_server("spins", "10.1 ");
    assert_eq!(spins["outcome"], "threshold-missed", "{spins}");
    let waits = of_own_server("none", "10.1 ");
    assert_eq!(waits["outcome"], "pass", "{waits}");
}

#[test]
#[cfg(unix)]
fn a_server_that_dies_of_sigterm_fails_10_2() {
    let dies = of_own_server("none", "10.2 ");
    assert!(dies["outcome"] != "pass", "{dies}");
    assert!(
        dies["reasons"].to_string().contains("reset") || dies["reasons"].to_string().contains("truncated"),
        "{dies}"
    );
}
