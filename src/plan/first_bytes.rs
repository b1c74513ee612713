//! First bytes that look like another protocol, for proxies and firewalls that look into connections: `first_bytes`.
//!
//! They take the place of the first bytes of the stream, on the wire alone: the sender writes them over its bytes, and
//! the receiver puts the bytes of the stream back before they are compared. So they cost nothing after their end. All
//! connections have the same, and bytes that are swapped between two of them show only behind them.

use crate::stream::{ConnId, Stream};
use crate::units::text::keyword_form;

/// The protocol that the first bytes of a connection look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBytes {
    /// A TLS record with a ClientHello (RFC 8446, 4.1.2).
    Tls,
    /// A request line and header fields of HTTP/1.1 (RFC 9112, 3).
    Http,
    /// The identification of an SSH client (RFC 4253, 4.2).
    Ssh,
    /// The header of the PROXY protocol, version 1 (HAProxy's proxy-protocol.txt, 2.1).
    ProxyV1,
    /// The header of the PROXY protocol, version 2 (the same, 2.2).
    ProxyV2,
}

/// TLS 1.2 and 1.3 are offered, with three cipher suites, for the name `echo.test`.
const TLS: &[u8] = b"\x16\x03\x01\x00\x5a\x01\x00\x00\x56\x03\x03\
    echo-tester-sends-this-as-random\x00\x00\x06\x13\x01\x13\x02\xc0\x2f\x01\x00\x00\x27\
    \x00\x00\x00\x0e\x00\x0c\x00\x00\x09echo.test\
    \x00\x2b\x00\x05\x04\x03\x04\x03\x03\
    \x00\x0a\x00\x04\x00\x02\x00\x1d\x00\x23\x00\x00";
const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: echo.test\r\nConnection: close\r\n\r\n";
const SSH: &[u8] = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n";
const PROXY_V1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x01\xbb";

impl FirstBytes {
    /// The keywords and their meanings.
    pub const KEYWORDS: &'static [(&'static str, FirstBytes)] = &[
        ("tls", FirstBytes::Tls),
        ("http", FirstBytes::Http),
        ("ssh", FirstBytes::Ssh),
        ("proxy-v1", FirstBytes::ProxyV1),
        ("proxy-v2", FirstBytes::ProxyV2),
    ];

    /// The bytes on the wire.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            FirstBytes::Tls => TLS,
            FirstBytes::Http => HTTP,
            FirstBytes::Ssh => SSH,
            FirstBytes::ProxyV1 => PROXY_V1,
            FirstBytes::ProxyV2 => PROXY_V2,
        }
    }

    /// How many there are.
    pub fn count(self) -> u64 {
        self.bytes().len() as u64
    }

    /// Those from an offset of the stream on.
    fn from(self, offset: u64) -> &'static [u8] {
        usize::try_from(offset).ok().and_then(|offset| self.bytes().get(offset..)).unwrap_or_default()
    }

    /// Writes them over the bytes of the stream from `offset` on that are about to be sent.
    pub fn overwrite(self, offset: u64, bytes: &mut [u8]) {
        let rest = self.from(offset);
        bytes.iter_mut().zip(rest).for_each(|(byte, first)| *byte = *first);
    }

    /// Exchanges the bytes that stand at `offset`: those of the wire become those of the connection's stream, and those
    /// of the stream become those of the wire. A byte that is wrong before is wrong in the same bits after it.
    pub fn exchange(self, stream: &Stream, conn: ConnId, offset: u64, bytes: &mut [u8]) {
        let rest = self.from(offset);
        let mut own = vec![0; rest.len().min(bytes.len())];
        stream.fill(conn, offset, &mut own);
        for ((byte, first), own) in bytes.iter_mut().zip(rest).zip(own) {
            *byte ^= first ^ own;
        }
    }
}

keyword_form!(FirstBytes, "what the first bytes look like:");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_overwritten_is_put_back_wherever_it_is_cut() {
        let (stream, conn) = (Stream::new(7), ConnId::new(3).expect("small"));
        for (_, first) in FirstBytes::KEYWORDS {
            let mut own = vec![0; first.bytes().len() + 20];
            stream.fill(conn, 0, &mut own);
            for cut in 0..own.len() {
                let mut wire = own.clone();
                let (head, tail) = wire.split_at_mut(cut);
                first.overwrite(0, head);
                first.overwrite(cut as u64, tail);
                assert!(wire.starts_with(first.bytes()) && wire.ends_with(&own[first.bytes().len()..]));
                let (head, tail) = wire.split_at_mut(cut);
                first.exchange(&stream, conn, 0, head);
                first.exchange(&stream, conn, cut as u64, tail);
                assert_eq!(wire, own, "{first} cut at {cut}");
            }
        }
    }

    #[test]
    fn the_lengths_in_the_headers_are_right() {
        let word = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        assert_eq!(word(&TLS[3..]), TLS.len() - 5, "of the record");
        assert_eq!((TLS[6], word(&TLS[7..])), (0, TLS.len() - 9), "of the handshake message");
        // Behind the version, the random bytes, the session, the cipher suites and the compressions.
        let extensions = 11 + 32 + 1 + 2 + 6 + 2;
        assert_eq!(word(&TLS[extensions..]), TLS.len() - extensions - 2, "of the extensions");
        assert_eq!(word(&PROXY_V2[14..]), PROXY_V2.len() - 16);
    }
}
