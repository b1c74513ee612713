//! The Linux half: `/proc/<pid>/status` (proc_pid_status(5)), getrusage(2), and the tracepoint of system calls as a
//! counter (perf_event_open(2)).

#![expect(unsafe_code, reason = "perf_event_open has no safe wrapper")]

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::FromRawFd;

use crate::sys::os;
use crate::sys::processes::threads_of_tree;

/// The context switches so far of the threads that now run in a process and its descendants. `None`: there is no such
/// process.
pub fn switches_of_tree(root: u32) -> Option<u64> {
    let threads = threads_of_tree(root);
    // A thread that has ended since it was listed is left out.
    let of_thread = |id: &u32| Some(switches(&fs::read_to_string(format!("/proc/{id}/status")).ok()?));
    (!threads.is_empty()).then(|| threads.iter().filter_map(of_thread).sum())
}

/// Reads the text of `status`.
fn switches(status: &str) -> u64 {
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    of("voluntary_ctxt_switches:").unwrap_or(0) + of("nonvoluntary_ctxt_switches:").unwrap_or(0)
}

/// The context switches of all threads of all children of this process that have ended and were waited for, with those
/// of their own children.
pub fn switches_of_ended_children() -> Option<u64> {
    let usage = os::usage_of_ended_children()?;
    Some(u64::try_from(usage.ru_nvcsw).ok()? + u64::try_from(usage.ru_nivcsw).ok()?)
}

/// Counts the system calls of a process and its descendants, from now on.
#[derive(Debug)]
pub struct CallCounter {
    /// A counter for each thread that there was, with all threads and processes that it starts.
    counters: Vec<File>,
}

impl CallCounter {
    /// A counter of the calls of this process and its descendants, with all that they start from now on. `None`: there
    /// is no such process, or the system does not permit it (perf_event_paranoid, the mode of tracefs).
    pub fn of_tree(root: u32) -> Option<CallCounter> {
        let tracepoint = tracepoint()?;
        let counters = threads_of_tree(root).into_iter().map(|thread| open(tracepoint, thread));
        let counters: Vec<File> = counters.collect::<Option<_>>()?;
        (!counters.is_empty()).then_some(CallCounter { counters })
    }

    /// The calls so far, with those of threads that have ended.
    pub fn count(&self) -> Option<u64> {
        let read = |mut counter: &File| {
            let mut bytes = [0; 8];
            counter.read_exact(&mut bytes).ok().map(|()| u64::from_ne_bytes(bytes))
        };
        self.counters.iter().map(read).sum()
    }
}

/// The number of the tracepoint at which each system call is entered, where tracefs is mounted and may be read.
fn tracepoint() -> Option<u64> {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].iter().find_map(|folder| {
        fs::read_to_string(format!("{folder}/events/raw_syscalls/sys_enter/id")).ok()?.trim().parse().ok()
    })
}

/// A counter of this tracepoint in a thread, and in the threads and processes that it starts.
fn open(tracepoint: u64, thread: u32) -> Option<File> {
    const TYPE_TRACEPOINT: u64 = 2;
    /// The first version of `perf_event_attr`, which is all that is needed (PERF_ATTR_SIZE_VER0).
    const SIZE: u64 = 64;
    /// The bit `inherit` of its flags.
    const INHERIT: u64 = 1 << 1;
    /// PERF_FLAG_FD_CLOEXEC
    const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;
    // The words of `struct perf_event_attr`: type and size, config, period, sample_type, read_format, flags, and two of
    // sampling.
    let low_half_first =
        if cfg!(target_endian = "little") { TYPE_TRACEPOINT | SIZE << 32 } else { TYPE_TRACEPOINT << 32 | SIZE };
    let attributes: [u64; 8] = [low_half_first, tracepoint, 0, 0, 0, INHERIT, 0, 0];
    let thread = libc::pid_t::try_from(thread).ok()?;
    let (any_cpu, no_group): (libc::c_int, libc::c_int) = (-1, -1);
    // SAFETY: the call reads SIZE bytes of the live array, which is as long, and no other memory.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), thread, any_cpu, no_group, CLOSE_ON_EXEC)
    };
    let fd = libc::c_int::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the call has just returned this open descriptor, and nobody else owns it.
    Some(unsafe { File::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell that reads lines; each makes it say `done` after this many starts of a program.
    fn shell() -> Child {
        Command::new("sh")
            .args(["-c", "while read n; do while [ $n -gt 0 ]; do /bin/true; n=$((n-1)); done; echo done; done"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts")
    }

    fn work(child: &mut Child, lines: &mut impl BufRead, amount: u32) {
        writeln!(child.stdin.as_mut().expect("the pipe is open"), "{amount}").expect("sh reads");
        lines.read_line(&mut String::new()).expect("sh answers");
    }

    #[test]
    fn both_kinds_of_switches_are_counted() {
        assert_eq!(switches("Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t4\n"), 154);
        assert_eq!(switches(""), 0);
    }

    #[test]
    fn a_child_that_works_switches_and_its_switches_are_told_when_it_has_ended() {
        let mut child = shell();
        let mut lines = BufReader::new(child.stdout.take().expect("the pipe is open"));
        work(&mut child, &mut lines, 1);
        let before = switches_of_tree(child.id()).expect("it runs");
        work(&mut child, &mut lines, 20);
        let after = switches_of_tree(child.id()).expect("it runs");
        // It waits for each program that it starts.
        assert!(after >= before + 20, "{before} then {after}");
        let ended = switches_of_ended_children().expect("Linux tells");
        child.stdin.take();
        child.wait().expect("it can be waited for");
        // Other tests may wait for children of theirs meanwhile, so there may be more.
        assert!(switches_of_ended_children().is_some_and(|now| now >= ended + after), "{ended} and {after}");
        assert_eq!(switches_of_tree(child.id()), None);
    }

    #[test]
    fn the_calls_of_descendants_are_counted_where_the_system_permits_it() {
        let mut child = shell();
        let mut lines = BufReader::new(child.stdout.take().expect("the pipe is open"));
        work(&mut child, &mut lines, 1);
        if let Some(counter) = CallCounter::of_tree(child.id()) {
            let idle = counter.count().expect("the counter can be read");
            work(&mut child, &mut lines, 20);
            let busy = counter.count().expect("the counter can be read");
            // Each program that is started makes more than ten calls.
            assert!(busy >= idle + 200, "{idle} then {busy}");
        }
        child.stdin.take();
        child.wait().expect("it can be waited for");
        assert!(CallCounter::of_tree(child.id()).is_none(), "it has ended");
    }
}
