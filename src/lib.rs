//! `echo-tester` finds out whether a TCP server, or whatever stands in front of one, carries a byte stream faithfully.
//!
//! The rooms, from the bottom up. An arrow means 'imports', and arrows only point up this list; `tests/tidy/layers.rs`
//! holds the exact table and fails when it is broken.
//!
//! ```text
//!   exit, units, random         leaves: exit codes · quantities in text · numbers from a seed
//!   sync, sys                   leaves: locks · system calls that differ between systems
//!   failure, interrupt          errors that know their exit code · Ctrl-C
//!   stream                      the expected bytes, and the kinds of mismatch
//!   plan, measure               the steps of one connection · measurements
//!   transport                   what is said to proxies before a stream begins
//!   relay                       the backend on another machine: carries connections to the tester
//!   judge                       measurements → verdict → exit code
//!   server                      the echo servers (never imports stream: it could hide its own bug)
//!   config                      flags, keys and variables → complete, valid values
//!   client                      the engine
//!   peer                        the backend of a proxy, where both ends are ours
//!   scenario                    TOML → cases
//!   report                      results → terminal, JSON, JUnit, Markdown, HTML, CSV
//!   output, target              destinations of results · servers that a run starts
//!   runner                      one run, one case, a suite
//!   command                     one file per subcommand
//!   cli                         the command line
//! ```
//!
//! `stream`, `plan`, `measure` and `judge` do no I/O and read no clock. `unsafe` stands in `sys`, `server::models`,
//! `server::completion` and the event loop of `server::readiness` alone.

pub mod cli;
pub mod client;
pub mod command;
pub mod config;
pub mod exit;
mod failure;
mod interrupt;
pub mod judge;
pub mod measure;
mod output;
pub mod peer;
pub mod plan;
pub mod random;
pub mod relay;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod server;
pub mod stream;
mod sync;
pub mod sys;
pub mod target;
pub mod transport;
pub mod units;
