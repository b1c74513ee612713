//! The header of the PROXY protocol, versions 1 and 2, as a proxy would send it before the stream (`proxy-protocol.txt`
//! of HAProxy). It names the two ends of the client's connection.

use std::net::SocketAddr;

/// Which version is sent before the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// The header as a line of text.
    V1,
    /// The binary header.
    V2,
}

/// The twelve bytes with which version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
/// A stream over IPv4, over IPv6, and over something else.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;

impl ProxyHeader {
    /// The values of the flag.
    pub const KEYWORDS: &'static [(&'static str, ProxyHeader)] = &[("v1", ProxyHeader::V1), ("v2", ProxyHeader::V2)];

    /// Its keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            ProxyHeader::V1 => "v1",
            ProxyHeader::V2 => "v2",
        }
    }

    /// The header of a connection from `source` to `target`. Addresses of two families, or of none, are not named.
    pub(super) fn bytes(self, source: Option<SocketAddr>, target: Option<SocketAddr>) -> Vec<u8> {
        let ends = source.zip(target).filter(|(source, target)| source.is_ipv4() == target.is_ipv4());
        match self {
            ProxyHeader::V1 => match ends {
                None => b"PROXY UNKNOWN\r\n".to_vec(),
                Some((source, target)) => {
                    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                    let (from, to) = (source.ip(), target.ip());
                    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), target.port()).into_bytes()
                }
            },
            ProxyHeader::V2 => {
                let (family, addresses) = match ends {
                    Some((SocketAddr::V4(source), SocketAddr::V4(target))) => {
                        (TCP4, [source.ip().octets(), target.ip().octets()].concat())
                    }
                    Some((SocketAddr::V6(source), SocketAddr::V6(target))) => {
                        (TCP6, [source.ip().octets(), target.ip().octets()].concat())
                    }
                    _ => (UNSPECIFIED, Vec::new()),
                };
                let ports = match ends {
                    Some((source, target)) if family != UNSPECIFIED => {
                        [source.port().to_be_bytes(), target.port().to_be_bytes()].concat()
                    }
                    _ => Vec::new(),
                };
                let length = (addresses.len() + ports.len()) as u16;
                [&SIGNATURE[..], &[PROXY, family], &length.to_be_bytes(), &addresses, &ports].concat()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<SocketAddr> {
        Some(text.parse().expect("it is an address"))
    }

    #[test]
    fn version_1_is_a_line() {
        let line = |source, target| String::from_utf8(ProxyHeader::V1.bytes(source, target)).expect("it is text");
        assert_eq!(line(at("10.0.0.1:5"), at("10.0.0.2:80")), "PROXY TCP4 10.0.0.1 10.0.0.2 5 80\r\n");
        assert_eq!(line(at("[::1]:5"), at("[fd00::2]:80")), "PROXY TCP6 ::1 fd00::2 5 80\r\n");
        assert_eq!(line(at("[::1]:5"), at("10.0.0.2:80")), "PROXY UNKNOWN\r\n");
        assert_eq!(line(None, at("10.0.0.2:80")), "PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_2_has_the_length_of_what_follows() {
        let four = ProxyHeader::V2.bytes(at("10.0.0.1:5"), at("10.0.0.2:80"));
        let expected = [&SIGNATURE[..], &[0x21, 0x11, 0, 12, 10, 0, 0, 1, 10, 0, 0, 2, 0, 5, 0, 80]].concat();
        assert_eq!(four, expected);
        let six = ProxyHeader::V2.bytes(at("[::1]:5"), at("[::2]:80"));
        assert_eq!((six.len(), six[13], six[15]), (16 + 36, 0x21, 36));
        assert_eq!(ProxyHeader::V2.bytes(None, None)[12..], [0x21, 0, 0, 0]);
    }
}
