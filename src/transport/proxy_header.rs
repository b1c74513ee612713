//! The header of the PROXY protocol, versions 1 and 2, as a proxy would send it before the stream (`proxy-protocol.txt`
//! of HAProxy), and as a backend reads it. It names the two ends of the client's connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

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
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
/// A stream over IPv4, over IPv6, and over something else.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
/// Version 2, command LOCAL: the proxy itself is the client, such as a health check.
pub(super) const LOCAL: u8 = 0x20;
/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;
/// The most bytes of a line of version 1, with its end.
const MOST_OF_LINE: usize = 107;
/// The most bytes of a header that is read: version 2 may have more than addresses, such as certificates' names.
pub const MOST_HEADER_BYTES: usize = 2048;

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedHeader {
    /// How many bytes it has.
    pub len: usize,
    /// Where the client connects from, if the header says so.
    pub source: Option<SocketAddr>,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBytesRead {
    /// No header.
    Other,
    /// The beginning of one, or of something else.
    Partial,
    /// A header, whole.
    Header(ReceivedHeader),
    /// They begin like a header, and are none.
    Broken,
}

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

/// Reads the header with which a connection begins, if it does.
pub fn read(bytes: &[u8]) -> FirstBytesRead {
    let begins = |with: &[u8]| bytes.len() >= with.len() && bytes.starts_with(with);
    let may_begin = |with: &[u8]| bytes.len() < with.len() && with.starts_with(bytes);
    match () {
        () if begins(b"PROXY ") => read_line(bytes),
        () if begins(&SIGNATURE) => read_binary(bytes),
        () if may_begin(b"PROXY ") || may_begin(&SIGNATURE) => FirstBytesRead::Partial,
        () => FirstBytesRead::Other,
    }
}

/// Reads a header of version 1.
fn read_line(bytes: &[u8]) -> FirstBytesRead {
    let line = &bytes[..bytes.len().min(MOST_OF_LINE)];
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() < MOST_OF_LINE { FirstBytesRead::Partial } else { FirstBytesRead::Broken };
    };
    let words: Vec<&str> = std::str::from_utf8(&line[..end]).unwrap_or_default().split(' ').collect();
    let source = match words[..] {
        ["PROXY", "UNKNOWN", ..] => Some(None),
        ["PROXY", "TCP4", source, target, from, to] => ends::<Ipv4Addr>(source, target, from, to).map(Some),
        ["PROXY", "TCP6", source, target, from, to] => ends::<Ipv6Addr>(source, target, from, to).map(Some),
        _ => None,
    };
    source.map_or(FirstBytesRead::Broken, |source| FirstBytesRead::Header(ReceivedHeader { len: end + 2, source }))
}

/// The source of a line, if all of its parts are right.
fn ends<I: FromStr + Into<IpAddr>>(source: &str, target: &str, from: &str, to: &str) -> Option<SocketAddr> {
    let (source, _): (I, I) = (source.parse().ok()?, target.parse().ok()?);
    let (from, _): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
    Some(SocketAddr::new(source.into(), from))
}

/// Reads a header of version 2.
fn read_binary(bytes: &[u8]) -> FirstBytesRead {
    if bytes.len() < FIXED {
        return FirstBytesRead::Partial;
    }
    let (command, family) = (bytes[12], bytes[13]);
    let len = FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if !matches!(command, LOCAL | PROXY) || len > MOST_HEADER_BYTES {
        return FirstBytesRead::Broken;
    }
    let Some(addresses) = bytes.get(FIXED..len) else { return FirstBytesRead::Partial };
    let source = match (command, family, addresses) {
        (PROXY, TCP4, [a, b, c, d, _, _, _, _, high, low, _, _, ..]) => {
            Some(SocketAddr::from(([*a, *b, *c, *d], u16::from_be_bytes([*high, *low]))))
        }
        (PROXY, TCP6, _) if addresses.len() >= 36 => {
            let ip: [u8; 16] = addresses[..16].try_into().unwrap_or_default();
            Some(SocketAddr::from((ip, u16::from_be_bytes([addresses[32], addresses[33]]))))
        }
        (PROXY, TCP4 | TCP6, _) => return FirstBytesRead::Broken,
        _ => None,
    };
    FirstBytesRead::Header(ReceivedHeader { len, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<SocketAddr> {
        Some(text.parse().expect("it is an address"))
    }

    #[test]
    fn a_header_is_read_as_it_was_written_and_not_before_it_is_whole() {
        for version in [ProxyHeader::V1, ProxyHeader::V2] {
            for (source, target) in
                [(at("10.0.0.1:5"), at("10.0.0.2:80")), (at("[::1]:65535"), at("[fd00::2]:80")), (None, None)]
            {
                let header = version.bytes(source, target);
                let whole = [&header[..], b"and the stream"].concat();
                let expected = FirstBytesRead::Header(ReceivedHeader { len: header.len(), source });
                assert_eq!(read(&whole), expected, "{version:?} {source:?}");
                for len in 1..header.len() {
                    assert_eq!(read(&header[..len]), FirstBytesRead::Partial, "{version:?} {len}");
                }
            }
        }
    }

    #[test]
    fn what_only_begins_like_a_header_is_broken_and_everything_else_is_none() {
        for broken in [
            "PROXY TCP4 10.0.0.1 10.0.0.2 5\r\n",
            "PROXY TCP4 ::1 ::1 5 5\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 5 65536\r\n",
            "PROXY UDP4 10.0.0.1 10.0.0.2 5 6\r\n",
        ] {
            assert_eq!(read(broken.as_bytes()), FirstBytesRead::Broken, "{broken}");
        }
        assert_eq!(read(&[b"PROXY ".as_slice(), &[b'x'; 200]].concat()), FirstBytesRead::Broken);
        let too_short = [&SIGNATURE[..], &[PROXY, TCP4, 0, 4, 1, 2, 3, 4]].concat();
        assert_eq!(read(&too_short), FirstBytesRead::Broken);
        assert_eq!(read(&[&SIGNATURE[..], &[0x31, TCP4, 0, 0]].concat()), FirstBytesRead::Broken, "version 3");
        let local = [&SIGNATURE[..], &[LOCAL, UNSPECIFIED, 0, 0]].concat();
        assert_eq!(read(&local), FirstBytesRead::Header(ReceivedHeader { len: 16, source: None }));
        for other in ["GET / HTTP/1.1\r\n", "PROXIES", "\r\n\r\nGET"] {
            assert_eq!(read(other.as_bytes()), FirstBytesRead::Other, "{other}");
        }
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
