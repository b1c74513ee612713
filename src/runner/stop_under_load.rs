//! Tells the server of a case to end while its loads run.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::target::test_bed::TestBed;

/// A request that is made after a time, unless this is dropped before.
pub(super) struct StopUnderLoad {
    cancel: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StopUnderLoad {
    /// Asks this server to end after this time, if there are both.
    ///
    /// # Errors
    /// As [`after`](Self::after).
    pub(super) fn of(server: Option<&TestBed>, time: Option<Duration>) -> std::io::Result<Option<StopUnderLoad>> {
        server.zip(time).map(|(server, time)| StopUnderLoad::after(time, server.stopper())).transpose()
    }

    /// Makes the request after this time.
    ///
    /// # Errors
    /// The thread that waits cannot be started.
    fn after(time: Duration, ask: impl FnOnce() + Send + 'static) -> std::io::Result<StopUnderLoad> {
        let (cancel, cancelled) = channel();
        let wait = move || {
            if cancelled.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                ask();
            }
        };
        let thread = std::thread::Builder::new().name("stop-server".to_owned()).spawn(wait)?;
        Ok(StopUnderLoad { cancel: Some(cancel), thread: Some(thread) })
    }
}

impl Drop for StopUnderLoad {
    fn drop(&mut self) {
        self.cancel.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_made_at_its_time_or_never() {
        let (asked, was_asked) = channel();
        let again = asked.clone();
        drop(StopUnderLoad::after(Duration::from_secs(60), move || asked.send(1).expect("the test listens")));
        let stop = StopUnderLoad::after(Duration::from_millis(1), move || again.send(2).expect("the test listens"));
        assert_eq!(was_asked.recv_timeout(Duration::from_secs(10)), Ok(2), "the first one was dropped in time");
        drop(stop);
    }
}
