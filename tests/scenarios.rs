//! `run` and `check` as their users meet them: what they print, and with which exit code.

mod command_line;
mod ports;

use command_line::said;
use echo_tester::scenario::conformance;
use ports::free_port;
use serde_json::Value;

/// Runs a scenario of this text.
fn run(text: &str, flags: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("case.toml");
    std::fs::write(&file, text).expect("the folder is writable");
    said(&[&["run", file.to_str().expect("the path is UTF-8"), "-q"], flags].concat())
}

const SMALL: &str = "name = 'small'\n[server]\nmodel = 'auto'\n[[load]]\nconns = 3\nmessages = 3\n";
const FAULTY: &str =
    "name = 'faulty'\n[server]\nfault = ['flip:at=10']\n[[load]]\nconns = 2\nmessages = 3\nsize = 100\n";

#[test]
fn a_case_that_passes_is_exit_0() {
    let (code, out, err) = run(&format!("{SMALL}[expect]\nthresholds = ['passed == 3', 'rtt.max < 1h']"), &[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with("pass ") && out.contains("1 case: passed"), "{out}");
}

#[test]
fn a_case_that_fails_is_exit_1_with_its_replay_line() {
    let (code, out, err) = run(FAULTY, &["--seed", "7"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("expected pass, got fail") && out.contains("--seed 7 --only-conn"), "{out}");
    let (code, out, err) = run(&format!("{FAULTY}[expect]\nfindings = ['corrupt']"), &[]);
    assert_eq!(code, 0, "an expected fault is a pass: {out}{err}");
    let (code, out, _) = run(&format!("{FAULTY}[expect]\nfindings = ['corrupt', 'no-fin']"), &[]);
    assert!(code == 1 && out.contains("finding no-fin: expected at least one, got none"), "{out}");
}

#[test]
fn an_expected_fault_that_does_not_come_is_exit_1() {
    let (code, out, _) = run(&format!("{SMALL}[expect]\nfindings = ['lost']"), &[]);
    assert!(code == 1 && out.contains("expected fail, got pass"), "{out}");
}

#[test]
fn a_typo_is_exit_2_with_its_place_and_the_right_key() {
    let (code, _, err) = run(&SMALL.replace("conns", "cons"), &[]);
    assert_eq!(code, 2);
    assert!(err.contains("case.toml:5:1\n") && err.contains("did you mean `conns`?") && err.contains("^^^^"), "{err}");
    for args in [
        vec!["run", "no/such/file.toml"],
        vec!["run"],
        vec!["run", "src"],
        vec!["check", "--model", "auto", "--filter", "xyzzy"],
    ] {
        assert_eq!(said(&args).0, 2, "{args:?}");
    }
    assert_eq!(run("name = 'none'\n[[load]]\n", &[]).0, 2, "no server and no --target");
}

#[test]
fn flags_that_do_not_fit_a_case_are_refused_before_the_first_one_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join("a.toml"), SMALL.replace("conns = 3", "conns = 30"))
        .expect("the folder is writable");
    std::fs::write(folder.path().join("b.toml"), SMALL.replace("small", "b")).expect("the folder is writable");
    let path = folder.path().to_str().expect("the path is UTF-8");
    let (code, out, err) = said(&["run", path, "-q", "--only-conn", "20"]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("b.toml: --only-conn 20: there is no connection 20") && err.contains("--filter"), "{err}");
    let (code, out, err) = said(&["run", path, "-q", "--only-conn", "20", "--filter", "small"]);
    assert_eq!(code, 0, "{out}{err}");
    for (flags, wrong) in [(["--workers", "0"], "--workers 0: "), (["--shard", "0/4"], "--shard 0/4: ")] {
        let (code, out, err) = said(&[&["run", path, "-q"][..], &flags].concat());
        assert!(code == 2 && out.is_empty() && err.starts_with(&format!("error: {wrong}")), "{out}{err}");
    }
}

#[test]
fn two_cases_with_the_same_name_are_refused_with_both_places() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join("a.toml"), SMALL).expect("the folder is writable");
    std::fs::write(folder.path().join("b.toml"), format!("# Another.\n{SMALL}")).expect("the folder is writable");
    let path = folder.path().to_str().expect("the path is UTF-8");
    let (code, out, err) = said(&["run", path, "-q"]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(
        err.contains("another case is called 'small': ")
            && err.contains("b.toml:2:8\n")
            && err.contains("a.toml:1:8\n"),
        "{err}"
    );
    let (code, out, err) = said(&["run", path, "-q", "--filter", "b.toml"]);
    assert_eq!(code, 0, "one of them alone can run: {out}{err}");
}

#[test]
fn a_missed_threshold_is_exit_3() {
    let (code, out, _) = run(&format!("{SMALL}[expect]\nthresholds = ['messages > 1k']"), &[]);
    assert_eq!(code, 3, "{out}");
    assert!(out.starts_with("MISSED") && out.contains("messages > 1k: it was 9"), "{out}");
}

#[test]
fn thresholds_about_the_whole_run_are_skipped_in_a_part_of_it() {
    let text = format!("{SMALL}[expect]\nthresholds = ['passed == 3']");
    for part in [&["--only-conn", "1"][..], &["--shard", "0/2", "--seed", "1"]] {
        let (code, out, err) = run(&text, part);
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("not evaluated: passed == 3 (about the whole run"), "{out}");
    }
    let (code, out, _) = run(&text, &["--shard", "0/1"]);
    assert!(code == 0 && !out.contains("not evaluated"), "{out}");
}

#[test]
fn a_case_that_can_not_run_or_does_not_apply_is_exit_4() {
    let elsewhere = if cfg!(windows) { "epoll" } else { "iocp" };
    let (code, out, _) = run(&SMALL.replace("auto", elsewhere), &[]);
    assert_eq!(code, 4, "{out}");
    assert!(out.starts_with("skipped") && out.contains(&format!("{elsewhere} does not run here: ")), "{out}");
    let free = free_port().to_string();
    let (code, out, _) = run(SMALL, &["--target", &free]);
    assert_eq!(code, 4, "{out}");
    assert!(out.starts_with("inconclusive") && out.contains("nothing listens on"), "{out}");
}

/// Moves bytes for an hour, so it never stalls.
const ENDLESS: &str = "name = 'endless'\n[server]\nmodel = 'auto'\n[[load]]\nconns = 2\nduration = '1h'\n";

#[test]
fn a_case_that_exceeds_its_time_fails_and_the_others_run() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let limited = format!("{ENDLESS}[run]\ntimeout = '300ms'\n");
    std::fs::write(folder.path().join("a.toml"), &limited).expect("the folder is writable");
    std::fs::write(folder.path().join("b.toml"), SMALL).expect("the folder is writable");
    let path = folder.path().to_str().expect("the path is UTF-8");
    let (code, out, err) = said(&["run", path, "-q"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("verdict: expected pass, got not done within 300ms"), "{out}");
    assert!(out.contains("timeout in [run]") && out.contains("2 cases: 1 passed, 1 failed"), "{out}");

    for flag in ["--timeout", "--case-timeout"] {
        let (code, out, _) = run(ENDLESS, &[flag, "200ms"]);
        assert!(code == 1 && out.contains("not done within 200ms"), "{out}");
    }
    let (code, out, _) = run(&limited.replace("1h", "100ms"), &["--timeout", "1h"]);
    assert_eq!(code, 0, "the command line wins over the file: {out}");
    let (code, _, err) = run(SMALL, &["--timeout", "0"]);
    assert!(code == 2 && err.contains("--timeout 0: must be longer than 0"), "{err}");
}

#[test]
fn the_json_report_matches_its_schema_and_quiet_leaves_stderr_empty() {
    let (code, out, err) = run(SMALL, &["--json"]);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).expect("stdout is JSON alone");
    let schema: Value = serde_json::from_str(&said(&["schema", "suite"]).1).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is a JSON Schema");
    let errors: Vec<String> = validator.iter_errors(&report).map(|e| e.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!((&report["cases"][0]["outcome"], &report["exit_code"]), (&"pass".into(), &0.into()));
    assert_eq!(err, "", "--quiet");
}

#[test]
fn the_rate_of_a_load_that_finishes_early_is_over_its_own_time() {
    let text = "name = 'n'\n[server]\n\
                [[load]]\nname = 'fast'\nconns = 1\nmessages = 5\n\
                [[load]]\nname = 'slow'\nconns = 1\nmessages = 1\nsize = 21\nfragment = 1\ngap = '50ms'\n\
                [expect]\nthresholds = ['fast.message_rate > 0', 'slow.elapsed >= 1s', 'fast.elapsed > 0']";
    let (code, out, err) = run(text, &["--json"]);
    assert_eq!(code, 0, "{out}{err}");
    let report: Value = serde_json::from_str(&out).expect("stdout is JSON alone");
    let case = &report["cases"][0];
    let fast = &case["run"]["loads"][0];
    let time = |key: &str| fast["active"][key].as_f64().expect("the time was measured");
    let own = 5.0 / (time("last_echo_s") - time("first_connect_s"));
    let of_run = 5.0 / case["run"]["elapsed_s"].as_f64().expect("a run takes time");
    let said = case["checks"].as_array().into_iter().flatten().find(|check| check["name"] == "fast.message_rate > 0");
    let said = said.and_then(|check| check["actual"].as_str()).and_then(|rate| rate.strip_suffix("/s"));
    // Thousands are separated: a quick machine needs less than a millisecond.
    let said: f64 = said.and_then(|rate| rate.replace(',', "").parse().ok()).expect("the check says a rate");
    assert!((said - own).abs() < 0.06, "{said} is not the rate over its own time, {own}");
    // The slow load alone takes a second.
    assert!(of_run <= 5.0 && own > of_run, "{own} and {of_run}");
}

#[test]
fn the_first_scenarios_of_the_readme_pass() {
    let (code, out, err) = said(&["run", "scenarios/quickstart.toml", "scenarios/ci.toml", "-q"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("2 cases: 2 passed"), "{out}");
}

#[test]
fn every_case_of_check_passes_against_the_bundled_server() {
    let (code, out, err) = said(&["check", "--model", "auto", "-q", "--json"]);
    assert_eq!(code, 0, "{out}{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    let cases = report["cases"].as_array().expect("cases is a list");
    assert_eq!(cases.len(), conformance::FILES.len());
    for (case, (name, text)) in cases.iter().zip(conformance::FILES) {
        let expected = match text {
            _ if text.contains("\nlong = true") => "skipped",
            _ if text.contains("\ngrade = \"info\"") => "info",
            // The bundled servers take no Fast Open.
            _ if text.contains("\nfast_open = true") => "unsupported",
            _ => "pass",
        };
        assert_eq!(case["outcome"], expected, "{name}: {case}");
    }
}

#[test]
fn output_goes_to_a_file_instead_of_standard_output_when_asked() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("out");
    let path = file.to_str().expect("the path is UTF-8");
    let read = || std::fs::read_to_string(&file).expect("the file was written");
    let args = ["check", "--model", "auto", "--filter", "1.1", "-o", path];
    let (code, out, err) = said(&args);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(
        err.contains("\npass ") && read().starts_with("pass ") && read().contains("\n\nverdict: pass · 1 case: passed"),
        "{err}"
    );
    assert_eq!(said(&[&args[..], &["--json"]].concat()).1, "");
    let report: Value = serde_json::from_str(&read()).expect("the output is JSON alone");
    assert_eq!(report["cases"][0]["outcome"], "pass");
    assert_eq!(said(&[&args[..], &["--list"]].concat()).1, "");
    assert!(read().starts_with("1.1  must   one byte"), "{}", read());
    let (code, _, err) = said(&["check", "--model", "auto", "--filter", "1.1", "--output", "/no/such/folder/out"]);
    assert!(code == 2 && err.contains("--output /no/such/folder/out"), "{err}");
}

#[test]
fn check_lists_its_cases_and_filters_them() {
    let (code, out, _) = said(&["check", "--list", "--filter", "delays nobody"]);
    assert_eq!((code, out.lines().count()), (0, 2), "{out}");
    assert!(out.starts_with("4.1  must   a silent connection delays nobody"), "{out}");
    assert!(out.lines().all(|line| line.ends_with(".toml")), "{out}");
    let (code, out, _) = said(&["check", "--list", "--filter", "4.2 a connection"]);
    assert!(
        code == 0 && out.starts_with("4.2  must   a connection that never reads") && out.lines().count() == 1,
        "{out}"
    );
    let (code, out, _) = said(&["check", "--list", "--filter", "4.2 a connection", "--json"]);
    let list: Value = serde_json::from_str(&out).expect("the output is JSON alone");
    assert_eq!((code, &list["cases"][0]["id"], &list["cases"][0]["outcome"]), (0, &"4.2".into(), &"not-run".into()));
    assert_eq!(list["cases"].as_array().map(Vec::len), Some(1));
    let (_, out, _) = said(&["check", "--list", "--filter", "1."]);
    assert!(out.contains("1.1  must") && !out.contains("8.4 "), "the file of 8.4 is named ...v1.toml: {out}");
}

#[test]
fn parallel_cases_give_the_same_report_as_sequential_ones() {
    let (code, out, err) = said(&["check", "--model", "auto", "--filter", "3.", "--jobs", "4", "--json", "-q"]);
    assert_eq!(code, 0, "{out}{err}");
    let report: Value = serde_json::from_str(&out).expect("stdout is JSON alone");
    let ids: Vec<&str> = report["cases"].as_array().into_iter().flatten().filter_map(|c| c["id"].as_str()).collect();
    assert_eq!(
        ids,
        ["3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9", "3.9L"],
        "the report keeps the order of the files"
    );
    for jobs in ["0", "65", "many"] {
        assert_eq!(said(&["check", "--model", "auto", "--jobs", jobs]).0, 2, "{jobs}");
    }
    let (code, _, err) = said(&["check", "--model", "auto", "--patience", "0"]);
    assert!(code == 2 && err.starts_with("error: --patience 0: must be longer than 0"), "{err}");
}

#[test]
fn a_shell_takes_the_replay_line_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("it's a case.toml");
    std::fs::write(&file, FAULTY).expect("the folder is writable");
    let (code, out, _) = said(&["run", file.to_str().expect("the path is UTF-8"), "-q"]);
    let replay = out.lines().find_map(|line| line.trim().strip_prefix("replay: ")).expect("a replay line was printed");
    let words = shlex::split(replay).expect("the quotes match");
    assert_eq!(
        (code, &words[..2], Some(words[2].as_str())),
        (1, &["echo-tester".into(), "run".into()][..], file.to_str())
    );
    let words: Vec<&str> = words[1..].iter().map(String::as_str).chain(["-q"]).collect();
    let (code, out, err) = said(&words);
    assert!(code == 1 && out.contains("got fail"), "{out}{err}");
}

#[test]
fn fail_fast_stops_after_the_first_case_that_does_not_pass() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let wrong = format!("{SMALL}[expect]\nthresholds = ['errors > 0']");
    std::fs::write(folder.path().join("a.toml"), wrong).expect("the folder is writable");
    let another = SMALL.replace("'small'", "'another'");
    std::fs::write(folder.path().join("b.toml"), another).expect("the folder is writable");
    let path = folder.path().to_str().expect("the path is UTF-8");
    let (code, out, _) = said(&["run", path, "-q", "--fail-fast"]);
    assert!(code == 3 && out.contains("2 cases: 1 missed a threshold, 1 not run (stopped by --fail-fast)"), "{out}");
    let (code, out, _) = said(&["run", path, "-q"]);
    assert!(code == 3 && out.contains("2 cases: 1 passed, 1 missed a threshold"), "{out}");
}

#[test]
fn variables_come_from_the_command_line_and_are_part_of_the_replay_line() {
    let text = format!("{FAULTY}[expect]\nthresholds = ['passed == ${{N:-0}}']").replace("conns = 2", "conns = '${N}'");
    let (code, out, _) = run(&text, &["--set", "N=3"]);
    assert!(code == 1 && out.contains(" --set N=3 --seed "), "{out}");
    let (code, _, err) = run(&text, &[]);
    assert_eq!(code, 2);
    assert!(
        err.contains("${N} has no value: add --set N=") && err.contains("case.toml:5:10\n") && err.contains("^^^^"),
        "{err}"
    );
    let (code, _, err) = run(&text, &["--set", "N=3", "--set", "M=1"]);
    assert!(code == 2 && err.contains("${M} is not used in any file"), "{err}");
    for (set, why) in [("N", "--set N=VALUE"), ("1=2", "'1' is not a name")] {
        let (code, _, err) = run(&text, &["--set", set]);
        assert!(code == 2 && err.contains(why), "{err}");
    }
}

#[test]
fn the_command_line_wins_over_an_environment_variable() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("case.toml");
    let text =
        "name = 'n'\n[server]\n[[load]]\nconns = '${SCENARIO_N}'\nmessages = 1\n[expect]\nthresholds = ['passed == 3']";
    std::fs::write(&file, text).expect("the folder is writable");
    let path = file.to_str().expect("the path is UTF-8");
    let code = |value: &str, more: &[&str]| {
        let mut command = command_line::program(&[&["run", path, "-q"], more].concat());
        command.env("SCENARIO_N", value).output().expect("the program starts").status.code()
    };
    assert_eq!(code("3", &[]), Some(0));
    assert_eq!(code("2", &[]), Some(3));
    assert_eq!(code("2", &["--set", "SCENARIO_N=3"]), Some(0));
    // Elsewhere it has another value or none: the line that runs it again holds what it was.
    let mut command = command_line::program(&["run", path, "-q"]);
    let output = command.env("SCENARIO_N", " 2").output().expect("the program starts");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let replay = out.lines().find_map(|line| line.trim().strip_prefix("replay: ")).expect("a replay line was printed");
    assert!(replay.contains(" --set SCENARIO_N=' 2' --seed "), "{replay}");
    let words = shlex::split(replay).expect("the quotes match");
    let words: Vec<&str> = words[1..].iter().map(String::as_str).chain(["-q"]).collect();
    let (code, again, err) = said(&words);
    assert!(code == 3 && again.contains("passed == 3: it was 2"), "{again}{err}");
}

#[test]
fn each_model_of_a_file_is_a_case_and_an_absent_one_is_skipped() {
    let elsewhere = if cfg!(windows) { "epoll" } else { "iocp" };
    let text = SMALL.replace("model = 'auto'", &format!("models = ['threads', '{elsewhere}', 'tokio']"));
    let (code, out, err) = run(&text, &[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("small [threads] (") && out.contains("small [tokio] ("), "{out}");
    assert!(out.contains(&format!("small [{elsewhere}]")) && out.contains("does not run here: "), "{out}");
    let (_, out, _) = run(&text, &["--filter", "[tokio]"]);
    assert!(out.contains("1 case: passed"), "{out}");
    let faulty = FAULTY.replace("name = 'faulty'", "name = 'faulty'\nlong = true");
    let (_, out, _) = run(&faulty.replace("fault = ['flip:at=10']", "models = 'auto'"), &["--long"]);
    assert!(out.contains("1 case: passed"), "{out}");
}
