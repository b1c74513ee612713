//! The connections of one thread by their message numbers, and the numbers of closed connections whose marks are still
//! in the queue: these are given to no other connection.

use std::collections::HashMap;

use windows_sys::Win32::Networking::WinSock::SOCKET;

use super::window::MAX_NUMBER;
use crate::server::pool::SlotGuard;

/// Values by their message numbers, open or closed.
pub(super) struct NumberedConnections<T> {
    entries: HashMap<u16, NumberedEntry<T>>,
    open_count: usize,
    /// The number that was given out last.
    last: u16,
}

struct NumberedEntry<T> {
    /// `None`: closed.
    open: Option<(SOCKET, T)>,
    _slot: SlotGuard,
}

impl<T> Default for NumberedConnections<T> {
    fn default() -> Self {
        NumberedConnections { entries: HashMap::new(), open_count: 0, last: 0 }
    }
}

impl<T> NumberedConnections<T> {
    /// A number that no message in the queue has. There are 16,383 of them, and no more entries than slots.
    pub(super) fn free_number(&mut self) -> u16 {
        loop {
            self.last = self.last % MAX_NUMBER + 1;
            if !self.entries.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    pub(super) fn insert(&mut self, number: u16, slot: SlotGuard, socket: SOCKET, value: T) {
        self.entries.insert(number, NumberedEntry { open: Some((socket, value)), _slot: slot });
        self.open_count += 1;
    }

    /// The open one that a message is for. `None`: it is closed by now.
    pub(super) fn get_mut(&mut self, number: u16, socket: SOCKET) -> Option<&mut T> {
        let (of, value) = self.entries.get_mut(&number)?.open.as_mut()?;
        (*of == socket).then_some(value)
    }

    /// Drops the value; its number and its slot stay taken.
    pub(super) fn close(&mut self, number: u16) {
        if let Some(entry) = self.entries.get_mut(&number) {
            self.open_count -= usize::from(entry.open.take().is_some());
        }
    }

    /// Gives the number and the slot of a closed one back.
    pub(super) fn free(&mut self, number: u16) {
        if self.entries.get(&number).is_some_and(|entry| entry.open.is_none()) {
            self.entries.remove(&number);
        }
    }

    /// How many are open.
    pub(super) fn open_count(&self) -> usize {
        self.open_count
    }

    /// Whether there is none, open or closed.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The open ones.
    pub(super) fn open(&self) -> impl Iterator<Item = (u16, SOCKET, &T)> {
        self.entries
            .iter()
            .filter_map(|(number, entry)| entry.open.as_ref().map(|(socket, value)| (*number, *socket, value)))
    }

    /// The values of the open ones.
    pub(super) fn into_open(self) -> impl Iterator<Item = T> {
        self.entries.into_values().filter_map(|entry| entry.open).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::pool::PoolWorker;
    use crate::server::pool::SlotCount;

    fn slot() -> SlotGuard {
        SlotCount::default().take()
    }

    #[test]
    fn a_message_for_a_closed_connection_does_not_reach_the_next_owner_of_its_handle() {
        let mut connections = NumberedConnections::default();
        connections.insert(1, slot(), 40, "first");
        assert_eq!(connections.get_mut(1, 40), Some(&mut "first"));
        connections.free(1);
        assert_eq!(connections.get_mut(1, 40), Some(&mut "first"), "only a closed one gives its number back");
        connections.close(1);
        assert_eq!(connections.open_count(), 0, "it is closed");
        connections.insert(2, slot(), 40, "second");
        assert_eq!(connections.get_mut(1, 40), None, "its handle is another connection's now");
        assert_eq!(connections.get_mut(2, 40), Some(&mut "second"));
    }

    #[test]
    fn numbers_go_round_and_pass_over_those_that_are_taken() {
        let mut connections = NumberedConnections::default();
        assert_eq!([(); 3].map(|()| connections.free_number()), [1, 2, 3]);
        connections.insert(2, slot(), 40, ());
        connections.close(2);
        let round: Vec<u16> = (0..MAX_NUMBER).map(|_| connections.free_number()).collect();
        let wanted: Vec<u16> = (4..=MAX_NUMBER).chain([1, 3, 4]).collect();
        assert_eq!(round, wanted, "its messages may still be in the queue");
        connections.free(2);
        assert!((0..MAX_NUMBER).any(|_| connections.free_number() == 2));
        assert!(usize::from(MAX_NUMBER) > super::super::MessagePump::CAPACITY, "there is always a free one");
    }
}
