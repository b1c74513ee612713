//! The Linux half: `/proc/<pid>/stat` and `/proc/<pid>/fd` (proc_pid_stat(5), proc_pid_fd(5)).

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use super::{Process, ProcessUsage};

/// What a line of `stat` tells besides the family.
#[derive(Clone, Copy, Default)]
pub(super) struct Listed {
    /// When it began, in ticks since the machine was started.
    pub(super) begun: u64,
    pub(super) threads: u64,
    pub(super) memory: u64,
    pub(super) cpu: Duration,
}

/// All processes that this one may see.
pub(super) fn list() -> Option<Vec<Process>> {
    let entries = fs::read_dir("/proc").ok()?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    Some(pids.filter_map(|pid| parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect())
}

/// This process.
pub(super) fn own() -> Option<Process> {
    parse(std::process::id(), &fs::read_to_string("/proc/self/stat").ok()?)
}

/// When it began.
pub(super) fn begun(process: &Process) -> Option<u64> {
    Some(process.known.begun)
}

/// Its own usage.
pub(super) fn usage(process: &Process) -> Option<ProcessUsage> {
    let Listed { threads, memory, cpu, .. } = process.known;
    let fds = if process.is_zombie { Some(0) } else { descriptors(process.pid) };
    Some(ProcessUsage { fds, threads: Some(threads), memory: Some(memory), cpu: Some(cpu) })
}

/// Its threads.
pub(super) fn threads(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The open descriptors of a process. `None`: only its own user may know.
fn descriptors(pid: u32) -> Option<u64> {
    let folder = format!("/proc/{pid}/fd");
    // Since Linux 6.2 the folder's size is their number; before, it is 0.
    match fs::metadata(&folder).map(|folder| folder.len()) {
        Ok(count @ 1..) => return Some(count),
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(0),
        _ => {}
    }
    match fs::read_dir(&folder) {
        Ok(entries) => Some(entries.count() as u64),
        Err(error) if error.kind() == ErrorKind::NotFound => Some(0),
        Err(_) => None,
    }
}

/// Reads a line of `stat`. The name in it may have blanks and brackets; what follows its last bracket has not.
fn parse(pid: u32, line: &str) -> Option<Process> {
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // proc_pid_stat(5) counts from 1, and the state, its field 3, is the first after the name.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)? + number(15)? + number(16)? + number(17)?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let known = Listed {
        begun: number(22)?,
        threads: number(20)?.max(1),
        memory: number(24)? * rustix::param::page_size() as u64,
        cpu: Duration::from_nanos(1_000_000_000 / per_second * ticks),
    };
    let (parent, group) = (u32::try_from(number(4)?).ok()?, u32::try_from(number(5)?).ok());
    Some(Process { pid, parent, group, is_zombie: fields.first() == Some(&"Z"), known })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_the_program_is_called() {
        let line = "7 (a) (b c) S 5 6 6 0 -1 0 1 2 3 4 100 20 30 50 20 0 9 0 777 1000000 12 99";
        let process = parse(7, line).expect("the line is well-formed");
        let Listed { begun, threads, memory, cpu } = process.known;
        assert_eq!((process.pid, process.parent, process.group), (7, 5, Some(6)));
        assert_eq!((begun, process.is_zombie, threads), (777, false, 9));
        assert_eq!(memory, 12 * rustix::param::page_size() as u64);
        assert_eq!(cpu.as_secs_f64(), 200.0 / rustix::param::clock_ticks_per_second() as f64);
        assert!(parse(7, "7 (a) S 5").is_none());
    }
}
