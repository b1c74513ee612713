//! How often a process waits. One that asks again and again for what does not come may use little CPU time: under Wine
//! each of its calls is work of the wineserver, for which it waits. Then it waits thousands of times a second, where
//! one at rest waits a few times.

use std::fs;

/// How often the threads of a process have waited since they began. `None`: the process has ended, or the system does
/// not tell (Linux does: proc(5), `/proc/PID/task/TID/status`).
pub(crate) fn waits_of(pid: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    // A thread may end meanwhile.
    let statuses = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
    let waits = statuses.filter_map(|status| {
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        count.trim().parse::<u64>().ok()
    });
    Some(waits.sum())
}
