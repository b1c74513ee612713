//! Where to connect, and from where.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use crate::config::Sources;
use crate::sys;

/// Connections that one loopback source address is given before the next one is used: less than the ports that any
/// system gives to one address by default (28,232 on Linux, 16,384 on Windows).
const PER_LOOPBACK_SOURCE: u32 = 14_000;

/// Resolves `HOST:PORT` (IPv6 in brackets) to the addresses of the first family that the resolver names.
///
/// # Errors
/// No such host, or not of that form.
pub fn resolve(target: &str) -> io::Result<Vec<SocketAddr>> {
    let all: Vec<SocketAddr> = target.to_socket_addrs()?.collect();
    let first = all.first().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let ipv4 = first.is_ipv4();
    Ok(all.into_iter().filter(|address| address.is_ipv4() == ipv4).collect())
}

/// Which source address a connection binds.
#[derive(Clone, Debug)]
pub enum SourceChoice {
    /// None: the system chooses.
    System,
    /// These, going round by slot.
    Given(Sources),
    /// The system's for as many connections as one address has ports for, then further addresses of 127.0.0.0/8.
    Loopback,
}

impl SourceChoice {
    /// What was asked for; without that, loopback targets get the whole of 127.0.0.0/8 where the system has it.
    pub fn new(given: &Sources, targets: &[SocketAddr]) -> SourceChoice {
        if !given.is_empty() {
            return SourceChoice::Given(given.clone());
        }
        let is_loopback = |target: &SocketAddr| matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback());
        if sys::LOOPBACK_IS_A_NETWORK && targets.iter().all(is_loopback) {
            SourceChoice::Loopback
        } else {
            SourceChoice::System
        }
    }

    /// The address from which slot number `slot`, in its `generation`-th connection, connects. Reconnects move on,
    /// because the ports of closed connections stay in TIME_WAIT.
    pub fn of(&self, slot: u32, generation: u32, slots: u32) -> Option<IpAddr> {
        match self {
            SourceChoice::System => None,
            SourceChoice::Given(sources) => sources.nth(u128::from(slot) + u128::from(generation) * u128::from(slots)),
            SourceChoice::Loopback => {
                let opened = u64::from(slot) + u64::from(generation) * u64::from(slots);
                let host = (opened / u64::from(PER_LOOPBACK_SOURCE)) as u32;
                // Around a /16 of it: further than any run gets within the minute that TIME_WAIT lasts.
                (host > 0).then(|| IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + host % 0xfffe)))
            }
        }
    }

    /// How many connections to one target the sources have ports for, if that is known.
    pub fn capacity(&self) -> Option<u128> {
        let ports = u128::from(sys::ephemeral_ports()?);
        match self {
            SourceChoice::System => Some(ports),
            SourceChoice::Given(sources) => Some(ports.saturating_mul(sources.count())),
            SourceChoice::Loopback => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_in_brackets_and_names_resolve() {
        assert_eq!(resolve("[::1]:7777").expect("an address"), [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7777))]);
        assert!(resolve("localhost:1").expect("every host has it").iter().all(|a| a.ip().is_loopback()));
        assert!(resolve("127.0.0.1").is_err() && resolve("127.0.0.1:70000").is_err());
    }

    #[test]
    fn loopback_sources_change_before_the_ports_of_one_run_out() {
        let choice = SourceChoice::Loopback;
        assert_eq!(choice.of(0, 0, 50_000), None);
        assert_eq!(choice.of(14_000, 0, 50_000), Some(IpAddr::from([127, 0, 0, 2])));
        assert_eq!(choice.of(28_000, 0, 50_000), Some(IpAddr::from([127, 0, 0, 3])));
        assert_eq!(choice.of(5, 14, 1000), Some(IpAddr::from([127, 0, 0, 2])), "reconnects move on");
    }
}
