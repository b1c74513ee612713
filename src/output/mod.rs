//! Where results go: standard output, files that are written whole or not at all, and GitHub Actions. The texts
//! themselves come from [`report`](crate::report).

pub(crate) mod console;
pub(crate) mod files;
pub(crate) mod github;
mod pipes;
pub(crate) mod reports;
pub(crate) mod result;
pub(crate) mod screen;
pub(crate) mod secrets;
pub(crate) mod server_log;
