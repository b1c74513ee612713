//! The half of systems on which threads are not kept on processors here: macOS has no such call, and on Windows a
//! process does not hand it on to its threads in groups.

use std::io;

use super::Cpu;

/// None are told.
pub fn usable_cpus() -> Vec<Cpu> {
    Vec::new()
}

/// Not here.
///
/// # Errors
/// Always.
pub fn run_on(_ids: &[u32]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
