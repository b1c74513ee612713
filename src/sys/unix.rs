//! Unix, by way of `rustix` and `socket2`: no `unsafe` here.

use std::io;
use std::time::Duration;

use socket2::{SockRef, Socket};

/// Before bind: nobody else may listen here, but connections of a server that has just ended may linger (SO_REUSEADDR,
/// socket(7)).
///
/// # Errors
/// The system's.
pub fn claim_address(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Before bind: let several processes listen on one port (SO_REUSEPORT, socket(7)).
///
/// # Errors
/// The system's.
pub fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Makes the close that follows a reset (SO_LINGER with 0 seconds, socket(7)). Best effort: a socket that refuses is
/// closed all the same.
pub fn close_with_reset<'s>(socket: impl Into<SockRef<'s>>) {
    let _ = socket.into().set_linger(Some(Duration::ZERO));
}
