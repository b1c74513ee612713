//! A process that this program starts, together with all processes that it starts in turn.
//!
//! They stand in a group of their own, so a Ctrl-C at the terminal reaches this program alone, which then stops its
//! servers itself. All that run are listed, so that they can be killed when this process must end at once.

use std::collections::BTreeMap;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::patience::Patience;
use crate::sync::lock;
use crate::sys::advice;
use crate::sys::{self, ProcessGroup};

/// The process groups that run, by the id of the leading process.
static RUNNING: Mutex<BTreeMap<u32, Arc<ProcessGroup>>> = Mutex::new(BTreeMap::new());

/// Kills every server that still runs, and all processes that it started. For an exit that cannot wait.
pub(super) fn kill_all() {
    for group in lock(&RUNNING).values() {
        group.kill();
    }
}

/// A process and its descendants. They are killed, at the latest, when this is dropped.
#[derive(Debug)]
pub(super) struct StartedProcess {
    child: Child,
    group: Arc<ProcessGroup>,
    /// The exit status, once the process has ended.
    status: Option<ExitStatus>,
}

impl StartedProcess {
    /// Starts the command in a group of its own, with this limit of open descriptors if one is given.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn start(command: &mut Command, descriptors: Option<u64>) -> io::Result<StartedProcess> {
        ProcessGroup::prepare(command, descriptors);
        // Any other error names the program, which does not exist or may not run.
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => advice::refused("process", &error),
            _ => error,
        })?;
        let group = Arc::new(ProcessGroup::of(&child).inspect_err(|_| drop(child.kill()))?);
        lock(&RUNNING).insert(child.id(), Arc::clone(&group));
        Ok(StartedProcess { child, group, status: None })
    }

    /// The id of the process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process itself, for its pipes.
    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The exit status, if the process has ended. All processes that it started end with it.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() && sys::has_ended(&mut self.child) {
            self.reap();
        }
        self.status
    }

    /// Asks all processes of the group to end.
    pub(super) fn ask_to_end(&self) {
        self.group.ask_to_end();
    }

    /// The same request, for another thread to make while this is alive.
    pub(super) fn stopper(&self) -> impl FnOnce() + Send + 'static {
        let group = Arc::clone(&self.group);
        move || group.ask_to_end()
    }

    /// Waits for the end of the process, and kills it when the time is over. Returns the exit status of a process that
    /// was not killed.
    pub(super) fn end_within(&mut self, mut patience: Patience) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if !patience.wait() {
                self.reap();
                return None;
            }
        }
    }

    /// Kills the rest of the group, then waits for the process. The order matters: as long as the process is not waited
    /// for, the system cannot give its id, which is the group's id, to another process.
    fn reap(&mut self) {
        self.group.kill();
        lock(&RUNNING).remove(&self.child.id());
        self.status = self.child.wait().ok().or(self.status);
    }
}

impl Drop for StartedProcess {
    fn drop(&mut self) {
        self.end_within(Patience::new(Duration::ZERO));
    }
}
