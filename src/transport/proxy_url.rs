//! One hop of `--via`: `socks5://user:pass@127.0.0.1:1080`.
//!
//! The text form never shows the password, so it can't get into a report or a replay line.

use std::fmt;
use std::str::FromStr;

use super::host_port::HostPort;
use crate::units::ParseError;
use crate::units::text::{Form, TextForm, remedy, text_form};

/// What stands for a password in reports.
pub(super) const HIDDEN: &str = "***";
/// SOCKS5 gives the length of a user name and of a password one byte each (RFC 1929, 2).
const MAX_CREDENTIAL: usize = 255;

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// SOCKS5, with the target as an address (RFC 1928).
    Socks5,
    /// SOCKS5, with the target as it was written: the proxy resolves a name.
    Socks5h,
    /// SOCKS4a: the proxy resolves a name.
    Socks4a,
    /// HTTP CONNECT (RFC 9110, 9.3.6): the proxy resolves a name.
    Http,
}

impl ProxyProtocol {
    /// The schemes.
    const SCHEMES: [(&'static str, ProxyProtocol); 4] = [
        ("socks5", ProxyProtocol::Socks5),
        ("socks5h", ProxyProtocol::Socks5h),
        ("socks4a", ProxyProtocol::Socks4a),
        ("http", ProxyProtocol::Http),
    ];

    /// Its scheme.
    pub fn scheme(self) -> &'static str {
        let row = Self::SCHEMES.iter().find(|(_, protocol)| *protocol == self);
        row.map_or("", |(scheme, _)| scheme)
    }

    /// What such a proxy is called.
    pub fn name(self) -> &'static str {
        match self {
            ProxyProtocol::Socks5 | ProxyProtocol::Socks5h => "SOCKS5 proxy",
            ProxyProtocol::Socks4a => "SOCKS4a proxy",
            ProxyProtocol::Http => "HTTP proxy",
        }
    }

    /// Whether the client resolves names for it.
    pub fn takes_addresses_only(self) -> bool {
        self == ProxyProtocol::Socks5
    }
}

/// A user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{HIDDEN}", self.user)
    }
}

/// A proxy to connect through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    /// What it speaks.
    pub protocol: ProxyProtocol,
    pub(super) credentials: Option<Credentials>,
    /// Where it is.
    pub at: HostPort,
}

impl ProxyUrl {
    /// The proxy without its user: `socks5 127.0.0.1:1080`.
    pub fn short(&self) -> String {
        format!("{} {}", self.protocol.scheme(), self.at)
    }

    /// The proxy in a sentence: `SOCKS5 proxy 127.0.0.1:1080`.
    pub fn in_words(&self) -> String {
        format!("{} {}", self.protocol.name(), self.at)
    }
}

impl FromStr for ProxyUrl {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let no_url = || ParseError::new(format!("{} is not a proxy", without_password(text)));
        let (scheme, rest) = split_scheme(text).ok_or_else(|| no_url().with_remedy(remedy::<ProxyUrl>()))?;
        let row = ProxyProtocol::SCHEMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(scheme));
        let (_, protocol) = *row.ok_or_else(|| {
            ParseError::new(format!("{scheme} is not a kind of proxy")).with_remedy(remedy::<ProxyUrl>())
        })?;
        let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
        let at = place_of(place.trim_end_matches('/')).ok_or_else(|| {
            let host =
                place.split([':', '/']).next().filter(|host| !host.is_empty() && (user.is_some() || is_open(rest)));
            let host = host.unwrap_or("127.0.0.1");
            let port = if protocol == ProxyProtocol::Http { 8080 } else { 1080 };
            no_url().with_remedy(format!("write {scheme}://{host}:{port}, an IPv6 address in brackets"))
        })?;
        let credentials = user.map(|user| credentials_of(user, protocol)).transpose()?;
        Ok(ProxyUrl { protocol, credentials, at })
    }
}

/// `HOST:PORT`, if it is that.
fn place_of(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let is_host = !host.is_empty() && (is_bracketed || !host.contains([':', '[', ']']));
    let is_plain = !host.contains(|c: char| c.is_whitespace() || c == '/' || c == ',');
    (is_host && is_plain).then(|| HostPort::new(host, port))
}

fn credentials_of(text: &str, protocol: ProxyProtocol) -> Result<Credentials, ParseError> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    if password == HIDDEN {
        return Err(ParseError::new("the password is *** here, because reports hide it")
            .with_remedy("write the password, or give the whole URL in ECHO_TESTER_VIA"));
    }
    let credentials = Credentials { user: decoded(user)?, password: decoded(password)? };
    let longest = credentials.user.len().max(credentials.password.len());
    match protocol {
        _ if longest > MAX_CREDENTIAL => Err(ParseError::new(format!("a user name or a password has {longest} bytes"))
            .with_remedy(format!("write at most {MAX_CREDENTIAL}"))),
        ProxyProtocol::Socks4a if !credentials.password.is_empty() => {
            Err(ParseError::new("SOCKS4a knows a user name and no password")
                .with_remedy("leave the password out, or use socks5://"))
        }
        _ => Ok(credentials),
    }
}

/// A text without its percent-encoding (RFC 3986, 2.1).
fn decoded(text: &str) -> Result<String, ParseError> {
    let wrong = || {
        ParseError::new("a user name or a password has a wrong percent-encoding")
            .with_remedy("write %25 for a %, %40 for an @, %3A for a :, %2C for a comma")
    };
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// A text with the characters encoded that have a meaning in a URL.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A text that was to be a proxy, without all that may be a user and a password. It need not be a URL: the scheme may
/// be forgotten, or the host.
pub fn without_password(text: &str) -> String {
    let (scheme, rest) = split_scheme(text).unwrap_or(("", text));
    let shown = match rest.rsplit_once('@') {
        Some((_, place)) => format!("{HIDDEN}@{place}"),
        None if is_open(rest) => rest.to_owned(),
        None => HIDDEN.to_owned(),
    };
    if rest.len() == text.len() { shown } else { format!("{scheme}://{shown}") }
}

/// The scheme, if it is a word, and the rest.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let is_word = |scheme: &str| scheme.chars().all(|c| c.is_ascii_alphanumeric());
    text.split_once("://").filter(|(scheme, _)| is_word(scheme))
}

/// Whether a text without an @ can't be a user and a password: it has no colon, or what follows it is a port.
fn is_open(text: &str) -> bool {
    let is_port = |port: &str| port.len() <= 5 && port.chars().all(|c| c.is_ascii_digit());
    text.split_once(':').is_none_or(|(_, port)| is_port(port.trim_end_matches('/')))
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.protocol.scheme())?;
        if let Some(Credentials { user, password }) = &self.credentials {
            let password = if password.is_empty() { String::new() } else { format!(":{HIDDEN}") };
            write!(f, "{}{password}@", encoded(user))?;
        }
        self.at.fmt(f)
    }
}

impl TextForm for ProxyUrl {
    const WHAT: &'static str = "a proxy such as";

    fn forms() -> Vec<Form> {
        let url = r"(socks5h?|socks4a|http)://([^\s,@]*@)?[^\s,@/]+:[0-9]+/?";
        [
            Form::new("socks5://127.0.0.1:1080", url),
            Form::new("socks5h://user:password@proxy.example:1080", url).meaning("the proxy resolves the name"),
            Form::new("socks4a://127.0.0.1:1080", url),
            Form::new("http://127.0.0.1:8080", url).meaning("CONNECT"),
        ]
        .into()
    }
}

text_form!(ProxyUrl);

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ProxyUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_proxy_is_written_as_it_is_read_but_for_its_password() {
        for text in ["socks5://127.0.0.1:1080", "socks5h://a.example:1", "socks4a://joe@[::1]:9", "http://h:8080"] {
            assert_eq!(url(text).to_string(), text);
        }
        let with_password = url("socks5://joe:p%40ss%3A%2C@127.0.0.1:1080/");
        assert_eq!(with_password.to_string(), "socks5://joe:***@127.0.0.1:1080");
        let credentials = with_password.credentials.clone().expect("it has a user");
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("joe", "p@ss:,"));
        assert_eq!(url("http://a%40b:x@h:1").to_string(), "http://a%40b:***@h:1");
        assert!(!format!("{with_password:?}").contains("p@ss"), "{with_password:?}");
        assert_eq!(with_password.short(), "socks5 127.0.0.1:1080");
    }

    #[test]
    fn a_wrong_proxy_is_refused_with_what_to_write_and_without_its_password() {
        let refusal = |text: &str| text.parse::<ProxyUrl>().expect_err(text).to_string();
        assert!(refusal("127.0.0.1:1080").starts_with("127.0.0.1:1080 is not a proxy: write socks5://127.0.0.1:1080"));
        assert!(refusal("ftp://h:1").starts_with("ftp is not a kind of proxy: write socks5://"));
        assert!(refusal("http://h").ends_with("write http://h:8080, an IPv6 address in brackets"));
        assert!(refusal("socks5://:1080").contains("write socks5://127.0.0.1:1080"));
        assert!(refusal("socks5://h:0").contains("write socks5://h:1080"));
        assert!(refusal("socks5://::1:1080").contains("in brackets"));
        assert!(refusal("socks5://u:***@h:1080").contains("ECHO_TESTER_VIA"));
        assert!(refusal("socks4a://u:p@h:1080").contains("no password"));
        assert!(refusal("socks5://u:%4@h:1080").contains("percent-encoding"));
        for text in [
            "u:secret@h:1",
            "socks5//u:secret@h:1",
            "socks5://u:secret@h",
            "socks5://u:secret",
            "u:secret",
            "u:s@secret@h",
            "u:secret@h://",
            "socks5://u:secret:1",
        ] {
            assert!(!refusal(text).contains("secret"), "{}", refusal(text));
            assert!(!without_password(text).contains("secret"), "{}", without_password(text));
        }
        assert_eq!(without_password("socks5://u:secret@h:1"), "socks5://***@h:1");
        assert_eq!(without_password("h:70000"), "h:70000");
        let long = "x".repeat(256);
        assert!(refusal(&format!("socks5://{long}@h:1")).contains("at most 255"));
    }
}
