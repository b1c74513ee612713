//! Everything that a user sees, as snapshots: help, manual, schemas, reports, and errors with their exit codes. A
//! change to any of it appears as a diff. Accept it with this command, then read the diff:
//!
//! `INSTA_UPDATE=always cargo test --test surface`
//!
//! `redact` removes whatever differs from run to run: ports, times, rates. The form of such numbers and the alignment
//! of their columns is covered by `merge`, whose input is a file. The tests run on Linux only: elsewhere the program's
//! name ends in .exe or the system words its errors differently, and one system is enough to see a change.
#![cfg(target_os = "linux")]

#[path = "../program/mod.rs"]
mod program;

mod completions;
mod errors;
mod findings;
mod merging;
mod mistakes;
mod pages;
mod redact;
mod rendering;
mod reports;
mod scenario_errors;
mod serving;
mod shell;
mod version;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Compares a text with the snapshot of this name.
fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Checks every item and fails after the last one, because a change often shows in several places.
fn each<T: std::fmt::Debug>(all: impl IntoIterator<Item = T>, mut check: impl FnMut(&T)) {
    let mut failed = Vec::new();
    for one in all {
        if catch_unwind(AssertUnwindSafe(|| check(&one))).is_err() {
            failed.push(one);
        }
    }
    assert!(failed.is_empty(), "changed: {failed:?}");
}
