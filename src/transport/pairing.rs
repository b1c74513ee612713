//! How `echo-tester backend` on another machine shows the tester that it belongs to it.
//!
//! Each connection that it opens to the tester begins with a header of the PROXY protocol, version 2. The header names
//! the address that it saw, and ends in a TLV of a type for private use (PP2_TYPE_MIN_CUSTOM of `proxy-protocol.txt`)
//! with a tag: HMAC-SHA256 of all bytes before the tag, under the token that both sides have. So the token itself is
//! never sent. Nothing is encrypted, and who has seen a header can repeat it: the tag keeps strangers out, no more.
//!
//! The command LOCAL asks for the control connection. On it the tester sends [`ControlWord`]s, and gets each one back
//! when it is obeyed. The command PROXY carries a connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use graviola::hashing::Sha256;
use graviola::hashing::hmac::Hmac;
use socket2::{SockRef, TcpKeepalive};

use super::proxy_header::{FirstBytesRead, LOCAL, ProxyHeader, SIGNATURE, read};
use crate::units::ParseError;
use crate::units::text::{Form, TextForm, text_form};

/// What stands for a token in reports.
const HIDDEN: &str = "***";
/// Fewer bytes than this are soon guessed.
const SHORTEST_TOKEN: usize = 8;
/// PP2_TYPE_MIN_CUSTOM.
const TYPE: u8 = 0xe0;
/// The version of what the TLV holds.
const VERSION: u8 = 1;
/// The bytes of a tag of SHA-256.
const TAG_LEN: usize = 32;
/// What stands before a tag: the type of the TLV, the length of its value, the version.
const TAG_BEGIN: [u8; 4] = [TYPE, 0, 1 + TAG_LEN as u8, VERSION];
/// The bytes of the TLV: its type, its length, the version, the tag.
const TLV_LEN: usize = 3 + 1 + TAG_LEN;
/// A side that has gone without a word is missed after this time, and a few of these intervals.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Where version 2 has its command, and its length.
const COMMAND_AT: usize = 12;
const LENGTH_AT: usize = 14;

/// Prepares a control connection: words go at once, and a side that vanishes is missed.
///
/// # Errors
/// The system's.
pub fn prepare_control<'s>(socket: impl Into<SockRef<'s>>) -> io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL))
}

/// What the tester and `echo-tester backend` share. Its text form is `***`, so it can't get into a report, a replay
/// line or an error.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingToken(String);

impl PairingToken {
    /// Why it can't be used; `None`: it can.
    pub fn problem(&self) -> Option<&'static str> {
        match &*self.0 {
            HIDDEN => Some("it is *** here, because reports hide it: write the token, or give it in the environment"),
            token if token.len() < SHORTEST_TOKEN => Some("a token has at least 8 characters: choose a longer one"),
            _ => None,
        }
    }

    fn tag_of(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut hmac = Hmac::<Sha256>::new(&self.0);
        hmac.update(bytes);
        hmac
    }
}

impl FromStr for PairingToken {
    type Err = ParseError;

    /// Takes any text: an error here would show it. [`problem`](PairingToken::problem) says what is wrong.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(PairingToken(text.trim().to_owned()))
    }
}

impl fmt::Display for PairingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Debug for PairingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl TextForm for PairingToken {
    const WHAT: &'static str = "a text that nobody guesses, of 8 characters or more, such as";

    fn forms() -> Vec<Form> {
        vec![Form::new("tidy-otter-47-lamp", r"[^\s](.*[^\s])?")]
    }
}

text_form!(PairingToken);

/// A header that the token vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairedHeader {
    /// How many bytes it has.
    pub len: usize,
    /// It begins the control connection, and not one that is carried.
    pub is_control: bool,
    /// Where the connection came from that is carried.
    pub source: Option<SocketAddr>,
}

/// What the first bytes of a connection are, where all must come from `echo-tester backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingRead {
    /// The beginning of a header.
    Partial,
    /// A header with the right tag.
    Paired(PairedHeader),
    /// No header, or one without a tag, or with a wrong one.
    Refused {
        /// It asks for the control connection, so an answer is understood.
        is_control: bool,
    },
}

/// The header of the control connection.
pub fn control_header(token: &PairingToken) -> Vec<u8> {
    let mut header = ProxyHeader::V2.bytes(None, None);
    header[COMMAND_AT] = LOCAL;
    tagged(header, token)
}

/// The header of a connection that is carried, which came from `source` to `target`.
pub fn carried_header(token: &PairingToken, source: SocketAddr, target: SocketAddr) -> Vec<u8> {
    tagged(ProxyHeader::V2.bytes(Some(source), Some(target)), token)
}

fn tagged(mut header: Vec<u8>, token: &PairingToken) -> Vec<u8> {
    let length = u16::from_be_bytes([header[LENGTH_AT], header[LENGTH_AT + 1]]) + TLV_LEN as u16;
    header[LENGTH_AT..][..2].copy_from_slice(&length.to_be_bytes());
    header.extend(TAG_BEGIN);
    let tag = token.tag_of(&header).finish();
    header.extend(tag.as_ref());
    header
}

/// Whether this whole header of the PROXY protocol has a tag, of whatever token.
pub fn has_pairing_tag(header: &[u8]) -> bool {
    header.split_last_chunk::<TAG_LEN>().is_some_and(|(before, _)| before.ends_with(&TAG_BEGIN))
}

/// Reads the header with which a connection begins, and compares its tag, in constant time.
pub fn read_pairing(bytes: &[u8], token: &PairingToken) -> PairingRead {
    let is_control = bytes.starts_with(&SIGNATURE) && bytes.get(COMMAND_AT) == Some(&LOCAL);
    let refused = PairingRead::Refused { is_control };
    let header = match read(bytes) {
        FirstBytesRead::Partial => return PairingRead::Partial,
        FirstBytesRead::Header(header) if bytes.starts_with(&SIGNATURE) => header,
        _ => return refused,
    };
    let whole = &bytes[..header.len];
    let Some((before, tag)) = whole.split_last_chunk::<TAG_LEN>() else { return refused };
    if !has_pairing_tag(whole) || token.tag_of(before).verify(tag).is_err() {
        return refused;
    }
    PairingRead::Paired(PairedHeader { len: header.len, is_control, source: header.source })
}

/// One byte on the control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlWord {
    /// Listen, and carry connections.
    Serve,
    /// Do not listen, so the system refuses connections.
    Refuse,
    /// Listen, and reset each connection at once.
    Reset,
    /// The tester's answer to a tag that is wrong: the connection ends.
    WrongToken,
    /// The answer to a word that could not be obeyed.
    Failed,
}

impl ControlWord {
    const BYTES: [(ControlWord, u8); 5] = [
        (ControlWord::Serve, b'S'),
        (ControlWord::Refuse, b'F'),
        (ControlWord::Reset, b'R'),
        (ControlWord::WrongToken, b'N'),
        (ControlWord::Failed, b'E'),
    ];

    /// The byte that stands for it.
    pub fn byte(self) -> u8 {
        let row = Self::BYTES.iter().find(|(word, _)| *word == self);
        row.map_or(0, |(_, byte)| *byte)
    }

    /// The word that a byte stands for.
    pub fn of_byte(byte: u8) -> Option<ControlWord> {
        Self::BYTES.iter().find(|(_, of_word)| *of_word == byte).map(|(word, _)| *word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> PairingToken {
        text.parse().expect("any text is a token")
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("it is an address")
    }

    #[test]
    fn a_header_is_read_with_the_token_that_made_it_and_with_no_other() {
        let right = token("a right token");
        for (source, target) in [("10.0.0.1:5", "10.0.0.2:80"), ("[::1]:65535", "[fd00::2]:80")] {
            let header = carried_header(&right, at(source), at(target));
            let followed = [&header[..], b"PROXY UNKNOWN\r\n"].concat();
            let paired = PairedHeader { len: header.len(), is_control: false, source: Some(at(source)) };
            assert_eq!(read_pairing(&followed, &right), PairingRead::Paired(paired));
            assert_eq!(read_pairing(&followed, &token("a wrong token")), PairingRead::Refused { is_control: false });
            for len in 1..header.len() {
                assert_eq!(read_pairing(&header[..len], &right), PairingRead::Partial, "{len}");
            }
        }
        let control = control_header(&right);
        let paired = PairedHeader { len: control.len(), is_control: true, source: None };
        assert_eq!(read_pairing(&control, &right), PairingRead::Paired(paired));
        assert_eq!(read_pairing(&control, &token("a wrong token")), PairingRead::Refused { is_control: true });
    }

    #[test]
    fn a_header_of_which_any_byte_has_changed_is_refused() {
        let right = token("a right token");
        let header = carried_header(&right, at("10.0.0.1:5"), at("10.0.0.2:80"));
        for place in 0..header.len() {
            let mut changed = header.clone();
            changed[place] ^= 1;
            assert!(!matches!(read_pairing(&changed, &right), PairingRead::Paired(_)), "{place}");
        }
        for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PROXY UNKNOWN\r\n", &ProxyHeader::V2.bytes(None, None)] {
            assert_eq!(read_pairing(other, &right), PairingRead::Refused { is_control: false }, "{other:?}");
        }
    }

    #[test]
    fn the_tag_is_the_hmac_of_what_stands_before_it() {
        // Made by Python: hmac.new(b'a right token', header, 'sha256').
        let header = control_header(&token("a right token"));
        let (before, tag) = header.split_last_chunk::<TAG_LEN>().expect("it ends in a tag");
        assert_eq!(before, b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x24\xe0\x00\x21\x01");
        let shown: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, "474c8bf58a246dd2c233fd4c5f671837190e4c135197cb84aef50c5011876b2a");
    }

    #[test]
    fn a_token_is_never_shown_and_a_short_one_is_refused_without_it() {
        let secret = token("a right token");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(serde_json::to_string(&secret).ok().as_deref(), Some("\"***\""));
        assert_eq!(secret.problem(), None);
        assert!(token("***").problem().is_some_and(|problem| problem.contains("because reports hide it")));
        assert!(token("short").problem().is_some_and(|problem| !problem.contains("short")));
    }

    #[test]
    fn every_word_has_a_byte_of_its_own() {
        for (word, byte) in ControlWord::BYTES {
            assert_eq!((word.byte(), ControlWord::of_byte(byte)), (byte, Some(word)));
        }
        assert_eq!(ControlWord::of_byte(0), None);
    }
}
