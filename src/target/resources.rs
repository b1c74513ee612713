//! What the processes of a server, and this program itself, use while a load runs, and whether those of the server have
//! come to rest afterwards.
//!
//! The samples are taken on a thread of their own, each 100 to 500 ms: the longer a look takes, the rarer it is, but
//! not while the connections double. The numbers are only collected here; `measure::usage` says what they mean.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::Control;
use crate::interrupt;
use crate::measure::ResourceUsage;
use crate::measure::usage::{UsageLevel, UsageRecorder};
use crate::sync::lock;
use crate::sys;

/// The shortest time between two samples.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// The longest time between two samples.
const MAX_INTERVAL: Duration = Duration::from_millis(500);
/// Between these limits, looks may take this part of a processor's time.
const SHARE_OF_TIME: u32 = 30;
/// A look is not put off when this many times as many connections were opened as at the one before. So a look falls
/// between a tenth and a half of the connections, however short a run and however many processes the machine has.
const GROWTH_BETWEEN_LOOKS: u64 = 2;
/// After a run, a server is at rest when its descriptors and threads have not changed for this long.
pub const UNCHANGED_FOR: Duration = Duration::from_millis(300);
/// The first pause between two looks at a server that comes to rest; it doubles up to [`MIN_INTERVAL`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The processes of a server, or this program, watched.
pub struct UsageWatch {
    look: Look,
    recorder: Arc<Mutex<UsageRecorder>>,
}

/// When a server counts as being at rest. What counts is by how many descriptors or threads it exceeds `goal`.
#[derive(Clone, Copy, Debug)]
pub struct RestRule {
    /// The level that it is held against.
    pub goal: UsageLevel,
    /// An excess that is at rest at once.
    pub at_once: u64,
    /// An excess that is at rest if it does not change for a while …
    pub unchanged: u64,
    /// … which is this long.
    pub unchanged_for: Duration,
    /// How long to wait at most.
    pub patience: Duration,
}

/// Takes samples until it is dropped.
pub struct Sampler {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a watch looks at.
#[derive(Clone, Copy)]
enum Look {
    /// The process of this id, and all its descendants.
    Tree(u32),
    /// This program alone, without the servers that it has started.
    Own,
}

impl Look {
    fn take(self) -> Option<(UsageLevel, Option<Duration>)> {
        let usage = match self {
            Look::Tree(pid) => sys::usage_of_tree(pid)?,
            Look::Own => sys::own_usage()?,
        };
        Some((UsageLevel { fds: usage.fds, threads: usage.threads, memory_bytes: usage.memory }, usage.cpu))
    }
}

impl UsageWatch {
    /// Watches the process of this id and all its descendants, from before the first connection on. `None`: there is no
    /// such process, or the system does not tell.
    pub fn of(pid: u32) -> Option<UsageWatch> {
        UsageWatch::by(Look::Tree(pid))
    }

    /// Watches this program, from before the first connection on. `None`: the system does not tell.
    pub fn of_this_program() -> Option<UsageWatch> {
        UsageWatch::by(Look::Own)
    }

    fn by(look: Look) -> Option<UsageWatch> {
        let (level, cpu) = look.take()?;
        Some(UsageWatch { look, recorder: Arc::new(Mutex::new(UsageRecorder::new(level, cpu))) })
    }

    /// Takes samples of a run, until the sampler is dropped. If the system refuses the thread, there are none.
    pub fn sample(&self, control: &Arc<Control>) -> Sampler {
        let (look, recorder, control) = (self.look, Arc::clone(&self.recorder), Arc::clone(control));
        let (stop, stopped) = channel::<()>();
        let work = move || {
            let (mut due, mut opened_before) = (Instant::now(), 0);
            while stopped.recv_timeout(MIN_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let counters = control.counters();
                let opened = counters.opened;
                if Instant::now() < due && opened < opened_before * GROWTH_BETWEEN_LOOKS {
                    continue;
                }
                let begun = sys::thread_cpu_time().unwrap_or_default();
                let Some((level, cpu)) = look.take() else { break };
                let cost = sys::thread_cpu_time().unwrap_or_default().saturating_sub(begun);
                due = Instant::now() + (cost * SHARE_OF_TIME).min(MAX_INTERVAL).saturating_sub(MIN_INTERVAL);
                opened_before = opened;
                lock(&recorder).sample(control.elapsed(), (opened, counters.open()), level, cpu);
            }
        };
        let thread = std::thread::Builder::new().name("usage-watch".to_owned()).spawn(work).ok();
        Sampler { stop: Some(stop), thread }
    }

    /// The level before the first connection.
    pub fn before(&self) -> UsageLevel {
        lock(&self.recorder).before()
    }

    /// The level of the first connections, if the run of this many was long enough to tell.
    pub fn early(&self, opened: u64) -> Option<UsageLevel> {
        lock(&self.recorder).early(opened)
    }

    /// Waits until the server is at rest, and returns its level then. `None`: it has ended.
    pub fn rest(&self, rule: &RestRule) -> Option<UsageLevel> {
        self.wait_for_rest(rule).map(|(level, _)| level)
    }

    /// Waits until the server is at rest, which ends the run that is recorded.
    pub fn finish(&self, rule: &RestRule) {
        if let Some((level, cpu)) = self.wait_for_rest(rule) {
            lock(&self.recorder).came_to_rest(level, cpu);
        }
    }

    /// Looks once more, at the end of the run that is recorded.
    pub fn look_at_the_end(&self) {
        if let Some((level, cpu)) = self.look.take() {
            lock(&self.recorder).came_to_rest(level, cpu);
        }
    }

    fn wait_for_rest(&self, rule: &RestRule) -> Option<(UsageLevel, Option<Duration>)> {
        let until = Instant::now() + rule.patience;
        let mut last: Option<(UsageLevel, Instant)> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let now = Instant::now();
            let (level, cpu) = self.look.take()?;
            let excess = level.excess_over(&rule.goal);
            let since = last.filter(|(last, _)| is_alike(last, &level)).map_or(now, |(_, since)| since);
            let is_unchanged = excess <= rule.unchanged && now.duration_since(since) >= rule.unchanged_for;
            if excess <= rule.at_once || is_unchanged || now >= until || interrupt::is_requested() {
                return Some((level, cpu));
            }
            last = Some((level, since));
            interrupt::pause(pause);
            pause = (pause * 2).min(MIN_INTERVAL);
        }
    }

    /// The usage of the run, in which `opened` connections were opened.
    pub fn usage(&self, opened: u64) -> ResourceUsage {
        lock(&self.recorder).usage(opened)
    }
}

fn is_alike(a: &UsageLevel, b: &UsageLevel) -> bool {
    (a.fds, a.threads) == (b.fds, b.threads)
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // The thread does not panic. If it did, the run's results would still be right.
            let _ = thread.join();
        }
    }
}
