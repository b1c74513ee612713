//! Shared by the readiness models (reactors): how a ready socket is served ([`connection`]), the loop of
//! those that ask for all sockets at once ([`event_loop`]), and the parts of the others. How a model learns that a
//! socket is ready stands in its own file, in `models`.

#[cfg(windows)]
pub(in crate::server) mod accept_notified;
pub(in crate::server) mod connection;
pub(in crate::server) mod event_loop;
#[cfg(windows)]
pub(in crate::server) mod retry;

/// A time-out as the system calls take it.
#[cfg(unix)]
pub(in crate::server) fn timespec(timeout: std::time::Duration) -> rustix::event::Timespec {
    rustix::event::Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() }
}
