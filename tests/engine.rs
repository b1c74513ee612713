//! The engine against servers whose behaviour each test spells out: what it must find, and what it must not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use echo_tester::client::{self, Control, RunOutcome, RunPlan};
use echo_tester::judge::verdict::{Verdict, VerdictContext, judge};
use echo_tester::measure::{Counters, Point};
use echo_tester::server::models;
use echo_tester::server::{Options, Server};
use echo_tester::stream::{ConnId, Finding, FindingKind};
use load::plan;
use ports::free_port;

mod endings;
mod load;
mod opening;
mod ports;

/// Serves each connection on a thread of its own with `behave`, which gets the number of the accept.
fn server(behave: impl Fn(TcpStream, usize) -> std::io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound");
    let behave = Arc::new(behave);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let behave = Arc::clone(&behave);
            thread::spawn(move || {
                // The client may break off at any time. Some of the tests are about that.
                let _ = behave(stream, number);
            });
        }
    });
    address
}

/// Echoes through `change`, which may alter the bytes that are sent back. Answers a FIN with a FIN.
fn echo(mut stream: TcpStream, mut change: impl FnMut(u64, &mut Vec<u8>)) -> std::io::Result<()> {
    let mut offset = 0;
    let mut buffer = vec![0; 4096];
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return stream.shutdown(Shutdown::Write);
        }
        let mut bytes = buffer[..n].to_vec();
        change(offset, &mut bytes);
        offset += n as u64;
        stream.write_all(&bytes)?;
    }
}

fn run(plan: RunPlan) -> RunOutcome {
    let control = Control::new(&plan);
    client::run(plan, &control).expect("the client can start threads")
}

fn blast(target: SocketAddr, load: &str) -> (Counters, Vec<Finding>) {
    let mut outcome = run(plan(target, &[load]));
    (outcome.groups.remove(0).counters, outcome.findings.remove(0))
}

fn good_server() -> Server {
    let model = models::find("auto").expect("the default is in the table of models");
    let model =
        if model.run.is_some() { model } else { models::find("tokio").expect("tokio is in the table of models") };
    Server::start(model, "127.0.0.1:0".parse().expect("the text is an address"), Options::default())
        .expect("the default model can serve")
}

fn kinds(findings: &[Finding]) -> Vec<(u32, FindingKind, u64, u64)> {
    let of = |f: &Finding| (f.divergence.conn.get(), f.divergence.kind, f.divergence.offset, f.divergence.extent);
    findings.iter().map(of).collect()
}

fn assert_all_pass(counters: &Counters, findings: &[Finding], connections: u64) {
    assert_eq!(kinds(findings), [], "a correct server causes no finding");
    assert_eq!((counters.passed, counters.failed, counters.cut_short), (connections, 0, 0));
    assert_eq!(counters.bytes_verified, counters.bytes_sent);
    assert_eq!(counters.messages_echoed, counters.messages_sent);
    assert_eq!(judge(counters, &VerdictContext::default()).outcome, Verdict::Pass);
}

#[test]
fn a_correct_server_passes_under_every_kind_of_load() {
    let server = good_server();
    let loads = [
        "conns = 20\nmessages = 30",
        "conns = 3\nmessages = 200\nsize = '1..100'\nfragment = 1",
        "conns = 4\nmessages = 20\nsize = '64KiB'\nfragment = 'off'\npipeline = 4",
        "conns = 4\nmessages = 5\nsize = '1MiB'\nfragment = 'off'\npipeline = 'unlimited'",
        "conns = 5\nmessages = 5\ngap = '0..3ms'",
        "conns = 5\nrate = 500\nduration = '400ms'\nsize = 64",
        "conns = 10\nmessages = 4\nreconnect = 5",
        "conns = 3\nmessages = 5\nread = 'pause:150ms'",
        "conns = 2\nbytes = '600KiB'\nread = 'slow:2MiB/s'\nrcvbuf = '16KiB'",
        "conns = 2\nread = 'after-stall'\nsize = '64KiB'",
        "conns = 10\nmessages = 3\nclose = 'keep'",
        "conns = 10\nmessages = 3\nramp = '100ms'\nclose = 'together'",
        "conns = 10\nmessages = 3\npipeline = 3\nclose = 'after-echo'",
        "conns = 2\nread = 'after-stall'\nsize = '64KiB'\nclose = 'after-echo'",
        "conns = 5\nmessages = 2\nreconnect = 5\nclose = 'after-echo'",
        "conns = 10\nmessages = 3\nramp = '100ms'",
        "conns = 8\nduration = '300ms'\nlifetime = '1..5'",
    ];
    for load in loads {
        let (counters, findings) = blast(server.address(), load);
        let connections = counters.opened;
        assert!(connections > 0, "{load}");
        println!("{load:?}: {connections} connections, {} bytes", counters.bytes_verified);
        assert_all_pass(&counters, &findings, connections);
    }
    let stopped = server.stop(Duration::from_secs(10));
    assert!(stopped.counters.add_up() && !stopped.hung && stopped.aborted == 0, "{stopped:?}");
}

#[test]
fn the_points_of_the_time_line_add_up_to_the_totals() {
    let server = good_server();
    for load in ["conns = 3\nmessages = 2", "conns = 5\nduration = '300ms'"] {
        let outcome = run(plan(server.address(), &[load]));
        let (figures, points) = (&outcome.groups[0], &outcome.groups[0].timeline.points);
        let sum = |of: fn(&Point) -> u64| points.iter().map(of).sum::<u64>();
        let Counters { opened, messages_echoed, bytes_verified, .. } = figures.counters;
        assert_eq!((sum(|p| p.opened), sum(|p| p.messages)), (opened, messages_echoed), "{load}");
        assert_eq!(sum(|p| p.bytes_verified), bytes_verified, "{load}");
        // The histogram keeps three digits.
        let longest = points.iter().map(|p| p.rtt_max_ns).max().map(Duration::from_nanos);
        let (longest, max) =
            (longest.expect("the time line has points"), figures.rtt.max().expect("messages came back"));
        assert!(longest <= max && longest > max.mul_f64(0.998), "{load}: {longest:?}, {max:?}");
    }
}

#[test]
fn an_ending_in_mid_stream_asserts_nothing_beyond_the_bytes_that_came() {
    let server = good_server();
    for close in ["reset", "abandon"] {
        let load = format!("conns = 10\nmessages = 5\nclose = '{close}'");
        let (counters, findings) = blast(server.address(), &load);
        assert_eq!(kinds(&findings), [], "{close}");
        assert_eq!((counters.passed, counters.failed), (10, 0), "{close}");
    }
}

#[test]
fn a_connection_that_never_reads_ends_when_the_others_have_ended() {
    let server = good_server();
    let never = "conns = 2\nread = 'never'";
    let outcome = run(plan(server.address(), &[never, "conns = 5\nmessages = 10"]));
    assert_eq!(outcome.groups[0].counters.passed, 2);
    assert_eq!(outcome.groups[0].counters.bytes_received, 0);
    assert_all_pass(&outcome.groups[1].counters, &outcome.findings[1], 5);
}

#[test]
fn write_stalls_are_counted_and_a_server_that_buffers_without_bound_causes_none() {
    let server = good_server();
    let stalls = |target, load: &str| blast(target, load).0.write_stalls;
    let (never, later) =
        ("conns = 2\nread = 'never'\nbytes = '64MiB'", "conns = 2\nread = 'after-stall'\nbytes = '64MiB'");
    for load in [never, later].map(|load| format!("{load}\nsndbuf = '64KiB'\nrcvbuf = '64KiB'")) {
        assert_eq!(stalls(server.address(), &load), 2, "{load}");
        // A server that buffers without bound: one thread receives, another sends back.
        let unbounded = self::server(|mut stream, _| {
            let (take, give) = std::sync::mpsc::channel();
            let mut writer = stream.try_clone()?;
            thread::spawn(move || give.iter().try_for_each(|bytes: Vec<u8>| writer.write_all(&bytes)));
            let mut buffer = vec![0; 65536];
            loop {
                let n = stream.read(&mut buffer)?;
                if n == 0 || take.send(buffer[..n].to_vec()).is_err() {
                    return Ok(());
                }
            }
        });
        let load = load.replace("conns = 2", "conns = 1\nclose = 'abandon'");
        assert_eq!(stalls(unbounded, &load), 0, "{load}");
    }
    assert_eq!(stalls(server.address(), "conns = 20\nmessages = 5"), 0);
}

#[test]
fn ending_together_reveals_a_server_that_serves_fewer_connections_at_a_time() {
    let serves = |most: usize| {
        let (places, next) = (std::sync::Mutex::new(most), std::sync::Condvar::new());
        server(move |stream, _| {
            let mut left = places.lock().map_err(|_| ErrorKind::Other)?;
            while *left == 0 {
                left = next.wait(left).map_err(|_| ErrorKind::Other)?;
            }
            *left -= 1;
            drop(left);
            let outcome = echo(stream, |_, _| ());
            *places.lock().map_err(|_| ErrorKind::Other)? += 1;
            next.notify_one();
            outcome
        })
    };
    let load = |close: &str| format!("conns = 5\nmessages = 2\nstall_timeout = '700ms'\nclose = '{close}'");
    let (counters, findings) = blast(serves(4), &load("after-echo"));
    assert_all_pass(&counters, &findings, 5);
    let (counters, findings) = blast(serves(4), &load("together"));
    assert_eq!(findings.iter().map(|found| found.divergence.kind).collect::<Vec<_>>(), [FindingKind::Stalled]);
    assert_eq!(
        (counters.passed, counters.failed),
        (4, 1),
        "a connection with its echo waits for the others, and passes"
    );
    let (counters, findings) = blast(serves(5), &load("together"));
    assert_all_pass(&counters, &findings, 5);
}

#[test]
fn one_changed_byte_is_reported_with_its_connection_and_offset() {
    let target = server(|stream, _| {
        echo(stream, |offset, bytes| {
            if let Some(byte) = 5000u64.checked_sub(offset).and_then(|at| bytes.get_mut(at as usize)) {
                *byte ^= 0x10;
            }
        })
    });
    let (counters, findings) = blast(target, "conns = 3\nmessages = 10\nsize = 1000");
    let mut found = kinds(&findings);
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2].map(|conn| (conn, FindingKind::Corrupt, 5000, 1)));
    assert_eq!((counters.failed, counters.passed), (3, 0));
    assert_eq!(counters.bytes_verified, 3 * 9_999);
    let finding = &findings[0];
    assert_eq!(finding.replay.as_deref(), Some(format!("replay --only-conn {}", finding.divergence.conn).as_str()));
    assert!(finding.local.is_some() && finding.remote == Some(target.to_string()) && !finding.recent.is_empty());
    assert_eq!(judge(&counters, &VerdictContext::default()).exit_code, 1);
}

#[test]
fn an_early_close_by_the_server_is_a_truncated_stream() {
    let target = server(|mut stream, _| {
        let mut buffer = [0; 700];
        stream.read_exact(&mut buffer)?;
        stream.write_all(&buffer)?;
        stream.shutdown(Shutdown::Write)?;
        // Reads on, so that no reset overtakes the FIN.
        std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
    });
    let (_, findings) = blast(target, "conns = 1\nmessages = 3\nsize = 1000\nfragment = 'off'");
    assert_eq!(kinds(&findings), [(0, FindingKind::Truncated, 700, 300)]);
}

#[test]
fn silence_is_a_stall_and_a_missing_fin_is_reported_as_such() {
    let silent = server(|mut stream, _| {
        std::io::copy(&mut stream, &mut std::io::sink())?;
        hold(stream)
    });
    let (_, findings) = blast(silent, "conns = 1\nmessages = 1\nsize = 10\nstall_timeout = '200ms'");
    assert_eq!(kinds(&findings), [(0, FindingKind::Stalled, 0, 10)]);

    let no_fin = server(|mut stream, _| {
        let mut writer = stream.try_clone()?;
        std::io::copy(&mut stream, &mut writer)?;
        hold(stream)
    });
    let (counters, findings) = blast(no_fin, "conns = 2\nmessages = 3\nsize = 10\nstall_timeout = '200ms'");
    assert_eq!(kinds(&findings).iter().map(|f| f.1).collect::<Vec<_>>(), [FindingKind::NoFin, FindingKind::NoFin]);
    assert_eq!(counters.bytes_verified, 60);
}

#[test]
fn closing_after_the_echo_requires_every_byte_but_no_half_close_of_the_server() {
    let load = "conns = 5\nmessages = 3\nsize = '1..5000'\nclose = 'after-echo'\nstall_timeout = '200ms'";
    let never_ends = server(|mut stream, _| {
        let mut writer = stream.try_clone()?;
        std::io::copy(&mut stream, &mut writer)?;
        hold(stream)
    });
    let (counters, findings) = blast(never_ends, load);
    assert_all_pass(&counters, &findings, 5);

    let flip = |offset: u64, bytes: &mut Vec<u8>| {
        if let Some(byte) = 20u64.checked_sub(offset).and_then(|at| bytes.get_mut(at as usize)) {
            *byte ^= 1;
        }
    };
    let corrupts = server(move |stream, _| echo(stream, flip));
    let (_, findings) = blast(corrupts, "conns = 1\nmessages = 1\nsize = 21\nclose = 'after-echo'");
    assert_eq!(kinds(&findings), [(0, FindingKind::Corrupt, 20, 1)]);

    // By its offset, not as the last byte of a read: a read may end anywhere in a message.
    let loses_the_last = server(|stream, _| {
        echo(stream, |offset, bytes| {
            if offset + bytes.len() as u64 == 21 {
                bytes.pop();
            }
        })
    });
    let one_message = "conns = 1\nmessages = 1\nsize = 21\nclose = 'after-echo'\nstall_timeout = '200ms'";
    let (_, findings) = blast(loses_the_last, one_message);
    assert_eq!(kinds(&findings), [(0, FindingKind::Stalled, 20, 1)]);

    let closes_early = server(|mut stream, _| {
        let mut buffer = [0; 7];
        stream.read_exact(&mut buffer)?;
        stream.write_all(&buffer)?;
        stream.shutdown(Shutdown::Write)?;
        std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
    });
    let (_, findings) = blast(closes_early, "conns = 1\nmessages = 1\nsize = 10\nclose = 'after-echo'");
    assert_eq!(kinds(&findings), [(0, FindingKind::Truncated, 7, 3)]);
}

/// Keeps the socket open until the process ends.
fn hold(stream: TcpStream) -> std::io::Result<()> {
    static HELD: std::sync::Mutex<Vec<TcpStream>> = std::sync::Mutex::new(Vec::new());
    HELD.lock().map_err(|_| ErrorKind::Other)?.push(stream);
    Ok(())
}

#[test]
fn missing_last_bytes_of_a_message_are_lost_if_half_closes_are_known_to_be_kept() {
    // No later byte shows that they are missing. Only the FIN that answers the client's own does.
    let target = server(|stream, index| {
        echo(stream, |offset, bytes| {
            if offset + bytes.len() as u64 == 2000 && index != 2 {
                bytes.truncate(bytes.len() - 3);
            }
        })
    });
    let load = "conns = 1\nmessages = 3\nsize = 1000\nfragment = 'off'\nstall_timeout = '200ms'";
    let (_, findings) = blast(target, load);
    assert_eq!(kinds(&findings), [(0, FindingKind::Stalled, 1997, 3)], "the FIN may be an answer to the probe alone");
    // Another connection shows that half-closed connections stay open, long before the stall.
    let (_, findings) = blast(target, &load.replace("conns = 1", "conns = 2"));
    let found: Vec<_> = kinds(&findings).into_iter().map(|(_, kind, offset, extent)| (kind, offset, extent)).collect();
    assert_eq!(found, [(FindingKind::Lost, 1997, 3)]);
}

#[test]
fn a_reset_is_reported_with_the_bytes_that_were_missing() {
    let target = server(|mut stream, _| {
        let mut buffer = [0; 500];
        stream.read_exact(&mut buffer)?;
        stream.write_all(&buffer[..100])?;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))
    });
    let (counters, findings) = blast(target, "conns = 1\nmessages = 2\nsize = 1000\nfragment = 'off'");
    let found = kinds(&findings);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].1, FindingKind::Reset);
    assert_eq!(counters.failed, 1);
    assert!(findings[0].cause.is_some());
}

#[test]
fn a_refused_connect_is_a_failed_connect_and_no_verdict_on_the_bytes() {
    let nobody = free_port();
    let (counters, findings) = blast(nobody, "conns = 3\nmessages = 1");
    assert_eq!(counters.connect_failures, 3);
    assert!(kinds(&findings).iter().all(|f| f.1 == FindingKind::ConnectFailed));
    assert_eq!(judge(&counters, &VerdictContext::default()).outcome, Verdict::Inconclusive);
}

#[test]
fn fail_fast_ends_the_run_at_the_first_finding() {
    let target = server(|stream, number| {
        echo(stream, move |_, bytes| {
            if number == 0 {
                bytes[0] ^= 1;
            }
        })
    });
    let outcome = run(plan(target, &["conns = 4\nduration = '1h'\nfail_fast = true\nsize = 100"]));
    assert!(outcome.failed_fast && !outcome.interrupted);
    let counters = &outcome.groups[0].counters;
    assert!(counters.findings_total() >= 1 && counters.cut_short >= 1, "{counters:?}");
}

#[test]
fn fail_fast_does_not_wait_until_lost_bytes_can_no_longer_be_late() {
    let target = server(|stream, number| {
        echo(stream, move |offset, bytes| {
            if number == 0 && offset == 0 {
                bytes.remove(0);
            }
        })
    });
    let load = "conns = 4\nduration = '1h'\nfail_fast = true\nsize = 1000\npipeline = 4\ngap = '1ms'";
    let outcome = run(plan(target, &[load]));
    assert!(outcome.failed_fast);
    let stats = &outcome.groups[0];
    assert_eq!(stats.counters.findings, [(FindingKind::Lost, 1)].into());
    // It stands on the time line where the byte was missing, not where it became certain.
    let points = &stats.timeline.points;
    let found = points.iter().position(|point| point.findings > 0);
    assert!(found.is_some_and(|found| found + 1 < points.len()), "{points:?}");
}

#[test]
fn an_interrupt_ends_the_run_and_keeps_the_figures() {
    let server = good_server();
    let plan = plan(server.address(), &["conns = 10\nduration = '1h'\nsize = 100"]);
    let control = Control::new(&plan);
    let runner = {
        let control = Arc::clone(&control);
        thread::spawn(move || client::run(plan, &control).expect("the client can start threads"))
    };
    let began = std::time::Instant::now();
    while control.counters().messages_echoed < 100 {
        assert!(began.elapsed() < Duration::from_secs(30), "the load makes no progress");
        thread::yield_now();
    }
    control.interrupt();
    let outcome = runner.join().expect("the client does not panic");
    assert!(outcome.interrupted);
    let counters = &outcome.groups[0].counters;
    assert_eq!((counters.cut_short, counters.findings_total()), (10, 0));
    assert!(counters.messages_echoed >= 100 && outcome.groups[0].rtt.count() >= 100);
}

#[test]
fn a_connection_that_runs_alone_follows_the_same_plan() {
    let (seen, received) = std::sync::mpsc::channel();
    let seen = std::sync::Mutex::new(seen);
    let target = server(move |stream, _| {
        let mut all = Vec::new();
        echo(stream, |_, bytes| all.extend_from_slice(bytes))?;
        seen.lock().map_err(|_| ErrorKind::Other)?.send(all).map_err(|_| ErrorKind::Other.into())
    });
    // The client may see the end before the thread of the server has handed over the bytes it received.
    let next =
        || received.recv_timeout(Duration::from_secs(30)).expect("the server hands over the bytes of every connection");
    let load = "conns = 5\nmessages = 7\nreconnect = 1";
    let whole = run(plan(target, &[load]));
    assert_eq!(whole.groups[0].counters.passed, 10);
    let before: Vec<Vec<u8>> = (0..10).map(|_| next()).collect();
    let wanted = ConnId::new(8).expect("the id is in range");
    let alone = run(RunPlan { only: vec![wanted], ..plan(target, &[load]) });
    assert_eq!(alone.groups[0].counters.passed, 1);
    let replayed = next();
    assert_eq!(
        before.iter().filter(|other| **other == replayed).count(),
        1,
        "exactly one of the ten connections sent the same bytes"
    );
}

#[test]
fn the_shards_of_a_run_open_each_connection_once() {
    let server = good_server();
    let mut opened = 0;
    for shard in ["0/3", "1/3", "2/3"] {
        let shard = shard.parse().expect("the shard is well-formed");
        let outcome = run(RunPlan { shard, ..plan(server.address(), &["conns = 10\nmessages = 2"]) });
        assert_all_pass(&outcome.groups[0].counters, &outcome.findings[0], outcome.groups[0].counters.opened);
        opened += outcome.groups[0].counters.opened;
    }
    assert_eq!(opened, 10);
}

#[test]
fn an_ipv6_address_is_a_target_like_any_other() {
    let model = models::find("tokio").expect("tokio is in the table of models");
    let Ok(server) = Server::start(model, "[::1]:0".parse().expect("the text is an address"), Options::default())
    else {
        println!("SKIPPED: this machine has no IPv6 loopback");
        return;
    };
    let (counters, findings) = blast(server.address(), "conns = 5\nmessages = 5");
    assert_all_pass(&counters, &findings, 5);
}
