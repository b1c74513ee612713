//! A connection whose stream has not begun: the client speaks to a proxy, sends what comes before the stream, or waits
//! for the first bytes of a server that speaks first.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;

use super::connection::Transport;
use super::intake::FirstWords;
use super::socket::RegisteredSocket;
use super::tls_session::TlsSession;
use crate::transport::{Destination, Negotiation, Preamble, TlsClient};

/// As much as is read in one call; the answers of proxies are shorter.
const BUFFER: usize = 512;

/// A connected socket, and how far its preamble has come.
pub(super) struct Negotiating {
    socket: RegisteredSocket,
    negotiation: Option<Negotiation>,
    /// TLS that is to follow.
    tls: Option<TlsClient>,
    session: Option<Box<TlsSession>>,
    /// What has come of the greeting, if the server speaks first.
    greeting: Option<PartialGreeting>,
    pub(super) target: Destination,
    pub(super) source: Option<IpAddr>,
    /// When its handshake began.
    pub(super) began: u64,
}

/// The first bytes of the server, as far as they have come.
#[derive(Default)]
struct PartialGreeting {
    bytes: FirstWords,
    come: usize,
}

impl Negotiating {
    /// `is_greeted`: the server speaks first.
    pub(super) fn new(
        socket: RegisteredSocket,
        preamble: Option<&Arc<Preamble>>,
        is_greeted: bool,
        (target, source, began): (Destination, Option<IpAddr>, u64),
    ) -> Negotiating {
        let (local, remote) = (socket.stream().local_addr().ok(), socket.stream().peer_addr().ok());
        let negotiation = preamble.map(|preamble| Negotiation::new(Arc::clone(preamble), local, remote));
        let tls = preamble.and_then(|preamble| preamble.tls.clone());
        let greeting = is_greeted.then(PartialGreeting::default);
        Negotiating { socket, negotiation, tls, session: None, greeting, target, source, began }
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
        let result = self.step().and_then(|()| self.secure()).and_then(|()| self.listen());
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            result => Some(result),
        }
    }

    /// Whether only the server's first bytes are missing.
    pub(super) fn awaits_greeting(&self) -> bool {
        let is_done = self.negotiation.as_ref().is_none_or(Negotiation::is_done) && self.tls.is_none();
        let is_secure = self.session.as_ref().is_none_or(|session| !session.is_handshaking());
        self.greeting.is_some() && is_done && is_secure
    }

    /// The greeting, once it has come.
    pub(super) fn greeting(&self) -> Option<FirstWords> {
        self.greeting.as_ref().map(|greeting| greeting.bytes)
    }

    /// The error of a preamble that took longer than the connect may.
    pub(super) fn timed_out(&self, limit: Duration) -> io::Error {
        match (&self.session, &self.negotiation) {
            _ if self.awaits_greeting() => {
                let come = self.greeting.as_ref().map_or(0, |greeting| greeting.come);
                let what = format!("the server speaks first, and {come} of its first 16 bytes came within {limit:?}");
                if come > 0 {
                    return io::Error::new(io::ErrorKind::TimedOut, what);
                }
                let why = "the proxy waits for the client's, or has not reached the server";
                io::Error::new(io::ErrorKind::TimedOut, format!("{what}: {why}"))
            }
            (None, Some(negotiation)) => negotiation.timed_out(limit),
            _ => {
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
        let Negotiating { socket, negotiation: Some(negotiation), .. } = self else { return Ok(()) };
        let mut buffer = [0; BUFFER];
        while !negotiation.is_done() {
            if !negotiation.to_send().is_empty() {
                let sent = socket.write(negotiation.to_send());
                let sent = sent.map_err(|error| explained(negotiation, error))?;
                negotiation.sent(sent);
                continue;
            }
            let most = negotiation.wanted().min(BUFFER);
            match socket.read(&mut buffer[..most]) {
                Ok(0) => return Err(negotiation.ended(None)),
                Ok(n) => negotiation.receive(&buffer[..n])?,
                Err(error) => return Err(explained(negotiation, error)),
            }
        }
        Ok(())
    }

    /// Takes the server's first bytes, and no more, if it speaks first.
    fn listen(&mut self) -> io::Result<()> {
        let Negotiating { socket, session, greeting: Some(greeting), .. } = self else { return Ok(()) };
        while greeting.come < greeting.bytes.len() {
            let rest = &mut greeting.bytes[greeting.come..];
            let read = match session {
                None => socket.read(rest),
                Some(session) => session.over(socket).read(rest),
            };
            match read {
                Ok(0) => {
                    let what = format!(
                        "EOF came after {} of the 16 first bytes of the server, which speaks first",
                        greeting.come
                    );
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
                }
                Ok(n) => greeting.come += n,
                Err(error) => return Err(error),
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
}

fn explained(negotiation: &Negotiation, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => error,
        _ => negotiation.ended(Some(error)),
    }
}
