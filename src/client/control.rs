//! The handle through which the rest of the program watches a run and stops it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::run_plan::RunPlan;
use crate::measure::{Counters, Latency};
use crate::sync::lock;

/// Watches a run that is going on, and stops it.
pub struct Control {
    interrupt: AtomicBool,
    /// The counters that each worker published last.
    live: Vec<Mutex<Counters>>,
    /// The round trips that each worker published last, and whether somebody waits for newer ones.
    round_trips: Vec<(Mutex<Latency>, AtomicBool)>,
    began: Instant,
}

impl Control {
    /// The control of a run of this plan that begins now.
    pub fn new(plan: &RunPlan) -> Arc<Control> {
        Arc::new(Control {
            interrupt: AtomicBool::new(false),
            live: (0..plan.workers).map(|_| Mutex::default()).collect(),
            round_trips: (0..plan.workers).map(|_| Default::default()).collect(),
            began: Instant::now(),
        })
    }

    /// Ends the run as soon as possible. Open connections are closed and counted as cut short.
    pub fn interrupt(&self) {
        self.interrupt.store(true, Ordering::Relaxed);
    }

    /// Whether the run was interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// The counters of all workers, at most a tenth of a second old.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for worker in &self.live {
            sum.add(&lock(worker));
        }
        sum
    }

    /// Asks the workers for their round trips so far. They copy them only when somebody asks.
    pub fn request_round_trips(&self) {
        self.round_trips.iter().for_each(|(_, is_wanted)| is_wanted.store(true, Ordering::Relaxed));
    }

    /// The round trips of all workers when they were asked for last.
    pub fn round_trips(&self) -> Latency {
        let mut sum = Latency::default();
        self.round_trips.iter().for_each(|(published, _)| sum.add(&lock(published)));
        sum
    }

    /// Replaces the round trips of a worker, if somebody waits for them.
    pub(super) fn publish_round_trips(&self, worker: usize, of_worker: impl FnOnce() -> Latency) {
        let (published, is_wanted) = &self.round_trips[worker];
        if is_wanted.swap(false, Ordering::Relaxed) {
            *lock(published) = of_worker();
        }
    }

    /// How long the run has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Replaces the counters of a worker.
    pub(super) fn publish(&self, worker: usize, counters: Counters) {
        *lock(&self.live[worker]) = counters;
    }
}
