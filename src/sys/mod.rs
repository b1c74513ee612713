//! The differences between operating systems (socket options, descriptors, processes, CPU time, memory) and between
//! processors (vector instructions, prefetching).
//!
//! `unix.rs` and `windows.rs` export the same functions under the name `os`, so callers need no `cfg`. Some things
//! stand apart: [`Alarm`], `fast_open`, `vsock`, `affinity`, `kernel_work` and `marked`, which have a Linux half and an
//! empty one, and `console` and `wait_grain`, of which Windows has the full half; `processes`, with a file for each
//! system; `event`, which only Windows has; `libkqueue`, which only tests have; `machine`, which names the kernel and
//! the processor; [`advice`], a table of words; and `simd`, `prefetch` and `cryptography`, which ask for the processor.
//! The servers have `cfg` of their own, because a model may exist on one system only. This room decides nothing: it
//! wraps one system call, or reads one value, at a time.

#[cfg(unix)]
#[path = "unix.rs"]
mod os;
#[cfg(windows)]
#[path = "windows.rs"]
mod os;

pub mod advice;
pub mod simd;

mod affinity;
mod alarm;
mod console;
mod cryptography;
#[cfg(windows)]
pub(crate) mod event;
mod fast_open;
mod kernel_work;
#[cfg(libkqueue)]
pub(crate) mod libkqueue;
mod machine;
mod marked;
mod prefetch;
mod processes;
mod tcp_memory;
mod vsock;
mod wait_grain;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

pub use affinity::{Cpu, run_on, usable_cpus};
pub use alarm::Alarm;
pub use console::on_close;
pub use cryptography::can_encrypt;
pub use fast_open::{HAS_FAST_OPEN, open_fast, was_opened_fast};
pub use kernel_work::{CallCounter, switches_of_ended_children, switches_of_tree};
pub use machine::{kernel_release, processor};
pub use marked::{Marked, find_marked};
#[cfg(windows)]
pub use os::cancel_accept;
pub use os::{
    HAS_MSS, LOOPBACK_IS_A_NETWORK, NOBODY_READS, ProcessGroup, choose_port_at_connect, close_with_reset,
    cpu_time_with_children, ephemeral_ports, has_ended, hint_at_end, host_name, interface_index, interrupt,
    is_connect_in_progress, is_crash, is_pipe, is_wine, limit_segments, link_local_interfaces, listen_backlog,
    open_pipe, peak_memory, process_cpu_time, raise_descriptor_limit, receive, receive_urgent, report_refusal_at_once,
    resident_memory, send, share_port_with_closed, shortage, stolen_cpu_time, survive_file_size_limit, thread_cpu_time,
    thread_limit, thread_run_delay, usable_memory,
};
use os::{claim_address, share_port};
pub use prefetch::prefetch;
pub use processes::{ProcessUsage, own_usage, usage_of_tree};
pub use tcp_memory::{TcpMemory, longest_backlog, tcp_memory};
pub use vsock::{set_vsock_buffer, set_vsock_connect_timeout};
pub use wait_grain::FineWaits;

/// Processors that this process may use, within its affinity and cgroup limits. `None` if the system does not say.
pub fn available_cores() -> Option<usize> {
    std::thread::available_parallelism().ok().map(usize::from)
}

/// Whether TCP has connected this socket to itself. If nothing listens on a port of the ephemeral range, the system may
/// choose that port as the source port too, and then the SYN meets its own socket (RFC 9293, 3.5: simultaneous open).
/// Such a socket is made to close with a reset: a port in TIME-WAIT would be in the way of the server that is to listen
/// on it.
pub fn refuses_itself<'s>(socket: impl Into<SockRef<'s>>) -> bool {
    let socket = socket.into();
    let is_itself = matches!((socket.local_addr(), socket.peer_addr()), (Ok(local), Ok(peer)) if local == peer);
    if is_itself {
        close_with_reset(&*socket);
    }
    is_itself
}

/// A socket that is bound to this address and does not listen yet, as every listener has one: the port is its alone,
/// unless it `is_shared` by processes that all ask for that, and `[::]` is both families.
///
/// # Errors
/// The system's: the address is in use, or not of this machine.
pub fn bound_socket(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    claim_address(&socket)?;
    if is_shared {
        share_port(&socket)?;
    }
    serve_both_families(&socket, address)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Asks a listener of a tokio runtime for a connection, whose accept asks for the client's address by std's: that
/// panics over one without a length. Such a panic is the end of that client alone, and told as 'aborted'.
pub fn accepted_without_panic<T>(poll: impl FnOnce() -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    // Nothing of ours is half done when it panics, and tokio's listener holds no state of an accept.
    let aborted = |_| Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
    catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(aborted)
}

/// Makes a listener on `[::]` one of both families, on every system: Windows, and some settings of Linux, leave IPv4
/// out unless it is asked for (RFC 3493, 5.3). A listener on another address is left as it is. Call it before bind.
///
/// # Errors
/// The system's: it has no listener of both families.
fn serve_both_families(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return Ok(());
    }
    socket.set_only_v6(false).map_err(|error| {
        let remedy = "listen on 0.0.0.0 for IPv4, or on one address of IPv6";
        io::Error::new(
            error.kind(),
            format!("this system can't serve IPv4 and IPv6 on one listener ({error}): {remedy}"),
        )
    })
}

/// Repeats a call that a signal has interrupted: it has done nothing.
pub fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Prepares a socket that was just accepted: sets TCP_NODELAY, and makes it not inheritable. Best effort: some systems
/// refuse this on a connection that has been reset in the meantime.
pub fn prepare_accepted<'s>(socket: impl Into<SockRef<'s>>) {
    let socket = socket.into();
    let _ = socket.set_tcp_nodelay(true);
    os::make_not_inheritable(&socket);
}

/// A resource that this machine lacks to open a connection. The peer is not at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Free local ports for this target. The port of a closed connection stays in use for a minute or more (TIME_WAIT).
    Ports,
    /// Descriptors, socket buffers, memory.
    Resources,
}

/// How many descriptors this process may have open. `None` means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// The limit now.
    pub usable: Option<u64>,
    /// The hard limit: a process cannot raise its own limit beyond it.
    pub hard: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_over_an_address_costs_one_client() {
        let accepted = accepted_without_panic::<()>(|| panic!("the length of an address is wrong"));
        assert!(matches!(accepted, Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::ConnectionAborted));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_socket_that_refuses_itself_leaves_its_port_to_others() {
        let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let leaves_its_port = || {
            let itself = socket();
            itself.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
            let address = itself.local_addr().expect("it is bound");
            itself.connect(&address).expect("the SYN meets the socket itself");
            assert!(refuses_itself(&itself));
            drop(itself);
            // Without SO_REUSEADDR a port in TIME-WAIT is in use.
            socket().bind(&address).is_ok()
        };
        // Another program may take the port meanwhile, but not each time.
        assert!((0..10).any(|_| leaves_its_port()));
    }

    #[test]
    fn a_listener_on_all_addresses_is_one_of_both_families() {
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            return; // This system has no IPv6.
        }
        let listener = Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).expect("this system has IPv6");
        listener.set_only_v6(true).expect("a socket that is not bound takes the option");
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        serve_both_families(&listener, address).expect("this system has listeners of both families");
        listener.bind(&address.into()).and_then(|()| listener.listen(1)).expect("a port is free");
        let port = listener.local_addr().ok().and_then(|bound| bound.as_socket()).expect("it is bound").port();
        for ip in [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()] {
            std::net::TcpStream::connect((ip, port)).expect("both families are served");
        }
    }

    #[test]
    fn a_refusal_by_the_peer_or_a_wrong_source_address_is_not_a_shortage() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let refused =
            std::net::TcpStream::connect(nobody.expect("a port was free")).expect_err("nobody listens on the port");
        assert_eq!(shortage(&refused), None);
        assert_eq!(shortage(&io::Error::new(io::ErrorKind::AddrNotAvailable, "not from the system")), None);
    }
}
