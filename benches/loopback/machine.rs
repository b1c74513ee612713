//! What the system tells of processes and of its network: counters that no contestant can flatter.
//!
//! Sources: proc(5), proc_stat(5), proc_pid_status(5); scheduler/sched-stats.rst and networking/snmp_counter.rst of the
//! kernel's documentation.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::workload::Share;

/// Bytes of the headers of a segment without options but time stamps: IPv4 and TCP.
const HEADERS: u64 = 20 + 20;
/// Of the time stamps, unless they are switched off.
const TIME_STAMPS: u64 = 12;

/// Counters at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    at: Instant,
    payload: u64,
    client_cpu: Duration,
    server_cpu: Duration,
    client_core: Core,
    server_core: Core,
}

/// What happened between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    /// Bytes of payload that this network name space received, both directions together.
    pub(crate) payload: u64,
    /// CPU time, in seconds.
    pub(crate) client_cpu: f64,
    pub(crate) server_cpu: f64,
    /// Shares of the time in which the core had nothing to do.
    pub(crate) client_core_idle: f64,
    pub(crate) server_core_idle: f64,
    /// Share of the time of both cores that the machine below this one kept for others.
    pub(crate) steal: f64,
}

impl Moment {
    pub(crate) fn now(client: u32, server: u32, cores: &Cores) -> io::Result<Moment> {
        let (client_cpu, server_cpu) = (cpu_time(client)?, cpu_time(server)?);
        let (client_core, server_core) = (Core::now(cores.client)?, Core::now(cores.server)?);
        Ok(Moment { at: Instant::now(), payload: payload()?, client_cpu, server_cpu, client_core, server_core })
    }

    pub(crate) fn until(&self, later: &Moment) -> Window {
        let of_client = self.client_core.until(later.client_core);
        let of_server = self.server_core.until(later.server_core);
        Window {
            seconds: (later.at - self.at).as_secs_f64(),
            payload: later.payload.saturating_sub(self.payload),
            client_cpu: later.client_cpu.saturating_sub(self.client_cpu).as_secs_f64(),
            server_cpu: later.server_cpu.saturating_sub(self.server_cpu).as_secs_f64(),
            client_core_idle: of_client.idle(),
            server_core_idle: of_server.idle(),
            steal: (of_client.steal() + of_server.steal()) / 2.0,
        }
    }
}

/// What a core has done so far, in ticks.
#[derive(Clone, Copy, Debug)]
struct Core {
    all: u64,
    idle: u64,
    steal: u64,
}

impl Core {
    fn now(core: usize) -> io::Result<Core> {
        let text = fs::read_to_string("/proc/stat")?;
        Core::of(&text, core).ok_or_else(|| io::Error::other("/proc/stat has another form"))
    }

    /// user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user time already.
    fn of(stat: &str, core: usize) -> Option<Core> {
        let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{core} ")))?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        let &[_, _, _, idle, waiting, _, _, steal] = ticks.as_slice() else { return None };
        Some(Core { all: ticks.iter().sum(), idle: idle + waiting, steal })
    }

    fn until(self, later: Core) -> Core {
        Core {
            all: later.all.saturating_sub(self.all),
            idle: later.idle.saturating_sub(self.idle),
            steal: later.steal.saturating_sub(self.steal),
        }
    }

    fn idle(self) -> f64 {
        self.idle as f64 / self.all.max(1) as f64
    }

    fn steal(self) -> f64 {
        self.steal as f64 / self.all.max(1) as f64
    }
}

/// Bytes of TCP payload received in this network name space since it began: all bytes, less the headers of each packet.
/// A packet of the loopback is received once, so an echo counts twice: once each way.
pub(crate) fn payload() -> io::Result<u64> {
    let headers = HEADERS
        + match fs::read_to_string("/proc/sys/net/ipv4/tcp_timestamps") {
            Ok(text) if text.trim() == "0" => 0,
            _ => TIME_STAMPS,
        };
    let octets = counter("/proc/net/netstat", "IpExt:", "InOctets")?;
    let packets = counter("/proc/net/snmp", "Ip:", "InReceives")?;
    Ok(octets.saturating_sub(packets * headers))
}

/// One number of a file that holds pairs of lines, names above values.
fn counter(file: &str, group: &str, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    let mut lines = text.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let found = names.split_whitespace().zip(values.split_whitespace()).find(|(given, _)| *given == name);
    let found = found.and_then(|(_, value)| value.parse().ok());
    found.ok_or_else(|| io::Error::other(format!("{file} does not tell {group} {name}")))
}

/// CPU time of the threads that a process has now: in nanoseconds, where its ticks of a hundredth of a second would be
/// a percent of a window each. A thread that ends meanwhile is none any more. (No contestant ends one in a window.)
fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        let text = match fs::read_to_string(&path) {
            // proc(5): ENOENT when it is opened too late, ESRCH when it is read too late.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::SRCH)) => continue,
            text => text?,
        };
        let nanos = running(&text).ok_or_else(|| io::Error::other(format!("{} has another form", path.display())))?;
        sum += Duration::from_nanos(nanos);
    }
    Ok(sum)
}

/// The first field: nanoseconds on a processor.
fn running(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// Memory of a process that is resident, in bytes.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("/proc/PID/status does not tell VmRSS"))
}

/// Open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> io::Result<usize> {
    let folder = format!("/proc/{pid}/fd");
    match fs::metadata(&folder)?.len() {
        // Before Linux 6.2 the folder does not tell its size.
        0 => Ok(fs::read_dir(folder)?.count()),
        many => Ok(many as usize),
    }
}

/// Where servers and clients run.
pub(crate) struct Cores {
    all: CpuSet,
    pub(crate) server: usize,
    pub(crate) client: usize,
}

impl Cores {
    /// The first two that this process may use. The same one twice, if it is only one.
    pub(crate) fn choose() -> io::Result<Cores> {
        let all = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
        let server = usable.next().ok_or_else(|| io::Error::other("no core to run on"))?;
        Ok(Cores { all, server, client: usable.next().unwrap_or(server) })
    }

    pub(crate) fn are_two(&self) -> bool {
        self.server != self.client
    }

    /// The cores of a server, or of a client.
    pub(crate) fn of_server(&self, share: Share) -> CpuSet {
        if share == Share::TwoCores { self.both() } else { only(self.server) }
    }

    pub(crate) fn of_client(&self, share: Share) -> CpuSet {
        match share {
            Share::Apart => only(self.client),
            Share::OneCore => only(self.server),
            Share::TwoCores => self.both(),
        }
    }

    fn both(&self) -> CpuSet {
        let mut both = only(self.server);
        both.set(self.client);
        both
    }

    /// Whether the two are hardware threads of one core, which then share its time; `None`: the system does not tell.
    pub(crate) fn are_siblings(&self) -> Option<bool> {
        let of = |core| fs::read_to_string(format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"));
        Some(of(self.server).ok()?.trim() == of(self.client).ok()?.trim())
    }

    /// Runs `start`, whose child process is to stay on these cores: it inherits the affinity of the thread that starts
    /// it.
    pub(crate) fn on<T>(&self, cores: &CpuSet, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        sched_setaffinity(None, cores)?;
        let started = start();
        sched_setaffinity(None, &self.all)?;
        started
    }
}

fn only(core: usize) -> CpuSet {
    let mut one = CpuSet::new();
    one.set(core);
    one
}

/// The processor, the kernel: what a figure is worth nothing without.
pub(crate) fn describe() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}, {}", kernel.trim(), congestion_control())
}

/// What every new socket uses here (tcp(7)), as the system names it.
pub(crate) fn congestion_control() -> String {
    let name = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// Proves the parsers of this file on a text and on this process.
pub(crate) fn self_test() -> io::Result<()> {
    let own = std::process::id();
    let core = Core::of("cpu  9 9\ncpu0 0 0 0 0 0 0 0 0 0 0\ncpu1 10 0 20 30 10 5 5 20 0 0\n", 1);
    let core_is_right = core.is_some_and(|core| core.idle() == 0.4 && core.steal() == 0.2);
    let busy = cpu_time(own)? > Duration::ZERO && running("42 7 1") == Some(42);
    let right = core_is_right && busy && resident(own)? > 1 << 20 && descriptors(own)? >= 3;
    let before = payload()?;
    if right && payload()? >= before { Ok(()) } else { Err(io::Error::other("the counters are misread")) }
}
