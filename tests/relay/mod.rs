//! Relays of tests: small proxies that run in the test, each with a fault of its own, or none.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// The way that a relay's thread carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

/// What a relay does to the bytes of one way, and with its end.
pub(crate) type Carry = fn(Way, &mut TcpStream, &mut TcpStream) -> io::Result<()>;

/// A relay to this backend. It ends a client whose server refuses.
pub(crate) fn relay(backend: SocketAddr, carry: Carry) -> SocketAddr {
    relay_that(backend, carry, |_| true)
}

/// The same, and what it does with a client whose server refuses; `false`: it ends itself.
pub(crate) fn relay_that(backend: SocketAddr, carry: Carry, refused: fn(TcpStream) -> bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(backend) else {
                if refused(client) {
                    continue;
                }
                return;
            };
            for (way, from, to) in [(Way::Up, &client, &server), (Way::Down, &server, &client)] {
                let (mut from, mut to) =
                    (from.try_clone().expect("there are descriptors"), to.try_clone().expect("there are descriptors"));
                thread::spawn(move || {
                    // An error of a read or a write is a reset: both sides learn of it, as from any other proxy.
                    if carry(way, &mut from, &mut to).is_err() {
                        reset(&from);
                        reset(&to);
                    }
                });
            }
        }
    });
    address
}

fn reset(socket: &TcpStream) {
    let socket = socket2::SockRef::from(socket);
    let _ = socket.set_linger(Some(Duration::ZERO));
    // The other thread holds the socket too, so the reset comes when both have let it go: its read ends at once.
    let _ = socket.shutdown(Shutdown::Both);
}

/// Carries the bytes through `change`, which gets the offset of the first; without the end.
pub(crate) fn bytes(
    from: &mut TcpStream,
    to: &mut TcpStream,
    mut change: impl FnMut(u64, &mut Vec<u8>),
) -> io::Result<()> {
    let (mut offset, mut buffer) = (0, vec![0; 16 << 10]);
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        let mut piece = buffer[..n].to_vec();
        change(offset, &mut piece);
        offset += n as u64;
        to.write_all(&piece)?;
    }
}

pub(crate) fn faithful(_: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    bytes(from, to, |_, _| {})?;
    to.shutdown(Shutdown::Write)
}

/// Drops the bytes from 1000 to 1009.
pub(crate) fn without_ten(offset: u64, piece: &mut Vec<u8>) {
    let begin = 1000u64.saturating_sub(offset).min(piece.len() as u64) as usize;
    let end = 1010u64.saturating_sub(offset).min(piece.len() as u64) as usize;
    piece.drain(begin..end);
}

/// Loses ten bytes on the way to the client, and none on the way to the server.
pub(crate) fn loses_ten_on_the_way_back(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    bytes(from, to, |offset, piece| {
        if way == Way::Down {
            without_ten(offset, piece)
        }
    })?;
    to.shutdown(Shutdown::Write)
}
