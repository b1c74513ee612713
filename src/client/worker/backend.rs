//! The slots of the server's halves, where both ends are ours: a worker takes over the connections that reached the
//! backend for its pairs, and drives them like its own.

use std::sync::Arc;

use mio::Token;
use mio::net::TcpStream;
use socket2::SockRef;

use super::ClientWorker;
use crate::client::pair::Side;
use crate::client::run_state::RunState;
use crate::client::slot::{LiveConnection, SlotStage, SlotState};
use crate::client::socket::{INTEREST, RegisteredSocket};
use crate::client::two_sides::Reached;
use crate::plan::{ConnectionPlan, Profile};

impl ClientWorker {
    /// Takes over the connections that have reached the backend since the last call.
    #[inline]
    pub(super) fn take_over_reached(&mut self) {
        if self.run.two_sides.is_some() {
            self.begin_halves();
        }
    }

    fn begin_halves(&mut self) {
        let run = Arc::clone(&self.run);
        let Some(two_sides) = &run.two_sides else { return };
        for reached in two_sides.taken_over(self.index) {
            self.begin_half(&run, reached);
        }
    }

    /// Notes where the schedule of the server's half in this slot continues, if it has one. Not only at its end: the
    /// client may open its next connection before.
    #[inline]
    pub(super) fn note_schedule(&mut self, index: usize, side: Option<Side>) {
        if side == Some(Side::Backend) {
            self.note_schedule_of_half(index);
        }
    }

    fn note_schedule_of_half(&mut self, index: usize) {
        let SlotStage::Open(open) = &self.slots[index].stage else { return };
        if let (Some(_), Some(pair)) = (open.connection.profile().rate, open.connection.pair()) {
            self.backend.continue_at(pair.slot(), open.connection.next_arrival());
        }
    }

    /// Begins the server's half of a connection.
    fn begin_half(&mut self, run: &RunState, Reached { mut stream, pair }: Reached) {
        let conn = pair.conn();
        let (Some(two_sides), Ok((slot, generation))) = (&run.two_sides, run.plan.slots.of(conn)) else { return };
        let group = slot.group as usize;
        let profile = &run.plan.groups[group];
        prepare(&stream, profile);
        let index = self.backend.take(self.slots.len());
        if index == self.slots.len() {
            self.slots.push(SlotState::new(slot.group as u16, generation));
        } else {
            self.slots[index] = SlotState::new(slot.group as u16, generation);
        }
        // The client's slots alone count among those that others wait for.
        let _ = (self.slots[index].take_working(), self.slots[index].take_awaited());
        let registered = self.wait.registry().register(&mut stream, Token(index), INTEREST);
        if registered.is_err() {
            // The client's half will say that nothing more comes.
            return self.backend.give_back(index);
        }
        two_sides.ledger.open(conn, generation);
        let client = ConnectionPlan::new(Arc::clone(profile), run.plan.seed, slot, conn);
        if let Ok(address) = stream.peer_addr() {
            pair.came_from(address);
        }
        let continues_at = self.backend.continues_at(pair.slot());
        let connection = two_sides.reached(&pair, slot, (client, continues_at), self.clock.read());
        let socket = RegisteredSocket::new(stream);
        self.slots[index].stage = SlotStage::Open(Box::new(LiveConnection { connection, socket, session: None }));
        self.drive(index);
        // It may have waited for this.
        self.wait.enqueue(&mut self.slots, pair.slot());
    }
}

/// Sets the options of the profile on a socket that was accepted. Best effort: without them, it carries the same bytes.
fn prepare(stream: &TcpStream, profile: &Profile) {
    let _ = stream.set_nodelay(profile.nodelay);
    let socket = SockRef::from(stream);
    if let Some(bytes) = profile.sndbuf {
        let _ = socket.set_send_buffer_size(bytes);
    }
    if let Some(bytes) = profile.rcvbuf {
        let _ = socket.set_recv_buffer_size(bytes);
    }
}
