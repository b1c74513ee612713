//! Servers that are not there: told once, with what to do, and what needs them is not run. Every report lists it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use echo_tester::scenario::conformance;
use files::{folder, path};
use ports::free_port;
use program::{Serving, program, said, text};
use serde_json::Value;

mod files;
mod ports;
mod program;

/// An address where nothing listens.
fn nobody() -> String {
    free_port().to_string()
}

#[test]
fn a_target_that_is_not_there_is_told_once_and_the_rest_is_not_run() {
    let files = folder(&[("summary.md", String::new())]);
    let [json, junit, html, markdown, summary] =
        ["r.json", "r.xml", "r.html", "r.md", "summary.md"].map(|name| path(&files, name));
    let address = nobody();
    let json_flag = format!("--json={json}");
    let args = ["check", &address, "--quiet", &json_flag, "--junit", &junit, "--html", &html, "--markdown", &markdown];
    let output = program(&[&args[..], &["--github"]].concat()).env("GITHUB_STEP_SUMMARY", &summary).output();
    let output = output.expect("the program starts");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "{out}{err}");
    assert_eq!(out.matches(&format!("nothing listens on {address}")).count(), 2, "a line and its annotation: {out}");
    let (cases, left) = (conformance::FILES.len(), conformance::FILES.len() - 1);
    let counts = format!("{cases} cases: 1 inconclusive, {left} not run (their server is not there)");
    assert!(out.contains(&counts), "{out}");
    assert!(out.lines().count() < 12 && !out.contains("FD_SETSIZE") && !out.contains("echo-tester serve"), "{out}");

    let read = |name: &str| std::fs::read_to_string(name).expect("the file exists");
    let report: Value = serde_json::from_str(&read(&json)).expect("the file is JSON");
    assert_eq!((&report["state"], &report["exit_code"]), (&"no-server".into(), &4.into()));
    let outcomes = report["cases"].as_array().expect("there are cases").iter().map(|case| case["outcome"].clone());
    let expected = std::iter::once("inconclusive").chain(std::iter::repeat_n("not-run", left)).map(Value::from);
    assert!(outcomes.eq(expected), "{report}");
    assert_eq!(read(&junit).matches("<testsuite ").count(), cases);
    // On the page, the row of a case says so, and what opens below it. A table says it once.
    for (file, times) in [(&html, 2 * left), (&markdown, 1), (&summary, 1)] {
        assert_eq!(read(file).matches("its server is not there").count(), times, "{file}");
    }
    assert!(read(&markdown).contains(&format!("| **not run** | | | {left} cases (its server is not there: ")));
}

#[test]
fn a_target_that_is_gone_ends_the_run_of_scenario_files_too() {
    let case = |name: &str| format!("name = '{name}'\n[server]\nmodel = 'threads'\n[[load]]\nconns = 3\n");
    let files = folder(&[("a.toml", case("a")), ("b.toml", case("b")), ("c.toml", case("c"))]);
    let (code, out, err) = said(&["run", &path(&files, "."), "--target", &nobody(), "--jobs", "2", "--quiet"]);
    assert_eq!(code, 4, "{out}{err}");
    assert!(out.contains("not run (their server is not there)") && out.contains("nothing listens on"), "{out}");
    // A case that expects that nothing is there passes, and the next one runs.
    let expecting = "[[load]]\nconns = 3\n[expect]\nverdict = 'inconclusive'\n";
    let files =
        folder(&[("a.toml", format!("name = 'a'\n{expecting}")), ("b.toml", format!("name = 'b'\n{expecting}"))]);
    let (code, out, err) = said(&["run", &path(&files, "."), "--target", &nobody(), "--quiet"]);
    assert!(code == 0 && out.contains("2 cases: 2 passed"), "{out}{err}");
}

#[test]
fn a_target_that_is_not_there_ends_a_comparison() {
    let (gone, other) = (nobody(), Serving::start(&[]));
    let targets = format!("a={gone},b={}", other.address);
    let args = ["compare", "--target", &targets, "--conns", "3", "--messages", "2", "--rounds", "3"];
    let (code, out, err) = said(&args);
    assert_eq!(code, 4, "{out}{err}");
    assert_eq!(format!("{out}{err}").matches("nothing listens on").count(), 1, "{out}{err}");
    assert!(out.contains("\nb: not run\n") && !out.contains("connect-failed"), "{out}");
    assert_eq!(other.stop()["counters"]["accepted"], 0);
}

#[test]
fn a_command_that_does_not_start_is_told_once_and_others_still_run() {
    let case =
        |name: &str, server: &str| format!("name = '{name}'\n[server]\n{server}\n[[load]]\nconns = 1\nmessages = 1\n");
    let missing = "command = ['./no-such-server', '{addr}']";
    let files = folder(&[
        ("a.toml", case("a", missing)),
        ("b.toml", case("b", missing)),
        ("c.toml", case("c", "model = 'threads'")),
        ("d.toml", case("d", missing)),
    ]);
    let (code, out, err) = said(&["run", &path(&files, "."), "--quiet"]);
    assert_eq!(code, 4, "{out}{err}");
    assert_eq!(out.matches("starting './no-such-server'").count(), 1, "{out}");
    assert!(out.contains("4 cases: 1 passed, 1 inconclusive, 2 not run (their server is not there)"), "{out}");
}

#[test]
fn the_advice_for_a_target_is_about_that_target() {
    let address = nobody();
    let (code, out, err) = said(&["blast", &address, "--conns", "2", "--quiet"]);
    assert!(code == 4 && out.is_empty(), "{out}{err}");
    assert!(err.contains("start the server, or check the address") && !err.contains("echo-tester serve"), "{err}");
}

#[test]
fn quiet_with_a_file_prints_nothing_to_either_stream() {
    let files = folder::<&str>(&[]);
    let file = path(&files, "out.txt");
    let small = ["--quiet", "--output", &file];
    for args in [
        &["check", "--model", "threads", "--filter", "1.1"][..],
        &["blast", "--serve=threads", "--conns", "1", "--messages", "1"],
        &["compare", "--models", "threads", "--rounds", "1", "--conns", "1", "--messages", "1"],
    ] {
        assert_eq!(said(&[args, &small].concat()), (0, String::new(), String::new()), "{args:?}");
        assert!(std::fs::read_to_string(&file).expect("the file exists").contains("pass"), "{args:?}");
    }
}

#[test]
fn a_target_that_dies_after_some_connections_says_how_many_it_had_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound").to_string();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(5) {
            let stream = stream.expect("a client connects");
            // The client may break off at any time.
            let _ = std::io::copy(&mut &stream, &mut &stream);
        }
    });
    let load = "conns = 1\nmessages = 1\nreconnect = '1'\nconnect_timeout = '500ms'\nstall_timeout = '500ms'";
    let case = |name: &str| format!("name = '{name}'\n[[load]]\n{load}\n");
    let files = folder(&[("a.toml", case("a")), ("b.toml", case("b")), ("c.toml", case("c")), ("d.toml", case("d"))]);
    let (code, out, err) = said(&["run", &path(&files, "."), "--target", &address, "--quiet"]);
    server.join().expect("the server does not panic");
    // Two connections and a probe, then two more.
    assert_eq!(code, 1, "{out}{err}");
    assert_eq!(out.matches("the target has taken 5 connections since the start").count(), 2, "{out}");
    assert!(
        out.contains("4 cases: 1 passed, 1 failed, 1 inconclusive, 1 not run (their server is not there)"),
        "{out}"
    );
}

/// A server that does this with each connection, and its address. It lasts as long as the test.
fn server(serve: impl Fn(TcpStream) + Copy + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a client connects");
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Runs scenarios that need an echo against this server. Returns the verdict and the whole text.
fn last_line_against(address: &str) -> (String, String) {
    let load = "conns = 2\nbytes = '256KiB'\nconnect_timeout = '300ms'\nstall_timeout = '300ms'";
    let case = |name: &str| (format!("{name}.toml"), format!("name = '{name}'\n[[load]]\n{load}\n"));
    let cases = ["a", "b", "c", "d", "e"].map(case);
    let files = folder(&cases.each_ref().map(|(name, text)| (name.as_str(), text.clone())));
    let (code, out, err) = said(&["run", &path(&files, "."), "--target", address, "--quiet"]);
    assert_eq!(code, 1, "{out}{err}");
    // A sentence may be broken into several lines.
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    (out.split("verdict: ").last().unwrap_or_default().to_owned(), out)
}

#[test]
fn a_server_that_answers_with_something_else_is_told_as_what_it_is() {
    let ssh = server(|mut stream| {
        // The client may break off at any time.
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (last, _) = last_line_against(&ssh);
    let answer = "this is no echo server: it answered \"SSH-2.0-OpenSSH_9.2p1 De…\" (SSH)";
    assert_eq!(last, format!("fail · 5 cases: 2 failed, 3 not run ({answer})"));
}

#[test]
fn a_server_that_never_answers_is_there_and_does_not_echo() {
    let silent = server(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (last, _) = last_line_against(&silent);
    assert_eq!(last, "fail · 5 cases: 2 failed, 3 not run (it is no echo server)");
}

#[test]
fn a_server_that_changes_every_letter_ends_its_connections_and_its_suite_early() {
    let upper = server(|mut stream| {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(n @ 1..) = stream.read(&mut bytes) {
            bytes[..n].make_ascii_uppercase();
            if stream.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
    });
    let (last, out) = last_line_against(&upper);
    assert_eq!(last, "fail · 5 cases: 2 failed, 3 not run (it is no echo server)", "{out}");
    assert!(out.contains("echoing a wrong byte (it sent 0x45 for 0x65), for 300ms"), "{out}");
    assert!(out.contains("note: 2 connections were given up after 250 findings each"), "{out}");
}

#[test]
fn a_backend_that_is_not_there_is_refused_before_its_proxy_is_judged() {
    let (proxy, gone) = (Serving::start(&[]), nobody());
    let args = ["check", &proxy.address, "--direct", &gone, "--filter", "1.1", "--quiet"];
    let (code, out, err) = said(&args);
    assert!(code == 4 && out.is_empty(), "{out}{err}");
    assert!(err.contains(&format!("error: --direct {gone}: nothing listens on {gone} (Connection refused")), "{err}");
    let (code, out, err) = said(&[&args[..], &["--wait", "150ms"]].concat());
    assert!(code == 4 && out.is_empty(), "{out}{err}");
    assert!(err.contains(&format!("{gone} took no connection within --wait 150ms")), "{err}");
    proxy.stop();
}
