//! From resolved configuration to a run that has ended: launch, interrupts, deadlines, progress, cases one after
//! another or several at a time.

pub mod case;
mod deadline;
mod jobs;
pub mod launch;
mod progress;
