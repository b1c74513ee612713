//! `merge`: its input are files, so its output is the same in every run. And its answers to files that are not parts of
//! one run.

use crate::shell::Folder;
use crate::{redact, snapshot};

const FIRST: &str = include_str!("fixtures/shard-0.json");
const SECOND: &str = include_str!("fixtures/shard-1.json");
/// A run with a bundled server, an open loop, and connections that are replaced when they end.
const CHURN: &str = include_str!("fixtures/churn.json");

fn folder() -> Folder {
    Folder::with(&[("0.json", FIRST), ("1.json", SECOND), ("churn.json", CHURN)])
}

#[test]
fn merged_reports_as_text() {
    let lines = "merge 0.json 1.json
                 merge 0.json
                 merge 0.json --partial
                 merge 0.json 1.json --findings 1
                 merge churn.json";
    snapshot("merge", &folder().session(lines));
}

#[test]
fn merged_reports_in_files() {
    let folder = folder();
    let said = folder.said("merge 0.json 1.json --json=sum.json -o sum.txt");
    let json = redact::versionless(&folder.read("sum.json"));
    snapshot("merge-json", &format!("{said}\nsum.json:\n{json}"));
    let text = folder.read("sum.txt").replace("reports: sum.json\n", "");
    assert!(folder.said("merge 0.json 1.json").contains(text.trim_end()), "{text}");
}

/// Every remark that explains the figures, each in a report that needs it.
#[test]
fn remarks() {
    let of_churn = |pairs: &[(&str, &str)]| {
        pairs.iter().fold(CHURN.to_owned(), |report, (from, to)| {
            assert!(report.contains(from), "the report contains {from}");
            report.replace(from, to)
        })
    };
    let changed = [
        ("busy.json", of_churn(&[("\"was_bottleneck\": false", "\"was_bottleneck\": true")])),
        (
            "overload.json",
            of_churn(&[
                ("\"was_bottleneck\": false", "\"was_bottleneck\": true"),
                ("\"saturated\": false", "\"saturated\": true"),
            ]),
        ),
        (
            "overfull.json",
            of_churn(&[
                ("\"machine_was_full\": null", "\"machine_was_full\": true"),
                ("\"saturated\": false", "\"saturated\": true"),
            ]),
        ),
        ("never-due.json", of_churn(&[("\"first_due_s\": 0.051779092", "\"first_due_s\": null")])),
        ("full.json", of_churn(&[("\"machine_was_full\": null", "\"machine_was_full\": true")])),
        ("saturated.json", of_churn(&[("\"saturated\": false", "\"saturated\": true")])),
        (
            "unsent.json",
            of_churn(&[("\"saturated\": false", "\"saturated\": true"), ("\"unsent\": 0", "\"unsent\": 9")]),
        ),
        ("ports.json", of_churn(&[("\"port_shortages\": 0", "\"port_shortages\": 3")])),
        ("resources.json", of_churn(&[("\"resource_shortages\": 0", "\"resource_shortages\": 3")])),
        ("not-opened.json", of_churn(&[("\"not_opened\": 0", "\"not_opened\": 3")])),
        ("ids.json", of_churn(&[("\"out_of_ids\": 0", "\"out_of_ids\": 3")])),
        ("late.json", of_churn(&[("\"not_in_time\": 0", "\"not_in_time\": 3")])),
        ("cut.json", of_churn(&[("\"cut_short\": 0", "\"cut_short\": 3")])),
        ("nothing.json", of_churn(&[("\"bytes_verified\": 71680", "\"bytes_verified\": 0")])),
        ("interrupted.json", of_churn(&[("\"interrupted\": false", "\"interrupted\": true")])),
        ("unverified.json", of_churn(&[("\"verify\": \"full\"", "\"verify\": \"off\"")])),
    ];
    let files: Vec<(&str, &str)> = changed.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let lines: Vec<String> = changed.iter().map(|(name, _)| format!("merge {name}")).collect();
    let said = Folder::with(&files).session(&lines.join("\n"));
    // The tables of latencies are the same in all of them.
    let is_latency =
        |line: &&str| ["round trip", "first byte", "connect ", "      "].iter().any(|begin| line.starts_with(begin));
    snapshot("merge-remarks", &said.lines().filter(|line| !is_latency(line)).collect::<Vec<_>>().join("\n"));
}

#[test]
fn reports_that_cannot_be_merged() {
    let of_run = |from: &str, to: &str| {
        assert!(SECOND.contains(from), "the report contains {from}");
        SECOND.replace(from, to)
    };
    let changed = [
        ("seed.json", of_run("\"seed\": \"7\"", "\"seed\": \"8\"")),
        ("load.json", of_run("\"conns\": 4", "\"conns\": 5")),
        ("groups.json", SECOND.replacen("\"loads\": [", "\"loads\": [], \"others\": [", 1)),
        ("count.json", of_run("1/2", "1/3")),
        ("shard.json", of_run("1/2", "1 of 2")),
        ("moment.json", of_run("\"started_at\": \"20", "\"started_at\": \"x20")),
        ("newer.json", of_run("echo-tester/run/1", "echo-tester/run/99")),
        ("other.json", of_run("echo-tester/run/1", "echo-tester/suite/1")),
        ("formless.json", "{}".to_owned()),
        ("keyless.json", "{\"form\": \"echo-tester/run/1\"}".to_owned()),
        ("empty.json", String::new()),
        ("cut.json", SECOND[..100].to_owned()),
        ("words.json", "nothing listens".to_owned()),
        ("histogram.json", of_run("\"hdr\": \"HIST", "\"hdr\": \"LOST")),
        ("interval.json", of_run("\"interval_ms\": 100", "\"interval_ms\": 0")),
        ("years.json", of_run("\"started_at\": \"2026", "\"started_at\": \"2025")),
        ("keys.json", of_run("        \"bytes\": null,\n", "")),
        ("folder/file.txt", String::new()),
    ];
    let mut files: Vec<(&str, &str)> = vec![("0.json", FIRST), ("1.json", SECOND)];
    files.extend(changed.iter().map(|(name, text)| (*name, text.as_str())));
    let folder = Folder::with(&files);
    let mut lines = "merge none.json
                     merge folder
                     merge 0.json 0.json
                     merge -"
        .to_owned();
    for (name, _) in &changed[..changed.len() - 1] {
        lines.push_str(&format!("\nmerge 0.json {name} -q"));
    }
    snapshot("errors-merge", &redact::versionless(&folder.session(&lines)));
}
