//! What is said on each connection to a destination before its stream begins.

use std::fmt;

use super::dialogue::Dialogue;
use super::host_port::HostPort;
use super::http_connect::HttpConnect;
use super::proxy_header::ProxyHeader;
use super::proxy_url::{ProxyProtocol, ProxyUrl};
use super::socks4::Socks4;
use super::socks5::Socks5;
use super::tls::TlsClient;

/// A proxy on the way, and what it is asked to connect to: the next proxy, or the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The proxy.
    pub proxy: ProxyUrl,
    /// What it is asked for.
    pub asked_for: HostPort,
}

impl Hop {
    pub(super) fn dialogue(&self) -> Box<dyn Dialogue> {
        let (target, credentials) = (self.asked_for.clone(), self.proxy.credentials.clone());
        match self.proxy.protocol {
            ProxyProtocol::Socks5 | ProxyProtocol::Socks5h => Box::new(Socks5::new(target, credentials)),
            ProxyProtocol::Socks4a => {
                Box::new(Socks4::new(target, credentials.map(|credentials| credentials.user).unwrap_or_default()))
            }
            ProxyProtocol::Http => Box::new(HttpConnect::new(target, credentials)),
        }
    }
}

/// The proxies on the way, in their order, and the header that goes to the target.
#[derive(Clone, Debug)]
pub struct Preamble {
    /// The target as a report names it.
    pub target: String,
    /// The proxies; may be none.
    pub hops: Vec<Hop>,
    /// The header of the PROXY protocol before the stream.
    pub header: Option<ProxyHeader>,
    /// TLS, in which the stream goes.
    pub tls: Option<TlsClient>,
}

impl fmt::Display for Preamble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)?;
        for (i, hop) in self.hops.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { " via " } else { ", " }, hop.proxy.short())?;
        }
        if let Some(header) = self.header {
            write!(f, " with PROXY {}", header.keyword())?;
        }
        match &self.tls {
            Some(tls) if tls.is_unverified => f.write_str(" over TLS (certificate NOT verified)"),
            Some(_) => f.write_str(" over TLS"),
            None => Ok(()),
        }
    }
}
