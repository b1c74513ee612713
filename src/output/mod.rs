//! Where results go: standard output, files that are written whole or not at all, GitHub Actions.

pub mod console;
pub mod files;
pub mod github;
pub mod reports;
pub mod result;
