//! Scenario files: a server, the load groups that run against it at the same time, and what is expected of them.
//!
//! - [`mod@file`]: the TOML as it is written;
//! - [`variables`]: the values of `${NAME}` in it;
//! - `file_reader`, `processes`, `process_texts`: parts of that, for its errors and for `[[process]]`;
//! - [`read`]: from the text of a file to its cases;
//! - [`case`]: a case, resolved;
//! - [`error`]: the problem of a file, and its place;
//! - `plain_words`, `key_homes`: what the TOML parser says, in plain words, and where a key belongs;
//! - [`need`]: what a case can't be judged without;
//! - [`names`]: that no two cases have the same name;
//! - [`schema`]: the JSON Schema for editors;
//! - [`conformance`]: the files that are embedded for `check`;
//! - [`two_sides`]: those for 'check --backend', where both ends are ours;
//! - [`distance`]: what they do differently against a distant target.
//!
//! Nothing here runs anything: `runner::case` does.

pub mod case;
pub mod conformance;
pub mod distance;
pub mod error;
pub mod file;
mod file_reader;
mod key_homes;
pub mod names;
pub mod need;
mod plain_words;
mod process_texts;
mod processes;
pub mod read;
pub mod schema;
mod toml_path;
pub mod two_sides;
pub mod variables;

pub use case::Scenario;
pub use error::ScenarioError;
pub use variables::Variables;
