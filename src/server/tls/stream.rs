//! TLS over a socket whose calls block, as a connection with a thread of its own sees it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::ServerConnection;

use super::TlsServer;

/// As much of a write as is encrypted at once: a record. No more than this is taken before it is on its way.
const MAX_TAKEN: usize = 16 * 1024;

/// The state of TLS on a connection, and its socket. The handshake is a part of the first read.
///
/// A FIN of the client without close_notify is an error: an attacker could have made it (RFC 8446, 6.1).
pub(in crate::server) struct TlsOverBlocking<'s> {
    tls: ServerConnection,
    socket: &'s TcpStream,
}

impl<'s> TlsOverBlocking<'s> {
    /// # Errors
    /// That of rustls.
    pub(in crate::server) fn new(server: &TlsServer, socket: &'s TcpStream) -> io::Result<TlsOverBlocking<'s>> {
        let tls = ServerConnection::new(Arc::clone(&server.config)).map_err(io::Error::other)?;
        Ok(TlsOverBlocking { tls, socket })
    }

    /// Bytes that the client has sent; 0: its close_notify.
    ///
    /// # Errors
    /// That of the socket, of the handshake, or a FIN without close_notify.
    pub(in crate::server) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.tls.read_tls(&mut self.socket)?;
            if let Err(error) = self.tls.process_new_packets() {
                // The alert that says why.
                let _ = self.flush();
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
            self.flush()?;
        }
    }

    /// Takes some bytes, at least one, and sends them.
    ///
    /// # Errors
    /// That of the socket.
    pub(in crate::server) fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let taken = self.tls.writer().write(&from[..from.len().min(MAX_TAKEN)])?;
        self.flush()?;
        Ok(taken)
    }

    /// Half-close: close_notify, and the FIN after it.
    ///
    /// # Errors
    /// That of the socket.
    pub(in crate::server) fn finish(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        self.flush()?;
        self.socket.shutdown(Shutdown::Write)
    }

    /// Sends what is encrypted already.
    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(())
    }
}
