//! What the threads of a server share.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::admission::Admission;
use super::phase::{PhaseSignal, ServerPhase};
use super::pool::mailbox::mailbox;
use super::wait;
use crate::Waker;
use crate::cases::Case;

pub(crate) const CASES: &[Case] = &[
    Case { name: "mailbox: every item arrives while the sender waits", run: every_item_arrives },
    Case { name: "mailbox: the last items arrive, and then the end", run: the_end_arrives },
    Case { name: "mailbox: no item outlives a reader that has gone", run: none_outlives_the_reader },
    Case { name: "phase: a stop wakes a model that just becomes ready", run: a_stop_wakes_the_model },
    Case { name: "phase: it never goes back", run: the_phase_never_goes_back },
    Case { name: "admission: never more than the most are open", run: never_more_are_open },
    Case { name: "admission: no reader sees more connections closed than accepted", run: the_counts_fit },
];

/// A waker of the program's kind, and what the thread waits with.
fn waker() -> (Waker, wait::Waker) {
    let waker = Waker::default();
    let of_closure = waker.clone();
    (waker, Arc::new(move || of_closure.wake().expect("it always works")))
}

fn every_item_arrives() {
    let (wait, wake) = waker();
    let (sender, mut mailbox) = mailbox(wake);
    let sending = thread::spawn(move || {
        (1..=2).for_each(|item| sender.send(item));
        sender
    });
    let mut received = mailbox.take();
    while received.len() < 2 {
        wait.wait();
        received.extend(mailbox.take());
    }
    assert_eq!(received, [1, 2]);
    assert!(!mailbox.is_over(), "the sender is there");
    drop(sending.join().expect("it does not panic"));
    assert!(mailbox.is_over());
}

fn the_end_arrives() {
    let (wait, wake) = waker();
    let (sender, mut mailbox) = mailbox(wake);
    let sending = thread::spawn(move || sender.send(1));
    let mut received = mailbox.take();
    while !mailbox.is_over() {
        wait.wait();
        received.extend(mailbox.take());
    }
    assert_eq!(received, [1]);
    sending.join().expect("it does not panic");
}

struct Counted(Arc<AtomicU64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

fn none_outlives_the_reader() {
    let dropped = Arc::new(AtomicU64::new(0));
    let (_wait, wake) = waker();
    let (sender, mut mailbox) = mailbox(wake);
    let items = [(); 2].map(|()| Counted(Arc::clone(&dropped)));
    let sending = thread::spawn(move || {
        items.into_iter().for_each(|item| sender.send(item));
        sender
    });
    drop(mailbox.take());
    drop(mailbox);
    let sender = sending.join().expect("it does not panic");
    assert_eq!(dropped.load(Ordering::Acquire), 2, "also while the sender is still there");
    drop(sender);
}

fn a_stop_wakes_the_model() {
    let signal = Arc::new(PhaseSignal::default());
    let (wait, wake) = waker();
    let (of_harness, of_worker) = (Arc::clone(&signal), Arc::clone(&signal));
    let stop = thread::spawn(move || of_harness.advance(ServerPhase::Drain));
    // It may wait already when its model becomes ready.
    let worker = thread::spawn(move || {
        while of_worker.get() == ServerPhase::Run {
            wait.wait();
        }
    });
    signal.on_change(wake);
    stop.join().expect("it does not panic");
    worker.join().expect("it does not panic");
}

fn the_phase_never_goes_back() {
    let signal = Arc::new(PhaseSignal::default());
    let stops = [ServerPhase::Drain, ServerPhase::Abort].map(|phase| {
        let signal = Arc::clone(&signal);
        thread::spawn(move || signal.advance(phase))
    });
    let seen = [signal.get(), signal.get()];
    assert!(seen.is_sorted(), "{seen:?}");
    stops.into_iter().for_each(|stop| stop.join().expect("it does not panic"));
    assert_eq!(signal.get(), ServerPhase::Abort);
}

fn never_more_are_open() {
    let admission = Arc::new(Admission::default());
    let open = Arc::new(AtomicU64::new(0));
    let acceptors = [(); 2].map(|()| {
        let (admission, open) = (Arc::clone(&admission), Arc::clone(&open));
        thread::spawn(move || {
            for _ in 0..2 {
                if admission.admit(1) {
                    assert_eq!(open.fetch_add(1, Ordering::Relaxed), 0, "two are open");
                    open.fetch_sub(1, Ordering::Relaxed);
                    admission.close();
                }
            }
        })
    });
    acceptors.into_iter().for_each(|acceptor| acceptor.join().expect("it does not panic"));
    let (accepted, closed) = admission.counts();
    assert!(accepted == closed && accepted >= 1);
}

fn the_counts_fit() {
    let admission = Arc::new(Admission::default());
    let of_reader = Arc::clone(&admission);
    // Here the reader is the thread that is started: loom tries fewer orders of what the first thread only reads.
    let reader = thread::spawn(move || of_reader.counts());
    assert!(admission.admit(1));
    admission.close();
    let (accepted, closed) = reader.join().expect("it does not panic");
    assert!(closed <= accepted, "{accepted} {closed}");
}
