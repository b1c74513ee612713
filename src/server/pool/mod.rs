//! Worker threads and how they are reached: the parts that the models put their servers together from.
//!
//! - [`worker_threads`]: threads are started, end together when one of them fails, and are waited for.
//! - [`mailbox`]: connections are handed to a thread, which is woken.
//! - [`worker_pool`]: a fixed number of workers, of which the first accepts for all.
//! - [`thread_pool`]: a number of threads that grows, for waits that take a limited number of connections each.
//! - [`idle_timer`]: when to look for idle connections.
//! - [`slots`]: how many are in use, and a guard for each.
//!
//! Nothing here touches a connection's bytes or knows how a model waits.

mod idle_timer;
mod mailbox;
mod slots;
#[cfg(windows)]
mod thread_pool;
mod worker_pool;
mod worker_threads;

pub(in crate::server) use idle_timer::IdleTimer;
pub(in crate::server) use mailbox::{Mailbox, Waker, lock};
pub(in crate::server) use slots::{SlotCount, SlotGuard};
#[cfg(windows)]
pub(in crate::server) use thread_pool::{Assigned, PoolWorker, ThreadPool};
pub(in crate::server) use worker_pool::{Dealer, Position, run_workers};
pub(in crate::server) use worker_threads::WorkerGroup;
#[cfg(windows)]
pub(in crate::server) use worker_threads::WorkerThreads;
