//! Where results go: standard output, files that are written whole or not at all, and GitHub Actions. The texts
//! themselves come from [`report`](crate::report).

pub mod console;
pub mod files;
pub mod github;
pub mod reports;
pub mod result;
