//! Proxies for tests: small ones that run in the test, and programs of the system.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What a proxy of a test speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speaks {
    /// SOCKS5 without a user.
    Socks5,
    /// SOCKS5 with the user `joe` and the password `s3cret@`.
    Socks5User,
    /// SOCKS4a.
    Socks4a,
    /// HTTP CONNECT.
    Http,
}

/// A proxy of a test: it relays both directions, and each FIN for itself. Names are those of this machine.
pub(crate) struct TestProxy {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl TestProxy {
    /// A proxy that runs until the test ends.
    pub(crate) fn start(speaks: Speaks) -> TestProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let counted = Arc::clone(&counted);
                thread::spawn(move || {
                    if serve(client, speaks).is_some() {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        TestProxy { address, connections }
    }

    /// How many connections it has relayed to their ends.
    pub(crate) fn relayed(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Serves one client to its end; `None`: it was refused, or did not follow the protocol.
fn serve(mut client: TcpStream, speaks: Speaks) -> Option<()> {
    client.set_nodelay(true).ok()?;
    let server = match speaks {
        Speaks::Socks5 => socks5(&mut client, None)?,
        Speaks::Socks5User => socks5(&mut client, Some(b"\x01\x03joe\x07s3cret@"))?,
        Speaks::Socks4a => socks4a(&mut client)?,
        Speaks::Http => http(&mut client)?,
    };
    let (from_client, to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let up = thread::spawn(move || relay(from_client, to_server));
    relay(server, client);
    up.join().ok()
}

fn relay(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn exactly<const N: usize>(client: &mut TcpStream) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).ok().map(|()| bytes)
}

fn many(client: &mut TcpStream, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).ok().map(|()| bytes)
}

/// Bytes up to and without this end.
fn until(client: &mut TcpStream, end: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        bytes.extend(exactly::<1>(client)?);
    }
    bytes.truncate(bytes.len() - end.len());
    Some(bytes)
}

/// Every name is one of this machine, so that a client that resolves it itself fails.
fn connect(port: u16) -> Option<TcpStream> {
    let server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    server.set_nodelay(true).ok()?;
    Some(server)
}

fn socks5(client: &mut TcpStream, user: Option<&[u8]>) -> Option<TcpStream> {
    let [5, methods] = exactly::<2>(client)? else { return None };
    let offered = many(client, usize::from(methods))?;
    let wanted = if user.is_some() { 2 } else { 0 };
    if !offered.contains(&wanted) {
        client.write_all(&[5, 0xff]).ok()?;
        return None;
    }
    client.write_all(&[5, wanted]).ok()?;
    if let Some(user) = user {
        let [version, length] = exactly::<2>(client)?;
        let name = many(client, usize::from(length))?;
        let [length_of_password] = exactly::<1>(client)?;
        let password = many(client, usize::from(length_of_password))?;
        let came = [&[version, length][..], &name, &[length_of_password], &password].concat();
        client.write_all(&[1, u8::from(came != user)]).ok()?;
        if came != user {
            return None;
        }
    }
    let [5, 1, 0, kind] = exactly::<4>(client)? else { return None };
    let host = match kind {
        1 => 4,
        3 => usize::from(exactly::<1>(client)?[0]),
        _ => 16,
    };
    many(client, host)?;
    let port = u16::from_be_bytes(exactly::<2>(client)?);
    let server = connect(port);
    let reply = if server.is_some() { 0 } else { 5 };
    // The longest form of an answer, in two pieces.
    client.write_all(&[5, reply, 0, 3, 4]).ok()?;
    client.write_all(b"name\0\0").ok()?;
    server
}

fn socks4a(client: &mut TcpStream) -> Option<TcpStream> {
    let [4, 1, high, low, a, b, c, _] = exactly::<8>(client)? else { return None };
    until(client, b"\0")?;
    if [a, b, c] == [0; 3] {
        until(client, b"\0")?;
    }
    let server = connect(u16::from_be_bytes([high, low]));
    client.write_all(&[0, if server.is_some() { 90 } else { 91 }, 0, 0, 0, 0, 0, 0]).ok()?;
    server
}

fn http(client: &mut TcpStream) -> Option<TcpStream> {
    let header = String::from_utf8(until(client, b"\r\n\r\n")?).ok()?;
    let target = header.strip_prefix("CONNECT ")?.split(' ').next()?;
    let server = connect(target.rsplit_once(':')?.1.parse().ok()?);
    let answer = match server {
        Some(_) => "HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n",
        None => "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    };
    client.write_all(answer.as_bytes()).ok()?;
    server
}

/// A program of the system, which ends with the test.
pub(crate) struct SystemProgram(Child);

impl SystemProgram {
    /// Starts it; `None`, with a word about it: it is not installed.
    #[expect(clippy::print_stderr, reason = "the output shows that the program was not tested")]
    pub(crate) fn start(name: &str, args: &[&str]) -> Option<SystemProgram> {
        let mut command = Command::new(name);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Some(SystemProgram(child)),
            Err(error) => {
                eprintln!("skipped: {name} can't be started ({error}): install it to run this test");
                None
            }
        }
    }
}

impl Drop for SystemProgram {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("the listener is bound").port()
}
