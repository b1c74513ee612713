//! What the kernel does for a process and all its descendants: context switches and system calls.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod os;
#[cfg(not(target_os = "linux"))]
#[path = "other.rs"]
mod os;

pub use os::{CallCounter, switches_of_ended_children, switches_of_tree};
