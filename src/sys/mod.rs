//! What differs between operating systems: socket options, descriptors, CPU time, memory; and between processors.
//!
//! Both files of `os` export the same functions; no other file of this folder or outside of it (but for
//! `server::models`) asks which system this is.

#[cfg(unix)]
#[path = "unix.rs"]
mod os;
#[cfg(windows)]
#[path = "windows.rs"]
mod os;

pub mod simd;

mod alarm;
#[cfg(windows)]
pub(crate) mod event;
mod prefetch;

use socket2::SockRef;

pub use alarm::Alarm;
pub use os::{
    Group, LOOPBACK_IS_A_NETWORK, backlog_limit, choose_port_at_connect, claim_address, close_with_reset,
    ephemeral_ports, has_ended, interrupt, is_crash, is_under_way, is_wine, listen_backlog, peak_memory,
    process_cpu_time, raise_descriptor_limit, receive, resident_memory, send, share_port, shortage, thread_cpu_time,
    thread_limit, usable_memory,
};
pub use prefetch::prefetch;

/// Processors that this process may use, by affinity and cgroup limits; `None` where the system does not tell.
pub fn available_cores() -> Option<usize> {
    std::thread::available_parallelism().ok().map(usize::from)
}

/// Every accepted socket: TCP_NODELAY, and kept from child processes. Best effort: some systems refuse it on a
/// connection that was reset meanwhile.
pub fn prepare_accepted<'s>(socket: impl Into<SockRef<'s>>) {
    let socket = socket.into();
    let _ = socket.set_tcp_nodelay(true);
    os::keep_from_children(&socket);
}

/// What this machine has too little of to open a connection: no fault of the other side's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Local ports that are free for the target. One of a closed connection is not, for a minute or more (TIME_WAIT).
    Ports,
    /// Descriptors, socket buffers, memory.
    Resources,
}

/// How many descriptors this process may have open. `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// As it is now.
    pub usable: Option<u64>,
    /// As far as it could be raised with the right to.
    pub hard: Option<u64>,
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_the_other_side_does_is_no_shortage_and_neither_is_a_wrong_source() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let refused = std::net::TcpStream::connect(nobody.expect("a free port")).expect_err("nothing listens");
        assert_eq!(shortage(&refused), None);
        assert_eq!(shortage(&io::Error::new(io::ErrorKind::AddrNotAvailable, "not said by the system")), None);
    }
}
