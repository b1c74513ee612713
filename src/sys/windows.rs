//! Windows, by way of `windows-sys` and `socket2`.

#![expect(unsafe_code, reason = "the socket options that only Windows has")]

use std::io;
use std::os::windows::io::AsRawSocket;
use std::time::Duration;

use socket2::{SockRef, Socket};
use windows_sys::Win32::Networking::WinSock::{SO_EXCLUSIVEADDRUSE, SOCKET_ERROR, SOL_SOCKET, setsockopt};

/// Before bind: nobody else may listen here. Without it Windows lets another process take the port over
/// (Microsoft, 'Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE').
///
/// # Errors
/// The system's.
pub fn claim_address(socket: &Socket) -> io::Result<()> {
    let on: i32 = 1;
    // SAFETY: the socket is open for the length of the call, and the option is read from a live i32 of the given size.
    let result = unsafe {
        setsockopt(
            socket.as_raw_socket() as usize,
            SOL_SOCKET,
            SO_EXCLUSIVEADDRUSE,
            (&raw const on).cast(),
            size_of::<i32>() as i32,
        )
    };
    if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Windows has no SO_REUSEPORT.
///
/// # Errors
/// Always.
pub fn share_port(_socket: &Socket) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "--reuse-port: Windows can't share a port among listeners"))
}

/// Makes the close that follows a reset (SO_LINGER with 0 seconds). Best effort: a socket that refuses is closed all the
/// same.
pub fn close_with_reset<'s>(socket: impl Into<SockRef<'s>>) {
    let _ = socket.into().set_linger(Some(Duration::ZERO));
}
