//! What the sweep and the pacer know of a slot's connection: when it last moved, and how to wake it. 40 bytes, apart
//! from the task, so that a sweep over ten thousand of them touches little memory.

use std::cell::{Cell, RefCell};
use std::task::Waker;

/// One slot of a worker.
#[derive(Default)]
pub(super) struct SlotState {
    waker: RefCell<Option<Waker>>,
    /// When something last moved, in milliseconds since the start of the run.
    moved: Cell<u32>,
    /// After so many milliseconds without a move it counts as stalled. 0: nothing is owed, silence is right.
    limit: Cell<u32>,
    /// The earliest time for which the pacer was asked, in nanoseconds since the start. `u64::MAX`: none.
    pub(super) timer: Cell<u64>,
    stalled: Cell<bool>,
}

impl SlotState {
    /// The task of this slot, which is to be woken.
    pub(super) fn attach(&self, waker: &Waker) {
        let mut mine = self.waker.borrow_mut();
        match mine.as_mut() {
            Some(old) => old.clone_from(waker),
            None => *mine = Some(waker.clone()),
        }
    }

    /// Whether the slot has a task.
    pub(super) fn is_attached(&self) -> bool {
        self.waker.borrow().is_some()
    }

    /// Wakes the task, if there is one.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// The other side owes something; after `limit` milliseconds without a move it is a stall. `now` is in nanoseconds;
    /// being woken in vain (`moved` is false) does not start the time anew.
    pub(super) fn owed(&self, now: u64, limit: u32, moved: bool) {
        let owed_before = self.limit.replace(limit.max(1)) != 0;
        if moved || !owed_before {
            self.moved.set(millis(now));
        }
    }

    /// Nothing is owed.
    pub(super) fn settled(&self) {
        self.limit.set(0);
    }

    /// Whether the silence has lasted too long. Then the task is to be woken, which finds it with
    /// [`take_stalled`](Self::take_stalled).
    pub(super) fn check_stalled(&self, now: u64) -> bool {
        let limit = self.limit.get();
        let stalled = limit != 0 && millis(now).saturating_sub(self.moved.get()) >= limit;
        if stalled {
            self.limit.set(0);
            self.stalled.set(true);
        }
        stalled
    }

    /// Whether the sweep found a stall since the last call.
    pub(super) fn take_stalled(&self) -> bool {
        self.stalled.replace(false)
    }
}

fn millis(nanos: u64) -> u32 {
    u32::try_from(nanos / 1_000_000).unwrap_or(u32::MAX)
}
