//! The text for each kind of finding, and for each way in which bytes can be changed. The reports are made up, because
//! a real run has only a few kinds.

use serde_json::{Value, json};

use crate::shell::Folder;
use crate::snapshot;

/// What distinguishes each finding: keys of its divergence, and within `of` keys of the finding itself.
fn variants() -> Vec<Value> {
    let mut all = vec![
        json!({ "kind": "corrupt", "detail": { "bytes": 1, "bits": 1 } }),
        json!({ "kind": "corrupt", "detail": { "bytes": 3, "bits": 9 } }),
    ];
    for change in [
        "zero-filled",
        "mostly-zero",
        "constant-fill",
        "high-bit-stripped",
        "inverted",
        "upper-cased",
        "lower-cased",
        "lf-to-cr-lf",
        "cr-lf-to-lf",
        "cr-to-lf",
        "latin1-to-utf8",
        "utf8-replaced",
    ] {
        all.push(json!({ "kind": "corrupt", "detail": { "bytes": 5, "bits": 20, "looks_like": change } }));
    }
    let source = |conn: u32, open: bool| json!({ "conn": conn, "offset": 4096, "open": open });
    all.extend([
        json!({ "kind": "lost" }),
        json!({ "kind": "lost", "extent": 1 }),
        json!({ "kind": "lost", "extent": 1, "offset": 0 }),
        json!({ "kind": "duplicated" }),
        json!({ "kind": "duplicated", "source": source(7, true) }),
        json!({ "kind": "duplicated", "source": source(9, true) }),
        json!({ "kind": "reordered", "overtaken_by": 64 }),
        json!({ "kind": "crosstalk", "source": source(9, true) }),
        json!({ "kind": "crosstalk", "source": source(9, true), "replaced": 5 }),
        json!({ "kind": "crosstalk", "source": source(9, true), "replaced": 3 }),
        json!({ "kind": "crosstalk", "source": source(9, true), "of": { "source_shard": "1/4" } }),
        json!({ "kind": "stale", "source": source(7, true) }),
        json!({ "kind": "stale", "source": source(9, false), "replaced": 5 }),
        json!({ "kind": "stale", "source": source(9, false), "earlier": "3.4 resets in mid-stream" }),
        json!({ "kind": "truncated" }),
        json!({ "kind": "surplus" }),
        json!({ "kind": "surplus", "detail": { "bytes": 5, "bits": 0, "looks_like": "zero-filled" } }),
        json!({ "kind": "stalled" }),
        json!({ "kind": "reset", "of": { "cause": "Connection reset by peer" } }),
        json!({ "kind": "no-fin", "extent": 0 }),
        json!({ "kind": "too-slow" }),
        json!({ "kind": "stalled", "ending": ending(), "of": { "recent": history() } }),
        json!({ "kind": "connect-failed", "of": { "local": null, "cause": "Connection refused" } }),
        json!({ "kind": "corrupt", "expected": "00112233", "received": "0011ff33", "excerpt_offset": 98 }),
        json!({ "kind": "lost", "expected": "000102030405060708090a0b0c0d0e0f1011", "received": "000102" }),
    ]);
    all
}

/// How a connection ended.
fn ending() -> Value {
    json!({
        "by": "fin", "own_fin_ms": 0.4, "probed": true, "silent_ms": 10000.0, "received_after_fin": 0,
        "writes_blocked": true, "sent": 105, "received": 100,
    })
}

/// One operation of each kind.
fn history() -> Value {
    let op = |kind: &str, len: u64, at_ms: f64| json!({ "kind": kind, "offset": 100, "len": len, "at_ms": at_ms });
    json!([
        op("write", 5, 1.0),
        op("read", 5, 2.0),
        op("stood-still", 6100, 3.0),
        op("half-close", 0, 4.0),
        op("probe", 0, 5.0),
    ])
}

/// A finding with these keys.
fn finding(index: usize, variant: Value) -> Value {
    let mut divergence = json!({
        "conn": 7, "offset": 100, "extent": 5, "excerpt_offset": 100, "expected": "", "received": "",
    });
    let mut finding = json!({ "local": "127.0.0.1:40001", "remote": "127.0.0.1:7777", "at_ms": index });
    let Value::Object(keys) = variant else { unreachable!("every variant is an object") };
    for (key, value) in keys {
        match value {
            Value::Object(of) if key == "of" => of.into_iter().for_each(|(key, value)| finding[key] = value),
            value => divergence[key] = value,
        }
    }
    // Each is of a connection of its own: of one, the text shows a single finding of a kind.
    let own = 100 * (index + 1) + 7;
    divergence["conn"] = own.into();
    if divergence["source"]["conn"] == 7 {
        divergence["source"]["conn"] = own.into();
    }
    finding["divergence"] = divergence;
    finding
}

#[test]
fn every_kind_of_finding() {
    let mut report: Value = serde_json::from_str(include_str!("fixtures/churn.json")).expect("the fixture is JSON");
    let mut counts = json!({});
    let mut findings = Vec::new();
    for (index, variant) in variants().into_iter().enumerate() {
        let kind = variant["kind"].as_str().expect("the kind is a string").to_owned();
        counts[&kind] = json!(counts[&kind].as_u64().unwrap_or(0) + 1);
        findings.push(finding(index, variant));
    }
    for row in echo_tester::stream::FINDING_KINDS {
        assert!(counts.get(row.name).is_some(), "{} is not shown", row.name);
    }
    report["loads"][0]["findings"] = findings.into();
    report["loads"][0]["counters"]["findings"] = counts.clone();
    report["total"]["findings"] = counts;
    let folder = Folder::with(&[("findings.json", &report.to_string())]);
    snapshot("findings", &folder.said("merge findings.json --findings 100"));
}
