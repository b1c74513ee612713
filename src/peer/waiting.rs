//! Connections that were accepted, until their first bytes say which connection they are. A proxy may open one before
//! its client has sent anything, keep some in reserve, or probe its backend: so there may be many, and for long.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::client::{FirstWords, Intake};
use crate::transport::{FirstBytesRead, MOST_HEADER_BYTES, ReceivedHeader, read_proxy_header};

/// The most connections that wait. With more, the oldest is closed.
const MOST_WAITING: usize = 10_000;
/// How long a connection may wait. A client that sends later than this is not recognized.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

/// The connections that wait, by their tokens.
pub(super) struct Waiting {
    intake: Arc<Intake>,
    sockets: HashMap<usize, WaitingSocket>,
    /// When each began to wait, oldest first. Some of them are no longer waiting.
    ages: VecDeque<(Instant, usize)>,
    /// Those whose first bytes are there in part.
    partial: HashSet<usize>,
    next: usize,
}

/// A connection that waits.
struct WaitingSocket {
    stream: TcpStream,
    /// The header of the PROXY protocol that came before its stream.
    header: Option<ReceivedHeader>,
}

/// What has become of a connection that waits.
enum First {
    /// Its first bytes are there.
    Bytes(FirstWords),
    /// They may still come; perhaps some are there.
    Later {
        /// Whether some are there.
        partial: bool,
    },
    /// It has ended before.
    Never,
    /// It begins like a header of the PROXY protocol, and is none.
    BrokenHeader,
}

impl Waiting {
    pub(super) fn new(intake: Arc<Intake>) -> Waiting {
        Waiting { intake, sockets: HashMap::new(), ages: VecDeque::new(), partial: HashSet::new(), next: 0 }
    }

    /// A connection was accepted.
    pub(super) fn add(&mut self, registry: &Registry, mut stream: TcpStream) {
        let place = self.next;
        self.next += 1;
        if registry.register(&mut stream, Token(place), Interest::READABLE).is_err() {
            return self.intake.was_silent();
        }
        self.sockets.insert(place, WaitingSocket { stream, header: None });
        self.ages.push_back((Instant::now(), place));
        while self.sockets.len() > MOST_WAITING {
            self.close_oldest(registry);
        }
    }

    /// Something has happened to this connection; `is_over`: no more will come.
    pub(super) fn look(&mut self, registry: &Registry, place: usize, is_over: bool) {
        let Some(socket) = self.sockets.get_mut(&place) else { return };
        let first = match socket.first_words() {
            First::Later { partial } if !is_over => {
                if partial {
                    self.partial.insert(place);
                }
                return;
            }
            first => first,
        };
        self.partial.remove(&place);
        let Some(WaitingSocket { mut stream, header }) = self.sockets.remove(&place) else { return };
        let _ = registry.deregister(&mut stream);
        match first {
            // What is not taken over is closed here, and counted there.
            First::Bytes(first) => drop(self.intake.offer(&first, stream, header.map(|header| header.source))),
            First::BrokenHeader => self.intake.had_broken_header(),
            First::Later { .. } | First::Never => self.intake.was_silent(),
        }
    }

    /// Whether the first bytes of some are there in part.
    pub(super) fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Looks again at those whose first bytes were there in part.
    pub(super) fn look_at_partial(&mut self, registry: &Registry) {
        let partial: Vec<usize> = self.partial.iter().copied().collect();
        partial.into_iter().for_each(|place| self.look(registry, place, false));
    }

    /// Closes the connections that have waited too long.
    pub(super) fn close_late(&mut self, registry: &Registry) {
        while let Some((since, place)) = self.ages.front().copied() {
            let is_gone = !self.sockets.contains_key(&place);
            if is_gone {
                self.ages.pop_front();
            } else if since.elapsed() >= LONGEST_WAIT {
                self.close_oldest(registry);
            } else {
                return;
            }
        }
    }

    fn close_oldest(&mut self, registry: &Registry) {
        while let Some((_, place)) = self.ages.pop_front() {
            if let Some(WaitingSocket { mut stream, .. }) = self.sockets.remove(&place) {
                let _ = registry.deregister(&mut stream);
                self.partial.remove(&place);
                return self.intake.was_silent();
            }
        }
    }
}

impl WaitingSocket {
    /// The first bytes of its stream, which stay in the socket. A header before them is taken out.
    fn first_words(&mut self) -> First {
        let mut bytes = [0; MOST_HEADER_BYTES];
        loop {
            let n = match self.stream.peek(&mut bytes) {
                Ok(0) => return First::Never,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return First::Later { partial: false },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return First::Never,
            };
            let read = if self.header.is_none() { read_proxy_header(&bytes[..n]) } else { FirstBytesRead::Other };
            match read {
                FirstBytesRead::Header(header) => {
                    // These bytes are there, so this does not wait.
                    if self.stream.read_exact(&mut bytes[..header.len]).is_err() {
                        return First::Never;
                    }
                    self.header = Some(header);
                }
                FirstBytesRead::Broken => return First::BrokenHeader,
                FirstBytesRead::Partial => return First::Later { partial: true },
                FirstBytesRead::Other => {
                    let first = bytes[..n].first_chunk::<{ size_of::<FirstWords>() }>();
                    return first.map_or(First::Later { partial: true }, |first| First::Bytes(*first));
                }
            }
        }
    }
}
