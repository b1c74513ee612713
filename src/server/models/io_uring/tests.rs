//! Tests the model over real sockets, with queues and buffers so small that every shortage happens. `tests/models.rs`
//! tests it with its normal sizes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::setup::{TUNING, Tuning};
use super::worker::is_of_the_listener;
use super::{run, run_tuned, why_not};
use crate::server::models::{RunFn, find, runs_here};
use crate::server::{Context, Options, Server, Stopped};
use crate::sys;

/// Every shortage: two submissions, four completions, two buffers of 500 bytes.
fn tiny(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let tuning = Tuning { submissions: 2, completions: 4, buffer: 500, buffers: 2, batch: 600, ..TUNING };
    run_tuned(listener, &context, &tuning)
}

/// One buffer for all connections.
fn single(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    run_tuned(listener, &context, &Tuning { buffers: 1, ..TUNING })
}

const WAYS: [(&str, RunFn); 3] = [("tiny", tiny), ("single", single), ("normal", run)];

/// Whether the model can be tested here: see [`runs_here`].
pub(super) fn is_here() -> bool {
    runs_here(find("io-uring").expect("it is a model"))
}

fn start(run: RunFn, options: Options) -> Server {
    Server::start_with(run, "io-uring", ([127, 0, 0, 1], 0).into(), options).expect("the kernel has io_uring")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time that is not 0");
    stream.set_write_timeout(Some(Duration::from_secs(30))).expect("a time that is not 0");
    stream
}

/// One receive. The rings of this process may interrupt it: they wake threads much as signals do.
fn receive(mut stream: &TcpStream) -> io::Result<usize> {
    loop {
        match stream.read(&mut [0]) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Stops a server whose connections have ended, and checks that nothing is left and nothing was lost.
fn stop(server: Server) -> Stopped {
    let stopped = server.stop(Duration::from_secs(20));
    assert!(!stopped.hung && stopped.aborted == 0 && stopped.error.is_none(), "{stopped:?}");
    assert!(stopped.counters.add_up(), "{stopped:?}");
    stopped
}

/// Bytes that differ between connections and between places.
fn stream_of(connection: u64, len: usize) -> Vec<u8> {
    let mut state = connection.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Sends `len` bytes in pieces while reading, ends its direction, and checks that exactly these and a FIN come back.
fn echo(address: SocketAddr, connection: u64, len: usize, piece: usize) {
    let expected = stream_of(connection, len);
    let stream = connect(address);
    let received = thread::scope(|scope| {
        scope.spawn(|| {
            for piece in expected.chunks(piece) {
                (&stream).write_all(piece).expect("the server reads");
            }
            stream.shutdown(Shutdown::Write).expect("the connection is open");
        });
        let mut received = Vec::with_capacity(len);
        (&stream).read_to_end(&mut received).expect("the server answers");
        received
    });
    assert_eq!(received.len(), expected.len(), "connection {connection}");
    if let Some(at) = (0..len).find(|&at| received[at] != expected[at]) {
        panic!("connection {connection} differs at byte {at}");
    }
}

#[test]
fn the_sent_bytes_come_back_however_short_queues_and_buffers_are() {
    if !is_here() {
        return;
    }
    for (way, run) in WAYS {
        for buffer in [1, 700, 5000, 65536] {
            let server = start(run, Options { buffer, ..Options::default() });
            let address = server.address();
            // With a buffer of one byte, each byte is an operation.
            let len = if buffer == 1 { 2_000 } else { 200_000 };
            thread::scope(|scope| {
                for connection in 0..20 {
                    let piece = [1, 64, 1459, 70_000][connection as usize % 4].max(len / 2000);
                    scope.spawn(move || echo(address, connection, len, piece));
                }
            });
            let counters = stop(server).counters;
            assert_eq!((counters.accepted, counters.bytes_out), (20, 20 * len as u64), "{way}, buffer {buffer}");
            assert_eq!((counters.connection_errors, counters.bytes_discarded), (0, 0), "{way}, buffer {buffer}");
        }
    }
}

#[test]
fn clients_that_never_read_use_up_no_buffers_of_others() {
    if !is_here() {
        return;
    }
    for (way, run) in WAYS {
        let server = start(run, Options { buffer: 4096, ..Options::default() });
        let silent: Vec<TcpStream> = (0..10)
            .map(|connection| {
                let stream = connect(server.address());
                stream.set_nonblocking(true).expect("the socket is open");
                let bytes = stream_of(connection, 1 << 16);
                // Until the server takes no more. A later write may find room that was not there for the first.
                let mut refused = 0;
                while refused < 100 {
                    match (&stream).write(&bytes) {
                        Ok(_) => refused = 0,
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                            refused += 1;
                            thread::yield_now();
                        }
                        Err(e) => panic!("{way}: {e}"),
                    }
                }
                stream
            })
            .collect();
        for connection in 0..20 {
            echo(server.address(), connection, 50_000, 8192);
        }
        let counters = server.counters();
        assert!(counters.bytes_in - counters.bytes_out <= 10 * 4096, "{way}: {counters:?}");
        drop(silent);
        stop(server);
    }
}

#[test]
fn a_half_closed_client_gets_everything_and_then_a_fin() {
    if !is_here() {
        return;
    }
    for (way, run) in WAYS {
        let server = start(run, Options { buffer: 16 * 1024, ..Options::default() });
        let stream = connect(server.address());
        // More than the two sockets hold: the server has a backlog when the FIN comes.
        let expected = stream_of(1, 24 << 20);
        let received = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                (&stream).write_all(&expected).expect("the server reads when this side reads");
                stream.shutdown(Shutdown::Write).expect("the connection is open");
            });
            // Reads only after the writes have stalled.
            while server.counters().bytes_in == 0 {
                thread::yield_now();
            }
            let mut received = Vec::new();
            (&stream).read_to_end(&mut received).expect("the server answers");
            writer.join().expect("the writer ends");
            received
        });
        assert!(received == expected, "{way}: {} bytes of {}", received.len(), expected.len());
        stop(server);
    }
}

#[test]
fn a_reset_ends_its_own_connection_and_no_other() {
    if !is_here() {
        return;
    }
    for (way, run) in WAYS {
        let server = start(run, Options::default());
        let other = connect(server.address());
        for connection in 0..200 {
            let stream = connect(server.address());
            if connection % 2 == 0 {
                (&stream).write_all(&stream_of(connection, 30_000)).expect("the server reads");
            }
            sys::close_with_reset(&stream);
        }
        (&other).write_all(b"still here").expect("the connection is open");
        let mut answer = [0; 10];
        (&other).read_exact(&mut answer).expect("the connection is open");
        assert_eq!(&answer, b"still here");
        drop(other);
        let counters = stop(server).counters;
        assert!(counters.connection_errors > 0, "{way}: {counters:?}");
    }
}

#[test]
fn an_abort_leaves_nothing_behind_however_busy_the_server_is() {
    if !is_here() {
        return;
    }
    for (way, run) in WAYS {
        let server = start(run, Options { buffer: 4096, workers: 2, ..Options::default() });
        let address = server.address();
        thread::scope(|scope| {
            for connection in 0..10 {
                let stream = connect(address);
                scope.spawn(move || {
                    let bytes = stream_of(connection, 1 << 16);
                    // Never reads; the abort ends it.
                    while (&stream).write_all(&bytes).is_ok() {}
                });
            }
            let idle: Vec<TcpStream> = (0..10).map(|_| connect(address)).collect();
            while server.counters().accepted < 20 || server.counters().bytes_in < 10 * 4096 {
                thread::yield_now();
            }
            let stopped = server.stop(Duration::ZERO);
            assert!(!stopped.hung && stopped.aborted == 20, "{way}: {stopped:?}");
            assert!(stopped.counters.add_up(), "{way}: {stopped:?}");
            for stream in idle {
                let error = receive(&stream).expect_err("a reset, not a FIN");
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{way}");
            }
        });
    }
}

#[test]
fn a_drain_accepts_no_more_and_serves_what_is_there_to_its_end() {
    if !is_here() {
        return;
    }
    for workers in [1, 3] {
        let server = start(run, Options { workers, ..Options::default() });
        let address = server.address();
        let streams: Vec<TcpStream> = (0..7).map(|_| connect(address)).collect();
        while server.counters().accepted < 7 {
            thread::yield_now();
        }
        server.drain();
        while TcpStream::connect(address).is_ok() {
            thread::yield_now();
        }
        for stream in streams {
            (&stream).write_all(b"bye").expect("the connection is open");
            stream.shutdown(Shutdown::Write).expect("the connection is open");
            let mut answer = Vec::new();
            (&stream).read_to_end(&mut answer).expect("the server answers");
            assert_eq!(answer, b"bye");
        }
        let ended = server.ended(Duration::from_secs(20)).expect("it ends on its own");
        let stopped = server.finish(ended);
        assert!(stopped.error.is_none() && stopped.counters.add_up(), "{stopped:?}");
    }
}

#[test]
fn several_workers_share_the_connections() {
    if !is_here() {
        return;
    }
    let server = start(tiny, Options { workers: 3, ..Options::default() });
    let address = server.address();
    thread::scope(|scope| {
        for connection in 0..60 {
            scope.spawn(move || echo(address, connection, 20_000, 1000));
        }
    });
    assert_eq!(stop(server).counters.accepted, 60);
}

#[test]
fn a_connection_beyond_max_conns_is_closed_and_counted() {
    if !is_here() {
        return;
    }
    let server = start(run, Options { max_conns: 2, ..Options::default() });
    let served: Vec<TcpStream> = (0..2).map(|_| connect(server.address())).collect();
    while server.counters().accepted < 2 {
        thread::yield_now();
    }
    assert_eq!(receive(&connect(server.address())).expect("it is closed"), 0);
    drop(served);
    let counters = stop(server).counters;
    assert_eq!((counters.accepted, counters.refused), (2, 1));
}

#[test]
fn an_idle_connection_is_closed_under_idle_timeout() {
    if !is_here() {
        return;
    }
    let idle_timeout = Some(Duration::from_millis(50));
    let server = start(run, Options { idle_timeout, buffer: 4096, ..Options::default() });
    let silent = connect(server.address());
    let stalled = connect(server.address());
    stalled.set_nonblocking(true).expect("the socket is open");
    while (&stalled).write(&[7; 1 << 16]).is_ok() {}
    assert_eq!(receive(&silent).expect("it is closed, not reset"), 0);
    while server.counters().closed < 2 {
        thread::yield_now();
    }
    assert_eq!(stop(server).counters.idle_closed, 2);
}

#[test]
fn a_server_whose_threads_are_refused_fails_to_start_and_does_not_hang() {
    if !is_here() {
        return;
    }
    // No address space holds such a stack, so the last worker is refused when the others have started.
    let run = |listener: TcpListener, context: Arc<Context>| {
        run_tuned(listener, &context, &Tuning { stack: |index| if index == 3 { 1 << 60 } else { 1 << 20 }, ..TUNING })
    };
    let options = Options { workers: 4, ..Options::default() };
    let started = Server::start_with(run, "io-uring", ([127, 0, 0, 1], 0).into(), options);
    let error = started.err().expect("a worker is missing").to_string();
    assert!(error.contains("could not start"), "{error}");
}

#[test]
fn an_error_of_one_connection_is_not_one_of_the_listener() {
    for error in [Errno::OPNOTSUPP, Errno::CONNABORTED, Errno::NETDOWN, Errno::MFILE, Errno::PROTO] {
        assert!(!is_of_the_listener(error), "{error}");
    }
    for error in [Errno::BADF, Errno::NOTSOCK, Errno::INVAL] {
        assert!(is_of_the_listener(error), "{error}");
    }
}

#[test]
fn a_listener_that_breaks_ends_the_server_with_its_error_and_all_counters_right() {
    if !is_here() {
        return;
    }
    // Several times, since the error must come before another completion in its batch to show anything.
    for (way, run) in WAYS.into_iter().chain([WAYS[2]; 5]) {
        let (sender, listeners) = std::sync::mpsc::channel();
        let run = move |listener: TcpListener, context| {
            sender.send(listener.try_clone()?).expect("the test waits for it");
            run(listener, context)
        };
        let server = Server::start_with(run, "io-uring", ([127, 0, 0, 1], 0).into(), Options::default());
        let server = server.expect("it starts");
        let listener = listeners.recv().expect("it was cloned");
        let address = server.address();
        thread::scope(|scope| {
            for connection in 0..40 {
                let stream = connect(address);
                scope.spawn(move || {
                    // Round trips until the server is gone.
                    let mut bytes = stream_of(connection, 2000);
                    while (&stream).write_all(&bytes).and_then(|()| (&stream).read_exact(&mut bytes)).is_ok() {}
                });
            }
            while server.counters().bytes_out < 20 * 20_000 {
                thread::yield_now();
            }
            // Linux allows a listener to be shut down: an accept that waits fails with EINVAL.
            socket2::SockRef::from(&listener).shutdown(Shutdown::Read).expect("it listens");
            let ended = server.ended(Duration::from_secs(20)).expect("it ends on its own");
            let stopped = server.finish(ended);
            let error = stopped.error.as_deref().unwrap_or_default();
            assert!(error.contains("Invalid argument"), "{way}: {stopped:?}");
            assert!(stopped.counters.add_up(), "{way}: {stopped:?}");
        });
    }
}

#[test]
fn the_reason_why_there_is_no_ring_is_a_sentence() {
    let why = |number, disabled| why_not(&io::Error::from_raw_os_error(number), "5.15.0-91", disabled);
    assert!(why(1, "2").contains("kernel.io_uring_disabled = 2"));
    assert!(why(1, "0").contains("seccomp"));
    assert!(why(38, "").contains("5.15.0-91"));
    assert!(why(22, "0").contains("5.19 or later"));
    assert!(why(12, "0").contains("ulimit -l"));
}
