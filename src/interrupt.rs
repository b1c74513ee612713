//! Ctrl-C and SIGTERM: whether the user has asked the program to stop, and what happens then.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::exit::Exit;

static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// Whether the user has asked the program to stop.
pub(crate) fn is_requested() -> bool {
    INTERRUPTS.load(Ordering::SeqCst) > 0
}

/// Catches Ctrl-C and SIGTERM from now on. The first signal calls `stop`. The second calls `abort` and ends the process
/// with the exit code for 'interrupted'. Only the first call of this function has an effect.
///
/// # Errors
/// The system refuses the signal handler.
pub(crate) fn catch(stop: fn(), abort: fn()) -> Result<(), ctrlc::Error> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    ctrlc::set_handler(move || {
        if INTERRUPTS.fetch_add(1, Ordering::SeqCst) > 0 {
            abort();
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        stop();
    })
}
