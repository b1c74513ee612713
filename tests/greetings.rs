//! A server that speaks first, where both ends are ours: it is verified as every other, on both ways, and a relay that
//! waits for the client, mixes up connections or changes the server's first bytes is found.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use echo_tester::client::{self, Control, RunOutcome, RunPlan};
use echo_tester::peer::Backend;
use echo_tester::stream::{Finding, FindingKind, StreamDirection};
use relay::{Carry, Way, bytes, faithful, loses_ten_on_the_way_back, relay};

mod load;
mod relay;

fn backend() -> Backend {
    Backend::listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free")
}

/// Runs the load, whose server speaks first, and returns its findings.
fn run(target: SocketAddr, backend: &Backend, load: &str) -> (RunOutcome, Vec<Finding>) {
    let load = format!("speaks_first = 'server'\n{load}");
    let plan = RunPlan { backend: Some(backend.intake()), ..load::plan(target, &[&load]) };
    let control = Control::new(&plan);
    let mut outcome = client::run(plan, &control).expect("the client can start threads");
    let findings = outcome.findings.remove(0);
    (outcome, findings)
}

fn through(carry: Carry, load: &str) -> (RunOutcome, Vec<Finding>) {
    let backend = backend();
    run(relay(backend.address(), carry), &backend, load)
}

fn kinds(findings: &[Finding]) -> Vec<FindingKind> {
    findings.iter().map(|finding| finding.divergence.kind).collect()
}

const LOADS: &[&str] = &[
    "flow = 'both'\nmessages = 20",
    "flow = 'both'\nmessages = 0\nbackend_messages = 20",
    "flow = 'both'\nmessages = 3\nreconnect = 5",
    "flow = 'both'\nmessages = 20\nbackend_close = 'reset'",
    "flow = 'upload'\nmessages = 20",
    "flow = 'download'\nmessages = 20",
    "flow = 'request'\nmessages = 20\nsize = 1\nclose = 'after-echo'",
    "flow = 'download'\nmessages = 10\nbackend_rate = '2k'",
];

#[test]
fn straight_and_through_a_faithful_relay_every_flow_passes() {
    let backend = backend();
    for target in [backend.address(), relay(backend.address(), faithful)] {
        for load in LOADS {
            let load = format!("conns = 4\nstall_timeout = '10s'\n{load}");
            let (outcome, findings) = run(target, &backend, &load);
            assert_eq!(kinds(&findings), [], "{load}: {findings:#?}");
            let counters = &outcome.groups[0].counters;
            assert_eq!((counters.failed, counters.passed), (0, counters.opened), "{load}");
            let came = outcome.backend.expect("there is a backend");
            assert_eq!((came.recognized, came.unknown, came.repeated), (counters.opened, 0, 0), "{load}: {came:?}");
        }
    }
}

#[test]
fn a_header_of_the_proxy_protocol_before_the_client_s_stream_is_no_surplus() {
    let sends_header: Carry = |way, from, to| {
        if way == Way::Down {
            // Before the greeting goes on, as a proxy that has connected.
            from.write_all(b"PROXY TCP4 10.0.0.1 10.0.0.2 1111 2222\r\n")?;
        }
        faithful(way, from, to)
    };
    let (outcome, findings) = through(sends_header, "conns = 4\nflow = 'both'\nmessages = 20");
    assert_eq!(kinds(&findings), [], "{findings:#?}");
    let came = outcome.backend.expect("there is a backend");
    assert_eq!((came.recognized, came.with_header, came.with_client_address), (4, 4, 0), "{came:?}");
}

#[test]
fn both_directions_are_verified_to_their_last_bytes() {
    let (outcome, findings) = through(faithful, "conns = 3\nflow = 'both'\nbytes = '100KiB'\nbackend_bytes = '50KiB'");
    assert_eq!(kinds(&findings), []);
    let (client, server) = (&outcome.groups[0].counters, &outcome.backend_groups[0].counters);
    assert_eq!((client.bytes_sent, server.bytes_verified), (300 << 10, 300 << 10));
    assert_eq!((server.bytes_sent, client.bytes_verified), (150 << 10, 150 << 10));
}

#[test]
fn a_relay_that_waits_for_the_client_s_first_bytes_is_found() {
    let waits: Carry = |way, from, to| {
        if way == Way::Down {
            // The other end of this socket is the client, which waits too: it ends this when it gives up.
            to.peek(&mut [0])?;
        }
        faithful(way, from, to)
    };
    let (outcome, findings) = through(waits, "conns = 2\nflow = 'request'\nmessages = 5\nconnect_timeout = '300ms'");
    assert_eq!(kinds(&findings), [FindingKind::Stalled; 2], "{findings:#?}");
    let cause = findings[0].cause.as_deref().unwrap_or_default();
    assert!(cause.contains("the proxy waits for the client's"), "{cause}");
    let counters = &outcome.groups[0].counters;
    assert_eq!((counters.opened, counters.failed, counters.connect_failures), (2, 2, 0));
}

#[test]
fn a_relay_that_mixes_up_two_connections_is_found() {
    let backend = backend();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let target = listener.local_addr().expect("it is bound");
    let address = backend.address();
    thread::spawn(move || {
        let pair = || {
            let (client, _) = listener.accept().expect("the run connects");
            (client, TcpStream::connect(address).expect("the backend listens"))
        };
        let (first, second) = (pair(), pair());
        // What a client sends reaches the other one's server; what a server sends reaches its own client.
        for (way, from, to) in [
            (Way::Up, &first.0, &second.1),
            (Way::Up, &second.0, &first.1),
            (Way::Down, &first.1, &first.0),
            (Way::Down, &second.1, &second.0),
        ] {
            let (mut from, mut to) =
                (from.try_clone().expect("there are descriptors"), to.try_clone().expect("there are descriptors"));
            thread::spawn(move || {
                let _ = faithful(way, &mut from, &mut to);
            });
        }
    });
    let (_, findings) = run(target, &backend, "conns = 2\nflow = 'both'\nmessages = 5\nsize = 100");
    assert_eq!(findings.len(), 2, "{findings:#?}");
    for finding in &findings {
        // The other connection may be over by then.
        assert!(matches!(finding.divergence.kind, FindingKind::Crosstalk | FindingKind::Stale), "{finding:#?}");
        assert_eq!(finding.direction, Some(StreamDirection::Up));
    }
}

#[test]
fn first_bytes_that_are_wrong_are_found() {
    let changes: Carry = |way, from, to| {
        bytes(from, to, |offset, piece| {
            if way == Way::Down && offset == 0 {
                piece[0] ^= 1;
            }
        })?;
        to.shutdown(Shutdown::Write)
    };
    let (outcome, findings) = through(changes, "conns = 2\nflow = 'both'\nmessages = 5");
    assert_eq!(kinds(&findings), [FindingKind::Corrupt; 2], "{findings:#?}");
    for Finding { divergence, direction, .. } in &findings {
        let place = (divergence.offset, divergence.extent, divergence.expected[0]);
        assert_eq!((place, *direction), ((0, 1, divergence.received[0] ^ 1), Some(StreamDirection::Down)));
    }
    assert_eq!(outcome.backend.map(|came| (came.recognized, came.unknown)), Some((0, 2)));

    let inserts: Carry = |way, from, to| {
        if way == Way::Down {
            to.write_all(b"220 ")?;
        }
        faithful(way, from, to)
    };
    let (_, findings) = through(inserts, "conns = 2\nflow = 'both'\nmessages = 5");
    assert_eq!(kinds(&findings), [FindingKind::Surplus; 2], "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.divergence.extent == 4), "{findings:#?}");

    let ends: Carry = |way, from, to| match way {
        Way::Down => to.shutdown(Shutdown::Write),
        Way::Up => io::copy(from, to).map(drop),
    };
    let (_, findings) = through(ends, "conns = 2\nflow = 'both'\nmessages = 5");
    assert_eq!(kinds(&findings), [FindingKind::Truncated; 2], "{findings:#?}");
}

#[test]
fn bytes_after_the_first_ones_are_lost_where_they_are() {
    let (_, findings) = through(loses_ten_on_the_way_back, "conns = 2\nflow = 'both'\nbytes = '20KiB'");
    assert_eq!(kinds(&findings), [FindingKind::Lost; 2]);
    for finding in &findings {
        // The 16 bytes of the greeting are not of the stream.
        assert_eq!((finding.divergence.offset, finding.divergence.extent), (984, 10));
        assert_eq!(finding.direction, Some(StreamDirection::Down));
    }
}

#[test]
fn connections_that_a_proxy_has_opened_in_advance_are_greeted_too() {
    let backend = backend();
    let reserve = [(); 2].map(|()| TcpStream::connect(backend.address()).expect("it listens"));
    while backend.intake().counts().accepted < 2 {
        thread::yield_now();
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let proxy = listener.local_addr().expect("the listener is bound");
    thread::spawn(move || {
        for (server, client) in reserve.into_iter().zip(listener.incoming().map_while(Result::ok)) {
            for (way, from, to) in [(Way::Up, &client, &server), (Way::Down, &server, &client)] {
                let [mut from, mut to] = [from, to].map(|socket| socket.try_clone().expect("there are descriptors"));
                thread::spawn(move || faithful(way, &mut from, &mut to));
            }
        }
    });
    let (outcome, findings) = run(proxy, &backend, "conns = 2\nflow = 'both'\nmessages = 5\nconnect_timeout = '3s'");
    assert_eq!((kinds(&findings), outcome.groups[0].counters.passed), (vec![], 2), "{findings:#?}");
}
