//! The time limit of a run. Without one, a run whose connections each move a byte now and then would never end: none of
//! them stalls.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::Control;

/// A time limit that is enforced until this is dropped.
pub(super) struct Deadline {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    has_passed: Arc<AtomicBool>,
}

impl Deadline {
    /// Ends the run, as an interrupt would, when `limit` has passed from now on.
    ///
    /// # Errors
    /// A thread cannot be started.
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

    /// Whether the limit has passed and the run was told to end.
    pub(super) fn has_passed(&self) -> bool {
        self.has_passed.load(Ordering::SeqCst)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // The thread does not panic. If it did, the run's results would still be right.
            let _ = thread.join();
        }
    }
}
