//! What relays of tests do that keep an end to themselves.

use std::io;
use std::net::{Shutdown, TcpStream};

use crate::relay::{Way, bytes, faithful};

/// Keeps the FIN of either way until the other way ends too.
pub(crate) fn keeps_a_fin_until_the_other(_: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    bytes(from, to, |_, _| {})?;
    // The other thread takes what comes, so only the end is left to be seen here.
    while to.peek(&mut [0])? > 0 {}
    to.shutdown(Shutdown::Write)
}

/// The thread that meets the reset ends alone; the other one goes on, and leaves a silent side open.
pub(crate) fn keeps_a_reset(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    faithful(way, from, to).or(Ok(()))
}

/// Leaves the sockets open as long as the test, whatever becomes of the relay.
pub(crate) fn keep_open(sockets: [&TcpStream; 2]) -> io::Result<()> {
    for socket in sockets {
        std::mem::forget(socket.try_clone()?);
    }
    Ok(())
}
