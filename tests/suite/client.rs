//! A plain blocking client that knows which bytes must come back. It shares no code with the program under test,
//! neither the pattern nor the engine. Every wait ends after [`PATIENCE`].

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The longest time that anything may take. It is long, for a loaded machine: it only decides when a hang is reported.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A sender counts as stalled after this time without progress. If only the machine has paused, less is tested, and
/// nothing fails.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// The time between two looks at a socket.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Bytes of one call where a test does not choose them.
const CHUNK: usize = 16 * 1024;

/// One connection and its stream of bytes. The streams of different ids differ.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    id: u64,
    sent: u64,
    received: u64,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, id: u64) -> Client {
        Client::try_connect(address, id).unwrap_or_else(|e| panic!("connection {id}: connect: {e}"))
    }

    pub(crate) fn try_connect(address: SocketAddr, id: u64) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream, id, sent: 0, received: 0 })
    }

    /// Sends the next `n` bytes of the stream in writes of up to `fragment` bytes.
    pub(crate) fn send(&mut self, n: usize, fragment: usize) {
        let mut left = n;
        while left > 0 {
            let chunk = bytes(self.id, self.sent, left.min(fragment));
            self.stream.write_all(&chunk).unwrap_or_else(|e| panic!("connection {}: send: {e}", self.id));
            self.sent += chunk.len() as u64;
            left -= chunk.len();
        }
    }

    /// Sends until the server takes no more, or `most` bytes are sent. Returns how many were sent.
    ///
    /// It uses calls that don't block: on Windows a socket whose SO_SNDTIMEO has fired can only be closed.
    pub(crate) fn send_until_stalled(&mut self, most: usize) -> usize {
        self.stream.set_nonblocking(true).expect("the socket can be made nonblocking");
        let before = self.sent;
        let mut moved = Instant::now();
        while self.sent - before < most as u64 && moved.elapsed() < STALLED_AFTER {
            match self.stream.write(&bytes(self.id, self.sent, CHUNK)) {
                Ok(n) => {
                    self.sent += n as u64;
                    moved = Instant::now();
                }
                // sleep: until the next look at a socket that takes nothing
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(LOOK_INTERVAL),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => panic!("connection {}: send: {e}", self.id),
            }
        }
        self.stream.set_nonblocking(false).expect("the socket can be made to block again");
        (self.sent - before) as usize
    }

    /// Receives the next `n` bytes, which must be the ones that were sent.
    pub(crate) fn expect(&mut self, n: usize) {
        let mut left = n;
        let mut buffer = vec![0; CHUNK];
        while left > 0 {
            let most = left.min(CHUNK);
            let n = match self.receive(&mut buffer[..most]) {
                Ok(0) => panic!("connection {}: ended after {} of {} bytes", self.id, self.received, self.sent),
                Ok(n) => n,
                Err(e) => panic!("connection {}: after {} of {} bytes: {e}", self.id, self.received, self.sent),
            };
            let wanted = bytes(self.id, self.received, n);
            if let Some(at) = (0..n).find(|at| buffer[*at] != wanted[*at]) {
                let offset = self.received + at as u64;
                panic!("connection {}: byte {offset} is {:#04x}, not {:#04x}", self.id, buffer[at], wanted[at]);
            }
            self.received += n as u64;
            left -= n;
        }
    }

    /// One receive. A server in this process may interrupt it: io_uring wakes threads much as signals do.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Sends and receives `n` bytes.
    pub(crate) fn round_trip(&mut self, n: usize) {
        self.send(n, n);
        self.expect(n);
    }

    /// Sends `n` bytes while receiving their echo.
    pub(crate) fn pump(&mut self, n: usize, fragment: usize) {
        let stream = self.stream.try_clone().expect("a socket can be cloned");
        let mut sender = Client { stream, ..*self };
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(n, fragment));
            self.expect(n);
        });
        self.sent = sender.sent;
    }

    /// Ends its own direction.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap_or_else(|e| panic!("connection {}: shutdown: {e}", self.id));
    }

    /// Ends its own direction. The bytes that are still owed must come, and then the end of the other direction.
    pub(crate) fn finish(mut self) {
        self.half_close();
        self.expect((self.sent - self.received) as usize);
        match self.receive(&mut [0]) {
            Ok(0) => {}
            Ok(_) => panic!("connection {}: more than the {} bytes sent came back", self.id, self.sent),
            Err(e) => panic!("connection {}: an error in place of the end: {e}", self.id),
        }
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("the option can be set");
    }

    /// Ends its own direction, and waits for the end of the other.
    pub(crate) fn end(self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.ending()
    }

    /// How the connection ends when nothing more is sent. Bytes that come before the end are ignored.
    pub(crate) fn ending(mut self) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        while self.receive(&mut buffer)? > 0 {}
        Ok(())
    }
}

/// Bytes `from..from + n` of stream `id`.
fn bytes(id: u64, from: u64, n: usize) -> Vec<u8> {
    let byte = |at: u64| (mixed((id << 40) ^ (at / 8)) >> (8 * (at % 8))) as u8;
    (from..from + n as u64).map(byte).collect()
}

/// The output of SplitMix64 at this state.
fn mixed(mut state: u64) -> u64 {
    echo_tester::random::split_mix(&mut state)
}

/// Repeatable random numbers.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(mixed(seed))
    }

    /// A number of `1..=most`.
    pub(crate) fn up_to(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        (mixed(self.0) % most as u64) as usize + 1
    }
}
