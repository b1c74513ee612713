//! Scenario files: a server, the load groups that run against it at the same time, and what is expected of them.
//!
//! - [`mod@file`]: the TOML, on the structs that the flags use too, and its errors with their place;
//! - [`variables`]: what `${NAME}` stands for in them;
//! - [`names`]: that no two cases have one name;
//! - [`schema`]: what editors are told of them;
//! - [`conformance`]: the files that are embedded for `check`.
//!
//! Nothing here runs anything: `runner::case` does.

pub mod conformance;
pub mod file;
pub mod names;
mod place;
pub mod schema;
pub mod variables;

pub use file::{Expected, Scenario};
pub use variables::Variables;
