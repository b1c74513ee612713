//! From a handshake that is over to a connection that is open: at once, or after what is said before the stream.

use mio::event::Event;

use super::{ConnectContext, ConnectFailure, Connector, SlotAction};
use crate::client::clock::millis;
use crate::client::negotiating::Negotiating;
use crate::client::slot::{Handshake, SlotStage, SlotState};
use crate::client::socket::RegisteredSocket;
use crate::measure::LoadStats;
use crate::stream::ConnId;

impl Connector {
    /// The handshake is over. Without a preamble the connection is open.
    pub(super) fn connected(
        &mut self,
        (index, slot): (usize, &mut SlotState),
        stats: &mut LoadStats,
        (conn, handshake, event): (ConnId, Handshake, Option<&Event>),
        context: &ConnectContext<'_>,
    ) -> SlotAction {
        let Handshake { stream, target, source, began } = handshake;
        let mut socket = RegisteredSocket::new(stream);
        if let Some(event) = event {
            socket.notice(event.into());
        }
        let Some(preamble) = target.preamble().cloned() else {
            return self.opened((index, slot), stats, (conn, (socket, None), began), context);
        };
        self.handshakes += 1;
        // It has what is left of the time for the connect.
        slot.owes(true, began, millis(context.run.plan.groups[slot.group()].connect_timeout), true);
        let negotiating = Negotiating::new(socket, &preamble, (target, source, began));
        slot.stage = SlotStage::Negotiating(Box::new(negotiating));
        self.negotiate((index, slot), stats, None, context)
    }

    /// Takes the preamble of a connection as far as it goes now.
    pub(super) fn negotiate(
        &mut self,
        (index, slot): (usize, &mut SlotState),
        stats: &mut LoadStats,
        event: Option<&Event>,
        context: &ConnectContext<'_>,
    ) -> SlotAction {
        let limit = context.run.plan.groups[slot.group()].connect_timeout;
        let now = context.clock.read();
        let stalled = slot.take_stalled();
        let SlotStage::Negotiating(negotiating) = &mut slot.stage else { return SlotAction::AwaitEvent };
        match event {
            Some(event) => negotiating.notice(event),
            None if stalled => negotiating.assume_ready(),
            None => {}
        }
        let result = negotiating.advance();
        let timed_out = stalled.then(|| negotiating.timed_out(limit));
        let result = match self.step_ended(slot, stats, (result, timed_out), context) {
            Ok(result) => result,
            Err(action) => return action,
        };
        let SlotStage::Negotiating(negotiating) = std::mem::replace(&mut slot.stage, SlotStage::Next) else {
            return SlotAction::AwaitEvent;
        };
        let conn = self.conn_of((index, slot), context);
        match result {
            Ok(()) => {
                stats.connect.record(now - negotiating.began);
                let began = negotiating.began;
                self.opened((index, slot), stats, (conn, negotiating.into_socket(), began), context)
            }
            Err(error) => {
                let (target, source) = (negotiating.target.clone(), negotiating.source);
                let mut stream = negotiating.into_stream();
                let _ = context.registry.deregister(&mut stream);
                let failure = ConnectFailure { conn, source, target, error };
                self.connect_failed((index, slot), &mut stats.counters, failure, context)
            }
        }
    }
}
