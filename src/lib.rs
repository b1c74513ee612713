//! `echo-tester` finds out whether a TCP server, or whatever stands in front of one, carries a byte stream faithfully.
//!
//! The arrows go one way. Nothing to the left knows of anything to its right, and only [`cmd`] sees everything:
//!
//! ```text
//!   bytes ◄── plan ◄── client ──► measure ──► verdict ──► report
//!               ▲                                            ▲
//!             config ◄── scenario                            │
//!                                                           cmd
//!   units: quantities as people write them, a leaf that all may use
//!   sys ◄── server (never imports bytes: a server that knew the pattern could hide its own bug)
//! ```
//!
//! `bytes`, `plan`, `measure` and `verdict` do no I/O and read no clock. `unsafe` stands in `sys` and `server::models`
//! alone.

pub mod bytes;
pub mod cli;
pub mod client;
pub mod cmd;
pub mod config;
pub mod exit;
pub mod measure;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod server;
pub mod sys;
pub mod units;
pub mod verdict;
