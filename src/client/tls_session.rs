//! TLS over a registered socket, as a connection sees it.
//!
//! Half-close is close_notify (RFC 8446, 6.1): it says that no more bytes will come in this direction, and the FIN
//! follows it. A FIN without one is a truncation, which an attacker could have made; it is an error of the read, and
//! says so.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use super::connection::{ClientConnection, Transport, TurnContext, TurnResult};
use super::socket::RegisteredSocket;
use crate::transport::{TlsClient, explained_tls};

/// As much of a write as is encrypted at once: a record. No more than this is taken before it is on its way.
const MAX_TAKEN: usize = 16 * 1024;

/// The state of TLS on a connection.
pub(super) struct TlsSession {
    tls: rustls::ClientConnection,
    offers_alpn: bool,
    /// The FIN follows once everything is sent.
    fin_is_due: bool,
    /// The connection was reset, so nothing more is to be said.
    is_reset: bool,
}

/// A socket with its session.
pub(super) struct SecureSocket<'s> {
    socket: &'s mut RegisteredSocket,
    session: &'s mut TlsSession,
}

impl TlsSession {
    pub(super) fn new(client: &TlsClient) -> io::Result<TlsSession> {
        let tls = client.connection().map_err(|error| io::Error::other(explained_tls(&error)))?;
        Ok(TlsSession { tls, offers_alpn: client.offers_alpn(), fin_is_due: false, is_reset: false })
    }

    /// Whether protocols were offered by ALPN and the server, which may ignore them, has chosen none (RFC 7301, 3.1).
    pub(super) fn is_without_alpn(&self) -> bool {
        self.offers_alpn && self.tls.alpn_protocol().is_none()
    }

    /// Whether its handshake is under way.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// The session over its socket.
    pub(super) fn over<'s>(&'s mut self, socket: &'s mut RegisteredSocket) -> SecureSocket<'s> {
        SecureSocket { socket, session: self }
    }

    /// Gives a connection a turn. What the socket did not take in the last turn goes first.
    pub(super) fn turn(
        &mut self,
        connection: &mut ClientConnection,
        socket: &mut RegisteredSocket,
        turn: &mut TurnContext<'_>,
        stalled: bool,
    ) -> TurnResult {
        let mut secure = self.over(socket);
        // An error shows in the next read or write too.
        let _ = secure.flush();
        if stalled { connection.stalled(&mut secure, turn) } else { connection.advance(&mut secure, turn) }
    }
}

impl SecureSocket<'_> {
    /// Takes the handshake as far as it goes now.
    ///
    /// # Errors
    /// It has failed, or waits for the socket (`WouldBlock`).
    pub(super) fn shake_hands(&mut self) -> io::Result<()> {
        loop {
            self.flush()?;
            if !self.session.tls.is_handshaking() {
                return Ok(());
            }
            if self.receive()? == 0 {
                let what = "the server closed the connection during the TLS handshake: its log says why";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
        }
    }

    /// Sends what is encrypted already, and the FIN after it if that is due.
    ///
    /// # Errors
    /// That of the socket; `WouldBlock`: it takes no more now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.session.tls.wants_write() {
            self.session.tls.write_tls(&mut Raw(self.socket))?;
        }
        if std::mem::take(&mut self.session.fin_is_due) {
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// The connection is closed: tells the peer, as far as the socket takes it.
    pub(super) fn say_goodbye(&mut self) {
        if !self.session.is_reset {
            self.session.tls.send_close_notify();
            // The connection is over. A socket that takes nothing now gets nothing more.
            let _ = self.flush();
        }
    }

    /// A write has failed. If the peer has said why before, by an alert, that is the error.
    fn explained(&mut self, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::WouldBlock => error,
            _ => match self.receive() {
                Err(alert) if alert.kind() == io::ErrorKind::InvalidData => alert,
                _ => error,
            },
        }
    }

    /// Receives records. 0: the peer's FIN has come.
    fn receive(&mut self) -> io::Result<usize> {
        let n = self.session.tls.read_tls(&mut Raw(self.socket))?;
        if let Err(error) = self.session.tls.process_new_packets() {
            // The alert that says why.
            let _ = self.flush();
            return Err(io::Error::new(io::ErrorKind::InvalidData, explained_tls(&error)));
        }
        Ok(n)
    }
}

impl Transport for SecureSocket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.tls.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    let what =
                        "truncated: a FIN came without the close_notify that ends a stream of TLS (RFC 8446, 6.1)";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, what));
                }
                result => return result,
            }
            self.receive()?;
        }
    }

    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.flush().map_err(|error| self.explained(error))?;
        let n = self.session.tls.writer().write(&from[..from.len().min(MAX_TAKEN)])?;
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(self.explained(error)),
            _ => Ok(n),
        }
    }

    fn write_urgent(&mut self, _: u8) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "TLS has no urgent data"))
    }

    fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            self.session.tls.send_close_notify();
            self.session.fin_is_due = true;
            match self.flush() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        match how {
            Shutdown::Write => Ok(()),
            Shutdown::Read | Shutdown::Both => self.socket.shutdown(how),
        }
    }

    fn is_readable(&mut self) -> bool {
        self.socket.is_readable() || !self.session.tls.wants_read()
    }

    fn assume_ready(&mut self) {
        self.socket.assume_ready();
    }

    fn close_with_reset(&mut self) {
        self.session.is_reset = true;
        self.socket.close_with_reset();
    }
}

/// The socket below TLS.
struct Raw<'s>(&'s mut RegisteredSocket);

impl Read for Raw<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Transport::read(self.0, into)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Transport::write(self.0, from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
