//! Processes that carry a mark in their environment, which every descendant inherits, also one that has left the
//! process group and the session of its parent. Jenkins ends the processes of a build that way.
//!
//! Linux tells the environment that a process was started with (proc_pid_environ(5)). A process that clears it, or that
//! writes its title over it, is not found. Other systems tell nothing here.

/// A process that was found. On Linux it is held by a descriptor, so that no other process can be meant that has got
/// its id since (pidfd_open(2)).
#[cfg(target_os = "linux")]
pub struct Marked(std::os::fd::OwnedFd);

/// A process that was found: here none is.
#[cfg(not(target_os = "linux"))]
pub enum Marked {}

/// The processes that run with a variable `name` of whose value `is_mark` is true, but for those of process group
/// `group`, and this one.
#[cfg(target_os = "linux")]
pub fn find_marked(name: &str, group: Option<u32>, is_mark: impl Fn(&str) -> bool) -> Vec<Marked> {
    use rustix::process::{Pid, PidfdFlags, getpgid, pidfd_open};
    let is_marked = |pid: u32| {
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { return false };
        let value = |variable: &[u8]| {
            let value = std::str::from_utf8(variable).ok()?.strip_prefix(name)?.strip_prefix('=')?.to_owned();
            is_mark(&value).then_some(())
        };
        environment.split(|byte| *byte == 0).any(|variable| value(variable).is_some())
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let found = |pid: u32| {
        if pid == std::process::id() || !is_marked(pid) {
            return None;
        }
        let id = Pid::from_raw(pid as i32)?;
        let is_of_group = group.is_some() && getpgid(Some(id)).ok().map(|id| id.as_raw_nonzero().get() as u32) == group;
        let held = pidfd_open(id, PidfdFlags::empty()).ok()?;
        // Looked at again: the first look may have met another process of this id.
        (!is_of_group && is_marked(pid)).then_some(Marked(held))
    };
    pids.filter_map(found).collect()
}

/// The processes with a mark: not known here.
#[cfg(not(target_os = "linux"))]
pub fn find_marked(_name: &str, _group: Option<u32>, _is_mark: impl Fn(&str) -> bool) -> Vec<Marked> {
    Vec::new()
}

#[cfg(target_os = "linux")]
impl Marked {
    /// Asks it to end (SIGTERM). Best effort: it may have ended already.
    pub fn ask_to_end(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.0, rustix::process::Signal::TERM);
    }

    /// Kills it (SIGKILL). Best effort: it may have ended already.
    pub fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.0, rustix::process::Signal::KILL);
    }
}

#[cfg(not(target_os = "linux"))]
impl Marked {
    /// There is none.
    pub fn ask_to_end(&self) {
        match *self {}
    }

    /// There is none.
    pub fn kill(&self) {
        match *self {}
    }
}
