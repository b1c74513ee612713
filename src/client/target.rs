//! The addresses of a run: where its connections go, and where they come from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::config::SourceAddresses;
use crate::stream::ConnId;
use crate::sys::{self, advice};

/// How many connections use one loopback source address before the next address is used. By default every system has
/// more ports than that for one address (28,232 on Linux, 16,384 on Windows).
const CONNECTIONS_PER_LOOPBACK_SOURCE: u32 = 14_000;

/// How long each probed address of a name has to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How many addresses of a name's first family are probed.
const MAX_PROBED: usize = 3;

/// Resolves `HOST:PORT` (IPv6 in brackets) to addresses of one family. If the name has addresses of both families, the
/// family that the resolver names first is probed, and the other is used if nothing answers there. `localhost` is often
/// `::1` first, where an IPv4 server does not listen.
///
/// # Errors
/// There is no such host, or the text does not have that form.
pub fn resolve(target: &str) -> io::Result<Vec<SocketAddr>> {
    all_addresses(target).map(of_one_family)
}

/// Resolves `HOST:PORT` to all of its addresses, and connects to none of them.
///
/// # Errors
/// As [`resolve`].
pub fn all_addresses(target: &str) -> io::Result<Vec<SocketAddr>> {
    let all: Vec<SocketAddr> = target.to_socket_addrs()?.collect();
    if all.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(all)
}

/// All addresses of `HOST:PORT` at which something takes connections now.
///
/// # Errors
/// There is no such host, or the text does not have that form.
pub fn answering(target: &str) -> io::Result<Vec<SocketAddr>> {
    let mut all: Vec<SocketAddr> = target.to_socket_addrs()?.collect();
    all.dedup();
    Ok(all.into_iter().filter(answers).collect())
}

/// Whether something takes connections there now.
fn answers(address: &SocketAddr) -> bool {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None);
    socket.is_ok_and(|socket| {
        prepare_probe(&socket, *address);
        socket.connect_timeout(&(*address).into(), PROBE_TIMEOUT).is_ok()
    })
}

/// Makes a socket that is to find out whether something listens at an address hear of a refusal at once. Over a network
/// a SYN may be lost, and is sent again.
pub fn prepare_probe(socket: &Socket, target: SocketAddr) {
    if target.ip().to_canonical().is_loopback() {
        sys::report_refusal_at_once(socket);
    }
}

fn of_one_family(all: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (first, other): (Vec<_>, Vec<_>) = all.iter().partition(|address| address.is_ipv4() == all[0].is_ipv4());
    if other.is_empty() || first.iter().take(MAX_PROBED).any(answers) { first } else { other }
}

/// What to bind for a connection from this source address: any port of it. A link-local address is one of a zone
/// (RFC 4007), and that is the target's, since it reaches no other.
pub fn bind_address(source: IpAddr, target: SocketAddr) -> SocketAddr {
    match (source, target) {
        (IpAddr::V6(ip), SocketAddr::V6(target)) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, 0, 0, target.scope_id()).into()
        }
        _ => SocketAddr::new(source, 0),
    }
}

/// The index of a connection's target, if there are this many. Connections take the targets in turn, and each round
/// begins one target further. So whatever has every n-th connection (a shard, a worker, a source address) meets all of
/// them.
pub fn of_connection(conn: ConnId, targets: usize) -> usize {
    let (mut rest, mut sum) = (conn.get() as usize, 0);
    while rest > 0 && targets > 1 {
        sum += rest % targets;
        rest /= targets;
    }
    sum % targets.max(1)
}

/// How the source addresses of connections are chosen.
#[derive(Clone, Debug)]
pub enum SourceChoice {
    /// The system chooses.
    System,
    /// These are used in turn.
    Given(SourceAddresses),
    /// The system chooses for as many connections as one address has ports for. Then further addresses of 127.0.0.0/8
    /// are used.
    Loopback,
}

impl SourceChoice {
    /// The given addresses, as far as they are of the targets' family. If none are given and all targets are loopback
    /// addresses, the whole of 127.0.0.0/8 is used, where the system has it.
    pub fn new(given: &SourceAddresses, targets: &[SocketAddr]) -> SourceChoice {
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

    /// The source address of the `nth` connection of a run, if the system is not to choose. Connections count by slots
    /// and then by generations, so a reconnect uses another address: the port of the closed connection is still in
    /// TIME_WAIT. The process has every `step`-th connection, and there are this many targets: each target is met from
    /// every address before an address is used again.
    pub fn of(&self, nth: u64, step: u32, targets: usize) -> Option<IpAddr> {
        match self {
            SourceChoice::System => None,
            SourceChoice::Given(sources) => {
                sources.nth(u128::from(nth) / u128::from(step.max(1)) / targets.max(1) as u128)
            }
            SourceChoice::Loopback => {
                let host = (nth / u64::from(CONNECTIONS_PER_LOOPBACK_SOURCE)) as u32;
                // Over a /16 of it, which is more than any run uses within the minute that TIME_WAIT lasts.
                (host > 0).then(|| IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + host % 0xfffe)))
            }
        }
    }

    /// Whether there are several source addresses, and this system may give all of them the ports of one range.
    pub fn may_share_ports(&self) -> bool {
        let are_several = match self {
            SourceChoice::System => false,
            SourceChoice::Given(sources) => sources.count() > 1,
            SourceChoice::Loopback => true,
        };
        are_several && !advice::HERE.has_ports_per_address
    }

    /// For how many connections to one target the sources have ports, if that is known.
    pub fn capacity(&self) -> Option<u128> {
        let ports = u128::from(sys::ephemeral_ports()?);
        match self {
            SourceChoice::System => Some(ports),
            _ if self.may_share_ports() => Some(ports),
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
        assert_eq!(
            resolve("[::1]:7777").expect("the text is an address"),
            [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7777))]
        );
        assert!(resolve("localhost:1").expect("every host resolves localhost").iter().all(|a| a.ip().is_loopback()));
        assert!(resolve("127.0.0.1").is_err() && resolve("127.0.0.1:70000").is_err());
    }

    #[test]
    fn of_a_name_with_both_families_the_one_that_answers_is_used() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let here = listener.local_addr().expect("the listener is bound");
        // Bound but not listening: connects are refused, and nobody else can use the port.
        let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("the system makes a socket");
        nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
        let nobody = nobody.local_addr().ok().and_then(|address| address.as_socket()).expect("the socket is bound");
        let six = SocketAddr::from((Ipv6Addr::LOCALHOST, here.port()));
        assert_eq!(of_one_family(vec![here, six]), [here]);
        assert_eq!(of_one_family(vec![nobody, six]), [six]);
        assert_eq!(of_one_family(vec![nobody, here]), [nobody, here], "with one family there is nothing to choose");
    }

    #[test]
    fn sources_of_the_other_family_are_left_out() {
        let both: SourceAddresses = "10.0.0.5,fd00::1".parse().expect("the sources are well-formed");
        let towards = |target: &str| SourceChoice::new(&both, &[target.parse().expect("the text is an address")]);
        for nth in 0..3 {
            assert_eq!(towards("127.0.0.1:1").of(nth, 1, 1), "10.0.0.5".parse().ok());
            assert_eq!(towards("[::1]:1").of(nth, 1, 1), "fd00::1".parse().ok());
        }
    }

    #[test]
    fn every_target_is_met_from_every_source_in_every_shard() {
        for (sources, targets, step) in [(2, 2, 1), (2, 2, 2), (3, 3, 1), (4, 2, 4), (2, 4, 8), (3, 2, 6)] {
            let list: Vec<String> = (1..=sources).map(|host| format!("10.0.0.{host}")).collect();
            let choice = SourceChoice::Given(list.join(",").parse().expect("the sources are well-formed"));
            for shard in 0..step {
                let mut met = BTreeMap::new();
                for nth in (shard..step * 1000).step_by(step as usize) {
                    let target = of_connection(ConnId::new(nth).expect("the id is in range"), targets);
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
    fn targets_are_used_in_turn_and_each_round_begins_one_further() {
        let of = |targets| {
            (0..6)
                .map(|conn| of_connection(ConnId::new(conn).expect("the id is in range"), targets))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(1), [0; 6]);
        assert_eq!(of(3), [0, 1, 2, 1, 2, 0]);
    }

    #[test]
    fn loopback_sources_change_before_the_ports_of_one_run_out() {
        let choice = SourceChoice::Loopback;
        assert_eq!(choice.of(0, 2, 1), None);
        assert_eq!(
            choice.of(14_000, 2, 1),
            Some(IpAddr::from([127, 0, 0, 2])),
            "processes of one machine share the sources"
        );
        assert_eq!(choice.of(28_000, 2, 1), Some(IpAddr::from([127, 0, 0, 3])));
    }
}
