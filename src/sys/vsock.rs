//! The options of a vsock socket (linux/vm_sockets.h). They are set before connect.

#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "no crate wraps the options of vsock"))]

use std::io;
use std::time::Duration;

use socket2::SockRef;

/// How many bytes may wait to be received; SO_RCVBUF has no effect there.
///
/// # Errors
/// The system's; always where there is no vsock.
#[cfg(target_os = "linux")]
pub fn set_vsock_buffer<'s>(socket: impl Into<SockRef<'s>>, bytes: usize) -> io::Result<()> {
    const SO_VM_SOCKETS_BUFFER_SIZE: libc::c_int = 0;
    const SO_VM_SOCKETS_BUFFER_MAX_SIZE: libc::c_int = 2;
    /// The default of both (net/vmw_vsock/af_vsock.c).
    const DEFAULT: u64 = 256 << 10;
    let socket = socket.into();
    let size = bytes as u64;
    // The size is cut to the largest one, so that is raised before it. It is never lowered: newer kernels cut to it
    // last, and in a buffer of one byte every receive fails with ENOMEM. Above the smallest one, 128 bytes, none does.
    for (option, value) in [(SO_VM_SOCKETS_BUFFER_MAX_SIZE, size.max(DEFAULT)), (SO_VM_SOCKETS_BUFFER_SIZE, size)] {
        set(&socket, option, &value)?;
    }
    Ok(())
}

/// How long the kernel waits for the answer to a connect. Its own 2 s are short for a machine that is busy.
///
/// # Errors
/// The system's; always where there is no vsock.
#[cfg(target_os = "linux")]
pub fn set_vsock_connect_timeout<'s>(socket: impl Into<SockRef<'s>>, time: Duration) -> io::Result<()> {
    const SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD: libc::c_int = 6;
    // __kernel_old_timeval: what is less than a second is rounded up.
    let value: [libc::c_long; 2] = [time.as_secs().saturating_add(1).min(1 << 20) as libc::c_long, 0];
    set(&socket.into(), SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD, &value)
}

/// Sets an option to a value of plain integers.
#[cfg(target_os = "linux")]
fn set<T>(socket: &SockRef<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is borrowed, so it is open during the call, which reads the option from a live value of
    // the given size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::AF_VSOCK,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many bytes may wait to be received.
///
/// # Errors
/// Always: there is no vsock.
#[cfg(not(target_os = "linux"))]
pub fn set_vsock_buffer<'s>(_socket: impl Into<SockRef<'s>>, _bytes: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How long the kernel waits for the answer to a connect.
///
/// # Errors
/// Always: there is no vsock.
#[cfg(not(target_os = "linux"))]
pub fn set_vsock_connect_timeout<'s>(_socket: impl Into<SockRef<'s>>, _time: Duration) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};

    #[test]
    fn the_kernel_takes_any_size_and_any_time() {
        // There is no vsock in every kernel.
        let Ok(socket) = Socket::new(Domain::VSOCK, Type::STREAM, None) else { return };
        for bytes in [1, 256 << 10, 16 << 20] {
            set_vsock_buffer(&socket, bytes).expect("it is within the kernel's limits, or cut to them");
        }
        for time in [Duration::ZERO, Duration::from_secs(10), Duration::MAX] {
            set_vsock_connect_timeout(&socket, time).expect("it is a valid time");
        }
        assert!(set(&SockRef::from(&socket), 6, &[-1 as libc::c_long, 0]).is_err(), "the kernel reads the option");
    }
}
