//! `event-select`: event objects say which sockets are ready (WSAEventSelect).
//!
//! # The mechanism
//!
//! WSAEventSelect ties a socket to an event object. When something happens on the socket, Winsock notes it in the
//! socket's *network event record* and signals the event. The program waits for many events at once, asks
//! WSAEnumNetworkEvents what happened, and moves the bytes itself with calls that do not block: a reactor. It needs no
//! window and no message loop, which is why it followed WSAAsyncSelect.
//!
//! The rules:
//! - WSAEnumNetworkEvents takes the record and resets the event in one step. Resetting the event by hand would lose
//!   what was noted in between.
//! - Each note is made once, until a call re-arms it: FD_READ by a receive, FD_ACCEPT by an accept, FD_WRITE by a send
//!   that would have blocked (and once at the start). So one call for each signal is enough, and a socket that stays
//!   ready signals again; but sending must go on until it would block, or no signal follows.
//! - FD_CLOSE comes once and nothing re-arms it, although data may be left: receive until 0. If it came for a FIN, no
//!   other comes for a reset, so a connection that only waits to send tries again from time to time: see `retry`.
//! - A wait returns only the lowest signalled index. A busy connection with a low index would hide the others, so each
//!   round looks at the rest too, and gives each signalled connection one turn: see `event_set`.
//! - An accepted socket inherits the listener's association, so another call ties it to its own event. What had arrived
//!   until then is signalled at once.
//!
//! # The drawback
//!
//! One wait takes 64 handles; with 65 it fails with error 87. So a thread serves 63 connections and keeps one handle
//! for the event that wakes it, and there is a thread for every 63 connections; `--workers` says how many there are
//! from the start. An event object for each connection is a kernel object that no other reactor needs.
//!
//! Sources: Microsoft, 'WSAEventSelect', 'WSAEnumNetworkEvents', 'WSAWaitForMultipleEvents', and 'WSAAsyncSelect' for
//! what re-arms which event.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use crate::server::pool::{Assigned, GrowingPool, IdleTimer, Mailbox, PoolWorker, SlotGuard, WorkerGroup};
use crate::server::readiness::accept_notified::{accept_one, accept_rest};
use crate::server::readiness::connection::{BufferPool, NonblockingConnection, Ready, TurnOutcome};
use crate::server::readiness::retry::{Retry, only_sends};
use crate::server::wait::Waker;
use crate::server::wait::event_set::{self, EventSet};
use crate::server::{Context, ServerPhase};
use crate::sys::event::{Event, NetworkEvents};

/// Accepts on this thread and has the connections served by others; see the head of this file.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let (wake_event, waker) = event_set::wake_event()?;
    let arrivals = Event::manual()?;
    NetworkEvents::of_listener(&listener, &arrivals)?;
    let mut pool: GrowingPool<EventSelectWorker> = GrowingPool::start(&context, &waker)?;
    context.ready(pool.group().wake_all());
    let result = accept(&listener, &[wake_event, arrivals], &mut pool);
    accept_rest(listener, &mut pool);
    pool.finish(result)
}

fn accept(listener: &TcpListener, events: &[Event; 2], pool: &mut GrowingPool<EventSelectWorker>) -> io::Result<()> {
    let [_, arrivals] = events;
    while pool.phase() == ServerPhase::Run {
        // Not the wake event.
        if Event::wait_any(events, None)? == Some(1) && NetworkEvents::take(listener, arrivals)?.can_accept() {
            accept_one(listener, pool);
        }
    }
    Ok(())
}

/// A thread that serves up to 63 connections.
struct EventSelectWorker(EventSet<EventSelectItem>);

struct EventSelectItem {
    // The order matters: the slot is freed after the connection was closed.
    connection: NonblockingConnection,
    _slot: SlotGuard,
}

impl PoolWorker for EventSelectWorker {
    const NAME: &'static str = "event-select";
    const CAPACITY: usize = EventSet::<EventSelectItem>::CAPACITY;
    type Connection = NonblockingConnection;

    fn prepare() -> io::Result<(Self, Waker)> {
        let (event, waker) = event_set::wake_event()?;
        Ok((EventSelectWorker(EventSet::new(event)), waker))
    }

    fn serve(mut self, mut mailbox: Mailbox<Assigned<NonblockingConnection>>, group: &WorkerGroup) -> io::Result<()> {
        let context = group.context();
        let mut pool = BufferPool::new(context.options().buffer);
        let mut idle = IdleTimer::new(context);
        let mut retry = Retry::default();
        loop {
            for (connection, slot) in mailbox.take() {
                if let Err(e) = self.adopt(connection, slot) {
                    context.accept_failed(&e);
                }
            }
            if group.phase() == ServerPhase::Abort {
                self.0.into_items().for_each(|item| item.connection.abort());
                return Ok(());
            }
            if self.0.is_empty() && mailbox.is_over() {
                return Ok(());
            }
            let some_only_send = self.0.items().any(|item| only_sends(item.connection.interest()));
            self.0.round(retry.limit(some_only_send, idle.timeout()), |item, event| {
                turn(&mut item.connection, event, &mut pool) != TurnOutcome::Close
            })?;
            if retry.is_due() {
                self.0.each(|item, _| send_again(&mut item.connection, &mut pool) != TurnOutcome::Close);
            }
            if let Some(now) = idle.due() {
                self.0.each(|item, _| !item.connection.is_idle(now));
            }
        }
    }
}

impl EventSelectWorker {
    /// When the system has no more handles, the connection is closed.
    fn adopt(&mut self, connection: NonblockingConnection, slot: SlotGuard) -> io::Result<()> {
        let event = Event::manual()?;
        NetworkEvents::of_connection(connection.stream(), &event)?;
        self.0.push(EventSelectItem { connection, _slot: slot }, event);
        Ok(())
    }
}

fn turn(connection: &mut NonblockingConnection, event: &Event, pool: &mut BufferPool) -> TurnOutcome {
    match NetworkEvents::take(connection.stream(), event) {
        Ok(events) if !events.is_broken() => {
            let (read, write) = (events.can_read(), events.can_write());
            connection.turn(Ready { read, write, hangup: events.is_closed() }, pool)
        }
        _ => connection.fail(),
    }
}

/// Lets a connection that only waits to send try, although nothing says that it can. If it is broken, the try shows it.
fn send_again(connection: &mut NonblockingConnection, pool: &mut BufferPool) -> TurnOutcome {
    match only_sends(connection.interest()) {
        true => connection.turn(Ready { write: true, ..Ready::default() }, pool),
        false => TurnOutcome::Keep,
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
        let mut pool = BufferPool::new(context.options().buffer);
        let end = Instant::now() + Duration::from_secs(20);
        assert_eq!(send_again(&mut connection, &mut pool), TurnOutcome::Keep, "it still receives");
        while !only_sends(connection.interest()) {
            assert!(Instant::now() < end, "the FIN does not arrive");
            connection.turn(Ready { read: true, ..Ready::default() }, &mut pool);
        }
        assert_eq!(send_again(&mut connection, &mut pool), TurnOutcome::Keep, "the connection is whole");
        reset(sending.join().expect("no panic"));
        while send_again(&mut connection, &mut pool) != TurnOutcome::Close {
            assert!(Instant::now() < end, "the reset goes unnoticed");
        }
        assert_eq!(context.snapshot().connection_errors, 1);
    }
}
