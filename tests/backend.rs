//! Both ends are ours: what a relay between them does wrong is named with the direction in which it does it. A relay
//! that carries both directions faithfully passes, whichever side sends and whichever side ends first.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use echo_tester::client::{self, Control, RunOutcome, RunPlan};
use echo_tester::measure::LoadStats;
use echo_tester::peer::Backend;
use echo_tester::stream::{Finding, FindingKind, OtherSide, StreamDirection};
use relay::{Carry, Way, bytes, faithful, loses_ten_on_the_way_back, relay, without_ten};

mod load;
mod relay;

fn backend() -> Backend {
    Backend::listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free")
}

fn run(target: SocketAddr, backend: &Backend, load: &str) -> RunOutcome {
    let plan = RunPlan { backend: Some(backend.intake()), ..load::plan(target, &[load]) };
    let control = Control::new(&plan);
    client::run(plan, &control).expect("the client can start threads")
}

/// Runs the load through such a relay, and returns its findings.
fn through(carry: Carry, load: &str) -> (RunOutcome, Vec<Finding>) {
    let backend = backend();
    let mut outcome = run(relay(backend.address(), carry), &backend, load);
    let findings = outcome.findings.remove(0);
    (outcome, findings)
}

fn named(findings: &[Finding]) -> Vec<(FindingKind, Option<StreamDirection>)> {
    findings.iter().map(|finding| (finding.divergence.kind, finding.direction)).collect()
}

/// Loads of every flow, and of every order of ends.
const LOADS: &[&str] = &[
    "flow = 'both'\nmessages = 20",
    "flow = 'both'\nmessages = 20\nbackend_messages = 1",
    "flow = 'both'\nmessages = 1\nbackend_messages = 50\nbackend_gap = '1ms'",
    "flow = 'both'\nmessages = 20\nbackend_close = 'after-echo'",
    "flow = 'both'\nmessages = 20\nclose = 'after-echo'",
    "flow = 'both'\nmessages = 20\nbackend_close = 'reset'",
    "flow = 'both'\nmessages = 20\nclose = 'reset'",
    "flow = 'both'\nmessages = 20\nclose = 'abandon'",
    "flow = 'both'\nmessages = 20\nbackend_close = 'abandon'",
    "flow = 'both'\nbytes = '1MiB'\nread = 'slow:4MiB/s'\nbackend_read = 'pause:100ms'",
    "flow = 'upload'\nmessages = 20",
    "flow = 'download'\nmessages = 20",
    "flow = 'download'\nmessages = 20\nclose = 'half-close'",
    "flow = 'request'\nmessages = 20\nbackend_size = '1..64KiB'",
    "flow = 'request'\nmessages = 20\nsize = 1\nbackend_size = 1\npipeline = 8\nclose = 'after-echo'",
    "flow = 'request'\nduration = '300ms'\nbackend_size = 100",
    "flow = 'both'\nmessages = 3\nreconnect = 5",
    "flow = 'both'\nduration = '300ms'\nclose = 'keep'",
    "flow = 'both'\nmessages = 20\nrate = 2000\nbackend_messages = 40\nbackend_rate = '4k'",
    "flow = 'download'\nmessages = 10\nbackend_rate = '2k'\nreconnect = 2",
];

/// Nothing was wrong, and every connection has reached the backend.
fn assert_passes(outcome: &RunOutcome, findings: &[Finding], load: &str) {
    assert_eq!(named(findings), [], "{load}: {findings:#?}");
    let counters = &outcome.groups[0].counters;
    assert_eq!((counters.failed, counters.passed), (0, counters.opened), "{load}");
    let came = outcome.backend.expect("there is a backend");
    assert_eq!((came.unknown, came.repeated), (0, 0), "{load}: {came:?}");
}

#[test]
fn straight_at_the_backend_every_flow_and_every_order_of_ends_passes() {
    let backend = backend();
    for load in LOADS {
        let load = format!("conns = 4\nstall_timeout = '10s'\n{load}");
        let mut outcome = run(backend.address(), &backend, &load);
        let findings = outcome.findings.remove(0);
        assert_passes(&outcome, &findings, &load);
    }
}

#[test]
fn a_faithful_relay_passes_every_flow_and_every_order_of_ends() {
    for load in LOADS {
        let load = format!("conns = 4\nstall_timeout = '10s'\n{load}");
        let (outcome, findings) = through(faithful, &load);
        assert_passes(&outcome, &findings, &load);
    }
}

#[test]
fn both_directions_are_verified_to_their_last_bytes() {
    let (outcome, findings) = through(faithful, "conns = 3\nflow = 'both'\nbytes = '100KiB'\nbackend_bytes = '50KiB'");
    assert_passes(&outcome, &findings, "");
    let (client, server) = (&outcome.groups[0].counters, &outcome.backend_groups[0].counters);
    assert_eq!((client.bytes_sent, server.bytes_verified), (300 << 10, 300 << 10));
    assert_eq!((server.bytes_sent, client.bytes_verified), (150 << 10, 150 << 10));
    assert_eq!(outcome.backend.map(|came| came.recognized), Some(3));
}

/// From the start of the schedule to the last message of a side, in nanoseconds.
fn sent_over(stats: &LoadStats) -> u64 {
    stats.open_loop.due_until - stats.open_loop.began.expect("the schedule has begun")
}

#[test]
fn both_sides_send_at_once_at_rates_of_their_own() {
    let load = "conns = 2\nflow = 'both'\nsize = 100\nmessages = 5\nrate = 100\nbackend_messages = 40\n\
                backend_rate = 200";
    let (outcome, findings) = through(faithful, load);
    assert_passes(&outcome, &findings, load);
    let (client, server) = (&outcome.groups[0], &outcome.backend_groups[0]);
    assert_eq!((client.counters.messages_sent, server.counters.messages_sent), (10, 80));
    assert_eq!((server.counters.messages_echoed, client.counters.messages_echoed), (10, 80));
    // No message begins before it is due: the last ones are the 10th and the 80th of all connections together.
    assert!(sent_over(client) >= 9 * 10_000_000, "{}", sent_over(client));
    assert!(sent_over(server) >= 79 * 5_000_000, "{}", sent_over(server));
    assert_eq!((client.sent_after_due.count(), server.sent_after_due.count()), (10, 80));
}

#[test]
fn the_server_s_schedule_goes_on_with_the_next_connection_of_a_slot() {
    let load = "conns = 1\nflow = 'download'\nsize = 100\nmessages = 5\nbackend_rate = 50\nreconnect = 2";
    let (outcome, findings) = through(faithful, load);
    assert_passes(&outcome, &findings, load);
    let server = &outcome.backend_groups[0];
    assert_eq!(server.counters.messages_sent, 15);
    // The last message is the 15th of the slot's schedule, whichever connection sends it.
    assert!(sent_over(server) >= 14 * 20_000_000, "{}", sent_over(server));
}

#[test]
fn bytes_that_are_lost_are_lost_on_one_way_alone() {
    const LOAD: &str = "conns = 2\nflow = 'both'\nbytes = '20KiB'";
    let up: Carry = |way, from, to| {
        bytes(from, to, |offset, piece| {
            if way == Way::Up {
                without_ten(offset, piece)
            }
        })?;
        to.shutdown(Shutdown::Write)
    };
    let down: Carry = loses_ten_on_the_way_back;
    for (carry, direction) in [(up, StreamDirection::Up), (down, StreamDirection::Down)] {
        let (outcome, findings) = through(carry, LOAD);
        assert_eq!(named(&findings), [(FindingKind::Lost, Some(direction)); 2]);
        for finding in &findings {
            assert_eq!((finding.divergence.offset, finding.divergence.extent), (1000, 10));
        }
        assert_eq!((outcome.groups[0].counters.passed, outcome.groups[0].counters.failed), (0, 2));
    }
}

#[test]
fn a_loss_shows_the_other_side_as_it_was_when_the_loss_was_met() {
    // A loss is certain only when no late bytes can fill the gap any more: at the end of the connection.
    let load =
        "conns = 2\nflow = 'both'\nsize = 500\nfragment = 'off'\nmessages = 20\ngap = '2ms'\nbackend_gap = '2ms'";
    let (_, findings) = through(loses_ten_on_the_way_back, load);
    assert_eq!(named(&findings), [(FindingKind::Lost, Some(StreamDirection::Down)); 2], "{findings:#?}");
    for finding in &findings {
        let other = finding.other.as_deref().expect("both ends are ours");
        assert!(other.reached && other.sent > 1000, "{finding:#?}");
        let times = [other.last_sent_ms, other.last_received_ms, other.fin_ms, other.ended_ms];
        assert!(times.iter().flatten().all(|at| *at <= finding.at_ms), "{finding:#?}");
    }
}

#[test]
fn a_relay_that_stops_both_ways_gives_one_finding_a_connection() {
    let stops: Carry = |_, from, to| {
        bytes(from, to, |offset, piece| piece.truncate(2000u64.saturating_sub(offset) as usize))?;
        // sleep: it keeps both sockets for longer than both sides wait for an end
        thread::sleep(Duration::from_secs(5));
        Ok(())
    };
    // Both sides miss bytes. Either may be the first to give up; the other one's end is then no fault of its own.
    let load = "conns = 2\nflow = 'both'\nsize = 500\nfragment = 'off'\nmessages = 20\nstall_timeout = '300ms'";
    let (outcome, findings) = through(stops, load);
    let kinds: Vec<_> = findings.iter().map(|finding| finding.divergence.kind).collect();
    assert_eq!(kinds, [FindingKind::Stalled; 2], "{findings:#?}");
    assert_ne!(findings[0].divergence.conn, findings[1].divergence.conn);
    assert_eq!(outcome.groups[0].counters.failed, 2);
}

#[test]
fn what_a_relay_swallows_stalls_the_side_that_misses_it() {
    let swallows: Carry = |way, from, to| {
        bytes(from, to, |offset, piece| {
            if way == Way::Up && offset > 0 {
                piece.clear()
            }
        })?;
        to.shutdown(Shutdown::Write)
    };
    // The first piece has the bytes by which the connection is recognized. Both FINs wait for the run's end.
    let load =
        "conns = 1\nflow = 'both'\nsize = 16\nfragment = 'off'\nmessages = 30\ngap = '100ms'\nstall_timeout = '500ms'";
    let (_, findings) = through(swallows, load);
    assert_eq!(named(&findings), [(FindingKind::Stalled, Some(StreamDirection::Up))], "{findings:#?}");
    let OtherSide { reached, sent, held, fin_ms, .. } = findings[0].other.as_deref().expect("both ends are ours");
    assert!(*reached && fin_ms.is_none() && *held > 0 && held < sent, "{findings:#?}");
}

#[test]
fn a_relay_that_ends_both_ways_at_one_fin_is_found_by_the_side_that_still_receives() {
    let cuts: Carry = |_, from, to| {
        bytes(from, to, |_, _| {})?;
        from.shutdown(Shutdown::Both)?;
        to.shutdown(Shutdown::Both)
    };
    let slow_server =
        "conns = 2\nflow = 'both'\nmessages = 1\nbackend_messages = 20\nbackend_size = 100\nbackend_gap = '10ms'";
    let (_, findings) = through(cuts, slow_server);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    let slow_client = "conns = 2\nflow = 'both'\nbackend_messages = 1\nmessages = 20\nsize = 100\ngap = '10ms'";
    let (_, findings) = through(cuts, slow_client);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    // What an echo shows is the same whether only one direction is cut: the client's FIN comes first there.
    let one_way = "conns = 2\nflow = 'both'\nmessages = 20\nbackend_messages = 20\nclose = 'after-echo'";
    let cuts_up_alone: Carry = |way, from, to| {
        bytes(from, to, |_, _| {})?;
        if way == Way::Up {
            from.shutdown(Shutdown::Both)?
        }
        to.shutdown(Shutdown::Write)
    };
    let (outcome, findings) = through(cuts_up_alone, one_way);
    assert_passes(&outcome, &findings, one_way);
}

#[test]
fn a_connection_whose_client_ends_before_the_backend_has_looked_has_reached_it() {
    // As many proxies do by default.
    let cuts: Carry = |way, from, to| {
        bytes(from, to, |_, _| {})?;
        for socket in [from, to] {
            // The other way may have shut it down.
            let _ = socket.shutdown(if way == Way::Up { Shutdown::Both } else { Shutdown::Write });
        }
        Ok(())
    };
    let (outcome, findings) = through(cuts, "conns = 50\nflow = 'upload'\nmessages = 1\nsize = 64");
    let came = outcome.backend.expect("there is a backend");
    assert_eq!((came.accepted, came.recognized + came.late, came.unknown), (50, 50, 0), "{came:?}");
    for finding in &findings {
        let other = finding.other.as_deref().expect("both ends are ours");
        assert!(other.reached != other.late && finding.direction == Some(StreamDirection::Down), "{finding:#?}");
    }
}

/// A relay that serves one client after the other. It opens its connection to the backend when the client has ended,
/// and carries what it had sent.
fn relay_that_comes_late(backend: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut sent = Vec::new();
            // An error is an end too.
            let _ = client.read_to_end(&mut sent);
            let mut server = TcpStream::connect(backend).expect("it listens");
            server.write_all(&sent).expect("nobody has closed it");
            // The backend closes it.
            let _ = server.read(&mut [0]);
        }
    });
    address
}

#[test]
fn a_connection_that_came_late_is_counted_and_not_said_to_be_missing() {
    let backend = backend();
    let load = "conns = 1\nreconnect = 1\nflow = 'both'\nmessages = 2\ngap = '1m'\nsize = 64\nstall_timeout = '1s'";
    let mut outcome = run(relay_that_comes_late(backend.address()), &backend, load);
    let findings = outcome.findings.remove(0);
    // The second one waits for the relay until the first one was carried, and gives up too.
    assert_eq!(named(&findings), [(FindingKind::Stalled, Some(StreamDirection::Up)); 2], "{findings:#?}");
    let first = findings[0].other.as_deref().expect("both ends are ours");
    assert!(first.late && !first.reached, "{findings:#?}");
    let came = outcome.backend.expect("there is a backend");
    assert_eq!((came.recognized, came.repeated, came.unknown), (0, 0, 0), "{came:?}");
    assert!(came.late >= 1, "{came:?}");
}

/// A relay for two connections, one after the other. It leaves the first one's server open when its client is over, and
/// sends its first bytes once more, behind those of the second one.
fn relay_that_mixes_two(backend: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    let carry = move || -> std::io::Result<()> {
        let mut first = None;
        for client in listener.incoming() {
            let (mut client, mut server) = (client?, TcpStream::connect(backend)?);
            let (mut asked, mut answer) = (vec![0; 1000], vec![0; 100]);
            client.read_exact(&mut asked)?;
            server.write_all(&asked)?;
            if let Some((_, bytes)) = &first {
                let bytes: &Vec<u8> = bytes;
                server.write_all(&bytes[..64])?;
            }
            server.read_exact(&mut answer)?;
            client.write_all(&answer)?;
            // Its client is over then, and closed.
            let _ = client.read(&mut [0]);
            if first.is_some() {
                server.shutdown(Shutdown::Write)?;
                let _ = server.read(&mut [0]);
                return Ok(());
            }
            first = Some((server, asked));
        }
        Ok(())
    };
    thread::spawn(move || carry().expect("both sides do what the plan says"));
    address
}

#[test]
fn a_connection_of_which_one_half_is_open_is_not_closed() {
    let backend = backend();
    let load = "conns = 1\nreconnect = 1\nflow = 'request'\nmessages = 1\nsize = 1000\nfragment = 'off'\n\
                backend_size = 100\nclose = 'after-echo'\nstall_timeout = '10s'";
    let mut outcome = run(relay_that_mixes_two(backend.address()), &backend, load);
    let findings = outcome.findings.remove(0);
    assert_eq!(named(&findings), [(FindingKind::Crosstalk, Some(StreamDirection::Up))], "{findings:#?}");
    let source = findings[0].divergence.source.expect("crosstalk has a source");
    assert!(source.open && source.conn != findings[0].divergence.conn, "{source:?}");
}

#[test]
fn an_echo_server_as_the_target_is_shown_by_the_client_s_own_bytes() {
    let backend = backend();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let target = listener.local_addr().expect("the listener is bound");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (mut from, mut to) = (client.try_clone().expect("there are descriptors"), client);
            let _ = bytes(&mut from, &mut to, |_, _| {});
        }
    });
    let mut outcome = run(target, &backend, "conns = 1\nflow = 'both'\nmessages = 3\nsize = 100\nstall_timeout = '1s'");
    let findings = outcome.findings.remove(0);
    let echoed = findings.iter().find(|finding| finding.divergence.other_way).expect("the bytes are recognized");
    assert_eq!((echoed.divergence.kind, echoed.direction), (FindingKind::Crosstalk, Some(StreamDirection::Down)));
    let source = echoed.divergence.source.expect("they have a source");
    assert_eq!((source.conn, source.offset, echoed.divergence.offset), (echoed.divergence.conn, 0, 0));
    assert!(findings.iter().all(|finding| finding.divergence.kind != FindingKind::Surplus), "{findings:#?}");
}

/// What the client has sent on the connection, for the other way of the same relay.
static SENT_UP: Mutex<Vec<u8>> = Mutex::new(Vec::new());

#[test]
fn bytes_of_the_other_direction_put_in_place_are_named_with_their_place() {
    // The server answers, so what the client has sent is known when the answer comes.
    let mixes: Carry = |way, from, to| {
        bytes(from, to, |offset, piece| {
            let mut up = SENT_UP.lock().expect("no thread panics with it");
            if way == Way::Up {
                up.extend_from_slice(piece);
            } else if offset == 0 && piece.len() >= 400 {
                piece[200..300].copy_from_slice(&up[500..600]);
            }
        })?;
        to.shutdown(Shutdown::Write)
    };
    let load = "conns = 1\nflow = 'request'\nmessages = 1\nsize = 1000\nbackend_size = 1000\nfragment = 'off'";
    let (_, findings) = through(mixes, load);
    assert_eq!(named(&findings), [(FindingKind::Crosstalk, Some(StreamDirection::Down))], "{findings:#?}");
    let divergence = &findings[0].divergence;
    let source = divergence.source.expect("they have a source");
    assert!(divergence.other_way && source.conn == divergence.conn, "{divergence:?}");
    // A byte at a border is equal to the right one by chance, once in 256.
    assert_eq!(source.offset - 500, divergence.offset - 200);
    assert!(divergence.extent > 90 && divergence.extent == divergence.replaced, "{divergence:?}");
}

#[test]
fn a_relay_that_keeps_a_fin_or_a_reset_to_itself_never_ends_the_other_side() {
    let no_fin: Carry = |way, from, to| {
        bytes(from, to, |_, _| {})?;
        if way == Way::Up {
            return to.shutdown(Shutdown::Write);
        }
        // sleep: it keeps the client's socket for longer than the client waits for an end
        thread::sleep(Duration::from_secs(5));
        Ok(())
    };
    let load = "conns = 1\nflow = 'both'\nmessages = 5\nstall_timeout = '500ms'";
    let (_, findings) = through(no_fin, load);
    assert_eq!(named(&findings), [(FindingKind::NoFin, Some(StreamDirection::Down))], "{findings:#?}");
    assert!(findings[0].other.as_deref().is_some_and(|other| other.fin_ms.is_some()));

    let no_reset: Carry = |_, from, to| {
        let _ = bytes(from, to, |_, _| {});
        // sleep: it keeps both sockets for longer than the client waits for an end
        thread::sleep(Duration::from_secs(5));
        Ok(())
    };
    let load = "conns = 1\nflow = 'both'\nmessages = 5\nbackend_close = 'reset'\nstall_timeout = '500ms'\nclose = 'after-echo'";
    let (_, findings) = through(no_reset, load);
    assert_eq!(named(&findings), [(FindingKind::NoFin, Some(StreamDirection::Down))], "{findings:#?}");
    assert!(findings[0].other.as_deref().is_some_and(|other| other.reset), "{findings:#?}");
}

#[test]
fn a_backend_that_is_never_reached_is_named() {
    let backend = backend();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let target = listener.local_addr().expect("the listener is bound");
    // The listener's queue takes the connections, and nobody accepts them.
    let mut outcome = run(target, &backend, "conns = 2\nflow = 'upload'\nmessages = 5\nstall_timeout = '300ms'");
    let findings = outcome.findings.remove(0);
    assert_eq!(named(&findings), [(FindingKind::Stalled, Some(StreamDirection::Up)); 2], "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.other.as_deref().is_some_and(|other| !other.reached)));
    assert_eq!(outcome.backend.map(|came| came.accepted), Some(0));
}

#[test]
fn other_connections_to_the_backend_are_counted_and_are_no_finding() {
    let backend = backend();
    let mut check = TcpStream::connect(backend.address()).expect("it listens");
    let address = backend.address();
    let load = "conns = 2\nflow = 'both'\nmessages = 10\nsize = 100\ngap = '10ms'";
    let other = thread::spawn(move || {
        // A health check of another program, while the run goes on or before it.
        check.write_all(b"GET /health HTTP/1.0\r\n\r\n").expect("the connection is open");
        TcpStream::connect(address).expect("it listens")
    });
    let mut outcome = run(backend.address(), &backend, load);
    drop(other.join().expect("it does not panic"));
    let findings = outcome.findings.remove(0);
    assert_eq!(named(&findings), []);
    assert_eq!(outcome.groups[0].counters.passed, 2);
}

#[test]
fn a_side_that_does_not_read_stops_the_other_one_and_shows_what_the_way_holds() {
    let load = "conns = 2\nflow = 'upload'\nbytes = '64MiB'\nsize = '1MiB'\nfragment = 'off'\nbackend_read = 'never'";
    let (outcome, findings) = through(faithful, load);
    assert_eq!(named(&findings), [], "{findings:#?}");
    let stats = &outcome.groups[0];
    assert_eq!(stats.counters.write_stalls, 2);
    let most = stats.buffered.max().expect("the writes have stalled");
    assert!(most > 0 && most < 64 << 20, "{most}");
}

/// Carries nothing more to the client once its first bytes have come.
fn hangs_on_the_way_back(way: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    if way == Way::Down {
        let mut first = [0; 16 << 10];
        let n = from.read(&mut first)?;
        to.write_all(&first[..n])?;
        // sleep: it keeps both sockets for longer than the client waits
        thread::sleep(Duration::from_secs(3));
    }
    faithful(way, from, to)
}

#[test]
fn the_way_that_is_read_is_verified_to_its_end_though_the_other_never_is() {
    let sizes = "size = '64KiB'\nbytes = '16MiB'\nbackend_bytes = '8MiB'\nstall_timeout = '1s'";
    let load = format!("conns = 2\nflow = 'both'\nbackend_read = 'never'\n{sizes}");
    let (outcome, findings) = through(faithful, &load);
    assert_eq!(named(&findings), [], "{findings:#?}");
    assert_eq!(outcome.groups[0].counters.bytes_verified, 16 << 20);
    let (_, findings) = through(hangs_on_the_way_back, &load);
    assert_eq!(named(&findings), [(FindingKind::Stalled, Some(StreamDirection::Down)); 2], "{findings:#?}");
    let load = format!("conns = 2\nflow = 'both'\nread = 'never'\n{sizes}");
    let (outcome, findings) = through(faithful, &load);
    assert_eq!(named(&findings), [], "{findings:#?}");
    assert_eq!(outcome.backend_groups[0].counters.bytes_verified, 32 << 20);
}
