//! The cases of the conformance suite find what they are for: small servers with one defect each pass every case but
//! the one that looks for it. `tests/shipped.rs` proves the same for the faults of `serve --fault`.

mod chains;
mod distance;
mod ends;
#[cfg(target_os = "linux")]
mod filters;
#[cfg(target_os = "linux")]
mod lost_events;
mod sockets;

#[path = "../command_line/mod.rs"]
mod command_line;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use command_line::said;
use serde_json::Value;
use socket2::SockRef;

/// A server with a thread for each connection.
fn server(behave: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    serve(TcpListener::bind("127.0.0.1:0").expect("a port is free"), behave)
}

/// The same on this listener.
fn serve(listener: TcpListener, behave: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let address = listener.local_addr().expect("the listener is bound");
    let behave = Arc::new(behave);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let behave = Arc::clone(&behave);
            // The client may break off at any time.
            thread::spawn(move || behave(stream).ok());
        }
    });
    address
}

/// The cases, of these, that do not pass against the server.
fn failed(target: SocketAddr, ids: &[&str]) -> Vec<String> {
    let target = target.to_string();
    let outcome = |id: &&str| {
        let (_, out, err) = said(&["check", &target, "--filter", &format!("{id} "), "-q", "--json"]);
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
        let cases = report["cases"].as_array().expect("cases is a list");
        assert!(cases.len() == 1 && cases[0]["id"] == **id, "{id}: {out}");
        cases[0]["outcome"] != "pass"
    };
    ids.iter().filter(|id| outcome(id)).map(|id| (*id).to_owned()).collect()
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[test]
fn a_server_that_buffers_without_a_limit_fails_where_writes_must_stall() {
    let unbounded = server(|mut stream| {
        let (take, give) = channel();
        let mut writer = stream.try_clone()?;
        thread::spawn(move || {
            let sent = give.iter().try_for_each(|bytes: Vec<u8>| writer.write_all(&bytes));
            sent.and_then(|()| writer.shutdown(Shutdown::Write))
        });
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = stream.read(&mut buffer)?;
            if n == 0 || take.send(buffer[..n].to_vec()).is_err() {
                return Ok(());
            }
        }
    });
    assert_eq!(failed(unbounded, &["1.5", "2.1", "2.2", "3.2", "3.3"]), ["2.1"]);
}

#[test]
fn a_server_that_drops_its_queue_at_eof_fails_where_there_is_one() {
    const QUEUE: usize = 1 << 16;
    // With timeouts of a millisecond it tries to send, and queues what the socket does not take.
    let forgets = server(|mut stream| {
        // The system's buffer would grow, on some machines to more than what is left in the end.
        SockRef::from(&stream).set_send_buffer_size(16 << 10)?;
        stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        stream.set_write_timeout(Some(Duration::from_millis(1)))?;
        let (mut queue, mut buffer) = (Vec::new(), vec![0; QUEUE]);
        loop {
            if queue.len() < QUEUE {
                match stream.read(&mut buffer) {
                    Ok(0) => return stream.shutdown(Shutdown::Write),
                    Ok(n) => queue.extend_from_slice(&buffer[..n]),
                    Err(error) if would_block(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            match stream.write(&queue) {
                Ok(n) => drop(queue.drain(..n)),
                Err(error) if would_block(&error) => {}
                Err(error) => return Err(error),
            }
        }
    });
    assert_eq!(failed(forgets, &["2.1", "2.2", "3.2", "3.3"]), ["3.3"]);
}

#[test]
fn a_server_that_loses_a_byte_of_a_full_buffer_fails_where_writes_fill_it() {
    let loses = server(|mut stream| {
        let mut buffer = vec![0; 16384];
        loop {
            let n = stream.read(&mut buffer)?;
            if n == 0 {
                return stream.shutdown(Shutdown::Write);
            }
            stream.write_all(&buffer[..n - usize::from(n == buffer.len())])?;
        }
    });
    assert_eq!(failed(loses, &["1.1", "1.2", "1.3", "1.4"]), ["1.4"]);
}

/// Serves all connections on one thread. While one of them has never sent anything, the server waits two seconds for it
/// before each round.
fn wait_for_the_silent(listener: &TcpListener) -> io::Result<()> {
    let mut connections: Vec<(TcpStream, bool)> = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        // Without connections it sleeps. It would take a processor from the other tests until the last one has ended.
        listener.set_nonblocking(!connections.is_empty())?;
        while let Ok((stream, _)) = listener.accept() {
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            connections.push((stream, true));
            listener.set_nonblocking(true)?;
        }
        let mut waits_for = connections.iter().position(|(_, is_silent)| *is_silent);
        connections.retain_mut(|(stream, is_silent)| {
            let waits = waits_for == Some(0);
            waits_for = waits_for.and_then(|n| n.checked_sub(1));
            let read = stream.set_nonblocking(!waits).and_then(|()| stream.read(&mut buffer));
            *is_silent &= !matches!(read, Ok(n) if n > 0);
            match read {
                Ok(0) => false,
                Ok(n) => stream.set_nonblocking(false).and_then(|()| stream.write_all(&buffer[..n])).is_ok(),
                Err(error) => would_block(&error),
            }
        });
        // The threads of other tests need the processor too.
        thread::yield_now();
    }
}

#[test]
fn a_server_that_waits_for_a_silent_connection_fails_where_nobody_may_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    thread::spawn(move || wait_for_the_silent(&listener));
    assert_eq!(failed(address, &["1.1", "4.1"]), ["4.1"]);
}
