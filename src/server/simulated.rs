//! The readiness models' server over sockets that a test brings: real connections, sessions, rings and counters, with
//! no system beneath them. The simulation of the client drives it, and may not see further into the servers than this.

#![cfg(all(test, unix))]

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::mpsc::channel;

use super::readiness::connection::{
    BufferPool, Interest, NonblockingConnection, NonblockingSocket, Ready, TurnOutcome,
};
use super::session::Session;
use super::{Context, CountersSnapshot, Options};

/// A socket that does not block, as a simulated kernel offers it. Dropping it closes it.
pub(crate) trait SimulatedSocket {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize>;
    fn send(&self, from: &[u8]) -> io::Result<usize>;
    fn send_fin(&self) -> io::Result<()>;
}

/// What the wait reports of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) hangup: bool,
}

struct Gathered<S>(S);

/// Each vectored call is one call of the simulated kernel, as it is one of a real kernel.
impl<S: SimulatedSocket> NonblockingSocket for Gathered<S> {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        self.0.receive(into)
    }

    fn receive_vectored(&self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut bytes = vec![0; into.iter().map(|piece| piece.len()).sum()];
        let n = self.0.receive(&mut bytes)?;
        let mut rest = &bytes[..n];
        for piece in into {
            let (now, later) = rest.split_at(rest.len().min(piece.len()));
            piece[..now.len()].copy_from_slice(now);
            rest = later;
        }
        Ok(n)
    }

    fn send(&self, from: &[u8]) -> io::Result<usize> {
        self.0.send(from)
    }

    fn send_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send(&from.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<u8>>())
    }

    fn send_fin(&self) -> io::Result<()> {
        self.0.send_fin()
    }
}

/// A server with one worker. Its connections are numbered in the order in which they were accepted.
pub(crate) struct SimulatedServer<S: SimulatedSocket> {
    context: Arc<Context>,
    buffers: BufferPool,
    /// Each with what the wait was told to report of it.
    connections: Vec<Option<(NonblockingConnection<Gathered<S>>, Interest)>>,
}

impl<S: SimulatedSocket> SimulatedServer<S> {
    /// A server whose connections hold at most `buffer` bytes each.
    pub(crate) fn new(buffer: usize) -> SimulatedServer<S> {
        let context = Arc::new(Context::new(Options { buffer, ..Options::default() }, channel().0));
        SimulatedServer { context, buffers: BufferPool::new(buffer), connections: Vec::new() }
    }

    /// Takes a socket on. `is_noticed`: its readiness is reported once, and again after the next call, as by
    /// WSAAsyncSelect; otherwise for as long as it lasts.
    pub(crate) fn accept(&mut self, socket: S, is_noticed: bool) {
        let session = Session::without_socket(&self.context).expect("there is no limit");
        let connection = NonblockingConnection::with_session(Gathered(socket), session);
        let connection = if is_noticed { connection.with_one_receive_per_notice() } else { connection };
        let interest = connection.interest();
        self.connections.push(Some((connection, interest)));
    }

    /// What the wait is to report of a connection besides a hangup: that it can be read, that it can be written to.
    /// `None`: it is closed.
    pub(crate) fn awaits(&self, number: usize) -> Option<(bool, bool)> {
        let (_, interest) = self.connections[number].as_ref()?;
        Some((interest.read, interest.write))
    }

    /// Gives a connection its turn, as the event loop does.
    pub(crate) fn turn(&mut self, number: usize, Report { read, write, hangup }: Report) {
        let Some((connection, interest)) = &mut self.connections[number] else { return };
        match connection.turn(Ready { read, write, hangup }, &mut self.buffers) {
            TurnOutcome::Keep => {}
            TurnOutcome::Watch(next) => *interest = next,
            TurnOutcome::Close => self.connections[number] = None,
        }
    }

    /// Closes whatever is open, as at an abort.
    pub(crate) fn abort(&mut self) {
        self.connections.iter_mut().for_each(|connection| *connection = None);
    }

    pub(crate) fn counters(&self) -> CountersSnapshot {
        self.context.snapshot()
    }
}
