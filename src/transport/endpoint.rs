//! Where a socket connects to, or listens: an address of TCP, the path of a Unix domain socket, or a port of vsock.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use socket2::{Domain, SockAddr, Socket, Type};

use super::socket_kind::SocketKind;
use super::vsock;

/// The longest path of a Unix domain socket that every system takes (unix(7), sun_path).
const MAX_UNIX_PATH: usize = 103;
/// How the text of a Unix domain socket begins.
const UNIX_PREFIX: &str = "unix:";

/// Where a socket connects to, or listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address of TCP.
    Tcp(SocketAddr),
    /// The path of a Unix domain socket.
    Unix(PathBuf),
    /// A port of a virtual machine or of its host.
    Vsock {
        /// The machine.
        cid: u32,
        /// The port; 0 for a listener: any free one.
        port: u32,
    },
}

impl Endpoint {
    /// The endpoint to listen at that a text such as `unix:/run/echo.sock` or `vsock:7777` stands for. `None`: the text
    /// begins otherwise, as an address does.
    ///
    /// # Errors
    /// What is wrong with the text, and what to write.
    pub fn named(text: &str) -> Option<Result<Endpoint, String>> {
        if let Some(text) = text.strip_prefix(vsock::PREFIX) {
            let of = |(cid, port): (Option<u32>, u32)| Endpoint::Vsock { cid: cid.unwrap_or(vsock::ANY_CID), port };
            return Some(vsock::parse(text).map(of));
        }
        let path = text.strip_prefix(UNIX_PREFIX)?;
        Some(match path {
            "" => Err("it has no path: write unix:/run/echo.sock".to_owned()),
            _ if !cfg!(unix) => Err("Unix domain sockets are used on Unix only: write an address of TCP".to_owned()),
            path if path.len() > MAX_UNIX_PATH => {
                Err(format!("its path has more than {MAX_UNIX_PATH} bytes: use a shorter one"))
            }
            path => Ok(Endpoint::Unix(path.into())),
        })
    }

    /// The same for a target: it needs all that a listener may leave out.
    ///
    /// # Errors
    /// As [`named`](Self::named).
    pub fn named_target(text: &str) -> Option<Result<Endpoint, String>> {
        Some(match Endpoint::named(text)? {
            Ok(Endpoint::Vsock { cid: vsock::ANY_CID, port }) => {
                Err(format!("it has no CID: write vsock:local:{port}, vsock:host:{port}, or the number of a guest"))
            }
            Ok(Endpoint::Vsock { port: 0, .. }) => {
                Err("0 is not a port to connect to: write vsock:local:7777".to_owned())
            }
            named => named,
        })
    }

    /// What kind of socket it has.
    pub fn kind(&self) -> SocketKind {
        match self {
            Endpoint::Tcp(_) => SocketKind::Tcp,
            Endpoint::Unix(_) => SocketKind::Unix,
            Endpoint::Vsock { .. } => SocketKind::Vsock,
        }
    }

    /// A socket of its kind without any option, and its address for connect or bind.
    ///
    /// # Errors
    /// The system's.
    pub fn socket(&self) -> io::Result<(Socket, SockAddr)> {
        match self {
            Endpoint::Tcp(address) => {
                Ok((Socket::new(Domain::for_address(*address), Type::STREAM, None)?, SockAddr::from(*address)))
            }
            Endpoint::Unix(path) => Ok((Socket::new(Domain::UNIX, Type::STREAM, None)?, SockAddr::unix(path)?)),
            Endpoint::Vsock { cid, port } => vsock::socket(*cid, *port),
        }
    }

    /// The endpoint of a listener that was bound here: a port that the system has chosen is known now.
    pub fn bound(&self, listener: &Socket) -> Endpoint {
        match self {
            Endpoint::Vsock { cid, port } => {
                Endpoint::Vsock { cid: *cid, port: vsock::bound_port(listener).unwrap_or(*port) }
            }
            other => other.clone(),
        }
    }

    /// The error of a bind or a connect here, with what to do where the system's words say nothing of that.
    pub fn explained(&self, error: io::Error) -> io::Error {
        match self {
            Endpoint::Vsock { cid, .. } => vsock::explained(*cid, error),
            _ => error,
        }
    }
}

/// The kind of socket of a target as it is written.
impl SocketKind {
    /// What this text begins as.
    pub fn of_target(text: &str) -> SocketKind {
        match text {
            text if text.starts_with(UNIX_PREFIX) => SocketKind::Unix,
            text if text.starts_with(vsock::PREFIX) => SocketKind::Vsock,
            _ => SocketKind::Tcp,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "{UNIX_PREFIX}{}", path.display()),
            Endpoint::Vsock { cid: vsock::ANY_CID, port } => write!(f, "{}{port}", vsock::PREFIX),
            Endpoint::Vsock { cid, port } => write!(f, "{}{cid}:{port}", vsock::PREFIX),
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

    fn error(text: &str) -> String {
        Endpoint::named_target(text).and_then(Result::err).expect("it is no endpoint")
    }

    #[test]
    fn an_address_has_no_name_and_a_path_has_a_length() {
        assert_eq!(Endpoint::named("127.0.0.1:7777"), None);
        assert!(error("unix:").contains("write unix:/run/echo.sock"));
        #[cfg(unix)]
        {
            assert_eq!(Endpoint::named("unix:a b"), Some(Ok(Endpoint::Unix("a b".into()))));
            assert!(error(&format!("unix:{}", "x".repeat(104))).contains("more than 103 bytes"));
        }
        #[cfg(not(unix))]
        assert!(error("unix:a").contains("on Unix only"));
    }

    #[test]
    #[cfg(not(target_os = "linux"))]
    fn vsock_is_refused_where_there_is_none() {
        assert!(error("vsock:local:7777").contains("on Linux only"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_port_of_vsock_has_a_machine_and_a_listener_may_leave_it_out() {
        let shown = |text: &str| Endpoint::named(text).and_then(Result::ok).map(|endpoint| endpoint.to_string());
        for (text, expected) in [
            ("vsock:7777", "vsock:7777"),
            ("vsock:4294967295:7777", "vsock:7777"),
            ("vsock:local:0", "vsock:1:0"),
            ("vsock:host:80", "vsock:2:80"),
            ("vsock:3:4294967294", "vsock:3:4294967294"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected));
        }
        for (text, words) in [
            ("vsock:7777", "it has no CID: write vsock:local:7777"),
            ("vsock:local:0", "0 is not a port to connect to"),
            ("vsock:3:4294967295", "they go from 1 to 4294967294"),
            ("vsock:3:+7", "+7 is not a port of vsock"),
            ("vsock:", "it has no port: write vsock:local:7777"),
            ("vsock:guest:80", "'guest' is not a CID: write the number of a guest, local or host"),
            ("vsock:+3:80", "'+3' is not a CID"),
            ("vsock::80", "'' is not a CID"),
        ] {
            assert!(error(text).contains(words), "{text}: {}", error(text));
        }
        let target = Endpoint::named_target("vsock:local:7777");
        assert_eq!(target, Some(Ok(Endpoint::Vsock { cid: 1, port: 7777 })));
        assert_eq!(SocketKind::of_target("vsock:local:7777"), SocketKind::Vsock);
    }
}
