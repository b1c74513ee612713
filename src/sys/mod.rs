//! What differs between operating systems: socket options, descriptors, CPU time, memory.
//!
//! Both files export the same functions; no other file of this folder or outside of it (but for `server::models`) asks
//! which system this is.

#[cfg(unix)]
#[path = "unix.rs"]
mod os;
#[cfg(windows)]
#[path = "windows.rs"]
mod os;

pub use os::{claim_address, close_with_reset, share_port};
