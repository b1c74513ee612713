//! The buffer of a vsock socket (linux/vm_sockets.h).

#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "no crate wraps the options of vsock"))]

use std::io;

use socket2::SockRef;

/// How many bytes may wait to be received; SO_RCVBUF has no effect there. Call it before connect.
///
/// # Errors
/// The system's; always where there is no vsock.
#[cfg(target_os = "linux")]
pub fn set_vsock_buffer<'s>(socket: impl Into<SockRef<'s>>, bytes: usize) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    const SO_VM_SOCKETS_BUFFER_SIZE: libc::c_int = 0;
    const SO_VM_SOCKETS_BUFFER_MAX_SIZE: libc::c_int = 2;
    let socket = socket.into();
    let value = bytes as u64;
    // The size is cut to the largest one, so that is raised before it, and lowered with it.
    for option in [SO_VM_SOCKETS_BUFFER_MAX_SIZE, SO_VM_SOCKETS_BUFFER_SIZE] {
        // SAFETY: the descriptor is borrowed, so it is open during the call, which reads the option from a live u64 of
        // the given size.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::AF_VSOCK,
                option,
                (&raw const value).cast(),
                size_of::<u64>() as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// How many bytes may wait to be received.
///
/// # Errors
/// Always: there is no vsock.
#[cfg(not(target_os = "linux"))]
pub fn set_vsock_buffer<'s>(_socket: impl Into<SockRef<'s>>, _bytes: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
