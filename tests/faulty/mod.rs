//! A faulty server, and a simple client.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use echo_tester::server::fault::{FaultLog, FaultRecord, FaultyServer};
use echo_tester::server::{Options, Server, Stopped};

/// Longer than any step of these tests takes; a wait that reaches it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection must be silent to count as silent. If this is too short for a busy machine, a test may miss
/// a byte that comes later, but it never fails for it.
pub(crate) const SILENCE: Duration = Duration::from_millis(150);

/// A faulty server, and its log.
pub(crate) struct TestHost {
    pub(crate) server: Server,
    pub(crate) log: Receiver<FaultRecord>,
}

/// A server with these faults and a small buffer.
pub(crate) fn serve(specs: &[&str]) -> TestHost {
    let faults = specs.iter().map(|spec| spec.parse().expect(spec)).collect();
    let (to, log) = FaultLog::channel();
    let faulty = FaultyServer { faults, seed: 5, log: to };
    let options = Options { buffer: 16 * 1024, ..Options::default() };
    let run = |listener, context| faulty.run(listener, context);
    let server = Server::start_with(run, "faulty", ([127, 0, 0, 1], 0).into(), options).expect("the server starts");
    TestHost { server, log }
}

impl TestHost {
    /// A connection to it.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address()).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("the socket takes the option");
        stream.set_nodelay(true).expect("the socket takes the option");
        stream
    }

    /// The next record of the log.
    pub(crate) fn record(&self) -> FaultRecord {
        self.log.recv_timeout(PATIENCE).expect("the fault is logged")
    }

    /// Stops the server. Returns how it ended, and the rest of the log.
    pub(crate) fn stop(self) -> (Stopped, Vec<FaultRecord>) {
        let stopped = self.server.stop(PATIENCE);
        assert!(!stopped.hung && stopped.aborted == 0, "{stopped:?}");
        assert_eq!(stopped.counters.accepted, stopped.counters.closed);
        (stopped, self.log.try_iter().collect())
    }

    /// Closes the connections, and stops the server.
    pub(crate) fn stop_after(self, connections: Vec<TcpStream>) {
        drop(connections);
        self.stop();
    }
}

/// A stream with this number, whose bytes do not repeat soon.
pub(crate) fn bytes(number: u8, len: usize) -> Vec<u8> {
    let mut state = u32::from(number) * 77_777 + 1;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(next).collect()
}

/// Its own address.
pub(crate) fn local(stream: &TcpStream) -> SocketAddr {
    stream.local_addr().expect("the socket is connected")
}

/// Writes pieces of odd length from another thread, half-closes, and reads to the end.
pub(crate) fn exchange(stream: &TcpStream, sent: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = stream.try_clone()?;
    let mut reader = stream.try_clone()?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for piece in sent.chunks(997) {
                // A server that ends early may refuse the rest.
                if writer.write_all(piece).is_err() {
                    return;
                }
            }
            let _ = writer.shutdown(Shutdown::Write);
        });
        let mut received = Vec::new();
        reader.read_to_end(&mut received).map(|_| received)
    })
}

/// Reads that many bytes.
pub(crate) fn read_exactly(mut stream: &TcpStream, n: usize) -> Vec<u8> {
    let mut received = vec![0; n];
    stream.read_exact(&mut received).expect("that many bytes come");
    received
}

/// Asserts that nothing comes and the connection stays open. The reads do not block, because on Windows a socket whose
/// SO_RCVTIMEO has expired can only be closed.
pub(crate) fn assert_silent(mut stream: &TcpStream) {
    stream.set_nonblocking(true).expect("the socket takes the option");
    let begin = Instant::now();
    while begin.elapsed() < SILENCE {
        let error = stream.read(&mut [0]).expect_err("no byte and no EOF");
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
        // sleep: between two reads, none of which may return anything
        std::thread::sleep(Duration::from_millis(5));
    }
    stream.set_nonblocking(false).expect("the socket takes the option");
}
