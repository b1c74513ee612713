//! What lies between a TCP handshake and the first byte of the stream: requests to proxies, a PROXY protocol header.
//!
//! - [`Destination`]: where a socket connects, and the [`Preamble`] of the connection, if it has one.
//! - [`Negotiation`]: the preamble of one connection as a state machine. It takes received bytes and yields bytes to
//!   send; it does no I/O and reads no clock, so a test of it is a function call. It never asks for more bytes than the
//!   answer of a proxy has, so that no byte of the stream is taken for it.
//! - One file each for what a proxy speaks: `socks5`, `socks4`, `http_connect`; `proxy_header` writes the header of the
//!   PROXY protocol.
//! - `pairing`: the header with which `echo-tester backend` on another machine makes itself known to the tester.
//! - `tls`: from the options of TLS to what each connection is opened with.

mod destination;
mod dialogue;
mod endpoint;
mod host_port;
mod http_connect;
mod negotiation;
mod pairing;
mod preamble;
mod proxy_header;
mod proxy_url;
mod socket_kind;
mod socks4;
mod socks5;
mod tls;
mod vsock;

pub use destination::Destination;
pub use endpoint::Endpoint;
pub use host_port::HostPort;
pub use negotiation::Negotiation;
pub use pairing::{
    ControlWord, PairedHeader, PairingRead, PairingToken, carried_header, control_header, has_pairing_tag,
    prepare_control, read_pairing,
};
pub use preamble::{Hop, Preamble};
pub use proxy_header::{FirstBytesRead, MOST_HEADER_BYTES, ProxyHeader, ReceivedHeader, read as read_proxy_header};
pub use proxy_url::{ProxyProtocol, ProxyUrl, without_password};
pub use socket_kind::SocketKind;
pub use tls::{TlsClient, TlsFiles, TlsOptions, explained as explained_tls};
