//! On which processors a thread may run, and which of these are one core.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod os;
#[cfg(not(target_os = "linux"))]
#[path = "other.rs"]
mod os;

pub use os::{run_on, usable_cpus};

/// A processor as the system counts them: a core, or one of the threads that share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub id: u32,
    /// The processors that share its core, as the system writes them: equal for all of one core. Empty: not known.
    pub core: String,
}
