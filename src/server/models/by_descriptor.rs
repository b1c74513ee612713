//! The connections of a Unix reactor, found by their descriptor: POSIX gives out the lowest free number, so a plain
//! array is the map. A descriptor that was closed and given out again is a new entry; an event that was still under way
//! for the old one costs a call that answers 'would block'.

use std::os::fd::{AsRawFd, RawFd};

use crate::server::reactor::Connection;

/// Connections by descriptor.
#[derive(Default)]
pub(super) struct ByDescriptor {
    slots: Vec<Option<Connection>>,
    count: usize,
}

impl ByDescriptor {
    /// Adds a connection under its descriptor, which is returned.
    pub(super) fn insert(&mut self, connection: Connection) -> RawFd {
        let fd = connection.stream().as_raw_fd();
        let at = fd as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        let before = self.slots[at].replace(connection);
        debug_assert!(before.is_none(), "descriptor {fd} is open twice");
        self.count += 1;
        fd
    }

    /// The connection of a descriptor.
    pub(super) fn get_mut(&mut self, fd: RawFd) -> Option<&mut Connection> {
        self.slots.get_mut(fd as usize)?.as_mut()
    }

    /// Takes a connection out; dropping it closes it.
    pub(super) fn remove(&mut self, fd: RawFd) -> Option<Connection> {
        let connection = self.slots.get_mut(fd as usize)?.take()?;
        self.count -= 1;
        Some(connection)
    }

    /// Takes out the connections that `unwanted` picks.
    pub(super) fn extract(&mut self, mut unwanted: impl FnMut(&Connection) -> bool) -> Vec<Connection> {
        let picked: Vec<Connection> = self.slots.iter_mut().filter_map(|slot| slot.take_if(|c| unwanted(c))).collect();
        self.count -= picked.len();
        picked
    }

    /// Whether none is left.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}
