//! Where a socket connects to, or listens: an address of TCP, or the path of a Unix domain socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The longest path of a Unix domain socket that every system takes (unix(7), sun_path).
const MAX_UNIX_PATH: usize = 103;

/// Where a socket connects to, or listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address of TCP.
    Tcp(SocketAddr),
    /// The path of a Unix domain socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// How the text of a Unix domain socket begins.
    pub const UNIX: &'static str = "unix:";

    /// The endpoint that a text such as `unix:/run/echo.sock` stands for. `None`: the text begins otherwise, as an
    /// address does.
    ///
    /// # Errors
    /// What is wrong with the text, and what to write.
    pub fn named(text: &str) -> Option<Result<Endpoint, String>> {
        let path = text.strip_prefix(Endpoint::UNIX)?;
        Some(match path {
            "" => Err("it has no path: write unix:/run/echo.sock".to_owned()),
            _ if !cfg!(unix) => Err("Unix domain sockets are used on Unix only: write an address of TCP".to_owned()),
            path if path.len() > MAX_UNIX_PATH => {
                Err(format!("its path has more than {MAX_UNIX_PATH} bytes: use a shorter one"))
            }
            path => Ok(Endpoint::Unix(path.into())),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "{}{}", Endpoint::UNIX, path.display()),
        }
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Endpoint {
    fn from(address: (I, u16)) -> Endpoint {
        Endpoint::Tcp(address.into())
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint::Tcp(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_name_and_a_path_has_a_length() {
        assert_eq!(Endpoint::named("127.0.0.1:7777"), None);
        let error = |text: &str| Endpoint::named(text).and_then(Result::err).expect("it is no endpoint");
        assert!(error("unix:").contains("write unix:/run/echo.sock"));
        #[cfg(unix)]
        {
            assert_eq!(Endpoint::named("unix:a b"), Some(Ok(Endpoint::Unix("a b".into()))));
            assert!(error(&format!("unix:{}", "x".repeat(104))).contains("more than 103 bytes"));
        }
        #[cfg(not(unix))]
        assert!(error("unix:a").contains("on Unix only"));
    }
}
