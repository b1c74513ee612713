//! Shared by several models: the means by which a thread waits, and by which others wake it. There is a file each for
//! an eventfd (Linux), a pipe (Unix), a set of events and a socket (Windows). What a model does after the wait stands
//! in `models`.

use std::sync::Arc;

#[cfg(windows)]
pub(in crate::server) mod event_set;
#[cfg(target_os = "linux")]
pub(in crate::server) mod eventfd;
#[cfg(unix)]
pub(in crate::server) mod self_pipe;
#[cfg(windows)]
pub(in crate::server) mod wake_socket;

/// Interrupts the wait of a thread, now or when it begins. Any thread may call it at any time; it never blocks.
pub(in crate::server) type Waker = Arc<dyn Fn() + Send + Sync>;
