//! The state of a slot: a place in a worker for one connection after another.
//!
//! There are tens of thousands of these, and every sweep looks at all of them, so whatever only an open connection or a
//! handshake needs is in a box.

use std::net::IpAddr;

use mio::net::TcpStream;
use mio::{Registry, Token};

use super::clock::nanos_to_millis;
use super::connection::{ClientConnection, TurnContext, TurnResult};
use super::negotiating::Negotiating;
use super::socket::RegisteredSocket;
use super::tls_session::TlsSession;
use crate::transport::Destination;

/// What a slot is doing.
pub(super) enum SlotStage {
    /// Its next connection is to be opened, perhaps after a pause.
    Next,
    /// Waits until that time before it connects.
    Pausing { until: u64 },
    /// Waits for the end of a handshake.
    Connecting(Box<Handshake>),
    /// Is connected, and speaks to a proxy, or sends what comes before the stream.
    Negotiating(Box<Negotiating>),
    /// Follows the plan of its connection.
    Open(Box<LiveConnection>),
    /// Has had its last connection.
    Ended,
}

/// A handshake under way.
pub(super) struct Handshake {
    pub(super) stream: TcpStream,
    pub(super) target: Destination,
    pub(super) source: Option<IpAddr>,
    /// When it began.
    pub(super) began: u64,
}

/// An open connection and its socket.
pub(super) struct LiveConnection {
    pub(super) connection: ClientConnection,
    pub(super) socket: RegisteredSocket,
    /// TLS, in which the stream goes.
    pub(super) session: Option<Box<TlsSession>>,
}

impl LiveConnection {
    /// Gives the connection a turn; `stalled`: silence has lasted too long. Its socket is then registered for what it
    /// waits for.
    #[inline]
    pub(super) fn turn(
        &mut self,
        turn: &mut TurnContext<'_>,
        stalled: bool,
        (registry, token): (&Registry, Token),
    ) -> TurnResult {
        let LiveConnection { connection, socket, session } = self;
        let result = match session {
            None if stalled => connection.stalled(socket, turn),
            None => connection.advance(socket, turn),
            Some(session) => session.turn(connection, socket, turn, stalled),
        };
        match socket.renew_interest(registry, token) {
            Ok(()) => result,
            Err(error) => TurnResult::Over(Some(error)),
        }
    }
}

/// The state of one slot. Times are nanoseconds since the start of the run, unless the name says otherwise.
pub(super) struct SlotState {
    pub(super) stage: SlotStage,
    group: u16,
    /// Whether it counts among the slots with something left to do of their own.
    working: bool,
    /// Whether those that close together still wait for it.
    awaited: bool,
    /// Whether it is in the queue of those that get a turn without an event.
    queued: bool,
    /// Whether the sweep has found a stall that no turn has seen yet.
    stalled: bool,
    /// Failed or postponed connects in a row, at most 255.
    failures: u8,
    /// Which of its connections it is at.
    generation: u32,
    /// Where its open-loop schedule continues.
    next_arrival: u64,
    /// The time at which it wants a turn, or `NO_TIMER`.
    timer: u64,
    last_progress_ms: u32,
    /// Without progress for this long it has stalled. 0: nothing is owed to it, so silence is right.
    stall_limit_ms: u32,
}

/// The slot wants a turn at no time.
const NO_TIMER: u64 = u64::MAX;

impl SlotState {
    /// A slot that has not begun.
    pub(super) fn new(group: u16, first_generation: u32) -> SlotState {
        SlotState {
            stage: SlotStage::Next,
            group,
            working: true,
            awaited: true,
            queued: false,
            stalled: false,
            failures: 0,
            generation: first_generation,
            next_arrival: 0,
            timer: NO_TIMER,
            last_progress_ms: 0,
            stall_limit_ms: 0,
        }
    }

    /// Its load group.
    #[inline]
    pub(super) fn group(&self) -> usize {
        usize::from(self.group)
    }

    /// Which of its connections it is at.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Where its open-loop schedule continues.
    pub(super) fn next_arrival(&self) -> u64 {
        self.next_arrival
    }

    /// Its connection is over, and its open-loop schedule continues at `next_arrival`: on to the next connection. Gives
    /// back the socket to close.
    pub(super) fn close(&mut self) -> Option<TcpStream> {
        let stage = self.next_generation();
        self.owes_nothing();
        let SlotStage::Open(open) = stage else { return None };
        self.next_arrival = open.connection.next_arrival();
        let LiveConnection { mut socket, session, .. } = *open;
        if let Some(mut session) = session {
            session.over(&mut socket).say_goodbye();
        }
        Some(socket.into_stream())
    }

    /// On to the next connection. Gives back the stage that ends.
    pub(super) fn next_generation(&mut self) -> SlotStage {
        self.generation += 1;
        std::mem::replace(&mut self.stage, SlotStage::Next)
    }

    /// Failed or postponed connects in a row.
    pub(super) fn failures(&self) -> u8 {
        self.failures
    }

    /// A connect has failed or was put off.
    pub(super) fn count_failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The row of failed connects ends.
    pub(super) fn clear_failures(&mut self) {
        self.failures = 0;
    }

    /// Whether it still counted as working. From now on it does not.
    pub(super) fn take_working(&mut self) -> bool {
        std::mem::take(&mut self.working)
    }

    /// Whether others still waited for it. From now on they do not.
    pub(super) fn take_awaited(&mut self) -> bool {
        std::mem::take(&mut self.awaited)
    }

    /// Notes that it is in the queue of those that get a turn without an event. Returns whether it was there before.
    pub(super) fn set_queued(&mut self) -> bool {
        std::mem::replace(&mut self.queued, true)
    }

    /// Notes that it has left the queue.
    pub(super) fn unset_queued(&mut self) {
        self.queued = false;
    }

    /// Asks for a turn at `at` instead of any earlier request. Returns whether that is new.
    pub(super) fn set_timer(&mut self, at: u64) -> bool {
        std::mem::replace(&mut self.timer, at) != at
    }

    /// Whether `at` is the time at which it wants a turn.
    pub(super) fn wants_turn_at(&self, at: u64) -> bool {
        self.timer == at
    }

    /// Whether `at` is the time at which it wants a turn. If so, it gets it now, and wants it no more.
    pub(super) fn take_timer(&mut self, at: u64) -> bool {
        let wanted = self.timer == at;
        if wanted {
            self.timer = NO_TIMER;
        }
        wanted
    }

    /// Notes whether the peer owes something. If it does, `limit_ms` without progress are a stall. A turn without
    /// progress does not restart that time.
    #[inline]
    pub(super) fn owes(&mut self, owed: bool, now: u64, limit_ms: u32, progress: bool) {
        if !owed {
            return self.owes_nothing();
        }
        let owed_before = std::mem::replace(&mut self.stall_limit_ms, limit_ms.max(1)) != 0;
        if progress || !owed_before {
            self.last_progress_ms = nanos_to_millis(now);
        }
    }

    /// The client itself stood still for `gap` nanoseconds, which is no silence of the peer's.
    pub(super) fn leave_out(&mut self, gap: u64) {
        self.last_progress_ms = self.last_progress_ms.saturating_add(nanos_to_millis(gap));
    }

    /// Notes that the peer owes nothing.
    pub(super) fn owes_nothing(&mut self) {
        self.stall_limit_ms = 0;
    }

    /// Whether the silence has lasted too long. The slot then needs a turn, which learns of the stall from
    /// [`take_stalled`](Self::take_stalled).
    pub(super) fn check_stalled(&mut self, now: u64) -> bool {
        let silence_ms = nanos_to_millis(now).saturating_sub(self.last_progress_ms);
        let stalled = self.stall_limit_ms != 0 && silence_ms >= self.stall_limit_ms;
        if stalled {
            self.stall_limit_ms = 0;
            self.stalled = true;
        }
        stalled
    }

    /// Whether the sweep has found a stall since the last call.
    pub(super) fn take_stalled(&mut self) -> bool {
        std::mem::take(&mut self.stalled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_small_with_and_without_a_connection() {
        assert!(size_of::<SlotState>() <= 56, "{}", size_of::<SlotState>());
        // On Windows mio keeps 8 bytes more for each socket. TLS, of which few runs have any, is a pointer.
        let limit = if cfg!(windows) { 376 } else { 368 };
        assert!(size_of::<LiveConnection>() <= limit, "{}", size_of::<LiveConnection>());
    }

    #[test]
    fn silence_is_a_stall_while_something_is_owed_and_counts_from_progress() {
        let (ms, mut slot) = (1_000_000, SlotState::new(0, 0));
        assert!(!slot.check_stalled(1000 * ms));
        slot.owes(true, 100 * ms, 50, true);
        slot.owes(true, 140 * ms, 50, false);
        assert!(!slot.check_stalled(149 * ms));
        assert!(slot.check_stalled(150 * ms) && slot.take_stalled() && !slot.take_stalled());
        slot.owes(true, 200 * ms, 50, false);
        slot.owes(false, 210 * ms, 50, false);
        assert!(!slot.check_stalled(1000 * ms));
    }

    #[test]
    fn a_slot_gets_one_turn_for_the_time_it_asked_for_last() {
        let mut slot = SlotState::new(0, 0);
        assert!(slot.set_timer(10) && !slot.set_timer(10) && slot.set_timer(20));
        assert!(!slot.take_timer(10) && slot.wants_turn_at(20));
        assert!(slot.take_timer(20) && !slot.take_timer(20));
    }
}
