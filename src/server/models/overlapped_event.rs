//! `overlapped-event`: overlapped operations that signal an event object when they complete.
//!
//! # The model
//!
//! WSARecv and WSASend get an OVERLAPPED that names an event object, and return at once. When the operation completes,
//! the system signals the event. A thread waits for many events in one wait, learns which one was signalled, and asks
//! WSAGetOverlappedResult for the result. By then the bytes have been moved, so this is a proactor, although it waits
//! much like `event-select`.
//!
//! It keeps these rules:
//! - The event is reset before the result is asked for, and the next operation begins after that. In any other order a
//!   completion in between is lost.
//! - One event serves one operation. An event does not tell which of two operations has completed, and the system
//!   resets it when the second one begins, which wipes out the signal of the first. So a connection here has one event
//!   and one operation at a time: received bytes are sent back before the next receive begins. This halves the number
//!   of events, which are scarce here, but the two directions can't overlap.
//! - WSAGetOverlappedResult is told not to wait. Otherwise it waits for the event itself, and consumes the signal.
//! - A wait reports only the lowest signalled index: see `event_set`.
//!
//! # The drawback
//!
//! One wait takes 64 handles. So a thread serves 63 connections and keeps one handle to be woken by, and there is a
//! thread for each 63 connections: see `growing_pool`. Completion routines and ports were made to remove this limit.
//!
//! Accepts work in the same way: AcceptEx with an event, on the thread that called [`run`].
//!
//! Sources: Microsoft, 'WSAOVERLAPPED', 'WSAGetOverlappedResult', 'WSAWaitForMultipleEvents', 'Overlapped I/O and Event
//! Objects'.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use socket2::Socket;

use crate::server::completion::acceptor::accept_until_drain;
use crate::server::completion::overlapped_connection::{Notify, OverlappedConnection};
use crate::server::pool::{Assigned, GrowingPool, IdleTimer, Mailbox, PoolWorker, SlotGuard, WorkerGroup};
use crate::server::wait::Waker;
use crate::server::wait::event_set::{self, EventSet};
use crate::server::{Context, ServerPhase, Session};
use crate::sys::event::Event;

/// Accepts on this thread; others serve the connections. See the head of this file.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let (wake, waker) = event_set::wake_event()?;
    let mut pool: GrowingPool<OverlappedEventWorker> = GrowingPool::start(&context, &waker)?;
    let group = pool.group().clone();
    context.ready(group.wake_all());
    let accepted = accept_until_drain(
        listener,
        &context,
        wake,
        || group.phase(),
        |socket, session| {
            // If there is no thread for it, only this connection is lost. It is closed by now.
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
    // The order matters: the connection is closed before its slot is free.
    connection: OverlappedConnection<()>,
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
            let aborted = group.phase() == ServerPhase::Abort;
            if aborted {
                // Nothing may be outstanding at the end, so the cancelled operations are waited for.
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
                item.connection.collect();
                !item.connection.advance()
            })?;
            if let Some(now) = idle.due() {
                self.0.each(|item, _| {
                    item.connection.close_if_idle(now);
                    true
                });
            }
        }
    }
}

impl OverlappedEventWorker {
    /// # Errors
    /// No handles are left. The connection is closed then.
    fn adopt(&mut self, socket: Socket, session: Session, slot: SlotGuard) -> io::Result<()> {
        let event = Event::manual()?;
        let notify = Notify::Event(Arc::new(event.try_clone()?));
        let mut connection = OverlappedConnection::new(socket, session, [(), ()], notify);
        if !connection.advance() {
            self.0.push(OverlappedEventItem { connection, _slot: slot }, event);
        }
        Ok(())
    }
}
