//! The timers of a worker: the times at which its slots want a turn, and the alarm that ends its wait in time for the
//! next of them.

use std::io;
use std::time::Duration;

use mio::Registry;

use super::clock::NEVER;
use super::slot::SlotState;
use super::timer_heap::TimerHeap;
use super::wait::ALARM;
use crate::sys::Alarm;

/// The timers of a worker. Times are nanoseconds since the start of the run.
pub(super) struct Timers {
    heap: TimerHeap,
    alarm: Alarm,
    /// When the alarm rings, or `NEVER`.
    rings_at: u64,
}

impl Timers {
    /// Registers the alarm with a worker's wait.
    pub(super) fn new(registry: &Registry) -> io::Result<Timers> {
        Ok(Timers { heap: TimerHeap::default(), alarm: Alarm::new(registry, ALARM)?, rings_at: NEVER })
    }

    /// The earliest time at which a slot may want a turn, or `NEVER`.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.heap.next().unwrap_or(NEVER)
    }

    /// Asks for a turn of the slot at `at`, or soon after. That replaces its earlier request.
    pub(super) fn wake_at(&mut self, slots: &mut [SlotState], index: usize, at: u64) {
        if slots[index].set_timer(at) {
            self.heap.push(index as u32, at);
            if self.heap.is_cluttered() {
                self.heap.clear(|at, index| slots[index as usize].wants_turn_at(at));
            }
        }
    }

    /// Takes out a slot that wanted its turn by `now`.
    pub(super) fn pop_due(&mut self, slots: &mut [SlotState], now: u64) -> Option<usize> {
        loop {
            let (at, index) = self.heap.pop_due(now)?;
            // A time that another has replaced is still in the heap, and is skipped here.
            if slots[index as usize].take_timer(at) {
                return Some(index as usize);
            }
        }
    }

    /// Makes the alarm end the wait at `at`, which is later than `now`.
    pub(super) fn set_alarm(&mut self, at: u64, now: u64) -> io::Result<()> {
        if at != self.rings_at {
            self.alarm.set(Duration::from_nanos(at - now))?;
            self.rings_at = at;
        }
        Ok(())
    }

    /// Notes that the alarm has rung.
    pub(super) fn alarm_rang(&mut self) {
        self.rings_at = NEVER;
    }
}
