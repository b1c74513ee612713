//! Windows, by way of `windows-sys` and `socket2`.

#![expect(unsafe_code, reason = "socket options, CPU times and memory as only Windows gives them")]

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::windows::io::{AsRawHandle, AsRawSocket, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use socket2::{SockRef, Socket};
use windows_sys::Win32::Foundation::{FILETIME, HANDLE};
use windows_sys::Win32::Networking::WinSock::{
    SO_EXCLUSIVEADDRUSE, SOCKET_ERROR, SOL_SOCKET, WSA_NOT_ENOUGH_MEMORY, WSAEADDRINUSE, WSAEADDRNOTAVAIL, WSAEMFILE,
    WSAENOBUFS, setsockopt,
};
use windows_sys::Win32::System::IO::CancelIoEx;
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, GetCurrentProcess, GetCurrentThread, GetProcessTimes, GetThreadTimes,
};
use windows_sys::core::BOOL;

use super::{DescriptorLimit, Shortage};

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

/// What listen is to be told for a queue of so many: it cuts a plain number down to 200, and what is more than that is
/// asked for as SOMAXCONN_HINT(N), which is -N and is brought within 200 and 65,535 (Microsoft, 'listen').
pub fn listen_backlog(wanted: i32) -> i32 {
    const PLAIN: i32 = 200;
    if wanted > PLAIN { -wanted.min(65_535) } else { wanted }
}

/// Makes the close that follows a reset (SO_LINGER with 0 seconds). Best effort: a socket that refuses is closed all
/// the same.
pub fn close_with_reset<'s>(socket: impl Into<SockRef<'s>>) {
    let _ = socket.into().set_linger(Some(Duration::ZERO));
}

/// Whether this is how a connect that does not block says that it has begun (WSAEWOULDBLOCK).
pub fn is_under_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Whether a connection could not be opened because this machine has too little of something (Microsoft, 'Windows
/// Sockets Error Codes').
pub fn shortage(error: &io::Error) -> Option<Shortage> {
    match error.raw_os_error()? {
        WSAEADDRNOTAVAIL | WSAEADDRINUSE => Some(Shortage::Ports),
        WSAEMFILE | WSAENOBUFS | WSA_NOT_ENOUGH_MEMORY => Some(Shortage::Resources),
        _ => None,
    }
}

/// Receives. By way of mio, which arms its wait anew when nothing is there.
///
/// # Errors
/// The system's.
pub fn receive(stream: &mio::net::TcpStream, into: &mut [u8]) -> io::Result<usize> {
    io::Read::read(&mut &*stream, into)
}

/// Sends, as [`receive`] receives.
///
/// # Errors
/// The system's.
pub fn send(stream: &mio::net::TcpStream, from: &[u8]) -> io::Result<usize> {
    io::Write::write(&mut &*stream, from)
}

/// Windows has no limit of its own on sockets; memory is the limit.
pub fn raise_descriptor_limit() -> DescriptorLimit {
    DescriptorLimit { usable: None, hard: None }
}

/// CPU time that this thread has used.
pub fn thread_cpu_time() -> Option<Duration> {
    // SAFETY: the pseudo handle of the calling thread is always valid and needs no closing.
    cpu_time(GetThreadTimes, unsafe { GetCurrentThread() })
}

/// CPU time that this process has used, all its threads together.
pub fn process_cpu_time() -> Option<Duration> {
    // SAFETY: the pseudo handle of the calling process is always valid and needs no closing.
    cpu_time(GetProcessTimes, unsafe { GetCurrentProcess() })
}

type Times = unsafe extern "system" fn(HANDLE, *mut FILETIME, *mut FILETIME, *mut FILETIME, *mut FILETIME) -> BOOL;

fn cpu_time(times: Times, of: HANDLE) -> Option<Duration> {
    let mut at = [FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 }; 4];
    let [created, exited, kernel, user] = &mut at;
    // SAFETY: `of` is a pseudo handle of the kind that `times` takes, and the four results are live for the call.
    let ok = unsafe { times(of, created, exited, kernel, user) };
    // In units of 100 ns.
    let ticks = |t: &FILETIME| (u64::from(t.dwHighDateTime) << 32) | u64::from(t.dwLowDateTime);
    (ok != 0).then(|| Duration::from_nanos((ticks(kernel) + ticks(user)) * 100))
}

/// The most memory that was resident in this process so far, in bytes (PeakWorkingSetSize).
pub fn peak_memory() -> Option<u64> {
    memory().map(|memory| memory.PeakWorkingSetSize as u64)
}

/// The memory resident now, in bytes (WorkingSetSize).
pub fn resident_memory() -> Option<u64> {
    memory().map(|memory| memory.WorkingSetSize as u64)
}

/// The memory of the machine, in bytes (GlobalMemoryStatusEx, ullTotalPhys).
pub fn usable_memory() -> Option<u64> {
    let mut status = MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..Default::default() };
    // SAFETY: the result is live and as large as it says.
    let ok = unsafe { GlobalMemoryStatusEx(&raw mut status) };
    (ok != 0).then_some(status.ullTotalPhys)
}

fn memory() -> Option<PROCESS_MEMORY_COUNTERS> {
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    let mut memory = PROCESS_MEMORY_COUNTERS { cb: size, ..Default::default() };
    // SAFETY: the pseudo handle is valid, and the result is live and as large as it says.
    let ok = unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &raw mut memory, size) };
    (ok != 0).then_some(memory)
}

/// Not read from Windows: `netsh int ipv4 show dynamicport tcp` tells, 16,384 is the default.
pub fn ephemeral_ports() -> Option<u32> {
    None
}

/// Not told by Windows.
pub fn backlog_limit() -> Option<u32> {
    None
}

/// Windows has no such limit: where memory is short it refuses.
pub fn thread_limit(_own: usize) -> Option<usize> {
    None
}

/// Whether all of 127.0.0.0/8 is this machine, without further set-up.
pub const LOOPBACK_IS_A_NETWORK: bool = true;

/// Whether this Windows is Wine, by the function that only Wine's ntdll exports (Wine's developer FAQ).
pub fn is_wine() -> bool {
    // SAFETY: both names end with a zero; ntdll is loaded in every process and never leaves it.
    unsafe {
        let ntdll = GetModuleHandleA(c"ntdll.dll".as_ptr().cast());
        !ntdll.is_null() && GetProcAddress(ntdll, c"wine_get_version".as_ptr().cast()).is_some()
    }
}

/// Windows chooses the port at bind.
pub fn choose_port_at_connect<'s>(_socket: impl Into<SockRef<'s>>) {}

/// Ends the calls of another thread that are blocked on this connection. Shutdown makes later ones fail, but does not
/// wake a blocked one: a blocking Winsock call waits for an operation of its own, which CancelIoEx cancels ('any
/// outstanding I/O for the handle, regardless of which thread issued it'). Best effort, and a call that is about to
/// block may be missed: repeat it until the thread is out.
pub fn interrupt(stream: &TcpStream, how: Shutdown) {
    let _ = stream.shutdown(how);
    // SAFETY: the socket is open for the length of the call; a null OVERLAPPED means all operations on it.
    unsafe { CancelIoEx(stream.as_raw_socket() as _, std::ptr::null()) };
}

/// Keeps a socket that was just accepted from child processes. The one that accept returns is inheritable, or as the
/// listener is: programs found both, the documentation says neither. Best effort.
pub(super) fn keep_from_children(socket: &SockRef<'_>) {
    let _ = socket.set_no_inherit(true);
}

/// A process and what it started: a job object, which ends with this process if not before (Microsoft, 'Job Objects').
#[derive(Debug)]
pub struct Group(OwnedHandle);

impl Group {
    /// Makes what this command starts a group, which a console's Ctrl-C does not reach. To be called before it is
    /// started.
    pub fn prepare(command: &mut Command) {
        command.creation_flags(CREATE_NEW_PROCESS_GROUP);
    }

    /// The group of a process that has just been started so. What it started before this call is not in it.
    ///
    /// # Errors
    /// The system's.
    pub fn of(child: &Child) -> io::Result<Group> {
        // SAFETY: both pointers may be null: no security attributes, no name.
        let job = unsafe { CreateJobObjectW(std::ptr::null(), std::ptr::null()) };
        if job.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is open, and nobody else closes it.
        let group = Group(unsafe { OwnedHandle::from_raw_handle(job) });
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        // SAFETY: the job is open, and the limits are read from a live struct of the given size and kind.
        let limited = unsafe {
            SetInformationJobObject(
                job,
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>() as u32,
            )
        };
        // SAFETY: both handles are open for the length of the call.
        if limited == 0 || unsafe { AssignProcessToJobObject(job, child.as_raw_handle()) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(group)
    }

    /// Windows has no signal that a program without a console window would get: it is ended.
    pub fn ask_to_end(&self) {
        self.kill();
    }

    /// Ends all of it. Best effort: there may be nobody left.
    pub fn kill(&self) {
        // SAFETY: the job is open for the length of the call.
        unsafe { TerminateJobObject(self.0.as_raw_handle(), 1) };
    }
}

/// Whether a process has ended.
pub fn has_ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

/// Whether a process that was told to end ([`Group::ask_to_end`]) did not end because of that: its exit code is an
/// exception's, such as 0xC0000005 of an access violation (Microsoft, 'NTSTATUS Values').
pub fn is_crash(status: ExitStatus) -> bool {
    status.code().is_some_and(|code| code as u32 >= 0xc000_0000)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use socket2::{Domain, Type};

    use super::*;

    #[test]
    fn a_queue_of_more_than_200_is_asked_for_by_a_hint() {
        assert_eq!([1, 128, 200].map(listen_backlog), [1, 128, 200]);
        assert_eq!([201, 4096, 65_535, 65_536, i32::MAX].map(listen_backlog), [-201, -4096, -65_535, -65_535, -65_535]);
    }

    #[test]
    fn more_than_200_clients_wait_to_be_accepted() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("an address");
        listener.listen(listen_backlog(1000)).expect("the hint is taken");
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().expect("bound");
        // Where the queue is full Windows refuses a client at once.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(20)).expect("there is room");
        let clients: Vec<TcpStream> = (0..300).map(connect).collect();
        for _ in &clients {
            listener.accept().expect("it waits");
        }
    }
}
