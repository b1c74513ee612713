//! Where a bundled server listens: an address, the path of a Unix domain socket, or a port of vsock.

use std::fmt;
use std::str::FromStr;

use super::listen_address::ListenAddress;
use crate::transport::Endpoint;
use crate::units::ParseError;
use crate::units::text::{Form, TextForm, text_form};

/// An address to listen on, `unix:/path`, `vsock:PORT` or `vsock:CID:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenPlace(pub Endpoint);

impl FromStr for ListenPlace {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match Endpoint::named(text.trim()) {
            Some(endpoint) => endpoint.map(ListenPlace).map_err(ParseError::new),
            None => text.parse().map(|ListenAddress(address)| ListenPlace(address.into())),
        }
    }
}

impl fmt::Display for ListenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TextForm for ListenPlace {
    const WHAT: &'static str = ListenAddress::WHAT;

    fn forms() -> Vec<Form> {
        ListenAddress::forms()
    }
}

text_form!(ListenPlace);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_a_path() {
        let shown = |text: &str| text.parse::<ListenPlace>().map(|place| place.to_string());
        assert_eq!(shown("7000"), Ok("127.0.0.1:7000".to_owned()));
        assert!(shown("example.com:80").is_err_and(|error| error.to_string().contains("write 127.0.0.1:7777")));
        #[cfg(unix)]
        assert_eq!(shown("unix:/run/echo.sock"), Ok("unix:/run/echo.sock".to_owned()));
        #[cfg(target_os = "linux")]
        assert_eq!(shown("vsock:local:7000"), Ok("vsock:1:7000".to_owned()));
        assert!(shown("unix:").is_err_and(|error| error.to_string().contains("write unix:/run/echo.sock")));
    }
}
