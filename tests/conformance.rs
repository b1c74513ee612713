//! What the cases of the conformance suite are for: small servers with one defect each, which pass everything else, and
//! the case that is to find it. The faults of `serve --fault` have their proofs in `tests/shipped.rs`.

mod command_line;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use command_line::said;
use serde_json::Value;

/// Serves every connection on a thread of its own.
fn server(behave: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("just bound");
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

/// Which of these cases do not pass against the server.
fn failed(target: SocketAddr, ids: &[&str]) -> Vec<String> {
    let target = target.to_string();
    let outcome = |id: &&str| {
        let (_, out, err) = said(&["check", &target, "--filter", &format!("{id} "), "-q", "--json"]);
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
        let cases = report["cases"].as_array().expect("cases");
        assert!(cases.len() == 1 && cases[0]["id"] == **id, "{id}: {out}");
        cases[0]["outcome"] != "pass"
    };
    ids.iter().filter(|id| outcome(id)).map(|id| (*id).to_owned()).collect()
}

fn has_to_wait(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[test]
fn a_server_that_buffers_without_a_bound_fails_where_writes_must_stall() {
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
fn a_server_that_forgets_its_queue_at_the_end_fails_where_there_is_one() {
    const QUEUE: usize = 1 << 16;
    // Time-outs of a millisecond: it tries to send, and what the socket does not take waits in the queue.
    let forgets = server(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(1)))?;
        stream.set_write_timeout(Some(Duration::from_millis(1)))?;
        let (mut queue, mut buffer) = (Vec::new(), vec![0; QUEUE]);
        loop {
            if queue.len() < QUEUE {
                match stream.read(&mut buffer) {
                    Ok(0) => return stream.shutdown(Shutdown::Write),
                    Ok(n) => queue.extend_from_slice(&buffer[..n]),
                    Err(error) if has_to_wait(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            match stream.write(&queue) {
                Ok(n) => drop(queue.drain(..n)),
                Err(error) if has_to_wait(&error) => {}
                Err(error) => return Err(error),
            }
        }
    });
    assert_eq!(failed(forgets, &["2.1", "2.2", "3.2", "3.3"]), ["3.3"]);
}

#[test]
fn a_server_that_loses_a_byte_when_its_buffer_is_full_fails_where_writes_fill_it() {
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

/// Serves all connections on one thread. As long as one of them has never sent anything it waits for that one before
/// each round, for two seconds.
fn waits_for_the_silent(listener: &TcpListener) -> io::Result<()> {
    let mut connections: Vec<(TcpStream, bool)> = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    listener.set_nonblocking(true)?;
    loop {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            connections.push((stream, true));
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
                Err(error) => has_to_wait(&error),
            }
        });
        // The other test's threads want the processor too.
        thread::yield_now();
    }
}

#[test]
fn a_server_that_waits_two_seconds_for_a_silent_connection_fails_where_that_may_delay_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("just bound");
    thread::spawn(move || waits_for_the_silent(&listener));
    assert_eq!(failed(address, &["1.1", "4.1"]), ["4.1"]);
}
