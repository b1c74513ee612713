//! Worker threads: the parts of which the models build their servers.
//!
//! - [`worker_threads`] starts threads, ends all of them when one fails, and waits for them.
//! - [`mailbox`] hands connections to a thread, and wakes it.
//! - [`fixed_pool`] is a fixed number of workers. The first one accepts for all.
//! - `growing_pool` (Windows) grows with the connections, for models whose threads take a limited number of them each.
//! - [`idle_timer`] says when to look for idle connections.
//! - [`slots`] counts what is limited, and gives each slot a guard.
//!
//! Nothing here touches a connection's bytes or knows how a model waits.

mod fixed_pool;
#[cfg(windows)]
mod growing_pool;
mod idle_timer;
mod mailbox;
mod slots;
mod worker_threads;

pub(in crate::server) use fixed_pool::{Dealer, Position, run_workers};
#[cfg(windows)]
pub(in crate::server) use growing_pool::{Assigned, GrowingPool, PoolWorker};
pub(in crate::server) use idle_timer::IdleTimer;
pub(in crate::server) use mailbox::Mailbox;
pub(in crate::server) use slots::{SlotCount, SlotGuard};
pub(in crate::server) use worker_threads::WorkerGroup;
#[cfg(windows)]
pub(in crate::server) use worker_threads::WorkerThreads;
