//! The Windows half, on top of `windows-sys` and `socket2`.

#![expect(unsafe_code, reason = "socket options, CPU times, memory and jobs have no safe wrapper in std or socket2")]

use std::fs::{File, Metadata};
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::windows::io::{AsRawHandle, AsRawSocket, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use socket2::{SockRef, Socket};
use windows_sys::Win32::Foundation::{FILETIME, STATUS_CONTROL_C_EXIT};
use windows_sys::Win32::Networking::WinSock::{
    SIO_TCP_INITIAL_RTO, SO_EXCLUSIVEADDRUSE, SO_PORT_SCALABILITY, SO_REUSE_UNICASTPORT, SOCKET_ERROR, SOL_SOCKET,
    TCP_INITIAL_RTO_NO_SYN_RETRANSMISSIONS, TCP_INITIAL_RTO_PARAMETERS, WSA_NOT_ENOUGH_MEMORY, WSAEADDRINUSE,
    WSAEMFILE, WSAENOBUFS, WSAIoctl, setsockopt,
};
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};
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
    CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, GetCurrentProcess, GetCurrentThread, GetProcessTimes, GetThreadTimes,
};
use windows_sys::core::BOOL;

use super::{DescriptorLimit, Shortage};

/// Claims an address before bind: no other process can listen on it. Otherwise Windows lets another process take over
/// the port (Microsoft, 'Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE').
///
/// # Errors
/// The system's.
pub(super) fn claim_address(socket: &Socket) -> io::Result<()> {
    set_on(&SockRef::from(socket), SO_EXCLUSIVEADDRUSE)
}

/// Switches an option of the socket itself on.
fn set_on(socket: &SockRef<'_>, option: i32) -> io::Result<()> {
    let on: i32 = 1;
    // SAFETY: the socket is borrowed, so it is open during the call, which reads the option from a live i32 of the
    // given size.
    let result = unsafe {
        setsockopt(socket.as_raw_socket() as usize, SOL_SOCKET, option, (&raw const on).cast(), size_of::<i32>() as i32)
    };
    if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Fails: Windows has no SO_REUSEPORT.
///
/// # Errors
/// Always on Windows.
pub(super) fn share_port(_socket: &Socket) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "--reuse-port: Windows can't share a port among listeners"))
}

/// Does nothing: on Windows a closed connection keeps nobody from binding its port, and SO_REUSEADDR would let a socket
/// take over one that is in use.
///
/// # Errors
/// Never on Windows.
pub fn share_port_with_closed(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

/// The error of opening a pipe that nobody reads: no file here is such a pipe.
pub const NOBODY_READS: i32 = i32::MIN;

/// Whether a file is a named pipe: here none is.
pub fn is_pipe(_file: &Metadata) -> bool {
    false
}

/// Opens a named pipe to write.
///
/// # Errors
/// The system's.
pub fn open_pipe(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

/// The name of this machine. `None` if the system does not say.
pub fn host_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok().filter(|name| !name.is_empty())
}

/// Whether programs can set the largest segment of a connection: Windows only lets them read it.
pub const HAS_MSS: bool = false;

/// Fails: Windows lets nobody set TCP_MAXSEG.
///
/// # Errors
/// Always on Windows.
pub fn limit_segments(_socket: &Socket, _bytes: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The argument for listen that asks for a queue of `wanted` connections. listen reduces a plain number to 200. To ask
/// for more, pass SOMAXCONN_HINT(N), which is -N; listen adjusts N to 200..=65,535 (Microsoft, 'listen').
pub fn listen_backlog(wanted: i32) -> i32 {
    const MAX_PLAIN_BACKLOG: i32 = 200;
    if wanted > MAX_PLAIN_BACKLOG { -wanted.min(65_535) } else { wanted }
}

/// Makes the next close of this socket send a reset (SO_LINGER with 0 seconds). Best effort: a socket that refuses the
/// option is closed as usual.
pub fn close_with_reset<'s>(socket: impl Into<SockRef<'s>>) {
    let _ = socket.into().set_linger(Some(Duration::ZERO));
}

/// Whether this error of a nonblocking connect means that the connect has begun (WSAEWOULDBLOCK).
pub fn is_connect_in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// The resource that this machine lacks, if that is why a connection could not be opened (Microsoft, 'Windows Sockets
/// Error Codes'). WSAENOBUFS means that buffers are exhausted, or the ports; [`super::advice`] says so.
/// WSAEADDRNOTAVAIL means neither: connect says it of a target that nothing can connect to, such as 0.0.0.0.
pub fn shortage(error: &io::Error) -> Option<Shortage> {
    match error.raw_os_error()? {
        WSAEADDRINUSE => Some(Shortage::Ports),
        WSAEMFILE | WSAENOBUFS | WSA_NOT_ENOUGH_MEMORY => Some(Shortage::Resources),
        _ => None,
    }
}

/// Receives. It goes through mio, which then waits again for a socket that had nothing to receive.
///
/// # Errors
/// The system's.
pub fn receive(stream: &mio::net::TcpStream, into: &mut [u8]) -> io::Result<usize> {
    io::Read::read(&mut &*stream, into)
}

/// Receives a byte of urgent data.
///
/// # Errors
/// Always: no wait reports it here.
pub fn receive_urgent(_stream: &mio::net::TcpStream) -> io::Result<u8> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Sends, through mio like [`receive`].
///
/// # Errors
/// The system's.
pub fn send(stream: &mio::net::TcpStream, from: &[u8]) -> io::Result<usize> {
    io::Write::write(&mut &*stream, from)
}

/// Does nothing and reports no limit: on Windows only memory limits the number of sockets.
pub fn raise_descriptor_limit() -> DescriptorLimit {
    DescriptorLimit { usable: None, hard: None }
}

/// Does nothing: there is no such limit here.
pub fn survive_file_size_limit() {}

/// The CPU time that this thread has used.
pub fn thread_cpu_time() -> Option<Duration> {
    // SAFETY: the pseudo handle of the calling thread is always valid, and the call writes the four live times.
    cpu_time(|[created, exited, kernel, user]| unsafe {
        GetThreadTimes(GetCurrentThread(), created, exited, kernel, user)
    })
}

/// How long this thread has been ready to run and waited for a processor. Windows does not say.
pub fn thread_run_delay() -> Option<Duration> {
    None
}

/// How much time of its processors this machine did not get from its host. Windows does not say.
pub fn stolen_cpu_time() -> Option<Duration> {
    None
}

/// The CPU time that all threads of this process have used together.
pub fn process_cpu_time() -> Option<Duration> {
    // SAFETY: the pseudo handle of this process is always valid, and the call writes the four live times.
    cpu_time(|[created, exited, kernel, user]| unsafe {
        GetProcessTimes(GetCurrentProcess(), created, exited, kernel, user)
    })
}

/// The same with that of children that have ended. No model has any on Windows.
pub fn cpu_time_with_children() -> Option<Duration> {
    process_cpu_time()
}

/// Adds kernel and user time. `query` fills in the times of creation, of exit, in the kernel and in user mode.
fn cpu_time(query: impl FnOnce(&mut [FILETIME; 4]) -> BOOL) -> Option<Duration> {
    let mut times = [FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 }; 4];
    let ok = query(&mut times);
    let [_, _, kernel, user] = times.map(|time| (u64::from(time.dwHighDateTime) << 32) | u64::from(time.dwLowDateTime));
    // A FILETIME counts units of 100 ns.
    (ok != 0).then(|| Duration::from_nanos((kernel + user) * 100))
}

/// The peak resident memory of this process in bytes (PeakWorkingSetSize).
pub fn peak_memory() -> Option<u64> {
    memory_counters().map(|counters| counters.PeakWorkingSetSize as u64)
}

/// The current resident memory of this process in bytes (WorkingSetSize).
pub fn resident_memory() -> Option<u64> {
    memory_counters().map(|counters| counters.WorkingSetSize as u64)
}

/// The memory of this machine in bytes (GlobalMemoryStatusEx, ullTotalPhys).
pub fn usable_memory() -> Option<u64> {
    let mut status = MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..Default::default() };
    // SAFETY: the call writes the live `status`, whose dwLength is its size.
    let ok = unsafe { GlobalMemoryStatusEx(&raw mut status) };
    (ok != 0).then_some(status.ullTotalPhys)
}

fn memory_counters() -> Option<PROCESS_MEMORY_COUNTERS> {
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    let mut counters = PROCESS_MEMORY_COUNTERS { cb: size, ..Default::default() };
    // SAFETY: the pseudo handle of this process is always valid, and the call writes at most `size` bytes, which is the
    // size of the live `counters`.
    let ok = unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, size) };
    (ok != 0).then_some(counters)
}

/// How many local ports this system chooses from, for all source addresses together. Asked once, because that starts a
/// program (`netsh int ipv4 show dynamicport tcp`); if it does not answer, the default of Windows counts. `None` under
/// Wine, where the ports are those of the system below.
pub fn ephemeral_ports() -> Option<u32> {
    /// From 49,152 on (Microsoft, 'The default dynamic port range for TCP/IP').
    const DEFAULT_PORTS: u32 = 16_384;
    static PORTS: OnceLock<u32> = OnceLock::new();
    (!is_wine()).then(|| *PORTS.get_or_init(|| ask_netsh().unwrap_or(DEFAULT_PORTS)))
}

fn ask_netsh() -> Option<u32> {
    let program = Path::new(&std::env::var_os("SystemRoot")?).join("System32").join("netsh.exe");
    let mut netsh = Command::new(program);
    netsh.args(["int", "ipv4", "show", "dynamicport", "tcp"]).stdin(Stdio::null()).creation_flags(CREATE_NO_WINDOW);
    dynamic_ports(&String::from_utf8_lossy(&netsh.output().ok()?.stdout))
}

/// How many ports the answer of netsh names. Its words are in the language of the system; of its numbers, the first is
/// the first port, and the second is how many there are.
fn dynamic_ports(answer: &str) -> Option<u32> {
    let mut numbers = answer.lines().filter_map(|line| line.rsplit_once(':')?.1.trim().parse().ok());
    numbers.nth(1).filter(|count| (1..=65_535).contains(count))
}

/// None: Windows has no such limit, and refuses a thread if memory runs out.
pub fn thread_limit(_allocation_bytes: usize) -> Option<usize> {
    None
}

/// Whether all of 127.0.0.0/8 belongs to this machine without any configuration.
pub const LOOPBACK_IS_A_NETWORK: bool = true;

/// Whether the program runs under Wine: only its ntdll exports this function (Wine's developer FAQ).
pub fn is_wine() -> bool {
    // SAFETY: both names end with a zero. Every process has loaded ntdll and never unloads it, so its handle stays
    // valid.
    unsafe {
        let ntdll = GetModuleHandleA(c"ntdll.dll".as_ptr().cast());
        !ntdll.is_null() && GetProcAddress(ntdll, c"wine_get_version".as_ptr().cast()).is_some()
    }
}

/// Asks for a port that other sockets may have too, as long as their targets or their source addresses differ. Call it
/// before a bind to port 0, which otherwise takes a port of one range that all addresses of the machine share. Best
/// effort: SO_REUSE_UNICASTPORT is one of Windows 10, SO_PORT_SCALABILITY an older one (Microsoft, 'SOL_SOCKET Socket
/// Options'). Wine takes both and does nothing.
pub fn choose_port_at_connect<'s>(socket: impl Into<SockRef<'s>>) {
    let socket = socket.into();
    if set_on(&socket, SO_REUSE_UNICASTPORT).is_err() {
        let _ = set_on(&socket, SO_PORT_SCALABILITY);
    }
}

/// Makes a connect that is refused fail at once. Windows otherwise sends the SYN again after a refusal, which takes
/// some 2 s (libuv#2896). It is not for connects over a network, where a SYN may be lost. Best effort: Wine lacks it.
pub fn report_refusal_at_once<'s>(socket: impl Into<SockRef<'s>>) {
    let socket = socket.into();
    // The constant is wider than its field.
    let no_second_syn = TCP_INITIAL_RTO_NO_SYN_RETRANSMISSIONS as u8;
    let rto = TCP_INITIAL_RTO_PARAMETERS { Rtt: u16::MAX, MaxSynRetransmissions: no_second_syn };
    let mut returned = 0;
    // SAFETY: the socket is borrowed, so it is open during the call, which reads the live `rto` of the given size and
    // writes the live `returned`. Without an OVERLAPPED it has ended when it returns. If it fails, it has no effect.
    unsafe {
        WSAIoctl(
            socket.as_raw_socket() as usize,
            SIO_TCP_INITIAL_RTO,
            (&raw const rto).cast(),
            size_of::<TCP_INITIAL_RTO_PARAMETERS>() as u32,
            std::ptr::null_mut(),
            0,
            &raw mut returned,
            std::ptr::null_mut(),
            None,
        );
    }
}

/// None: on Windows a zone is the number of its interface.
pub fn interface_index(_name: &str) -> Option<u32> {
    None
}

/// None are listed on Windows; `netsh interface ipv6 show addresses` shows them.
pub fn link_local_interfaces() -> Vec<String> {
    Vec::new()
}

/// Ends calls of another thread that are blocked on this connection. Shutdown makes later calls fail but does not wake
/// a blocked one. That one waits for an operation of its own, which CancelIoEx cancels ('any outstanding I/O for the
/// handle, regardless of which thread issued it'). Best effort: it misses a call that is just about to block, so repeat
/// this until the thread has left the call.
pub fn interrupt(stream: &TcpStream, how: Shutdown) {
    let _ = stream.shutdown(how);
    cancel_all(stream);
}

/// Ends an accept of another thread that is blocked on this listener. As [`interrupt`] does, it misses a call that is
/// just about to block.
pub fn cancel_accept(listener: &TcpListener) {
    cancel_all(listener);
}

fn cancel_all(socket: &impl AsRawSocket) {
    // SAFETY: the socket is borrowed, so it is open during the call. A null OVERLAPPED means all its operations.
    unsafe { CancelIoEx(socket.as_raw_socket() as _, std::ptr::null()) };
}

/// Makes an accepted socket not inheritable. Some versions of accept return an inheritable socket, others one like the
/// listener; the documentation says neither. Best effort.
pub(super) fn make_not_inheritable(socket: &SockRef<'_>) {
    let _ = socket.set_no_inherit(true);
}

/// A child process and its descendants, as a job object, which is killed at the latest when this process ends
/// (Microsoft, 'Job Objects').
#[derive(Debug)]
pub struct ProcessGroup {
    job: OwnedHandle,
    /// The id of the child, which is that of its console process group too.
    id: u32,
}

impl ProcessGroup {
    /// Makes the command start its process in a group of its own, which a console's Ctrl-C does not reach. Call it
    /// before the process is started. There is no limit of descriptors here.
    pub fn prepare(command: &mut Command, _descriptors: Option<u64>) {
        command.creation_flags(CREATE_NEW_PROCESS_GROUP);
    }

    /// The group of a process that was just started by a prepared command. Processes that it has started before this
    /// call are not in the group.
    ///
    /// # Errors
    /// The system's.
    pub fn of(child: &Child) -> io::Result<ProcessGroup> {
        // SAFETY: both pointers may be null: default security attributes, and no name.
        let job = unsafe { CreateJobObjectW(std::ptr::null(), std::ptr::null()) };
        if job.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just returned this open handle, and nobody else owns it.
        let group = ProcessGroup { job: unsafe { OwnedHandle::from_raw_handle(job) }, id: child.id() };
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        // SAFETY: `group` keeps the job open, and the call reads the limits from a live struct of the given class and
        // size.
        let limited = unsafe {
            SetInformationJobObject(
                job,
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>() as u32,
            )
        };
        // SAFETY: `group` keeps the job open, and `child` its process.
        if limited == 0 || unsafe { AssignProcessToJobObject(job, child.as_raw_handle()) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(group)
    }

    /// Asks all its processes to end (CTRL_BREAK, which a group of its own gets, where CTRL_C is switched off for it).
    /// Who has no handler for it ends at once, with 0xC000013A. It reaches the processes of this console alone: without
    /// a console nobody can be asked, so all are killed.
    pub fn ask_to_end(&self) {
        // SAFETY: the call takes no pointer. The id is not used again as long as the caller has the child.
        if unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, self.id) } == 0 {
            self.kill();
        }
    }

    /// Kills all its processes. Best effort: all of them may have ended already.
    pub fn kill(&self) {
        // SAFETY: the handle is open as long as `self` lives.
        unsafe { TerminateJobObject(self.job.as_raw_handle(), 1) };
    }
}

/// Whether a process has ended.
pub fn has_ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

/// Whether a process that was asked to end ([`ProcessGroup::ask_to_end`]) crashed instead: its exit code is that of an
/// exception, such as 0xC0000005 for an access violation (Microsoft, 'NTSTATUS Values'). 0xC000013A is the code of a
/// program that CTRL_C or CTRL_BREAK has ended, and that has no handler for it.
pub fn is_crash(status: ExitStatus) -> bool {
    let code = status.code().map(|code| code as u32);
    code.is_some_and(|code| code >= 0xc000_0000 && code != STATUS_CONTROL_C_EXIT as u32)
}

/// What the end of a process suggests to who reads its status. On Windows the code says all.
pub fn hint_at_end(_: ExitStatus) -> &'static str {
    ""
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use std::os::windows::process::ExitStatusExt;

    use socket2::{Domain, Type};
    use windows_sys::Win32::Networking::WinSock::{WSAEADDRNOTAVAIL, WSAECONNREFUSED};

    use super::*;

    #[test]
    fn running_out_of_ports_or_buffers_is_a_shortage_and_a_target_of_no_machine_is_none() {
        let of = |code| shortage(&io::Error::from_raw_os_error(code));
        assert_eq!(of(WSAEADDRINUSE), Some(Shortage::Ports));
        assert_eq!(of(WSAENOBUFS), Some(Shortage::Resources));
        assert_eq!([WSAEADDRNOTAVAIL, WSAECONNREFUSED].map(of), [None, None]);
    }

    #[test]
    fn an_exception_is_a_crash_and_ctrl_break_is_none() {
        let is_crash = |code| is_crash(ExitStatus::from_raw(code));
        assert!(is_crash(0xc000_0005) && is_crash(0xc000_00fd));
        assert!(!is_crash(0xc000_013a) && !is_crash(0) && !is_crash(1));
    }

    #[test]
    fn the_range_of_ports_is_read_from_netsh_in_any_language() {
        let english = "\r\nProtocol tcp Dynamic Port Range\r\n---------------------------------\r\nStart Port      : \
                       49152\r\nNumber of Ports : 16384\r\n\r\n";
        assert_eq!(dynamic_ports(english), Some(16_384));
        let german =
            "\r\nDynamischer Portbereich (Protokoll tcp)\r\nStartport      : 10000\r\nAnzahl von Ports : 55536\r\n";
        assert_eq!(dynamic_ports(german), Some(55_536));
        for unknown in ["", "Start Port : 49152", "a : 1\nb : 0", "a : 1\nb : 70000", "usage: netsh"] {
            assert_eq!(dynamic_ports(unknown), None, "{unknown}");
        }
        assert_eq!(ephemeral_ports().is_some(), !is_wine());
    }

    #[test]
    fn a_socket_with_a_source_asks_for_a_port_that_it_may_share() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
        let is_taken =
            [SO_REUSE_UNICASTPORT, SO_PORT_SCALABILITY].map(|option| set_on(&SockRef::from(&socket), option).is_ok());
        assert!(is_taken.contains(&true), "{is_taken:?}");
        choose_port_at_connect(&socket);
        report_refusal_at_once(&socket);
        socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).expect("a port is free");
    }

    /// How long the process waits that is asked to end, and how long its end is waited for.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    #[ignore = "the process that another test asks to end"]
    fn a_process_that_waits() {
        println!("waiting");
        // sleep: it is to be ended meanwhile
        std::thread::sleep(PATIENCE);
    }

    #[test]
    fn a_process_of_the_same_console_is_asked_to_end_and_not_killed() {
        let mut command = Command::new(std::env::current_exe().expect("a test has a program"));
        command.args(["--ignored", "--exact", "--nocapture", "sys::os::tests::a_process_that_waits"]);
        ProcessGroup::prepare(command.stdin(Stdio::null()).stdout(Stdio::piped()), None);
        let mut child = command.spawn().expect("this program can be started");
        let group = ProcessGroup::of(&child).expect("a job can be made");
        let output = io::BufReader::new(child.stdout.take().expect("it is piped"));
        let mut lines = io::BufRead::lines(output).map_while(Result::ok);
        assert!(lines.any(|line| line.contains("waiting")), "it runs");
        group.ask_to_end();
        let status = child.wait().expect("it is a child of this process");
        // SAFETY: the call takes nothing.
        let has_console = unsafe { windows_sys::Win32::System::Console::GetConsoleCP() } != 0;
        // Wine 8 refuses the event (error 6) even in a console, and then the job is killed.
        let wanted = if has_console && !is_wine() { STATUS_CONTROL_C_EXIT } else { 1 };
        assert_eq!(status.code(), Some(wanted), "has a console: {has_console}");
        assert!(!is_crash(status));
    }

    #[test]
    fn a_backlog_above_200_is_passed_as_a_hint() {
        assert_eq!([1, 128, 200].map(listen_backlog), [1, 128, 200]);
        assert_eq!([201, 4096, 65_535, 65_536, i32::MAX].map(listen_backlog), [-201, -4096, -65_535, -65_535, -65_535]);
    }

    #[test]
    fn more_than_200_clients_can_wait_in_the_backlog() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
        listener.listen(listen_backlog(1000)).expect("listen accepts the hint");
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().expect("the listener is bound");
        // Windows refuses a client at once if the queue is full.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(20)).expect("the queue has room");
        let clients: Vec<TcpStream> = (0..300).map(connect).collect();
        for _ in &clients {
            listener.accept().expect("a client waits in the queue");
        }
    }
}
