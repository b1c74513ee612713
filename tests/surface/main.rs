//! Everything that a user sees, as snapshots: help, manual, schemas, reports, errors with their exit codes. What
//! changes any of it shows itself as a diff, which is read and then taken over:
//!
//! `INSTA_UPDATE=always cargo test --test surface`
//!
//! What differs from run to run (ports, times, rates) is redacted (`redact`); what such numbers look like, and how
//! columns line up around them, is shown by `merge`, whose input is a file. On other systems the program's name ends in
//! .exe, or the system words its errors otherwise: one system is enough to see a change.
#![cfg(target_os = "linux")]

#[path = "../program/mod.rs"]
mod program;

mod errors;
mod findings;
mod merging;
mod pages;
mod redact;
mod reports;
mod scenario_errors;
mod serving;
mod shell;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Holds a text to the snapshot of this name.
fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Does the same with each of these, and fails after the last: one change is seldom seen in one place alone.
fn each<T: std::fmt::Debug>(all: impl IntoIterator<Item = T>, mut check: impl FnMut(&T)) {
    let mut failed = Vec::new();
    for one in all {
        if catch_unwind(AssertUnwindSafe(|| check(&one))).is_err() {
            failed.push(one);
        }
    }
    assert!(failed.is_empty(), "changed: {failed:?}");
}
