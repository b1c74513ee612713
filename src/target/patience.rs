//! How long a server may take for something. An interrupt cuts the time short: who presses Ctrl-C does not want to wait
//! for a server.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::interrupt;

/// What is left of any time after an interrupt. A server ends sooner than that, unless it hangs.
pub(super) const AFTER_INTERRUPT: Duration = Duration::from_millis(300);
/// Pause between two looks at whatever is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A time limit that an interrupt cuts short.
#[derive(Debug)]
pub(super) struct Patience {
    until: Instant,
    was_cut_short: bool,
}

impl Patience {
    /// A limit of this time from now on.
    pub(super) fn new(time: Duration) -> Patience {
        Patience { until: Instant::now() + time, was_cut_short: false }
    }

    /// What is left.
    pub(super) fn left(&mut self) -> Duration {
        let now = Instant::now();
        if !self.was_cut_short && interrupt::is_requested() {
            self.until = self.until.min(now + AFTER_INTERRUPT);
            self.was_cut_short = true;
        }
        self.until.saturating_duration_since(now)
    }

    /// Pauses before the next look. Returns false if the time is over.
    pub(super) fn wait(&mut self) -> bool {
        let left = self.left();
        std::thread::sleep(left.min(POLL_INTERVAL));
        !left.is_zero()
    }

    /// Waits for a message. `None`: the time is over, or nobody can send one.
    pub(super) fn receive<T>(&mut self, from: &Receiver<T>) -> Option<T> {
        loop {
            let left = self.left();
            match from.recv_timeout(left.min(AFTER_INTERRUPT / 10)) {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                Err(_) => return None,
            }
        }
    }
}
