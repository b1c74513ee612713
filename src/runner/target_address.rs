//! The target of a run as a user writes it, `HOST:PORT`: whether it has that form, and which addresses it stands for.
//!
//! The form is checked here, because the system's own error for a missing port or an unbracketed IPv6 address does not
//! say what to write instead.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;

use crate::client::target;
use crate::config::{DEFAULT_PORT, ZonedIp, check_zone, without_brackets};
use crate::failure::Failure;
use crate::interrupt;
use crate::sync::lock;
use crate::transport::{Endpoint, HostPort};

/// Resolves `HOST:PORT`. Each text is resolved once in the life of the process, because finding out which address
/// family answers may open a connection to the target.
///
/// # Errors
/// The text does not have that form (exit code 2), there is no such host (exit code 4), or the user interrupts a
/// resolver that does not answer (exit code 130). All say what to do.
pub fn resolve(text: &str) -> anyhow::Result<Vec<SocketAddr>> {
    static RESOLVED: Mutex<Vec<(String, Vec<SocketAddr>)>> = Mutex::new(Vec::new());
    let mut resolved = lock(&RESOLVED);
    if let Some((_, addresses)) = resolved.iter().find(|(target, _)| target == text) {
        return Ok(addresses.clone());
    }
    let addresses = resolve_now(text)?;
    resolved.push((text.to_owned(), addresses.clone()));
    Ok(addresses)
}

/// Whether a text has the form `HOST:PORT`. Nothing is looked up.
///
/// # Errors
/// What is wrong, and what to write: exit code 2.
pub fn check(text: &str) -> anyhow::Result<()> {
    match endpoint(text)? {
        Some(_) => Ok(()),
        None => split(text).map(drop).map_err(|error| invalid(text, error)),
    }
}

/// A target that is no address of TCP, such as `unix:/path` or `vsock:CID:PORT`. `None`: it is one, or a name.
///
/// # Errors
/// What is wrong, and what to write: exit code 2.
pub(super) fn endpoint(text: &str) -> anyhow::Result<Option<Endpoint>> {
    Endpoint::named_target(text).transpose().map_err(|error| invalid(text, error))
}

fn invalid(text: &str, error: impl std::fmt::Display) -> anyhow::Error {
    Failure::usage(format!("'{text}' is not a valid target: {error}"))
}

/// The host and the port of a target that is not resolved: a name stays a name.
///
/// # Errors
/// The text does not have that form (exit code 2).
pub(super) fn host_port(text: &str) -> anyhow::Result<HostPort> {
    let (host, port) = split(text).map_err(|error| invalid(text, error))?;
    match ZonedIp::parse(host.trim_matches(['[', ']']), |ip| format!("[{ip}]:{port}")) {
        Some(ip) => Ok(HostPort::Address(ip.map_err(|error| invalid(text, error))?.with_port(port))),
        None => Ok(HostPort::Name(host, port)),
    }
}

/// The first address of a name, for a proxy that takes no names. Nothing connects to it to see whether it answers.
///
/// # Errors
/// As [`resolve`].
pub(super) fn first_address(text: &str) -> anyhow::Result<SocketAddr> {
    let all = look_up(text, target::all_addresses)?;
    all.first()
        .copied()
        .ok_or_else(|| Failure::could_not_run(format!("cannot resolve {text}: the name has no address")))
}

/// Resolves `HOST:PORT` each time that it is called, for a target that is still starting: which address family answers
/// may change.
///
/// # Errors
/// As [`resolve`].
pub(super) fn resolve_now(text: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let (host, port) = split(text).map_err(|error| invalid(text, error))?;
    // A resolver knows nothing of zones.
    match ZonedIp::parse(host.trim_matches(['[', ']']), |ip| format!("[{ip}]:{port}")) {
        Some(ip) => Ok(vec![ip.map_err(|error| invalid(text, error))?.with_port(port)]),
        None => look_up(text, target::resolve),
    }
}

/// The addresses of a name.
fn look_up(text: &str, resolver: fn(&str) -> io::Result<Vec<SocketAddr>>) -> anyhow::Result<Vec<SocketAddr>> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::could_not_run(format!("cannot resolve {text}: {error}: check the name, or give the address"))
    };
    let wanted = text.to_owned();
    let addresses = match interrupt::unless_requested(move || resolver(&wanted)) {
        Ok(resolved) => resolved.map_err(|error| wrong(&error))?,
        Err(_) if interrupt::is_requested() => {
            return Err(Failure::interrupted(format!("interrupted while {text} was looked up")));
        }
        Err(error) => return Err(wrong(&error)),
    };
    addresses.iter().try_for_each(|address| check_zone(*address)).map_err(|error| wrong(&error))?;
    // A resolver reads '0' as 0.0.0.0.
    if let Some((to, instead)) = addresses.iter().find_map(|to| Some((to, reachable_instead(to.ip())?))) {
        let (ip, instead) = (to.ip(), SocketAddr::new(instead, to.port()));
        let problem = format!("{ip} is its address, and {ALL_ADDRESSES}: write {instead}");
        return Err(invalid(text, problem));
    }
    Ok(addresses)
}

/// The host and the port of a target. The error says what is wrong with a text that cannot be one, and what to write.
fn split(text: &str) -> Result<(String, u16), String> {
    if text.starts_with('-') {
        return Err("it is a flag: write it before '--'".to_owned());
    }
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or(rest);
        return Err(format!("it is a URL, and HOST:PORT is needed: write {rest}"));
    }
    let (host, port) = if text.starts_with('[') { split_bracketed(text)? } else { split_plain(text)? };
    if let Some(instead) = host.trim_matches(['[', ']']).parse().ok().and_then(reachable_instead) {
        let port = if port.is_empty() { &DEFAULT_PORT.to_string() } else { port };
        return Err(format!("{ALL_ADDRESSES}: write {}:{port}", bracketed(instead)));
    }
    match port.parse::<u32>() {
        _ if host.is_empty() && port.is_empty() => {
            Err(format!("it has no host and no port: write 127.0.0.1:{DEFAULT_PORT}"))
        }
        _ if host.is_empty() => Err(format!("it has no host: write 127.0.0.1:{port}")),
        _ if host.contains(char::is_whitespace) => Err("its host contains a space: remove the space".to_owned()),
        _ if port.contains(char::is_whitespace) => Err("its port contains a space: remove the space".to_owned()),
        _ if port.is_empty() => Err(format!("it has no port: write {host}:{DEFAULT_PORT}")),
        Ok(number @ 1..=65535) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok((host, number as u16)),
        _ => Err(format!("{port} is not a port: ports go from 1 to 65535")),
    }
}

/// What is wrong with a target such as 0.0.0.0.
const ALL_ADDRESSES: &str = "it stands for all addresses of a server's machine, and not every system can connect to it";

/// For an address that a server may listen on, and that no client can connect to: the one to connect to instead. Linux
/// takes it for this machine, Windows refuses it (WSAEADDRNOTAVAIL).
fn reachable_instead(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        ip if !ip.to_canonical().is_unspecified() => None,
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(Ipv6Addr::LOCALHOST.into()),
        _ => Some(Ipv4Addr::LOCALHOST.into()),
    }
}

fn bracketed(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

/// `[::1]:80` as its host, brackets included, and its port, which is empty if there is none.
fn split_bracketed(text: &str) -> Result<(String, &str), String> {
    let address = text.trim_start_matches('[').split(']').next().unwrap_or_default();
    let is_address = address.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    match text.split_once(']') {
        _ if !is_address => Err(format!("brackets are for an IPv6 address: write [::1]:{DEFAULT_PORT}")),
        None => {
            let default_port = DEFAULT_PORT.to_string();
            let (address, port) = without_brackets(address);
            let port = port.unwrap_or(&default_port);
            Err(format!("the closing bracket is missing: write [{address}]:{port}"))
        }
        Some((_, rest)) => Ok((format!("[{address}]"), rest.strip_prefix(':').unwrap_or_default())),
    }
}

/// `localhost:80` as its host and its port, which is empty if there is none.
fn split_plain(text: &str) -> Result<(String, &str), String> {
    if text.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(format!("it is a port alone: write 127.0.0.1:{text}"));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if host.contains(':') {
        let default_port = DEFAULT_PORT.to_string();
        let (address, port) = without_brackets(text);
        let port = port.unwrap_or(&default_port);
        // The form with brackets alone would be refused in turn.
        if let Some(Err(error)) = ZonedIp::parse(address, |ip| format!("[{ip}]:{port}")) {
            return Err(error.to_string());
        }
        // So would one that no client can connect to.
        let reachable = address.parse().ok().and_then(reachable_instead);
        let address = reachable.map_or_else(|| address.to_owned(), |instead| instead.to_string());
        return Err(format!("an IPv6 address needs brackets: write [{address}]:{port}"));
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_cannot_be_a_target_is_answered_with_one_that_can() {
        for (text, remedy) in [
            ("localhost", "it has no port: write localhost:7777"),
            ("localhost:", "it has no port: write localhost:7777"),
            ("127.0.0.1", "it has no port: write 127.0.0.1:7777"),
            (":80", "it has no host: write 127.0.0.1:80"),
            ("9000", "it is a port alone: write 127.0.0.1:9000"),
            ("fd00:1:2:3:4:5:6:7", "write [fd00:1:2:3:4:5:6:7]:7777"),
            ("", "write 127.0.0.1:7777"),
            (":", "write 127.0.0.1:7777"),
            ("1.2.3.4:99999", "99999 is not a port: ports go from 1 to 65535"),
            ("1.2.3.4:0", "0 is not a port"),
            ("1.2.3.4:+80", "+80 is not a port"),
            ("1.2.3.4:80 ", "its port contains a space: remove the space"),
            ("1.2.3.4:http", "http is not a port"),
            ("1.2.3.4 :80", "remove the space"),
            ("[::1", "the closing bracket is missing: write [::1]:7777"),
            ("[::1:9000", "the closing bracket is missing: write [::1]:9000"),
            ("--serve", "it is a flag: write it before '--'"),
            ("[::1]", "it has no port: write [::1]:7777"),
            ("[::1]80", "it has no port: write [::1]:7777"),
            ("[::1]:x", "x is not a port"),
            ("[]:80", "write [::1]:7777"),
            ("[localhost]:80", "write [::1]:7777"),
            ("::1:80", "write [::1]:80"),
            ("fe80::", "needs its zone, the interface: write [fe80::%"),
            ("fe80::1%7", "write [fe80::1%7]:7777"),
            ("fe80::1%7:80", "write [fe80::1%7]:80"),
            ("http://127.0.0.1:80/path", "write 127.0.0.1:80"),
            ("tcp://localhost:80", "write localhost:80"),
            ("0.0.0.0:80", "all addresses of a server's machine, and not every system can connect to it"),
            ("0.0.0.0:80", "write 127.0.0.1:80"),
            ("0.0.0.0", "write 127.0.0.1:7777"),
            ("[::]:80", "write [::1]:80"),
            ("[::ffff:0.0.0.0]:80", "write 127.0.0.1:80"),
            ("0:80", "write 127.0.0.1"),
        ] {
            let error = resolve(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("'{text}' is not a valid target: ")), "{error}");
            assert!(error.contains(remedy), "{error}");
        }
        for text in ["localhost:80", "127.0.0.1:65535", "[::1]:1", "[fe80::1%2]:80", "a-b.example:7777"] {
            assert!(split(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_zone_is_resolved_here_and_a_link_local_address_without_one_is_refused() {
        let resolved = resolve("[fe80::1%2]:80").expect("the zone is a number");
        assert_eq!(resolved, ["[fe80::1%2]:80".parse::<SocketAddr>().expect("the zone is a number")]);
        for (text, remedy) in [("[fe80::1]:80", "needs its zone"), ("[fe80::1%nosuch]:80", "no interface 'nosuch'")] {
            let error = resolve(text).expect_err(text);
            assert!(error.to_string().contains(remedy), "{error}");
            assert_eq!(crate::failure::exit_of(&error), crate::exit::Exit::Usage);
        }
    }

    #[test]
    fn a_name_of_all_addresses_is_answered_with_an_address_and_its_port() {
        for (all, remedy) in [("0.0.0.0:80", "write 127.0.0.1:80"), ("[::]:80", "write [::1]:80")] {
            let resolver: fn(&str) -> io::Result<Vec<SocketAddr>> = match all {
                "[::]:80" => |_| Ok(vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 80))]),
                _ => |_| Ok(vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80))]),
            };
            let error = look_up("everywhere:80", resolver).expect_err("no client can connect to it").to_string();
            assert!(error.ends_with(remedy), "{error}");
        }
    }
}
