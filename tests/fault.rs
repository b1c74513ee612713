//! The server that fails on purpose, over real sockets and with a simple client: each fault does what its
//! documentation says, at the exact byte, and logs it. `fault_connection` has the faults that concern a
//! connection's socket, its time or its neighbours. `tests/detection` is the other half: the real client finds each
//! fault.

mod faulty;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use echo_tester::server::fault::{FaultKind, FaultLog, FaultyServer};
use echo_tester::server::{Options, Server};
use faulty::{PATIENCE, SILENCE, assert_silent, bytes, exchange, local, read_exactly, serve};

#[test]
fn a_connection_without_a_fault_is_echoed() {
    let host = serve(&["flip:at=0,conn=99"]);
    let sent = bytes(1, 3_000_000);
    assert!(exchange(&host.connect(), &sent).expect("the server echoes") == sent);
    let (stopped, log) = host.stop();
    assert!(stopped.counters.add_up() && log.is_empty(), "{:?}", stopped.counters);
}

#[test]
fn drop_removes_exactly_its_bytes_on_exactly_its_connection() {
    let host = serve(&["drop:at=65536,len=3,conn=1"]);
    let connections: Vec<TcpStream> = (0..3).map(|_| host.connect()).collect();
    for (number, connection) in connections.iter().enumerate() {
        let sent = bytes(number as u8, 200_000);
        let mut wanted = sent.clone();
        if number == 1 {
            wanted.drain(65536..65539);
        }
        assert!(exchange(connection, &sent).expect("the server echoes") == wanted, "connection {number}");
    }
    let record = host.record();
    assert_eq!((record.kind, record.conn, record.peer), (FaultKind::Drop, 1, local(&connections[1])));
    assert_eq!((record.offset, record.extent), (65536, 3));
    let (stopped, log) = host.stop();
    assert_eq!((stopped.counters.bytes_discarded, log.len()), (3, 0));
    assert!(stopped.counters.add_up());
}

#[test]
fn a_connection_replayed_alone_meets_the_same_fault() {
    let host = serve(&["flip:at=5000,conn=1"]);
    let others: Vec<TcpStream> = (0..2).map(|_| host.connect()).collect();
    let first = exchange(&others[1], &bytes(1, 10_000)).expect("the server echoes");
    exchange(&others[0], &bytes(0, 10_000)).expect("the server echoes");
    let again = exchange(&host.connect(), &bytes(1, 10_000)).expect("the server echoes");
    let another = exchange(&host.connect(), &bytes(2, 10_000)).expect("the server echoes");
    assert!(first == again && first != bytes(1, 10_000));
    assert!(another == bytes(2, 10_000));
    assert_eq!([host.record(), host.record()].map(|record| (record.conn, record.offset)), [(1, 5000); 2]);
    host.stop();
}

#[test]
fn a_stalled_connection_stalls_again_when_it_is_replayed() {
    let host = serve(&["stall:at=1000,conn=1"]);
    let others: Vec<TcpStream> = (0..2).map(|_| host.connect()).collect();
    for mut connection in [&others[1], &host.connect()] {
        connection.write_all(&bytes(1, 5000)).expect("the server reads it");
        connection.shutdown(Shutdown::Write).expect("the socket is connected");
        assert!(read_exactly(connection, 1000) == bytes(1, 1000));
        assert_silent(connection);
        assert_eq!((host.record().conn, host.log.try_recv().ok()), (1, None));
    }
    drop(others);
    host.stop();
}

#[test]
fn truncate_is_an_eof_after_exactly_at_bytes() {
    let host = serve(&["truncate:at=70000"]);
    let sent = bytes(1, 200_000);
    assert!(exchange(&host.connect(), &sent).expect("the stream ends with an EOF, not an error") == sent[..70000]);
    assert_eq!(host.record().kind, FaultKind::Truncate);
    host.stop();
}

#[test]
fn reset_is_an_error_after_exactly_at_bytes() {
    let host = serve(&["reset:at=70000"]);
    let connection = host.connect();
    let mut writer = connection.try_clone().expect("a socket can be cloned");
    let writer = std::thread::spawn(move || writer.write_all(&bytes(1, 200_000)));
    assert!(read_exactly(&connection, 70000) == bytes(1, 70000));
    let error = (&connection).read(&mut [0]).expect_err("the connection is reset");
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted), "{error}");
    assert_eq!(host.record().kind, FaultKind::Reset);
    // It may have written everything before the reset, or not.
    let _ = writer.join().expect("the writer does not panic");
    host.stop();
}

#[test]
fn stall_and_no_fin_leave_the_connection_open_until_the_server_stops() {
    for (spec, echoed) in [("stall:at=1000", 1000), ("no-fin", 5000)] {
        let host = serve(&[spec]);
        let mut connection = host.connect();
        connection.write_all(&bytes(1, 5000)).expect("the server reads it");
        connection.shutdown(Shutdown::Write).expect("the socket is connected");
        assert!(read_exactly(&connection, echoed) == bytes(1, 5000)[..echoed], "{spec}");
        assert_silent(&connection);
        assert_eq!(host.record().offset, echoed as u64, "{spec}");
        host.stop();
    }
}

#[test]
fn delay_continues_after_its_time() {
    let host = serve(&["delay:time=300ms,at=1000"]);
    let mut connection = host.connect();
    connection.write_all(&bytes(1, 5000)).expect("the server reads it");
    assert!(read_exactly(&connection, 1000) == bytes(1, 1000));
    assert_eq!(host.record().offset, 1000);
    assert!(read_exactly(&connection, 4000) == bytes(1, 5000)[1000..]);
    drop(connection);
    host.stop();
}

#[test]
fn fin_without_drain_ends_without_the_bytes_not_sent_back_yet() {
    let host = serve(&["fin-without-drain:time=300ms"]);
    let received = exchange(&host.connect(), &bytes(1, 900)).expect("the stream ends with an EOF, not an error");
    assert!(received.len() < 900);
    let record = host.record();
    assert_eq!((record.offset, record.extent), (received.len() as u64, 900 - received.len() as u64));
    let (stopped, _) = host.stop();
    assert_eq!(stopped.counters.bytes_discarded, record.extent);
}

#[test]
fn crosstalk_sends_bytes_of_the_other_connection() {
    let host = serve(&["crosstalk:len=500,at=2000,conn=1"]);
    let mut other = host.connect();
    other.write_all(&bytes(0, 3000)).expect("the server reads it");
    read_exactly(&other, 3000);
    let mut victim = host.connect();
    victim.write_all(&bytes(1, 4000)).expect("the server reads it");
    let received = read_exactly(&victim, 4000);
    let record = host.record();
    let source = record.source.expect("the record names its source");
    assert_eq!((record.kind, record.conn, record.offset, record.extent), (FaultKind::Crosstalk, 1, 2000, 500));
    assert_eq!((source.conn, source.peer, record.replaced), (0, local(&other), Some(500)));
    let from = source.offset as usize;
    assert!(received[..2000] == bytes(1, 2000));
    assert!(received[2000..2500] == bytes(0, 3000)[from..from + 500]);
    assert!(received[2500..] == bytes(1, 4000)[2500..]);
    drop((other, victim));
    host.stop();
}

#[test]
fn bytes_moved_to_a_client_that_does_not_read_do_not_pile_up() {
    let host = serve(&["crosstalk:len=4096,every=16384,conn=1,mode=move"]);
    let deaf = host.connect();
    // What is moved of it is four times what the socket buffers of any system hold.
    let sent = bytes(1, 96 << 20);
    let received = exchange(&host.connect(), &sent).expect("the rest is echoed");
    let moved = (sent.len() - received.len()) as u64;
    assert!(moved > 20 << 20, "{moved}");
    drop(deaf);
    let (stopped, _) = host.stop();
    // Moved bytes count as discarded where they were received; the rest waited for the deaf connection.
    let waited = stopped.counters.bytes_discarded - moved;
    assert!(waited <= 16 * 1024 + 4096, "{waited} bytes waited: {:?}", stopped.counters);
}

#[test]
fn crosstalk_that_moves_has_a_record_on_both_connections() {
    let host = serve(&["crosstalk:len=500,at=2000,conn=1,mode=move"]);
    let mut other = host.connect();
    other.write_all(&bytes(0, 300)).expect("the server reads it");
    read_exactly(&other, 300);
    let mut loser = host.connect();
    loser.write_all(&bytes(1, 4000)).expect("the server reads it");
    assert!(read_exactly(&loser, 3500) == [&bytes(1, 2000), &bytes(1, 4000)[2500..]].concat());
    assert!(read_exactly(&other, 500) == bytes(1, 4000)[2000..2500]);
    let mut records = [host.record(), host.record()];
    records.sort_by_key(|record| record.conn);
    let [there, here] = records;
    assert_eq!((here.kind, here.conn, here.offset, here.extent), (FaultKind::Drop, 1, 2000, 500));
    assert_eq!((there.kind, there.conn, there.offset, there.extent), (FaultKind::Crosstalk, 0, 300, 500));
    assert_eq!(there.source.map(|source| (source.peer, source.offset)), Some((local(&loser), 2000)));
    drop((other, loser));
    let (stopped, _) = host.stop();
    assert_eq!((stopped.counters.bytes_out, stopped.counters.bytes_discarded), (4300, 500));
}

#[test]
fn stale_bytes_of_a_closed_connection_are_inserted() {
    let host = serve(&["stale:from=closed,len=500,at=2000"]);
    let closed = host.connect();
    let peer = local(&closed);
    exchange(&closed, &bytes(0, 3000)).expect("the server echoes");
    drop(closed);
    // The connection must have been closed for a while: the wait on an idle connection takes long enough.
    let idle = host.connect();
    let sent = bytes(1, 4000);
    let a_while_later = || {
        assert_silent(&idle);
        exchange(&host.connect(), &sent).expect("the server echoes")
    };
    let received = std::iter::repeat_with(a_while_later)
        .take(20)
        .find(|received| *received != sent)
        .expect("old bytes are inserted after a while");
    let source = host.record().source.expect("the record names its source");
    assert_eq!((source.conn, source.peer), (0, peer));
    let from = source.offset as usize;
    assert!(received == [&sent[..2000], &bytes(0, 3000)[from..from + 500], &sent[2000..]].concat());
    drop(idle);
    host.stop();
}

#[test]
fn one_at_a_time_serves_the_next_when_the_last_has_ended() {
    let host = serve(&["one-at-a-time"]);
    let (mut first, mut second) = (host.connect(), host.connect());
    for connection in [&mut first, &mut second] {
        connection.write_all(b"hello").expect("the server reads it");
    }
    assert!(read_exactly(&first, 5) == b"hello");
    let record = host.record();
    assert_eq!((record.kind, record.peer), (FaultKind::OneAtATime, local(&second)));
    assert_silent(&second);
    drop(first);
    assert!(read_exactly(&second, 5) == b"hello");
    drop(second);
    host.stop();
}

#[test]
fn limit_ignores_the_connections_beyond_it() {
    let host = serve(&["limit-2"]);
    let mut connections: Vec<TcpStream> = (0..4).map(|_| host.connect()).collect();
    for connection in &mut connections {
        connection.write_all(b"hello").expect("the server reads it");
    }
    for served in &connections[..2] {
        assert!(read_exactly(served, 5) == b"hello");
    }
    for ignored in &connections[2..] {
        assert_eq!(host.record().peer, local(ignored));
        assert_silent(ignored);
    }
    host.stop_after(connections);
}

#[test]
fn limit_with_a_queue_serves_the_next_when_an_earlier_one_has_ended() {
    let host = serve(&["limit:n=2,beyond=queue"]);
    let mut connections: Vec<TcpStream> = (0..3).map(|_| host.connect()).collect();
    for connection in &mut connections {
        connection.write_all(b"hello").expect("the server reads it");
    }
    let waiting = connections.pop().expect("three connections are open");
    for served in &connections {
        assert!(read_exactly(served, 5) == b"hello");
    }
    let record = host.record();
    assert_eq!((record.kind, record.peer), (FaultKind::Limit, local(&waiting)));
    assert_silent(&waiting);
    drop(connections.pop());
    assert!(read_exactly(&waiting, 5) == b"hello");
    connections.push(waiting);
    host.stop_after(connections);
}

#[test]
fn a_client_that_does_not_read_is_slowed_down() {
    let host = serve(&["duplicate:every=4KiB,len=100"]);
    let mut connection = host.connect();
    connection.set_write_timeout(Some(SILENCE)).expect("the socket takes the option");
    let chunk = bytes(1, 1 << 20);
    // Writing blocks when the buffers of the sockets and of the server are full, long before this.
    let blocked = (0..256).any(|_| connection.write_all(&chunk).is_err());
    assert!(blocked, "the server accepted 256 MiB that no client reads");
    drop(connection);
    host.stop();
}

#[test]
fn a_log_that_cannot_be_written_ends_the_server() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let faults = vec!["flip:at=0".parse().expect("a valid fault spec")];
    let faulty = FaultyServer { faults, seed: 0, log: FaultLog::lines(Full) };
    let run = |listener, context| faulty.run(listener, context);
    let server =
        Server::start_with(run, "faulty", ([127, 0, 0, 1], 0).into(), Options::default()).expect("the server starts");
    let mut connection = TcpStream::connect(server.address()).expect("the server listens");
    connection.write_all(b"x").expect("the server reads it");
    match server.wait(Some(PATIENCE)) {
        echo_tester::server::Waited::Ended(Err(error)) => {
            assert!(error.to_string().contains("the fault log can't be written"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
