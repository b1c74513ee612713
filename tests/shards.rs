//! Several processes that form one run: `--shard`, `--start-at`, `merge`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use program::{Serving, finish, program, said, text};
use serde_json::Value;

mod program;

/// Runs a load as `count` processes at the same time. Each writes `I.json` into the folder. Returns their exit codes.
fn blast_in_shards(target: &str, load: &[&str], count: usize, folder: &Path) -> Vec<i32> {
    let start_at = humantime::format_rfc3339_millis(SystemTime::now() + Duration::from_millis(500)).to_string();
    let shards: Vec<Vec<String>> = (0..count)
        .map(|index| {
            let json = format!("--json={}", folder.join(format!("{index}.json")).display());
            let shard = format!("{index}/{count}");
            let own = ["blast", target, "--seed", "5", "-q", "--shard", &shard, &json, "--start-at", &start_at];
            own.iter().chain(load).map(ToString::to_string).collect()
        })
        .collect();
    let start = |args: &Vec<String>| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        program(&args).spawn().expect("the program starts")
    };
    let children: Vec<_> = shards.iter().map(start).collect();
    children.into_iter().map(|child| finish(child, &["blast"]).status.code().unwrap_or(-1)).collect()
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a report was written");
    serde_json::from_str(&text).expect("a report is JSON")
}

#[test]
fn processes_with_one_shard_each_form_one_run() {
    let server = Serving::start(&[]);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().to_str().expect("the path is UTF-8");
    let codes = blast_in_shards(&server.address, &["-c", "10", "-n", "20", "--rate", "2k"], 3, folder.path());
    assert_eq!(codes, [0, 0, 0]);
    let counters = server.stop()["counters"].clone();

    let sum = folder.path().join("sum.json");
    let json_flag = format!("--json={}", sum.display());
    let files = [0, 1, 2].map(|index| folder.path().join(format!("{index}.json")).display().to_string());
    let (code, out, err) = said(&["merge", &files[2], &files[0], &files[1], &json_flag]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("10 passed") && out.contains("0/3, 1/3, 2/3") && out.contains("verdict: pass"), "{out}");
    let report = json(&sum);
    assert_eq!((&report["total"]["passed"], &report["loads"][0]["rtt"]["count"]), (&10.into(), &200.into()));
    assert_eq!((&report["total"]["bytes_sent"], &report["shard"]), (&counters["bytes_in"], &"0/1".into()));
    assert_eq!(report["loads"][0]["rate"]["asked_per_s"].as_f64().map(f64::round), Some(2000.0));
    let schema: Value = serde_json::from_str(&said(&["schema", "run"]).1).expect("the schema is JSON");
    jsonschema::validate(&schema, &report).unwrap_or_else(|error| panic!("{error}"));

    let (code, out, _) = said(&["merge", &files[0], &files[2]]);
    assert_eq!(code, 4, "{out}");
    assert!(out.contains("shard 1/3 is missing"), "{out}");
    assert_eq!(said(&["merge", "--partial", &files[0], &files[2]]).0, 0);
    let (code, _, err) = said(&["merge", path]);
    assert_eq!(code, 2, "the folder also holds the sum: {err}");
    assert!(err.contains("both shard") && err.contains("sum.json"), "{err}");
    std::fs::remove_file(sum).expect("the sum can be removed");
    assert_eq!(said(&["merge", path]).0, 0);
}

#[test]
fn merge_reads_a_report_from_a_pipe() {
    let (code, report, err) = said(&["blast", "--serve", "-c", "3", "-n", "3", "--json", "-q"]);
    assert_eq!(code, 0, "{err}");
    let mut child =
        program(&["merge", "-", "--json"]).stdin(std::process::Stdio::piped()).spawn().expect("the program starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("stdin is piped"), report.as_bytes())
        .expect("the program reads its stdin");
    let output = finish(child, &["merge"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (sum, one): (Value, Value) = (
        serde_json::from_slice(&output.stdout).expect("the sum is JSON"),
        serde_json::from_str(&report).expect("the report is JSON"),
    );
    for key in ["total", "seed", "shard", "elapsed_s", "started_at", "server"] {
        assert_eq!(sum[key], one[key], "{key}");
    }
}

#[test]
fn a_process_that_fails_to_run_leaves_no_report_of_an_earlier_run() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("0.json");
    let json = format!("--json={}", file.display());
    let run = ["--seed", "5", "--shard", "0/2", "-n", "1", "-q", &json];
    assert_eq!(said(&[&["blast", "--serve"], run.as_slice()].concat()).0, 0);
    assert!(file.exists());
    assert_eq!(said(&[&["blast", "127.0.0.1:0"], run.as_slice()].concat()).0, 2);
    assert!(!file.exists(), "the old report would be merged as part of this run");
}

#[test]
fn a_file_that_is_no_report_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("log.txt");
    std::fs::write(&file, "seed 5, 2 workers").expect("the folder can be written to");
    for (args, wanted) in [
        (vec!["merge", file.to_str().expect("the path is UTF-8")], "log.txt is not JSON"),
        (vec!["merge", "/no/such/file.json"], "/no/such/file.json"),
        (vec!["merge", folder.path().to_str().expect("the path is UTF-8")], "no *.json"),
        (vec!["merge"], "FILE"),
        (vec!["blast", "--shard", "0/2"], "same --seed"),
    ] {
        let (code, out, err) = said(&args);
        assert_eq!(code, 2, "{args:?}: {out}{err}");
        assert!(err.contains(wanted), "{args:?} should mention {wanted}: {err}");
    }
}

#[test]
fn bytes_that_belong_to_another_process_are_traced_to_it() {
    let server = Serving::start(&["--fault", "crosstalk:every=64KiB,len=64", "-q"]);
    let folder = tempfile::tempdir().expect("a folder can be made");
    // Each process has one connection, so the bytes of another connection are those of another process.
    let load = ["-c", "2", "--size", "4KiB", "--fragment", "off", "--duration", "3s"];
    let codes = blast_in_shards(&server.address, &load, 2, folder.path());
    assert!(codes.contains(&1), "{codes:?}");
    drop(server);
    let mut findings = 0;
    for index in [0, 1] {
        for finding in json(&folder.path().join(format!("{index}.json")))["loads"][0]["findings"]
            .as_array()
            .expect("the findings are a list")
        {
            let divergence = &finding["divergence"];
            assert_eq!(divergence["kind"], "crosstalk", "{finding}");
            assert_eq!((&divergence["conn"], &divergence["source"]["conn"]), (&index.into(), &(1 - index).into()));
            assert_eq!(finding["source_shard"], format!("{}/2", 1 - index));
            let both = format!("--only-conn {index},{}", 1 - index);
            assert!(finding["replay"].as_str().is_some_and(|replay| replay.ends_with(&both)), "{finding}");
            findings += 1;
        }
    }
    assert!(findings > 0);
    let (code, out, _) = said(&["merge", folder.path().to_str().expect("the path is UTF-8")]);
    assert_eq!(code, 1, "{out}");
    let flat = out.split_whitespace().collect::<Vec<_>>().join(" ");
    // The earliest findings are shown, whichever process found them, and each names the other process.
    let shown = [0, 1].map(|finder| {
        let count = |text: String| flat.matches(&text).count();
        let other = 1 - finder;
        let found = count(format!("connection {finder}: crosstalk"));
        let belongs = "which belongs to another process of the run";
        let traced = count(format!("of connection {other}, {belongs} (shard {other}/2)"));
        assert_eq!(found, traced, "{out}");
        found
    });
    assert!(shown.iter().sum::<usize>() > 0, "{out}");
}
