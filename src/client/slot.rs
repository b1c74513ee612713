//! A place for connections, one after the other, in a worker. What is here is kept for each of tens of thousands, and
//! looked at by every sweep: what only an open connection needs is in a box.

use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;

use super::connection::Connection;
use super::socket::Link;

/// What a slot is at.
pub(super) enum Stage {
    /// Its connection is the next thing to do. `paused`: the pause before it is over.
    Next { paused: bool },
    /// Waits until that time before it connects again.
    Pausing { until: u64 },
    /// Waits for the handshake.
    Connecting(Box<Connecting>),
    /// Follows its plan.
    Open(Box<Open>),
    /// No more connections.
    Ended,
}

/// A handshake under way.
pub(super) struct Connecting {
    pub(super) stream: TcpStream,
    pub(super) target: SocketAddr,
    pub(super) source: Option<IpAddr>,
    /// When it began.
    pub(super) begun: u64,
}

/// An open connection.
pub(super) struct Open {
    pub(super) connection: Connection,
    pub(super) link: Link,
}

/// One slot of a worker.
pub(super) struct Slot {
    pub(super) stage: Stage,
    /// Of its load.
    pub(super) group: u16,
    /// It is counted among those that have something of their own to do.
    pub(super) working: bool,
    /// Under `close = "together"` the others of its load wait for it.
    pub(super) missing: bool,
    /// It stands in the worker's queue of those that get a turn without an event.
    pub(super) queued: bool,
    stalled: bool,
    /// Connects in a row that failed, as far as they are counted.
    pub(super) failures: u8,
    /// Which of its connections it is at.
    pub(super) generation: u32,
    /// Where its open-loop schedule goes on.
    pub(super) arrival: u64,
    /// The time for which the pacer was last asked, in nanoseconds since the start. `u64::MAX`: none.
    pub(super) timer: u64,
    /// When there was last progress, in milliseconds since the start of the run.
    moved: u32,
    /// After so many milliseconds without progress it counts as stalled. 0: nothing is owed, silence is right.
    limit: u32,
}

impl Slot {
    /// A slot that has not begun.
    pub(super) fn new(group: u16, generation: u32) -> Slot {
        Slot {
            stage: Stage::Next { paused: true },
            group,
            working: true,
            missing: true,
            queued: false,
            stalled: false,
            failures: 0,
            generation,
            arrival: 0,
            timer: u64::MAX,
            moved: 0,
            limit: 0,
        }
    }

    /// Whether the other side owes something; if so, `limit` milliseconds without progress are a stall. `now` is in
    /// nanoseconds; a turn without progress does not start the time anew.
    #[inline]
    pub(super) fn owes(&mut self, owed: bool, now: u64, limit: u32, progress: bool) {
        if !owed {
            return self.settled();
        }
        let owed_before = std::mem::replace(&mut self.limit, limit.max(1)) != 0;
        if progress || !owed_before {
            self.moved = millis(now);
        }
    }

    /// Nothing is owed.
    pub(super) fn settled(&mut self) {
        self.limit = 0;
    }

    /// Whether the silence has lasted too long. Then the slot is to be given a turn, which finds it with
    /// [`take_stalled`](Self::take_stalled).
    pub(super) fn check_stalled(&mut self, now: u64) -> bool {
        let stalled = self.limit != 0 && millis(now).saturating_sub(self.moved) >= self.limit;
        if stalled {
            self.limit = 0;
            self.stalled = true;
        }
        stalled
    }

    /// Whether the sweep found a stall since the last call.
    pub(super) fn take_stalled(&mut self) -> bool {
        std::mem::take(&mut self.stalled)
    }
}

fn millis(nanos: u64) -> u32 {
    u32::try_from(nanos / 1_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_small_with_and_without_a_connection() {
        assert!(size_of::<Slot>() <= 56, "{}", size_of::<Slot>());
        assert!(size_of::<Open>() <= 336, "{}", size_of::<Open>());
    }

    #[test]
    fn silence_is_a_stall_only_while_something_is_owed_and_counts_from_the_last_progress() {
        let (ms, mut slot) = (1_000_000, Slot::new(0, 0));
        assert!(!slot.check_stalled(1000 * ms));
        slot.owes(true, 100 * ms, 50, true);
        slot.owes(true, 140 * ms, 50, false);
        assert!(!slot.check_stalled(149 * ms));
        assert!(slot.check_stalled(150 * ms) && slot.take_stalled() && !slot.take_stalled());
        slot.owes(true, 200 * ms, 50, false);
        slot.owes(false, 210 * ms, 50, false);
        assert!(!slot.check_stalled(1000 * ms));
    }
}
