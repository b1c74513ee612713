//! Where a server that is started listens, and the addresses at which it is reached there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::AddressFamily;

/// The address on which a server of this family listens.
pub(super) fn ip(family: AddressFamily) -> IpAddr {
    match family {
        AddressFamily::Any => Ipv4Addr::LOCALHOST.into(),
        AddressFamily::Ipv6 => Ipv6Addr::LOCALHOST.into(),
        AddressFamily::DualStack => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The addresses of this machine at which a server that listens there is reached. One that listens on `[::]` serves
/// both families: it sees the clients of IPv4 as `::ffff:127.0.0.1` (RFC 3493, 3.7), as which a client may see it too.
pub(super) fn reached_at(address: SocketAddr) -> Vec<SocketAddr> {
    if address.ip() == IpAddr::from(Ipv4Addr::UNSPECIFIED) {
        return vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port())];
    }
    if address.ip() != IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        return vec![address];
    }
    let ips = [
        IpAddr::from(Ipv6Addr::LOCALHOST),
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
    ];
    ips.map(|ip| SocketAddr::new(ip, address.port())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_reached_by_both_families() {
        let reached = |text: &str| {
            let reached = reached_at(text.parse().expect("an address"));
            reached.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(reached("[::]:7"), ["[::1]:7", "127.0.0.1:7", "[::ffff:127.0.0.1]:7"]);
        assert_eq!(reached("0.0.0.0:7"), ["127.0.0.1:7"]);
        assert_eq!(reached("[::1]:7"), ["[::1]:7"]);
        assert_eq!(reached("127.0.0.1:7"), ["127.0.0.1:7"]);
    }
}
