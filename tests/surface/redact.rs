//! Replaces the parts of a text that differ from run to run: addresses, dates, times, rates, and the line breaks that
//! depend on them. Counts stay, because the loads of these tests are too small for them to vary.

use std::borrow::Cow;

use regex::{Captures, Regex};
use serde_json::Value;

/// Patterns and their replacements, applied in this order.
const VOLATILE: &[(&str, &str)] = &[
    (r"\b127\.\d+\.\d+\.\d+:\d+", "[address]"),
    (r"\b\d{4}-\d\d-\d\dT[0-9:.]+Z", "[moment]"),
    (r#"(\btime)="[0-9.]+""#, r#"$1="[seconds]""#),
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\b", "[moment]"),
    (r"(<dt>ran on</dt>\s*<dd>)[^<]*", "$1[machine]"),
    // The drawings of a run that was long enough for them.
    (r#"(?s)<h3>Over time</h3>.*?</section>\n?"#, ""),
    (r#"(?s)<figure class="plot">.*?</figure>\n?"#, ""),
    // What the server's processes used.
    (r"(?m)^server peak .*\n", ""),
    (r"\b\d[0-9,]*(\.\d+)?( [KMGT]?i?B)?/s", "[rate]"),
    (r"\b\d[0-9,]* round trips/s", "[number] round trips/s"),
    (r"\b\d[0-9,]* messages/s", "[number] messages/s"),
    (r"\bmachine has [\d,]+ MiB", "machine has [number] MiB"),
    (r"\b\d[0-9,]*(\.\d+)? %", "[percent]"),
    (r"\b\d[0-9,]*(\.\d+)? (ns|µs|ms|s|m|min)\b", "[time]"),
    // Columns are as wide as their widest figure.
    (r"(\S) {2,}", "$1  "),
];

/// The line of a bundled server that drains, in JSON, HTML, JUnit, Markdown and plain text. It is printed only if the
/// last connection is still open when the server is told to stop, so it is removed.
const DRAINING: &[(&str, &str)] = &[
    (r#"\[\s*"DRAINING"\s*\]"#, "[]"),
    (r#",\s*"DRAINING""#, ""),
    (r#"<h4>The server said</h4>\n?<pre class="text">DRAINING</pre>\n?"#, ""),
    (r"(<testcase [^>]*)>\s*<system-out>DRAINING</system-out>\s*</testcase>", "$1/>"),
    (r"\s*<system-out>DRAINING</system-out>", ""),
    (r"\nThe server said:\n\n```text\nDRAINING\n```\n", ""),
    (r"\n\(stderr\)\nDRAINING(\n\(exit code)", "$1"),
    (r"\nDRAINING", ""),
];

/// Like [`VOLATILE`], for JSON reports with one key per line and for the JSON lines of a server.
const VOLATILE_JSON: &[(&str, &str)] = &[
    (r#"("\w+_ns": )(\d+|null)"#, "$1[ns]"),
    (r#"("hdr": )"[^"]*""#, r#"$1"[histogram]""#),
    (r#",\s*"trips": "[^"]*""#, ""),
    (r#",\s*"stood_still_ms": [^,\n]*"#, ""),
    // Whether a run was long enough to tell depends on the machine.
    (r#"("busy": )\[[^\]]*\]"#, "$1[[parts]]"),
    (r#"("host": )("[^"]*"|null)"#, r#"$1"[host]""#),
    (r#"("cores": )(\d+|null)"#, "$1[number]"),
    (r#"("system": )"[^"]*""#, r#"$1"[system]""#),
    (r#"("(kernel|processor)": )("[^"]*"|null)"#, r#"$1"[$2]""#),
    (r#"("(was_bottleneck|machine_was_full|client_was_bottleneck)": )(true|false|null|\d+)"#, "$1[unsure]"),
    (r#"("(peak_memory_bytes|memory_before_bytes|reads)": )(\d+|null)"#, "$1[number]"),
    (
        r#"("(cpu_s|cpu_seconds|server_cpu_s|client_cpu_s|stood_still_s|starved_s|tcp_memory_short_s|stolen_s|pid)": ?)(null|[0-9.e-]+)"#,
        "$1[number]",
    ),
    (r"(?m)([ \[])-?\d+(\.\d+)?(e-?\d+|\.\d+)(,?)$", "$1[number]$4"),
];

fn replace_all(text: &str, patterns: &[(&str, &str)]) -> String {
    patterns.iter().fold(text.to_owned(), |text, (pattern, with)| {
        let pattern = Regex::new(pattern).expect("the pattern is valid");
        pattern.replace_all(&text, *with).into_owned()
    })
}

/// Redacts a text for people, or a report in a format other than JSON.
pub(crate) fn text(text: &str) -> String {
    replace_all(&unbroken(&without_remarks(&versionless(text))), VOLATILE)
}

/// Redacts a report in JSON.
pub(crate) fn json(text: &str) -> String {
    let text = without_usage(&without_remarks(&versionless(&first_points(text))));
    replace_all(&replace_all(&text, VOLATILE_JSON), VOLATILE)
}

/// Removes what the processes of server and client used, which differs from run to run and from system to system.
fn without_usage(text: &str) -> String {
    let mut kept = String::new();
    let mut end: Option<String> = None;
    for line in text.split_inclusive('\n') {
        let starts = ["\"server_usage\": {\n", "\"usage\": {\n"];
        if let Some(indent) = starts.iter().find_map(|start| line.strip_suffix(start)) {
            end = Some(format!("{indent}}}"));
        }
        match &end {
            None => kept.push_str(line),
            Some(last) if line.starts_with(last.as_str()) => end = None,
            Some(_) => {}
        }
    }
    kept
}

/// Removes the notes about a busy machine, which depend on its other work (`merging` covers them), those about threads
/// that a server pools, and the line of a server that drains.
fn without_remarks(text: &str) -> String {
    let whose = "the client was the bottleneck|client and server together left|the client had no time|the machine had \
                 no|the server has|the system calls could";
    let notes = format!(r"(?m)^note: ({whose})[^\n]*\n(  [^\n]*\n)*\n?");
    let mut text = Regex::new(&notes).expect("the pattern is valid").replace_all(text, "").into_owned();
    for (pattern, with) in DRAINING {
        let pattern = pattern.replace("DRAINING", "draining 1 connection for up to 5s; Ctrl-C again to abort");
        text = replace_all(&text, &[(&pattern, with)]);
    }
    text
}

/// Keeps only the first point of a timeline, without its figures, because the number of points depends on time.
fn first_points(text: &str) -> String {
    let points = Regex::new(r#"(?s)("points": \[\s*\{)(\s*"opened"[^}]*\})[^\]]*\]"#).expect("the pattern is valid");
    let figure = Regex::new(r": \d+").expect("the pattern is valid");
    let first = |found: &Captures<'_>| format!("{}{}]", &found[1], figure.replace_all(&found[2], ": [number]"));
    points.replace_all(text, first).into_owned()
}

/// Redacts the figures of a comparison in comma-separated values; what it is and how it ended stays.
pub(crate) fn csv(text: &str) -> String {
    /// The axis, its value, the server, the round and the outcome.
    const KEPT: usize = 5;
    let redacted = |line: &str| {
        let figure = |(index, cell): (usize, &str)| if index < KEPT { cell.to_owned() } else { "[figure]".to_owned() };
        line.trim_end().split(',').enumerate().map(figure).collect::<Vec<_>>().join(",")
    };
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default().trim_end().to_owned();
    std::iter::once(header).chain(lines.map(redacted)).collect::<Vec<_>>().join("\n")
}

/// Redacts the figures of a comparison in tables for people, by the names of its servers.
pub(crate) fn tables(text: &str, servers: &str) -> String {
    let row = Regex::new(&format!(r"(?m)^((?:\| )?(?:{servers})\b)(.*)$")).expect("the pattern is valid");
    let figure = Regex::new(r"\[\w+\]|\d[0-9.,–]*( [KMG]?i?B)?|–").expect("the pattern is valid");
    let redacted = |found: &Captures<'_>| format!("{}{}", &found[1], figure.replace_all(&found[2], "[figure]"));
    row.replace_all(&self::text(text), redacted).into_owned()
}

/// Redacts the figures of a comparison in JSON.
pub(crate) fn comparison(text: &str) -> String {
    let mut report: Value = serde_json::from_str(text).expect("the report is JSON");
    redact_figures(&mut report);
    json(&serde_json::to_string_pretty(&report).expect("a value is JSON"))
}

fn redact_figures(value: &mut Value) {
    /// Keys whose values differ from run to run or from machine to machine, if they are known there at all.
    const VOLATILE_KEYS: [&str; 7] =
        ["server_cpu_s", "client_cpu_s", "client_was_bottleneck", "machine_was_full", "elapsed_s", "cores", "pinned"];
    match value {
        Value::Array(items) => items.iter_mut().for_each(redact_figures),
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                match value {
                    Value::Object(figures) if key == "figures" => {
                        figures.values_mut().for_each(|figure| *figure = "[figure]".into());
                    }
                    Value::Object(_) if key == "ratio" => *value = "[ratio]".into(),
                    _ if VOLATILE_KEYS.contains(&key.as_str()) => *value = "[unsure]".into(),
                    value => redact_figures(value),
                }
            }
        }
        _ => {}
    }
}

/// Joins the lines of each paragraph whose line breaks depend on its figures: findings, and the list of operations
/// before them.
fn unbroken(text: &str) -> String {
    let mut lines: Vec<Cow<'_, str>> = Vec::new();
    // The indentation of the paragraph that the next line may belong to.
    let mut paragraph: Option<usize> = None;
    for line in text.lines() {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        let begins = words.starts_with("before it: ") || is_finding(words) || is_sum_of_kind(words);
        let is_dump = ["hex dump from", "expected ", "received ", "^"].iter().any(|begin| words.starts_with(begin));
        match (paragraph, lines.last_mut()) {
            (Some(above), Some(last))
                if !begins && !is_dump && indent >= above && !words.is_empty() && !words.starts_with("replay:") =>
            {
                last.to_mut().push(' ');
                last.to_mut().push_str(words);
            }
            _ => {
                lines.push(line.into());
                let indent = if is_finding(words) { indent + 1 } else { indent };
                paragraph = begins.then_some(indent);
            }
        }
    }
    lines.join("\n")
}

/// Whether a line sums up the findings of a kind: `4 × corrupt on 2 of 4 connections`.
fn is_sum_of_kind(words: &str) -> bool {
    Regex::new(r"^(.*<pre>)?[0-9,]+ × [a-z-]+ on ").expect("the pattern is valid").is_match(words)
}

/// Whether a line is the first of a finding, such as `connection 0: corrupt at offset 10`. In HTML it follows `<pre>`.
fn is_finding(words: &str) -> bool {
    let words = words.rsplit_once("<pre>").map_or(words, |(_, words)| words);
    words.strip_prefix("connection ").is_some_and(|words| words.starts_with(|c: char| c.is_ascii_digit()))
}

/// Redacts only the version of the program, which changes with the next release, and how it was built.
pub(crate) fn versionless(text: &str) -> String {
    let build = Regex::new(r"(echo-tester \[version\]) \([^)]*\)").expect("the pattern is valid");
    build.replace_all(&text.replace(env!("CARGO_PKG_VERSION"), "[version]"), "$1").into_owned()
}
