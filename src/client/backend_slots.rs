//! Which slots of a worker belong to the server's halves, where both ends are ours, and how the end of a half counts.

use std::collections::HashMap;
use std::io;

use super::connection::ClientConnection;
use super::connector::ConnectFailure;
use super::pair::{HalfEnd, Side};
use super::run_state::RunState;
use crate::measure::Counters;
use crate::stream::FindingKind;

/// Which slots of a worker the server's halves have: all from `first` on.
pub(super) struct BackendSlots {
    first: usize,
    /// Those that have no connection.
    free: Vec<usize>,
    live: usize,
    /// For each slot of the client whose server sends at a rate: where its schedule continues.
    schedules: HashMap<usize, u64>,
}

impl BackendSlots {
    /// `first`: how many slots the client has.
    pub(super) fn new(first: usize) -> BackendSlots {
        BackendSlots { first, free: Vec::new(), live: 0, schedules: HashMap::new() }
    }

    pub(super) fn first(&self) -> usize {
        self.first
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live == 0
    }

    pub(super) fn owns(&self, index: usize) -> bool {
        index >= self.first
    }

    /// A slot for another connection, of which there are `slots` so far. It may be a new one.
    pub(super) fn take(&mut self, slots: usize) -> usize {
        self.live += 1;
        self.free.pop().unwrap_or(slots)
    }

    /// The server's schedule of this slot of the client continues with the message of this number. It never goes back:
    /// the half before may still be open.
    pub(super) fn continue_at(&mut self, slot: usize, next_arrival: u64) {
        let at = self.schedules.entry(slot).or_default();
        *at = next_arrival.max(*at);
    }

    /// Where the server's schedule of this slot of the client continues.
    pub(super) fn continues_at(&self, slot: usize) -> u64 {
        self.schedules.get(&slot).copied().unwrap_or(0)
    }

    /// The connection of the slot is over.
    pub(super) fn give_back(&mut self, index: usize) {
        self.live -= 1;
        self.free.push(index);
    }
}

/// Where the statistics of a group are: those of the server's halves come after those of all groups.
pub(super) fn stats_index(group: usize, side: Option<Side>, groups: usize) -> usize {
    if side == Some(Side::Backend) { groups + group } else { group }
}

/// A half is over. Returns whether the connection has failed, if its other half is over too, or never came.
pub(super) fn ended(run: &RunState, connection: &ClientConnection, now: u64) -> Option<bool> {
    let (pair, side) = (connection.pair()?, connection.side()?);
    if connection.has_failed() {
        pair.set_end(side, HalfEnd::Failed, now);
    }
    let other = side.other();
    if !pair.has_ended(other) && pair.is_reached() {
        return None;
    }
    if let Some(two_sides) = &run.two_sides {
        // Whoever comes late finds the pair, or that the connection is over.
        run.ledger.close(pair.conn());
        two_sides.ledger.close(pair.conn());
        two_sides.pairs.close(pair.conn());
    }
    Some(pair.has_failed(side) || pair.has_failed(other))
}

/// A connection failed before its stream began while the backend was down on purpose: it is no finding.
pub(super) fn count_unserved(counters: &mut Counters, failure: &ConnectFailure) {
    counters.failed -= 1;
    counters.unserved += 1;
    match (failure.kind, failure.error.kind()) {
        // The handshake was over, and the reset came before this side had looked, perhaps behind a FIN. A reset that
        // answers the SYN is a refusal.
        (FindingKind::ConnectFailed, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            counters.connect_failures -= 1;
            counters.opened += 1;
            counters.unserved_resets += 1;
        }
        (FindingKind::ConnectFailed, _) => {
            counters.connect_failures -= 1;
            counters.unserved_connects += 1;
        }
        (FindingKind::Reset, _) => counters.unserved_resets += 1,
        (FindingKind::Stalled, _) => counters.unserved_silent += 1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::stream::ConnId;
    use crate::transport::Destination;

    #[test]
    fn a_slot_that_was_given_back_is_used_again() {
        let mut slots = BackendSlots::new(3);
        assert_eq!((slots.take(3), slots.take(4)), (3, 4));
        assert!(slots.owns(3) && !slots.owns(2) && !slots.is_empty());
        slots.give_back(3);
        assert_eq!(slots.take(5), 3);
        slots.give_back(3);
        slots.give_back(4);
        assert!(slots.is_empty());
    }

    #[test]
    fn the_schedule_of_a_slot_goes_on_and_never_back() {
        let mut slots = BackendSlots::new(3);
        assert_eq!(slots.continues_at(1), 0);
        slots.continue_at(1, 5);
        slots.continue_at(1, 4);
        assert_eq!((slots.continues_at(1), slots.continues_at(2)), (5, 0));
    }

    #[test]
    fn a_connection_that_fails_in_an_outage_is_counted_by_how_it_did() {
        let failed = Counters { connects: 1, connect_failures: 1, failed: 1, ..Counters::default() };
        let counted = |kind, error: io::ErrorKind| {
            let conn = ConnId::new(7).expect("small");
            let target = Destination::from(SocketAddr::from(([127, 0, 0, 1], 9)));
            let mut counters = failed.clone();
            let (source, error, damage) = (None, error.into(), None);
            count_unserved(&mut counters, &ConnectFailure { conn, kind, source, target, error, damage });
            assert_eq!((counters.failed, counters.connect_failures, counters.unserved), (0, 0, 1));
            assert_eq!((counters.open(), counters.unfinished()), (0, 0));
            (counters.unserved_connects, counters.unserved_resets)
        };
        assert_eq!(counted(FindingKind::ConnectFailed, io::ErrorKind::ConnectionRefused), (1, 0));
        assert_eq!(counted(FindingKind::ConnectFailed, io::ErrorKind::ConnectionReset), (0, 1));
    }
}
