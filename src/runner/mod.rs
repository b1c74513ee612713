//! From resolved configuration to a run that has ended: addresses of targets, launch, interrupts, deadlines, progress,
//! and cases, one after another or several at a time.

pub mod case;
mod deadline;
mod jobs;
pub mod judged;
pub mod launch;
mod progress;
pub mod target_address;
