//! What every server model must do, as a table of cases over real sockets. A case knows an address and how to stop the
//! server behind it, but not which model that is, on which system, and in which process. So the same table tests the
//! models of this system (`tests/models.rs`) and the Windows models under Wine (`tests/windows_under_wine.rs`).

mod client;
mod host;

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) use client::PATIENCE;
use client::{Client, Dice};
pub(crate) use host::{Ended, Host, InProcess, OwnProcess, Setup};

/// One promise of every model.
pub(crate) struct Case {
    /// The promise, as a sentence.
    pub(crate) name: &'static str,
    /// The server that it needs.
    pub(crate) setup: Setup,
    /// What the clients do while the server runs. It may begin the stop.
    pub(crate) run: fn(&mut dyn Host),
    /// What must be true at the end, beyond what `check` asks of every case.
    pub(crate) then: fn(&Ended),
}

impl Case {
    /// Runs the case on a server that was started with its setup, stops the server, and checks what must always hold.
    pub(crate) fn check(&self, mut host: Box<dyn Host>) {
        (self.run)(host.as_mut());
        let ended = host.end();
        assert!(!ended.hung, "the server hung: {ended:?}");
        assert_eq!(ended.error, None, "the server ended with an error: {ended:?}");
        assert!(ended.counters.add_up(), "the counters do not add up: {ended:?}");
        if self.setup.drain > Duration::ZERO {
            assert_eq!(ended.aborted, 0, "connections that had ended were still open: {ended:?}");
        }
        (self.then)(&ended);
    }
}

const MIB: usize = 1024 * 1024;
/// Clients that wait in the backlog: more than the accepts that a model has outstanding (128). Other systems than Linux
/// let fewer wait.
const WAITING: u64 = if cfg!(target_os = "linux") { 300 } else { 100 };
/// A drain time that a test does not wait for.
const TOO_LONG: Duration = Duration::from_secs(3600);
/// Bytes that no system's socket buffers hold. A server that takes them from a client that does not read keeps them.
const MORE_THAN_SOCKETS_HOLD: usize = 96 * MIB;
/// Bytes by which a server's process may grow while it keeps one buffer of 64 KiB. The server and the allocator may
/// have some more of that size.
const ALLOWED_GROWTH: u64 = 4 * MIB as u64;

fn nothing_more(_: &Ended) {}

fn nothing_was_lost(ended: &Ended) {
    let counters = &ended.counters;
    assert_eq!((counters.bytes_discarded, counters.connection_errors), (0, 0), "{ended:?}");
}

/// Every case.
pub(crate) static CASES: &[Case] = &[
    Case {
        name: "one byte comes back",
        setup: Setup::DEFAULT,
        run: |host| {
            let mut client = Client::connect(host.address(), 1);
            client.round_trip(1);
            client.finish();
        },
        then: |ended| {
            nothing_was_lost(ended);
            let counters = &ended.counters;
            assert_eq!((counters.accepted, counters.bytes_in, counters.bytes_out), (1, 1, 1));
        },
    },
    Case {
        name: "a connection that sends nothing ends with a FIN",
        setup: Setup::DEFAULT,
        run: |host| Client::connect(host.address(), 1).finish(),
        then: nothing_was_lost,
    },
    Case {
        name: "random sizes in random fragments come back exactly",
        setup: Setup { workers: 2, ..Setup::DEFAULT },
        run: |host| {
            let address = host.address();
            std::thread::scope(|scope| {
                for id in 0..20 {
                    scope.spawn(move || {
                        let mut dice = Dice::new(id);
                        let mut client = Client::connect(address, id);
                        for _ in 0..40 {
                            let size = dice.up_to(16 * 1024);
                            client.pump(size, dice.up_to(1460));
                        }
                        client.finish();
                    });
                }
            });
        },
        then: nothing_was_lost,
    },
    Case {
        name: "10 MiB pass through a buffer of 1 KiB",
        setup: Setup { buffer: 1024, ..Setup::DEFAULT },
        run: |host| {
            let mut client = Client::connect(host.address(), 1);
            client.pump(10 * MIB, 64 * 1024);
            client.finish();
        },
        then: |ended| {
            nothing_was_lost(ended);
            assert_eq!(ended.counters.bytes_out, 10 * MIB as u64);
        },
    },
    Case {
        name: "10 MiB pass through the default buffer while it wraps",
        setup: Setup::DEFAULT,
        run: |host| {
            let mut client = Client::connect(host.address(), 1);
            client.pump(10 * MIB, 10_007);
            client.finish();
        },
        then: nothing_was_lost,
    },
    Case {
        name: "a buffer of one byte echoes too",
        setup: Setup { buffer: 1, ..Setup::DEFAULT },
        run: |host| {
            let mut client = Client::connect(host.address(), 1);
            client.pump(5000, 700);
            client.finish();
        },
        then: nothing_was_lost,
    },
    Case {
        name: "a half-close is answered by the whole backlog, and then by a FIN",
        setup: Setup::DEFAULT,
        run: |host| {
            let mut client = Client::connect(host.address(), 1);
            client.send_until_stalled(MORE_THAN_SOCKETS_HOLD);
            client.finish();
        },
        then: nothing_was_lost,
    },
    Case {
        name: "a FIN that comes while much is still to be sent back cuts nothing off",
        // The buffer holds more than any socket buffer. So a server that receives while it can't send (threads does
        // not) sees the FIN long before it has sent everything.
        setup: Setup { buffer: 48 * MIB, ..Setup::DEFAULT },
        run: |host| {
            let mut client = Client::connect(host.address(), 1);
            client.send_until_stalled(40 * MIB);
            client.finish();
        },
        then: nothing_was_lost,
    },
    Case {
        name: "a client that does not read is slowed down, and delays nobody",
        // In a process of its own, so that its memory can be measured.
        setup: Setup { own_process: true, ..Setup::DEFAULT },
        run: a_client_that_does_not_read,
        then: nothing_was_lost,
    },
    Case {
        name: "a server holds no more than a buffer of a client that does not read",
        // In this process, so that its counters can be read while it runs.
        setup: Setup::DEFAULT,
        run: a_client_that_does_not_read,
        then: nothing_was_lost,
    },
    Case {
        name: "a reset in mid-stream hurts only its connection",
        setup: Setup::DEFAULT,
        run: |host| {
            let mut neighbour = Client::connect(host.address(), 0);
            for id in 1..=50 {
                let mut client = Client::connect(host.address(), id);
                client.send(20_000, 1000);
                if id % 2 == 0 {
                    client.expect(1);
                }
                client.reset();
                neighbour.round_trip(1000);
            }
            neighbour.finish();
        },
        then: |ended| assert!(ended.counters.bytes_out >= 50_000, "{ended:?}"),
    },
    Case {
        name: "a reset by a client that did not read ends its connection",
        setup: Setup::DEFAULT,
        run: |host| {
            let mut client = Client::connect(host.address(), 1);
            client.send_until_stalled(MORE_THAN_SOCKETS_HOLD);
            client.reset();
        },
        then: |ended| assert!(ended.counters.bytes_discarded > 0, "{ended:?}"),
    },
    Case {
        name: "a reset after a FIN ends the connection even while much is to be sent back",
        // As above: the server has the FIN while it can't send, so only a send can show the reset.
        setup: Setup { buffer: 48 * MIB, ..Setup::DEFAULT },
        run: |host| {
            let mut neighbour = Client::connect(host.address(), 0);
            let mut client = Client::connect(host.address(), 1);
            client.send_until_stalled(40 * MIB);
            client.half_close();
            // By then the server has seen the FIN, if it receives.
            (0..20).for_each(|_| neighbour.round_trip(1000));
            client.reset();
            neighbour.finish();
        },
        then: |ended| {
            assert!(ended.counters.bytes_discarded > 0, "{ended:?}");
            assert_eq!(ended.counters.connection_errors, 1, "{ended:?}");
        },
    },
    Case {
        name: "1,000 clients may connect and close at once",
        setup: Setup { workers: 2, ..Setup::DEFAULT },
        run: |host| {
            for id in 0..1000 {
                drop(Client::connect(host.address(), id));
            }
            let mut client = Client::connect(host.address(), 1000);
            client.round_trip(100);
            client.finish();
        },
        then: |ended| {
            assert_eq!(ended.counters.accepted, 1001);
            assert_eq!(ended.counters.bytes_in, 100);
        },
    },
    Case {
        name: "200 clients that connect and reset at once harm no other",
        setup: Setup::DEFAULT,
        run: |host| {
            for id in 0..200 {
                Client::connect(host.address(), id).reset();
            }
            let mut client = Client::connect(host.address(), 200);
            client.round_trip(100);
            client.finish();
        },
        then: nothing_more,
    },
    Case {
        name: "200 connections at once, past 64",
        setup: Setup::DEFAULT,
        run: |host| at_once(host, 200),
        then: |ended| {
            nothing_was_lost(ended);
            assert_eq!(ended.counters.accepted, 200);
        },
    },
    Case {
        name: "200 connections at once on three workers",
        setup: Setup { workers: 3, ..Setup::DEFAULT },
        run: |host| at_once(host, 200),
        then: |ended| {
            nothing_was_lost(ended);
            assert_eq!(ended.counters.accepted, 200);
        },
    },
    Case {
        name: "1,100 connections at once, past 1,024",
        setup: Setup { own_process: true, ..Setup::DEFAULT },
        run: |host| at_once(host, 1100),
        then: |ended| {
            nothing_was_lost(ended);
            assert_eq!(ended.counters.accepted, 1100);
        },
    },
    Case {
        name: "a graceful stop accepts no more and lets busy connections finish",
        setup: Setup { workers: 2, ..Setup::DEFAULT },
        run: a_graceful_stop,
        then: |ended| {
            nothing_was_lost(ended);
            assert_eq!(ended.counters.bytes_out, 8 * 2 * MIB as u64);
        },
    },
    Case {
        name: "a stop serves those who wait in the backlog",
        setup: Setup { own_process: true, drain: TOO_LONG, ..Setup::DEFAULT },
        run: |host| {
            // Connected is who waits in the backlog, too.
            host.freeze();
            let mut clients: Vec<Client> = (0..WAITING).map(|id| Client::connect(host.address(), id)).collect();
            clients.iter_mut().for_each(|client| client.send(1000, 1000));
            host.begin_stop();
            host.thaw();
            for mut client in clients {
                client.expect(1000);
                client.finish();
            }
        },
        then: |ended| {
            nothing_was_lost(ended);
            assert_eq!(ended.counters.accepted, WAITING);
        },
    },
    Case {
        name: "a stop ends although clients go on connecting",
        setup: Setup { own_process: true, workers: 2, drain: TOO_LONG, ..Setup::DEFAULT },
        run: clients_that_go_on_connecting,
        then: nothing_was_lost,
    },
    Case {
        name: "a stop with no drain time ends idle and stalled connections",
        setup: Setup { workers: 2, drain: Duration::ZERO, ..Setup::DEFAULT },
        run: |host| {
            for id in 0..20 {
                let mut client = Client::connect(host.address(), id);
                client.round_trip(100);
                if id % 5 == 0 {
                    client.send_until_stalled(MORE_THAN_SOCKETS_HOLD);
                }
                // Kept open beyond this scope: the server must end them, not the client.
                std::mem::forget(client);
            }
        },
        then: |ended| {
            assert_eq!(ended.aborted, 20, "{ended:?}");
            assert!(ended.counters.bytes_discarded > 0, "{ended:?}");
        },
    },
    Case {
        name: "--max-conns turns further clients away until a connection has ended",
        setup: Setup { max_conns: 3, ..Setup::DEFAULT },
        run: max_conns,
        then: |ended| assert!(ended.counters.refused >= 1 && ended.counters.accepted >= 4, "{ended:?}"),
    },
    Case {
        name: "--idle-timeout closes silent connections and no others",
        setup: Setup { workers: 2, idle_timeout: Some(Duration::from_secs(2)), ..Setup::DEFAULT },
        run: idle_timeout,
        then: |ended| assert_eq!(ended.counters.idle_closed, 2, "{ended:?}"),
    },
    Case {
        name: "running out of descriptors is survived",
        setup: Setup { own_process: true, descriptors: Some(64), ..Setup::DEFAULT },
        run: |host| {
            // Far more than the server has descriptors for; the rest waits to be accepted.
            let mut clients: Vec<Client> = (0..100).map(|id| Client::connect(host.address(), id)).collect();
            clients[0].round_trip(10);
            // sleep: the time in which the server must not try without a pause
            std::thread::sleep(Duration::from_millis(500));
            // Each one that ends makes room for one that waits.
            for mut client in clients {
                client.round_trip(1000);
                client.finish();
            }
        },
        then: |ended| {
            nothing_was_lost(ended);
            assert_eq!(ended.counters.accepted, 100);
            // With a pause between two tries there are about 100; without one there are 100,000.
            let tries = ended.counters.accept_errors;
            assert!(
                (1..5000).contains(&tries),
                "the server did not run out of descriptors, or did not pause: {ended:?}"
            );
        },
    },
    Case {
        name: "an idle server uses no CPU time, nor does one that drains",
        setup: Setup { own_process: true, workers: 2, ..Setup::DEFAULT },
        run: |host| {
            let clients: Vec<Client> = (0..10)
                .map(|id| {
                    let mut client = Client::connect(host.address(), id);
                    client.round_trip(10);
                    client
                })
                .collect();
            // Waiting for room to send, with or without a FIN received, is as idle as waiting for bytes.
            let [(deaf, _), (mut half_closed, owed)] = [10, 11].map(|id| {
                let mut client = Client::connect(host.address(), id);
                let sent = client.send_until_stalled(MORE_THAN_SOCKETS_HOLD);
                (client, sent)
            });
            half_closed.stream.shutdown(Shutdown::Write).expect("it is open");
            // And so is a connection that had to wait for room, and has sent everything since.
            let mut drained = Client::connect(host.address(), 12);
            let sent = drained.send_until_stalled(MORE_THAN_SOCKETS_HOLD);
            drained.expect(sent);
            must_rest(host);
            host.begin_stop();
            until_no_more_are_accepted(host);
            must_rest(host);
            drained.finish();
            clients.into_iter().for_each(Client::finish);
            deaf.finish();
            half_closed.expect(owed);
            assert_eq!(half_closed.receive(&mut [0]).expect("a FIN comes"), 0);
        },
        then: |ended| {
            nothing_was_lost(ended);
            // For systems that do not tell of a running process: its whole life, with 26 MiB echoed on a slow machine.
            assert!(ended.cpu_seconds.is_none_or(|seconds| seconds < 1.5), "the server spun: {ended:?}");
        },
    },
];

/// `count` connections are open at the same time, all have bytes under way, and all end.
fn at_once(host: &mut dyn Host, count: u64) {
    let mut clients: Vec<Client> = (0..count).map(|id| Client::connect(host.address(), id)).collect();
    let mut dice = Dice::new(count);
    for _ in 0..3 {
        let sizes: Vec<usize> = clients.iter().map(|_| dice.up_to(2000)).collect();
        for (client, size) in clients.iter_mut().zip(&sizes) {
            client.send(*size, dice.up_to(1460));
        }
        for (client, size) in clients.iter_mut().zip(&sizes) {
            client.expect(*size);
        }
    }
    clients.into_iter().for_each(Client::finish);
}

fn a_client_that_does_not_read(host: &mut dyn Host) {
    let mut silent = Client::connect(host.address(), 0);
    silent.round_trip(1);
    let before = time_of_others(host, 2);
    let mut deaf = Client::connect(host.address(), 1);
    // What each connection costs, such as a process, is there from its first byte on.
    deaf.round_trip(1);
    let empty = host.resident_memory();
    let sent = deaf.send_until_stalled(MORE_THAN_SOCKETS_HOLD);
    assert!(sent < MORE_THAN_SOCKETS_HOLD, "the server took {sent} bytes from a client that read none of them back");
    let grown = host.resident_memory().zip(empty).map(|(now, empty)| now.saturating_sub(empty));
    assert!(
        grown.is_none_or(|bytes| bytes < ALLOWED_GROWTH),
        "the server grew by {grown:?} bytes while {sent} were sent"
    );
    let with_deaf = time_of_others(host, 6);
    // Far more than the noise of a busy machine, and far less than waiting for the deaf client would take.
    assert!(
        with_deaf < 10 * before + Duration::from_secs(1),
        "others took {before:?}, and {with_deaf:?} beside a client that does not read"
    );
    if host.counters().is_some() {
        // The server may count the others' bytes a moment after it has echoed them.
        until("the server holds no more than --buffer of a client that does not read", || {
            let counters = host.counters().expect("a server in this process can be asked");
            counters.bytes_in.saturating_sub(counters.bytes_out) <= Setup::DEFAULT.buffer as u64
        });
    }
    // It was slowed down, and lost nothing.
    deaf.finish();
    silent.finish();
}

/// The time that round trips of other clients take. There are several, so that one of them shares a worker with the
/// client that is there.
fn time_of_others(host: &dyn Host, first_id: u64) -> Duration {
    let begin = Instant::now();
    for id in first_id..first_id + 4 {
        let mut other = Client::connect(host.address(), id);
        (0..100).for_each(|_| other.round_trip(1000));
        other.finish();
    }
    begin.elapsed()
}

fn a_graceful_stop(host: &mut dyn Host) {
    let mut clients: Vec<Client> = (0..8).map(|id| Client::connect(host.address(), id)).collect();
    for client in &mut clients {
        client.pump(MIB, 64 * 1024);
        client.send(100, 100);
    }
    host.begin_stop();
    until_no_more_are_accepted(host);
    for mut client in clients {
        client.expect(100);
        client.pump(MIB - 100, 1000);
        client.finish();
    }
}

fn clients_that_go_on_connecting(host: &mut dyn Host) {
    /// Half of the default backlog, which is the most that a stop may take.
    const MOST_AFTER_STOP: u64 = 2048;
    let (address, served, is_stopped) = (host.address(), AtomicU64::new(0), AtomicBool::new(false));
    let before = std::thread::scope(|scope| {
        for id in 0..8 {
            let (served, is_stopped) = (&served, &is_stopped);
            scope.spawn(move || {
                let begin = Instant::now();
                // Until the listener is closed. Who connects at that very moment may be reset.
                let end = loop {
                    match one_byte_and_a_fin(address, id) {
                        Ok(()) => served.fetch_add(1, Ordering::SeqCst),
                        Err(e) => break e,
                    };
                    assert!(begin.elapsed() < PATIENCE, "the server still accepts");
                };
                assert!(is_stopped.load(Ordering::SeqCst), "before the stop: {end}");
            });
        }
        until("the clients are served", || served.load(Ordering::SeqCst) >= 100);
        is_stopped.store(true, Ordering::SeqCst);
        host.begin_stop();
        served.load(Ordering::SeqCst)
    });
    let after = served.into_inner() - before;
    assert!(after < MOST_AFTER_STOP, "{after} connections were served after the stop");
}

fn one_byte_and_a_fin(address: SocketAddr, id: u64) -> io::Result<()> {
    let mut client = Client::try_connect(address, id)?;
    io::Write::write_all(&mut client.stream, b"?")?;
    client.end()
}

fn until_no_more_are_accepted(host: &dyn Host) {
    until("the server accepts no more", || {
        // A late client that is still accepted is served until it ends, so it must end.
        let late = Client::try_connect(host.address(), 99);
        late.and_then(Client::end).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
    });
}

/// Nobody does anything, so the server must not either.
fn must_rest(host: &dyn Host) {
    // What the last bytes cost may be counted late. A server that spins uses up to 2 s, and waits thousands of times.
    const ALLOWED_TIME: Duration = Duration::from_millis(200);
    const ALLOWED_WAITS: u64 = 1000;
    let before = (host.cpu_time(), host.waits());
    // sleep: the time in which the server must do nothing
    std::thread::sleep(Duration::from_secs(2));
    let used = host.cpu_time().zip(before.0).map(|(after, before)| after.saturating_sub(before));
    let waited = host.waits().zip(before.1).map(|(after, before)| after.saturating_sub(before));
    assert!(used.is_none_or(|used| used < ALLOWED_TIME), "the server spun: {used:?} in 2 s");
    assert!(waited.is_none_or(|waited| waited < ALLOWED_WAITS), "the server spun: {waited:?} waits in 2 s");
}

fn max_conns(host: &mut dyn Host) {
    let mut served: Vec<Client> = (0..3).map(|id| Client::connect(host.address(), id)).collect();
    served.iter_mut().for_each(|client| client.round_trip(10));
    // Turned away by a FIN or a reset. A client that is ignored instead runs into its time-out.
    if let Err(e) = Client::connect(host.address(), 3).ending() {
        let timed_out = matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        assert!(!timed_out, "a client beyond --max-conns was neither served nor closed: {e}");
    }
    served.pop().expect("there are three").finish();
    until("there is room for a client again", || {
        let Ok(mut client) = Client::try_connect(host.address(), 4) else { return false };
        io::Write::write(&mut client.stream, b"?").is_ok() && client.receive(&mut [0]).is_ok_and(|n| n == 1)
    });
    for mut client in served {
        client.round_trip(10);
        client.finish();
    }
}

fn idle_timeout(host: &mut dyn Host) {
    let mut chatty = Client::connect(host.address(), 0);
    let mut silent = Client::connect(host.address(), 1);
    silent.round_trip(10);
    let mute = Client::connect(host.address(), 2);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let ends = [silent, mute].map(|client| scope.spawn(|| client.ending()));
        while !ends.iter().all(|end| end.is_finished()) {
            assert!(begin.elapsed() < PATIENCE, "silent connections were not closed");
            chatty.round_trip(10);
            // sleep: a client that is not silent need not be busy
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    chatty.round_trip(10);
    chatty.finish();
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        // sleep: nothing reports the change, so it is looked for again and again
        std::thread::sleep(Duration::from_millis(5));
    }
}
