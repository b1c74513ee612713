//! Echo with mio: one Poll, and a buffer for each connection.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const SERVER: Token = Token(0);

struct Client {
    stream: TcpStream,
    waiting: Vec<u8>,
}

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap();
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(256);
    let mut server = TcpListener::bind(format!("127.0.0.1:{port}").parse().unwrap())?;
    poll.registry().register(&mut server, SERVER, Interest::READABLE)?;
    let mut clients = HashMap::new();
    let mut next = 1;
    loop {
        poll.poll(&mut events, None)?;
        for event in events.iter() {
            if event.token() != SERVER {
                let client: &mut Client = clients.get_mut(&event.token()).unwrap();
                if !serve(client) {
                    clients.remove(&event.token());
                }
                continue;
            }
            while let Ok((mut stream, _)) = server.accept() {
                let token = Token(next);
                next += 1;
                poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
                clients.insert(token, Client { stream, waiting: Vec::new() });
            }
        }
    }
}

/// Reads and writes until either would block. False: the connection is over.
fn serve(client: &mut Client) -> bool {
    let mut buffer = [0; 16384];
    loop {
        while !client.waiting.is_empty() {
            match client.stream.write(&client.waiting) {
                Ok(sent) => drop(client.waiting.drain(..sent)),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        match client.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => client.waiting.extend_from_slice(&buffer[..count]),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}
