//! Scenario files: a server, the load groups that run against it at the same time, and what is expected of them.
//!
//! - [`mod@file`]: the TOML, on the structs that the flags use too, and its errors with their place;
//! - [`threshold`]: expressions over named figures;
//! - [`conformance`]: the files that are embedded for `check`.
//!
//! Nothing here runs anything: `cmd::case` does.

pub mod conformance;
pub mod file;
pub mod threshold;

pub use file::{Expected, Scenario};
pub use threshold::Threshold;
