//! `event-select`: event objects say which sockets are ready (WSAEventSelect).
//!
//! # The mechanism
//!
//! WSAEventSelect ties a socket to an event object. When something happens on the socket Winsock notes it in the socket's
//! *network event record* and signals the event; the program waits for many events at once, asks WSAEnumNetworkEvents what
//! happened, and moves the bytes itself with calls that do not block: a reactor. It needs no window and no message loop,
//! which is why it followed WSAAsyncSelect.
//!
//! The rules that it lives by:
//! - WSAEnumNetworkEvents takes the record and resets the event in one step. To reset the event by hand would lose what was
//!   noted in between.
//! - Each note is made once, until a call re-arms it: FD_READ by a receive, FD_ACCEPT by an accept, FD_WRITE by a send that
//!   would have blocked (besides once at the start). So one receive a signal is enough, and a socket that stays readable
//!   signals again; and a send that could not go on must have ended in 'would block', or nobody will call again.
//! - FD_CLOSE comes once and nothing re-arms it, while data may be left: receive until 0.
//! - A wait returns the lowest signalled index only. A busy connection with a low index would hide the others, so each
//!   round looks at the rest too, and gives each signalled connection one turn.
//! - An accepted socket inherits the listener's association, so it is tied to its own event by another call. What had
//!   arrived until then is signalled at once.
//!
//! # The drawback
//!
//! One wait takes 64 handles, the 65th makes it fail with error 87. So a thread serves 63 connections and keeps one handle
//! for its door bell, and there is a thread for each 63 connections; `--workers` says how many there are from the start. An
//! event object a connection is a kernel object more than any other reactor needs.
//!
//! Sources: Microsoft, 'WSAEventSelect', 'WSAEnumNetworkEvents', 'WSAWaitForMultipleEvents', and 'WSAAsyncSelect' for what
//! re-arms which event.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::events::{Event, MAX_WAIT, NetworkEvents};
use super::shards::{Bell, Inbox, Seat, Shards, Sweep, Taken, Worker};
use crate::server::reactor::{Connection, Pool, Ready, Turn};
use crate::server::{Context, Phase};

/// Accepts in one go. The last one re-arms FD_ACCEPT, so that more to accept signals again.
const ACCEPTS_A_TURN: usize = 64;
/// Where the door bell stands among the events: first, so that no busy connection hides it.
const BELL: usize = 0;

/// Accepts on this thread and has the connections served by others; see the head of this file.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let (event, bell) = bell()?;
    let arrivals = Event::manual()?;
    NetworkEvents::select(&listener, &arrivals)?;
    let mut shards: Shards<Shard> = Shards::start(&context, bell)?;
    context.ready(shards.wake());
    let result = accept(&listener, &[event, arrivals], &mut shards);
    drop(listener);
    shards.finish(result)
}

fn accept(listener: &TcpListener, events: &[Event; 2], shards: &mut Shards<Shard>) -> io::Result<()> {
    while shards.phase() == Phase::Run {
        Event::wait_any(events, None)?;
        NetworkEvents::take(listener, &events[1])?;
        for _ in 0..ACCEPTS_A_TURN {
            match shards.accept(listener) {
                Taken::Connection => {}
                Taken::Nothing => break,
                Taken::Failed(pause) => {
                    // The failed accept has re-armed FD_ACCEPT as well: only the bell may end this wait.
                    Event::wait_any(&events[..1], Some(pause))?;
                    break;
                }
            }
        }
    }
    Ok(())
}

fn bell() -> io::Result<(Event, Bell)> {
    let event = Event::auto()?;
    let ring = event.try_clone()?;
    Ok((event, Arc::new(move || ring.set())))
}

/// A thread that serves up to 63 connections.
struct Shard {
    /// The bell, then one a connection, in the order of `served`.
    events: Vec<Event>,
    served: Vec<Served>,
}

struct Served {
    // The order matters: the seat is free when the connection is closed.
    connection: Connection,
    _seat: Seat,
}

impl Worker for Shard {
    const NAME: &'static str = "event-select";
    const CAPACITY: usize = MAX_WAIT - 1;
    type Connection = Connection;

    fn prepare() -> io::Result<(Self, Bell)> {
        let (event, bell) = bell()?;
        Ok((Shard { events: vec![event], served: Vec::new() }, bell))
    }

    fn serve(mut self, mut inbox: Inbox<Connection>) -> io::Result<()> {
        let mut pool = Pool::new(inbox.context().options().buffer);
        let mut sweep = Sweep::new(inbox.context());
        loop {
            while let Some((connection, seat)) = inbox.next() {
                if let Err(e) = self.adopt(connection, seat) {
                    inbox.context().accept_failed(&e);
                }
            }
            if inbox.phase() == Phase::Abort {
                self.served.into_iter().for_each(|served| served.connection.abort());
                return Ok(());
            }
            if inbox.is_over() && self.served.is_empty() {
                return Ok(());
            }
            let first = Event::wait_any(&self.events, sweep.timeout())?;
            self.round(first, &mut pool)?;
            if let Some(now) = sweep.due() {
                self.close_idle(now);
            }
        }
    }
}

impl Shard {
    /// Out of handles, the connection is closed.
    fn adopt(&mut self, connection: Connection, seat: Seat) -> io::Result<()> {
        let event = Event::manual()?;
        NetworkEvents::select(connection.stream(), &event)?;
        self.events.push(event);
        self.served.push(Served { connection, _seat: seat });
        Ok(())
    }

    /// A turn for each connection whose event is signalled, from the first one on.
    fn round(&mut self, first: Option<usize>, pool: &mut Pool) -> io::Result<()> {
        let mut signalled = first;
        while let Some(index) = signalled {
            // Where a connection was closed the last one stands now, and has not been looked at.
            let rest = if index == BELL || self.turn(index - 1, pool) { index + 1 } else { index };
            if rest == self.events.len() {
                break;
            }
            signalled = Event::wait_any(&self.events[rest..], Some(Duration::ZERO))?.map(|next| rest + next);
        }
        Ok(())
    }

    /// `false`: the connection was closed, and the last one has taken its place.
    fn turn(&mut self, at: usize, pool: &mut Pool) -> bool {
        let connection = &mut self.served[at].connection;
        let ready = match NetworkEvents::take(connection.stream(), &self.events[at + 1]) {
            Ok(events) => Ready { read: events.can_read(), write: events.can_write(), hangup: events.is_closed() },
            // Then the next receive says what is wrong.
            Err(_) => Ready { hangup: true, ..Ready::default() },
        };
        let open = connection.turn(ready, pool) != Turn::Close;
        if !open {
            self.close(at);
        }
        open
    }

    fn close(&mut self, at: usize) {
        self.served.swap_remove(at);
        self.events.swap_remove(at + 1);
    }

    fn close_idle(&mut self, now: Instant) {
        for at in (0..self.served.len()).rev() {
            if self.served[at].connection.is_idle(now) {
                self.close(at);
            }
        }
    }
}
