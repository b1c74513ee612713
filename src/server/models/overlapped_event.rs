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
//! - A wait tells the lowest signalled index only: see `event_set`.
//!
//! # The drawback
//!
//! One wait takes 64 handles. So a thread serves 63 connections and keeps one handle for its bell, and there is a
//! thread for each 63 connections: see `thread_pool`. Completion routines and ports were made to get rid of that.
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
use crate::server::event_set::{self, EventSet};
use crate::server::pool::{Assigned, IdleTimer, Mailbox, PoolWorker, SlotGuard, ThreadPool, Waker, WorkerGroup};
use crate::server::{Context, Phase, Session};
use crate::sys::event::Event;

/// Accepts on this thread and has the connections served by others; see the head of this file.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let (wake, waker) = event_set::wake_event()?;
    let mut pool: ThreadPool<OverlappedEventWorker> = ThreadPool::start(&context, &waker)?;
    let group = pool.group().clone();
    context.ready(group.wake_all());
    let accepted = accept_until_drain(
        listener,
        &context,
        wake,
        || group.phase(),
        |socket, session| {
            // No thread for it: the connection was closed, and the others are well.
            if let Err(e) = pool.hand_over((socket, session)) {
                context.accept_failed(&e);
            }
            Ok(())
        },
    );
    pool.finish(accepted)
}

/// A thread that serves up to 63 connections.
struct OverlappedEventWorker(EventSet<OverlappedEventItem>);

struct OverlappedEventItem {
    // The order matters: the slot is freed after the connection was closed.
    connection: Duplex<()>,
    _slot: SlotGuard,
}

impl PoolWorker for OverlappedEventWorker {
    const NAME: &'static str = "overlapped-event";
    const CAPACITY: usize = EventSet::<OverlappedEventItem>::CAPACITY;
    type Connection = (Socket, Session);

    fn prepare() -> io::Result<(Self, Waker)> {
        let (event, waker) = event_set::wake_event()?;
        Ok((OverlappedEventWorker(EventSet::new(event)), waker))
    }

    fn serve(mut self, mut mailbox: Mailbox<Assigned<Self::Connection>>, group: &WorkerGroup) -> io::Result<()> {
        let mut idle = IdleTimer::new(group.context());
        loop {
            for ((socket, session), slot) in mailbox.take() {
                if let Err(e) = self.adopt(socket, session, slot) {
                    group.context().accept_failed(&e);
                }
            }
            let aborted = group.phase() == Phase::Abort;
            if aborted {
                // Nothing may be outstanding at the end: those that were cancelled are waited for.
                self.0.each(|item, _| {
                    item.connection.abort();
                    !item.connection.advance()
                });
            }
            if self.0.is_empty() && (mailbox.is_over() || aborted) {
                return Ok(());
            }
            self.0.round(idle.timeout(), |item, event| {
                event.reset();
                item.connection.collect_receive();
                item.connection.collect_send();
                !item.connection.advance()
            })?;
            if let Some(now) = idle.due() {
                self.0.each(|item, _| {
                    item.connection.end_if_idle(now);
                    true
                });
            }
        }
    }
}

impl OverlappedEventWorker {
    /// Out of handles, the connection is closed.
    fn adopt(&mut self, socket: Socket, session: Session, slot: SlotGuard) -> io::Result<()> {
        let event = Event::manual()?;
        let (receive, send) = (Operation::new((), Some(&event)), Operation::new((), Some(&event)));
        let mut connection = Duplex::new(socket, session, receive, send, Routines::default()).in_turns();
        if !connection.advance() {
            self.0.push(OverlappedEventItem { connection, _slot: slot }, event);
        }
        Ok(())
    }
}
