//! What a backend does with connections, and the switch for it: any thread may ask, and the one that accepts obeys.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mio::Waker;

use crate::sync::lock;

/// How long the thread that accepts may take to obey. It only waits for events.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a backend does with connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendMode {
    /// It accepts them, and hands them over.
    #[default]
    Serve,
    /// It does not listen, so the system refuses them.
    Refuse,
    /// It accepts them, and resets each at once.
    Reset,
}

/// The switch of a backend, for any thread. It may outlive the backend.
#[derive(Clone, Debug)]
pub struct ModeSwitch {
    state: Arc<SwitchState>,
}

/// What the threads share that ask and obey.
#[derive(Debug)]
struct SwitchState {
    request: Mutex<ModeRequest>,
    answered: Condvar,
    waker: Waker,
}

/// What was asked for, and what came of it.
#[derive(Debug, Default)]
struct ModeRequest {
    wanted: Option<BackendMode>,
    answer: Option<io::Result<()>>,
}

impl ModeSwitch {
    /// `waker` interrupts the wait of the thread that accepts.
    pub(super) fn new(waker: Waker) -> ModeSwitch {
        ModeSwitch { state: Arc::new(SwitchState { request: Mutex::default(), answered: Condvar::new(), waker }) }
    }

    /// Interrupts the wait of the thread that accepts.
    pub(super) fn wake(&self) -> io::Result<()> {
        self.state.waker.wake()
    }

    /// Has the backend do this with connections from now on, and returns when it does. Connections that it has accepted
    /// stay. Only one thread may ask at a time.
    ///
    /// # Errors
    /// It can't listen again, since another program has taken the port; or it is gone.
    pub fn set(&self, mode: BackendMode) -> io::Result<()> {
        let SwitchState { request, answered, waker } = &*self.state;
        let mut request = lock(request);
        *request = ModeRequest { wanted: Some(mode), answer: None };
        waker.wake()?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = request.answer.take() {
                return answer;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the thread of the backend does not answer"));
            }
            let woken = answered.wait_timeout(request, left).unwrap_or_else(std::sync::PoisonError::into_inner);
            request = woken.0;
        }
    }

    /// The mode that was asked for since the last call.
    pub(super) fn wanted(&self) -> Option<BackendMode> {
        lock(&self.state.request).wanted.take()
    }

    /// What came of it.
    pub(super) fn answer(&self, answer: io::Result<()>) {
        lock(&self.state.request).answer = Some(answer);
        self.state.answered.notify_all();
    }
}
