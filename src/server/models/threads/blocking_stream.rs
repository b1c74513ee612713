//! What a connection moves its bytes through: its socket, or TLS over it. Which one is known when the code is compiled,
//! so the plain socket pays nothing for the other.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::server::tls::TlsOverBlocking;

/// A stream of bytes in both directions, whose calls block.
pub(super) trait BlockingStream {
    /// Bytes that have come; 0: the end of what the client sends.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Sends some of the bytes.
    fn send(&mut self, from: &[u8]) -> io::Result<usize>;

    /// Ends what the server sends.
    fn finish(&mut self) -> io::Result<()>;
}

impl BlockingStream for &TcpStream {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.read(into)
    }

    fn send(&mut self, from: &[u8]) -> io::Result<usize> {
        self.write(from)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl BlockingStream for TlsOverBlocking<'_> {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.read(into)
    }

    fn send(&mut self, from: &[u8]) -> io::Result<usize> {
        self.write(from)
    }

    fn finish(&mut self) -> io::Result<()> {
        TlsOverBlocking::finish(self)
    }
}
