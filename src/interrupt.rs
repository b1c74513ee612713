//! Ctrl-C and SIGTERM: whether the user has asked for the end, and what then happens.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::exit::Exit;

static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// Whether the user has asked for the end.
pub fn is_requested() -> bool {
    INTERRUPTS.load(Ordering::SeqCst) > 0
}

/// From now on the first Ctrl-C or SIGTERM calls `end`, and a second one calls `abort` and ends the process with the
/// exit code for 'interrupted'. Only the first call of this function counts.
///
/// # Errors
/// The system does not let the signals be caught.
pub fn catch(end: fn(), abort: fn()) -> Result<(), ctrlc::Error> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    ctrlc::set_handler(move || {
        if INTERRUPTS.fetch_add(1, Ordering::SeqCst) > 0 {
            abort();
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        end();
    })
}
