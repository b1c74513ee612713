//! A socket by which a wait is interrupted that watches sockets alone, no events and no pipes (`select` and WSAPoll of
//! Windows): a UDP socket that is connected to itself on the loopback address. It takes datagrams from nobody else.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

/// Interrupts the wait.
pub(in crate::server) struct WakeSocket(pub(in crate::server) UdpSocket);

impl WakeSocket {
    /// # Errors
    /// The system's: out of sockets or ports.
    pub(in crate::server) fn new() -> io::Result<WakeSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(socket.local_addr()?)?;
        socket.set_nonblocking(true)?;
        Ok(WakeSocket(socket))
    }

    /// From any thread, at any time.
    pub(in crate::server) fn wake(&self) {
        // When its buffer is full, the wait is interrupted already.
        let _ = self.0.send(&[1]);
    }

    /// Takes back what was sent, so that the next wait waits. It may leave some; then that wait returns once more.
    pub(in crate::server) fn clear(&self) {
        let _ = self.0.recv(&mut [0; 1]);
    }
}
