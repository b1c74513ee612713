//! The connections of a worker, by the key that their operations carry.
//!
//! An entry is used again, a key is not: the generation of an entry goes up with each connection. A completion of a
//! connection that is gone would be a defect of the worker (it removes a connection only when nothing is outstanding).
//! It is found as such, and not taken for one of the next connection in that entry.

use super::connection::RingConnection;
use super::ring::ConnectionKey;

/// The connections of one worker.
#[derive(Default)]
pub(super) struct ConnectionTable {
    entries: Vec<TableEntry>,
    free: Vec<u32>,
}

struct TableEntry {
    generation: u32,
    connection: Option<RingConnection>,
}

impl ConnectionTable {
    /// Takes a connection in.
    pub(super) fn insert(&mut self, connection: RingConnection) -> ConnectionKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(TableEntry { generation: 0, connection: None });
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        // 1 and up: 0 is `ConnectionKey::NONE`.
        entry.generation = entry.generation % (ConnectionKey::GENERATIONS - 1) + 1;
        entry.connection = Some(connection);
        ConnectionKey { index, generation: entry.generation }
    }

    /// The connection, if it is still there.
    pub(super) fn find(&mut self, key: ConnectionKey) -> Option<&mut RingConnection> {
        let entry = &mut self.entries[key.index as usize];
        if entry.generation == key.generation { entry.connection.as_mut() } else { None }
    }

    /// A connection that must be there: one of its operations has just completed, or the caller has just had it.
    ///
    /// # Panics
    /// If it is not.
    pub(super) fn get(&mut self, key: ConnectionKey) -> &mut RingConnection {
        self.find(key).expect("a connection stays until none of its operations is outstanding")
    }

    /// Drops a connection.
    pub(super) fn remove(&mut self, key: ConnectionKey) {
        if self.find(key).is_some() {
            self.entries[key.index as usize].connection = None;
            self.free.push(key.index);
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.entries.len()
    }

    /// All of them.
    pub(super) fn keys(&self) -> Vec<ConnectionKey> {
        let numbered = (0..).zip(&self.entries).filter(|(_, entry)| entry.connection.is_some());
        numbered.map(|(index, entry)| ConnectionKey { index, generation: entry.generation }).collect()
    }
}
