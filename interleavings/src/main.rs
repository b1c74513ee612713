//! Explores every order in which threads can interleave at the places of the program where they meet.
//!
//! The files under test are the program's own. They take their atomics and locks from `crate::sync`, which here are
//! those of loom: it runs each case again for every order, and for every value that a load may see by the memory model
//! of C11. A thread that waits for ever is a deadlock that loom reports.
//!
//! `cargo run --release --manifest-path interleavings/Cargo.toml [NAME]`

#![allow(dead_code, reason = "only a part of each file is run here")]

extern crate self as mio;

mod cases;
mod stand_ins;

use std::panic;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use stand_ins::Waker;

mod sync {
    pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("no case panics with a lock")
    }
}

mod plan {
    pub(crate) use crate::stand_ins::Profile;
}

mod stream {
    pub(crate) use crate::stand_ins::{ConnId, OtherSide};
}

mod server {
    #[path = "../../../src/server/admission.rs"]
    pub(crate) mod admission;
    #[path = "../../../src/server/phase.rs"]
    pub(crate) mod phase;

    pub(crate) mod wait {
        /// As in the program.
        pub(crate) type Waker = std::sync::Arc<dyn Fn() + Send + Sync>;
    }

    pub(crate) mod cases;
    pub(crate) mod pool;
}

mod client {
    #[path = "../../../src/client/close_barrier.rs"]
    pub(crate) mod close_barrier;
    #[path = "../../../src/client/connect_order.rs"]
    pub(crate) mod connect_order;
    #[path = "../../../src/client/pair.rs"]
    pub(crate) mod pair;
    #[path = "../../../src/client/start_schedule.rs"]
    pub(crate) mod start_schedule;

    pub(crate) mod clock {
        pub(crate) fn nanos(time: std::time::Duration) -> u64 {
            time.as_nanos() as u64
        }
    }

    pub(crate) mod cases;
}

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1);
    let chosen = cases::all().into_iter().filter(|case| wanted.as_deref().is_none_or(|name| case.name.contains(name)));
    let mut failed = 0;
    let mut ran = 0;
    for case in chosen {
        ran += 1;
        let orders = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&orders);
        let explored = panic::catch_unwind(panic::AssertUnwindSafe(move || {
            loom::model(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                (case.run)();
            });
        }));
        let orders = orders.load(Ordering::Relaxed);
        let outcome = if explored.is_ok() { "holds in all" } else { "BROKEN after" };
        println!("{outcome} {orders:>7} orders: {}", case.name);
        failed += u32::from(explored.is_err());
    }
    if ran == 0 {
        eprintln!("no case has such a name");
    }
    if failed > 0 || ran == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
