//! A machine whose clock is set while a run is going on, by an hour forth and back many times a second: worse than any
//! time server. Durations, time-outs and round trips come from the monotonic clock, so the run does not notice.
//!
//! The clock is that of the program alone: a library that is loaded before the system's answers for it (ld.so(8),
//! LD_PRELOAD). It is made by the C compiler that Rust links with; without one the test says so and tests nothing.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use program::text;
use serde_json::Value;

#[expect(dead_code, reason = "other tests run the program with the right clock")]
mod program;

const STEPS: &str = "
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    struct timespec since_boot;
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME && result == 0) {
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &since_boot);
        now->tv_sec += since_boot.tv_nsec / 70000000 % 2 ? 3600 : -3600;
    }
    return result;
}
";

/// Makes the library. `None`: there is no compiler.
fn stepping_clock(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("steps.c"), folder.join("steps.so"));
    std::fs::write(&source, STEPS).expect("the folder can be written to");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    if made.is_ok_and(|status| status.success()) {
        return Some(library);
    }
    let _ = writeln!(std::io::stderr(), "SKIPPED: no C compiler makes a library here");
    None
}

/// Runs the program with the stepping clock, and returns its report and its exit code.
fn report(clock: &Path, args: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo-tester"));
    command.args(args).env("LD_PRELOAD", clock);
    let output = command.output().expect("the program starts");
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    (output.status.code(), report)
}

#[test]
fn the_clock_is_another_one_for_the_program() {
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let Some(clock) = stepping_clock(folder.path()) else { return };
    let seconds = |clock: &Path| -> i64 {
        let output =
            Command::new("date").arg("+%s").env("LD_PRELOAD", clock).output().expect("coreutils are installed");
        text(&output.stdout).trim().parse().expect("seconds")
    };
    let (right, stepped) = (seconds(Path::new("")), seconds(&clock));
    assert!((stepped - right).abs() > 3500, "{right} {stepped}");
}

#[test]
fn steps_of_the_clock_change_no_verdict_no_duration_and_no_round_trip() {
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let Some(clock) = stepping_clock(folder.path()) else { return };
    let load = ["blast", "--serve", "--conns", "4", "--duration", "3s", "--rate", "200", "--size", "1..4KiB"];
    let (code, blast) = report(&clock, &[&load[..], &["--json", "-q"]].concat());
    assert_eq!(code, Some(0), "{}", blast["verdict"]);
    let elapsed = blast["elapsed_s"].as_f64().expect("a report has its time");
    // A step would add an hour, or take one away.
    assert!((3.0..600.0).contains(&elapsed), "{elapsed}");
    for figure in ["rtt", "first_byte", "connect", "sent_after_due"] {
        let most = blast["loads"][0][figure]["max_ns"].as_u64();
        assert!(most.is_some_and(|most| most < 600_000_000_000), "{figure}: {most:?}");
    }
    let (code, check) = report(&clock, &["check", "--model", "epoll", "--filter", "3.2", "--json", "-q"]);
    assert_eq!(code, Some(0), "{}", check["verdict"]);
}
