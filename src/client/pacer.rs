//! One timer for all pauses and due times of a worker: a heap of times, and one task that sleeps until the first of
//! them.
//!
//! On Linux it sleeps on a timerfd, because the runtime's own timer has a grain of a millisecond, and an open-loop load
//! would measure that grain and not the server.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::slot::SlotState;
use crate::sys::Alarm;

/// The times at which slots want to be woken, in nanoseconds since the start of the run.
#[derive(Default)]
pub(super) struct Pacer {
    heap: RefCell<BinaryHeap<Reverse<(u64, u32)>>>,
    /// A time was added before all others.
    sooner: Notify,
}

impl Pacer {
    /// Wakes the slot at `at`, or soon after.
    pub(super) fn wake_at(&self, slots: &[SlotState], index: usize, at: u64) {
        if slots[index].timer.replace(at) == at {
            return;
        }
        let mut heap = self.heap.borrow_mut();
        let first = heap.peek().is_none_or(|Reverse((first, _))| at < *first);
        heap.push(Reverse((at, index as u32)));
        if first {
            self.sooner.notify_one();
        }
    }

    /// Wakes slots at their times, without end.
    pub(super) async fn run(&self, slots: &[SlotState], epoch: Instant) -> io::Result<()> {
        let alarm = Alarm::new()?;
        loop {
            let now = epoch.elapsed().as_nanos() as u64;
            let next = self.wake_due(slots, now);
            let Some(at) = next else {
                self.sooner.notified().await;
                continue;
            };
            tokio::select! {
                () = self.sooner.notified() => {}
                rung = alarm.ring_in(Duration::from_nanos(at - now)) => rung?,
            }
        }
    }

    /// Wakes all whose time has come; gives the next time.
    fn wake_due(&self, slots: &[SlotState], now: u64) -> Option<u64> {
        let mut heap = self.heap.borrow_mut();
        while let Some(Reverse((at, index))) = heap.peek().copied() {
            if at > now {
                return Some(at);
            }
            heap.pop();
            let slot = &slots[index as usize];
            // A time that was replaced by another stays in the heap, and is passed over here.
            if slot.timer.get() == at {
                slot.timer.set(u64::MAX);
                slot.wake();
            }
        }
        None
    }
}
