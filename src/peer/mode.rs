//! What a backend does with connections, and the switch for it: any thread may ask, and the one that accepts obeys.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mio::Waker;

use crate::sync::lock;

/// How long the thread that accepts may take to obey. It only waits for events.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a settling may take: it is a turn of that thread.
const LONGEST_TURN: Duration = Duration::from_secs(1);

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
    turns: Mutex<Turns>,
    turned: Condvar,
    waker: Waker,
}

/// How often a turn of the thread was asked for, and how many of these it has done.
#[derive(Debug, Default)]
struct Turns {
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
        let (request, answered, turns, turned) = (Mutex::default(), Condvar::new(), Mutex::default(), Condvar::new());
        ModeSwitch { state: Arc::new(SwitchState { request, answered, turns, turned, waker }) }
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

    /// Returns once the thread that accepts has seen all that had happened before, or has no time for it.
    pub(super) fn settle(&self) {
        let SwitchState { turns, turned, waker, .. } = &*self.state;
        let mut turns = lock(turns);
        turns.asked += 1;
        let mine = turns.asked;
        if waker.wake().is_ok() {
            let waited = turned.wait_timeout_while(turns, LONGEST_TURN, |turns| turns.done < mine);
            drop(waited.unwrap_or_else(std::sync::PoisonError::into_inner));
        }
    }

    /// The turn that was asked for, if it is not done: the next look at events is that turn.
    pub(super) fn turn(&self) -> Option<u64> {
        let turns = lock(&self.state.turns);
        (turns.done < turns.asked).then_some(turns.asked)
    }

    /// This turn is done.
    pub(super) fn has_turned(&self, turn: u64) {
        lock(&self.state.turns).done = turn;
        self.state.turned.notify_all();
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
