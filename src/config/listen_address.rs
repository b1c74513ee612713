//! The address that a bundled server listens on.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::defaults::DEFAULT_PORT;
use super::zone::{self, ZonedIp};
use crate::units::ParseError;
use crate::units::text::{Form, TextForm, remedy, text_form};

/// An address to listen on: `127.0.0.1:7777`, `[::1]:0`, `localhost:7777`, or a port alone, which means 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

impl FromStr for ListenAddress {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            zone::check(address)?;
            return Ok(ListenAddress(address));
        }
        let without_port = |with_port: String| {
            Err(ParseError::new(format!("{text} has no port")).with_remedy(format!("did you mean {with_port}?")))
        };
        let with_default_port = |ip: &str| format!("[{ip}]:{DEFAULT_PORT}");
        if let (address, Some(port)) = zone::without_brackets(text) {
            return Err(ParseError::new("an IPv6 address needs brackets")
                .with_remedy(format!("did you mean [{address}]:{port}?")));
        }
        if let Some(ip) = ZonedIp::parse(text.trim_matches(['[', ']']), with_default_port) {
            return without_port(ip?.written_with_port(DEFAULT_PORT));
        }
        if text == "localhost" {
            return without_port(format!("{text}:{DEFAULT_PORT}"));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let is_own = matches!(host, "" | "localhost");
        let ip = ZonedIp::parse(host.trim_matches(['[', ']']), |ip| format!("[{ip}]:{port}")).transpose()?;
        match (port.parse::<u16>(), ip) {
            // The standard library knows zones only as numbers.
            (Ok(port), Some(ip)) if ip.zone.is_some() && host.starts_with('[') && host.ends_with(']') => {
                Ok(ListenAddress(ip.with_port(port)))
            }
            (Ok(port), _) if is_own => Ok(ListenAddress((Ipv4Addr::LOCALHOST, port).into())),
            (Err(_), ip) if is_own || ip.is_some() => {
                Err(ParseError::new(format!("'{port}' is not a port")).with_remedy("write a number up to 65535"))
            }
            _ => Err(ParseError::new(format!("{text} is not an address of this machine"))
                .with_remedy(remedy::<ListenAddress>())),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TextForm for ListenAddress {
    const WHAT: &'static str = "an address to listen on such as";

    fn forms() -> Vec<Form> {
        let pattern = r"([0-9.]+:|\[[0-9a-fA-F:.]+(%[^\]\s]+)?\]:|localhost:|:)?\+?[0-9]+";
        vec![
            Form::new("127.0.0.1:7777", pattern),
            Form::new("[::1]:7777", pattern),
            Form::new("0.0.0.0:7777", pattern).meaning("every IPv4 address of this machine"),
        ]
    }
}

text_form!(ListenAddress);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::text::checks;
    use proptest::prelude::*;

    #[test]
    fn an_address_has_a_port_and_belongs_to_this_machine() {
        for (text, address) in [("7000", "127.0.0.1:7000"), (":0", "127.0.0.1:0"), ("localhost:1", "127.0.0.1:1")] {
            assert_eq!(text.parse::<ListenAddress>().map(|address| address.to_string()), Ok(address.to_owned()));
        }
        let by_number = "[fe80::1%1]:80".parse::<ListenAddress>();
        assert_eq!(by_number.as_ref().map(ToString::to_string), Ok("[fe80::1%1]:80".to_owned()));
        #[cfg(target_os = "linux")]
        assert_eq!("[fe80::1%lo]:80".parse::<ListenAddress>(), by_number);
        for (text, part) in [
            ("127.0.0.1", "127.0.0.1 has no port: did you mean 127.0.0.1:7777?"),
            ("::1", "did you mean [::1]:7777?"),
            ("127.0.0.1:70000", "'70000' is not a port: write a number up to 65535"),
            ("[::1]:70000", "'70000' is not a port"),
            ("localhost:x", "'x' is not a port"),
            ("70000", "up to 65535"),
            ("localhost", "did you mean localhost:7777?"),
            ("[127.0.0.1]:80", "is not an address of this machine"),
            ("example.com:80", "write 127.0.0.1:7777"),
            ("[fe80::1]:80", "fe80::1 is a link-local address, which needs its zone"),
            ("[fe80::1%nosuch]:80", "this machine has no interface 'nosuch'"),
            ("[fe80::1%7]", "did you mean [fe80::1%7]:7777?"),
            ("[fe80::1%7]:x", "'x' is not a port"),
            ("::1:5000", "an IPv6 address needs brackets: did you mean [::1]:5000?"),
            ("fe80::1%7:80", "did you mean [fe80::1%7]:80?"),
        ] {
            let error = text.parse::<ListenAddress>().expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_examples_of_the_schema_are_true() {
        checks::examples_are_valid::<ListenAddress>();
    }

    proptest! {
        #[test]
        fn any_text_is_accepted_as_the_schema_says_or_refused_in_words(text in checks::texts()) {
            checks::any_text_is_handled::<ListenAddress>(&text);
        }
    }
}
