//! Unix, by way of `rustix` and `socket2`.

#![expect(unsafe_code, reason = "a socket option that no crate wraps, and what a process does before it is another")]

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process_group, setrlimit, waitid,
};
use rustix::time::{ClockId, clock_gettime};
use socket2::{SockRef, Socket};

use super::{DescriptorLimit, Shortage};

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

/// What listen is to be told for a queue of so many: that number. Windows has its own way.
pub fn listen_backlog(wanted: i32) -> i32 {
    wanted
}

/// Makes the close that follows a reset (SO_LINGER with 0 seconds, socket(7)). Best effort: a socket that refuses is
/// closed all the same.
pub fn close_with_reset<'s>(socket: impl Into<SockRef<'s>>) {
    let _ = socket.into().set_linger(Some(Duration::ZERO));
}

/// Whether this Windows is Wine.
pub fn is_wine() -> bool {
    false
}

/// Whether this is how a connect that does not block says that it has begun (connect(2), EINPROGRESS).
pub fn is_under_way(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::INPROGRESS)
}

/// Whether a connection could not be opened because this machine has too little of something (connect(2), socket(2)).
pub fn shortage(error: &io::Error) -> Option<Shortage> {
    use rustix::io::Errno;
    match Errno::from_io_error(error)? {
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => Some(Shortage::Ports),
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Some(Shortage::Resources),
        _ => None,
    }
}

/// Receives. On Linux the system call itself: the C library's is a cancellation point, which costs two calls more.
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

/// Sends, without a signal when the connection is broken. On Linux the system call itself, as in [`receive`].
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

/// The limit of open descriptors that this process was started with, once it has been raised.
static STARTED_WITH: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open descriptors to the hard one (getrlimit(2), RLIMIT_NOFILE) and says what holds now.
/// Best effort: where the system refuses, the limit stays as it was.
pub fn raise_descriptor_limit() -> DescriptorLimit {
    let limit = getrlimit(Resource::Nofile);
    STARTED_WITH.get_or_init(|| limit);
    // macOS answers 'unlimited' and then takes no more than OPEN_MAX (its setrlimit(2)).
    let hard =
        if cfg!(target_os = "macos") { Some(limit.maximum.unwrap_or(10_240).min(10_240)) } else { limit.maximum };
    if limit.current != hard {
        // Refused (a seccomp filter, an odd container): the limits below are read back, so nothing is claimed.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: limit.maximum });
    }
    let now = getrlimit(Resource::Nofile);
    DescriptorLimit { usable: now.current, hard: now.maximum }
}

/// CPU time that this thread has used.
pub fn thread_cpu_time() -> Option<Duration> {
    cpu_time(ClockId::ThreadCPUTime)
}

/// CPU time that this process has used, all its threads together.
pub fn process_cpu_time() -> Option<Duration> {
    cpu_time(ClockId::ProcessCPUTime)
}

fn cpu_time(clock: ClockId) -> Option<Duration> {
    Duration::try_from(clock_gettime(clock)).ok()
}

/// The most memory that was resident in this process so far, in bytes (proc_pid_status(5), VmHWM). Known on Linux.
pub fn peak_memory() -> Option<u64> {
    status_field("VmHWM:")
}

/// The memory resident now, in bytes (proc_pid_status(5), VmRSS). Known on Linux.
pub fn resident_memory() -> Option<u64> {
    status_field("VmRSS:")
}

fn status_field(name: &str) -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, name)
}

/// The bytes of a line such as `MemTotal:  24 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The memory that this process can have, in bytes: the machine's (proc_meminfo(5), MemTotal), or what a container
/// allows of it (cgroups(7), memory.max of the group and those above it). Known on Linux.
pub fn usable_memory() -> Option<u64> {
    let machine = field(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(group_limits(Path::new("/sys/fs/cgroup"), &groups).fold(machine, u64::min))
}

/// What the group of this process (`0::/a/b`), and those above it, allow. Of version 1, which a system may still have,
/// the limit that a container sees.
fn group_limits(root: &Path, groups: &str) -> impl Iterator<Item = u64> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let folders: Vec<PathBuf> =
        root.join(own).ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_owned).collect();
    let files = folders.into_iter().map(|folder| folder.join("memory.max"));
    let files = files.chain([root.join("memory/memory.limit_in_bytes")]);
    files.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

/// How many local ports one source address has for one target (ip(7), ip_local_port_range). Known on Linux.
pub fn ephemeral_ports() -> Option<u32> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(str::parse::<u32>);
    let (Some(Ok(first)), Some(Ok(last))) = (ends.next(), ends.next()) else { return None };
    Some(last.saturating_sub(first) + 1)
}

/// The most connections that wait in a listener's queue, whatever backlog is asked for (listen(2), somaxconn). Known on
/// Linux.
pub fn backlog_limit() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// How many threads, each with `own` bytes of memory in one piece, this process may start without risk of being ended
/// for it. Known on Linux.
///
/// There each piece of memory that a process maps is counted, and `vm.max_map_count` of them are allowed. A thread of
/// Rust's takes four: its stack and the one for signal handlers, with a guard page each. Near the limit the system
/// still grants the first pair, and when it refuses the second, the new thread panics where no panic may be, and all is
/// over (rust-lang/rust#78497). What the allocator maps on its own account makes five.
pub fn thread_limit(own: usize) -> Option<usize> {
    let most = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()?;
    Some(threads_within(most, own))
}

fn threads_within(max_map_count: usize, own: usize) -> usize {
    /// For the program, its libraries, the allocator's arenas, and stacks that are kept for the next threads.
    const SPARE: usize = 2000;
    /// From so many bytes on malloc maps a piece of its own (mallopt(3), M_MMAP_THRESHOLD).
    const MAPPED: usize = 128 * 1024;
    let each = if own < MAPPED { 4 } else { 5 };
    (max_map_count.saturating_sub(SPARE) / each).max(1)
}

/// Whether all of 127.0.0.0/8 is this machine, without further set-up.
pub const LOOPBACK_IS_A_NETWORK: bool = cfg!(target_os = "linux");

/// Before a bind to an address with port 0: leave the choice of the port to connect, which needs it to be free for this
/// target alone and not for all (IP_BIND_ADDRESS_NO_PORT, ip(7)). Best effort.
#[cfg(target_os = "linux")]
pub fn choose_port_at_connect<'s>(socket: impl Into<SockRef<'s>>) {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let socket = socket.into();
    // SAFETY: the descriptor is borrowed for the length of the call, and the option is read from a live c_int of the
    // given size. A refusal leaves the socket as it was.
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

/// Only Linux has it; elsewhere the port is chosen at bind.
#[cfg(not(target_os = "linux"))]
pub fn choose_port_at_connect<'s>(_socket: impl Into<SockRef<'s>>) {}

/// Ends the calls of another thread that are blocked on this connection: its receive with `Shutdown::Read`, which tells
/// the peer nothing; its send too with `Shutdown::Both`. Best effort, and a call that is about to block may be missed
/// on some systems: repeat it until the thread is out.
pub fn interrupt(stream: &TcpStream, how: Shutdown) {
    let _ = stream.shutdown(how);
}

/// Keeps a socket that was just accepted from child processes: nothing to do, std has done it (SOCK_CLOEXEC).
pub(super) fn keep_from_children(_socket: &SockRef<'_>) {}

/// A process and what it started: a process group of its own (setpgid(2)), which a terminal's Ctrl-C does not reach.
#[derive(Debug)]
pub struct Group(Pid);

impl Group {
    /// Makes what this command starts a group, with the limit of open descriptors that this process was started with.
    /// To be called before it is started.
    pub fn prepare(command: &mut Command) {
        command.process_group(0);
        let prepare = || {
            if let Some(limit) = STARTED_WITH.get() {
                // Nobody is refused less than he has.
                let _ = setrlimit(Resource::Nofile, *limit);
            }
            Ok(())
        };
        // SAFETY: between fork and exec it loads an atomic and makes a system call: it takes no lock, allocates nothing
        // and cannot panic.
        unsafe { command.pre_exec(prepare) };
    }

    /// The group of a process that was started so.
    ///
    /// # Errors
    /// None here; Windows has some.
    pub fn of(child: &Child) -> io::Result<Group> {
        Pid::from_raw(child.id() as i32).map(Group).ok_or_else(|| io::Error::other("a process has an id"))
    }

    /// Tells all of it to end: SIGTERM. Best effort: there may be nobody left.
    pub fn ask_to_end(&self) {
        let _ = kill_process_group(self.0, Signal::TERM);
    }

    /// Ends all of it: SIGKILL. To be called before the process is waited for: until then its id is nobody else's.
    pub fn kill(&self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// Whether a process has ended; its status is still to be waited for (WNOWAIT of waitid(2)).
pub fn has_ended(child: &mut Child) -> bool {
    let Some(pid) = Pid::from_raw(child.id() as i32) else { return true };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // ECHILD: it was waited for already.
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

/// The signals that a process gets for its own mistakes (signal(7)).
const CRASHES: [Signal; 7] =
    [Signal::ILL, Signal::TRAP, Signal::ABORT, Signal::BUS, Signal::FPE, Signal::SEGV, Signal::SYS];

/// Whether a process that was told to end ([`Group::ask_to_end`]) did not end because of that: by another signal than
/// SIGTERM, or, as a shell says it of what it ran, with 128 and the number of a crash's signal.
pub fn is_crash(status: ExitStatus) -> bool {
    match status.signal() {
        Some(signal) => signal != Signal::TERM.as_raw(),
        None => CRASHES.iter().any(|signal| status.code() == Some(128 + signal.as_raw())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_threads_leaves_room_for_what_else_is_mapped() {
        assert_eq!(threads_within(65_530, 64 * 1024), 15_882);
        assert_eq!(threads_within(65_530, 1 << 20), 12_706);
        assert_eq!(threads_within(1000, 0), 1);
        #[cfg(target_os = "linux")]
        assert!(thread_limit(0).is_some());
    }

    #[test]
    fn a_container_may_have_less_memory_than_its_machine() {
        let root = tempfile::tempdir().expect("a folder");
        let limits = |groups| group_limits(root.path(), groups).collect::<Vec<u64>>();
        assert_eq!(limits("0::/"), [0; 0]);
        std::fs::create_dir_all(root.path().join("a/b")).expect("a folder");
        for (file, limit) in [("memory.max", "max\n"), ("a/memory.max", "5000\n"), ("a/b/memory.max", "7000\n")] {
            std::fs::write(root.path().join(file), limit).expect("it can be written");
        }
        assert_eq!(limits("1:memory:/x\n0::/a/b\n"), [7000, 5000]);
        assert_eq!(limits("0::/a\n"), [5000]);
        assert_eq!(limits("0::/../..\n"), [0; 0]);
        #[cfg(target_os = "linux")]
        assert!(usable_memory().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn ports_and_descriptors_that_are_all_in_use_are_a_shortage_of_this_machine() {
        let of = |errno: rustix::io::Errno| shortage(&io::Error::from(errno));
        assert_eq!(of(rustix::io::Errno::ADDRNOTAVAIL), Some(Shortage::Ports));
        assert_eq!(of(rustix::io::Errno::MFILE), Some(Shortage::Resources));
        assert_eq!(of(rustix::io::Errno::NOBUFS), Some(Shortage::Resources));
        assert_eq!(of(rustix::io::Errno::HOSTUNREACH), None);
    }
}
