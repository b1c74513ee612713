//! Suites as people live with them: seeds of cases, waiting for a target, known failures, several targets.

mod command_line;
mod files;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use command_line::said;
use files::{folder, path};
use serde_json::Value;

/// A server that treats every connection like this, on a thread of its own.
fn server(behave: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let behave = behave.clone();
            // The client may break off at any time.
            std::thread::spawn(move || behave(stream).ok());
        }
    });
    address
}

/// An address at which nothing listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free")
}

/// Echoes everything.
fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.shutdown(Shutdown::Write),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

/// The exit code and the JSON report of these arguments.
fn report(args: &[&str]) -> (i32, Value) {
    let (code, out, err) = said(&[args, &["-q", "--json"]].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}")))
}

#[test]
fn with_one_seed_for_all_cases_bytes_of_an_earlier_case_are_recognized() {
    let kept: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    // The first message that it ever got takes the place of every later one.
    let stale = server(move |mut stream| {
        let mut buffer = vec![0; 4096];
        loop {
            let n = stream.read(&mut buffer)?;
            let first = kept.lock().expect("no thread panics").get_or_insert_with(|| buffer[..n].to_vec()).clone();
            match n {
                0 => return Ok(()),
                // The probe after a case is a single byte.
                1 => stream.write_all(&buffer[..n])?,
                _ => stream.write_all(&first)?,
            }
        }
    });
    let case = |name: &str| {
        format!(
            "name = '{name}'\nid = '{name}.1'\n[[load]]\nconns = 1\nmessages = 1\nsize = 400\nfragment = 'off'\nclose = 'after-echo'\n"
        )
    };
    let cases = folder(&[("a.toml", case("a")), ("b.toml", case("b"))]);
    let target = stale.to_string();
    let all = [path(&cases, "a.toml"), path(&cases, "b.toml")];
    let (code, report) = report(&["run", &all[0], &all[1], "--target", &target, "--seed", "7"]);
    assert_eq!((code, report["cases"][0]["outcome"].as_str()), (1, Some("pass")), "{report}");
    let finding = &report["cases"][1]["run"]["loads"][0]["findings"][0]["divergence"];
    assert_eq!((&finding["kind"], &finding["earlier"]), (&"stale".into(), &"a.1 a".into()), "{finding}");
    for case in report["cases"].as_array().expect("cases is a list") {
        assert_eq!(case["run"]["seed"], "7", "the seed that --seed takes");
        assert!(case["replay"].as_str().is_some_and(|replay| replay.ends_with("--seed 7")), "{case}");
    }
}

#[test]
fn a_target_that_listens_within_the_time_is_waited_for() {
    let address = nobody();
    let starts_late = std::thread::spawn(move || {
        // sleep: the program must find nobody first, and says nothing about that
        std::thread::sleep(Duration::from_millis(700));
        let listener = TcpListener::bind(address).expect("the port is still free");
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || echo(stream).ok());
        }
    });
    let target = address.to_string();
    let filter = ["--filter", "1.1 ", "-q"];
    assert_eq!(said(&[&["check", &target, "--wait", "60s"], &filter[..]].concat()).0, 0);
    assert_eq!(said(&["blast", &target, "--wait", "60s", "--conns", "1", "--messages", "1", "-q"]).0, 0);
    assert!(!starts_late.is_finished());
}

#[test]
fn a_wait_that_is_over_says_what_the_last_attempt_answered_and_what_to_do() {
    let target = nobody().to_string();
    let scenario = ["run", "scenarios/quickstart.toml", "--target", &target];
    for command in [&["check", &target][..], &["blast", &target], &scenario] {
        let (code, out, err) = said(&[command, &["--wait", "300ms"]].concat());
        assert_eq!((code, out.as_str()), (4, ""), "{err}");
        for words in ["took no connection within --wait 300ms", "refused", "give --wait more time"] {
            assert!(err.contains(words), "no '{words}' in {err}");
        }
    }
    let (code, _, err) = said(&["check", "--wait", "5s"]);
    assert!(code == 2 && err.contains("--wait 5s: there is no target"), "{err}");
    let (code, _, err) = said(&["check", "localhost", "--wait", "5s"]);
    assert!(code == 2 && err.contains("it has no port"), "{err}");
}
