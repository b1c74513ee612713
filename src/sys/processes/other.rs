//! The half of systems that nobody has written this for: nothing is told.

use super::{Process, ProcessUsage};

/// What the list has told: nothing.
#[derive(Clone, Copy)]
pub(super) struct Listed;

/// There is no list.
pub(super) fn list() -> Option<Vec<Process>> {
    None
}

/// Nothing is known of this process either.
pub(super) fn own() -> Option<Process> {
    None
}

/// When it began: unknown.
pub(super) fn begun(process: &Process) -> Option<u64> {
    let Listed = process.known;
    None
}

/// Its own usage: unknown.
pub(super) fn usage(_process: &Process) -> Option<ProcessUsage> {
    None
}
