//! A host and a port as a proxy is told them: an address, or a name that the proxy resolves.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A host and a port. A name is not resolved here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPort {
    /// An address.
    Address(SocketAddr),
    /// A name, and the port.
    Name(String, u16),
}

impl HostPort {
    /// `localhost`, `127.0.0.1`, `::1` or `[::1]`, and a port.
    pub fn new(host: &str, port: u16) -> HostPort {
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => HostPort::Address(SocketAddr::new(ip, port)),
            Err(_) => HostPort::Name(host.to_owned(), port),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            HostPort::Address(address) => address.port(),
            HostPort::Name(_, port) => *port,
        }
    }

    /// The host without its port, an IPv6 address without brackets.
    pub fn host(&self) -> String {
        match self {
            HostPort::Address(address) => address.ip().to_string(),
            HostPort::Name(name, _) => name.clone(),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPort::Address(address) => address.fmt(f),
            HostPort::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_a_name() {
        assert_eq!(HostPort::new("[::1]", 80), HostPort::Address(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80))));
        assert_eq!(HostPort::new("127.0.0.1", 80).to_string(), "127.0.0.1:80");
        assert_eq!(HostPort::new("echo.example", 80), HostPort::Name("echo.example".to_owned(), 80));
        assert_eq!(HostPort::new("[::1]", 80).to_string(), "[::1]:80");
    }
}
