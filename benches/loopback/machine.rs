//! What the system tells of processes and of its network: counters that no contestant can flatter.
//!
//! Sources: proc(5), proc_pid_stat(5), proc_pid_status(5); Documentation/networking/snmp_counter.rst of the kernel.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

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
}

/// What happened between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    /// Bytes of payload that this network name space received, both directions together.
    pub(crate) payload: u64,
    /// In cores: CPU time a second.
    pub(crate) client_cpu: f64,
    pub(crate) server_cpu: f64,
}

impl Moment {
    pub(crate) fn now(client: u32, server: u32) -> io::Result<Moment> {
        let (client_cpu, server_cpu) = (cpu_time(client)?, cpu_time(server)?);
        Ok(Moment { at: Instant::now(), payload: payload()?, client_cpu, server_cpu })
    }

    pub(crate) fn until(&self, later: &Moment) -> Window {
        let seconds = (later.at - self.at).as_secs_f64();
        let cores = |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() / seconds;
        Window {
            seconds,
            payload: later.payload.saturating_sub(self.payload),
            client_cpu: cores(self.client_cpu, later.client_cpu),
            server_cpu: cores(self.server_cpu, later.server_cpu),
        }
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

/// CPU time of all threads of a process, those that have ended included.
fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks(&stat).ok_or_else(|| io::Error::other("/proc/PID/stat has another form"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// utime and stime, the 14th and 15th field; the second may hold blanks and is closed by the last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
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

    /// Runs `start`, whose child process is to stay on this core: it inherits the affinity of the thread that starts
    /// it.
    pub(crate) fn on<T>(&self, core: usize, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let mut one = CpuSet::new();
        one.set(core);
        sched_setaffinity(None, &one)?;
        let started = start();
        sched_setaffinity(None, &self.all)?;
        started
    }
}

/// The processor, the kernel: what a figure is worth nothing without.
pub(crate) fn describe() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// Proves the parsers of this file on a text and on this process.
pub(crate) fn self_test() -> io::Result<()> {
    let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 30 12 13 14";
    let own = std::process::id();
    let right = ticks(stat) == Some(42) && resident(own)? > 1 << 20 && descriptors(own)? >= 3;
    let before = payload()?;
    if right && payload()? >= before { Ok(()) } else { Err(io::Error::other("the counters are misread")) }
}
