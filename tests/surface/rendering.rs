//! `report`: earlier results, rendered again, and its answers to files that are no result.

use crate::shell::Folder;
use crate::{redact, snapshot};

const SHARD: &str = include_str!("fixtures/shard-0.json");
const CHURN: &str = include_str!("fixtures/churn.json");

#[test]
fn earlier_results_as_text_and_in_files() {
    let folder = Folder::with(&[("churn.json", CHURN), ("0.json", SHARD)]);
    let said = folder.session(
        "report churn.json
         report churn.json --markdown
         report churn.json --html page.html --junit churn.xml
         report 0.json",
    );
    snapshot("report", &redact::versionless(&said));
    let page = redact::versionless(&folder.read("page.html"));
    snapshot("report-html", &page.replace("><", ">\n<"));
    assert_eq!(folder.ran("report churn.json --html").lines().count(), folder.read("page.html").lines().count() + 2);
    // The fixture is older than the fields that a page shows: what it does not say is left out.
    assert!(page.contains("<dt>seed</dt>") && !page.contains("<dt>ran on</dt>"), "{page}");
}

#[test]
fn files_that_are_no_result() {
    let of_run = |from: &str, to: &str| {
        assert!(SHARD.contains(from), "the report contains {from}");
        SHARD.replace(from, to)
    };
    let twice = format!("{SHARD}{SHARD}");
    let changed = [
        ("newer.json", of_run("echo-tester/run/1", "echo-tester/run/99")),
        ("other.json", of_run("echo-tester/run/1", "other/run/1")),
        ("formless.json", "{}".to_owned()),
        ("keyless.json", "{\"form\": \"echo-tester/suite/1\"}".to_owned()),
        ("empty.json", String::new()),
        ("cut.json", SHARD[..100].to_owned()),
        ("words.json", "nothing listens".to_owned()),
        ("twice.json", twice),
        ("run.json", SHARD.to_owned()),
    ];
    let files: Vec<(&str, &str)> = changed.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let lines = "report
                 report none.json
                 report -
                 report newer.json
                 report other.json
                 report formless.json
                 report keyless.json
                 report empty.json
                 report cut.json
                 report words.json
                 report twice.json
                 report run.json --csv
                 report run.json --html --junit
                 report run.json --html none/page.html
                 report --html run.json";
    snapshot("errors-report", &redact::versionless(&Folder::with(&files).session(lines)));
}
