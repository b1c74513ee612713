//! What differs from run to run is taken out of texts: addresses, moments, times, rates, and where lines break because
//! of them. Counts stay: the loads of these tests are so small that they are always the same.

use std::borrow::Cow;

use regex::{Captures, Regex};

/// Patterns of what differs, and what stands for it; the first that fits goes first.
const VOLATILE: &[(&str, &str)] = &[
    (r"\b127\.\d+\.\d+\.\d+:\d+", "[address]"),
    (r"\b\d{4}-\d\d-\d\dT[0-9:.]+Z", "[moment]"),
    (r#"(\btime)="[0-9.]+""#, r#"$1="[seconds]""#),
    (r#"(<path class="\w+" d)="[^"]*""#, r#"$1="[curve]""#),
    (r"\b\d[0-9,]*(\.\d+)?( [KMGT]?i?B)?/s", "[rate]"),
    (r"\b\d[0-9,]* round trips/s", "[number] round trips/s"),
    (r"\bhere are \d+ MiB", "here are [number] MiB"),
    (r"\b\d[0-9,]*(\.\d+)? %", "[percent]"),
    (r"\b\d[0-9,]*(\.\d+)? (ns|µs|ms|s|m|min)\b", "[time]"),
    // The ratio, the last column of a comparison.
    (r"(?m)(\[time\]\s+)\d+\.\d\d$", "$1[ratio]"),
    (r"(\[time\] \| )\d+\.\d\d \|", "$1[ratio] |"),
    // Columns are as wide as their widest figure.
    (r"(\S) {2,}", "$1  "),
];

/// What a bundled server says when it is told to end, or does not say: its last connection may have gone by then. In
/// JSON, HTML, JUnit, Markdown, and as a line.
const DRAINING: &[(&str, &str)] = &[
    (r#"\[\s*"DRAINING"\s*\]"#, "[]"),
    (r#",\s*"DRAINING""#, ""),
    (r"<h4>The server said</h4>\n?<pre>DRAINING</pre>\n?", ""),
    (r"(<testcase [^>]*)>\s*<system-out>DRAINING</system-out>\s*</testcase>", "$1/>"),
    (r"\s*<system-out>DRAINING</system-out>", ""),
    (r"\nThe server said:\n\n```text\nDRAINING\n```\n", ""),
    (r"\n\(stderr\)\nDRAINING(\n\(exit code)", "$1"),
    (r"\nDRAINING", ""),
];

/// The same in reports as JSON, a key a line, and in the lines of a server.
const VOLATILE_JSON: &[(&str, &str)] = &[
    (r#"("\w+_ns": )(\d+|null)"#, "$1[ns]"),
    (r#"("hdr": )"[^"]*""#, r#"$1"[histogram]""#),
    (r#"("(was_bottleneck|machine_was_full|client_was_bottleneck)": )(true|false|null|\d+)"#, "$1[unsure]"),
    (r#"("(peak_memory_bytes|memory_before_bytes|reads)": )(\d+|null)"#, "$1[number]"),
    (r#"("(cpu_s|cpu_seconds|server_cpu_s|client_cpu_s|pid)": ?)(null|[0-9.e-]+)"#, "$1[number]"),
    (r"(?m)([ \[])-?\d+(\.\d+)?(e-?\d+|\.\d+)(,?)$", "$1[number]$4"),
];

fn replace_all(text: &str, patterns: &[(&str, &str)]) -> String {
    patterns.iter().fold(text.to_owned(), |text, (pattern, with)| {
        let pattern = Regex::new(pattern).expect("a pattern");
        pattern.replace_all(&text, *with).into_owned()
    })
}

/// A text for people, or a document of a report.
pub(crate) fn text(text: &str) -> String {
    replace_all(&unbroken(&without_remarks(&versionless(text))), VOLATILE)
}

/// A report as JSON.
pub(crate) fn json(text: &str) -> String {
    let text = without_remarks(&versionless(&first_points(text)));
    replace_all(&replace_all(&text, VOLATILE_JSON), VOLATILE)
}

/// What is said of a busy machine is a matter of its other work (`merging` has these notes); and what a server says of
/// its last connection one of chance.
fn without_remarks(text: &str) -> String {
    let whose =
        "the client was the bottleneck|client and server together left|the client had no time|the machine had no";
    let notes = format!(r"(?m)^note: ({whose})[^\n]*\n(  [^\n]*\n)*\n?");
    let mut text = Regex::new(&notes).expect("a pattern").replace_all(text, "").into_owned();
    for (pattern, with) in DRAINING {
        let pattern = pattern.replace("DRAINING", "draining 1 connection for up to 5s; Ctrl-C again to abort");
        text = replace_all(&text, &[(&pattern, with)]);
    }
    text
}

/// Of a timeline its first point, without its figures: how many there are is a matter of time.
fn first_points(text: &str) -> String {
    let points = Regex::new(r#"(?s)("points": \[\s*\{)([^}]*\})[^\]]*\]"#).expect("a pattern");
    let figure = Regex::new(r": \d+").expect("a pattern");
    let first = |found: &Captures<'_>| format!("{}{}]", &found[1], figure.replace_all(&found[2], ": [number]"));
    points.replace_all(text, first).into_owned()
}

/// Comma-separated values: the words stay.
pub(crate) fn csv(text: &str) -> String {
    let number = Regex::new(r"(,)(-?\d+\.\d+(e-?\d+)?|\d{3,}|true|false)\b").expect("a pattern");
    let unsure = Regex::new(r"(?m),(true|false)?$").expect("a pattern");
    unsure.replace_all(&number.replace_all(text, "$1[figure]"), ",[unsure]").into_owned()
}

/// Paragraphs whose lines break where their figures let them, each as one line: findings, and what was done before
/// them.
fn unbroken(text: &str) -> String {
    let mut lines: Vec<Cow<'_, str>> = Vec::new();
    // How far the paragraph is indented that the next line may belong to.
    let mut paragraph: Option<usize> = None;
    for line in text.lines() {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        let begins = words.starts_with("before it: ") || is_finding(words);
        let is_dump = [" expected ", " received "].iter().any(|word| words.contains(word)) || words.starts_with('^');
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

/// A line such as `connection 0: corrupt at offset 10`, which in HTML begins its element.
fn is_finding(words: &str) -> bool {
    let words = words.rsplit_once("<pre>").map_or(words, |(_, words)| words);
    words.strip_prefix("connection ").is_some_and(|words| words.starts_with(|c: char| c.is_ascii_digit()))
}

/// A text of which nothing else differs: the version is that of the next release some day.
pub(crate) fn versionless(text: &str) -> String {
    text.replace(env!("CARGO_PKG_VERSION"), "[version]")
}
