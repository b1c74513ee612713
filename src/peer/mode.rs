//! What a backend does with connections, and the switch for it: any thread may ask, and the one that accepts obeys.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mio::Waker;

use crate::sync::lock;

/// How long the thread that accepts may take to obey. It only waits for events.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the other machines have to say that they are still there.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a roll call may take: the answers, and a turn of that thread.
const LONGEST_ROLL_CALL: Duration = ANSWER_PATIENCE.saturating_add(Duration::from_secs(1));

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
    roll_calls: Mutex<RollCalls>,
    called: Condvar,
    waker: Waker,
}

/// How many roll calls were asked for, and how many of these are done.
#[derive(Debug, Default)]
struct RollCalls {
    asked: u64,
    done: u64,
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
        let (request, roll_calls) = (Mutex::default(), Mutex::default());
        let (answered, called) = (Condvar::new(), Condvar::new());
        ModeSwitch { state: Arc::new(SwitchState { request, answered, roll_calls, called, waker }) }
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
        let SwitchState { request, answered, waker, .. } = &*self.state;
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

    /// Returns once the thread that accepts has seen all that had happened before, and knows of each other machine
    /// whether it is still there; or has no time for it.
    pub(super) fn call_roll(&self) {
        let SwitchState { roll_calls, called, waker, .. } = &*self.state;
        let mut calls = lock(roll_calls);
        calls.asked += 1;
        let mine = calls.asked;
        if waker.wake().is_ok() {
            let waited = called.wait_timeout_while(calls, LONGEST_ROLL_CALL, |calls| calls.done < mine);
            drop(waited.unwrap_or_else(std::sync::PoisonError::into_inner));
        }
    }

    /// The roll call that was asked for, if it is not done.
    pub(super) fn roll_call(&self) -> Option<u64> {
        let calls = lock(&self.state.roll_calls);
        (calls.done < calls.asked).then_some(calls.asked)
    }

    /// This roll call is done.
    pub(super) fn roll_was_called(&self, call: u64) {
        lock(&self.state.roll_calls).done = call;
        self.state.called.notify_all();
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
