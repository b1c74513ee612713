//! How fast the engine and the servers are over the loopback, against a bare epoll client and a bare epoll pump: code
//! that does as little as can be done.
//!
//! ```text
//! cargo bench --bench loopback                                    # some six minutes
//! cargo bench --bench loopback -- --quick                         # under one
//! cargo bench --bench loopback -- --filter servers --json out.json
//! ```
//!
//! What keeps the figures honest: server and client are processes on a core each; all contestants of a load take turns,
//! round by round, and are compared within a round; the rate is what the kernel counted in a window in which nothing
//! opens or closes, and what the client said of itself stands beside it; CPU time is the kernel's too, and says who was
//! at his limit. Nothing here asserts anything: a machine that others use would make it lie.
//!
//! `cargo test` runs a moment of it, to see that it works.
//!
//! The whole name space's traffic counts, so nothing else may use the loopback meanwhile.

#[cfg(target_os = "linux")]
mod bare;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod pump;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod workload;

/// The roles in which this program starts itself.
#[cfg(target_os = "linux")]
const BARE_PUMP: &str = "bare-pump";
#[cfg(target_os = "linux")]
const BARE_CLIENT: &str = "bare-client";

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [BARE_PUMP] => pump::run(),
        [BARE_CLIENT, target, workload] => {
            bare::run(target.parse().map_err(std::io::Error::other)?, &serde_json::from_str(workload)?)
        }
        // Without cargo's word for a benchmark it is a test of the machinery, as `cargo test` wants it.
        _ if words.contains(&"--bench") => run::main(),
        _ => {
            let smoke = || run::smoke().map_err(|error| error.to_string().into());
            let tests = vec![libtest_mimic::Trial::test("each kind of contestant moves bytes and is counted", smoke)];
            libtest_mimic::run(&libtest_mimic::Arguments::from_args(), tests).exit();
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stderr(), "this benchmark reads the counters of Linux and compares with its epoll")
}
