//! What the files under test know of the rest of the program, in as few words as they need.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use loom::sync::{Condvar, Mutex};

/// A thread's wait that others interrupt: as with eventfd and mio's waker, a call before the wait is remembered.
#[derive(Clone, Default)]
pub struct Waker(Arc<Wait>);

#[derive(Default)]
struct Wait {
    called: Mutex<bool>,
    changed: Condvar,
}

impl Waker {
    pub fn wake(&self) -> io::Result<()> {
        *crate::sync::lock(&self.0.called) = true;
        self.0.changed.notify_one();
        Ok(())
    }

    /// Waits until it was called since the last wait.
    pub fn wait(&self) {
        let mut called = crate::sync::lock(&self.0.called);
        while !*called {
            called = self.0.changed.wait(called).expect("no case panics with a lock");
        }
        *called = false;
    }
}

/// A load whose connections are all to be opened at once.
pub(crate) struct Profile;

impl Profile {
    pub(crate) fn all_open_at(&self) -> Duration {
        Duration::ZERO
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnId(pub(crate) u32);

pub(crate) struct OtherSide {
    pub(crate) reached: bool,
    pub(crate) late: bool,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) held: u64,
    pub(crate) last_sent_ms: Option<f64>,
    pub(crate) last_received_ms: Option<f64>,
    pub(crate) fin_ms: Option<f64>,
    pub(crate) ended_ms: Option<f64>,
    pub(crate) reset: bool,
    pub(crate) recent: Vec<u64>,
}
