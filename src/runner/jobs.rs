//! Several cases at a time: who takes which, and who is told when one has ended. What a case is, it does not know.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use anyhow::Context as _;

/// Runs `run(0)` to `run(count - 1)`, `jobs` at a time, begun in this order. As each ends, `ended` gets its number and
/// its result, on the calling thread; when that says `Break`, none is begun any more, and those under way end first.
/// Where not so many threads can be started, fewer run at a time.
///
/// # Errors
/// Not one thread could be started; then nothing has run.
pub(super) fn run<T: Send>(
    count: usize,
    jobs: usize,
    run: impl Fn(usize) -> T + Sync,
    mut ended: impl FnMut(usize, T) -> ControlFlow<()>,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    let work = |send: &dyn Fn(usize, T) -> bool| {
        while !is_over.load(Ordering::SeqCst) {
            let i = next.fetch_add(1, Ordering::SeqCst);
            if i >= count || !send(i, run(i)) {
                break;
            }
        }
    };
    let mut tell = |i: usize, outcome: T| {
        if ended(i, outcome).is_break() {
            is_over.store(true, Ordering::SeqCst);
        }
    };
    if jobs <= 1 {
        // On the calling thread, and the next one only after the last has been told of.
        let tell = std::cell::RefCell::new(&mut tell);
        work(&|i, outcome| {
            (tell.borrow_mut())(i, outcome);
            true
        });
        return Ok(());
    }
    let started = thread::scope(|scope| {
        let (sender, outcomes) = channel();
        let mut started = Ok(());
        for n in 0..jobs.min(count) {
            let sender = sender.clone();
            let work = &work;
            let worker = move || work(&|i, outcome| sender.send((i, outcome)).is_ok());
            let worker = thread::Builder::new().name(format!("case-{n}")).spawn_scoped(scope, worker);
            if let Err(error) = worker {
                started = if n == 0 { Err(error) } else { Ok(()) };
                break;
            }
        }
        drop(sender);
        for (i, outcome) in outcomes {
            tell(i, outcome);
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
    fn one_job_runs_one_after_the_other_in_order_and_tells_of_each_before_the_next() {
        let log = Mutex::new(Vec::new());
        let say = |text: String| log.lock().expect("no panic").push(text);
        let ended = |i: usize, ()| {
            say(format!("ended {i}"));
            ControlFlow::Continue(())
        };
        run(2, 1, |i| say(format!("run {i}")), ended).expect("nothing fails");
        assert_eq!(log.into_inner().expect("no panic"), ["run 0", "ended 0", "run 1", "ended 1"]);
    }

    #[test]
    fn so_many_jobs_run_at_a_time() {
        // Each waits for the two others: fewer at a time would wait for ever.
        let together = Barrier::new(3);
        let wait = |_| {
            together.wait();
        };
        run(6, 3, wait, keep_going).expect("nothing fails");
    }

    #[test]
    fn after_a_break_none_is_begun() {
        for jobs in [1, 3] {
            let begun = AtomicUsize::new(0);
            let count = |_| {
                begun.fetch_add(1, Ordering::SeqCst);
            };
            run(1, jobs, count, |_, ()| ControlFlow::Break(())).expect("a break is no error");
            assert_eq!(begun.load(Ordering::SeqCst), 1);
        }
        let begun = AtomicUsize::new(0);
        let count = |_| {
            begun.fetch_add(1, Ordering::SeqCst);
        };
        let mut told = 0;
        let stop = |_: usize, ()| {
            told += 1;
            ControlFlow::Break(())
        };
        run(100, 1, count, stop).expect("a break is no error");
        assert_eq!((begun.load(Ordering::SeqCst), told), (1, 1));
    }
}
