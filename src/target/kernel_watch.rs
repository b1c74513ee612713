//! What the kernel does for the processes of a server from the first connection until they have ended.
//!
//! The context switches of threads that have ended are only told once their process was waited for, and then in sum
//! with those of all other children. So no other child may end while a server is watched here.

use crate::sys::{self, CallCounter};

/// The processes of a server, watched.
pub struct KernelWatch {
    /// The switches of its threads before the first connection.
    before: Option<u64>,
    /// The switches of children that had ended before.
    ended_before: Option<u64>,
    calls: Option<CallCounter>,
}

impl KernelWatch {
    /// Watches the process of this id and its descendants, which are at rest. With `counts_calls` its system calls are
    /// counted too, where the system permits it, which makes
    /// each of them slower.
    pub fn of(pid: u32, counts_calls: bool) -> KernelWatch {
        KernelWatch {
            before: sys::switches_of_tree(pid),
            ended_before: sys::switches_of_ended_children(),
            calls: counts_calls.then(|| CallCounter::of_tree(pid)).flatten(),
        }
    }

    /// The system calls so far.
    pub fn calls(&self) -> Option<u64> {
        self.calls.as_ref()?.count()
    }

    /// The context switches of a server that has ended and was waited for.
    pub fn switches_after_end(&self) -> Option<u64> {
        let ended = sys::switches_of_ended_children()?.saturating_sub(self.ended_before?);
        // Processes that nobody waited for are not told.
        ended.checked_sub(self.before?)
    }
}
