//! The wait of a worker: one poll for all its sockets, its alarm and its waker, and the queue of slots that get a turn
//! without an event.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use mio::{Events, Poll, Registry, Token};

use super::slot::SlotState;

/// The most events that one wait returns. With more, the last would be old by the time of their turn.
const MAX_EVENTS: usize = 256;

/// The token of a waker, through which another worker interrupts the wait.
pub(super) const WAKE: Token = Token(usize::MAX - 1);
/// The token of the alarm.
pub(super) const ALARM: Token = Token(usize::MAX - 2);

/// The wait of a worker. A socket's token is the number of its slot.
pub(super) struct EventWait {
    poll: Poll,
    /// Slots that get a turn without an event.
    queue: VecDeque<u32>,
}

impl EventWait {
    pub(super) fn new(poll: Poll) -> EventWait {
        EventWait { poll, queue: VecDeque::new() }
    }

    /// Room for the events of one wait.
    pub(super) fn events() -> Events {
        Events::with_capacity(MAX_EVENTS)
    }

    /// Where sockets are registered.
    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Waits for events, at most for this time. A signal may end the wait early.
    pub(super) fn wait(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts a slot into the queue, if it is not there yet.
    pub(super) fn enqueue(&mut self, slots: &mut [SlotState], index: usize) {
        if !slots[index].set_queued() {
            self.queue.push_back(index as u32);
        }
    }

    /// How many slots are in the queue.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Takes the first slot out of the queue.
    pub(super) fn dequeue(&mut self, slots: &mut [SlotState]) -> Option<usize> {
        let index = self.queue.pop_front()? as usize;
        slots[index].unset_queued();
        Some(index)
    }
}
