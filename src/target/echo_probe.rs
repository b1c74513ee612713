//! One connection to a server, and the echo of one byte: is it there, does it echo?
//!
//! Nothing blocks here for longer than the user wants to wait: an interrupt ends every call at once.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use crate::client::target::{bind_address, prepare_probe};
use crate::interrupt;
use crate::sys;
use crate::transport::{Destination, Negotiation, SocketKind, explained_tls};

/// The byte that must come back. It belongs to no stream; only this file verifies it.
const PROBE_BYTE: u8 = b'e';

/// The words for a server that answers with another byte.
pub(super) const WRONG_ECHO: &str = "echoing a wrong byte";

/// Why no echo came.
#[derive(Debug)]
pub(super) enum NoEcho {
    /// The server takes no connection.
    NoConnection(io::Error),
    /// It took the connection, and ended it.
    Ended(io::Error),
    /// It took the connection, and sent nothing for this time.
    Silent(Duration),
    /// It sent another byte.
    Wrong(u8),
    /// The user interrupted.
    Interrupted,
}

impl fmt::Display for NoEcho {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoEcho::NoConnection(error) => write!(f, "taking no connection ({error})"),
            NoEcho::Ended(error) => write!(f, "echoing no byte ({error})"),
            NoEcho::Silent(time) => write!(f, "echoing no byte (no answer within {})", whole_milliseconds(*time)),
            NoEcho::Wrong(byte) => write!(f, "{WRONG_ECHO} (it sent {byte:#04x} for {PROBE_BYTE:#04x})"),
            NoEcho::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// Connects, from the source address if one is given, and closes the connection again.
///
/// # Errors
/// No connection came about, or the user interrupted.
pub(super) fn connects(target: &Destination, source: Option<IpAddr>, patience: Duration) -> Result<(), NoEcho> {
    let target = target.clone();
    unless_interrupted(move || connect(&target, source, patience).map(drop))
}

/// Connects, sends these words, and keeps the connection until `has_come` returns, which says whether they have come to
/// where they should.
///
/// # Errors
/// No connection came about, or the user interrupted.
pub(super) fn brings(
    target: &Destination,
    source: Option<IpAddr>,
    patience: Duration,
    words: Vec<u8>,
    has_come: impl FnOnce() -> bool + Send + 'static,
) -> Result<bool, NoEcho> {
    let target = target.clone();
    unless_interrupted(move || {
        let mut stream = match connect(&target, source, patience) {
            Ok(stream) => stream,
            // A proxy that has no server now may end the connection at once, before or after the words are sent.
            Err(NoEcho::NoConnection(error)) if is_end(&error) => return Ok(false),
            Err(why) => return Err(why),
        };
        let is_sent = stream.write_all(&words).and_then(|()| stream.flush()).is_ok();
        Ok(is_sent && has_come())
    })
}

/// Whether this error ends a connection that was taken.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// Connects, and waits for the echo of a byte.
///
/// # Errors
/// What the server does instead, or that the user interrupted.
pub(super) fn echoes(target: &Destination, source: Option<IpAddr>, patience: Duration) -> Result<(), NoEcho> {
    let result = round_trip(target, source, 1, patience);
    result.map(drop).map_err(|error| match error {
        // The connect took a part of the time that the user gave.
        NoEcho::Silent(_) => NoEcho::Silent(patience),
        other => other,
    })
}

/// The shortest of `tries` round trips of a byte on one connection. What delays the first byte alone, such as a proxy
/// that looks up its backend, does not count.
///
/// # Errors
/// What the server does instead, within `patience` for all of it, or that the user interrupted.
pub(super) fn round_trip(
    target: &Destination,
    source: Option<IpAddr>,
    tries: u32,
    patience: Duration,
) -> Result<Duration, NoEcho> {
    let target = target.clone();
    unless_interrupted(move || {
        let until = Instant::now() + patience;
        let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let mut stream = connect(&target, source, patience)?;
        let mut shortest = Duration::MAX;
        for _ in 0..tries {
            let begin = Instant::now();
            echo(&mut stream, left())?;
            shortest = shortest.min(begin.elapsed());
        }
        Ok(shortest)
    })
}

fn unless_interrupted<T: Send + 'static>(
    probe: impl FnOnce() -> Result<T, NoEcho> + Send + 'static,
) -> Result<T, NoEcho> {
    match interrupt::unless_requested(probe) {
        Ok(result) => result,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(NoEcho::Interrupted),
        Err(error) => Err(NoEcho::NoConnection(error)),
    }
}

/// Connects, and says what comes before the stream, all within `patience`.
fn connect(target: &Destination, source: Option<IpAddr>, patience: Duration) -> Result<ProbedStream, NoEcho> {
    let until = Instant::now() + patience;
    let connect = || -> io::Result<ProbedStream> {
        let (socket, address) = target.endpoint().socket()?;
        if let Some(address) = target.address() {
            prepare_probe(&socket, address);
            if let Some(source) = source {
                socket.bind(&bind_address(source, address).into())?;
            }
        }
        if target.endpoint().kind() == SocketKind::Vsock {
            sys::set_vsock_connect_timeout(&socket, patience)?;
        }
        socket.connect_timeout(&address, patience).map_err(|error| target.first_connect_failed(error))?;
        let mut stream = TcpStream::from(socket);
        if sys::refuses_itself(&stream) {
            return Err(target.first_connect_failed(io::ErrorKind::ConnectionRefused.into()));
        }
        negotiate(&mut stream, target, until)?;
        secure(stream, target, until)
    };
    connect().map_err(|error| match is_time_out(&error) {
        true => NoEcho::NoConnection(io::Error::other(format!("no answer within {}", whole_milliseconds(patience)))),
        false => NoEcho::NoConnection(error),
    })
}

/// Says what comes before the stream.
fn negotiate(stream: &mut TcpStream, target: &Destination, until: Instant) -> io::Result<()> {
    let Some(preamble) = target.preamble() else { return Ok(()) };
    let mut negotiation = Negotiation::new(Arc::clone(preamble), stream.local_addr().ok(), stream.peer_addr().ok());
    let mut buffer = [0; 512];
    while !negotiation.is_done() {
        let to_send = negotiation.to_send();
        if !to_send.is_empty() {
            stream.write_all(to_send)?;
            let sent = to_send.len();
            negotiation.sent(sent);
            continue;
        }
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        let most = negotiation.wanted().min(buffer.len());
        match sys::retry_interrupted(|| stream.read(&mut buffer[..most])) {
            Ok(0) => return Err(negotiation.ended(None)),
            Ok(n) => negotiation.receive(&buffer[..n])?,
            Err(error) if is_time_out(&error) => return Err(error),
            Err(error) => return Err(negotiation.ended(Some(error))),
        }
    }
    Ok(())
}

/// A connection whose stream has begun.
enum ProbedStream {
    Plain(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl ProbedStream {
    fn socket(&self) -> &TcpStream {
        match self {
            ProbedStream::Plain(stream) => stream,
            ProbedStream::Secure(stream) => &stream.sock,
        }
    }
}

impl Read for ProbedStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            ProbedStream::Plain(stream) => stream.read(into),
            ProbedStream::Secure(stream) => stream.read(into),
        }
    }
}

impl Write for ProbedStream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            ProbedStream::Plain(stream) => stream.write(from),
            ProbedStream::Secure(stream) => stream.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            ProbedStream::Plain(stream) => stream.flush(),
            ProbedStream::Secure(stream) => stream.flush(),
        }
    }
}

/// The handshake of TLS, if the target speaks it.
fn secure(mut stream: TcpStream, target: &Destination, until: Instant) -> io::Result<ProbedStream> {
    let Some(client) = target.preamble().and_then(|preamble| preamble.tls.as_ref()) else {
        return Ok(ProbedStream::Plain(stream));
    };
    let wrong = |error: &rustls::Error| io::Error::new(io::ErrorKind::InvalidData, explained_tls(error));
    let mut tls = client.connection().map_err(|error| wrong(&error))?;
    while tls.is_handshaking() {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        if let Err(error) = tls.complete_io(&mut stream) {
            return Err(match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(inner) => wrong(inner),
                None => error,
            });
        }
    }
    Ok(ProbedStream::Secure(Box::new(StreamOwned::new(tls, stream))))
}

fn echo(stream: &mut ProbedStream, patience: Duration) -> Result<(), NoEcho> {
    let mut answer = [0];
    let read = stream
        .socket()
        .set_read_timeout(Some(patience))
        .and_then(|()| stream.write_all(&[PROBE_BYTE]))
        .and_then(|()| sys::retry_interrupted(|| stream.read(&mut answer)));
    match read {
        Ok(0) => Err(NoEcho::Ended(io::Error::other("it closed the connection"))),
        Ok(_) if answer == [PROBE_BYTE] => Ok(()),
        Ok(_) => Err(NoEcho::Wrong(answer[0])),
        Err(error) if is_time_out(&error) => Err(NoEcho::Silent(patience)),
        Err(error) => Err(NoEcho::Ended(error)),
    }
}

/// Whether a time limit was over: Unix says EAGAIN (socket(7), SO_RCVTIMEO), Windows WSAETIMEDOUT.
fn is_time_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A time as people write it: what is left of 5 s a moment later is 5s.
fn whole_milliseconds(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis((time.as_secs_f64() * 1000.0).round() as u64))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// More than anything here takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// As long as a server may keep silent in a test that waits for that.
    const SHORT: Duration = Duration::from_millis(50);

    /// What a server does that treats its first connection like this.
    fn against(serve: impl FnOnce(TcpStream) + Send + 'static, patience: Duration) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let server = std::thread::spawn(move || serve(listener.accept().expect("the listener accepts").0));
        let result = echoes(&address.into(), None, patience).map_err(|why| why.to_string());
        server.join().expect("the server does not panic");
        result
    }

    #[test]
    fn each_way_not_to_echo_is_told_in_words() {
        let reading = |mut stream: TcpStream| {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the probe sends a byte");
            (stream, byte)
        };
        let echo = move |stream| {
            let (mut stream, byte) = reading(stream);
            stream.write_all(&byte).expect("the probe reads");
        };
        assert_eq!(against(echo, PATIENCE), Ok(()));
        let closed = against(move |stream| drop(reading(stream)), PATIENCE);
        assert_eq!(closed, Err("echoing no byte (it closed the connection)".to_owned()));
        let wrong = move |stream| reading(stream).0.write_all(b"E").expect("the probe reads");
        assert_eq!(against(wrong, PATIENCE), Err("echoing a wrong byte (it sent 0x45 for 0x65)".to_owned()));
        let silent = move |stream| {
            let (mut stream, _) = reading(stream);
            // Returns when the probe has given up.
            let _ = stream.read(&mut [0]);
        };
        assert_eq!(against(silent, SHORT), Err("echoing no byte (no answer within 50ms)".to_owned()));
    }

    #[test]
    fn a_round_trip_is_the_shortest_one_on_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let slow = Duration::from_millis(100);
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the listener accepts");
            for delay in [slow * 3, slow, slow * 3] {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("the probe sends a byte");
                // sleep: the delay of a distant server, of which the second is the shortest
                std::thread::sleep(delay);
                stream.write_all(&byte).expect("the probe reads");
            }
        });
        let measured = round_trip(&address.into(), None, 3, PATIENCE).expect("each byte comes back");
        assert!(measured >= slow && measured < slow * 3, "{measured:?}");
        server.join().expect("the server does not panic");
    }

    #[test]
    fn a_port_without_a_listener_takes_no_connection() {
        let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let nobody = nobody.expect("a port was free").into();
        // The shortest of several, because the machine may be busy. Windows needs 2 s unless told to send one SYN.
        let refused_after = |_| {
            let began = Instant::now();
            let refused = connects(&nobody, None, PATIENCE).expect_err("nobody listens");
            assert!(matches!(refused, NoEcho::NoConnection(_)), "{refused:?}");
            began.elapsed()
        };
        let shortest = (0..3).map(refused_after).min().expect("there were some");
        assert!(shortest < Duration::from_secs(1), "{shortest:?}");
    }
}
