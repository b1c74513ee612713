//! Servers that are no echo servers: what they answer, recognized by its first bytes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::finding::Finding;

/// What a server answered that is no echo server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Answer {
    /// The protocol, such as HTTP, or 'text'.
    pub protocol: String,
    /// The beginning of the answer, in characters or, if most of it is none, in hexadecimal digits.
    pub begins: String,
}

/// A protocol, and whether these are the first bytes of an answer in it.
type ProtocolRow = (&'static str, fn(&[u8]) -> bool);

/// The protocols, of which the first that fits is named.
const PROTOCOLS: &[ProtocolRow] = &[
    ("HTTP", |bytes| bytes.starts_with(b"HTTP/")),
    ("SSH", |bytes| bytes.starts_with(b"SSH-")),
    // A record: alert or handshake, of version 3.0 to 3.4 (RFC 8446, section 5.1).
    ("TLS", |bytes| matches!(bytes, [0x15 | 0x16, 3, 0..=4, _, _, ..])),
    // RFC 5321, section 4.2, and RFC 959, section 4.2: a code of three digits, then a blank or a hyphen.
    ("SMTP or FTP", |bytes| matches!(bytes, [b'2' | b'4' | b'5', b'0'..=b'5', b'0'..=b'9', b' ' | b'-', ..])),
    ("Redis", |bytes| bytes.starts_with(b"-ERR ") || bytes.starts_with(b"-DENIED ")),
    ("POP3", |bytes| bytes.starts_with(b"+OK ")),
    ("IMAP", |bytes| bytes.starts_with(b"* OK ")),
    // The greeting of protocol 10 begins after the length of the packet and its number.
    ("MySQL", |bytes| matches!(bytes, [_, _, 0, 0, 10, b'0'..=b'9', ..])),
    ("HTML", |bytes| bytes.len() >= 6 && bytes[..6].eq_ignore_ascii_case(b"<html>") || bytes.starts_with(b"<!DOCTYPE")),
    ("text", |bytes| bytes.len() >= MIN_TEXT_BYTES && bytes.iter().all(|byte| is_text(*byte))),
];

/// Random bytes are hardly ever as many characters in a row.
const MIN_TEXT_BYTES: usize = 12;
/// Characters of an answer that are shown.
const SHOWN_CHARACTERS: usize = 24;
/// Of the bytes received, one in 256 is right by chance. If more than this part is right, the server echoes.
const MOST_RIGHT: u64 = 16;

fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t')
}

/// The protocol of an answer that begins like this.
pub fn protocol(first_bytes: &[u8]) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(_, fits)| fits(first_bytes)).map(|(name, _)| *name)
}

/// What the server answered, if it is no echo server: hardly a byte was right, and what came first on each connection
/// that went wrong is a known protocol or text.
pub fn recognize<'f>(
    findings: impl Iterator<Item = &'f Finding>,
    bytes_received: u64,
    bytes_verified: u64,
) -> Option<Answer> {
    if bytes_verified > bytes_received / MOST_RIGHT {
        return None;
    }
    let beginnings = findings.map(|finding| &finding.divergence);
    let beginnings = beginnings.filter(|found| found.excerpt_offset == 0 && found.received != found.expected);
    let mut beginnings = beginnings.map(|found| found.received.as_slice()).filter(|received| !received.is_empty());
    let first = beginnings.next()?;
    let name = protocol(first)?;
    beginnings
        .all(|other| protocol(other).is_some())
        .then(|| Answer { protocol: name.to_owned(), begins: shown(first) })
}

fn shown(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let line = if line.is_empty() { bytes } else { line };
    if line.iter().filter(|byte| is_text(**byte)).count() * 2 < line.len() {
        let digits: Vec<String> = line.iter().take(SHOWN_CHARACTERS / 3).map(|byte| format!("{byte:02x}")).collect();
        return digits.join(" ");
    }
    let letter = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' };
    let shown: String = line.iter().take(SHOWN_CHARACTERS).map(letter).collect();
    // The excerpt is not longer than this either.
    if line.len() >= SHOWN_CHARACTERS { shown + "…" } else { shown }
}

impl Answer {
    /// `this is no echo server: it answered "HTTP/1.0 400 Bad…" (HTTP)`.
    pub fn sentence(&self) -> String {
        format!("this is no echo server: it answered \"{}\" ({})", self.begins, self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{ConnId, Divergence, FindingKind, Stream};

    /// For each protocol, the beginning of an answer as real servers send it.
    const ANSWERS: &[(&str, &[u8])] = &[
        ("HTTP", b"HTTP/1.0 400 Bad request syntax"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian"),
        ("TLS", b"\x15\x03\x01\x00\x02\x02\x46"),
        ("TLS", b"\x16\x03\x03\x00\x5a\x02\x00\x00\x56"),
        ("SMTP or FTP", b"220 mail.example.org ESMTP Postfix"),
        ("SMTP or FTP", b"500 Command unrecognized"),
        ("Redis", b"-ERR unknown command 'x'"),
        ("POP3", b"+OK Dovecot ready."),
        ("IMAP", b"* OK [CAPABILITY IMAP4rev1] ready"),
        ("MySQL", b"\x4a\x00\x00\x00\x0a8.0.36\x00"),
        ("HTML", b"<!DOCTYPE html>"),
        ("text", b"Sat Nov 28 09:38:01 2026\r\n"),
    ];

    fn finding(offset: u64, received: &[u8]) -> Finding {
        let mut divergence = Divergence::of_connection(FindingKind::Corrupt, ConnId::MAX, offset, 24);
        divergence.received = received[..received.len().min(24)].to_vec();
        Finding::of(divergence)
    }

    #[test]
    fn every_protocol_is_recognized_by_its_first_bytes() {
        for (name, answer) in ANSWERS {
            assert_eq!(protocol(&answer[..answer.len().min(24)]), Some(*name), "{answer:?}");
        }
        for (name, _) in PROTOCOLS {
            assert!(ANSWERS.iter().any(|(other, _)| other == name), "{name} has an example");
        }
    }

    #[test]
    fn random_bytes_are_no_protocol() {
        let stream = Stream::new(11);
        for n in 0..100_000 {
            let mut bytes = [0; 24];
            stream.fill(ConnId::new(n).expect("small"), 0, &mut bytes);
            assert_eq!(protocol(&bytes), None, "{bytes:?}");
        }
        assert_eq!((protocol(b""), protocol(b"short text")), (None, None));
    }

    #[test]
    fn a_server_that_answers_instead_of_echoing_is_no_echo_server() {
        let all = [finding(0, b"HTTP/1.0 400 Bad request syntax"), finding(900, &[1, 2, 3])];
        let answer = recognize(all.iter(), 5000, 20).expect("it is HTTP");
        assert_eq!(answer.sentence(), "this is no echo server: it answered \"HTTP/1.0 400 Bad request…\" (HTTP)");
        assert_eq!(recognize(all.iter(), 5000, 1000), None, "it echoed some");
        let mixed = [finding(0, b"HTTP/1.0 400 Bad request syntax"), finding(0, &[0; 24])];
        assert_eq!(recognize(mixed.iter(), 5000, 0), None, "it answered differently too");
        assert_eq!(recognize(std::iter::empty(), 0, 0), None);
    }

    #[test]
    fn an_answer_is_shown_up_to_the_end_of_its_first_line() {
        assert_eq!(shown(b"-ERR bad\r\n-ERR"), "-ERR bad");
        assert_eq!(shown(b"\x15\x03\x01\x00\x02\x02F"), "15 03 01 00 02 02 46");
    }
}
