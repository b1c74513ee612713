//! Connections that were accepted, until their first bytes say which connection they are. A proxy may open one before
//! its client has sent anything, keep some in reserve, or probe its backend: so there may be many, and for long.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::client::{FirstWords, Intake};

/// The most connections that wait. With more, the oldest is closed.
const MOST_WAITING: usize = 10_000;
/// How long a connection may wait. A client that sends later than this is not recognized.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

/// The connections that wait, by their tokens.
pub(super) struct Waiting {
    intake: Arc<Intake>,
    sockets: HashMap<usize, TcpStream>,
    /// When each began to wait, oldest first. Some of them are no longer waiting.
    ages: VecDeque<(Instant, usize)>,
    /// Those whose first bytes are there in part.
    partial: HashSet<usize>,
    next: usize,
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
        self.sockets.insert(place, stream);
        self.ages.push_back((Instant::now(), place));
        while self.sockets.len() > MOST_WAITING {
            self.close_oldest(registry);
        }
    }

    /// Something has happened to this connection; `is_over`: no more will come.
    pub(super) fn look(&mut self, registry: &Registry, place: usize, is_over: bool) {
        let Some(stream) = self.sockets.get(&place) else { return };
        let first = match first_words(stream) {
            First::Bytes(first) => Some(first),
            First::Later { partial } if !is_over => {
                if partial {
                    self.partial.insert(place);
                }
                return;
            }
            First::Later { .. } | First::Never => None,
        };
        self.partial.remove(&place);
        let Some(mut stream) = self.sockets.remove(&place) else { return };
        let _ = registry.deregister(&mut stream);
        match first {
            // What is not taken over is closed here, and counted there.
            Some(first) => drop(self.intake.offer(&first, stream)),
            None => self.intake.was_silent(),
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
            if let Some(mut stream) = self.sockets.remove(&place) {
                let _ = registry.deregister(&mut stream);
                self.partial.remove(&place);
                return self.intake.was_silent();
            }
        }
    }
}

/// The first bytes of a connection, which stay in its socket.
fn first_words(stream: &TcpStream) -> First {
    let mut first = FirstWords::default();
    loop {
        return match stream.peek(&mut first) {
            Ok(n) if n == first.len() => First::Bytes(first),
            Ok(0) => First::Never,
            Ok(_) => First::Later { partial: true },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => First::Later { partial: false },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => First::Never,
        };
    }
}
