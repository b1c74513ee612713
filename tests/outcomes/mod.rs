//! What a report of a suite says of its cases.

use serde_json::Value;

/// The ids of the cases with this outcome.
pub(crate) fn ids<'r>(report: &'r Value, outcome: &str) -> Vec<&'r str> {
    let cases = report["cases"].as_array().expect("a report has cases");
    let of_outcome = cases.iter().filter(|case| case["outcome"] == outcome);
    of_outcome.map(|case| case["id"].as_str().expect("a case has an id")).collect()
}

/// What was wrong in each case, for a test that fails.
pub(crate) fn reasons(report: &Value) -> String {
    let cases = report["cases"].as_array().expect("a report has cases");
    cases.iter().map(|case| format!("{} {}: {}\n", case["id"], case["outcome"], case["reasons"])).collect()
}
