//! The end of a run that would not end by itself, be it because each of its connections moves a byte now and then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::Control;

/// A limit that a run is held to until this is asked, or dropped.
pub(super) struct Deadline {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    has_passed: Arc<AtomicBool>,
}

impl Deadline {
    /// From now on, and for so long; then the run is ended as by an interrupt.
    ///
    /// # Errors
    /// A thread could not be started.
    pub(super) fn set(limit: Duration, control: &Arc<Control>) -> io::Result<Deadline> {
        let control = Arc::clone(control);
        let has_passed = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = channel::<()>();
        let watch = {
            let has_passed = Arc::clone(&has_passed);
            move || {
                if stopped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                    has_passed.store(true, Ordering::SeqCst);
                    control.interrupt();
                }
            }
        };
        let thread = std::thread::Builder::new().name("deadline".to_owned()).spawn(watch)?;
        Ok(Deadline { stop: Some(stop), thread: Some(thread), has_passed })
    }

    /// Whether it was reached.
    pub(super) fn has_passed(&self) -> bool {
        self.has_passed.load(Ordering::SeqCst)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, the run is not worse for it.
            let _ = thread.join();
        }
    }
}
