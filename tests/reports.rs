//! The reports that `run`, `check` and `blast` write, as CI systems meet them: which files, when, and what GitHub
//! reads.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const GOOD: &str = "name = 'good'\nid = '1.1'\n[server]\nmodel = 'auto'\n[[load]]\nconns = 3\nmessages = 3\n";
const FAULTY: &str = "name = 'faulty: a, b'\nid = '1.2'\nabout = 'Look at: the server.'\n[server]\nfault = ['flip:at=10']\n\
                      [[load]]\nname = 'left'\nconns = 2\nmessages = 3\nsize = 100\n\
                      [[load]]\nname = 'right'\nconns = 1\nmessages = 3\nsize = 100\n";
const MISSED: &str = "name = 'missed'\nid = '1.3'\n[server]\nmodel = 'auto'\n[[load]]\nconns = 3\nmessages = 3\n[expect]\n\
                      thresholds = ['messages > 1k']\n";
/// Does not end on its own within the time of any test.
const ENDLESS: &str = "name = 'endless'\nid = '1.4'\n[server]\nmodel = 'auto'\n[[load]]\nconns = 1\nduration = '1h'\n";

/// Longer than anything here takes on a busy machine.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The program in a folder with these scenarios, named a.toml, b.toml …
fn program(scenarios: &[&str], args: &[&str]) -> (TempDir, Command) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::create_dir(folder.path().join("cases")).expect("the folder is writable");
    for (text, name) in scenarios.iter().zip('a'..) {
        std::fs::write(folder.path().join(format!("cases/{name}.toml")), text).expect("the folder is writable");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo-tester"));
    command.args(args).stdin(Stdio::null()).current_dir(folder.path());
    let set = |name: &str| name.starts_with("ECHO_TESTER_") || name.starts_with("GITHUB_");
    for (name, _) in std::env::vars().filter(|(name, _)| set(name)) {
        command.env_remove(name);
    }
    (folder, command)
}

/// Exit code, stdout, stderr.
fn said(command: &mut Command) -> (i32, String, String) {
    let output = command.output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn read(folder: &TempDir, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A program that would run for an hour. It is killed when the test ends, even if the test panics.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) {
        // If it has ended already, there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Names of the files in a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("the entry can be read").file_name();
    let mut names: Vec<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_requested_file_is_written_and_no_other() {
    let flags = ["--junit", "j.xml", "--markdown", "m.md", "--html", "h.html", "--json=r.json"];
    let (folder, mut command) =
        program(&[GOOD, FAULTY, MISSED], &[&["run", "cases", "-q", "--seed", "7"], &flags[..]].concat());
    let (code, out, err) = said(&mut command);
    assert_eq!(code, 1, "{out}{err}");
    assert_eq!(files(folder.path()), ["cases", "h.html", "j.xml", "m.md", "r.json"]);
    let junit = read(&folder, "j.xml");
    let attributes = "tests=\"9\" skipped=\"0\" failures=\"4\" errors=\"0\"";
    assert!(junit.contains(attributes) && junit.contains("it was 9") && junit.contains("--seed 7"), "{junit}");
    for name in ["m.md", "h.html"] {
        let text = read(&folder, name);
        assert!(text.contains("3 cases: 1 passed, 1 failed, 1 missed a threshold"), "{name}: {text}");
        assert!(text.contains("--only-conn") && text.contains("Look at: the server."), "{name}: {text}");
    }
    let json: Value = serde_json::from_str(&read(&folder, "r.json")).expect("the file is JSON");
    assert_eq!(json["cases"][2]["checks"][1]["actual"], "9");
}

/// What `report` makes of the result of each command, in every format that the command itself has written.
#[test]
fn an_earlier_result_is_rendered_as_the_command_itself_would_have() {
    let of_suite = ["--junit", "--markdown", "--html"];
    let of_comparison = ["--csv", "--markdown", "--html"];
    for (args, formats) in [
        (&["run", "cases", "-q", "--seed", "7"][..], of_suite),
        (&["blast", "--serve", "-q", "-c", "3", "-n", "3"], of_suite),
        (&["blast", "127.0.0.1:1", "-q", "-c", "3", "-n", "3"], of_suite),
        (&["compare", "--models", "threads", "--rounds", "2", "-q", "-c", "3", "-n", "3"], of_comparison),
    ] {
        let files = formats.map(|flag| [flag.to_owned(), flag.trim_start_matches('-').to_owned()]).concat();
        let flags: Vec<&str> =
            args.iter().copied().chain(["--json=r.json"]).chain(files.iter().map(String::as_str)).collect();
        let (folder, mut command) = program(&[GOOD, FAULTY, MISSED], &flags);
        let (code, out, err) = said(&mut command);
        for flag in formats {
            let mut report = Command::new(env!("CARGO_BIN_EXE_echo-tester"));
            let (rendered, text, problem) =
                said(report.args(["report", "r.json", flag]).stdin(Stdio::null()).current_dir(folder.path()));
            assert_eq!((rendered, problem.as_str()), (0, ""), "{args:?} {flag} after {code}: {out}{err}");
            assert_eq!(text, read(&folder, flag.trim_start_matches('-')), "{args:?} {flag}");
        }
    }
}

#[test]
fn a_byte_order_mark_before_a_file_that_is_read_changes_nothing() {
    let marked = |text: &str| format!("\u{feff}{text}");
    let report = marked(include_str!("surface/fixtures/churn.json"));
    let (folder, mut check) =
        program(&[], &["check", "--model", "auto", "--filter", "1.1", "-q", "--write-baseline", "b"]);
    assert_eq!(said(&mut check).0, 0);
    let baseline = marked(&read(&folder, "b"));
    for (args, text) in [
        (&["report", "file"][..], &report),
        (&["merge", "file", "-q"], &report),
        (&["check", "--model", "auto", "--filter", "1.1", "-q", "--baseline", "file"], &baseline),
        (&["check", "--targets", "file", "--list"], &marked("127.0.0.1:9000")),
    ] {
        let (folder, mut command) = program(&[], args);
        std::fs::write(folder.path().join("file"), text).expect("the folder is writable");
        let (code, out, err) = said(&mut command);
        assert_eq!((code, &*err), (0, ""), "{args:?}: {out}");
    }
    for command in ["report", "merge"] {
        let (folder, mut command) = program(&[], &[command, "-"]);
        std::fs::write(folder.path().join("file"), &report).expect("the folder is writable");
        let file = std::fs::File::open(folder.path().join("file")).expect("it is there");
        let (code, out, err) = said(command.stdin(file));
        assert_eq!(code, 0, "from standard input: {out}{err}");
    }
}

#[test]
fn the_terminal_names_the_load_that_failed_and_the_cases_that_failed() {
    let (_folder, mut command) = program(&[GOOD, FAULTY], &["run", "cases", "-q"]);
    let (code, out, _) = said(&mut command);
    assert_eq!(code, 1);
    for words in
        ["    load   passed", "    left ", "    right ", " corrupt at offset 10", "\nfound: 3 × corrupt in 1 case\n"]
    {
        assert!(out.contains(words), "no '{words}' in\n{out}");
    }
    assert!(out.contains("\n  FAIL         1.2 faulty: a, b\n"), "{out}");
    assert!(out.ends_with("\nverdict: fail · 2 cases: 1 passed, 1 failed\n"), "{out}");
    let (_folder, mut command) = program(&[GOOD], &["run", "cases", "-q"]);
    assert!(said(&mut command).1.ends_with("\nverdict: pass · 1 case: passed\n"));
}

#[test]
fn a_file_that_can_not_be_written_is_refused_before_anything_runs() {
    for flags in
        [["--junit", "no/j.xml"], ["--markdown", "no/m.md"], ["--html", "no/h.html"], ["-q", "--json=no/r.json"]]
    {
        for args in [&["run", "cases"][..], &["check", "--model", "auto"], &["blast", "--serve"]] {
            let (_folder, mut command) = program(&[GOOD], &[args, &flags[..]].concat());
            let (code, out, err) = said(&mut command);
            assert_eq!((code, out.as_str()), (2, ""), "{args:?} {flags:?}: {err}");
            assert!(err.contains("create the folder no first"), "{err}");
        }
    }
}

/// The step summary that GitHub would show, exit code, stdout, stderr.
fn github(scenarios: &[&str], args: &[&str]) -> (String, i32, String, String) {
    let (folder, mut command) = program(scenarios, args);
    std::fs::write(folder.path().join("summary.md"), "before\n").expect("the folder is writable");
    let (code, out, err) = said(command.env("GITHUB_STEP_SUMMARY", folder.path().join("summary.md")));
    (read(&folder, "summary.md"), code, out, err)
}

#[test]
fn github_gets_a_summary_after_earlier_text_and_a_mark_for_each_failure() {
    let (summary, code, out, err) = github(&[GOOD, FAULTY, MISSED], &["run", "cases", "-q", "--github"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(summary.starts_with("before\n## echo-tester: 3 cases"), "{summary}");
    assert_eq!(summary.matches("## echo-tester").count(), 1, "{summary}");
    let marks: Vec<&str> = out.lines().filter(|line| line.starts_with("::")).collect();
    assert!(marks[0].starts_with("::error title=FAIL%3A 1.2 faulty%3A a%2C b,file=cases/b.toml,line=1::"), "{out}");
    assert!(marks[0].contains("%0Areplay: echo-tester run") && marks.len() == 2, "{out}");
    assert!(marks[1].contains(",line=9::messages > 1k: it was 9"), "the mark is at the threshold: {out}");
}

#[test]
fn the_github_flag_is_an_error_outside_of_github_actions() {
    for args in [["run", "cases", "--github"], ["blast", "--serve", "--github"]] {
        let (_folder, mut command) = program(&[GOOD], &args);
        let (code, out, err) = said(&mut command);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains("GITHUB_STEP_SUMMARY is not set") && err.contains("--markdown FILE"), "{err}");
    }
}

#[test]
fn blast_is_a_suite_of_one_case() {
    let args = ["blast", "--serve", "-q", "-c", "3", "-n", "3", "--junit", "j.xml", "--html", "h.html"];
    let (folder, mut command) = program(&[], &args);
    let (code, out, err) = said(&mut command);
    assert_eq!(code, 0, "{out}{err}");
    assert!(read(&folder, "j.xml").contains("<testcase name=\"blast --serve=auto\""));
    assert!(read(&folder, "h.html").contains("<svg"));
    let (summary, code, out, _) = github(&[], &["blast", "127.0.0.1:1", "-q", "-c", "2", "--github"]);
    assert!(code == 4 && summary.contains("| **inconclusive** |"), "{summary}");
    assert!(out.starts_with("::error title=inconclusive%3A blast 127.0.0.1::"), "{out}");
}

#[test]
fn a_crash_loses_no_case_that_had_ended() {
    let flags = ["run", "cases", "--junit", "j.xml", "--json=r.json"];
    let (folder, mut command) = program(&[GOOD, FAULTY, ENDLESS], &flags);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = Killed(child.expect("the program starts"));
    let mut lines = BufReader::new(child.0.stdout.take().expect("stdout is piped")).lines();
    // A case is written before it is shown.
    let shown = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("FAIL")));
    child.kill();
    assert!(shown.is_some(), "the second case was not shown");
    let junit = read(&folder, "j.xml");
    assert!(junit.trim_end().ends_with("</testsuites>"), "{junit}");
    // The last of the three has no result, which counts as an error.
    assert!(junit.contains("tests=\"8\" skipped=\"0\" failures=\"3\" errors=\"2\""), "{junit}");
    let (json, outcomes) = outcomes(&folder);
    assert_eq!(outcomes, ["pass", "fail", "not-run"]);
    assert_eq!((&json["state"], &json["exit_code"]), (&"incomplete".into(), &1.into()));
}

/// The JSON report, and what each case came to.
fn outcomes(folder: &TempDir) -> (Value, Vec<String>) {
    let name = if folder.path().join("out").exists() { "out/r.json" } else { "r.json" };
    let json: Value = serde_json::from_str(&read(folder, name)).expect("the file is complete");
    let outcome = |case: &Value| case["outcome"].as_str().expect("an outcome is a word").to_owned();
    let outcomes = json["cases"].as_array().expect("cases is a list").iter().map(outcome).collect();
    (json, outcomes)
}

#[test]
fn cases_that_fail_fast_leaves_out_are_in_every_report() {
    let flags = ["--fail-fast", "--junit", "j.xml", "--markdown", "m.md", "--html", "h.html", "--json=r.json"];
    let (folder, mut command) = program(&[MISSED, GOOD, FAULTY], &[&["run", "cases", "-q"], &flags[..]].concat());
    let (code, out, err) = said(&mut command);
    assert_eq!(code, 3, "{out}{err}");
    let summary = "3 cases: 1 missed a threshold, 2 not run (stopped by --fail-fast)";
    assert!(out.contains(summary), "{out}");
    // Markdown has one row for all of them.
    for (name, left_out) in [("m.md", "2 cases (--fail-fast"), ("h.html", "good")] {
        let text = read(&folder, name);
        assert!(text.contains(summary) && text.contains(left_out), "{name}: {text}");
    }
    let junit = read(&folder, "j.xml");
    assert!(junit.contains("tests=\"9\" skipped=\"6\" failures=\"1\" errors=\"0\""), "{junit}");
    let (json, outcomes) = outcomes(&folder);
    assert_eq!(outcomes, ["threshold-missed", "not-run", "not-run"]);
    assert_eq!((&json["state"], &json["exit_code"]), (&"stopped".into(), &3.into()));
}

/// A case whose server runs this script in the folder of the reports before it listens.
#[cfg(unix)]
fn with_script(name: &str, script: &str) -> String {
    let serve = format!("exec '{}' serve --quiet --bind $1", env!("CARGO_BIN_EXE_echo-tester"));
    let command = format!("command = ['sh', '-c', \"{script}; {serve}\", 'sh', '{{addr}}']");
    format!("name = '{name}'\n[server]\n{command}\n[[load]]\nconns = 2\nmessages = 2\n")
}

#[cfg(unix)]
#[test]
fn a_report_that_can_not_be_written_for_a_while_is_written_later() {
    let (lose, find) = (with_script("lose", "rm -r out"), with_script("find", "mkdir out"));
    let flags = ["run", "cases", "-q", "--json=out/r.json", "--junit", "out/j.xml"];
    let make_out = |folder: &TempDir| std::fs::create_dir(folder.path().join("out")).expect("the folder can be made");

    let (folder, mut command) = program(&[&lose, GOOD], &flags);
    make_out(&folder);
    let (code, out, err) = said(&mut command);
    assert_eq!(code, 4, "{out}{err}");
    assert!(out.contains("2 cases: 2 passed") && err.contains("error: --junit out/j"), "{out}{err}");

    let (folder, mut command) = program(&[&lose, FAULTY], &flags);
    make_out(&folder);
    let (code, out, err) = said(&mut command);
    assert!(code == 1 && err.contains("error: --junit out/j"), "a failure stays a failure: {out}{err}");

    let (folder, mut command) = program(&[&lose, &find], &flags);
    make_out(&folder);
    let (code, out, err) = said(&mut command);
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains("warning: --junit out/j") && !err.contains("error:"), "{err}");
    assert_eq!(outcomes(&folder).1, ["pass", "pass"]);
    assert!(read(&folder, "out/j.xml").contains("tests=\"4\""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_loses_no_file_and_is_no_success() {
    let (folder, mut command) = program(&[GOOD, MISSED], &["run", "cases", "-q", "--json=r.json"]);
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let output = command.stdout(full).output().expect("the program starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("error: writing to standard output: "), "{err}");
    assert_eq!(outcomes(&folder).1, ["pass", "threshold-missed"]);
}

#[test]
fn a_run_that_breaks_off_at_once_leaves_no_earlier_result_behind() {
    let (folder, mut command) = program(&[ENDLESS], &["run", "cases", "--junit", "j.xml"]);
    std::fs::write(folder.path().join("j.xml"), "<testsuites tests=\"1\"/>").expect("the folder is writable");
    let mut child = Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts"));
    let until = Instant::now() + MAX_WAIT;
    while !read(&folder, "j.xml").contains("tests=\"2\" skipped=\"0\" failures=\"0\" errors=\"2\"") {
        let is_running = child.0.try_wait().expect("the child can be waited for").is_none();
        assert!(is_running && Instant::now() < until, "the earlier result is still there");
        std::thread::yield_now();
    }
}
