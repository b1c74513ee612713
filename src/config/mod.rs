//! What was typed, and what it means: one struct for flag, TOML key and environment variable, and a `resolve()` that
//! validates it and puts in the defaults. Nothing below this module sees an `Option` that means 'default'.

mod defaults;
mod error;
mod forms;
mod load;
mod resolve;
mod run;
mod serve;
mod server;
mod sources;

pub use crate::units;
pub use error::ConfigError;
pub use forms::{ConnList, Fragment, Instant, Pipeline, Seed};
pub use load::LoadArgs;
pub use run::{Run, RunArgs};
pub use serve::{Bind, Faults, Serve, ServeArgs};
pub use server::{CommandServer, Models, Server, ServerTable, Variant};
pub use sources::{Sources, SourcesError};

#[cfg(test)]
mod tests;
