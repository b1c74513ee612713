//! Runs numbered jobs on several threads, and reports each one as it ends. It does not know what a job does.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use anyhow::Context as _;

/// Runs `run(0)` to `run(count - 1)`, `jobs` at a time, and begins them in this order. When one ends, `ended` gets its
/// number and its result on the calling thread. If `ended` returns `Break`, no further one begins, and this returns
/// when those that run have ended. If the system refuses some of the threads, fewer run at a time.
///
/// # Errors
/// The system refuses every thread. Nothing has run then.
pub(super) fn run<T: Send>(
    count: usize,
    jobs: usize,
    run: impl Fn(usize) -> T + Sync,
    mut ended: impl FnMut(usize, T) -> ControlFlow<()>,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let is_stopped = AtomicBool::new(false);
    // Takes one job after another. `report` returns false when nobody listens any more.
    let work = |report: &dyn Fn(usize, T) -> bool| {
        while !is_stopped.load(Ordering::SeqCst) {
            let i = next.fetch_add(1, Ordering::SeqCst);
            if i >= count || !report(i, run(i)) {
                break;
            }
        }
    };
    let mut report_end = |i: usize, result: T| {
        if ended(i, result).is_break() {
            is_stopped.store(true, Ordering::SeqCst);
        }
    };
    if jobs <= 1 {
        // On the calling thread, so that each end is reported before the next job begins.
        let report_end = std::cell::RefCell::new(&mut report_end);
        work(&|i, result| {
            (report_end.borrow_mut())(i, result);
            true
        });
        return Ok(());
    }
    let started = thread::scope(|scope| {
        let (sender, results) = channel();
        let mut started = Ok(());
        for n in 0..jobs.min(count) {
            let sender = sender.clone();
            let work = &work;
            let worker = move || work(&|i, result| sender.send((i, result)).is_ok());
            let worker = thread::Builder::new().name(format!("case-{n}")).spawn_scoped(scope, worker);
            if let Err(error) = worker {
                started = if n == 0 { Err(error) } else { Ok(()) };
                break;
            }
        }
        drop(sender);
        for (i, result) in results {
            report_end(i, result);
        }
        started
    });
    started.context("starting a thread for --jobs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Barrier, Mutex};

    fn keep_going(_: usize, (): ()) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn with_one_job_at_a_time_each_end_is_reported_before_the_next_begins() {
        let log = Mutex::new(Vec::new());
        let record = |text: String| log.lock().expect("no thread panics").push(text);
        let ended = |i: usize, ()| {
            record(format!("ended {i}"));
            ControlFlow::Continue(())
        };
        run(2, 1, |i| record(format!("run {i}")), ended).expect("one job needs no thread");
        assert_eq!(log.into_inner().expect("no thread panics"), ["run 0", "ended 0", "run 1", "ended 1"]);
    }

    #[test]
    fn three_jobs_run_at_a_time() {
        // Each job waits for two others. With fewer than three at a time they would wait forever.
        let barrier = Barrier::new(3);
        let wait = |_| {
            barrier.wait();
        };
        run(6, 3, wait, keep_going).expect("three threads can be started");
    }

    #[test]
    fn after_a_break_no_further_job_begins() {
        for jobs in [1, 3] {
            let begun = AtomicUsize::new(0);
            let count = |_| {
                begun.fetch_add(1, Ordering::SeqCst);
            };
            run(1, jobs, count, |_, ()| ControlFlow::Break(())).expect("a break is not an error");
            assert_eq!(begun.load(Ordering::SeqCst), 1);
        }
        let begun = AtomicUsize::new(0);
        let count = |_| {
            begun.fetch_add(1, Ordering::SeqCst);
        };
        let mut reported = 0;
        let stop = |_: usize, ()| {
            reported += 1;
            ControlFlow::Break(())
        };
        run(100, 1, count, stop).expect("a break is not an error");
        assert_eq!((begun.load(Ordering::SeqCst), reported), (1, 1));
    }
}
