//! From a target as a user writes it to the destinations that connections go to: itself, or the proxies on the way.

use std::net::SocketAddr;

use super::{target_address, tls_client};
use crate::config::{AddressFamily, TransportSettings};
use crate::failure::Failure;
use crate::runner::family;
use crate::transport::{Destination, Endpoint, Hop, HostPort, Preamble, ProxyUrl, SocketKind, TlsClient};

/// How a text becomes addresses: once for the life of the process, or each time.
type LookUp = fn(&str) -> anyhow::Result<Vec<SocketAddr>>;

/// The destinations of a target. What lies behind a proxy is neither resolved here, unless the proxy takes addresses
/// only, nor connected to directly.
///
/// # Errors
/// As [`target_address::resolve`], for the target or for a proxy.
pub fn resolve(target: &str, transport: &TransportSettings) -> anyhow::Result<Vec<Destination>> {
    destinations(target, transport, target_address::resolve)
}

/// The same, for a target that is still starting.
///
/// # Errors
/// As [`resolve`].
pub(super) fn resolve_now(target: &str, transport: &TransportSettings) -> anyhow::Result<Vec<Destination>> {
    destinations(target, transport, target_address::resolve_now)
}

/// The destinations of a target for a case that asks for a family of addresses. The inner error says why the case can't
/// be judged by this target.
///
/// # Errors
/// As [`resolve`].
pub(super) fn of_family(
    target: &str,
    family: AddressFamily,
    transport: &TransportSettings,
) -> anyhow::Result<Result<Vec<Destination>, String>> {
    if family == AddressFamily::Any {
        return resolve(target, transport).map(Ok);
    }
    if !transport.via.is_empty() {
        return Ok(Err("which address family is used behind a proxy, the proxy decides".to_owned()));
    }
    let kind = SocketKind::of_target(target);
    if kind != SocketKind::Tcp {
        return Ok(Err(format!("{} has no address family of IP", kind.in_words())));
    }
    let addresses = family::addresses(target, family)?;
    match addresses {
        Err(why) => Ok(Err(why)),
        Ok(all) => {
            let each = all.into_iter().map(|address| direct(Endpoint::Tcp(address), target, transport));
            each.collect::<anyhow::Result<Vec<_>>>().map(Ok)
        }
    }
}

/// The destinations of a server that was started at these addresses.
///
/// # Errors
/// As [`resolve`], for a proxy.
pub fn of_addresses(addresses: &[SocketAddr], transport: &TransportSettings) -> anyhow::Result<Vec<Destination>> {
    let each = addresses.iter().map(|address| resolve(&address.to_string(), transport));
    each.collect::<anyhow::Result<Vec<_>>>().map(|each| each.concat())
}

/// The first destination of a server that was started at this address.
///
/// # Errors
/// As [`of_addresses`].
pub(super) fn of_address(address: SocketAddr, transport: &TransportSettings) -> anyhow::Result<Destination> {
    of_addresses(&[address], transport).map(|mut all| all.swap_remove(0))
}

fn destinations(target: &str, transport: &TransportSettings, look_up: LookUp) -> anyhow::Result<Vec<Destination>> {
    if let Some(endpoint) = target_address::endpoint(target)? {
        return without_network(endpoint, target, transport).map(|destination| vec![destination]);
    }
    let Some(first) = transport.via.first() else {
        return look_up(target)?.into_iter().map(|address| direct(address.into(), target, transport)).collect();
    };
    let asked_for = target_address::host_port(target)?;
    let preamble = Preamble {
        target: target.to_owned(),
        hops: hops(&transport.via, asked_for)?,
        header: transport.header,
        tls: tls(target, transport)?,
    };
    let of_proxy = look_up(&first.at.to_string())?.into_iter();
    Ok(of_proxy.map(|address| Destination::with_preamble(Endpoint::Tcp(address), preamble.clone())).collect())
}

/// A target without a proxy on the way.
fn direct(endpoint: Endpoint, target: &str, transport: &TransportSettings) -> anyhow::Result<Destination> {
    if transport.is_plain() {
        return Ok(Destination::from(endpoint));
    }
    let tls = tls(target, transport)?;
    let preamble = Preamble { target: target.to_owned(), hops: Vec::new(), header: transport.header, tls };
    Ok(Destination::with_preamble(endpoint, preamble))
}

/// A target that is no address of TCP.
fn without_network(endpoint: Endpoint, target: &str, transport: &TransportSettings) -> anyhow::Result<Destination> {
    match transport.via.first() {
        Some(proxy) => Err(Failure::usage(format!(
            "--via {proxy}: a proxy reaches no {}, and the target is {target}: leave out one of them",
            endpoint.kind().none_in_words()
        ))),
        None => direct(endpoint, target, transport),
    }
}

/// What connections to the target are secured with, if they are.
fn tls(target: &str, transport: &TransportSettings) -> anyhow::Result<Option<TlsClient>> {
    let Some(options) = &transport.tls else { return Ok(None) };
    let host = match SocketKind::of_target(target) {
        SocketKind::Tcp => target_address::host_port(target)?.host(),
        SocketKind::Unix | SocketKind::Vsock => "localhost".to_owned(),
    };
    tls_client::of(options, &host).map(Some)
}

/// Each proxy with what it is asked for.
fn hops(via: &[ProxyUrl], target: HostPort) -> anyhow::Result<Vec<Hop>> {
    let asked_for = via.iter().skip(1).map(|proxy| proxy.at.clone()).chain([target]);
    let hop = |(proxy, asked_for): (&ProxyUrl, HostPort)| {
        let asked_for = match asked_for {
            name @ HostPort::Name(..) if proxy.protocol.takes_addresses_only() => {
                HostPort::Address(target_address::first_address(&name.to_string())?)
            }
            asked_for => asked_for,
        };
        Ok(Hop { proxy: proxy.clone(), asked_for })
    };
    via.iter().zip(asked_for).map(hop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(via: &[&str]) -> TransportSettings {
        let via = via.iter().map(|text| text.parse().expect("it is a proxy")).collect();
        TransportSettings { via, ..TransportSettings::default() }
    }

    fn through(target: &str, via: &[&str]) -> Destination {
        resolve(target, &transport(via)).expect("it resolves").remove(0)
    }

    #[test]
    fn a_target_without_a_proxy_is_its_own_address() {
        let plain = through("127.0.0.1:7777", &[]);
        assert!(plain.preamble().is_none());
        assert_eq!(plain.to_string(), "127.0.0.1:7777");
    }

    #[test]
    fn sockets_connect_to_the_first_proxy_and_a_name_goes_to_the_last_as_it_was_written() {
        let chain = through("nowhere.invalid:80", &["socks5://127.0.0.1:1080", "http://127.0.0.1:8080"]);
        assert_eq!(chain.address().map(|address| address.port()), Some(1080));
        assert_eq!(chain.to_string(), "nowhere.invalid:80 via socks5 127.0.0.1:1080, http 127.0.0.1:8080");
        let hops = &chain.preamble().expect("there are proxies").hops;
        let asked: Vec<String> = hops.iter().map(|hop| hop.asked_for.to_string()).collect();
        assert_eq!(asked, ["127.0.0.1:8080", "nowhere.invalid:80"]);
    }

    #[test]
    fn socks5_is_given_an_address_and_socks5h_the_name() {
        let asked = |via: &str| {
            let destination = through("localhost:80", &[via]);
            destination.preamble().expect("there is a proxy").hops[0].asked_for.clone()
        };
        assert!(matches!(asked("socks5://127.0.0.1:1080"), HostPort::Address(address) if address.ip().is_loopback()));
        assert_eq!(asked("socks5h://127.0.0.1:1080"), HostPort::Name("localhost".to_owned(), 80));
    }
}
