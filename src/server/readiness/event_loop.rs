//! The loop of the models that learn by one call which of all their sockets are ready: select, poll, sigio, epoll.
//!
//! These models differ only in that call, so each of them is a [`Selector`]. The rest is written once: accepting,
//! dealing connections out to the workers, giving each ready connection its turn, closing idle ones, draining and
//! aborting.
//!
//! The loop is generic over its selector, so it is compiled for each model, and a message costs no indirect call.

#![expect(unsafe_code, reason = "a selector holds descriptors without a borrow, so the loop keeps them open")]

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use slab::Slab;
use socket2::SockRef;

use super::connection::{BufferPool, Interest, NonblockingConnection, Ready, TurnOutcome};
use crate::server::accepting::accept;
use crate::server::pool::{Dealer, IdleTimer, Mailbox, Position, WorkerGroup, run_workers};
use crate::server::wait::Waker;
use crate::server::{Accept, Context, ServerPhase};

/// Accepts in a row, before the connections get their next turn. There are many, because Linux drops the end of a
/// handshake when the listener's queue is full, and the client then waits for seconds.
const ACCEPTS_PER_TURN: usize = 256;

/// The name of a registered socket: a small number, so that a selector may use it as an index.
pub(in crate::server) type Token = usize;

/// The listener's token. A connection has the key of its entry, plus one.
pub(in crate::server) const LISTENER: Token = 0;

/// How a model learns which sockets are ready.
///
/// It is level-triggered, unless it says otherwise: a socket is reported after each wait for as long as it is ready.
pub(in crate::server) trait Selector: Sized + 'static {
    /// A socket is reported only when something has changed. Then each turn goes on until a call would block, and the
    /// loop asks for another report of a socket whose turn has ended earlier. A new socket is reported once.
    const IS_EDGE_TRIGGERED: bool = false;

    /// A selector without sockets, and the waker that interrupts its wait. Called on the thread that will wait.
    ///
    /// # Errors
    /// The system's: out of descriptors or memory.
    fn new() -> io::Result<(Self, Waker)>;

    /// Watches a socket from now on, under a token that no other registered socket has.
    ///
    /// # Errors
    /// The system watches no more sockets. Then it is not registered.
    ///
    /// # Safety
    /// The socket stays open until it is deregistered with the same token, or until the selector waits no more.
    unsafe fn register(&mut self, token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()>;

    /// Changes what a registered socket is watched for. `socket` is the one that has this token.
    ///
    /// # Errors
    /// The system's.
    fn modify(&mut self, token: Token, socket: SockRef<'_>, interest: Interest) -> io::Result<()>;

    /// Stops watching a registered socket, which is still open. `socket` is the one that has this token.
    fn deregister(&mut self, token: Token, socket: SockRef<'_>);

    /// Waits until a socket is ready, the waker is called, or `timeout` has passed.
    ///
    /// # Errors
    /// The wait failed. An interruption by a signal is not an error.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// The next socket that the last wait has found ready, unless it was deregistered since.
    fn next_ready(&mut self) -> Option<(Token, Ready)>;

    /// Reports a registered socket after the next wait, which must not block. `socket` is the one that has this token.
    /// Only an edge-triggered selector is asked.
    fn report_again(&mut self, _token: Token, _socket: SockRef<'_>) {}
}

/// Serves with the selector `S` until the context says stop.
///
/// # Errors
/// A selector can't be made, a thread can't be started, or a wait failed.
pub(in crate::server) fn run<S: Selector>(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    run_workers(
        listener,
        &context,
        |_| Builder::new(),
        S::new,
        |selector, position| EventLoop::<S>::new(selector, position).serve(),
    )
}

/// One worker.
pub(in crate::server) struct EventLoop<S> {
    selector: S,
    /// As large as the most connections that this worker ever had. A table by descriptor would be as large as the
    /// highest descriptor of the process, in each worker. Connections are added only before a wait, when all ready ones
    /// of the last wait had their turns; so no key is used again too early.
    connections: Slab<NonblockingConnection>,
    buffers: BufferPool,
    idle: IdleTimer,
    group: WorkerGroup,
    mailbox: Mailbox<NonblockingConnection>,
    acceptor: Option<Acceptor>,
    /// Connections that this worker has accepted for itself, to be registered before the next wait.
    accepted: Vec<NonblockingConnection>,
}

/// The listener and the dealer, which the first worker has until it drains.
struct Acceptor {
    listener: TcpListener,
    dealer: Dealer<NonblockingConnection>,
    is_registered: bool,
    /// When to go on accepting, after descriptors or memory were short.
    resume_at: Option<Instant>,
}

impl<S: Selector> EventLoop<S> {
    fn new(selector: S, position: Position<NonblockingConnection>) -> EventLoop<S> {
        let Position { group, mailbox, accepting } = position;
        let context = group.context();
        EventLoop {
            selector,
            connections: Slab::new(),
            buffers: BufferPool::new(context.options().buffer),
            idle: IdleTimer::new(context),
            group,
            mailbox,
            acceptor: accepting.map(|(listener, dealer)| Acceptor {
                listener,
                dealer,
                is_registered: false,
                resume_at: None,
            }),
            accepted: Vec::new(),
        }
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            match self.group.phase() {
                ServerPhase::Run => {}
                ServerPhase::Drain => self.accept_rest(),
                ServerPhase::Abort => {
                    self.abort();
                    return Ok(());
                }
            }
            self.adopt();
            if self.connections.is_empty() && self.mailbox.is_over() {
                return Ok(());
            }
            self.watch_listener()?;
            self.selector.wait(self.timeout())?;
            while let Some((token, ready)) = self.selector.next_ready() {
                match token.checked_sub(1) {
                    None => self.accept(),
                    Some(key) => self.turn(key, ready),
                }
            }
            self.look_at_clock();
        }
    }

    /// Registers the connections that were dealt to this worker. One that can't be registered is closed.
    fn adopt(&mut self) {
        let dealt = self.mailbox.take();
        if self.accepted.is_empty() && dealt.is_empty() {
            return;
        }
        for mut connection in self.accepted.drain(..).chain(dealt) {
            if S::IS_EDGE_TRIGGERED {
                connection.receive_until_it_would_block();
            }
            let entry = self.connections.vacant_entry();
            let socket = SockRef::from(connection.stream());
            // SAFETY: the connection is kept in `connections`. Whatever takes it out deregisters it first, by its key;
            // a panic ends the loop, and then nothing waits any more.
            let registered = unsafe { self.selector.register(entry.key() + 1, socket, connection.interest()) };
            match registered {
                Ok(()) => drop(entry.insert(connection)),
                Err(_) => connection.abort(),
            }
        }
    }

    fn turn(&mut self, key: usize, ready: Ready) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let is_open = match connection.turn(ready, &mut self.buffers) {
            TurnOutcome::Keep => true,
            TurnOutcome::Watch(interest) => {
                self.selector.modify(key + 1, SockRef::from(connection.stream()), interest).is_ok()
            }
            TurnOutcome::Close => false,
        };
        if !is_open {
            self.selector.deregister(key + 1, SockRef::from(connection.stream()));
            drop(self.connections.remove(key));
        } else if S::IS_EDGE_TRIGGERED && connection.has_more_to_do() {
            self.selector.report_again(key + 1, SockRef::from(connection.stream()));
        }
    }

    // ---- the listener

    /// Watches the listener, except while accepting pauses.
    fn watch_listener(&mut self) -> io::Result<()> {
        let Some(acceptor) = &mut self.acceptor else { return Ok(()) };
        let is_wanted = acceptor.resume_at.is_none();
        if is_wanted != acceptor.is_registered {
            acceptor.is_registered = is_wanted;
            let listener = SockRef::from(&acceptor.listener);
            if is_wanted {
                // SAFETY: the acceptor is kept. `stop_watching_listener` alone takes it out, and deregisters it first.
                unsafe { self.selector.register(LISTENER, listener, Interest { read: true, write: false }) }?;
            } else {
                self.selector.deregister(LISTENER, listener);
            }
        }
        Ok(())
    }

    /// Accepts the connections that wait at the listener, and deals them out.
    fn accept(&mut self) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let context = self.group.context();
        for _ in 0..ACCEPTS_PER_TURN {
            match accept(&acceptor.listener) {
                Ok(stream) => {
                    let connection = NonblockingConnection::new(stream, context);
                    self.accepted.extend(connection.and_then(|connection| acceptor.dealer.deal_to_others(connection)));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    if let Accept::After(pause) = context.accept_failed(&e) {
                        // It is registered again afterwards, and so reported.
                        acceptor.resume_at = Some(Instant::now() + pause);
                        return;
                    }
                }
            }
        }
        if S::IS_EDGE_TRIGGERED {
            self.selector.report_again(LISTENER, SockRef::from(&acceptor.listener));
        }
    }

    /// Accepts the last connections that wait at the listener, closes it, and deals them out.
    fn accept_rest(&mut self) {
        let Some(Acceptor { listener, mut dealer, .. }) = self.stop_watching_listener() else { return };
        let context = self.group.context();
        for stream in context.accept_rest(listener) {
            let connection = NonblockingConnection::new(stream, context);
            self.accepted.extend(connection.and_then(|connection| dealer.deal_to_others(connection)));
        }
    }

    fn stop_watching_listener(&mut self) -> Option<Acceptor> {
        let acceptor = self.acceptor.take()?;
        if acceptor.is_registered {
            self.selector.deregister(LISTENER, SockRef::from(&acceptor.listener));
        }
        Some(acceptor)
    }

    // ---- the clock

    /// How long the wait may last. It is endless unless idle connections must be closed or accepting pauses.
    fn timeout(&self) -> Option<Duration> {
        self.idle.timeout_or(self.resume_at())
    }

    fn resume_at(&self) -> Option<Instant> {
        self.acceptor.as_ref().and_then(|acceptor| acceptor.resume_at)
    }

    fn look_at_clock(&mut self) {
        if !self.idle.is_set() && self.resume_at().is_none() {
            return;
        }
        let now = Instant::now();
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.resume_at = acceptor.resume_at.filter(|at| *at > now);
        }
        if self.idle.is_due_at(now) {
            let selector = &mut self.selector;
            self.connections.retain(|key, connection| {
                let is_idle = connection.is_idle(now);
                if is_idle {
                    selector.deregister(key + 1, SockRef::from(connection.stream()));
                }
                !is_idle
            });
        }
    }

    /// Closes everything with a reset.
    fn abort(&mut self) {
        drop(self.stop_watching_listener());
        for (key, connection) in &self.connections {
            self.selector.deregister(key + 1, SockRef::from(connection.stream()));
        }
        let waiting = self.accepted.drain(..).chain(self.mailbox.take());
        self.connections.drain().chain(waiting).for_each(NonblockingConnection::abort);
    }
}
