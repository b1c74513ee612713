//! SOCKS5: the CONNECT command of RFC 1928, with no authentication or a user name and a password (RFC 1929).

use std::net::SocketAddr;

use super::dialogue::{Dialogue, Refusal, shown};
use super::host_port::HostPort;
use super::proxy_url::Credentials;

const VERSION: u8 = 5;
/// Methods of authentication (RFC 1928, 3).
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
/// The version of the sub-negotiation of RFC 1929.
const USER_VERSION: u8 = 1;
const CONNECT: u8 = 1;
/// Kinds of address (RFC 1928, 5).
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// The dialogue with a SOCKS5 proxy.
pub(super) struct Socks5 {
    target: HostPort,
    credentials: Option<Credentials>,
    state: Socks5State,
}

/// Which part of the answer comes next.
enum Socks5State {
    /// The method that the proxy has chosen.
    Method,
    /// Whether it accepts the user.
    User,
    /// The beginning of its reply, up to the first byte of the bound address.
    Reply,
    /// The rest of the reply, of this many bytes.
    Rest(usize),
    /// The way is open.
    Open,
}

impl Socks5 {
    pub(super) fn new(target: HostPort, credentials: Option<Credentials>) -> Socks5 {
        Socks5 { target, credentials, state: Socks5State::Method }
    }

    fn method(&mut self, part: &[u8]) -> Result<Vec<u8>, Refusal> {
        match (part, &self.credentials) {
            ([VERSION, NO_AUTHENTICATION], _) => Ok(self.request()),
            ([VERSION, USER_AND_PASSWORD], Some(Credentials { user, password })) => {
                self.state = Socks5State::User;
                let mut sent = vec![USER_VERSION];
                for text in [user, password] {
                    sent.push(text.len() as u8);
                    sent.extend_from_slice(text.as_bytes());
                }
                Ok(sent)
            }
            ([VERSION, NO_METHOD], None) => {
                Err(Refusal::User("it wants a user name and a password: write socks5://user:pass@…".to_owned()))
            }
            ([VERSION, NO_METHOD], Some(_)) => Err(Refusal::User(
                "it takes neither a user name and a password nor a client without them: check which method it asks for"
                    .to_owned(),
            )),
            ([VERSION, other], _) => Err(Refusal::User(format!("it chose the method {other}, which was not offered"))),
            _ => Err(Refusal::Foreign(shown(part))),
        }
    }

    fn user(&mut self, part: &[u8]) -> Result<Vec<u8>, Refusal> {
        match part {
            // Some proxies answer with the version of SOCKS.
            [USER_VERSION | VERSION, 0] => Ok(self.request()),
            [USER_VERSION | VERSION, _] => {
                Err(Refusal::User("it does not accept the user name and the password: check them".to_owned()))
            }
            _ => Err(Refusal::Foreign(shown(part))),
        }
    }

    fn request(&mut self) -> Vec<u8> {
        self.state = Socks5State::Reply;
        let mut sent = vec![VERSION, CONNECT, 0];
        match &self.target {
            HostPort::Address(SocketAddr::V4(address)) => {
                sent.push(IPV4);
                sent.extend_from_slice(&address.ip().octets());
            }
            HostPort::Address(SocketAddr::V6(address)) => {
                sent.push(IPV6);
                sent.extend_from_slice(&address.ip().octets());
            }
            HostPort::Name(name, _) => {
                // A name of DNS has at most 255 bytes, and so has the field.
                let name = &name.as_bytes()[..name.len().min(255)];
                sent.extend_from_slice(&[NAME, name.len() as u8]);
                sent.extend_from_slice(name);
            }
        }
        sent.extend_from_slice(&self.target.port().to_be_bytes());
        sent
    }

    fn reply(&mut self, part: &[u8]) -> Result<Vec<u8>, Refusal> {
        let &[VERSION, reply, _, kind, first] = part else { return Err(Refusal::Foreign(shown(part))) };
        if reply != 0 {
            return Err(Refusal::Connect(format!("{} (reply {reply})", meaning(reply))));
        }
        // The first byte of the address has come; the port follows.
        self.state = Socks5State::Rest(match kind {
            IPV4 => 3 + 2,
            IPV6 => 15 + 2,
            NAME => usize::from(first) + 2,
            _ => return Err(Refusal::Foreign(shown(part))),
        });
        Ok(Vec::new())
    }
}

impl Dialogue for Socks5 {
    fn begin(&mut self) -> Vec<u8> {
        match self.credentials {
            None => vec![VERSION, 1, NO_AUTHENTICATION],
            Some(_) => vec![VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
        }
    }

    fn wanted(&self) -> usize {
        match self.state {
            Socks5State::Method | Socks5State::User => 2,
            Socks5State::Reply => 5,
            Socks5State::Rest(bytes) => bytes,
            Socks5State::Open => 0,
        }
    }

    fn take(&mut self, part: &[u8]) -> Result<Vec<u8>, Refusal> {
        match self.state {
            Socks5State::Method => self.method(part),
            Socks5State::User => self.user(part),
            Socks5State::Reply => self.reply(part),
            Socks5State::Rest(_) | Socks5State::Open => {
                self.state = Socks5State::Open;
                Ok(Vec::new())
            }
        }
    }
}

/// What a reply means (RFC 1928, 6).
fn meaning(reply: u8) -> &'static str {
    match reply {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused by the target",
        6 => "time to live expired",
        7 => "it knows no CONNECT",
        8 => "it does not take this kind of address",
        _ => "for a reason that RFC 1928 does not name",
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialogue::converse;
    use super::*;

    fn user() -> Option<Credentials> {
        Some(Credentials { user: "joe".to_owned(), password: "pw".to_owned() })
    }

    fn target() -> HostPort {
        HostPort::new("127.0.0.1", 7777)
    }

    #[test]
    fn a_connect_is_asked_for_and_no_byte_behind_the_reply_is_taken_whatever_the_cut() {
        let open = [5, 0, 0, 1, 10, 0, 0, 1, 0x1f, 0x90];
        let six = [&[5, 0, 0, 4][..], &[0; 16], &[0, 80]].concat();
        let name = [&[5, 0, 0, 3, 3][..], b"a.b", &[0, 80]].concat();
        for reply in [&open[..], &six, &name] {
            let answer = [&[5, 0][..], reply, b"stream"].concat();
            for cut in 1..=answer.len() {
                let mut dialogue = Socks5::new(target(), None);
                assert_eq!(dialogue.begin(), [5, 1, 0]);
                let (sent, taken, refusal) = converse(&mut dialogue, &answer, cut);
                assert_eq!(sent, [5, 1, 0, 1, 127, 0, 0, 1, 0x1e, 0x61]);
                assert_eq!((taken, refusal, dialogue.wanted()), (2 + reply.len(), None, 0));
            }
        }
    }

    #[test]
    fn a_name_goes_to_the_proxy_as_it_is_and_an_ipv6_address_as_16_bytes() {
        let asked = |target: HostPort| converse(&mut Socks5::new(target, None), &[5, 0], 1).0;
        assert_eq!(asked(HostPort::new("a.b", 80)), [&[5, 1, 0, 3, 3][..], b"a.b", &[0, 80]].concat());
        let six = asked(HostPort::new("::1", 80));
        assert_eq!((six[3], six.len(), six[19]), (4, 22, 1));
    }

    #[test]
    fn a_user_is_named_only_if_the_proxy_asks() {
        let mut asked = Socks5::new(target(), user());
        assert_eq!(asked.begin(), [5, 2, 0, 2]);
        let (sent, taken, refusal) = converse(&mut asked, &[5, 2, 1, 0], 1);
        assert_eq!((&sent[..8], taken, refusal), (&[1, 3, b'j', b'o', b'e', 2, b'p', b'w'][..], 4, None));
        assert_eq!(sent[8..11], [5, 1, 0]);
        let mut not_asked = Socks5::new(target(), user());
        assert_eq!(converse(&mut not_asked, &[5, 0], 1).0[..3], [5, 1, 0]);
    }

    #[test]
    fn each_refusal_says_why() {
        let refusal = |answer: &[u8], user| converse(&mut Socks5::new(target(), user), answer, 1).2;
        let connect = |text: &str| Some(Refusal::Connect(text.to_owned()));
        assert_eq!(refusal(&[5, 0, 5, 5, 0, 1, 0], None), connect("connection refused by the target (reply 5)"));
        assert_eq!(refusal(&[5, 0, 5, 2, 0, 1, 0], None), connect("not allowed by its rules (reply 2)"));
        assert!(matches!(refusal(&[5, 0xff], None), Some(Refusal::User(why)) if why.contains("user:pass@")));
        assert!(matches!(refusal(&[5, 0xff], user()), Some(Refusal::User(_))));
        assert!(matches!(refusal(&[5, 2, 1, 1], user()), Some(Refusal::User(why)) if why.contains("does not accept")));
        assert_eq!(refusal(b"HTTP/1.1 400", None), Some(Refusal::Foreign("\"HT\"".to_owned())));
    }
}
