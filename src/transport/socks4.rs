//! SOCKS4a: the CONNECT of SOCKS4, with a name in place of an address if the proxy is to resolve it (the documents
//! `socks4.protocol` and `socks4a.protocol` by NEC). It knows no IPv6 address: that goes as a name.

use std::net::SocketAddr;

use super::dialogue::{Dialogue, Refusal, shown};
use super::host_port::HostPort;

const VERSION: u8 = 4;
const CONNECT: u8 = 1;
/// An address that says that a name follows.
const NAME_FOLLOWS: [u8; 4] = [0, 0, 0, 1];
const REPLY_BYTES: usize = 8;

/// The dialogue with a SOCKS4a proxy.
pub(super) struct Socks4 {
    target: HostPort,
    user: String,
    is_open: bool,
}

impl Socks4 {
    pub(super) fn new(target: HostPort, user: String) -> Socks4 {
        Socks4 { target, user, is_open: false }
    }
}

impl Dialogue for Socks4 {
    fn begin(&mut self) -> Vec<u8> {
        let mut sent = vec![VERSION, CONNECT];
        sent.extend_from_slice(&self.target.port().to_be_bytes());
        let address = match &self.target {
            HostPort::Address(SocketAddr::V4(address)) => Some(address.ip().octets()),
            _ => None,
        };
        sent.extend_from_slice(&address.unwrap_or(NAME_FOLLOWS));
        sent.extend_from_slice(self.user.as_bytes());
        sent.push(0);
        if address.is_none() {
            sent.extend_from_slice(self.target.host().as_bytes());
            sent.push(0);
        }
        sent
    }

    fn wanted(&self) -> usize {
        if self.is_open { 0 } else { REPLY_BYTES }
    }

    fn take(&mut self, part: &[u8]) -> Result<Vec<u8>, Refusal> {
        match part {
            [0, 90, ..] => {
                self.is_open = true;
                Ok(Vec::new())
            }
            [0, 91, ..] => Err(Refusal::Connect("rejected or failed (reply 91)".to_owned())),
            [0, reply @ (92 | 93), ..] => {
                Err(Refusal::User(format!("it wants to identify the user by identd, and can't (reply {reply})")))
            }
            _ => Err(Refusal::Foreign(shown(part))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialogue::converse;
    use super::*;

    #[test]
    fn an_address_goes_as_it_is_and_a_name_behind_the_user() {
        let asked = |host: &str, user: &str| Socks4::new(HostPort::new(host, 80), user.to_owned()).begin();
        assert_eq!(asked("127.0.0.1", "joe"), [&[4, 1, 0, 80, 127, 0, 0, 1][..], b"joe\0"].concat());
        assert_eq!(asked("a.b", ""), [&[4, 1, 0, 80, 0, 0, 0, 1, 0][..], b"a.b\0"].concat());
        assert!(asked("::1", "").ends_with(b"\0::1\0"));
    }

    #[test]
    fn no_byte_behind_the_reply_is_taken_and_a_refusal_says_why() {
        for cut in 1..=14 {
            let mut dialogue = Socks4::new(HostPort::new("a.b", 80), String::new());
            let answer = [&[0, 90, 0, 0, 0, 0, 0, 0][..], b"stream"].concat();
            assert_eq!(converse(&mut dialogue, &answer, cut).1, 8);
            assert_eq!(dialogue.wanted(), 0);
        }
        let refusal = |answer: &[u8]| converse(&mut Socks4::new(HostPort::new("a.b", 80), String::new()), answer, 3).2;
        assert!(matches!(refusal(&[0, 91, 0, 0, 0, 0, 0, 0]), Some(Refusal::Connect(_))));
        assert!(matches!(refusal(&[0, 93, 0, 0, 0, 0, 0, 0]), Some(Refusal::User(_))));
        assert!(matches!(refusal(b"HTTP/1.1"), Some(Refusal::Foreign(_))));
    }
}
