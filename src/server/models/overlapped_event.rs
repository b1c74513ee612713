//! `overlapped-event`: overlapped operations that signal an event object when they are complete.
//!
//! # The model
//!
//! WSARecv and WSASend are given an OVERLAPPED with an event object in it, and return at once. When the operation is
//! complete the system signals the event. A thread waits for many events in one wait, learns which one was signalled,
//! and asks WSAGetOverlappedResult for the outcome: the bytes are there already, so this is a proactor, although it
//! waits much like `event-select`.
//!
//! The rules that it lives by:
//! - The event is reset before the next operation begins on it, and the outcome is asked for after the reset: in any
//!   other order a completion between the two is lost.
//! - One event, one operation: an event does not tell for which of two it was signalled, and the system resets it when
//!   the second one begins, which wipes out what the first one had just told. Here a connection has one event and one
//!   operation at a time: what was received is sent back before the next receive begins. That halves the events, which
//!   are what is scarce here, and costs what the two directions could have done at the same time.
//! - WSAGetOverlappedResult is told not to wait; with fWait it waits for the event, and steals it.
//! - A wait tells the lowest signalled index only: see `watched`.
//!
//! # The drawback
//!
//! One wait takes 64 handles. So a thread serves 63 connections and keeps one handle for its bell, and there is a
//! thread for each 63 connections: see `shards`. Completion routines and ports were made to get rid of that.
//!
//! The accept is of the same kind: AcceptEx with an event, on the thread that called [`run`].
//!
//! Sources: Microsoft, 'WSAOVERLAPPED', 'WSAGetOverlappedResult', 'WSAWaitForMultipleEvents', 'Overlapped I/O and Event
//! Objects'.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use socket2::Socket;

use crate::server::completion::acceptor::accept_until_drain;
use crate::server::completion::overlapped::Operation;
use crate::server::completion::overlapped_connection::{Duplex, Routines};
use crate::server::event_set::{self, Watched};
use crate::server::thread_pool::{Bell, Inbox, Seat, Shards, Sweep, Worker};
use crate::server::{Context, Phase, Session};
use crate::sys::event::Event;

/// Accepts on this thread and has the connections served by others; see the head of this file.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let (wake, bell) = event_set::bell()?;
    let mut shards: Shards<Shard> = Shards::start(&context, bell)?;
    context.ready(shards.wake());
    let accepted = accept_until_drain(listener, &context, wake, shards.watch_phase(), |socket, session| {
        // No thread for it: the connection was closed, and the others are well.
        if let Err(e) = shards.hand_over((socket, session)) {
            context.accept_failed(&e);
        }
        Ok(())
    });
    shards.finish(accepted)
}

/// A thread that serves up to 63 connections.
struct Shard(Watched<Served>);

struct Served {
    // The order matters: the seat is free when the connection is closed.
    connection: Duplex<()>,
    _seat: Seat,
}

impl Worker for Shard {
    const NAME: &'static str = "overlapped-event";
    const CAPACITY: usize = Watched::<Served>::CAPACITY;
    type Connection = (Socket, Session);

    fn prepare() -> io::Result<(Self, Bell)> {
        let (event, bell) = event_set::bell()?;
        Ok((Shard(Watched::new(event)), bell))
    }

    fn serve(mut self, mut inbox: Inbox<Self::Connection>) -> io::Result<()> {
        let mut sweep = Sweep::new(inbox.context());
        loop {
            while let Some(((socket, session), seat)) = inbox.next() {
                if let Err(e) = self.adopt(socket, session, seat) {
                    inbox.context().accept_failed(&e);
                }
            }
            let aborted = inbox.phase() == Phase::Abort;
            if aborted {
                // Nothing may be outstanding at the end: those that were cancelled are waited for.
                self.0.each(|served, _| {
                    served.connection.abort();
                    !served.connection.advance()
                });
            }
            if self.0.is_empty() && (inbox.is_over() || aborted) {
                return Ok(());
            }
            self.0.round(sweep.timeout(), |served, event| {
                event.reset();
                served.connection.collect_receive();
                served.connection.collect_send();
                !served.connection.advance()
            })?;
            if let Some(now) = sweep.due() {
                self.0.each(|served, _| {
                    served.connection.end_if_idle(now);
                    true
                });
            }
        }
    }
}

impl Shard {
    /// Out of handles, the connection is closed.
    fn adopt(&mut self, socket: Socket, session: Session, seat: Seat) -> io::Result<()> {
        let event = Event::manual()?;
        let (receive, send) = (Operation::new((), Some(&event)), Operation::new((), Some(&event)));
        let mut connection = Duplex::new(socket, session, receive, send, Routines::default()).in_turns();
        if !connection.advance() {
            self.0.push(Served { connection, _seat: seat }, event);
        }
        Ok(())
    }
}
