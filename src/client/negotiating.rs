//! A connection whose stream has not begun: the client speaks to a proxy, or sends what comes before the stream.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;

use super::connection::Transport;
use super::socket::RegisteredSocket;
use super::tls_session::TlsSession;
use crate::transport::{Destination, Negotiation, Preamble, TlsClient};

/// As much as is read in one call; the answers of proxies are shorter.
const BUFFER: usize = 512;

/// A connected socket, and how far its preamble has come.
pub(super) struct Negotiating {
    socket: RegisteredSocket,
    negotiation: Negotiation,
    /// TLS that is to follow.
    tls: Option<TlsClient>,
    session: Option<Box<TlsSession>>,
    pub(super) target: Destination,
    pub(super) source: Option<IpAddr>,
    /// When its handshake began.
    pub(super) began: u64,
}

impl Negotiating {
    pub(super) fn new(
        socket: RegisteredSocket,
        preamble: &Arc<Preamble>,
        (target, source, began): (Destination, Option<IpAddr>, u64),
    ) -> Negotiating {
        let (local, remote) = (socket.stream().local_addr().ok(), socket.stream().peer_addr().ok());
        let negotiation = Negotiation::new(Arc::clone(preamble), local, remote);
        let tls = preamble.tls.clone();
        Negotiating { socket, negotiation, tls, session: None, target, source, began }
    }

    /// Remembers what the wait reports.
    pub(super) fn notice(&mut self, event: &Event) {
        self.socket.notice(event.into());
    }

    /// A report may have been missed: the next step asks the socket itself.
    pub(super) fn assume_ready(&mut self) {
        self.socket.assume_ready();
    }

    /// Sends and receives what can be. `None`: it waits for the socket.
    pub(super) fn advance(&mut self) -> Option<io::Result<()>> {
        let result = self.step().and_then(|()| self.secure());
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            result => Some(result),
        }
    }

    /// The error of a preamble that took longer than the connect may.
    pub(super) fn timed_out(&self, limit: Duration) -> io::Error {
        match &self.session {
            None => self.negotiation.timed_out(limit),
            Some(_) => {
                let what = format!("the TLS handshake with {} took longer than {limit:?}", self.target);
                io::Error::new(io::ErrorKind::TimedOut, format!("{what}: check that the server speaks TLS there"))
            }
        }
    }

    /// The socket, whose next byte is one of the stream, or of TLS with the stream in it.
    pub(super) fn into_socket(self) -> (RegisteredSocket, Option<Box<TlsSession>>) {
        (self.socket, self.session)
    }

    /// The socket itself, to be closed.
    pub(super) fn into_stream(self) -> TcpStream {
        self.socket.into_stream()
    }

    fn step(&mut self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        while !self.negotiation.is_done() {
            if !self.negotiation.to_send().is_empty() {
                let sent = self.socket.write(self.negotiation.to_send());
                let sent = sent.map_err(|error| self.explained(error))?;
                self.negotiation.sent(sent);
                continue;
            }
            let most = self.negotiation.wanted().min(BUFFER);
            match self.socket.read(&mut buffer[..most]) {
                Ok(0) => return Err(self.negotiation.ended(None)),
                Ok(n) => self.negotiation.receive(&buffer[..n])?,
                Err(error) => return Err(self.explained(error)),
            }
        }
        Ok(())
    }

    /// The handshake of TLS, if there is one.
    fn secure(&mut self) -> io::Result<()> {
        if let Some(client) = self.tls.take() {
            self.session = Some(Box::new(TlsSession::new(&client)?));
        }
        match &mut self.session {
            Some(session) => session.over(&mut self.socket).shake_hands(),
            None => Ok(()),
        }
    }

    fn explained(&self, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::WouldBlock => error,
            _ => self.negotiation.ended(Some(error)),
        }
    }
}
