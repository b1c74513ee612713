//! What every server model must do, as a table of cases over real sockets. A case knows an address and how to stop what
//! is behind it; which model that is, on which system, and in which process, is its caller's business: so the same
//! table holds the models of this system (`tests/models.rs`) and the Windows models under Wine to one contract.

mod client;
mod host;

use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};

pub(crate) use client::PATIENCE;
use client::{Client, Dice};
pub(crate) use host::{Ended, Host, InProcess, OwnProcess, Setup};

/// One promise of every model.
pub(crate) struct Case {
    /// The promise.
    pub(crate) name: &'static str,
    /// The server that it is tested on.
    pub(crate) setup: Setup,
    /// What clients do while it runs; it may begin the stop.
    pub(crate) run: fn(&mut dyn Host),
    /// What must be true at its end, beyond what is true of all.
    pub(crate) then: fn(&Ended),
}

impl Case {
    /// Runs the case on a server that was started with its setup, stops that, and checks what must hold however it was
    /// used.
    pub(crate) fn check(&self, mut host: Box<dyn Host>) {
        (self.run)(host.as_mut());
        let ended = host.end();
        assert!(!ended.hung, "it hung: {ended:?}");
        assert_eq!(ended.error, None, "it did not end well: {ended:?}");
        assert!(ended.counters.add_up(), "the counters do not add up: {ended:?}");
        if self.setup.drain > Duration::ZERO {
            assert_eq!(ended.aborted, 0, "connections that had ended were still open: {ended:?}");
        }
        (self.then)(&ended);
    }
}

const MIB: usize = 1024 * 1024;
/// More than any system's socket buffers on the way hold together: a server that took so much from a client that does
/// not read has kept it.
const UNBOUNDED: usize = 96 * MIB;
/// What a server's process may grow by while it keeps no more than a buffer of 64 KiB: a few of those, of its own and
/// of the allocator.
const GROWTH: u64 = 4 * MIB as u64;

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
        name: "10 MiB pass through the usual buffer while it wraps",
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
        name: "a half-close is answered by a large backlog, all of it, and then by a FIN",
        setup: Setup::DEFAULT,
        run: |host| {
            let mut client = Client::connect(host.address(), 1);
            client.send_until_stalled(UNBOUNDED);
            client.finish();
        },
        then: nothing_was_lost,
    },
    Case {
        name: "a FIN that comes while much is still to be sent back does not cut it off",
        // The buffer holds what no socket buffer does, so that a server that receives while it cannot send (threads
        // does not) sees the FIN long before its sends are done.
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
        // Of its own, so that its memory can be told.
        setup: Setup { own_process: true, ..Setup::DEFAULT },
        run: a_client_that_does_not_read,
        then: nothing_was_lost,
    },
    Case {
        name: "of a client that does not read a server holds no more than a buffer",
        // In this process, so that its counters can be told while it runs.
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
        name: "a reset of a client that did not read ends its connection",
        setup: Setup::DEFAULT,
        run: |host| {
            let mut client = Client::connect(host.address(), 1);
            client.send_until_stalled(UNBOUNDED);
            client.reset();
        },
        then: |ended| assert!(ended.counters.bytes_discarded > 0, "{ended:?}"),
    },
    Case {
        name: "a reset after a FIN ends the connection, much though there is to be sent back",
        // As above: the server has the FIN while it can't send, so nothing but a send is left to tell of the reset.
        setup: Setup { buffer: 48 * MIB, ..Setup::DEFAULT },
        run: |host| {
            let mut neighbour = Client::connect(host.address(), 0);
            let mut client = Client::connect(host.address(), 1);
            client.send_until_stalled(40 * MIB);
            client.half_close();
            // Meanwhile the server has seen the FIN, if it receives.
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
        name: "1,000 clients that connect and close at once are let go",
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
        name: "200 clients that connect and reset at once harm nobody",
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
        name: "a stop without patience ends idle and stalled connections",
        setup: Setup { workers: 2, drain: Duration::ZERO, ..Setup::DEFAULT },
        run: |host| {
            for id in 0..20 {
                let mut client = Client::connect(host.address(), id);
                client.round_trip(100);
                if id % 5 == 0 {
                    client.send_until_stalled(UNBOUNDED);
                }
                // Out of this scope: the server is to end them, not the client.
                std::mem::forget(client);
            }
        },
        then: |ended| {
            assert_eq!(ended.aborted, 20, "{ended:?}");
            assert!(ended.counters.bytes_discarded > 0, "{ended:?}");
        },
    },
    Case {
        name: "--max-conns turns one more away, and takes one when one has ended",
        setup: Setup { max_conns: 3, ..Setup::DEFAULT },
        run: max_conns,
        then: |ended| assert!(ended.counters.refused >= 1 && ended.counters.accepted >= 4, "{ended:?}"),
    },
    Case {
        name: "--idle-timeout closes what is silent and leaves what is not",
        setup: Setup { workers: 2, idle_timeout: Some(Duration::from_secs(2)), ..Setup::DEFAULT },
        run: idle_timeout,
        then: |ended| assert_eq!(ended.counters.idle_closed, 2, "{ended:?}"),
    },
    Case {
        name: "running out of descriptors is survived",
        setup: Setup { own_process: true, descriptors: Some(64), ..Setup::DEFAULT },
        run: |host| {
            // Far more than fit; the rest waits to be accepted.
            let mut clients: Vec<Client> = (0..100).map(|id| Client::connect(host.address(), id)).collect();
            clients[0].round_trip(10);
            // sleep: not to wait for anything: this is the time in which it must not try without pause
            std::thread::sleep(Duration::from_millis(500));
            // Each that ends makes room for one that waits.
            for mut client in clients {
                client.round_trip(1000);
                client.finish();
            }
        },
        then: |ended| {
            nothing_was_lost(ended);
            assert_eq!(ended.counters.accepted, 100);
            // A pause between two tries leaves some 100 of them; without one they are 100,000.
            let tries = ended.counters.accept_errors;
            assert!((1..5000).contains(&tries), "it did not run out, or did not pause: {ended:?}");
        },
    },
    Case {
        name: "an idle server uses no CPU time",
        setup: Setup { own_process: true, workers: 2, ..Setup::DEFAULT },
        run: |host| {
            let clients: Vec<Client> = (0..10)
                .map(|id| {
                    let mut client = Client::connect(host.address(), id);
                    client.round_trip(10);
                    client
                })
                .collect();
            // To wait for room to send, also with a FIN received or waiting, is as idle as to wait for bytes.
            let [(deaf, _), (mut half_closed, owed)] = [10, 11].map(|id| {
                let mut client = Client::connect(host.address(), id);
                let sent = client.send_until_stalled(UNBOUNDED);
                (client, sent)
            });
            half_closed.stream.shutdown(Shutdown::Write).expect("it is open");
            // sleep: not to wait for anything: this is the time in which it must do nothing
            std::thread::sleep(Duration::from_secs(2));
            clients.into_iter().for_each(Client::finish);
            deaf.finish();
            half_closed.expect(owed);
            assert_eq!(half_closed.receive(&mut [0]).expect("the end"), 0);
        },
        then: |ended| {
            nothing_was_lost(ended);
            // Starting and stopping is in it, some hundredths; a server that spins uses 2 s, on a busy machine less.
            assert!(ended.cpu_seconds.is_none_or(|seconds| seconds < 0.3), "it spun: {ended:?}");
        },
    },
];

/// All of them open, all of them with bytes under way, all of them ended.
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
    let empty = host.resident_memory();
    let sent = deaf.send_until_stalled(UNBOUNDED);
    assert!(sent < UNBOUNDED, "the server took {sent} bytes from a client that did not read one back");
    let grown = host.resident_memory().zip(empty).map(|(now, empty)| now.saturating_sub(empty));
    assert!(grown.is_none_or(|bytes| bytes < GROWTH), "the server grew by {grown:?} bytes while {sent} were sent");
    let with_deaf = time_of_others(host, 6);
    // Far more than a busy machine's noise, and far less than waits for the deaf one would take.
    assert!(
        with_deaf < 10 * before + Duration::from_secs(1),
        "others took {before:?}, and beside a client that does not read {with_deaf:?}"
    );
    if host.counters().is_some() {
        // The counts of what the others sent may come a moment after their echo.
        until("the server holds no more than --buffer of the client that does not read", || {
            let counters = host.counters().expect("it told them before");
            counters.bytes_in.saturating_sub(counters.bytes_out) <= Setup::DEFAULT.buffer as u64
        });
    }
    // It was slowed down, and has lost nothing.
    deaf.finish();
    silent.finish();
}

/// The time that round trips of others take. More than one of them, so that with workers one shares its worker with
/// whoever is there.
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
    until("it accepts no more", || {
        // One that is still accepted is served like the others, until it ends; so it must end.
        let late = Client::try_connect(host.address(), 99);
        late.and_then(Client::end).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
    });
    for mut client in clients {
        client.expect(100);
        client.pump(MIB - 100, 1000);
        client.finish();
    }
}

fn max_conns(host: &mut dyn Host) {
    let mut served: Vec<Client> = (0..3).map(|id| Client::connect(host.address(), id)).collect();
    served.iter_mut().for_each(|client| client.round_trip(10));
    // Turned away: by a FIN, or by a reset. One that is left open and ignored runs into its time-out.
    if let Err(e) = Client::connect(host.address(), 3).ending() {
        let timed_out = matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        assert!(!timed_out, "one more than --max-conns was neither served nor closed: {e}");
    }
    served.pop().expect("three").finish();
    until("there is room again", || {
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
            // sleep: one that is not silent need not be busy
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    chatty.round_trip(10);
    chatty.finish();
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not in {PATIENCE:?}: {what}");
        // sleep: between two looks at what tells nobody when it changes
        std::thread::sleep(Duration::from_millis(5));
    }
}
