//! Many things of a test at once, because most of it is waiting.

use std::panic::resume_unwind;
use std::thread;

/// Does `work` with all items at once. Returns the results in their order; a panic goes on here.
pub(crate) fn at_once<I: Send, R: Send>(items: impl IntoIterator<Item = I>, work: impl Fn(I) -> R + Sync) -> Vec<R> {
    let work = &work;
    thread::scope(|scope| {
        let started: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        started.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}
