//! A stand-in for `winsock` in tests on other systems. It plays the kernel and the peer of a connection.
//!
//! It reads and writes the memory of an operation through the raw pointers that the operation was begun with, and only
//! when a test says so: late, on another thread, or after the connection was dropped. Under Miri a wrong access is then
//! an error, such as one to memory that was freed too early.
//!
//! It knows no more of Winsock than the program uses, and it does not prove what Windows does.

#![expect(unsafe_code, reason = "plays the kernel, which writes through raw pointers")]
#![expect(non_snake_case, clippy::upper_case_acronyms, reason = "the names are those of Windows")]

use std::ffi::c_void;
use std::io;
use std::net::Shutdown;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::CompletionResult;

/// The result codes in an OVERLAPPED. Winsock keeps NTSTATUS values there.
const SUCCESS: usize = 0;
const PENDING: usize = 0x103;
const FAILED: usize = 0xC000_0001;

/// As Windows lays it out.
#[repr(C)]
pub(in crate::server) struct OVERLAPPED {
    pub(in crate::server) Internal: usize,
    pub(in crate::server) InternalHigh: usize,
    pub(in crate::server) Offset: u64,
    pub(in crate::server) hEvent: *mut c_void,
}

impl Default for OVERLAPPED {
    fn default() -> Self {
        OVERLAPPED { Internal: SUCCESS, InternalHigh: 0, Offset: 0, hEvent: ptr::null_mut() }
    }
}

/// As Windows lays it out.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in crate::server) struct WSABUF {
    pub(in crate::server) len: u32,
    pub(in crate::server) buf: *mut u8,
}

/// The function that the system calls when an operation has completed, if any.
pub(in crate::server) type CompletionRoutine = Option<unsafe extern "system" fn(u32, u32, *mut OVERLAPPED, u32)>;

/// An event object. Its handle is its address, so signalling a closed one is an access to freed memory.
pub(in crate::server) struct Event(Box<AtomicBool>);

impl Event {
    pub(in crate::server) fn new() -> Event {
        Event(Box::new(AtomicBool::new(false)))
    }

    pub(in crate::server) fn handle(&self) -> *mut c_void {
        ptr::from_ref(&*self.0).cast_mut().cast()
    }

    /// Whether it was signalled since the last call.
    pub(in crate::server) fn take_signal(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// The direction of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Direction {
    Receive,
    Send,
}

/// An operation as the kernel keeps it: pointers, and no promise of the program that Rust could check.
struct Request {
    direction: Direction,
    buffers: Vec<WSABUF>,
    flags: *mut u32,
    overlapped: *mut OVERLAPPED,
    routine: CompletionRoutine,
    cancelled: bool,
}

/// The state of one socket.
#[derive(Default)]
struct State {
    outstanding: Vec<Request>,
    fin_sent: bool,
    reset: bool,
    closed: bool,
    /// Nothing can be begun, as on a connection that was reset.
    refuses: bool,
}

// SAFETY: the pointers are used only under the lock, or by the test that owns both sides.
unsafe impl Send for State {}

/// Memory that the program has to leak, because its socket was closed with the operation outstanding. Miri finds the
/// memory from here and does not report it.
static LEAKED: Mutex<Vec<Leaked>> = Mutex::new(Vec::new());

struct Leaked(#[expect(dead_code, reason = "it only leads to the memory")] *mut OVERLAPPED);

// SAFETY: the pointer is never used.
unsafe impl Send for Leaked {}

/// The socket of the program.
pub(in crate::server) struct Socket(Arc<Mutex<State>>);

impl Socket {
    pub(in crate::server) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        assert_eq!(how, Shutdown::Write);
        lock(&self.0).fin_sent = true;
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.closed = true;
        let outstanding = state.outstanding.iter().map(|request| Leaked(request.overlapped));
        LEAKED.lock().expect("no test panics with this lock").extend(outstanding);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no test panics while it plays the kernel")
}

/// The kernel's side of a socket, and the peer behind it.
pub(in crate::server) struct FakeKernel(Arc<Mutex<State>>);

impl FakeKernel {
    /// A socket and its other side.
    pub(in crate::server) fn socket() -> (FakeKernel, Socket) {
        let state = Arc::default();
        (FakeKernel(Arc::clone(&state)), Socket(state))
    }

    /// Completes the receive with `bytes`, of which there may be none (a FIN).
    pub(in crate::server) fn complete_receive(&self, bytes: &[u8]) {
        self.complete(Direction::Receive, |request| {
            let mut rest = bytes;
            for buffer in &request.buffers {
                let (now, later) = rest.split_at(rest.len().min(buffer.len as usize));
                // SAFETY: the program has promised that this memory is valid until the completion.
                unsafe { ptr::copy_nonoverlapping(now.as_ptr(), buffer.buf, now.len()) };
                rest = later;
            }
            assert!(rest.is_empty(), "the test receives more than the program has room for");
            Ok(bytes.len())
        });
    }

    /// Completes the send when it has transferred up to `most` bytes, and returns them.
    pub(in crate::server) fn complete_send(&self, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.complete(Direction::Send, |request| {
            for buffer in &request.buffers {
                let mut piece = vec![0; (buffer.len as usize).min(most - bytes.len())];
                // SAFETY: the program has promised that this memory is valid until the completion.
                unsafe { ptr::copy_nonoverlapping(buffer.buf, piece.as_mut_ptr(), piece.len()) };
                bytes.append(&mut piece);
            }
            Ok(bytes.len())
        });
        bytes
    }

    /// Completes an operation with an error, as after it was cancelled.
    pub(in crate::server) fn complete_with_error(&self, direction: Direction) {
        self.complete(direction, |_| Err(()));
    }

    /// Transfers the bytes of an operation by `transfer`, then writes its result and reports it.
    fn complete(&self, direction: Direction, transfer: impl FnOnce(&Request) -> Result<usize, ()>) {
        let request = {
            let mut state = lock(&self.0);
            let at = state.outstanding.iter().position(|request| request.direction == direction);
            let request = state.outstanding.swap_remove(at.expect("the operation is outstanding"));
            let result = transfer(&request);
            // SAFETY: the program has promised that this memory is valid until the completion.
            unsafe {
                if !request.flags.is_null() {
                    *request.flags = 0;
                }
                (*request.overlapped).InternalHigh = result.unwrap_or(0);
                (*request.overlapped).Internal = if result.is_ok() { SUCCESS } else { FAILED };
                let event = (*request.overlapped).hEvent;
                if !event.is_null() {
                    (*event.cast::<AtomicBool>()).store(true, Ordering::Release);
                }
            }
            request
        };
        if let Some(routine) = request.routine {
            // SAFETY: the OVERLAPPED is that of the operation that was begun with this routine, and was not reported
            // yet.
            unsafe {
                let (status, bytes) = ((*request.overlapped).Internal, (*request.overlapped).InternalHigh);
                routine(status as u32, bytes as u32, request.overlapped, 0);
            }
        }
    }

    /// From now on each call fails at once.
    pub(in crate::server) fn refuse(&self) {
        lock(&self.0).refuses = true;
    }

    /// The directions of the outstanding operations, and whether each was cancelled.
    pub(in crate::server) fn outstanding(&self) -> Vec<(Direction, bool)> {
        lock(&self.0).outstanding.iter().map(|request| (request.direction, request.cancelled)).collect()
    }

    /// Whether the program has sent a FIN, by shutdown or by a close without a reset.
    pub(in crate::server) fn fin_sent(&self) -> bool {
        let state = lock(&self.0);
        state.fin_sent || (state.closed && !state.reset)
    }

    /// Whether the program has closed the socket with a reset.
    pub(in crate::server) fn was_reset(&self) -> bool {
        let state = lock(&self.0);
        state.closed && state.reset
    }
}

fn begin(socket: &Socket, request: Request) -> io::Result<()> {
    let mut state = lock(&socket.0);
    assert!(!state.outstanding.iter().any(|other| other.overlapped == request.overlapped), "an OVERLAPPED in use");
    if state.refuses {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    // SAFETY: the program has promised that the OVERLAPPED is valid until the completion.
    unsafe { (*request.overlapped).Internal = PENDING };
    state.outstanding.push(request);
    Ok(())
}

/// See `winsock`.
///
/// # Safety
/// See `winsock`.
pub(super) unsafe fn receive(
    socket: &Socket,
    buffers: &[WSABUF],
    flags: *mut u32,
    overlapped: *mut OVERLAPPED,
    routine: CompletionRoutine,
) -> io::Result<()> {
    let buffers = buffers.to_vec();
    begin(socket, Request { direction: Direction::Receive, buffers, flags, overlapped, routine, cancelled: false })
}

/// See `winsock`.
///
/// # Safety
/// See `winsock`.
pub(super) unsafe fn send(
    socket: &Socket,
    buffers: &[WSABUF],
    overlapped: *mut OVERLAPPED,
    routine: CompletionRoutine,
) -> io::Result<()> {
    let (buffers, flags) = (buffers.to_vec(), ptr::null_mut());
    begin(socket, Request { direction: Direction::Send, buffers, flags, overlapped, routine, cancelled: false })
}

/// See `winsock`. Notes the cancellation; the test completes the operation.
///
/// # Safety
/// See `winsock`.
pub(super) unsafe fn cancel(socket: &Socket, overlapped: *const OVERLAPPED) {
    let mut state = lock(&socket.0);
    for request in state.outstanding.iter_mut().filter(|request| ptr::eq(request.overlapped, overlapped)) {
        request.cancelled = true;
    }
}

/// See `winsock`.
///
/// # Safety
/// See `winsock`.
pub(super) unsafe fn result(socket: &Socket, overlapped: *const OVERLAPPED) -> Option<CompletionResult> {
    let _state = lock(&socket.0);
    // SAFETY: the caller guarantees the OVERLAPPED, and the lock keeps the kernel from writing it meanwhile.
    let (status, bytes) = unsafe { ((*overlapped).Internal, (*overlapped).InternalHigh) };
    match status {
        PENDING => None,
        SUCCESS => Some(Ok(bytes)),
        _ => Some(Err(io::ErrorKind::ConnectionReset.into())),
    }
}

/// See `winsock`.
pub(super) fn close_with_reset(socket: &Socket) {
    lock(&socket.0).reset = true;
}
