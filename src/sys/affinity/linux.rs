//! The Linux half: sched_setaffinity(2), and the topology in sysfs (Documentation/admin-guide/cputopology.rst).

use std::fs;
use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::Cpu;

/// The processors on which the calling thread may run.
pub fn usable_cpus() -> Vec<Cpu> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    let ids = (0..CpuSet::MAX_CPU).filter(|id| set.is_set(*id));
    ids.filter_map(|id| Some(Cpu { id: u32::try_from(id).ok()?, core: core(id) })).collect()
}

fn core(id: usize) -> String {
    let file = format!("/sys/devices/system/cpu/cpu{id}/topology/thread_siblings_list");
    fs::read_to_string(file).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Lets the calling thread run on these processors alone. Threads and processes that it starts from then on do so too.
///
/// # Errors
/// The system's; the thread then runs where it did.
pub fn run_on(ids: &[u32]) -> io::Result<()> {
    let mut set = CpuSet::new();
    ids.iter().for_each(|id| set.set(*id as usize));
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_runs_where_the_thread_that_starts_it_does() {
        // A thread of its own, since the test must not keep others of this process from their processors.
        let seen = std::thread::spawn(|| {
            let last = usable_cpus().pop().expect("this thread runs somewhere");
            run_on(&[last.id]).expect("a thread may always give up processors");
            let out = std::process::Command::new("cat").arg("/proc/self/status").output().expect("cat starts");
            (last.id, usable_cpus().len(), String::from_utf8_lossy(&out.stdout).into_owned())
        });
        let (id, left, status) = seen.join().expect("the thread does not panic");
        assert_eq!(left, 1);
        let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list:")).expect("Linux tells");
        assert_eq!(line.split_whitespace().nth(1), Some(id.to_string().as_str()));
    }

    #[test]
    fn a_thread_is_not_kept_from_all_processors() {
        assert!(run_on(&[]).is_err());
    }
}
