//! The scripts and manifests of `deploy/`. They run here if this machine has the tools they need; otherwise the test
//! only checks that the program accepts their arguments.
#![cfg(unix)]

use std::path::PathBuf;
use std::process::{Command, Output};

use clap::CommandFactory;
use program::{Serving, said, text};
use serde_json::Value;

mod program;

fn deploy(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(deploy(file)).expect("the file exists")
}

fn script(file: &str, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new("bash");
    command.arg(deploy(file)).args(args).env("ECHO_TESTER", env!("CARGO_BIN_EXE_echo-tester"));
    command.envs(environment.iter().copied());
    command.output().expect("bash is installed")
}

/// The programs of this list that are not installed.
fn missing(programs: &[&str]) -> Vec<String> {
    let is_missing = |program: &&&str| Command::new(program).arg("--version").output().is_err();
    programs.iter().filter(is_missing).map(ToString::to_string).collect()
}

#[test]
fn gnu_parallel_runs_the_shards_and_merges_their_reports() {
    let missing = missing(&["parallel"]);
    if !missing.is_empty() {
        println!("SKIPPED: not installed: {}", missing.join(", "));
        return;
    }
    let server = Serving::start(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let results = folder.path().to_str().expect("the path is UTF-8");
    let load = ["3", &server.address, "--conns", "10", "--messages", "5", "--size", "1..100"];
    let output = script("parallel.sh", &load, &[("RESULTS", results), ("WAIT", "1")]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("10 passed") && said.contains("0/3, 1/3, 2/3") && said.contains("verdict: pass"), "{said}");
    assert!(folder.path().join("merged.json").exists());
    assert_eq!(server.stop()["counters"]["accepted"], 10);
}

#[test]
fn gnu_parallel_returns_the_exit_code_of_the_merged_report() {
    let missing = missing(&["parallel"]);
    if !missing.is_empty() {
        println!("SKIPPED: not installed: {}", missing.join(", "));
        return;
    }
    let server = Serving::start(&["--fault", "flip:at=100", "-q"]);
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let results = folder.path().to_str().expect("the path is UTF-8");
    let load = ["2", &server.address, "--conns", "4", "--messages", "5", "--size", "100"];
    let output = script("parallel.sh", &load, &[("RESULTS", results), ("WAIT", "1")]);
    assert_eq!(output.status.code(), Some(1), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn many_processes_hold_their_connections_open_at_once() {
    let missing = missing(&["parallel", "ss"]);
    if !missing.is_empty() || !cfg!(target_os = "linux") {
        println!("SKIPPED: not Linux, or not installed: {}", missing.join(", "));
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let results = folder.path().to_str().expect("the path is UTF-8");
    let short = [("RESULTS", results), ("OPENING", "1"), ("OPEN", "8"), ("RATE", "500")];
    let output = script("scale.sh", &["2", "30"], &short);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("open at the same time: 60 of 60 connections"), "{said}");
}

/// A shell with this limit of descriptors runs the script, and may set no variable of its own.
#[cfg(target_os = "linux")]
fn scale(descriptors: u32, args: &str) -> Output {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("ulimit -n {descriptors} && exec bash \"$0\" {args}")]).arg(deploy("scale.sh"));
    command.env("ECHO_TESTER", env!("CARGO_BIN_EXE_echo-tester")).env_remove("FORCE");
    command.output().expect("bash is installed")
}

#[test]
#[cfg(target_os = "linux")]
fn the_plan_says_how_many_the_machine_holds_and_what_stops_it() {
    let output = scale(256, "--plan 100");
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    for wanted in ["memory: ", "fs.file-max", "source ports", "it holds ", "what stops it: ", "to go further: "] {
        assert!(said.contains(wanted), "no '{wanted}' in {said}");
    }
    assert!(!said.contains("ulimit -Hn"), "100 fit into 256 descriptors: {said}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_that_the_machine_cannot_hold_is_refused_with_its_limit() {
    for (args, limit) in [("1 1000", "descriptors of a process (ulimit -Hn: 256)"), ("900000 100", "what stops it: ")] {
        let output = scale(256, args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args}: {}{said}", text(&output.stdout));
        assert!(said.contains(limit) && said.contains("that fit") && said.contains("to go further"), "{args}: {said}");
    }
    let output = scale(256, "many 100");
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("'many' is no count"), "{output:?}");
}

#[test]
fn the_tasks_of_a_slurm_array_are_one_run() {
    let server = Serving::start(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let results = folder.path().to_str().expect("the path is UTF-8");
    let run = |task: &str, tasks: &str, flags: &[&str]| {
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", task),
            // Slurm sets these for --array=1-5:4.
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_MAX", "5"),
            ("SLURM_ARRAY_TASK_STEP", "4"),
            ("SLURM_ARRAY_TASK_COUNT", tasks),
            ("SLURM_CPUS_PER_TASK", "2"),
            ("TARGET", &server.address),
            ("SEED", "7"),
            ("RESULTS", results),
        ];
        script("slurm.sh", &[&["--conns", "6", "--messages", "3"], flags].concat(), &slurm)
    };
    for (task, flags) in [("1", [].as_slice()), ("5", &["--workers", "1"])] {
        let output = run(task, "2", flags);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let output = run("5", "3", &[]);
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("as a range"), "{output:?}");
    for (shard, workers) in [(0, 2), (1, 1)] {
        let report =
            std::fs::read_to_string(folder.path().join(format!("shard-{shard}.json"))).expect("the file exists");
        let report: Value = serde_json::from_str(&report).expect("the text is JSON");
        assert_eq!(report["client"]["busy"].as_array().map(Vec::len), Some(workers), "shard {shard}");
    }
    let (code, out, err) = said(&["merge", results]);
    assert!(code == 0 && out.contains("6 passed"), "{out}{err}");
    assert_eq!(server.stop()["counters"]["accepted"], 6);
}

fn accepts(words: &[String]) {
    let words = std::iter::once("echo-tester").chain(words.iter().map(String::as_str));
    let words: Vec<&str> = words.collect();
    if let Err(error) = echo_tester::cli::Cli::command().try_get_matches_from(&words) {
        panic!("{words:?}: {error}");
    }
}

#[test]
fn the_program_accepts_the_arguments_in_the_kubernetes_manifest() {
    let manifest = read("kubernetes.yaml");
    let lists: Vec<&str> = manifest.split("args: ").skip(1).collect();
    assert_eq!(lists.len(), 3, "server, clients, merge");
    for list in lists {
        let (list, _) = list.split_once(']').expect("the list ends");
        let list = format!("{list}]").replace("$(JOB_COMPLETION_INDEX)", "0");
        accepts(
            &serde_json::from_str::<Vec<String>>(&list).expect("the list is JSON, because it is in YAML's flow form"),
        );
    }
    let count = |key: &str| {
        let (_, rest) = manifest.split_once(key).unwrap_or_else(|| panic!("no {key}"));
        rest.split(|letter: char| !letter.is_ascii_digit()).next().map(str::to_owned)
    };
    assert_eq!(count("completions: "), count("$(JOB_COMPLETION_INDEX)/"), "as many pods as shards");
    assert_eq!(count("completions: "), count("parallelism: "), "all at once");
    // A shard that finds something must not end the others.
    let (_, job) = manifest.split_once("completionMode: Indexed").expect("the manifest has an Indexed Job");
    let (job, _) = job.split_once("\n---").expect("another document follows");
    assert!(job.contains("backoffLimitPerIndex: 0\n") && !job.contains("backoffLimit: "), "{job}");
    assert_eq!(count("completions: "), count("maxFailedIndexes: "), "however many fail");
}

#[test]
fn the_manifest_matches_the_schemas_of_kubernetes() {
    let missing = missing(&["kubernetes-validate"]);
    if !missing.is_empty() {
        println!("SKIPPED: not installed: {}", missing.join(", "));
        return;
    }
    for version in ["1.29.0", "1.33.0"] {
        let mut command = Command::new("kubernetes-validate");
        let output = command.args(["--strict", "-k", version]).arg(deploy("kubernetes.yaml")).output();
        let output = output.expect("kubernetes-validate is installed");
        assert!(output.status.success(), "{version}: {}{}", text(&output.stdout), text(&output.stderr));
    }
}

#[test]
fn the_program_accepts_the_commands_in_the_readme_of_deploy() {
    let mut seen = 0;
    for line in read("README.md").lines().filter_map(|line| line.strip_prefix("echo-tester ")) {
        accepts(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        seen += 1;
    }
    assert!(seen > 0);
}
