//! The connections of a worker, by the key that their operations carry.
//!
//! A slot is used again, a key is not: with each connection the generation of its slot counts on. A completion of a
//! connection that is gone would be a defect of the worker (it removes a connection only when nothing is outstanding),
//! and is found as such, not taken for one of the next connection in that slot.

use super::connection::Connection;
use super::ring::Key;

/// See above.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

impl Table {
    /// Takes a connection in.
    pub(super) fn insert(&mut self, connection: Connection) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, connection: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        // 1 and up: 0 is `Key::NONE`.
        slot.generation = slot.generation % (Key::GENERATIONS - 1) + 1;
        slot.connection = Some(connection);
        Key { index, generation: slot.generation }
    }

    /// The connection, if it is still there.
    pub(super) fn find(&mut self, key: Key) -> Option<&mut Connection> {
        let slot = &mut self.slots[key.index as usize];
        if slot.generation == key.generation { slot.connection.as_mut() } else { None }
    }

    /// A connection that is there because one of its operations has just completed, or because the caller has just had
    /// it.
    ///
    /// # Panics
    /// If it is not.
    pub(super) fn get(&mut self, key: Key) -> &mut Connection {
        self.find(key).expect("a connection stays until nothing of it is outstanding")
    }

    /// Drops a connection.
    pub(super) fn remove(&mut self, key: Key) {
        if self.find(key).is_some() {
            self.slots[key.index as usize].connection = None;
            self.free.push(key.index);
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// All of them.
    pub(super) fn keys(&self) -> Vec<Key> {
        let numbered = (0..).zip(&self.slots).filter(|(_, slot)| slot.connection.is_some());
        numbered.map(|(index, slot)| Key { index, generation: slot.generation }).collect()
    }
}
