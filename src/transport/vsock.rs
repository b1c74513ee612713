//! Sockets between a virtual machine and its host: `vsock:CID:PORT`. The CID is the number of a machine, and the host
//! gives it; no network is needed between the two.
//!
//! Source: vsock(7), linux/vm_sockets.h.

use std::io;

use socket2::{SockAddr, Socket};

/// How the text of such an endpoint begins.
pub(super) const PREFIX: &str = "vsock:";
/// Every CID of this machine (VMADDR_CID_ANY): only a listener has it.
pub(super) const ANY_CID: u32 = u32::MAX;
/// The CID of this machine for itself (VMADDR_CID_LOCAL).
const LOCAL_CID: u32 = 1;
/// Any free port, for bind (VMADDR_PORT_ANY). In texts it is 0, as for TCP.
const ANY_PORT: u32 = u32::MAX;
/// The CIDs that have words.
const WORDS: [(&str, u32); 2] = [("local", LOCAL_CID), ("host", 2)];

/// The CID, if there is one, and the port of what stands behind the prefix.
///
/// # Errors
/// What is wrong with the text, and what to write.
pub(super) fn parse(text: &str) -> Result<(Option<u32>, u32), String> {
    if !cfg!(target_os = "linux") {
        return Err("vsock is used on Linux only: write an address of TCP".to_owned());
    }
    let (cid, port) = match text.rsplit_once(':') {
        Some((cid, port)) => (Some(parse_cid(cid, port)?), port),
        None => (None, text),
    };
    match port.parse::<u32>() {
        _ if port.is_empty() => Err("it has no port: write vsock:local:7777".to_owned()),
        Ok(number) if number != ANY_PORT && port.bytes().all(|byte| byte.is_ascii_digit()) => Ok((cid, number)),
        _ => Err(format!("{port} is not a port of vsock: they go from 1 to {}", ANY_PORT - 1)),
    }
}

fn parse_cid(text: &str, port: &str) -> Result<u32, String> {
    let word = WORDS.iter().find(|(word, _)| *word == text).map(|(_, cid)| *cid);
    let number = || text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    word.or_else(number).ok_or_else(|| {
        format!("'{text}' is not a CID: write the number of a guest, local or host, such as vsock:local:{port}")
    })
}

/// A socket, not connected, and the address of this CID and port.
///
/// # Errors
/// The system's, with what to do; always where there is no vsock.
#[cfg(target_os = "linux")]
pub(super) fn socket(cid: u32, port: u32) -> io::Result<(Socket, SockAddr)> {
    use socket2::{Domain, Type};

    let socket = Socket::new(Domain::VSOCK, Type::STREAM, None).map_err(|error| explained(cid, error))?;
    let port = if port == 0 { ANY_PORT } else { port };
    Ok((socket, SockAddr::vsock(cid, port)))
}

/// A socket, not connected, and the address of this CID and port.
///
/// # Errors
/// Always: there is no vsock.
#[cfg(not(target_os = "linux"))]
pub(super) fn socket(_cid: u32, _port: u32) -> io::Result<(Socket, SockAddr)> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The port of a socket, which bind has perhaps chosen. `None`: it is no vsock socket.
pub(super) fn bound_port(socket: &Socket) -> Option<u32> {
    #[cfg(target_os = "linux")]
    return socket.local_addr().ok()?.as_vsock_address().map(|(_, port)| port);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        None
    }
}

/// The error of a socket, a bind or a connect, with what to do where the system's words say nothing of that.
pub(super) fn explained(cid: u32, error: io::Error) -> io::Error {
    match error.raw_os_error().and_then(|code| remedy(cid, code)) {
        Some(remedy) => io::Error::other(format!("{error}: {remedy}")),
        None => error,
    }
}

#[cfg(target_os = "linux")]
fn remedy(cid: u32, code: i32) -> Option<&'static str> {
    match (cid, code) {
        (_, libc::EAFNOSUPPORT) => Some("this kernel has no vsock: load it: modprobe vsock"),
        (LOCAL_CID, libc::ENODEV | libc::EADDRNOTAVAIL) => {
            Some("CID 1 is this machine to itself, and its module is missing: load it: modprobe vsock_loopback")
        }
        (_, libc::EADDRNOTAVAIL) => Some("it is not the CID of this machine: leave the CID out to serve all it has"),
        (_, libc::ENODEV) => Some(
            "no way leads to this CID: a guest needs a vsock device to reach its host, which is CID 2, and the host \
             needs vhost_vsock to reach a guest that runs: load it: modprobe vhost_vsock",
        ),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn remedy(_cid: u32, _code: i32) -> Option<&'static str> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_vsock_says_what_to_do() {
        let told = |cid, code| explained(cid, io::Error::from_raw_os_error(code)).to_string();
        for (cid, code, words) in [
            (3, libc::EAFNOSUPPORT, "(os error 97): this kernel has no vsock: load it: modprobe vsock"),
            (1, libc::EADDRNOTAVAIL, "load it: modprobe vsock_loopback"),
            (1, libc::ENODEV, "load it: modprobe vsock_loopback"),
            (5, libc::EADDRNOTAVAIL, "leave the CID out"),
            (3, libc::ENODEV, "modprobe vhost_vsock"),
        ] {
            assert!(told(cid, code).contains(words), "{}", told(cid, code));
        }
        assert_eq!(told(3, libc::ECONNRESET), io::Error::from_raw_os_error(libc::ECONNRESET).to_string());
    }

    #[test]
    fn this_kernel_makes_a_listener_or_says_what_it_lacks() {
        let made = socket(ANY_CID, 0).and_then(|(socket, address)| socket.bind(&address).map(|()| socket));
        match made {
            Ok(socket) => assert!(bound_port(&socket).is_some_and(|port| port != 0 && port != ANY_PORT)),
            Err(error) => assert!(error.to_string().contains("modprobe vsock"), "{error}"),
        }
    }
}
