//! One file for each subcommand: its flags, and calls to the rooms that do the work. [`cli`](crate::cli) lists the
//! subcommands.

pub mod backend;
pub mod blast;
pub mod check;
pub mod compare;
pub mod completions;
pub mod examples;
pub mod man;
pub mod merge;
mod model_page;
pub mod models;
pub mod report;
pub mod run;
pub mod schema;
pub mod serve;
