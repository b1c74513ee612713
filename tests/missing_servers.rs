//! Servers that are not there: told once, with what to do, and what needs them is not run. Every report lists it.

use std::net::TcpListener;

use echo_tester::scenario::conformance;
use files::{folder, path};
use program::{Serving, program, said, text};
use serde_json::Value;

mod files;
mod program;

/// An address where nothing listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port exists").to_string()
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
    // On the page, the row of a case says so, and what opens below it.
    for (file, times) in [(&html, 2), (&markdown, 1), (&summary, 1)] {
        assert_eq!(read(file).matches("its server is not there").count(), times * left, "{file}");
    }
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
