//! What servers print: the beginning and the end in reports, and all of it in the files of `--server-log`.

mod command_line;

use command_line::said;

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-tester");

/// The names of the files in a folder, in order.
fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder exists");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("the entry can be read").file_name();
    let mut names: Vec<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A scenario whose server prints 1,000 lines, and stops.
#[cfg(unix)]
fn talkative(end: &str) -> String {
    let script = format!("echo the cause; i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; {end}");
    format!(
        "name = 'it talks'\n[server]\ncommand = ['sh', '-c', \"{script}\", 'sh', '{{addr}}']\n[[load]]\nconns = 1\n"
    )
}

#[cfg(unix)]
#[test]
fn of_a_long_output_the_first_lines_are_shown_too_and_the_log_has_all() {
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let path = |name: &str| folder.path().join(name).to_str().expect("the path is UTF-8").to_owned();
    let (file, log) = (path("case.toml"), path("logs/of/today"));
    std::fs::write(&file, talkative("exit 3")).expect("the file is writable");
    let (code, out, err) = said(&["run", &file, "--quiet", "--json", "--server-log", &log]);
    assert_eq!(code, 4, "{out}{err}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("the text is JSON");
    let case = &report["cases"][0];
    let reasons = case["reasons"].to_string();
    for part in ["it said:", "the cause", "(the lines between are not shown)", "line 999"] {
        assert!(reasons.contains(part), "{part} in {reasons}");
    }
    let output = case["server_output"].as_array().expect("it is a list of lines");
    assert_eq!((&output[0], output.len()), (&"the cause".into(), 201));
    assert_eq!(output[100], "(echo-tester: 801 lines are left out here)");
    let log = std::fs::read_to_string(path("logs/of/today/001-it-talks.log")).expect("the log exists");
    assert_eq!((log.lines().count(), log.lines().last()), (1001, Some("line 999")));
}

#[test]
fn every_command_that_starts_servers_keeps_their_output() {
    let small = ["--conns", "1", "--messages", "1", "--quiet"];
    for (args, expected) in [
        (&["blast", "--serve=threads"][..], &["serve-threads.log"][..]),
        (
            &["compare", "--models", "threads,tokio", "--rounds", "2"],
            &["threads-round-1.log", "threads-round-2.log", "tokio-round-1.log", "tokio-round-2.log"],
        ),
        (
            &["check", "--model", "threads,tokio", "--filter", "1.1"],
            &["001-1.1-one-byte-threads.log", "002-1.1-one-byte-tokio.log"],
        ),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder is created");
        let log = folder.path().to_str().expect("the path is UTF-8");
        let load = if args[0] == "check" { &small[4..] } else { &small[..] };
        let (code, out, err) = said(&[args, load, &["--server-log", log]].concat());
        assert_eq!(code, 0, "{out}{err}");
        // The run in which system calls are counted is there only where the system permits that.
        let of_rounds: Vec<String> =
            names(folder.path()).into_iter().filter(|name| !name.ends_with("-counting.log")).collect();
        assert_eq!(of_rounds, expected);
        let first = std::fs::read_to_string(folder.path().join(expected[0])).expect("the log exists");
        assert!(first.contains("\"event\":\"listening\"") && first.contains("\"event\":\"stopped\""), "{first}");
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_refused_and_a_useless_flag_is_noted() {
    let (code, _, err) = said(&["check", "--model", "auto", "--filter", "1.1", "--server-log", PROGRAM]);
    assert!(code == 2 && err.contains("--server-log") && err.contains("name a folder"), "{err}");
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let log = folder.path().to_str().expect("the path is UTF-8");
    let (_, _, err) = said(&["blast", "127.0.0.1:1", "--conns", "1", "--server-log", log]);
    assert!(err.contains("note: --server-log: this run starts no server"), "{err}");
}
