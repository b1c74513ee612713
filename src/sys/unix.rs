//! The Unix half, on top of `rustix` and `socket2`.

#![expect(
    unsafe_code,
    reason = "no crate in use wraps gethostname, getrusage, signal or IP_BIND_ADDRESS_NO_PORT, and pre_exec is unsafe"
)]

use std::fs::{File, Metadata};
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process_group, setrlimit, waitid,
};
use rustix::time::{ClockId, clock_gettime};
use socket2::{SockRef, Socket};

use super::{DescriptorLimit, Shortage};

/// The name of this machine. `None` if the system does not say, or if it is no text.
pub fn host_name() -> Option<String> {
    let mut name = [0u8; 256];
    // SAFETY: the pointer and the length are those of `name`. One byte is left, so the name ends in a zero even if it
    // is cut short.
    let result = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let end = name.iter().position(|byte| *byte == 0).filter(|end| result == 0 && *end > 0)?;
    String::from_utf8(name[..end].to_vec()).ok()
}

/// The error of opening a pipe that nobody reads.
pub const NOBODY_READS: i32 = libc::ENXIO;

/// Whether a file is a named pipe (fifo(7)).
pub fn is_pipe(file: &Metadata) -> bool {
    file.file_type().is_fifo()
}

/// Opens a named pipe to write, without waiting for a reader. Writes to it wait, as usual.
///
/// # Errors
/// The system's, [`NOBODY_READS`] if there is no reader (ENXIO, fifo(7)).
pub fn open_pipe(path: &Path) -> io::Result<File> {
    let pipe = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    fcntl_setfl(&pipe, fcntl_getfl(&pipe)?.difference(OFlags::NONBLOCK))?;
    Ok(pipe)
}

/// Claims an address before bind: no other process can listen on it. Connections that linger from a server that has
/// just ended do not prevent the bind (SO_REUSEADDR, socket(7)).
///
/// # Errors
/// The system's.
pub(super) fn claim_address(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Lets several processes listen on one port (SO_REUSEPORT, socket(7)). Call it before bind.
///
/// # Errors
/// The system's.
pub(super) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Lets a socket bind the port of a connection that is closed (SO_REUSEADDR, socket(7)). Call it before bind.
///
/// # Errors
/// The system's.
pub fn share_port_with_closed(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// Whether programs can set the largest segment of a connection.
pub const HAS_MSS: bool = true;

/// Limits the segments of a connection that is to be opened, in both directions (TCP_MAXSEG, tcp(7)).
///
/// # Errors
/// The system's.
pub fn limit_segments(socket: &Socket, bytes: u32) -> io::Result<()> {
    socket.set_tcp_mss(bytes)
}

/// The argument for listen that asks for a queue of `wanted` connections: the number itself. Windows has its own rule.
pub fn listen_backlog(wanted: i32) -> i32 {
    wanted
}

/// Makes the next close of this socket send a reset (SO_LINGER with 0 seconds, socket(7)). Best effort: a socket that
/// refuses the option is closed as usual.
pub fn close_with_reset<'s>(socket: impl Into<SockRef<'s>>) {
    let _ = socket.into().set_linger(Some(Duration::ZERO));
}

/// Whether the program runs under Wine. Never here.
pub fn is_wine() -> bool {
    false
}

/// Whether this error of a nonblocking connect means that the connect has begun (connect(2), EINPROGRESS).
pub fn is_connect_in_progress(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::INPROGRESS)
}

/// The resource that this machine lacks, if that is why a connection could not be opened (connect(2), socket(2)).
pub fn shortage(error: &io::Error) -> Option<Shortage> {
    use rustix::io::Errno;
    match Errno::from_io_error(error)? {
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => Some(Shortage::Ports),
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Some(Shortage::Resources),
        _ => None,
    }
}

/// Receives. On Linux this makes the system call directly: the C library's function is a cancellation point, which
/// costs two more function calls.
///
/// # Errors
/// The system's.
#[inline]
pub fn receive(stream: &mio::net::TcpStream, into: &mut [u8]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    return Ok(rustix::net::recv(stream, into, rustix::net::RecvFlags::empty())?.0);
    #[cfg(not(target_os = "linux"))]
    io::Read::read(&mut &*stream, into)
}

/// Receives a byte of urgent data.
///
/// # Errors
/// There is none, or the system does not report it to a wait.
pub fn receive_urgent(stream: &mio::net::TcpStream) -> io::Result<u8> {
    #[cfg(target_os = "linux")]
    {
        let mut byte = [0];
        match rustix::net::recv(stream, &mut byte, rustix::net::RecvFlags::OOB)? {
            (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(byte[0]),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Sends, without a signal if the connection is broken. On Linux this makes the system call directly, like [`receive`].
///
/// # Errors
/// The system's.
#[inline]
pub fn send(stream: &mio::net::TcpStream, from: &[u8]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    return Ok(rustix::net::send(stream, from, rustix::net::SendFlags::NOSIGNAL)?);
    #[cfg(not(target_os = "linux"))]
    io::Write::write(&mut &*stream, from)
}

/// The limit of open descriptors with which this process was started. Set when the limit is raised.
static INITIAL_DESCRIPTOR_LIMIT: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open descriptors to the hard one (getrlimit(2), RLIMIT_NOFILE) and returns the limits that
/// hold afterwards. Best effort: if the system refuses, the limit stays as it was.
pub fn raise_descriptor_limit() -> DescriptorLimit {
    let limit = getrlimit(Resource::Nofile);
    INITIAL_DESCRIPTOR_LIMIT.get_or_init(|| limit);
    // macOS reports 'unlimited' but accepts no more than OPEN_MAX (its setrlimit(2)).
    let hard =
        if cfg!(target_os = "macos") { Some(limit.maximum.unwrap_or(10_240).min(10_240)) } else { limit.maximum };
    if limit.current != hard {
        // A seccomp filter or a container may refuse. The result is read back below, so nothing false is reported.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: limit.maximum });
    }
    let now = getrlimit(Resource::Nofile);
    DescriptorLimit { usable: now.current, hard: now.maximum }
}

/// What SIGXFSZ did when this process was started. Set when it is ignored.
static INITIAL_FILE_SIZE_ACTION: OnceLock<libc::sighandler_t> = OnceLock::new();

/// From now on a write that would make a file longer than the limit (setrlimit(2), RLIMIT_FSIZE) fails with EFBIG. By
/// default SIGXFSZ ends the process, and its result is lost.
pub fn survive_file_size_limit() {
    // SAFETY: the call sets the action of one signal, to one that is no function of ours.
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    INITIAL_FILE_SIZE_ACTION.get_or_init(|| before);
}

/// The CPU time that this thread has used.
pub fn thread_cpu_time() -> Option<Duration> {
    cpu_time(ClockId::ThreadCPUTime)
}

/// How long this thread has been ready to run and waited for a processor (Documentation/scheduler/sched-stats.rst of
/// Linux, `/proc/<pid>/schedstat`). Known only on Linux, and only if its kernel counts it.
pub fn thread_run_delay() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

/// How much processor time this machine, if it is a virtual one, did not get from its host (proc_stat(5), steal).
/// Known only on Linux.
pub fn stolen_cpu_time() -> Option<Duration> {
    // In ticks of 10 ms (time(7), USER_HZ).
    const TICK: Duration = Duration::from_millis(10);
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: u32 = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().nth(7)?.parse().ok()?;
    Some(TICK * ticks)
}

/// The CPU time that all threads of this process have used together.
pub fn process_cpu_time() -> Option<Duration> {
    cpu_time(ClockId::ProcessCPUTime)
}

fn cpu_time(clock: ClockId) -> Option<Duration> {
    Duration::try_from(clock_gettime(clock)).ok()
}

/// The same with that of its children which have ended and were waited for, and of their own.
pub fn cpu_time_with_children() -> Option<Duration> {
    let usage = usage_of_ended_children()?;
    let of = |time: libc::timeval| {
        Some(Duration::from_secs(time.tv_sec.try_into().ok()?) + Duration::from_micros(time.tv_usec.try_into().ok()?))
    };
    Some(process_cpu_time()? + of(usage.ru_utime)? + of(usage.ru_stime)?)
}

/// What the children of this process that have ended and were waited for have used, with their own (getrusage(2)).
pub(super) fn usage_of_ended_children() -> Option<libc::rusage> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call writes the live struct.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: it consists of integers, was zeroed, and the call has written it.
    Some(unsafe { usage.assume_init() })
}

/// The peak resident memory of this process in bytes (proc_pid_status(5), VmHWM). Known only on Linux.
pub fn peak_memory() -> Option<u64> {
    status_field("VmHWM:")
}

/// The current resident memory of this process in bytes (proc_pid_status(5), VmRSS). Known only on Linux.
pub fn resident_memory() -> Option<u64> {
    status_field("VmRSS:")
}

fn status_field(name: &str) -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, name)
}

/// Reads a line such as `MemTotal:  24 kB`, and returns its value in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The memory that this process can use, in bytes: that of the machine (proc_meminfo(5), MemTotal), or the part that a
/// container allows (cgroups(7), memory.max of the group and its ancestors). Known only on Linux.
pub fn usable_memory() -> Option<u64> {
    let machine = field(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(group_limits(Path::new("/sys/fs/cgroup"), &groups).fold(machine, u64::min))
}

/// The memory limits of this process's groups and their ancestors: that of cgroups version 2 (`0::/a/b`), and that of
/// version 1 (`4:memory:/a/b`), which some systems still have. A container may see its own at the root.
fn group_limits(root: &Path, groups: &str) -> impl Iterator<Item = u64> {
    let of_version_1 = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
        controllers.split(',').any(|controller| controller == "memory").then(|| path.to_owned())
    };
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let own_of_version_1 = groups.lines().find_map(of_version_1).unwrap_or_default();
    let limits = |root: PathBuf, own: &str, file: &str| {
        let folder = root.join(own);
        let folders = folder.ancestors().take_while(|folder| folder.starts_with(&root));
        folders.map(|folder| folder.join(file)).collect::<Vec<_>>()
    };
    let files = limits(root.to_owned(), own, "memory.max");
    let files = files.into_iter().chain(limits(root.join("memory"), &own_of_version_1, "memory.limit_in_bytes"));
    files.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

/// How many local ports one source address has for one target (ip(7), ip_local_port_range). Known only on Linux.
pub fn ephemeral_ports() -> Option<u32> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(str::parse::<u32>);
    let (Some(Ok(first)), Some(Ok(last))) = (ends.next(), ends.next()) else { return None };
    Some(last.saturating_sub(first) + 1)
}

/// How many threads, each with one allocation of `allocation_bytes`, this process can start without being aborted.
/// Known only on Linux.
///
/// Linux counts the memory mappings of a process and allows `vm.max_map_count` of them. A Rust thread takes four: its
/// stack and its signal stack, each with a guard page. Near the limit the system may grant the first pair and refuse
/// the second. The new thread then panics where it must not, and the process is aborted (rust-lang/rust#78497). A large
/// allocation takes a fifth mapping.
pub fn thread_limit(allocation_bytes: usize) -> Option<usize> {
    let max_map_count = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()?;
    Some(threads_within(max_map_count, allocation_bytes))
}

fn threads_within(max_map_count: usize, allocation_bytes: usize) -> usize {
    /// Mappings for the program, its libraries, the allocator's arenas, and stacks that are kept for later threads.
    const RESERVED_MAPPINGS: usize = 2000;
    /// malloc gives an allocation of this many bytes a mapping of its own (mallopt(3), M_MMAP_THRESHOLD).
    const MMAP_THRESHOLD_BYTES: usize = 128 * 1024;
    let mappings_per_thread = if allocation_bytes < MMAP_THRESHOLD_BYTES { 4 } else { 5 };
    (max_map_count.saturating_sub(RESERVED_MAPPINGS) / mappings_per_thread).max(1)
}

/// Whether all of 127.0.0.0/8 belongs to this machine without any configuration.
pub const LOOPBACK_IS_A_NETWORK: bool = cfg!(target_os = "linux");

/// Leaves the choice of the local port to connect (IP_BIND_ADDRESS_NO_PORT, ip(7)). Call it before a bind to port 0:
/// bind needs a port that is free for all targets, connect one that is free for this target. Best effort.
#[cfg(target_os = "linux")]
pub fn choose_port_at_connect<'s>(socket: impl Into<SockRef<'s>>) {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let socket = socket.into();
    // SAFETY: the descriptor is borrowed, so it is open during the call, which reads the option from a live c_int of
    // the given size. If the call fails, it has no effect.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// Does nothing: only Linux has this option. Here bind chooses the port.
#[cfg(not(target_os = "linux"))]
pub fn choose_port_at_connect<'s>(_socket: impl Into<SockRef<'s>>) {}

/// Does nothing: here a connect that is refused fails at once.
pub fn report_refusal_at_once<'s>(_socket: impl Into<SockRef<'s>>) {}

/// The number of a network interface, which is the zone of its link-local addresses, by its name (if_nametoindex(3)).
/// `None`: there is none of this name.
pub fn interface_index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: the call only reads the string, which lives and ends with a zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// The names of the network interfaces that have a link-local IPv6 address (getifaddrs(3)), without repeats.
pub fn link_local_interfaces() -> Vec<String> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the call writes the live pointer. If it fails, there is nothing to free.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Vec::new();
    }
    let mut names: Vec<String> = Vec::new();
    let mut next = first;
    // SAFETY: the list is as getifaddrs made it, and is freed below, after the last use.
    while let Some(interface) = unsafe { next.as_ref() } {
        next = interface.ifa_next;
        // SAFETY: the name is a string that ends with a zero, and lives as long as the list.
        let name = unsafe { std::ffi::CStr::from_ptr(interface.ifa_name) }.to_string_lossy().into_owned();
        // SAFETY: the address of an interface of the list is null or as its own family says.
        let address = unsafe { ipv6_address(interface.ifa_addr) };
        if address.is_some_and(|address| address.is_unicast_link_local()) && !names.contains(&name) {
            names.push(name);
        }
    }
    // SAFETY: `first` is the list of a call that succeeded, and is not used any more.
    unsafe { libc::freeifaddrs(first) };
    names
}

/// The IPv6 address that a pointer of the system leads to, if it is one.
///
/// # Safety
/// The pointer is null, or leads to an address that is as long as its family says.
unsafe fn ipv6_address(address: *const libc::sockaddr) -> Option<std::net::Ipv6Addr> {
    // SAFETY: the caller's promise: what is not null can be read.
    let family = unsafe { address.as_ref() }?.sa_family;
    if i32::from(family) != libc::AF_INET6 {
        return None;
    }
    // SAFETY: the family says that it is a sockaddr_in6. It need not be aligned as one, so it is copied.
    let address = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
    Some(address.sin6_addr.s6_addr.into())
}

/// Ends calls of another thread that are blocked on this connection: with `Shutdown::Read` its receive, without telling
/// the peer; with `Shutdown::Both` its send too. Best effort: some systems miss a call that is just about to block, so
/// repeat this until the thread has left the call.
pub fn interrupt(stream: &TcpStream, how: Shutdown) {
    let _ = stream.shutdown(how);
}

/// Makes an accepted socket not inheritable. Does nothing: std has done it already (SOCK_CLOEXEC).
pub(super) fn make_not_inheritable(_socket: &SockRef<'_>) {}

/// A child process and its descendants, as a process group of their own (setpgid(2)). A terminal's Ctrl-C does not
/// reach it.
#[derive(Debug)]
pub struct ProcessGroup(Pid);

impl ProcessGroup {
    /// Makes the command start its process in a group of its own, with this limit of open descriptors, or with the one
    /// with which this process was started, and with its action of SIGXFSZ. Call it before the process is started.
    pub fn prepare(command: &mut Command, descriptors: Option<u64>) {
        command.process_group(0);
        let own = descriptors.map(|most| Rlimit { current: Some(most), maximum: Some(most) });
        let prepare = move || {
            if let Some(limit) = own.as_ref().or(INITIAL_DESCRIPTOR_LIMIT.get()) {
                // Lowering a limit always succeeds.
                let _ = setrlimit(Resource::Nofile, *limit);
            }
            if let Some(action) = INITIAL_FILE_SIZE_ACTION.get() {
                // A program inherits that a signal is ignored, and std resets SIGPIPE alone.
                // SAFETY: the action is that of this process before, which had no handler of ours then.
                unsafe { libc::signal(libc::SIGXFSZ, *action) };
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure only reads its own value or initialized statics, and calls what is
        // safe there (signal-safety(7)). It takes no lock, allocates nothing and does not panic.
        unsafe { command.pre_exec(prepare) };
    }

    /// The group of a process that was started by a prepared command.
    ///
    /// # Errors
    /// Never on Unix, only on Windows.
    pub fn of(child: &Child) -> io::Result<ProcessGroup> {
        Pid::from_raw(child.id() as i32).map(ProcessGroup).ok_or_else(|| io::Error::other("a process has an id"))
    }

    /// Asks all its processes to end (SIGTERM). Best effort: all of them may have ended already.
    pub fn ask_to_end(&self) {
        let _ = kill_process_group(self.0, Signal::TERM);
    }

    /// Kills all its processes (SIGKILL). Call it before you wait for the child: after that its id may be reused.
    pub fn kill(&self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// Whether a process has ended. Its status can still be waited for afterwards (waitid(2), WNOWAIT).
pub fn has_ended(child: &mut Child) -> bool {
    let Some(pid) = Pid::from_raw(child.id() as i32) else { return true };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // ECHILD means that the process has ended and was waited for.
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

/// The signals that a process gets for its own errors (signal(7)).
const CRASH_SIGNALS: [Signal; 7] =
    [Signal::ILL, Signal::TRAP, Signal::ABORT, Signal::BUS, Signal::FPE, Signal::SEGV, Signal::SYS];

/// Whether a process that was asked to end ([`ProcessGroup::ask_to_end`]) crashed instead: it was ended by a signal
/// other than SIGTERM, or by an exit code of 128 plus the number of a crash signal, as a shell reports it.
pub fn is_crash(status: ExitStatus) -> bool {
    match status.signal() {
        Some(signal) => signal != Signal::TERM.as_raw(),
        None => CRASH_SIGNALS.iter().any(|signal| status.code() == Some(128 + signal.as_raw())),
    }
}

/// What the end of a process suggests to who reads its status; empty if that says all. No process gets SIGKILL for an
/// error of its own: the system sends it when memory is short (proc_pid_oom_score(5)), or a person does.
pub fn hint_at_end(status: ExitStatus) -> &'static str {
    if status.signal() == Some(Signal::KILL.as_raw()) {
        "; a system short of memory ends programs so: see dmesg"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_that_have_ended_counts() {
        let of_children = || {
            let all = cpu_time_with_children().expect("the system tells");
            all.saturating_sub(process_cpu_time().expect("the system tells"))
        };
        let before = of_children();
        let count = "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done";
        let ended = Command::new("sh").args(["-c", count]).status().expect("sh runs");
        // What this process has used between the two calls of `of_children` is taken off twice: some microseconds.
        assert!(ended.success() && of_children() > before + Duration::from_millis(2));
    }

    #[test]
    fn the_thread_limit_leaves_room_for_other_mappings() {
        assert_eq!(threads_within(65_530, 64 * 1024), 15_882);
        assert_eq!(threads_within(65_530, 1 << 20), 12_706);
        assert_eq!(threads_within(1000, 0), 1);
        #[cfg(target_os = "linux")]
        assert!(thread_limit(0).is_some());
    }

    #[test]
    fn the_memory_limits_of_a_container_and_its_ancestors_are_read() {
        let root = tempfile::tempdir().expect("a folder can be made");
        let limits = |groups| group_limits(root.path(), groups).collect::<Vec<u64>>();
        assert_eq!(limits("0::/"), [0; 0]);
        std::fs::create_dir_all(root.path().join("a/b")).expect("a folder can be made");
        for (file, limit) in [("memory.max", "max\n"), ("a/memory.max", "5000\n"), ("a/b/memory.max", "7000\n")] {
            std::fs::write(root.path().join(file), limit).expect("a file can be written");
        }
        assert_eq!(limits("1:memory:/x\n0::/a/b\n"), [7000, 5000]);
        assert_eq!(limits("0::/a\n"), [5000]);
        assert_eq!(limits("0::/../..\n"), [0; 0]);
        std::fs::create_dir_all(root.path().join("memory/c")).expect("a folder can be made");
        for (file, limit) in [("memory/c/memory.limit_in_bytes", "3000\n"), ("memory/memory.limit_in_bytes", "9000\n")]
        {
            std::fs::write(root.path().join(file), limit).expect("a file can be written");
        }
        assert_eq!(limits("4:cpu,memory:/c\n0::/\n"), [3000, 9000], "version 1");
        assert_eq!(limits("4:memory:/of/another/view\n"), [9000]);
        #[cfg(target_os = "linux")]
        assert!(usable_memory().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn an_interface_is_found_by_its_name() {
        let loopback = if cfg!(target_os = "linux") { "lo" } else { "lo0" };
        assert!(interface_index(loopback).is_some_and(|index| index > 0));
        assert_eq!((interface_index("no-such-interface"), interface_index("a\0b")), (None, None));
        assert!(link_local_interfaces().iter().all(|name| interface_index(name).is_some()));
    }

    #[test]
    fn running_out_of_ports_descriptors_or_buffers_is_a_shortage() {
        let of = |errno: rustix::io::Errno| shortage(&io::Error::from(errno));
        assert_eq!(of(rustix::io::Errno::ADDRNOTAVAIL), Some(Shortage::Ports));
        assert_eq!(of(rustix::io::Errno::MFILE), Some(Shortage::Resources));
        assert_eq!(of(rustix::io::Errno::NOBUFS), Some(Shortage::Resources));
        assert_eq!(of(rustix::io::Errno::HOSTUNREACH), None);
    }
}
