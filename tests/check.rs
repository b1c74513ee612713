//! Suites as people live with them: seeds of cases, waiting for a target, known failures, several targets.

mod command_line;
mod files;
mod ports;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use command_line::said;
use echo_tester::scenario::{Scenario, Variables};
use files::{folder, path};
use ports::free_port;
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
    free_port()
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

/// Echoes, but ends both directions at the client's FIN, and drops what it has not yet sent: as many proxies do.
fn no_half_close(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = stream.read(&mut buffer)?;
        // sleep: a FIN that follows the bytes must be here before they are sent
        std::thread::sleep(Duration::from_millis(30));
        stream.set_nonblocking(true)?;
        let has_ended = matches!(stream.peek(&mut [0]), Ok(0));
        stream.set_nonblocking(false)?;
        if n == 0 || has_ended {
            return Ok(());
        }
        stream.write_all(&buffer[..n])?;
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
    let (code, _, err) = said(&["check", "--model", "auto", "--wait", "5s"]);
    assert!(code == 2 && err.contains("--wait 5s: there is no target"), "{err}");
    let (code, _, err) = said(&["check", "localhost", "--wait", "5s"]);
    assert!(code == 2 && err.contains("it has no port"), "{err}");
}

/// The outcomes of the cases of a report, in their order.
fn outcomes(report: &Value) -> Vec<&str> {
    let cases = report["cases"].as_array().expect("cases is a list");
    cases.iter().map(|case| case["outcome"].as_str().expect("the outcome is a word")).collect()
}

/// Scenarios of the ids 1.1, which half-closes, and 1.2, which does not; and the command that runs both.
struct TwoCases {
    folder: tempfile::TempDir,
}

impl TwoCases {
    fn new() -> TwoCases {
        let load = "[[load]]\nconns = 2\nmessages = 1\nsize = 400\nfragment = 'off'\nstall_timeout = '5s'\n";
        let case = |id: &str, close: &str| format!("name = 'n'\nid = '{id}'\n{load}close = '{close}'\n");
        let files = [("1.toml", case("1.1", "half-close")), ("2.toml", case("1.2", "after-echo"))];
        TwoCases { folder: folder(&files) }
    }

    fn file(&self, name: &str) -> String {
        path(&self.folder, name)
    }

    fn run(&self, target: SocketAddr, flags: &[&str]) -> (i32, Value) {
        let (one, two) = (self.file("1.toml"), self.file("2.toml"));
        report(&[&["run", &one, &two, "--target", &target.to_string()], flags].concat())
    }
}

#[test]
fn known_failures_do_not_fail_a_run_and_an_entry_that_passes_does() {
    let cases = TwoCases::new();
    let list = cases.file("known.toml");
    let bad = server(no_half_close);
    let (code, report) = cases.run(bad, &["--write-baseline", &list]);
    assert_eq!((code, outcomes(&report)), (1, vec!["fail", "pass"]), "writing excuses nothing: {report}");
    let text = std::fs::read_to_string(&list).expect("the list is written");
    let entry =
        "version = 1\n\n[[known]]\nid = \"1.1\"\nname = \"n\"\noutcome = \"fail\"\nfindings = [\"truncated\"]\n";
    assert!(text.starts_with("# ") && text.ends_with(entry), "{text}");
    let known = ["--baseline", list.as_str()];
    let (code, report) = cases.run(bad, &known);
    assert_eq!((code, outcomes(&report)), (0, vec!["known", "pass"]), "{report}");
    let (code, report) = cases.run(server(echo), &known);
    assert_eq!((code, outcomes(&report)), (1, vec!["stale", "pass"]), "{report}");
    let reason = report["cases"][0]["reasons"][0].as_str().unwrap_or_default();
    assert!(reason.contains("take its entry out of the baseline"), "{reason}");
    // The entry's case does not run.
    let (code, report) = cases.run(server(echo), &[&known[..], &["--filter", "1.2"]].concat());
    assert_eq!((code, outcomes(&report)), (0, vec!["pass"]), "{report}");
    // Its list keeps the entry all the same.
    let again = cases.file("again.toml");
    let (code, _) = cases.run(bad, &[&known[..], &["--filter", "1.2", "--write-baseline", &again]].concat());
    assert_eq!((code, std::fs::read_to_string(&again).expect("the list is written")), (0, text));
}

#[test]
fn a_known_case_that_fails_in_another_way_fails_the_run() {
    let cases = TwoCases::new();
    let list = cases.file("known.toml");
    let entry = "version = 1\n[[known]]\nid = '1.1'\nname = 'n'\noutcome = 'fail'\nfindings = ['reset']\n";
    std::fs::write(&list, entry).expect("the folder is writable");
    let (code, report) = cases.run(server(no_half_close), &["--baseline", &list]);
    assert_eq!((code, outcomes(&report)), (1, vec!["fail", "pass"]), "{report}");
    let reason = report["cases"][0]["reasons"][0].as_str().unwrap_or_default();
    assert_eq!(reason, "it is known to fail, but not in this way: truncated");
}

#[test]
fn a_list_of_known_failures_that_cannot_be_used_is_refused_with_what_to_do() {
    let list = folder(&[("new.toml", "version = 2\n"), ("odd.toml", "version = 1\nknown = 5\n")]);
    let absent = path(&list, "absent.toml");
    let targets = ["127.0.0.1:1", "127.0.0.1:2"];
    for (flags, words) in [
        (vec!["--baseline", &absent], "--write-baseline writes such a file"),
        (vec!["--baseline", &path(&list, "new.toml")], "it has version 2, and this program reads version 1"),
        (vec!["--baseline", &path(&list, "odd.toml")], "known = 5"),
        (vec!["--write-baseline", "/"], "--write-baseline /"),
        ([&targets[..], &["--baseline", &path(&list, "new.toml")]].concat(), "there are several targets"),
    ] {
        let target = if flags.len() == 2 { &["--model", "auto"][..] } else { &[] };
        let (code, _, err) = said(&[&["check", "--filter", "1.1 "], target, &flags[..]].concat());
        assert!(code == 2 && err.contains(words), "{flags:?}: no '{words}' in {err}");
    }
}

#[test]
fn a_proxy_is_not_accused_of_what_its_backend_does_too() {
    let check = |proxy: SocketAddr, backend: SocketAddr| {
        let (proxy, backend) = (proxy.to_string(), backend.to_string());
        let (code, report) = report(&["check", &proxy, "--direct", &backend, "--filter", "3.2 ", "--seed", "7"]);
        assert_eq!(report["cases"][0]["direct"]["target"], backend, "{report}");
        let direct = report["cases"][0]["direct"].clone();
        (code, outcomes(&report)[0].to_owned(), direct)
    };
    let (good, bad, other) = (server(echo), server(no_half_close), server(no_half_close));
    let (code, outcome, direct) = check(bad, other);
    assert_eq!((code, outcome.as_str()), (0, "backends-own"), "{direct}");
    assert_eq!((&direct["through"], &direct["outcome"]), (&"fail".into(), &"fail".into()));
    assert_ne!(direct["run"]["seed"], "7", "the backend may still hold the bytes that came through the proxy");
    let replay = direct["replay"].as_str().expect("it ran");
    assert!(replay.starts_with(&format!("echo-tester check {other} --filter ")), "{replay}");
    let (code, outcome, direct) = check(bad, good);
    assert_eq!((code, outcome.as_str(), &direct["outcome"]), (1, "fail", &"pass".into()));
    let (code, outcome, direct) = check(good, bad);
    assert_eq!((code, outcome.as_str(), &direct["outcome"]), (0, "pass", &"fail".into()));
    let (code, out, err) = said(&["check", &bad.to_string(), "--direct", &nobody().to_string(), "--filter", "3.2 "]);
    assert!(code == 4 && err.contains("nothing listens"), "{out}{err}");
}

#[test]
fn both_columns_of_a_proxy_are_shown() {
    let (proxy, backend) = (server(no_half_close).to_string(), server(no_half_close).to_string());
    let (code, out, _) = said(&["check", &proxy, "--direct", &backend, "--filter", "3.2 ", "-q"]);
    assert_eq!(code, 0, "{out}");
    for words in
        ["backend's    3.2", "proxy: FAIL, directly: FAIL", "\nthrough the proxy F\n", "\ndirectly          F\n"]
    {
        assert!(out.contains(words), "no '{words}' in {out}");
    }
    for (args, words) in [
        (vec!["check", "--direct", "127.0.0.1:1"], "there is no proxy"),
        (vec!["check", "127.0.0.1:1", "--direct", "127.0.0.1:1"], "it is the target too"),
        (vec!["check", "127.0.0.1:1", "127.0.0.1:2", "--direct", "127.0.0.1:3"], "one proxy at a time"),
    ] {
        let (code, _, err) = said(&args);
        assert!(code == 2 && err.contains(words), "{args:?}: {err}");
    }
}

#[test]
fn several_targets_are_checked_in_turn_and_shown_side_by_side() {
    let (good, bad) = (server(echo).to_string(), server(no_half_close).to_string());
    let list = folder(&[("targets", format!("# the fleet\n{good}  # of the north\n\n"))]);
    let file = path(&list, "targets");
    let (code, out, _) = said(&["check", &bad, "--targets", &file, "--filter", "3.2 ", "-q"]);
    assert_eq!(code, 1, "{out}");
    for words in [format!("{bad}: 1 case: failed\n"), format!("{good}: 1 case: passed\n"), format!("\n{good} .\n")] {
        assert!(out.contains(&words), "no '{words}' in {out}");
    }
    // One that is not there is told, and the others are checked all the same.
    let absent = nobody().to_string();
    let (code, report) = report(&["check", &absent, &good, "--filter", "1.1 "]);
    assert_eq!((code, outcomes(&report)), (4, vec!["inconclusive", "pass"]), "{report}");
    assert_eq!(report["cases"][1]["target"], good);
    let replay = report["cases"][1]["replay"].as_str().expect("it ran");
    assert!(replay.starts_with(&format!("echo-tester check {good} --filter '1.1 one byte' --seed ")), "{replay}");
    let empty = folder(&[("targets", "# nobody\n"), ("wrong", "localhost\n")]);
    for (file, words) in [("targets", "it names no target"), ("wrong", "line 1: 'localhost' is not a valid target")] {
        let (code, _, err) = said(&["check", "--targets", &path(&empty, file)]);
        assert!(code == 2 && err.contains(words), "{err}");
    }
    let (code, _, err) = said(&["check", &good, &good]);
    assert!(code == 2 && err.contains("is there twice"), "{err}");
}

#[test]
fn a_target_that_is_known_not_to_half_close_may_fail_by_that() {
    let target = server(no_half_close).to_string();
    let flags = ["--assume", "no-half-close", "--filter", "3.2 "];
    let (code, report) = report(&[&["check", &target], &flags[..]].concat());
    assert_eq!((code, outcomes(&report)), (0, vec!["expected"]), "{report}");
    let case = &report["cases"][0];
    let reason = case["reasons"][0].as_str().unwrap_or_default();
    assert!(reason.starts_with("expected by --assume no-half-close: the target does not keep"), "{reason}");
    assert!(case["replay"].as_str().is_some_and(|replay| replay.contains(" --assume no-half-close ")), "{case}");
    let (code, _, err) = said(&["check", &target, "--assume", "no-echo"]);
    assert!(code == 2 && err.contains("no-half-close"), "{err}");
}

#[test]
fn cases_about_other_things_than_the_half_close_end_their_connections_otherwise() {
    let cases = Scenario::conformance(&Variables::none()).expect("the files are valid");
    let about: Vec<&Scenario> = cases.iter().filter(|case| case.is_about_half_close()).collect();
    assert!(["3.2", "3.3"].iter().all(|id| about.iter().any(|case| case.id == *id)));
    for case in about {
        let proves = case.about.lines().next().unwrap_or_default();
        let is_about_it = proves.contains("FIN") || proves.contains("half-closed");
        assert!(is_about_it, "{}: write close = \"after-echo\", so that only its own subject fails it", case.title());
    }
}
