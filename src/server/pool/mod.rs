//! Worker threads: the parts of which the models build their servers.
//!
//! - [`worker_threads`] starts threads, ends all of them when one fails, and waits for them.
//! - [`mailbox`] hands connections to a thread, and wakes it.
//! - [`worker_pool`] is a fixed number of workers. The first one accepts for all.
//! - `thread_pool` (Windows) grows with the connections, for models whose threads take a limited number of them each.
//! - [`idle_timer`] says when to look for idle connections.
//! - [`slots`] counts what is limited, and gives each slot a guard.
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
pub(in crate::server) use mailbox::{Mailbox, lock};
pub(in crate::server) use slots::{SlotCount, SlotGuard};
#[cfg(windows)]
pub(in crate::server) use thread_pool::{Assigned, PoolWorker, ThreadPool};
pub(in crate::server) use worker_pool::{Dealer, Position, run_workers};
pub(in crate::server) use worker_threads::WorkerGroup;
#[cfg(windows)]
pub(in crate::server) use worker_threads::WorkerThreads;
