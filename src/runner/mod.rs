//! From resolved configuration to a run that has ended: addresses of targets, launch, interrupts, deadlines, progress,
//! and cases, one after another or several at a time.

pub mod backend;
pub mod case;
pub mod comparison;
mod deadline;
pub mod destination;
mod directly;
mod family;
pub mod interrupts;
mod jobs;
pub mod judged;
pub mod known_failures;
mod known_servers;
pub mod launch;
mod needs;
mod outage;
pub mod pinning;
mod planned;
mod planned_work;
pub mod progress;
pub mod server_watch;
mod stop_under_load;
pub mod suite;
pub mod target_address;
mod time_left;
mod tls_client;
mod tls_files;
pub mod tls_server;
pub mod unreachable;
pub mod wait_for_target;
