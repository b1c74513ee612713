//! The addresses to connect from: single ones and networks. It does not ask which addresses this host has; binding to
//! one shows that.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpAdd, IpNet};

use super::zone::{Zone, ZonedIp};
use crate::units::ParseError;
use crate::units::text::{Form, TextForm, remedy, text_form};

/// Source addresses: `10.0.0.5`, `10.0.0.5,10.0.0.6`, `127.0.0.0/8`, `fd00::/120`, `fe80::1%eth0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceAddresses(Vec<SourceNetwork>);

/// A network to connect from. A single address is a network with a prefix of full length.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SourceNetwork {
    network: IpNet,
    /// The zone of link-local addresses.
    zone: Option<Zone>,
}

impl SourceAddresses {
    /// No addresses: the system chooses.
    pub const NONE: SourceAddresses = SourceAddresses(Vec::new());

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of the same family as this target, which can reach it.
    pub fn towards(&self, target: IpAddr) -> SourceAddresses {
        let is_of_family = |source: &&SourceNetwork| source.network.addr().is_ipv4() == target.is_ipv4();
        SourceAddresses(self.0.iter().filter(is_of_family).cloned().collect())
    }

    /// The first that is in another zone than this target, so that it cannot reach it.
    pub fn in_another_zone(&self, target: SocketAddr) -> Option<String> {
        let SocketAddr::V6(target) = target else { return None };
        let is_elsewhere = |zone: &Zone| zone.index != target.scope_id();
        let source = self.0.iter().find(|source| source.zone.as_ref().is_some_and(is_elsewhere))?;
        Some(source.to_string())
    }

    /// How many addresses there are.
    pub fn count(&self) -> u128 {
        self.0.iter().fold(0, |sum, source| sum.saturating_add(host_count(source.network)))
    }

    /// The address with this index. Indices past the last address start over at the first; `None` if there are none.
    pub fn nth(&self, index: u128) -> Option<IpAddr> {
        let mut index = index.checked_rem(self.count())?;
        for SourceNetwork { network, .. } in &self.0 {
            if index < host_count(*network) {
                return Some(host(*network, index));
            }
            index -= host_count(*network);
        }
        None
    }
}

fn host_bits(network: IpNet) -> u8 {
    network.max_prefix_len() - network.prefix_len()
}

/// How many hosts a network has. The first address names the network, and the last one of an IPv4 network is its
/// broadcast address: neither can be a source (RFC 1122 section 3.2.1.3, RFC 4291 section 2.6.1; RFC 3021 for /31).
fn host_count(network: IpNet) -> u128 {
    match (host_bits(network), network) {
        (0, _) => 1,
        (1, _) => 2,
        (128, _) => u128::MAX,
        (bits, IpNet::V4(_)) => (1 << bits) - 2,
        (bits, IpNet::V6(_)) => (1 << bits) - 1,
    }
}

/// The host with this index in a network, which has more hosts than that.
fn host(network: IpNet, index: u128) -> IpAddr {
    let offset = index + u128::from(host_bits(network) > 1);
    match network {
        IpNet::V4(network) => network.network().saturating_add(offset as u32).into(),
        IpNet::V6(network) => network.network().saturating_add(offset).into(),
    }
}

/// One address or network. `IpNet` has the same notation, but takes no address without a prefix, none in brackets, and
/// accepts bits after the prefix.
fn network(text: &str) -> Result<SourceNetwork, ParseError> {
    let text = text.trim();
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let written = |ip: &str| prefix.map_or_else(|| ip.to_owned(), |prefix| format!("{ip}/{prefix}"));
    let no_address = || ParseError::new(format!("{text} is not an address")).with_remedy(remedy::<SourceAddresses>());
    let ZonedIp { ip: address, zone } =
        ZonedIp::parse(address.trim_matches(['[', ']']), written).ok_or_else(no_address)??;
    let Some(prefix) = prefix else { return Ok(SourceNetwork { network: IpNet::from(address), zone }) };
    let network = prefix.parse().ok().and_then(|prefix| IpNet::new(address, prefix).ok()).ok_or_else(|| {
        let max = IpNet::from(address).max_prefix_len();
        ParseError::new(format!("{text} has a wrong prefix")).with_remedy(format!("write a number from 0 to {max}"))
    })?;
    match network.trunc() {
        truncated if truncated == network => Ok(SourceNetwork { network, zone }),
        truncated => Err(ParseError::new(format!("{text} has bits set after its prefix"))
            .with_remedy(format!("did you mean {}?", SourceNetwork { network: truncated, zone }))),
    }
}

impl FromStr for SourceAddresses {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.split(',').map(network).collect::<Result<_, _>>().map(SourceAddresses)
    }
}

impl fmt::Display for SourceAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, source) in self.0.iter().enumerate() {
            write!(f, "{}{source}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for SourceNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SourceNetwork { network, zone } = self;
        write!(f, "{}", network.addr())?;
        zone.as_ref().map_or(Ok(()), |zone| zone.fmt(f))?;
        if host_bits(*network) > 0 { write!(f, "/{}", network.prefix_len()) } else { Ok(()) }
    }
}

impl TextForm for SourceAddresses {
    const WHAT: &'static str = "addresses and networks, separated by commas, such as";

    fn forms() -> Vec<Form> {
        let network = r"[\[\]0-9a-fA-F.:]+(%[^\s,/]+)?(/\+?[0-9]+)?";
        let list = format!(r"{network}(\s*,\s*{network})*");
        ["10.0.0.5", "10.0.0.5,10.0.0.6", "127.0.0.0/8", "fd00::/120", "fe80::1%2"]
            .map(|example| Form::new(example, &list))
            .into()
    }
}

text_form!(SourceAddresses);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use proptest::prelude::*;

    fn sources(text: &str) -> SourceAddresses {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn all(text: &str) -> Vec<String> {
        let sources = sources(text);
        (0..sources.count()).map(|i| sources.nth(i).expect("the index is below the count").to_string()).collect()
    }

    #[test]
    fn a_network_has_neither_its_own_address_nor_its_broadcast_address() {
        assert_eq!(all("10.0.0.8/30"), ["10.0.0.9", "10.0.0.10"]);
        assert_eq!(all("10.0.0.8/31"), ["10.0.0.8", "10.0.0.9"]);
        assert_eq!(all("fd00::8/126"), ["fd00::9", "fd00::a", "fd00::b"]);
        assert_eq!(sources("127.0.0.0/8").count(), (1 << 24) - 2);
        assert_eq!(sources("127.0.0.0/8").nth(0).map(|address| address.to_string()).as_deref(), Some("127.0.0.1"));
        assert_eq!(sources("0.0.0.0/0").count(), (1 << 32) - 2);
        assert!(sources("::/0").count() > 1 << 127);
    }

    #[test]
    fn indices_past_the_last_address_start_over() {
        assert_eq!(all("10.0.0.5,10.0.0.8/30"), ["10.0.0.5", "10.0.0.9", "10.0.0.10"]);
        let three = sources("10.0.0.5,10.0.0.8/30");
        assert_eq!(three.nth(3), three.nth(0));
        assert_eq!(SourceAddresses::NONE.nth(0), None);
    }

    #[test]
    fn a_target_is_reached_only_from_addresses_of_its_family() {
        let both = sources("10.0.0.5,fd00::1");
        assert_eq!(both.towards(IpAddr::V6(Ipv6Addr::LOCALHOST)), sources("fd00::1"));
        assert_eq!(both.towards(IpAddr::V4(Ipv4Addr::LOCALHOST)), sources("10.0.0.5"));
    }

    #[test]
    fn a_link_local_source_reaches_only_targets_of_its_own_zone() {
        let text = "fd00::1,fe80::1%2,fe80::%2/64";
        assert_eq!(sources(text).to_string(), text);
        let elsewhere = |target: &str| sources(text).in_another_zone(target.parse().expect("it is an address"));
        assert_eq!(elsewhere("[fe80::5%2]:80"), None);
        assert_eq!(elsewhere("[fe80::5%3]:80").as_deref(), Some("fe80::1%2"));
        assert_eq!(elsewhere("[fd00::5]:80").as_deref(), Some("fe80::1%2"));
        assert_eq!(elsewhere("10.0.0.1:80"), None, "the other family is left out");
    }

    #[test]
    fn errors_name_the_mistake_and_what_to_write_instead() {
        let refusal = |text: &str| text.parse::<SourceAddresses>().expect_err(text).to_string();
        assert!(refusal("localhost").starts_with("localhost is not an address: write 10.0.0.5"));
        assert_eq!(refusal("10.0.0.0/33"), "10.0.0.0/33 has a wrong prefix: write a number from 0 to 32");
        assert!(refusal("fe80::1").starts_with("fe80::1 is a link-local address, which needs its zone"));
        assert_eq!(refusal("fe80::1%2/64"), "fe80::1%2/64 has bits set after its prefix: did you mean fe80::%2/64?");
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
