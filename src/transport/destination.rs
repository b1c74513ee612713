//! Where connections go: the address that a socket connects to, and what is said before the stream begins.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::preamble::Preamble;

/// A place to connect to. Without a preamble it is the target's own address; else it may be that of the first proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    address: SocketAddr,
    preamble: Option<Arc<Preamble>>,
}

impl Destination {
    /// The stream begins after this preamble.
    pub fn with_preamble(address: SocketAddr, preamble: Preamble) -> Destination {
        Destination { address, preamble: Some(Arc::new(preamble)) }
    }

    /// The address that a socket connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is said before the stream begins; `None`: nothing.
    pub fn preamble(&self) -> Option<&Arc<Preamble>> {
        self.preamble.as_ref()
    }

    /// Whether it is reached through a proxy.
    pub fn is_via(&self) -> bool {
        self.preamble.as_ref().is_some_and(|preamble| !preamble.hops.is_empty())
    }

    /// The error of a connect to the address, which names the proxy if there is one.
    pub fn first_connect_failed(&self, error: io::Error) -> io::Error {
        match self.preamble.as_ref().and_then(|preamble| preamble.hops.first()) {
            None => error,
            Some(hop) => {
                io::Error::new(error.kind(), format!("the {} takes no connection: {error}", hop.proxy.in_words()))
            }
        }
    }
}

impl From<SocketAddr> for Destination {
    /// A target that is connected to directly.
    fn from(address: SocketAddr) -> Destination {
        Destination { address, preamble: None }
    }
}

impl fmt::Display for Destination {
    /// `127.0.0.1:7777`, or `127.0.0.1:7777 via socks5 127.0.0.1:1080`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.preamble {
            Some(preamble) => preamble.fmt(f),
            None => self.address.fmt(f),
        }
    }
}
