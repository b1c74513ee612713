//! An outage of the backend of a case: this program is down there for a time, on purpose, while the loads run.
//!
//! The client is told before the backend goes down, and when it must be found again. So no time of this thread decides
//! about a connection: one that was opened after that must be served, however late the thread was.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::client::Intake;
use crate::config::{Outage, OutageKind};
use crate::peer::{Backend, BackendMode, ModeSwitch};

/// The pause before the backend tries again to listen where it did before: connections of the time before may still
/// hold the port on some systems.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// How long it tries that once the run has ended.
const LAST_TRIES: Duration = Duration::from_secs(10);

/// An outage under way. It must be [ended](Self::end).
pub(super) struct RunningOutage {
    cancel: Option<Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl RunningOutage {
    /// Begins an outage of this backend, if there are both. One without a delay has begun when this returns.
    ///
    /// # Errors
    /// The backend does not answer, or the thread that waits can't be started.
    pub(super) fn of(backend: Option<&Backend>, outage: Option<Outage>) -> anyhow::Result<Option<RunningOutage>> {
        let Some((backend, outage)) = backend.zip(outage) else { return Ok(None) };
        let down = DownBackend { intake: backend.intake(), switch: backend.switch(), outage };
        let (cancel, cancelled) = channel();
        if outage.begins.is_zero() {
            down.begin().context("taking the backend down")?;
        }
        let start = Instant::now();
        let thread = std::thread::Builder::new().name("outage".to_owned());
        let thread = thread.spawn(move || down.run(start, &cancelled)).context("starting the thread of the outage")?;
        Ok(Some(RunningOutage { cancel: Some(cancel), thread: Some(thread) }))
    }

    /// The run has ended: the backend is up again when this returns.
    ///
    /// # Errors
    /// It can't listen again where it did.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.join().context("the backend can't listen again where it did before the outage")
    }

    fn join(&mut self) -> io::Result<()> {
        self.cancel.take();
        let ended = self.thread.take().map(JoinHandle::join);
        ended.unwrap_or(Ok(Ok(()))).unwrap_or_else(|_| Err(io::Error::other("the thread of the outage panicked")))
    }
}

impl Drop for RunningOutage {
    fn drop(&mut self) {
        // Only after another error, which is told.
        let _ = self.join();
    }
}

/// The backend and when it is down.
struct DownBackend {
    intake: Arc<Intake>,
    switch: ModeSwitch,
    outage: Outage,
}

impl DownBackend {
    fn begin(&self) -> io::Result<()> {
        self.intake.set_down(true);
        self.switch.set(match self.outage.how {
            OutageKind::Refuse => BackendMode::Refuse,
            OutageKind::Reset => BackendMode::Reset,
        })
    }

    /// Carries the outage out; `cancelled`: the run has ended, so it ends too.
    fn run(&self, start: Instant, cancelled: &Receiver<()>) -> io::Result<()> {
        let wait = |until: Duration| {
            let left = (start + until).saturating_duration_since(Instant::now());
            cancelled.recv_timeout(left) == Err(RecvTimeoutError::Timeout)
        };
        let carried_out = self.carry_out(wait);
        // Whatever went wrong, the next case needs it.
        let until = Instant::now() + LAST_TRIES;
        let mut up = self.switch.set(BackendMode::Serve);
        while up.is_err() && Instant::now() < until {
            // sleep: what holds the port says nothing when it lets go
            std::thread::sleep(RETRY_INTERVAL);
            up = self.switch.set(BackendMode::Serve);
        }
        self.intake.set_down(false);
        carried_out.and(up)
    }

    /// `wait` waits until that time after the start, and returns whether the run still goes on.
    fn carry_out(&self, wait: impl Fn(Duration) -> bool) -> io::Result<()> {
        let Outage { begins, ends, settled, .. } = self.outage;
        if !begins.is_zero() {
            if !wait(begins) {
                return Ok(());
            }
            self.begin()?;
        }
        let mut at = ends;
        while wait(at) {
            if self.switch.set(BackendMode::Serve).is_ok() {
                if wait(settled.max(at)) {
                    self.intake.set_down(false);
                }
                return Ok(());
            }
            at += RETRY_INTERVAL;
        }
        Ok(())
    }
}
