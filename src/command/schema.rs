//! `schema DOCUMENT`: the JSON Schemas of the documents that this program reads or writes.

use clap::{Args, ValueEnum};

use crate::exit::Exit;
use crate::output::console::print;
use crate::report::compare::CompareReport;
use crate::report::run::RunReport;
use crate::report::suite::SuiteReport;
use crate::scenario::schema;

/// The documents that have a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Document {
    /// What `blast --json` and `merge --json` write
    Run,
    /// What `compare --json` writes
    Compare,
    /// What `run --json` and `check --json` write
    Suite,
    /// A scenario file
    Scenario,
}

/// The flags of `schema`.
#[derive(Args, Debug)]
pub struct SchemaArgs {
    /// The document that the schema describes
    document: Document,
}

/// Prints the schema.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &SchemaArgs) -> anyhow::Result<Exit> {
    let schema = match args.document {
        Document::Run => schemars::schema_for!(RunReport),
        Document::Compare => schemars::schema_for!(CompareReport),
        Document::Suite => schemars::schema_for!(SuiteReport),
        Document::Scenario => schema::of_files(),
    };
    print(&serde_json::to_string_pretty(&schema)?)?;
    Ok(Exit::Pass)
}
