//! The handle through which the rest of the program watches a run and stops it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::run_plan::RunPlan;
use crate::measure::Counters;
use crate::sync::lock;

/// Watches a run that is going on, and stops it.
pub struct Control {
    interrupt: AtomicBool,
    /// The counters that each worker published last.
    live: Vec<Mutex<Counters>>,
    began: Instant,
}

impl Control {
    /// The control of a run of this plan that begins now.
    pub fn new(plan: &RunPlan) -> Arc<Control> {
        Arc::new(Control {
            interrupt: AtomicBool::new(false),
            live: (0..plan.workers).map(|_| Mutex::default()).collect(),
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

    /// How long the run has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Replaces the counters of a worker.
    pub(super) fn publish(&self, worker: usize, counters: Counters) {
        *lock(&self.live[worker]) = counters;
    }
}
