//! All that turns a measured run into a verdict and an exit code. Pure: no I/O, no clock.
//!
//! - [`metric`]: the table of what a threshold can name;
//! - [`threshold`]: expressions over these;
//! - [`verdict`]: pass, fail, inconclusive, and why.

pub mod metric;
pub mod threshold;
pub mod verdict;
