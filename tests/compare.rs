//! `compare`: the same load against several servers.

use program::{Serving, said};
use serde_json::Value;

mod program;

const LOAD: [&str; 6] = ["--conns", "5", "--messages", "20", "--rounds", "2"];

fn compare(args: &[&str]) -> (i32, String, String) {
    said(&[&["compare"], args, LOAD.as_slice()].concat())
}

#[test]
fn every_server_runs_every_round_and_the_files_say_the_same() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = |name: &str| folder.path().join(name);
    let [json, csv, markdown] = ["json", "csv", "markdown"].map(|kind| format!("--{kind}={}", file(kind).display()));
    let own = Serving::start(&[]);
    let target = format!("mine={}", own.address);
    let (code, out, err) = compare(&["--models", "threads,tokio", "--target", &target, &json, &csv, &markdown]);
    assert_eq!(code, 0, "{out}{err}");
    for name in ["threads", "tokio", "mine"] {
        assert!(out.lines().any(|line| line.starts_with(name) && line.contains("pass")), "{name} in {out}");
        assert!(err.contains(&format!("round 2 of 2: {name}: pass")), "{name} in {err}");
    }
    let read = |name: &str| std::fs::read_to_string(file(name)).expect("the file was written");
    let report: Value = serde_json::from_str(&read("json")).expect("the file is JSON");
    let schema: Value = serde_json::from_str(&said(&["schema", "compare"]).1).expect("the schema is JSON");
    jsonschema::validate(&schema, &report).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report["contenders"].as_array().map(Vec::len), Some(3));
    assert_eq!(report["contenders"][0]["ratio"], 1.0);
    assert_eq!(
        report["contenders"][2]["rounds"][0]["server_cpu_s"],
        Value::Null,
        "a server that is not ours can't be asked"
    );
    assert_eq!(read("csv").lines().count(), 1 + 3 * 2);
    assert!(read("markdown").contains("| threads | pass |"), "{}", read("markdown"));
    let accepted = own.stop()["counters"]["accepted"].clone();
    assert_eq!(accepted, 2 * 5);
}

#[test]
fn a_server_that_echoes_wrong_bytes_has_no_figures_and_fails_the_comparison() {
    let own = Serving::start(&["--fault", "flip:at=1000", "-q"]);
    let target = format!("wrong={}", own.address);
    let (code, out, err) = compare(&["--models", "tokio", "--target", &target, "-q"]);
    assert_eq!(code, 1, "{out}{err}");
    let row = out.lines().find(|line| line.starts_with("wrong")).expect("the server has a row");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((cells[1], cells[2]), ("fail", "-"), "{out}");
    assert!(out.contains("corrupt at offset 1,000"), "{out}");
}

#[test]
fn a_model_that_can_not_run_here_is_skipped_and_alone_it_is_inconclusive() {
    let elsewhere = if cfg!(windows) { "epoll" } else { "iocp" };
    let (code, out, err) = compare(&["--models", &format!("tokio,{elsewhere}"), "-q"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains(&format!("skipped: {elsewhere}: ")), "{out}");
    assert_eq!(compare(&["--models", elsewhere, "-q"]).0, 4);
}

#[test]
fn flags_that_make_no_sense_are_exit_2() {
    for (args, wanted) in [
        (vec!["--models", "epol"], "epoll"),
        (vec!["--target", "mine=127.0.0.1"], "write 127.0.0.1:7777"),
        (vec!["--target", "127.0.0.1:9000", "--target", "127.0.0.1:9000"], "twice"),
        (vec!["--models", "tokio,tokio"], "twice"),
        (vec!["--models", "tokio", "--csv=/no/such/folder/x.csv"], "/no/such/folder/x.csv"),
    ] {
        let (code, out, err) = compare(&args);
        assert_eq!(code, 2, "{args:?}: {out}{err}");
        assert!(err.contains(wanted), "{args:?} should mention {wanted}: {err}");
    }
    let (code, _, err) = said(&["compare", "--rounds", "0"]);
    assert!(code == 2 && err.contains("--rounds"), "{err}");
}
