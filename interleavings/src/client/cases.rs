//! What the client's workers share, and what the accepting thread of a backend shares with them.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use super::close_barrier::CloseBarrier;
use super::connect_order::ConnectOrder;
use super::pair::Pairs;
use super::start_schedule::StartSchedule;
use crate::Waker;
use crate::cases::Case;
use crate::stand_ins::{ConnId, Profile};
use crate::sync::lock;

pub(crate) const CASES: &[Case] = &[
    Case { name: "connect order: slots connect in their order, and none waits for ever", run: slots_connect_in_order },
    Case { name: "connect order: none waits for a worker that has failed", run: none_waits_for_the_failed },
    Case { name: "start schedule: one slot is the last, and its start is known then", run: one_slot_is_the_last },
    Case { name: "close barrier: the last to arrive sees that all have", run: the_last_sees_all },
    Case { name: "pair: a connection is reached or has ended unserved, never both", run: reached_or_unserved },
];

/// Connects the slots of one worker, as the worker does: when its turn has not come it waits for its waker.
fn connect_all(order: &ConnectOrder, wait: &Waker, worker: usize, slots: usize, connected: &Mutex<Vec<usize>>) {
    for index in 0..slots {
        while !order.may_connect(worker, index) {
            wait.wait();
        }
        lock(connected).push(index * 2 + worker);
        order.has_connected(worker, index);
    }
}

fn slots_connect_in_order() {
    let wakers = [(); 2].map(|()| Waker::default());
    let order = Arc::new(ConnectOrder::new(wakers.to_vec()));
    let connected = Arc::new(Mutex::new(Vec::new()));
    let other = {
        let (order, connected, wait) = (Arc::clone(&order), Arc::clone(&connected), wakers[1].clone());
        thread::spawn(move || connect_all(&order, &wait, 1, 2, &connected))
    };
    connect_all(&order, &wakers[0], 0, 2, &connected);
    other.join().expect("it does not panic");
    assert_eq!(*lock(&connected), [0, 1, 2, 3]);
}

fn none_waits_for_the_failed() {
    let wakers = [(); 2].map(|()| Waker::default());
    let order = Arc::new(ConnectOrder::new(wakers.to_vec()));
    let fails = Arc::clone(&order);
    let failing = thread::spawn(move || fails.give_up());
    while !order.may_connect(1, 0) {
        wakers[1].wait();
    }
    failing.join().expect("it does not panic");
}

fn one_slot_is_the_last() {
    let schedule = Arc::new(StartSchedule::new([(&Profile, 2)], std::time::Duration::from_nanos(5)));
    let settling = [10, 20].map(|now| {
        let schedule = Arc::clone(&schedule);
        thread::spawn(move || {
            let was_last = schedule.settle(0, now);
            let began = schedule.began(0);
            assert!(!was_last || began.is_some_and(|began| began > now), "{began:?}");
            was_last
        })
    });
    assert!(matches!(schedule.began(0), None | Some(15 | 25)));
    let last = settling.map(|thread| thread.join().expect("it does not panic"));
    assert!(last[0] != last[1] && schedule.began(0).is_some());
}

fn the_last_sees_all() {
    let barrier = Arc::new(CloseBarrier::new(&[2]));
    let arriving = [(); 2].map(|()| {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || {
            barrier.arrive(0);
            barrier.all_arrived(0)
        })
    });
    let seen = arriving.map(|thread| thread.join().expect("it does not panic"));
    assert!(seen.contains(&true) && barrier.all_arrived(0));
}

fn reached_or_unserved() {
    let pairs = Arc::new(Pairs::default());
    let goes_down = {
        let pairs = Arc::clone(&pairs);
        thread::spawn(move || pairs.set_down(true, 10))
    };
    let pair = pairs.open(ConnId(1), (0, 0), (None, 5));
    let reaches = {
        let pair = Arc::clone(&pair);
        thread::spawn(move || pair.reach(20))
    };
    let unserved = pair.end_unserved();
    let reached = reaches.join().expect("it does not panic");
    goes_down.join().expect("it does not panic");
    assert!(unserved != reached, "both or neither: {unserved} {reached}");
    assert_eq!((pair.was_unserved(), pair.is_reached()), (unserved, reached));
}
