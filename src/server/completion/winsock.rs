//! The Winsock calls that begin, cancel and query overlapped operations, with their types.
//!
//! The rest of this room reaches overlapped I/O through this file alone, so that `winsock_stand_in` can replace it in
//! tests on other systems. Nothing here owns memory or keeps a state.
//!
//! Sources: Microsoft, 'WSARecv', 'WSASend', 'WSAGetOverlappedResult', 'CancelIoEx'.

#![expect(unsafe_code, reason = "overlapped calls have no safe wrapper in std or socket2")]

use std::io;
use std::ptr;

pub(in crate::server) use socket2::Socket;
use windows_sys::Win32::Foundation::HANDLE;
pub(in crate::server) use windows_sys::Win32::Networking::WinSock::WSABUF;
use windows_sys::Win32::Networking::WinSock::{
    LPWSAOVERLAPPED_COMPLETION_ROUTINE, SOCKET_ERROR, WSA_IO_INCOMPLETE, WSA_IO_PENDING, WSAGetOverlappedResult,
    WSARecv, WSASend,
};
use windows_sys::Win32::System::IO::CancelIoEx;
pub(in crate::server) use windows_sys::Win32::System::IO::OVERLAPPED;

use super::CompletionResult;
use crate::sys;
pub(in crate::server) use crate::sys::event::{Event, raw};

/// The function that the system calls when an operation has completed, if any.
pub(in crate::server) type CompletionRoutine = LPWSAOVERLAPPED_COMPLETION_ROUTINE;

/// Begins a receive. `Ok` means that a completion will be delivered, an error that none will.
///
/// # Safety
/// `flags` and `overlapped` are valid for reads and writes, and the memory of the `buffers` for writes. The program
/// neither reads nor writes any of it until the completion. `routine` is sound to call with this `overlapped`.
pub(super) unsafe fn receive(
    socket: &Socket,
    buffers: &[WSABUF],
    flags: *mut u32,
    overlapped: *mut OVERLAPPED,
    routine: CompletionRoutine,
) -> io::Result<()> {
    let count = buffers.len() as u32;
    // SAFETY: the socket is borrowed, so it is open. The caller guarantees the memory and the routine. The array has
    // `count` WSABUFs (the cast could only make fewer of them), and the call copies them before it returns. The pointer
    // for the byte count is null, as the documentation asks for an overlapped call.
    let result = unsafe { WSARecv(raw(socket), buffers.as_ptr(), count, ptr::null_mut(), flags, overlapped, routine) };
    success_or_pending(result)
}

/// Begins a send. `Ok` means that a completion will be delivered, an error that none will.
///
/// # Safety
/// As for [`receive`], but the memory of the `buffers` need only be valid for reads, and the program may read it too.
pub(super) unsafe fn send(
    socket: &Socket,
    buffers: &[WSABUF],
    overlapped: *mut OVERLAPPED,
    routine: CompletionRoutine,
) -> io::Result<()> {
    let count = buffers.len() as u32;
    // SAFETY: as in `receive`.
    let result = unsafe { WSASend(raw(socket), buffers.as_ptr(), count, ptr::null_mut(), 0, overlapped, routine) };
    success_or_pending(result)
}

/// Asks for an operation to end soon. It still completes, perhaps even with success.
///
/// # Safety
/// `overlapped` points to a live OVERLAPPED.
pub(super) unsafe fn cancel(socket: &Socket, overlapped: *const OVERLAPPED) {
    // SAFETY: the socket is borrowed, so it is open during the call, and the caller guarantees the OVERLAPPED. The call
    // fails if the operation has just completed (ERROR_NOT_FOUND), and then there is nothing to cancel.
    unsafe { CancelIoEx(raw(socket) as HANDLE, overlapped) };
}

/// The result of an operation, `None` while it is incomplete. Does not wait.
///
/// # Safety
/// `overlapped` is that of an operation that was begun on this very `socket`: a result is also `Some` when the query
/// itself fails, such as for a socket of another operation.
pub(super) unsafe fn result(socket: &Socket, overlapped: *const OVERLAPPED) -> Option<CompletionResult> {
    let (mut bytes, mut flags) = (0, 0);
    // SAFETY: the caller guarantees the OVERLAPPED, and the call writes the live `bytes` and `flags`.
    let complete = unsafe { WSAGetOverlappedResult(raw(socket), overlapped, &raw mut bytes, 0, &raw mut flags) };
    if complete != 0 {
        return Some(Ok(bytes as usize));
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(WSA_IO_INCOMPLETE) { None } else { Some(Err(error)) }
}

/// Makes the close that follows send a reset.
pub(super) fn close_with_reset(socket: &Socket) {
    sys::close_with_reset(socket);
}

/// WSARecv and WSASend: zero and WSA_IO_PENDING both mean that a completion will come, any other error that none will.
fn success_or_pending(result: i32) -> io::Result<()> {
    if result == SOCKET_ERROR { unless_pending(io::Error::last_os_error()) } else { Ok(()) }
}

/// The error of a call that has begun no operation: WSA_IO_PENDING is not an error.
pub(super) fn unless_pending(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(WSA_IO_PENDING) { Ok(()) } else { Err(error) }
}
