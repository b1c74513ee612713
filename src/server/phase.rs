//! How far a server is on the way to its end, and how its model learns that this has changed.
//!
//! The order of the two is free: a stop may come before the model is ready to be woken. `interleavings/` explores
//! every order.

use super::wait::Waker;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Mutex, lock};

/// How far the server is on the way to its end. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerPhase {
    /// Accept and serve.
    Run,
    /// Accept no more, serve the open connections until each has ended on its own, then return.
    Drain,
    /// Close everything at once (a reset is right), then return.
    Abort,
}

/// The phase of a server, and what wakes its model.
pub(super) struct PhaseSignal {
    phase: AtomicU8,
    wake: Mutex<Option<Waker>>,
}

impl Default for PhaseSignal {
    fn default() -> Self {
        PhaseSignal { phase: AtomicU8::new(ServerPhase::Run as u8), wake: Mutex::new(None) }
    }
}

impl PhaseSignal {
    pub(super) fn get(&self) -> ServerPhase {
        match self.phase.load(Ordering::Acquire) {
            0 => ServerPhase::Run,
            1 => ServerPhase::Drain,
            _ => ServerPhase::Abort,
        }
    }

    /// Calls `wake` at each change of the phase, and now if it has changed before. Call it once.
    pub(super) fn on_change(&self, wake: Waker) {
        let before = lock(&self.wake).replace(wake.clone());
        debug_assert!(before.is_none(), "on_change() is called once");
        // A change that finds no waker leaves the lock before this took it, so it is seen here. Without the lock each
        // of the two could miss the other.
        if self.get() != ServerPhase::Run {
            wake();
        }
    }

    /// Moves on to this phase, unless the server is further already, and wakes the model.
    pub(super) fn advance(&self, phase: ServerPhase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        let wake = lock(&self.wake).clone();
        if let Some(wake) = wake {
            wake();
        }
    }
}
