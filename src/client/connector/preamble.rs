//! From a handshake that is over to a connection that is open: at once, or after what is said before the stream.

use std::io::{self, Read};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;

use super::{ConnectContext, ConnectFailure, Connector, SlotAction};
use crate::client::clock::millis;
use crate::client::greeting::Greeted;
use crate::client::intake::{FirstWords, NamedClient};
use crate::client::negotiating::Negotiating;
use crate::client::slot::{Handshake, SlotStage, SlotState};
use crate::client::socket::RegisteredSocket;
use crate::measure::LoadStats;
use crate::plan::FirstSpeaker;
use crate::stream::{ConnId, Divergence, FindingKind};
use crate::transport::{FirstBytesRead, MOST_HEADER_BYTES, ReceivedHeader, read_proxy_header};

/// What is wrong with the first bytes of a server that speaks first.
type WrongGreeting = (FindingKind, io::Error, Option<Box<Divergence>>);

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
        let preamble = target.preamble().cloned();
        let is_greeted = context.run.plan.groups[slot.group()].speaks_first == FirstSpeaker::Server;
        if preamble.is_none() && !is_greeted {
            return self.opened((index, slot), stats, (conn, (socket, None), began), context);
        }
        self.handshakes += 1;
        // It has what is left of the time for the connect.
        slot.owes(true, began, millis(context.run.plan.groups[slot.group()].connect_timeout), true);
        let negotiating = Negotiating::new(socket, preamble.as_ref(), is_greeted, (target, source, began));
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
        let (timed_out, is_up) = (stalled.then(|| negotiating.timed_out(limit)), negotiating.awaits_greeting());
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
                if negotiating.target.preamble().is_some() {
                    stats.connect.record(now - negotiating.began);
                }
                let server = negotiating.greeting().map(|greeting| claimed(conn, &greeting, context)).transpose();
                match server {
                    Ok(server) => {
                        let began = negotiating.began;
                        let opened = (conn, negotiating.into_socket(), began);
                        let action = self.opened((index, slot), stats, opened, context);
                        server.into_iter().for_each(|server| greeted(conn, server, context));
                        action
                    }
                    Err(wrong) => self.not_greeted((index, slot), stats, (conn, *negotiating, wrong), context),
                }
            }
            Err(error) if is_up => {
                let kind = match error.kind() {
                    io::ErrorKind::UnexpectedEof => FindingKind::Truncated,
                    io::ErrorKind::TimedOut => FindingKind::Stalled,
                    _ => FindingKind::Reset,
                };
                self.not_greeted((index, slot), stats, (conn, *negotiating, (kind, error, None)), context)
            }
            Err(error) => {
                let failure = given_up(*negotiating, (conn, FindingKind::ConnectFailed, error), context);
                self.connect_failed((index, slot), &mut stats.counters, failure, context)
            }
        }
    }

    /// The connection was open, and the first bytes of the server, which speaks first, did not come, or are another
    /// connection's.
    fn not_greeted(
        &mut self,
        (index, slot): (usize, &mut SlotState),
        stats: &mut LoadStats,
        (conn, negotiating, (kind, error, damage)): (ConnId, Negotiating, WrongGreeting),
        context: &ConnectContext<'_>,
    ) -> SlotAction {
        let at = Duration::from_nanos(context.clock.last());
        stats.counters.opened += 1;
        stats.active_time.opened(negotiating.began);
        stats.timeline.at(at).opened += 1;
        stats.timeline.at(at).closed += 1;
        let failure = ConnectFailure { damage, ..given_up(negotiating, (conn, kind, error), context) };
        let action = self.connect_failed((index, slot), &mut stats.counters, failure, context);
        // It was opened.
        stats.counters.connect_failures -= 1;
        action
    }
}

/// Closes the socket of a connection that can't go on.
fn given_up(
    negotiating: Negotiating,
    (conn, kind, error): (ConnId, FindingKind, io::Error),
    context: &ConnectContext<'_>,
) -> ConnectFailure {
    let (target, source) = (negotiating.target.clone(), negotiating.source);
    let mut stream = negotiating.into_stream();
    let _ = context.registry.deregister(&mut stream);
    ConnectFailure { conn, kind, source, target, error, damage: None }
}

/// The server's socket of the connection that this greeting names, or what is wrong with it.
fn claimed(conn: ConnId, greeting: &FirstWords, context: &ConnectContext<'_>) -> Result<TcpStream, WrongGreeting> {
    let run = context.run;
    let wrong = |kind, what: &str, damage| Err((kind, io::Error::new(io::ErrorKind::InvalidData, what), damage));
    let intake = run.plan.backend.as_ref();
    match run.two_sides.as_ref().map_or(Greeted::Unknown, |two_sides| two_sides.claim(greeting)) {
        Greeted::Own(stream, from) => {
            intake.inspect(|intake| intake.was_claimed(from));
            Ok(stream)
        }
        Greeted::Taken => {
            intake.inspect(|intake| intake.was_mistaken(true));
            wrong(FindingKind::Crosstalk, "the first bytes of the server are those of another connection", None)
        }
        Greeted::Unknown => {
            intake.inspect(|intake| intake.was_mistaken(false));
            let damage = run.two_sides.as_ref().and_then(|two_sides| two_sides.greeting_damage(conn, greeting));
            let kind = damage.as_ref().map_or(FindingKind::Corrupt, |damage| damage.kind);
            let what = "the first bytes of the server are none that it has sent in this run";
            wrong(kind, what, damage.map(Box::new))
        }
    }
}

/// The connection is open, and this is the server's socket of it.
fn greeted(conn: ConnId, mut server: TcpStream, context: &ConnectContext<'_>) {
    let run = context.run;
    let Some((two_sides, pair)) = run.two_sides.as_ref().and_then(|sides| Some((sides, sides.pairs.of(conn)?))) else {
        return;
    };
    if let Some(header) = header_before_stream(&mut server) {
        let named = header.source.map_or(NamedClient::Unknown, |address| two_sides.named(&pair, address));
        run.plan.backend.iter().for_each(|intake| intake.had_header(conn, named));
    }
    // The worker is this one, and looks there before it waits.
    let _ = two_sides.hand_over(server, pair, context.clock.last());
}

/// Takes out the header of the PROXY protocol that lies before the client's stream, if one does. A proxy sends it as
/// soon as it has connected, so it is there before the client has its greeting. Nobody waits for it: there may be none.
fn header_before_stream(server: &mut TcpStream) -> Option<ReceivedHeader> {
    let mut bytes = [0; MOST_HEADER_BYTES];
    let there = server.peek(&mut bytes).ok()?;
    let FirstBytesRead::Header(header) = read_proxy_header(&bytes[..there]) else { return None };
    // These bytes are there, so this does not wait.
    server.read_exact(&mut bytes[..header.len]).ok()?;
    Some(header)
}
