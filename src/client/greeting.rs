//! The first bytes of a server that speaks first, where both ends are ours.
//!
//! A server that waits for nothing can't know whose connection it has accepted. So it numbers the connections, and
//! sends the number first: two words of a stream of their own, which says nothing else. Whoever receives them is the
//! client's half of that connection. From then on both halves send and verify their own streams, so a proxy that mixes
//! up connections is found: the bytes of one way are not those of the half that the greeting of the other way named.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Mutex;

use mio::net::TcpStream;

use super::intake::FirstWords;
use super::recognition::{candidates, damaged_candidates};
use crate::stream::{ConnId, Divergence, FindingKind, Stream};
use crate::sync::lock;

/// The most connections that wait for their clients. With more, the oldest is closed: a proxy opens some in reserve.
const MOST_WAITING: usize = 10_000;

/// The connections that were greeted, and the numbers in their greetings.
pub(super) struct Greetings {
    stream: Stream,
    accepted: Mutex<Accepted>,
}

#[derive(Default)]
struct Accepted {
    /// The number of the next one.
    next: u32,
    /// Those that no client has claimed, and where they came from.
    waiting: BTreeMap<ConnId, (TcpStream, Option<IpAddr>)>,
}

/// What a greeting says.
#[derive(Debug)]
pub(super) enum Greeted {
    /// It names this connection, which is now the client's, and came from there.
    Own(TcpStream, Option<IpAddr>),
    /// It names one that another client has, or that is closed.
    Taken,
    /// It is none of this run.
    Unknown,
}

impl Greetings {
    /// Greetings under this seed.
    pub(super) fn new(seed: u64) -> Greetings {
        Greetings { stream: Stream::new(seed), accepted: Mutex::default() }
    }

    /// Greets a connection that came from this address, and keeps it until its client claims it.
    ///
    /// # Errors
    /// It is gone already.
    pub(super) fn greet(&self, mut stream: TcpStream, from: Option<IpAddr>) -> io::Result<()> {
        let mut accepted = lock(&self.accepted);
        let number = ConnId::new(accepted.next).ok_or(io::ErrorKind::OutOfMemory)?;
        accepted.next = accepted.next.wrapping_add(1);
        let mut greeting = FirstWords::default();
        self.stream.fill(number, 0, &mut greeting);
        // Under the lock, so that it waits there when its client has the greeting. A new socket has room for it.
        if stream.write(&greeting)? < greeting.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        accepted.waiting.insert(number, (stream, from));
        if accepted.waiting.len() > MOST_WAITING {
            accepted.waiting.pop_first();
        }
        Ok(())
    }

    /// A client has received this greeting.
    pub(super) fn claim(&self, greeting: &FirstWords) -> Greeted {
        let named: Vec<ConnId> = candidates(&self.stream, greeting).into_iter().flatten().collect();
        let mut accepted = lock(&self.accepted);
        match named.iter().find_map(|number| accepted.waiting.remove(number)) {
            Some((stream, from)) => Greeted::Own(stream, from),
            None if named.iter().any(|number| number.get() < accepted.next) => Greeted::Taken,
            None => Greeted::Unknown,
        }
    }

    /// What was done on the way to a greeting that names no connection, as far as what is left of it says which one it
    /// was. `conn`: whose client has received it.
    pub(super) fn damage(&self, conn: ConnId, greeting: &FirstWords) -> Divergence {
        let all = greeting.len();
        let changed = Divergence::of_connection(FindingKind::Corrupt, conn, 0, all as u64);
        let changed = Divergence { received: greeting.to_vec(), ..changed };
        let waiting = &lock(&self.accepted).waiting;
        let named = damaged_candidates(&self.stream, greeting).find(|number| waiting.contains_key(number));
        let Some(number) = named else { return changed };
        let mut own = FirstWords::default();
        self.stream.fill(number, 0, &mut own);
        // Of fewer than eight bytes, some are equal by chance.
        let lost = (1..=all - 8).find(|n| own[*n..] == greeting[..all - n]);
        let inserted = (1..=all - 8).find(|n| own[..all - n] == greeting[*n..]);
        let differs = |index: &usize| own[*index] != greeting[*index];
        let first = (0..all).find(differs).unwrap_or(0);
        let last = (0..all).rfind(differs).unwrap_or(0);
        let (kind, offset, extent) = match (lost, inserted) {
            (Some(n), _) => (FindingKind::Lost, 0, n),
            (_, Some(n)) => (FindingKind::Surplus, 0, n),
            _ => (FindingKind::Corrupt, first, last + 1 - first),
        };
        let expected = own.to_vec();
        Divergence { kind, offset: offset as u64, extent: extent as u64, expected, ..changed }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream as StdStream};

    use super::*;

    /// A connection that was greeted, as its client has it, and the greeting.
    fn greeted(greetings: &Greetings) -> (StdStream, FirstWords) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let mut client = StdStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (server, _) = listener.accept().expect("the client has connected");
        server.set_nonblocking(true).expect("it is a socket");
        greetings.greet(TcpStream::from_std(server), None).expect("the socket has room");
        let mut greeting = FirstWords::default();
        client.read_exact(&mut greeting).expect("the greeting comes");
        (client, greeting)
    }

    #[test]
    fn a_greeting_names_one_connection_and_only_once() {
        let greetings = Greetings::new(5);
        let (first, second) = (greeted(&greetings), greeted(&greetings));
        for (client, greeting) in [second, first] {
            let Greeted::Own(own, _) = greetings.claim(&greeting) else { panic!("it is a greeting of this run") };
            let (own, client) = (own.peer_addr().ok(), client.local_addr().ok());
            assert_eq!(own, client);
            assert!(matches!(greetings.claim(&greeting), Greeted::Taken));
        }
        assert!(matches!(greetings.claim(b"220 mail ESMTP\r\n"), Greeted::Unknown));
        let (_client, of_another_run) = greeted(&Greetings::new(6));
        assert!(matches!(greetings.claim(&of_another_run), Greeted::Unknown));
    }
}
