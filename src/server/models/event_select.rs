//! `event-select`: event objects say which sockets are ready (WSAEventSelect).
//!
//! # The mechanism
//!
//! WSAEventSelect ties a socket to an event object. When something happens on the socket Winsock notes it in the
//! socket's *network event record* and signals the event; the program waits for many events at once, asks
//! WSAEnumNetworkEvents what happened, and moves the bytes itself with calls that do not block: a reactor. It needs no
//! window and no message loop, which is why it followed WSAAsyncSelect.
//!
//! The rules that it lives by:
//! - WSAEnumNetworkEvents takes the record and resets the event in one step. To reset the event by hand would lose what
//!   was noted in between.
//! - Each note is made once, until a call re-arms it: FD_READ by a receive, FD_ACCEPT by an accept, FD_WRITE by a send
//!   that would have blocked (besides once at the start). So one call a signal is enough, and a socket that stays ready
//!   signals again; but a send that could not go on must have ended in 'would block', or nobody will call again.
//! - FD_CLOSE comes once and nothing re-arms it, while data may be left: receive until 0. If it came for a FIN none is
//!   left for a reset, so a connection that only waits to send does so again from time to time: see `retry`.
//! - A wait returns the lowest signalled index only. A busy connection with a low index would hide the others, so each
//!   round looks at the rest too, and gives each signalled connection one turn.
//! - An accepted socket inherits the listener's association, so it is tied to its own event by another call. What had
//!   arrived until then is signalled at once.
//!
//! # The drawback
//!
//! One wait takes 64 handles, the 65th makes it fail with error 87. So a thread serves 63 connections and keeps one
//! handle for its door bell, and there is a thread for each 63 connections; `--workers` says how many there are from
//! the start. An event object a connection is a kernel object more than any other reactor needs.
//!
//! Sources: Microsoft, 'WSAEventSelect', 'WSAEnumNetworkEvents', 'WSAWaitForMultipleEvents', and 'WSAAsyncSelect' for
//! what re-arms which event.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use crate::server::event_set::{self, Watched};
use crate::server::readiness::connection::{Connection, Pool, Ready, Turn};
use crate::server::readiness::retry::{Retry, only_sends};
use crate::server::thread_pool::{Bell, Inbox, Seat, Shards, Sweep, Worker};
use crate::server::{Context, Phase};
use crate::sys::event::{Event, NetworkEvents};

/// Accepts on this thread and has the connections served by others; see the head of this file.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let (wake, bell) = event_set::bell()?;
    let arrivals = Event::manual()?;
    NetworkEvents::of_listener(&listener, &arrivals)?;
    let mut shards: Shards<Shard> = Shards::start(&context, bell)?;
    context.ready(shards.wake());
    let result = accept(&listener, &[wake, arrivals], &mut shards);
    drop(listener);
    shards.finish(result)
}

fn accept(listener: &TcpListener, events: &[Event; 2], shards: &mut Shards<Shard>) -> io::Result<()> {
    let [_, arrivals] = events;
    while shards.phase() == Phase::Run {
        // Not the bell's.
        if Event::wait_any(events, None)? == Some(1) && NetworkEvents::take(listener, arrivals)?.can_accept() {
            shards.accept(listener);
        }
    }
    Ok(())
}

/// A thread that serves up to 63 connections.
struct Shard(Watched<Served>);

struct Served {
    // The order matters: the seat is free when the connection is closed.
    connection: Connection,
    _seat: Seat,
}

impl Worker for Shard {
    const NAME: &'static str = "event-select";
    const CAPACITY: usize = Watched::<Served>::CAPACITY;
    type Connection = Connection;

    fn prepare() -> io::Result<(Self, Bell)> {
        let (event, bell) = event_set::bell()?;
        Ok((Shard(Watched::new(event)), bell))
    }

    fn serve(mut self, mut inbox: Inbox<Connection>) -> io::Result<()> {
        let mut pool = Pool::new(inbox.context().options().buffer);
        let mut sweep = Sweep::new(inbox.context());
        let mut retry = Retry::default();
        loop {
            while let Some((connection, seat)) = inbox.next() {
                if let Err(e) = self.adopt(connection, seat) {
                    inbox.context().accept_failed(&e);
                }
            }
            if inbox.phase() == Phase::Abort {
                self.0.into_items().for_each(|served| served.connection.abort());
                return Ok(());
            }
            if inbox.is_over() && self.0.is_empty() {
                return Ok(());
            }
            let some_only_send = self.0.items().any(|served| only_sends(served.connection.interest()));
            self.0.round(retry.limit(some_only_send, sweep.timeout()), |served, event| {
                turn(&mut served.connection, event, &mut pool) != Turn::Close
            })?;
            if retry.is_due() {
                self.0.each(|served, _| send_again(&mut served.connection, &mut pool) != Turn::Close);
            }
            if let Some(now) = sweep.due() {
                self.0.each(|served, _| !served.connection.is_idle(now));
            }
        }
    }
}

impl Shard {
    /// Out of handles, the connection is closed.
    fn adopt(&mut self, connection: Connection, seat: Seat) -> io::Result<()> {
        let event = Event::manual()?;
        NetworkEvents::of_connection(connection.stream(), &event)?;
        self.0.push(Served { connection, _seat: seat }, event);
        Ok(())
    }
}

fn turn(connection: &mut Connection, event: &Event, pool: &mut Pool) -> Turn {
    match NetworkEvents::take(connection.stream(), event) {
        Ok(events) if !events.is_broken() => {
            let (read, write) = (events.can_read(), events.can_write());
            connection.turn(Ready { read, write, hangup: events.is_closed() }, pool)
        }
        _ => connection.fail(),
    }
}

/// If it only waits to send, whether it can or not: it shows whether it is broken.
fn send_again(connection: &mut Connection, pool: &mut Pool) -> Turn {
    match only_sends(connection.interest()) {
        true => connection.turn(Ready { write: true, ..Ready::default() }, pool),
        false => Turn::Keep,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::server::readiness::retry::tests::{deaf_client, reset};

    #[test]
    fn a_connection_that_only_sends_ends_when_it_is_reset_though_no_event_says_so() {
        let (sending, mut connection, context) = deaf_client();
        let mut pool = Pool::new(context.options().buffer);
        let end = Instant::now() + Duration::from_secs(20);
        assert_eq!(send_again(&mut connection, &mut pool), Turn::Keep, "it receives");
        while !only_sends(connection.interest()) {
            assert!(Instant::now() < end, "the FIN does not come");
            connection.turn(Ready { read: true, ..Ready::default() }, &mut pool);
        }
        assert_eq!(send_again(&mut connection, &mut pool), Turn::Keep, "it is well");
        reset(sending.join().expect("no panic"));
        while send_again(&mut connection, &mut pool) != Turn::Close {
            assert!(Instant::now() < end, "the reset is not found");
        }
        assert_eq!(context.snapshot().connection_errors, 1);
    }
}
