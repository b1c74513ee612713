//! From resolved configuration to a run that has ended: addresses of targets, launch, interrupts, deadlines, progress,
//! and cases, one after another or several at a time.

pub mod case;
mod deadline;
mod family;
pub mod interrupts;
mod jobs;
pub mod judged;
mod known_servers;
pub mod launch;
mod needs;
mod progress;
pub mod server_watch;
mod stop_under_load;
pub mod target_address;
pub mod unreachable;
pub mod wait_for_target;
