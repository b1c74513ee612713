//! What people must do on their system when one of its limits is in the way: the words of its own documentation.
//!
//! Nothing is asked of the system here: [`HERE`] is one row of a table that a test walks for all systems.
//!
//! Sources: ip(7), ip_local_port_range; Microsoft, 'Windows Sockets Error Codes', 'Using SO_REUSEADDR and
//! SO_EXCLUSIVEADDRUSE', and the default dynamic port range for TCP/IP.

use std::io;

/// The words of one system.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    /// Which setting widens the range of local ports.
    pub port_range: &'static str,
    /// What a process ran short of when it could make no socket, after 'this machine had'.
    pub no_socket: &'static str,
    /// What to raise or widen then.
    pub more_sockets: &'static str,
    /// What to raise when no thread or process can be started.
    pub more_threads: &'static str,
    /// The command that prints the ids of processes.
    pub lists_processes: &'static str,
    /// Why a bind is denied, and what helps.
    pub bind_denied: &'static str,
    /// Whether each local address has a range of ports of its own, so that further ones add ports. Elsewhere, all
    /// addresses share one range.
    pub has_ports_per_address: bool,
}

/// The words of Linux, and what it has in common with other Unix systems.
const LINUX: Advice = Advice {
    port_range: "net.ipv4.ip_local_port_range",
    no_socket: "no descriptors or no memory left",
    more_sockets: "raise the limit ('ulimit -n')",
    more_threads: "raise the limit ('ulimit -u', kernel.threads-max, pids.max of a container)",
    lists_processes: "'pgrep -f NAME'",
    bind_denied: "ports below 1024 need more rights",
    has_ports_per_address: true,
};

const MACOS: Advice = Advice {
    port_range: "net.inet.ip.portrange.first and .last",
    more_threads: "raise the limit ('ulimit -u')",
    ..LINUX
};

const OTHER: Advice = Advice { port_range: "a setting of this system", ..MACOS };

/// Windows says WSAENOBUFS for a socket that gets no buffer, and for one that gets no port.
const WINDOWS: Advice = Advice {
    port_range: "'netsh int ipv4 set dynamicport tcp start=10000 num=55536'",
    no_socket: "no local ports or no memory left (WSAENOBUFS means either)",
    more_sockets: "widen the range of ports ('netsh int ipv4 set dynamicport tcp start=10000 num=55536')",
    more_threads: "let it have more memory",
    lists_processes: "'tasklist'",
    bind_denied: "another program owns the port alone, or Windows has reserved it ('netsh int ipv4 show \
                  excludedportrange protocol=tcp' lists what is reserved)",
    has_ports_per_address: false,
};

/// The words of this system.
pub const HERE: Advice = if cfg!(windows) {
    WINDOWS
} else if cfg!(target_os = "linux") {
    LINUX
} else if cfg!(target_os = "macos") {
    MACOS
} else {
    OTHER
};

/// The error of a thread or a process that the system does not start, with what to do about it.
pub fn refused(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the system refuses another {what} ({error}): {}", HERE.more_threads))
}

/// What to do about a connection that a server could not accept, or start to serve, for lack of something.
pub fn unserved(error: &io::Error) -> &'static str {
    // fork(2), pthread_create(3): EAGAIN is a limit of processes or threads. On Windows all of these are memory.
    match cfg!(windows) || error.kind() == io::ErrorKind::WouldBlock {
        true => HERE.more_threads,
        false => HERE.more_sockets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_is_told_its_own_settings_and_none_of_another() {
        for (advice, own, foreign) in [
            (LINUX, "net.ipv4.ip_local_port_range", "netsh"),
            (MACOS, "net.inet.ip.portrange", "netsh"),
            (OTHER, "of this system", "netsh"),
            (WINDOWS, "netsh int ipv4 set dynamicport tcp", "net.ipv4"),
        ] {
            let all =
                [advice.port_range, advice.no_socket, advice.more_sockets, advice.more_threads, advice.bind_denied]
                    .join(" ");
            assert!(all.contains(own) && !all.contains(foreign), "{all}");
            assert_eq!(all.contains("ulimit"), own != "netsh int ipv4 set dynamicport tcp", "{all}");
            assert_eq!(all.contains("below 1024"), advice.has_ports_per_address, "{all}");
        }
    }
}
