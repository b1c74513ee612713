//! The configuration: options as typed, and their meaning. One struct serves flags, TOML keys and environment
//! variables; its `resolve()` checks the values and fills in the defaults. Nothing below this module sees an `Option`
//! that means 'default'.

mod availability;
mod backend;
mod combinations;
mod command_spec;
mod defaults;
mod error;
mod flags;
mod forms;
mod listen_address;
mod listen_place;
mod load;
mod model_list;
mod named_command;
mod outage;
mod placeholders;
mod process_table;
mod readiness;
mod resolve;
mod rough;
mod run;
mod scenario_server;
mod serve;
mod server_conditions;
mod server_options;
mod sources;
mod sweep;
mod transport;
mod two_sides;
mod watch;
mod zone;

pub use crate::transport::{PairingToken, without_password};
pub use availability::unavailable;
pub use backend::{BackendArgs, BackendTable};
pub use command_spec::CommandSpec;
pub use defaults::{DEFAULT_FINDINGS, DEFAULT_PORT};
pub use error::ConfigError;
pub(crate) use flags::TrueOrFalse;
pub use forms::{ConnList, Fragment, Pipeline, Seed, StartTime};
pub use listen_address::ListenAddress;
pub use load::LoadArgs;
pub use model_list::ModelList;
pub use named_command::NamedCommand;
pub use outage::{Outage, OutageKind, OutageTable};
pub use placeholders::{PlaceholderError, Places, check_placeholders};
pub use process_table::{ProcessSpec, ProcessTable, ViaProcess};
pub use readiness::Readiness;
pub use run::{RunArgs, RunSettings};
pub use scenario_server::{ServerSpec, ServerVariant};
pub use serve::{CertificateSource, FaultSettings, ServeSettings};
pub use server_conditions::{AddressFamily, ServerConditions};
pub use server_options::{ServeArgs, ServerTable};
pub use sources::SourceAddresses;
pub use sweep::{Sweep, SweepValue};
pub use transport::TransportSettings;
pub use watch::WatchArgs;
pub use zone::{ZonedIp, check as check_zone, without_brackets};

#[cfg(test)]
mod tests;
