//! The program as a process: its output, where the output goes, and its exit codes.

use std::io::{Read, Write};
use std::net::TcpListener;

use ports::free_port;
use program::{Serving, program, said, text};
use serde_json::Value;

mod ports;
mod program;

#[test]
fn the_main_job_passes_and_the_servers_counters_agree() {
    for serve in ["--serve", "--serve=threads", "--serve=tokio"] {
        let (code, out, err) = said(&["blast", serve, "--conns", "50", "-n", "20", "--json", "-q"]);
        assert_eq!(code, 0, "{serve}: {out}{err}");
        let report: Value = serde_json::from_str(&out).expect("stdout is JSON and nothing else");
        assert_eq!(report["verdict"]["outcome"], "pass");
        assert_eq!(report["total"]["passed"], 50);
        let verified = report["total"]["bytes_verified"].as_u64().expect("the count is a number");
        assert!(verified > 0);
        let server = &report["server"]["counters"];
        assert_eq!((&server["bytes_in"], &server["bytes_out"]), (&Value::from(verified), &Value::from(verified)));
        assert_eq!((&server["accepted"], &server["closed"]), (&Value::from(50), &Value::from(50)));
    }
}

#[test]
fn the_json_report_matches_its_published_schema() {
    let (code, schema, _) = said(&["schema", "run"]);
    assert_eq!(code, 0);
    let schema: Value = serde_json::from_str(&schema).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is valid");
    let (_, report, _) = said(&["blast", "--serve", "-c", "5", "-n", "5", "--json", "-q"]);
    let mut report: Value = serde_json::from_str(&report).expect("the report is JSON");
    let errors: Vec<String> = validator.iter_errors(&report).map(|e| e.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    report["total"]["opened"] = Value::from("five");
    assert!(!validator.is_valid(&report), "the schema accepts anything");
}

#[test]
fn the_first_lines_state_the_seed_and_the_load() {
    let (code, out, _) = said(&["blast", "--serve", "-c", "3", "-n", "2", "--seed", "0x10", "--size", "1k"]);
    assert_eq!(code, 0);
    let mut lines = out.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("seed 16, ")), "{out}");
    assert!(lines.next().is_some_and(|line| line.starts_with("3 connections, 2 messages each of 1KiB")), "{out}");
    assert!(out.contains("verdict: pass"), "{out}");
}

#[test]
fn the_same_seed_gives_the_same_plan_and_another_seed_does_not() {
    let plan = |seed: &str| said(&["blast", "--dry-run", "--only-conn", "7", "--seed", seed]);
    let (code, first, _) = plan("5");
    assert_eq!(code, 0);
    assert!(first.contains("connection 7") && first.contains("message 99:"), "{first}");
    assert_eq!(plan("5").1, first);
    assert_ne!(plan("6").1, first.replace("seed 5", "seed 6"));
}

#[test]
fn a_run_that_exceeds_its_time_limit_fails() {
    let (code, out, err) = said(&["blast", "--serve", "-c", "3", "-d", "1h", "--timeout", "300ms", "-q"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(
        out.contains("verdict: fail") && out.contains("ended at its time limit") && out.contains("--timeout"),
        "{out}"
    );
    let args = ["compare", "--models", "threads", "--rounds", "1", "-d", "1h", "--timeout", "300ms", "-q"];
    let (code, out, err) = said(&args);
    assert!(code == 1 && out.contains("fail"), "{out}{err}");
}

#[test]
fn nothing_listening_is_exit_4_and_says_what_to_do() {
    let free = free_port().to_string();
    let (code, _, err) = said(&["blast", &free, "-c", "3"]);
    assert_eq!(code, 4);
    assert!(err.contains(&format!("nothing listens on {free}")) && err.contains("start the server"), "{err}");
}

#[test]
fn an_invalid_command_line_is_exit_2_and_says_what_is_wrong() {
    for (args, wanted) in [
        (vec!["blast", "--size", "9..3"], "did you mean 3..9?"),
        (vec!["blast", "--size", "12XB"], "12XB"),
        (vec!["blast", "127.0.0.1:70000"], "70000"),
        (vec!["blast", "127.0.0.1"], "no port"),
        (vec!["blast", "::1:7777"], "[::1]:7777"),
        (vec!["blast", "--conns", "many"], "many"),
        (vec!["blast", "--conns", "0"], "--conns"),
        (vec!["blast", "--no-such-flag"], "--no-such-flag"),
        (vec!["blast", "--serve=nonsense"], "nonsense"),
        (vec!["blast", "--only-conn", "99999999"], "99999999"),
        (vec!["blast", "--shard", "4/4"], "4/4"),
        (vec!["blast", "127.0.0.1:9", "--source", "fd00::1"], "give an IPv4 address"),
        (vec!["blast", "--serve", "--source", "fd00::1"], "give an IPv4 address"),
        (vec!["serve", "--model", "epol"], "epoll"),
        (vec!["serve", "--bind", "nowhere"], "nowhere"),
        (vec!["man", "nonsense"], "nonsense"),
        (vec!["completions", "tcsh5"], "tcsh5"),
        (vec![], "Usage"),
    ] {
        let (code, out, err) = said(&args);
        assert_eq!(code, 2, "{args:?}: {out}{err}");
        assert!(err.contains(wanted), "{args:?} should mention {wanted}: {err}");
    }
}

#[test]
fn flags_can_be_given_as_environment_variables_and_flags_win() {
    let output = program(&["blast", "--dry-run", "-n", "1"])
        .env("ECHO_TESTER_SIZE", "77")
        .env("ECHO_TESTER_MESSAGES", "9")
        .output()
        .expect("the program starts");
    let out = text(&output.stdout);
    assert!(out.contains("1 message each of 77B") || out.contains("1 message each of 77 "), "{out}");
}

#[test]
fn a_variable_acts_like_its_flag_unless_a_flag_that_excludes_it_is_typed() {
    let said = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = program(args);
        let output = command.envs(variables.iter().copied()).output().expect("the program starts");
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    };
    for yes in ["1", "yes", "on", "true"] {
        let (code, out, err) = said(&["check", "--list"], &[("ECHO_TESTER_QUIET", yes), ("ECHO_TESTER_LONG", yes)]);
        assert!(code == 0 && out.contains("one byte"), "{yes}: {err}");
    }
    let (code, _, err) = said(&["check", "--list"], &[("ECHO_TESTER_QUIET", "perhaps")]);
    assert!(code == 2 && err.contains("the environment sets --quiet: ECHO_TESTER_QUIET="), "{err}");
    assert_eq!(said(&["check", "--list"], &[("ECHO_TESTER_QUIET", ""), ("ECHO_TESTER_JOBS", "")]).0, 0, "left out");

    // Nothing listens on port 1, so a run that passes has started a server of its own.
    let elsewhere = ("ECHO_TESTER_TARGET", "127.0.0.1:1");
    let small = ["blast", "-n", "1", "-c", "1", "-q"];
    let (code, _, err) = said(&[&small[..], &["--serve"]].concat(), &[elsewhere]);
    assert_eq!(code, 0, "--serve was typed: {err}");
    let (code, _, err) = said(&small, &[("ECHO_TESTER_SERVE", "threads")]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = said(&[&small[..], &["127.0.0.1:1"]].concat(), &[("ECHO_TESTER_SERVE", "threads")]);
    assert!(code == 4 && err.contains("nothing listens on 127.0.0.1:1"), "a target was typed: {err}");
    let (code, _, err) = said(&small, &[("ECHO_TESTER_SERVE", "threads"), elsewhere]);
    assert!(code == 2 && err.contains("cannot be used with"), "neither was typed: {err}");
    let (code, _, err) = said(&[&small[..], &["--serve", "127.0.0.1:1"]].concat(), &[]);
    assert!(code == 2 && err.contains("cannot be used with"), "both were typed: {err}");
    let (code, out, err) = said(&["check", "--model", "threads", "--filter", "1.1", "-q"], &[elsewhere]);
    assert!(code == 0 && out.contains("1 case: passed"), "{out}{err}");
}

#[test]
fn a_closed_stdout_causes_no_panic() {
    for args in [vec!["blast", "--serve", "-c", "5", "-n", "5"], vec!["man"], vec!["schema", "run"], vec!["models"]] {
        let mut child = program(&args).spawn().expect("the program starts");
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().expect("the pipe is open").read_to_string(&mut stderr).expect("the output is UTF-8");
        let status = child.wait().expect("the process can be waited for");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
        assert_eq!(status.code(), Some(0), "{args:?}: {stderr}");
    }
}

#[test]
fn more_connections_than_descriptors_are_refused_before_the_first() {
    if cfg!(windows) {
        println!("SKIPPED: Windows has no limit on descriptors");
        return;
    }
    let (code, out, err) = said(&["blast", "--serve", "--conns", "10m"]);
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert!(err.contains("descriptors") && err.contains("--shard"), "{err}");
}

#[test]
fn completions_and_man_pages_know_the_subcommands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, out, _) = said(&["completions", shell]);
        assert!(code == 0 && out.contains("blast") && out.contains("connect-rate"), "{shell}");
    }
    let (code, out, _) = said(&["man", "blast"]);
    assert!(code == 0 && out.contains("connect\\-rate") && out.contains(".TH"), "{out}");
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let path = folder.path().to_str().expect("the path is UTF-8");
    assert_eq!(said(&["man", "--out", path]).0, 0);
    assert!(folder.path().join("echo-tester-serve.1").exists());
}

#[test]
fn the_help_names_every_exit_code() {
    let (code, out, _) = said(&["--help"]);
    assert_eq!(code, 0);
    for row in echo_tester::exit::TABLE {
        let code = row.exit.code();
        let first_word = row.about.split([':', ' ']).next().expect("every exit code has a description");
        assert!(out.contains(&format!("{code:>3}  {first_word}")), "{code} in {out}");
    }
}

#[test]
fn serve_and_blast_in_two_processes_agree_on_every_byte() {
    let server = Serving::start(&[]);
    let (code, out, err) = said(&["blast", &server.address, "--conns", "100", "--messages", "20", "--json", "-q"]);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).expect("the text is JSON");
    let counters = server.stop()["counters"].clone();
    assert_eq!(counters["bytes_in"], report["total"]["bytes_sent"]);
    assert_eq!(counters["bytes_in"], counters["bytes_out"]);
    assert_eq!(counters["accepted"], 100);
}

#[test]
fn a_port_in_use_is_reported_as_in_use() {
    let server = Serving::start(&[]);
    let (code, _, err) = said(&["serve", "--bind", &server.address]);
    assert_eq!(code, 4);
    assert!(err.contains("is in use") && err.contains("--bind"), "{err}");
    server.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_that_ends_on_its_own_prints_its_counters_and_the_reason() {
    let mut server = Serving::start(&["--fault", "flip:at=0", "--fault-log", "/dev/full"]);
    let mut client = std::net::TcpStream::connect(&server.address).expect("the server listens");
    client.write_all(b"x").expect("the connection is open");
    let last = server.lines.by_ref().map_while(Result::ok).last().expect("the server prints a last line");
    let last: Value = serde_json::from_str(&last).expect("the text is JSON");
    assert_eq!((&last["event"], &last["counters"]["bytes_in"]), (&"stopped".into(), &1.into()), "{last}");
    assert!(last["error"].as_str().is_some_and(|error| error.contains("fault log can't be written")), "{last}");
    assert_eq!(server.child.wait().expect("the process can be waited for").code(), Some(4));
}

#[cfg(unix)]
mod signals {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command};

    use super::*;

    fn signal(child: &Child, name: &str) {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().expect("kill is installed").success());
    }

    #[test]
    fn an_interrupt_ends_a_blast_with_its_report_and_130() {
        let server = Serving::start(&[]);
        let args = ["blast", &server.address, "-c", "5", "-d", "1h", "--json"];
        let mut child = program(&args).spawn().expect("the program starts");
        // Once the first line is printed, the signal is caught and asks for a report instead of ending the process.
        let mut stderr = BufReader::new(child.stderr.take().expect("the pipe is open"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("the output is UTF-8");
        assert!(line.starts_with("seed "), "{line}");
        child.stderr = None;
        signal(&child, "INT");
        let mut out = String::new();
        child.stdout.take().expect("the pipe is open").read_to_string(&mut out).expect("the output is UTF-8");
        let status = child.wait().expect("the process can be waited for");
        assert_eq!(status.code(), Some(130), "{out}");
        let report: Value = serde_json::from_str(&out).expect("stdout is the JSON report so far");
        assert_eq!(
            (&report["interrupted"], &report["verdict"]["outcome"]),
            (&Value::Bool(true), &"interrupted".into())
        );
        server.stop();
    }

    #[test]
    fn sigterm_drains_a_server_and_its_counters_are_printed() {
        let mut server = Serving::start(&[]);
        let (code, ..) = said(&["blast", &server.address, "-c", "10", "-n", "5", "-q"]);
        assert_eq!(code, 0);
        signal(&server.child, "TERM");
        let last = server.lines.by_ref().map_while(Result::ok).last().expect("the server prints a last line");
        let last: Value = serde_json::from_str(&last).expect("the text is JSON");
        assert_eq!((&last["event"], &last["aborted"], &last["hung"]), (&"stopped".into(), &0.into(), &false.into()));
        assert_eq!(last["counters"]["bytes_in"], last["counters"]["bytes_out"]);
        assert!(server.child.wait().expect("the process can be waited for").success());
    }
}

#[test]
fn results_go_to_files_when_asked() {
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let json = folder.path().join("report.json");
    let table = folder.path().join("table.txt");
    let json_flag = format!("--json={}", json.display());
    let (code, out, _) = said(&[
        "blast",
        "--serve",
        "-c",
        "3",
        "-n",
        "3",
        "-q",
        &json_flag,
        "-o",
        table.to_str().expect("the path is UTF-8"),
    ]);
    assert_eq!((code, out.as_str()), (0, ""));
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(json).expect("the file is written")).expect("the text is JSON");
    assert_eq!(report["verdict"]["exit_code"], 0);
    assert!(std::fs::read_to_string(table).expect("the file is written").contains("verdict: pass"));
    let (code, _, err) = said(&["blast", "--serve", "-c", "1", "-n", "1", "-q", "--json=/no/such/folder/x.json"]);
    assert!(code != 0 && err.contains("/no/such/folder/x.json"), "{err}");
}

#[test]
fn a_dash_is_standard_output_and_never_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let said = |args: &[&str]| {
        let output = program(args).current_dir(folder.path()).output().expect("the program runs");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let scenario = "name = 'a'\n[server]\nmodel = 'auto'\n[[load]]\nconns = 1\nmessages = 1\n";
    std::fs::write(folder.path().join("a.toml"), scenario).expect("the file is written");
    let loads: [&[&str]; 2] = [&["blast", "--serve", "-c", "1", "-n", "1", "-q"], &["run", "a.toml", "-q"]];
    for load in loads {
        let (code, out, err) = said(&[load, &["--json=-", "-o", "-"]].concat());
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str::<Value>(&out).expect("stdout is JSON and nothing else");
        let (code, out, _) = said(&[load, &["-o", "-"]].concat());
        assert!(code == Some(0) && out.contains("pass"), "{out}");
        for flag in ["--junit", "--markdown", "--html"] {
            let (code, _, err) = said(&[load, &[flag, "-"]].concat());
            assert!(code == Some(2) && err.contains(&format!("{flag} -: name a file")), "{err}");
        }
    }
    let (code, _, err) = said(&["compare", "--models", "auto", "--csv", "-"]);
    assert!(code == Some(2) && err.contains("--csv -: name a file"), "{err}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("the file exists").count(), 1, "no file is called -");
}

#[test]
fn a_server_that_dies_is_a_finding_and_not_a_hang() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port exists");
    let address = listener.local_addr().expect("the listener is bound").to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client connects");
        let mut buffer = [0; 100];
        let n = stream.read(&mut buffer).expect("the client sends");
        stream.write_all(&buffer[..n]).expect("the client reads");
        // The socket closes with bytes unread: a reset.
    });
    let (code, out, _) = said(&["blast", &address, "-c", "1", "-n", "50", "--size", "4k", "-q"]);
    server.join().expect("the server thread does not panic");
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("verdict: fail"), "{out}");
}
