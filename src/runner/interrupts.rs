//! What Ctrl-C means for a command that runs loads: the runs end with their reports, no further one begins, and the
//! exit code says so.

use std::sync::{Arc, Mutex, Weak};

use crate::client::Control;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::screen;
use crate::sync::lock;
use crate::target::test_bed;

/// The runs that an interrupt ends.
static ACTIVE_RUNS: Mutex<Vec<Weak<Control>>> = Mutex::new(Vec::new());

/// Does the work of a command. From now on Ctrl-C or SIGTERM ends the active runs with their reports. A second signal
/// ends the process; then nothing waits for servers to stop, so they are killed.
///
/// # Errors
/// Those of the command. After an interrupt each of them has the exit code for 'interrupted'.
pub fn interruptible(command: impl FnOnce() -> anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    interrupt::catch(end_runs, abort);
    command().map_err(|error| match interrupt::is_requested() {
        true => Failure::interrupted(format!("{error:#}")),
        false => error,
    })
}

/// From now on an interrupt ends this run too.
pub(super) fn applies_to(run: &Arc<Control>) {
    let mut active_runs = lock(&ACTIVE_RUNS);
    active_runs.retain(|other| other.strong_count() > 0);
    active_runs.push(Arc::downgrade(run));
    drop(active_runs);
    // The signal may have come before this run was in the list.
    if interrupt::is_requested() {
        run.interrupt();
    }
}

/// Nothing waits for servers to stop any more, and the terminal is left as it was.
fn abort() {
    test_bed::kill_all();
    screen::clear_at_exit();
}

fn end_runs() {
    for run in lock(&ACTIVE_RUNS).iter().filter_map(Weak::upgrade) {
        run.interrupt();
    }
}
