//! What a process and all its descendants use: descriptors, threads, memory, CPU time.
//!
//! Each system has a file of its own here, which exports `list`, `own`, `begun` and `usage`. The walk through the tree
//! stands once, below. No crate gives all four figures on the three systems (`sysinfo` counts threads on Linux alone),
//! and a look must be cheap, because it is taken several times a second while a load runs.

use std::collections::HashMap;
use std::time::Duration;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod os;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod os;
#[cfg(windows)]
#[path = "windows.rs"]
mod os;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
#[path = "other.rs"]
mod os;

/// What a process, or a tree of them, uses at a moment. `None`: the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Open descriptors; on Windows, handles of every kind.
    pub fds: Option<u64>,
    /// Threads. A process that has ended and that its parent has not waited for counts as one.
    pub threads: Option<u64>,
    /// Resident memory in bytes. Pages that processes share count in each.
    pub memory: Option<u64>,
    /// CPU time so far, on Linux with that of descendants that have ended and were waited for.
    pub cpu: Option<Duration>,
}

/// A process as the system lists it.
struct Process {
    pid: u32,
    parent: u32,
    /// Its process group, where the system has such.
    group: Option<u32>,
    /// It has ended, and its parent has not waited for it yet.
    is_zombie: bool,
    /// What the list has told already.
    known: os::Listed,
}

/// The usage of a process and all its descendants, without this program and its own. On Unix the members of the process
/// group that it leads belong to it too, since a daemon leaves its parent. `None`: there is no such process (any more),
/// or the system does not tell.
pub fn usage_of_tree(root: u32) -> Option<ProcessUsage> {
    let all = os::list()?;
    let tree = members(&all, root, std::process::id());
    let leader = os::usage(tree.first().filter(|leader| !leader.is_zombie)?)?;
    // What has ended since it was listed uses nothing any more.
    let others = tree[1..].iter().filter_map(|process| os::usage(process));
    Some(others.fold(leader, |sum, next| sum.plus(&next)))
}

/// The usage of this process alone. It is cheap: no other process is listed. `None`: the system does not tell.
pub fn own_usage() -> Option<ProcessUsage> {
    os::usage(&os::own()?)
}

/// The threads of a process and all its descendants, as [`usage_of_tree`] counts them; none if the process has ended.
#[cfg(target_os = "linux")]
pub(super) fn threads_of_tree(root: u32) -> Vec<u32> {
    let all = os::list().unwrap_or_default();
    members(&all, root, std::process::id()).iter().flat_map(|process| os::threads(process.pid)).collect()
}

/// The root first, then its descendants; empty if it is not listed.
fn members(all: &[Process], root: u32, own: u32) -> Vec<&Process> {
    let Some(leader) = all.iter().find(|process| process.pid == root) else { return Vec::new() };
    let mut children: HashMap<u32, Vec<&Process>> = HashMap::new();
    for process in all.iter().filter(|process| process.pid != own && process.pid != process.parent) {
        children.entry(process.parent).or_default().push(process);
    }
    let own_group = all.iter().find(|process| process.pid == own).and_then(|process| process.group);
    let is_of_group = |process: &&Process| process.group == Some(root) && own_group != Some(root) && process.pid != own;
    let mut tree = vec![leader];
    tree.extend(all.iter().filter(|process| process.pid != root).filter(is_of_group));
    let mut looked_at = 0;
    while let Some(parent) = tree.get(looked_at).copied() {
        looked_at += 1;
        for child in children.remove(&parent.pid).unwrap_or_default() {
            // The parent of an orphan may have ended long ago, and its number may belong to another process now.
            let is_older = os::begun(child).zip(os::begun(parent)).is_some_and(|(child, parent)| child < parent);
            if !is_older && tree.iter().all(|member| member.pid != child.pid) {
                tree.push(child);
            }
        }
    }
    tree
}

impl ProcessUsage {
    fn plus(&self, other: &ProcessUsage) -> ProcessUsage {
        let sum = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a + b);
        ProcessUsage {
            fds: sum(self.fds, other.fds),
            threads: sum(self.threads, other.threads),
            memory: sum(self.memory, other.memory),
            cpu: self.cpu.zip(other.cpu).map(|(a, b)| a + b),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, group: u32, begun: u64) -> Process {
        Process {
            pid,
            parent,
            group: Some(group),
            is_zombie: false,
            known: os::Listed { begun, ..os::Listed::default() },
        }
    }

    fn pids(all: &[Process], root: u32, own: u32) -> Vec<u32> {
        members(all, root, own).iter().map(|process| process.pid).collect()
    }

    #[test]
    fn a_tree_is_the_process_its_descendants_and_the_group_that_it_leads() {
        let all = [
            process(1, 0, 1, 0),
            process(10, 1, 10, 5),
            process(11, 10, 10, 6),
            process(12, 11, 99, 7),
            process(13, 1, 10, 8),
            process(20, 1, 20, 5),
        ];
        assert_eq!(pids(&all, 10, 7), [10, 11, 13, 12], "13 has left its parent, and 12 the group");
        assert_eq!(pids(&all, 11, 7), [11, 12]);
        assert_eq!(pids(&all, 30, 7), [0; 0]);
    }

    #[test]
    fn this_program_is_no_part_of_a_tree_that_it_stands_in() {
        let all = [process(5, 1, 5, 1), process(6, 5, 5, 2), process(7, 5, 5, 3), process(8, 7, 5, 4)];
        assert_eq!(pids(&all, 5, 7), [5, 6]);
    }

    #[test]
    fn a_child_that_is_older_than_its_parent_is_another_ones() {
        let all = [process(5, 1, 5, 100), process(6, 5, 6, 50), process(9, 5, 9, 100)];
        assert_eq!(pids(&all, 5, 7), [5, 9]);
    }

    #[test]
    fn opening_a_file_and_starting_a_thread_shows() {
        // Another test may open and close files at the same time, so this looks at a process of its own.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "exec 3</dev/null 4</dev/null; sleep 60 & echo ready; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("the pipe is open");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("sh prints a line");
        let usage = usage_of_tree(child.id()).expect("it runs");
        for pid in members(&os::list().expect("Linux lists"), child.id(), 0).iter().map(|process| process.pid) {
            std::process::Command::new("kill").arg(pid.to_string()).status().expect("kill runs");
        }
        child.wait().expect("it can be waited for");
        // Standard input, output and error, and two files, in sh and in its child.
        assert!(usage.fds.is_some_and(|fds| fds >= 10), "{usage:?}");
        assert_eq!(usage.threads, Some(2));
        assert!(usage.memory.is_some_and(|bytes| bytes > 100_000) && usage.cpu.is_some(), "{usage:?}");
        assert_eq!(usage_of_tree(child.id()), None, "it has ended");
    }
}
