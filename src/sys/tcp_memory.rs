//! Limits that the system's TCP has for all sockets, known only on Linux: the memory that they use together, and the
//! longest backlog. When memory is short, the kernel drops segments that have arrived and holds sends back, of all
//! connections alike.

/// Pages that the sockets of this machine use, and the limits between which the kernel calls that a pressure (tcp(7),
/// `tcp_mem`): it begins above `pressure` and ends below `low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpMemory {
    /// Used by all sockets, of all network namespaces.
    pub used: u64,
    /// Below this a pressure ends.
    pub low: u64,
    /// Above this it begins.
    pub pressure: u64,
}

/// The memory that TCP uses now.
pub fn tcp_memory() -> Option<TcpMemory> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    parse(&read("/proc/net/sockstat")?, &read("/proc/sys/net/ipv4/tcp_mem")?)
}

/// The longest queue of connections that wait to be accepted: `listen` cuts a longer one to it without a word. `None`:
/// this system does not say.
pub fn longest_backlog() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

fn parse(sockstat: &str, limits: &str) -> Option<TcpMemory> {
    let mut words = sockstat.lines().find(|line| line.starts_with("TCP:"))?.split_whitespace();
    let used = words.by_ref().skip_while(|word| *word != "mem").nth(1)?.parse().ok()?;
    let mut limits = limits.split_whitespace().map(|word| word.parse().ok());
    Some(TcpMemory { used, low: limits.next()??, pressure: limits.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_linux_are_read() {
        let sockstat = "sockets: used 40\nTCP: inuse 2 orphan 54 tw 5 alloc 10684 mem 72074\nUDP: inuse 0 mem 7\n";
        let expected = TcpMemory { used: 72_074, low: 287_898, pressure: 383_866 };
        assert_eq!(parse(sockstat, "287898\t383866\t575796\n"), Some(expected));
        assert_eq!(parse("UDP: inuse 0 mem 7\n", "1 2 3"), None);
        if cfg!(target_os = "linux") {
            assert!(tcp_memory().is_some_and(|memory| memory.pressure >= memory.low));
        }
    }
}
