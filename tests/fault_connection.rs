//! The faults that concern a connection's socket, its time or its neighbours, over real sockets and with a simple
//! client. Where a fault needs bytes that wait in the server, a `delay` keeps them there.

mod faulty;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use echo_tester::server::fault::FaultKind;
use faulty::{SILENCE, TestHost, assert_silent, bytes, exchange, local, read_exactly, serve};
use socket2::SockRef;

/// More than the buffers of the sockets of any system hold.
const FLOOD: usize = 48 << 20;

/// Writes more than fits from another thread; the write may end in an error when the connection does.
fn flood(connection: &TcpStream) -> std::thread::JoinHandle<()> {
    let mut writer = connection.try_clone().expect("a socket can be cloned");
    std::thread::spawn(move || {
        let _ = writer.write_all(&bytes(1, FLOOD));
        let _ = writer.shutdown(Shutdown::Write);
    })
}

/// Ends a flood whose server takes no more.
fn end(host: TestHost, connection: TcpStream, flood: std::thread::JoinHandle<()>) {
    let _ = connection.shutdown(Shutdown::Both);
    drop(connection);
    flood.join().expect("the writer does not panic");
    host.stop();
}

fn assert_reset(mut connection: &TcpStream) {
    let error = connection.read_to_end(&mut Vec::new()).expect_err("the connection is reset");
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted), "{error}");
}

#[test]
fn telnet_eats_its_bytes_and_logs_each() {
    let sent = bytes(1, 20_000);
    for (what, eaten) in [("nul", &[0][..]), ("xon", &[0x11, 0x13][..])] {
        let host = serve(&[&format!("telnet:what={what}")]);
        let kept: Vec<u8> = sent.iter().copied().filter(|byte| !eaten.contains(byte)).collect();
        assert!(exchange(&host.connect(), &sent).expect("the server echoes") == kept, "{what}");
        let (stopped, log) = host.stop();
        assert_eq!(log.len(), sent.len() - kept.len(), "{what}");
        let is_right = |offset: u64| eaten.contains(&sent[offset as usize]);
        assert!(log.iter().all(|record| record.kind == FaultKind::Drop && is_right(record.offset)), "{what}");
        assert_eq!(stopped.counters.bytes_discarded as usize, log.len(), "{what}");
    }
    let host = serve(&["telnet:what=double"]);
    let doubled: Vec<u8> =
        sent.iter().flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == 255))).collect();
    assert!(exchange(&host.connect(), &sent).expect("the server echoes") == doubled);
    host.stop();
}

#[test]
fn slot_leak_serves_the_first_connections_and_no_others() {
    let host = serve(&["slot-leak:n=2"]);
    for number in 0..2 {
        exchange(&host.connect(), &bytes(number, 500)).expect("the server echoes");
    }
    let mut third = host.connect();
    third.write_all(b"hello").expect("the server reads it");
    assert_eq!((host.record().kind, host.log.try_recv().ok()), (FaultKind::SlotLeak, None));
    assert_silent(&third);
    host.stop_after(vec![third]);
}

#[test]
fn idle_drop_answers_no_byte_that_comes_after_the_pause_or_resets() {
    for spec in ["idle-drop:after=50ms", "idle-drop:after=50ms,then=reset"] {
        let host = serve(&[spec]);
        let mut connection = host.connect();
        connection.write_all(&bytes(1, 900)).expect("the server reads it");
        assert!(read_exactly(&connection, 900) == bytes(1, 900), "{spec}");
        assert_silent(&connection);
        connection.write_all(b"again").expect("the server has not closed");
        assert_eq!(host.record().offset, 900, "{spec}");
        if spec.ends_with("reset") {
            assert_reset(&connection)
        } else {
            assert_silent(&connection)
        }
        host.stop_after(vec![connection]);
    }
}

#[test]
fn session_reset_resets_the_others_and_serves_those_that_come_later() {
    let host = serve(&["session-reset"]);
    let (mut first, mut other) = (host.connect(), host.connect());
    for connection in [&mut first, &mut other] {
        connection.write_all(b"hello").expect("the server reads it");
        assert_eq!(read_exactly(connection, 5), b"hello");
    }
    SockRef::from(&first).set_linger(Some(Duration::ZERO)).expect("the socket takes the option");
    drop(first);
    assert_reset(&other);
    let record = host.record();
    assert_eq!((record.kind, record.peer, record.offset), (FaultKind::SessionReset, local(&other), 5));
    exchange(&host.connect(), b"later").expect("the server echoes");
    host.stop_after(vec![other]);
}

#[test]
fn trickle_takes_the_time_of_its_rate() {
    let host = serve(&["trickle:rate=1000"]);
    let begin = Instant::now();
    assert!(exchange(&host.connect(), &bytes(1, 500)).expect("the server echoes") == bytes(1, 500));
    // Five times 100 bytes, with 100 ms between two of them.
    assert!(begin.elapsed() >= Duration::from_millis(400), "{:?}", begin.elapsed());
    host.stop();
}

#[test]
fn reset_at_end_comes_after_every_byte() {
    let host = serve(&["reset-at-end"]);
    let mut connection = host.connect();
    connection.write_all(&bytes(1, 900)).expect("the server reads it");
    connection.shutdown(Shutdown::Write).expect("the socket is connected");
    assert!(read_exactly(&connection, 900) == bytes(1, 900));
    assert_reset(&connection);
    assert_eq!(host.record().offset, 900);
    host.stop();
}

#[test]
fn close_timer_and_early_fin_end_before_the_bytes_that_wait() {
    for spec in ["close-timer:after=50ms", "early-fin"] {
        let host = serve(&["delay:time=60s,at=300", spec]);
        let received = exchange(&host.connect(), &bytes(1, 900)).expect("the stream ends with an EOF, not an error");
        assert!(received == bytes(1, 900)[..300], "{spec}");
        let mut records = std::iter::repeat_with(|| host.record());
        // If the FIN comes at once, the delay has not begun.
        let record = records.find(|record| record.kind != FaultKind::Delay).expect("the fault is logged");
        assert_eq!((record.offset, record.extent, record.fault.to_string().as_str()), (300, 600, spec));
        let (stopped, _) = host.stop();
        assert_eq!(stopped.counters.bytes_discarded, 600, "{spec}");
    }
}

#[test]
fn early_fin_loses_nothing_that_the_socket_takes_at_once() {
    let host = serve(&["early-fin"]);
    for number in 0..20 {
        let sent = bytes(number, 5000);
        assert!(exchange(&host.connect(), &sent).expect("the server echoes") == sent);
    }
    assert!(host.stop().1.is_empty());
}

#[test]
fn short_send_loses_what_the_log_says() {
    let host = serve(&["short-send"]);
    let connection = host.connect();
    let flood = flood(&connection);
    // A short send needs a full socket, so nothing is read before one has happened.
    let first = host.record();
    let mut received = Vec::new();
    (&connection).read_to_end(&mut received).expect("the stream ends with an EOF, not an error");
    flood.join().expect("the writer does not panic");
    let (_, log) = host.stop();
    let lost: u64 = log.iter().map(|record| record.extent).sum::<u64>() + first.extent;
    assert_eq!(received.len() as u64 + lost, FLOOD as u64);
    let from = first.offset as usize;
    let behind = from + first.extent as usize;
    assert!(
        received[..from] == bytes(1, FLOOD)[..from] && received[from..from + 8] == bytes(1, FLOOD)[behind..behind + 8]
    );
}

#[test]
fn lost_wakeup_and_lockup_stop_for_good_when_a_write_blocks() {
    for spec in ["lost-wakeup", "lockup:len=8KiB"] {
        let host = serve(&[spec]);
        let connection = host.connect();
        let flood = flood(&connection);
        let mut received = Vec::new();
        let record = loop {
            // Whenever nothing is read for a while, the server's writes block.
            if let Ok(record) = host.log.recv_timeout(SILENCE) {
                break record;
            }
            assert!(received.len() < FLOOD, "{spec}");
            received.extend(read_exactly(&connection, 1 << 20));
        };
        received.extend(read_exactly(&connection, record.offset as usize - received.len()));
        assert!(received == bytes(1, FLOOD)[..received.len()], "{spec}");
        assert_silent(&connection);
        end(host, connection, flood);
    }
}

#[test]
fn busy_writers_serves_its_number_and_others_with_their_next_bytes() {
    for spec in ["busy-writers:n=1", "busy-writers:n=1,until=input"] {
        let host = serve(&["delay:time=3s,at=0,conn=0", spec]);
        let (mut busy, mut other) = (host.connect(), host.connect());
        busy.write_all(b"hello").expect("the server reads it");
        assert_eq!(host.record().kind, FaultKind::Delay);
        other.write_all(b"hello").expect("the server reads it");
        let record = host.record();
        assert_eq!((record.kind, record.peer, record.offset), (FaultKind::BusyWriters, local(&other), 0), "{spec}");
        assert_silent(&other);
        other.write_all(b"again").expect("the server reads it");
        if spec.ends_with("input") {
            assert_eq!(read_exactly(&other, 10), b"helloagain");
        } else {
            assert_silent(&other);
        }
        host.stop_after(vec![busy, other]);
    }
}

#[test]
fn rdhup_reads_once_more_and_resets_what_it_did_not_read() {
    let host = serve(&["one-at-a-time", "rdhup"]);
    let (mut first, mut second) = (host.connect(), host.connect());
    first.write_all(b"hello").expect("the server reads it");
    assert_eq!(read_exactly(&first, 5), b"hello");
    // It is not served yet, so all of it and the FIN are there when it is.
    second.write_all(&bytes(1, 8000)).expect("the system takes it");
    second.shutdown(Shutdown::Write).expect("the socket is connected");
    assert_eq!(host.record().kind, FaultKind::OneAtATime);
    drop(first);
    assert_reset(&second);
    let record = host.record();
    assert_eq!((record.kind, record.offset), (FaultKind::Rdhup, 2048));
    host.stop();
}

#[test]
fn an_urgent_byte_ends_the_connection_or_drops_what_is_received_next() {
    for spec in ["urgent-cut", "urgent-cut:cuts=pending"] {
        let host = serve(&[spec]);
        let mut connection = host.connect();
        connection.write_all(b"hello").expect("the server reads it");
        assert_eq!(read_exactly(&connection, 5), b"hello");
        assert_eq!(SockRef::from(&connection).send_out_of_band(b"!").expect("the system takes it"), 1);
        connection.write_all(b"again").expect("the server reads it");
        let record = host.record();
        assert_eq!((record.offset, record.fault.to_string().as_str()), (5, spec));
        if spec == "urgent-cut" {
            // Unread bytes make a reset of the end.
            let mut rest = Vec::new();
            let _ = (&connection).read_to_end(&mut rest);
            assert_eq!(rest, b"");
        } else {
            assert_eq!((record.kind, record.extent), (FaultKind::Drop, 5));
            connection.write_all(b"third").expect("the server reads it");
            assert_eq!(read_exactly(&connection, 5), b"third");
        }
        host.stop_after(vec![connection]);
    }
}
