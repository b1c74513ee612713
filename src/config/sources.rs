//! The addresses that connections come from: single ones and networks. No lookup of what this host has; binding tells.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::units::text::text_form;

/// Source addresses: `10.0.0.5`, `10.0.0.5,10.0.0.6`, `127.0.0.0/8`, `fd00::/120`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(Vec<Network>);

/// Why source addresses could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourcesError(String);

/// An address block; a single address is one with a prefix as long as the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn width(self) -> u32 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    fn host_bits(self) -> u32 {
        self.width() - self.prefix
    }

    /// How many hosts it has. The first address of a block names the network, and in IPv4 the last one is its broadcast
    /// address: neither can be a source (RFC 1122 section 3.2.1.3, RFC 4291 section 2.6.1; RFC 3021 for /31).
    fn hosts(self) -> u128 {
        match (self.host_bits(), self.address) {
            (0, _) => 1,
            (1, _) => 2,
            (128, _) => u128::MAX,
            (bits, IpAddr::V4(_)) => (1 << bits) - 2,
            (bits, IpAddr::V6(_)) => (1 << bits) - 1,
        }
    }

    fn first_host(self) -> u128 {
        u128::from(self.host_bits() > 1)
    }

    fn host(self, i: u128) -> IpAddr {
        let offset = self.first_host() + i;
        match self.address {
            IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() + offset as u32)),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() + offset)),
        }
    }
}

impl Sources {
    /// None: the system chooses.
    pub const NONE: Sources = Sources(Vec::new());

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that can reach this target: of its family.
    pub fn towards(&self, target: IpAddr) -> Sources {
        Sources(self.0.iter().copied().filter(|network| network.address.is_ipv4() == target.is_ipv4()).collect())
    }

    /// How many addresses there are.
    pub fn count(&self) -> u128 {
        self.0.iter().fold(0, |sum, network| sum.saturating_add(network.hosts()))
    }

    /// Address `i`, going round; `None` when there are none.
    pub fn nth(&self, i: u128) -> Option<IpAddr> {
        let mut i = i.checked_rem(self.count())?;
        for network in &self.0 {
            if i < network.hosts() {
                return Some(network.host(i));
            }
            i -= network.hosts();
        }
        None
    }
}

impl FromStr for Network {
    type Err = SourcesError;

    fn from_str(text: &str) -> Result<Self, SourcesError> {
        let text = text.trim();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim_matches(['[', ']']).parse().map_err(|_| {
            SourcesError(format!("{text} is not an address: write 10.0.0.5, 127.0.0.0/8, or several with commas"))
        })?;
        let network = Network { address, prefix: 0 };
        let width = network.width();
        let prefix = match prefix.map(str::parse) {
            None => width,
            Some(Ok(prefix)) if prefix <= width => prefix,
            Some(_) => return Err(SourcesError(format!("{text}: the prefix is a number from 0 to {width}"))),
        };
        let network = Network { address, prefix };
        match network.without_host_bits() {
            start if start == address => Ok(network),
            start => Err(SourcesError(format!("{text} has bits set after its prefix: did you mean {start}/{prefix}?"))),
        }
    }
}

impl Network {
    fn without_host_bits(self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(self.host_bits()).unwrap_or(0)))
            }
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
                address.to_bits() & u128::MAX.checked_shl(self.host_bits()).unwrap_or(0),
            )),
        }
    }
}

impl FromStr for Sources {
    type Err = SourcesError;

    fn from_str(text: &str) -> Result<Self, SourcesError> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Sources)
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, network) in self.0.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { "," }, network.address)?;
            if network.host_bits() > 0 {
                write!(f, "/{}", network.prefix)?;
            }
        }
        Ok(())
    }
}

text_form!(
    Sources,
    "Sources",
    "source addresses and networks, separated by commas",
    r"^\s*[\[\]0-9a-fA-F.:]+(/[0-9]+)?\s*(,\s*[\[\]0-9a-fA-F.:]+(/[0-9]+)?\s*)*$",
    ["10.0.0.5", "10.0.0.5,10.0.0.6", "127.0.0.0/8", "fd00::/120"]
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sources(text: &str) -> Sources {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn all(text: &str) -> Vec<String> {
        let sources = sources(text);
        (0..sources.count()).map(|i| sources.nth(i).expect("there are some").to_string()).collect()
    }

    #[test]
    fn a_network_gives_its_hosts_and_neither_its_name_nor_its_broadcast_address() {
        assert_eq!(all("10.0.0.8/30"), ["10.0.0.9", "10.0.0.10"]);
        assert_eq!(all("10.0.0.8/31"), ["10.0.0.8", "10.0.0.9"]);
        assert_eq!(all("fd00::8/126"), ["fd00::9", "fd00::a", "fd00::b"]);
        assert_eq!(sources("127.0.0.0/8").count(), (1 << 24) - 2);
        assert_eq!(sources("127.0.0.0/8").nth(0).map(|address| address.to_string()).as_deref(), Some("127.0.0.1"));
        assert_eq!(sources("0.0.0.0/0").count(), (1 << 32) - 2);
        assert!(sources("::/0").count() > 1 << 127);
    }

    #[test]
    fn lists_go_round() {
        assert_eq!(all("10.0.0.5,10.0.0.8/30"), ["10.0.0.5", "10.0.0.9", "10.0.0.10"]);
        let three = sources("10.0.0.5,10.0.0.8/30");
        assert_eq!(three.nth(3), three.nth(0));
        assert_eq!(Sources::NONE.nth(0), None);
    }

    #[test]
    fn a_target_is_reached_from_its_own_family() {
        let both = sources("10.0.0.5,fd00::1");
        assert_eq!(both.towards(IpAddr::V6(Ipv6Addr::LOCALHOST)), sources("fd00::1"));
        assert_eq!(both.towards(IpAddr::V4(Ipv4Addr::LOCALHOST)), sources("10.0.0.5"));
    }

    #[test]
    fn a_refusal_names_what_is_wrong_and_what_to_write() {
        let refusal = |text: &str| text.parse::<Sources>().expect_err(text).to_string();
        assert!(refusal("localhost").starts_with("localhost is not an address: write 10.0.0.5"));
        assert_eq!(refusal("10.0.0.0/33"), "10.0.0.0/33: the prefix is a number from 0 to 32");
        assert_eq!(refusal("127.0.0.1/8"), "127.0.0.1/8 has bits set after its prefix: did you mean 127.0.0.0/8?");
    }

    proptest! {
        #[test]
        fn every_host_lies_in_its_network(bits: u32, prefix in 0u32..=32, i: u64) {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            let sources = sources(&format!("{}/{prefix}", Ipv4Addr::from_bits(bits & mask)));
            let Some(IpAddr::V4(host)) = sources.nth(u128::from(i)) else { panic!("a network has a host") };
            prop_assert_eq!(host.to_bits() & mask, bits & mask);
        }
    }
}
