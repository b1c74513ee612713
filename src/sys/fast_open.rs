//! TCP Fast Open (RFC 7413) on the side of the client: data goes with the SYN, once the server has given a cookie. Only
//! Linux does that for connect (tcp(7), TCP_FASTOPEN_CONNECT); other systems have calls of their own.

#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "no crate wraps TCP_FASTOPEN_CONNECT and TCP_INFO"))]

use std::io;

use socket2::SockRef;

/// Whether this system has it.
pub const HAS_FAST_OPEN: bool = cfg!(target_os = "linux");

/// Lets connect return at once if there is a cookie; the first write then sends the SYN. Call it before connect.
///
/// # Errors
/// The system's; always where there is no Fast Open.
#[cfg(target_os = "linux")]
pub fn open_fast<'s>(socket: impl Into<SockRef<'s>>) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let socket = socket.into();
    // SAFETY: the descriptor is borrowed, so it is open during the call, which reads the option from a live c_int of
    // the given size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_FASTOPEN_CONNECT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the other side acknowledged data that the SYN of this socket carried (tcp(7), TCP_INFO).
#[cfg(target_os = "linux")]
pub fn was_opened_fast<'s>(socket: impl Into<SockRef<'s>>) -> bool {
    use std::os::fd::AsRawFd;
    /// TCPI_OPT_SYN_DATA of linux/tcp.h.
    const SYN_DATA: u8 = 32;
    let socket = socket.into();
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed, so it is open during the call, which writes at most `size` bytes to the live
    // structure.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut size)
    };
    // SAFETY: all fields are integers, for which every value is valid, and those not written are zero.
    result == 0 && unsafe { info.assume_init() }.tcpi_options & SYN_DATA != 0
}

/// Fails: this system has no Fast Open for connect.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn open_fast<'s>(_socket: impl Into<SockRef<'s>>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// It was not: this system has no Fast Open for connect.
#[cfg(not(target_os = "linux"))]
pub fn was_opened_fast<'s>(_socket: impl Into<SockRef<'s>>) -> bool {
    false
}
