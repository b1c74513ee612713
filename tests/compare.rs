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
    let contenders = report["points"][0]["contenders"].as_array().expect("there is one point");
    assert_eq!(contenders.len(), 3);
    assert_eq!(contenders[0]["ratio"], Value::Null, "the others are compared with it");
    assert_eq!(contenders[1]["ratio"]["difference"], "too-few-rounds");
    let cpu = |contender: &Value| contender["rounds"][0]["server_cpu_s"].as_f64();
    assert!(cpu(&contenders[0]).is_some() && cpu(&contenders[2]).is_none(), "a server that is not ours can't be asked");
    let started = report["setting"]["command"].as_str().expect("it is a text");
    assert!(started.contains("--target 'mine=127.0.0.1:") && started.contains("--rounds 2"), "{started}");
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
    assert_eq!((cells[1], cells[2]), ("fail", "–"), "{out}");
    assert!(out.contains("corrupt at offset 1,000"), "{out}");
}

#[test]
fn a_server_by_a_command_is_started_for_each_round_and_its_processes_are_measured() {
    let program = env!("CARGO_BIN_EXE_echo-tester");
    let with = format!("own='{program}' serve --model threads --bind {{addr}} --quiet");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let json = folder.path().join("r.json");
    let args = ["--with", &with, "--duration", "1s", "--conns", "5", "--rounds", "2"];
    let (code, out, err) = said(&[["compare"].as_slice(), &args, &[&format!("--json={}", json.display())]].concat());
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains("round 2 of 2: own: pass"), "{err}");
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(json).expect("the file was written")).expect("it is JSON");
    let own = &report["points"][0]["contenders"][0];
    assert_eq!((&report["setting"]["servers"][0]["kind"], &own["name"]), (&"command".into(), &"own".into()));
    if cfg!(target_os = "linux") {
        for figure in ["memory_at_rest_bytes", "threads", "context_switches_per_message", "connect_p99_ns"] {
            let median = own["figures"][figure]["median"].as_f64();
            assert!(median.is_some_and(|median| median > 0.0), "{figure}: {}", own["figures"]);
        }
        // One thread for each connection, and the one that accepts.
        assert!(own["figures"]["threads"]["max"].as_f64() >= Some(6.0), "{}", own["figures"]);
    }
}

#[test]
fn a_command_that_starts_no_server_is_told_once_and_ends_the_comparison() {
    let missing = ["--models", "threads", "--with", "mine=./no-such-server {addr}", "--sweep", "size=10,20"];
    let (code, out, err) = compare(&missing);
    assert_eq!(code, 4, "{out}{err}");
    assert_eq!(format!("{out}{err}").matches("starting './no-such-server'").count(), 1, "{out}{err}");
    assert!(!err.contains("size 20"), "{err}");
}

#[test]
fn a_target_that_dies_is_told_once_and_the_others_go_on() {
    // It serves the five connections of the first round, and is gone.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    let server = std::thread::spawn(move || {
        let echo = |stream: std::net::TcpStream| {
            std::thread::spawn(move || {
                // The client may break off at any time.
                let _ = std::io::copy(&mut &stream, &mut &stream);
            })
        };
        let taken: Vec<_> = (0..5).map(|_| listener.accept().expect("a client connects").0).collect();
        drop(listener);
        taken.into_iter().map(echo).for_each(|served| served.join().expect("it does not panic"));
    });
    let target = format!("dies={address}");
    let args = ["compare", "--models", "threads", "--target", &target, "--rounds", "4", "--sweep", "size=10,20"];
    let (code, out, err) = said(&[args.as_slice(), &["--conns", "5", "--messages", "20"]].concat());
    assert_eq!(code, 4, "{out}{err}");
    server.join().expect("the server does not panic");
    assert_eq!(format!("{out}{err}").matches("nothing listens on").count(), 1, "{out}{err}");
    assert!(err.contains("size 20, round 4 of 4: threads: pass"), "{err}");
    assert_eq!(err.matches("of 4: dies: ").count(), 1, "{err}");
}

#[test]
fn a_sweep_is_a_table_along_its_axis_and_its_files_carry_the_values() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = |name: &str| folder.path().join(name);
    let [json, csv] = ["json", "csv"].map(|kind| format!("--{kind}={}", file(kind).display()));
    let args = ["compare", "--models", "threads,tokio", "--messages", "20", "--rounds", "2"];
    let (code, out, err) =
        said(&[args.as_slice(), &["--sweep", "conns=2,1k", "--connect-rate", "5k", &json, &csv]].concat());
    assert_eq!(code, 0, "{out}{err}");
    let header: Vec<&str> =
        out.lines().find(|line| line.starts_with("conns")).expect("a table").split_whitespace().collect();
    assert_eq!(header, ["conns", "2", "1000"], "{out}");
    let read = |name: &str| std::fs::read_to_string(file(name)).expect("the file was written");
    let report: Value = serde_json::from_str(&read("json")).expect("the file is JSON");
    let schema: Value = serde_json::from_str(&said(&["schema", "compare"]).1).expect("the schema is JSON");
    jsonschema::validate(&schema, &report).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report["sweep"], serde_json::json!({ "axis": "conns", "values": ["2", "1000"] }));
    let numbers: Vec<Option<f64>> =
        report["points"].as_array().expect("a list").iter().map(|point| point["number"].as_f64()).collect();
    assert_eq!(numbers, [Some(2.0), Some(1000.0)]);
    let lines: Vec<String> = read("csv").lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 1 + 2 * 2 * 2);
    assert!(
        lines[1].starts_with("conns,2,threads,1,pass,") && lines[8].starts_with("conns,1000,tokio,2,"),
        "{lines:?}"
    );
}

#[test]
fn what_a_server_by_a_command_did_wrong_is_seen_again_by_the_replay_line() {
    let program = env!("CARGO_BIN_EXE_echo-tester");
    let with = format!("own='{program}' serve --fault flip:at=1000 --bind {{addr}} --quiet");
    let wrong = |args: &[&str]| {
        let (code, out, err) = said(&[args, &["-q"]].concat());
        assert!(code == 1 && out.contains("corrupt"), "{out}{err}");
        let line = out.lines().find_map(|line| line.trim().strip_prefix("replay: ")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no replay line: {out}"))
    };
    let replay = wrong(&["compare", "--with", &with, "--conns", "2", "--messages", "20", "--rounds", "1"]);
    let words = shlex::split(&replay).expect("a shell can read it");
    assert_eq!(words[..2], ["echo-tester", "compare"], "{replay}");
    wrong(&words[1..].iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn with_a_rate_the_cost_of_a_message_is_compared() {
    let args =
        ["compare", "--models", "threads,tokio", "--conns", "5", "--rate", "500", "-d", "300ms", "--rounds", "1"];
    let (code, out, err) = said(&[args.as_slice(), &["--json"]].concat());
    assert_eq!(code, 0, "{out}{err}");
    let report: Value = serde_json::from_str(&out).expect("the output is JSON");
    assert_eq!(report["compared_by"], "server_cpu_us_per_message");
    assert!(err.contains("CPU a message"), "{err}");
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
        (vec!["--sweep", "conns=10,1x"], "conns=1x: unknown unit x of a count"),
        (vec!["--sweep", "size=10,20", "--size", "5"], "--size 5: --sweep size sets it to each of its values"),
        (vec!["--sweep", "messages=1,2"], "write one of conns, size, fragment, rate, pipeline"),
        (vec!["--with", "./server {addr}"], "write NAME=COMMAND"),
        (vec!["--with", "mine=./server"], "it does not say where to listen"),
        (vec!["--with", "tokio=./server {addr}", "--models", "tokio"], "twice"),
        (vec!["--shard", "0/2", "--seed", "1"], "--shard 0/2"),
        (vec!["--start-at", "2026-01-31T12:00:00Z"], "--start-at"),
        (vec!["--models", "tokio", "--csv=/no/such/folder/x.csv"], "/no/such/folder/x.csv"),
    ] {
        let (code, out, err) = compare(&args);
        assert_eq!(code, 2, "{args:?}: {out}{err}");
        assert!(err.contains(wanted), "{args:?} should mention {wanted}: {err}");
    }
    let (code, _, err) = said(&["compare", "--rounds", "0"]);
    assert!(code == 2 && err.contains("--rounds"), "{err}");
}
