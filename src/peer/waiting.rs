//! Connections that were accepted, until their first bytes say which connection they are. A proxy may open one before
//! its client has sent anything, keep some in reserve, or probe its backend: so there may be many, and for long.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::client::{FirstWords, Intake};
use crate::transport::{
    ControlWord, FirstBytesRead, MOST_HEADER_BYTES, PairingRead, PairingToken, ReceivedHeader, has_pairing_tag,
    read_pairing, read_proxy_header,
};

/// The most connections that wait. With more, the oldest is closed.
const MOST_WAITING: usize = 10_000;
/// How long a connection may wait. A client that sends later than this is not recognized.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);
/// How long one may take to show the token, where there is one.
const LONGEST_STRANGE: Duration = Duration::from_secs(10);

/// How long one is kept whose first bytes are no connection's, while a run goes on: something on the way may have put
/// them before the client's own, which come then. Of a health check, nothing more comes.
const LONGEST_UNKNOWN: Duration = Duration::from_millis(500);

/// The connections that wait, by their tokens.
pub(super) struct Waiting {
    intake: Arc<Intake>,
    /// What each must show first, if the backend is on another machine.
    token: Option<PairingToken>,
    sockets: HashMap<usize, WaitingSocket>,
    /// When each began to wait, oldest first. Some of them are no longer waiting.
    ages: VecDeque<(Instant, usize)>,
    /// Those whose first bytes are there in part.
    partial: HashSet<usize>,
    /// Those whose first bytes are unknown, and since when. Some of them are no longer waiting.
    unknown: VecDeque<(Instant, usize)>,
    /// When each came that has to show the token. Most have done it at once.
    strangers: VecDeque<(Instant, usize)>,
    next: usize,
}

/// A connection that waits.
struct WaitingSocket {
    stream: TcpStream,
    /// Where it came from.
    from: Option<IpAddr>,
    /// It has to show the token.
    is_strange: bool,
    /// The header of the PROXY protocol that came before its stream.
    header: Option<ReceivedHeader>,
    /// Its first bytes are there, and are no connection's.
    is_unknown: bool,
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
    /// It comes from `echo-tester backend`, and there is no token here.
    UnwantedBackend,
    /// It has shown the token.
    Paired {
        /// It is a control connection.
        is_control: bool,
    },
    /// It has shown another token, or none.
    Stranger {
        /// It asks for a control connection.
        is_control: bool,
    },
}

impl Waiting {
    pub(super) fn new(intake: Arc<Intake>, token: Option<PairingToken>) -> Waiting {
        let (sockets, ages, partial) = (HashMap::new(), VecDeque::new(), HashSet::new());
        let (unknown, strangers) = (VecDeque::new(), VecDeque::new());
        Waiting { intake, token, sockets, ages, partial, unknown, strangers, next: 0 }
    }

    /// A connection was accepted that came from there.
    pub(super) fn add(&mut self, registry: &Registry, stream: TcpStream, from: IpAddr) {
        let (place, is_strange) = (self.next, self.token.is_some());
        self.next += 1;
        if is_strange {
            self.strangers.push_back((Instant::now(), place));
            return self.keep(registry, place, WaitingSocket::new(stream, None, is_strange));
        }
        if let Some(stream) = self.intake.accepted(stream, Some(from)) {
            self.keep(registry, place, WaitingSocket::new(stream, Some(from), is_strange));
        }
    }

    fn keep(&mut self, registry: &Registry, place: usize, mut socket: WaitingSocket) {
        if registry.register(&mut socket.stream, Token(place), Interest::READABLE).is_err() {
            return self.intake.was_silent();
        }
        self.sockets.insert(place, socket);
        self.ages.push_back((Instant::now(), place));
        while self.sockets.len() > MOST_WAITING {
            self.close_oldest(registry);
        }
    }

    /// Has those greeted that were accepted before the run began, and have said nothing: a proxy keeps them in reserve.
    pub(super) fn greet(&mut self, registry: &Registry) {
        let is_quiet = |place: &usize, socket: &mut WaitingSocket| {
            !socket.is_strange && socket.header.is_none() && !socket.is_unknown && !self.partial.contains(place)
        };
        let quiet: Vec<(usize, WaitingSocket)> = self.sockets.extract_if(is_quiet).collect();
        for (place, mut socket) in quiet {
            let _ = registry.deregister(&mut socket.stream);
            if let Some(stream) = self.intake.accepted(socket.stream, socket.from) {
                self.keep(registry, place, WaitingSocket { stream, ..socket });
            }
        }
    }

    /// Something has happened to this connection; `is_over`: no more will come. Returns a control connection that has
    /// shown the token.
    pub(super) fn look(&mut self, registry: &Registry, place: usize, is_over: bool) -> Option<TcpStream> {
        let socket = self.sockets.get_mut(&place)?;
        let first = match socket.first_words(self.token.as_ref()) {
            First::Later { partial } if !is_over => {
                if partial {
                    self.partial.insert(place);
                }
                return None;
            }
            First::Later { .. } | First::Never if socket.is_strange => First::Stranger { is_control: false },
            First::Bytes(first) if !is_over && !self.intake.knows(&first, &socket.stream) => {
                if !std::mem::replace(&mut socket.is_unknown, true) {
                    self.unknown.push_back((Instant::now(), place));
                }
                return None;
            }
            first => first,
        };
        self.partial.remove(&place);
        let WaitingSocket { mut stream, from, header, .. } = self.sockets.remove(&place)?;
        let _ = registry.deregister(&mut stream);
        match first {
            // What is not taken over is closed here, and counted there.
            First::Bytes(first) => drop(self.intake.offer(&first, stream, header.map(|header| header.source), from)),
            First::BrokenHeader => self.intake.had_broken_header(),
            First::UnwantedBackend => self.intake.had_unwanted_backend(),
            First::Later { .. } | First::Never => self.intake.was_silent(),
            First::Paired { is_control: true } => return Some(stream),
            First::Paired { is_control: false } => {
                let stream = self.intake.accepted(stream, from)?;
                self.keep(registry, place, WaitingSocket::new(stream, from, false));
                return self.look(registry, place, is_over);
            }
            First::Stranger { is_control } => {
                self.intake.had_no_token();
                if is_control {
                    // There is room for a byte, and its header was read, so the close is a FIN behind it.
                    let _ = stream.write(&[ControlWord::WrongToken.byte()]);
                }
            }
        }
        None
    }

    /// See [`Intake::greeting_run`].
    pub(super) fn greeting_run(&self) -> Option<u64> {
        self.intake.greeting_run()
    }

    /// Whether the first bytes of some are there in part.
    pub(super) fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Those whose first bytes were there in part: they are to be looked at again.
    pub(super) fn partial(&self) -> Vec<usize> {
        self.partial.iter().copied().collect()
    }

    /// Whether the first bytes of some are unknown.
    pub(super) fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// The first that has been unknown for too long, or for any time if the run is about to end: it stays unknown.
    pub(super) fn next_unknown(&mut self, is_end: bool) -> Option<usize> {
        let is_due = |(since, _): &mut (Instant, usize)| is_end || since.elapsed() >= LONGEST_UNKNOWN;
        self.unknown.pop_front_if(is_due).map(|(_, place)| place)
    }

    /// Closes the connections that have waited too long.
    pub(super) fn close_late(&mut self, registry: &Registry) {
        while let Some((since, place)) = self.strangers.front().copied() {
            let is_strange = self.sockets.get(&place).is_some_and(|socket| socket.is_strange);
            if is_strange && since.elapsed() < LONGEST_STRANGE {
                break;
            }
            self.strangers.pop_front();
            if is_strange {
                self.close(registry, place);
            }
        }
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
            if self.close(registry, place) {
                return;
            }
        }
    }

    /// Closes this one; `false`: it waits no longer.
    fn close(&mut self, registry: &Registry, place: usize) -> bool {
        let Some(WaitingSocket { mut stream, is_strange, .. }) = self.sockets.remove(&place) else { return false };
        let _ = registry.deregister(&mut stream);
        self.partial.remove(&place);
        if is_strange {
            self.intake.had_no_token()
        } else {
            self.intake.was_silent()
        }
        true
    }
}

impl WaitingSocket {
    /// One of which nothing has been looked at.
    fn new(stream: TcpStream, from: Option<IpAddr>, is_strange: bool) -> WaitingSocket {
        WaitingSocket { stream, from, is_strange, header: None, is_unknown: false }
    }

    /// The first bytes of its stream, which stay in the socket. A header before them is taken out.
    fn first_words(&mut self, token: Option<&PairingToken>) -> First {
        let mut bytes = [0; MOST_HEADER_BYTES];
        loop {
            let n = match self.stream.peek(&mut bytes) {
                Ok(0) => return First::Never,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return First::Later { partial: false },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return First::Never,
            };
            if let Some(token) = token.filter(|_| self.is_strange) {
                return self.shown(&mut bytes[..n], token);
            }
            let read = if self.header.is_none() { read_proxy_header(&bytes[..n]) } else { FirstBytesRead::Other };
            match read {
                FirstBytesRead::Header(header) => {
                    // These bytes are there, so this does not wait.
                    if self.stream.read_exact(&mut bytes[..header.len]).is_err() {
                        return First::Never;
                    }
                    if token.is_none() && has_pairing_tag(&bytes[..header.len]) {
                        return First::UnwantedBackend;
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

    /// Whether these first bytes show the token. If so, or if they only seem to, they are taken out.
    fn shown(&mut self, bytes: &mut [u8], token: &PairingToken) -> First {
        let (len, first) = match read_pairing(bytes, token) {
            PairingRead::Partial => return First::Later { partial: true },
            PairingRead::Paired(header) => {
                self.from = header.source.map(|source| source.ip());
                (header.len, First::Paired { is_control: header.is_control })
            }
            PairingRead::Refused { is_control } => (bytes.len(), First::Stranger { is_control }),
        };
        // These bytes are there, so this does not wait.
        if self.stream.read_exact(&mut bytes[..len]).is_err() { First::Never } else { first }
    }
}
