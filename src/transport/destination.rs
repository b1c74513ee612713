//! Where connections go: the address that a socket connects to, and what is said before the stream begins.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::preamble::Preamble;

/// A place to connect to. Without a preamble it is the target's own address; else it may be that of the first proxy.
#[derive(Clone, Debug)]
pub struct Destination {
    endpoint: Endpoint,
    preamble: Option<Arc<Preamble>>,
}

impl Destination {
    /// The stream begins after this preamble.
    pub fn with_preamble(endpoint: Endpoint, preamble: Preamble) -> Destination {
        Destination { endpoint, preamble: Some(Arc::new(preamble)) }
    }

    /// Where a socket connects.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The address that a socket connects to, if it is one of IP.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.endpoint {
            Endpoint::Tcp(address) => Some(address),
            Endpoint::Unix(_) | Endpoint::Vsock { .. } => None,
        }
    }

    /// What is said before the stream begins; `None`: nothing.
    pub fn preamble(&self) -> Option<&Arc<Preamble>> {
        self.preamble.as_ref()
    }

    /// The error of a connect to the endpoint, which names the proxy if there is one.
    pub fn first_connect_failed(&self, error: io::Error) -> io::Error {
        match self.preamble.as_ref().and_then(|preamble| preamble.hops.first()) {
            None => self.endpoint.explained(error),
            Some(hop) => {
                io::Error::new(error.kind(), format!("the {} takes no connection: {error}", hop.proxy.in_words()))
            }
        }
    }
}

impl From<Endpoint> for Destination {
    /// A target that is connected to directly.
    fn from(endpoint: Endpoint) -> Destination {
        Destination { endpoint, preamble: None }
    }
}

impl From<SocketAddr> for Destination {
    /// A target that is connected to directly.
    fn from(address: SocketAddr) -> Destination {
        Destination { endpoint: Endpoint::Tcp(address), preamble: None }
    }
}

impl fmt::Display for Destination {
    /// `127.0.0.1:7777`, or `127.0.0.1:7777 via socks5 127.0.0.1:1080`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.preamble {
            Some(preamble) => preamble.fmt(f),
            None => self.endpoint.fmt(f),
        }
    }
}
