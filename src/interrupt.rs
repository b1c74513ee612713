//! Ctrl-C and SIGTERM, and on Windows the close of the console: whether the user has asked the program to stop, and
//! what happens then.
//!
//! The handler stands before the command line is read ([`install`]). Until a command says what to do
//! ([`on_signal`]), a signal ends the process at once, because there is nothing to report yet. A command that waits for
//! anything looks at [`is_requested`], or waits by [`pause`] or [`unless_requested`].

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::exit::Exit;
use crate::sync::lock;
use crate::sys;

/// How often a wait looks for an interrupt.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// What a command does about a signal.
type Reaction = Box<dyn Fn(usize) + Send>;
static REACTION: Mutex<Option<Reaction>> = Mutex::new(None);

/// Whether the user has asked the program to stop.
pub(crate) fn is_requested() -> bool {
    INTERRUPTS.load(Ordering::SeqCst) > 0
}

/// Catches Ctrl-C, SIGTERM and the close of the console from now on. Call it once, before anything else.
///
/// # Errors
/// The system refuses the signal handler.
pub(crate) fn install() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(react)?;
    sys::on_close(react).map_err(ctrlc::Error::System)
}

/// A signal has come.
fn react() {
    let reaction = lock(&REACTION);
    let nth = INTERRUPTS.fetch_add(1, Ordering::SeqCst) + 1;
    match &*reaction {
        Some(reaction) => reaction(nth),
        None => std::process::exit(i32::from(Exit::Interrupted.code())),
    }
}

/// From now on, each signal calls `reaction` with its number, which counts from 1.
pub(crate) fn on_signal(reaction: impl Fn(usize) + Send + 'static) {
    *lock(&REACTION) = Some(Box::new(reaction));
}

/// From now on, the first signal calls `stop`. The second calls `abort` and ends the process with the exit code for
/// 'interrupted'.
pub(crate) fn catch(stop: fn(), abort: fn()) {
    on_signal(move |nth| {
        if nth == 1 {
            return stop();
        }
        abort();
        std::process::exit(i32::from(Exit::Interrupted.code()));
    });
}

/// Pauses for this time, or until the user interrupts.
pub(crate) fn pause(time: Duration) {
    let until = Instant::now().checked_add(time);
    while !is_requested() {
        let left = until.map_or(time, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(LOOK_INTERVAL));
    }
}

/// Does `work`, which may block, on a thread of its own and returns its result.
///
/// # Errors
/// `Interrupted`: the user interrupted. The work then goes on, and its result is dropped. Any other error: there is no
/// thread for it.
pub(crate) fn unless_requested<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    // Work that is quickly done, over and over, would otherwise never be told.
    if is_requested() {
        return Err(io::ErrorKind::Interrupted.into());
    }
    unless_more_than(0, work)
}

/// The same for work that follows an interrupt too, such as writing the result of a run that was interrupted: only a
/// further one ends the wait.
///
/// # Errors
/// Those of [`unless_requested`].
pub(crate) fn unless_requested_again<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    unless_more_than(INTERRUPTS.load(Ordering::SeqCst), work)
}

/// Does `work` until it ends or there are more interrupts than these.
fn unless_more_than<T: Send + 'static>(interrupts: usize, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let is_over = || INTERRUPTS.load(Ordering::SeqCst) > interrupts;
    let (sender, result) = channel();
    let worker = move || {
        // Nobody listens after an interrupt.
        let _ = sender.send(work());
    };
    std::thread::Builder::new().name("blocking".to_owned()).spawn(worker)?;
    loop {
        match result.recv_timeout(LOOK_INTERVAL) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) if is_over() => return Err(io::ErrorKind::Interrupted.into()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("a thread panicked")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_ends_gives_its_result_and_work_that_panics_an_error() {
        assert_eq!(unless_requested(|| 7).expect("it ends"), 7);
        let error = unless_requested(|| -> () { panic!("on purpose") }).expect_err("it panics");
        assert!(error.to_string().contains("panicked"), "{error}");
    }
}
