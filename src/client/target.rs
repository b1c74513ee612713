//! Where to connect, and from where.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::config::Sources;
use crate::stream::ConnId;
use crate::sys;

/// Connections that one loopback source address is given before the next one is used: less than the ports that any
/// system gives to one address by default (28,232 on Linux, 16,384 on Windows).
const PER_LOOPBACK_SOURCE: u32 = 14_000;

/// How long the addresses of a name's first family are given to answer, each of the first few.
const PROBE: Duration = Duration::from_secs(1);
const PROBED: usize = 3;

/// Resolves `HOST:PORT` (IPv6 in brackets) to addresses of one family. If the name has both, those which the resolver
/// names first are tried, and the others are taken if nothing answers there: `localhost` is often `::1` first, where an
/// IPv4 server does not listen.
///
/// # Errors
/// No such host, or not of that form.
pub fn resolve(target: &str) -> io::Result<Vec<SocketAddr>> {
    let all: Vec<SocketAddr> = target.to_socket_addrs()?.collect();
    if all.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(of_one_family(all))
}

fn of_one_family(all: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (first, other): (Vec<_>, Vec<_>) = all.iter().partition(|address| address.is_ipv4() == all[0].is_ipv4());
    let answers = |address: &SocketAddr| TcpStream::connect_timeout(address, PROBE).is_ok();
    if other.is_empty() || first.iter().take(PROBED).any(answers) { first } else { other }
}

/// The target of a connection, out of so many: they go round, and each time one further, so that what takes every n-th
/// connection (a shard, a worker, a source address) meets all of them.
pub fn of_connection(conn: ConnId, targets: usize) -> usize {
    let (mut rest, mut sum) = (conn.get() as usize, 0);
    while rest > 0 && targets > 1 {
        sum += rest % targets;
        rest /= targets;
    }
    sum % targets.max(1)
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
    /// What was asked for, as far as it is of the targets' family; without that, loopback targets get the whole of
    /// 127.0.0.0/8 where the system has it.
    pub fn new(given: &Sources, targets: &[SocketAddr]) -> SourceChoice {
        if !given.is_empty() {
            return SourceChoice::Given(targets.first().map_or_else(|| given.clone(), |to| given.towards(to.ip())));
        }
        let is_loopback = |target: &SocketAddr| matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback());
        if sys::LOOPBACK_IS_A_NETWORK && targets.iter().all(is_loopback) {
            SourceChoice::Loopback
        } else {
            SourceChoice::System
        }
    }

    /// The address from which the `nth` connection of a run connects, counted by slots and then by generations;
    /// reconnects move on, because the ports of closed connections stay in TIME_WAIT. Of a process that has every
    /// `step`-th connection, and to so many targets: each of these is met from every address before one is used again.
    pub fn of(&self, nth: u64, step: u32, targets: usize) -> Option<IpAddr> {
        match self {
            SourceChoice::System => None,
            SourceChoice::Given(sources) => {
                sources.nth(u128::from(nth) / u128::from(step.max(1)) / targets.max(1) as u128)
            }
            SourceChoice::Loopback => {
                let host = (nth / u64::from(PER_LOOPBACK_SOURCE)) as u32;
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
    use std::collections::BTreeMap;
    use std::net::{Ipv6Addr, TcpListener};

    use super::*;

    #[test]
    fn ipv6_in_brackets_and_names_resolve() {
        assert_eq!(resolve("[::1]:7777").expect("an address"), [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7777))]);
        assert!(resolve("localhost:1").expect("every host has it").iter().all(|a| a.ip().is_loopback()));
        assert!(resolve("127.0.0.1").is_err() && resolve("127.0.0.1:70000").is_err());
    }

    #[test]
    fn of_a_name_with_both_families_the_one_is_taken_that_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let here = listener.local_addr().expect("just bound");
        // Bound and not listening: refused, and nobody else's.
        let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        let nobody = nobody.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        let six = SocketAddr::from((Ipv6Addr::LOCALHOST, here.port()));
        assert_eq!(of_one_family(vec![here, six]), [here]);
        assert_eq!(of_one_family(vec![nobody, six]), [six]);
        assert_eq!(of_one_family(vec![nobody, here]), [nobody, here], "one family: nothing to choose");
    }

    #[test]
    fn sources_of_the_other_family_are_left_out() {
        let both: Sources = "10.0.0.5,fd00::1".parse().expect("sources");
        let towards = |target: &str| SourceChoice::new(&both, &[target.parse().expect("an address")]);
        for nth in 0..3 {
            assert_eq!(towards("127.0.0.1:1").of(nth, 1, 1), "10.0.0.5".parse().ok());
            assert_eq!(towards("[::1]:1").of(nth, 1, 1), "fd00::1".parse().ok());
        }
    }

    #[test]
    fn every_target_is_met_from_every_source_in_every_shard() {
        for (sources, targets, step) in [(2, 2, 1), (2, 2, 2), (3, 3, 1), (4, 2, 4), (2, 4, 8), (3, 2, 6)] {
            let list: Vec<String> = (1..=sources).map(|host| format!("10.0.0.{host}")).collect();
            let choice = SourceChoice::Given(list.join(",").parse().expect("sources"));
            for shard in 0..step {
                let mut met = BTreeMap::new();
                for nth in (shard..step * 1000).step_by(step as usize) {
                    let target = of_connection(ConnId::new(nth).expect("small"), targets);
                    *met.entry((target, choice.of(u64::from(nth), step, targets))).or_insert(0) += 1;
                }
                let fair = 1000 / (sources * targets);
                assert_eq!(met.len(), sources * targets, "{sources} sources, {targets} targets, shard {shard}/{step}");
                let even = met.values().all(|&n| n >= fair / 2 && n <= fair * 2);
                assert!(even, "{sources} sources, {targets} targets, shard {shard}/{step}: {met:?}");
            }
        }
    }

    #[test]
    fn targets_go_round() {
        let of =
            |targets| (0..6).map(|conn| of_connection(ConnId::new(conn).expect("small"), targets)).collect::<Vec<_>>();
        assert_eq!(of(1), [0; 6]);
        assert_eq!(of(3), [0, 1, 2, 1, 2, 0]);
    }

    #[test]
    fn loopback_sources_change_before_the_ports_of_one_run_out() {
        let choice = SourceChoice::Loopback;
        assert_eq!(choice.of(0, 2, 1), None);
        assert_eq!(choice.of(14_000, 2, 1), Some(IpAddr::from([127, 0, 0, 2])), "processes of one machine share them");
        assert_eq!(choice.of(28_000, 2, 1), Some(IpAddr::from([127, 0, 0, 3])));
    }
}
