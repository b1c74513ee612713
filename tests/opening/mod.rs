//! What a run does about connections that can't be opened, or not in time, or not any more.

use super::endings::blast_within;
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_churn_that_runs_out_of_ids_does_not_pass() {
    let server = good_server();
    // All ids but a few are those of connections that other processes have.
    let crowd = "conns = 16777212\nmessages = 1";
    let churn = "conns = 1\nduration = '1h'\nlifetime = 1\nsize = 10";
    let mut plan = plan(server.address(), &[churn, crowd]);
    plan.shard = "0/65536".parse().expect("a shard");
    let outcome = run(plan);
    let counters = &outcome.groups[0].counters;
    // Three ids are left, each for 128 connections that share its words.
    assert_eq!((counters.passed, counters.failed), (1 + 3 * 128, 0), "{counters:?}");
    let verdict = verdict::judge(counters, false, true, &[]);
    assert_eq!(verdict.outcome, Came::Inconclusive, "{counters:?}");
    assert!(verdict.reasons.iter().any(|reason| reason.contains("ids")), "{verdict:?}");
}

/// Accepts nothing, and has a queue of one place: Linux drops the SYNs of all but the first few.
#[cfg(target_os = "linux")]
#[test]
fn connections_are_not_begun_when_the_time_is_up() {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    listener.listen(1).expect("listens");
    let target = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    let load = "conns = 1200\nduration = '300ms'\nconnect_timeout = '1s'\nstall_timeout = '300ms'";
    let (counters, _, elapsed) = blast_within(PATIENCE, target, load);
    // Two workers begin 256 each, and when those are given up the time is up.
    assert!((100..=600).contains(&counters.connects), "{counters:?}");
    assert_eq!(counters.connects + counters.not_in_time, 1200);
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

#[test]
fn connects_that_fail_are_repeated_ever_more_slowly() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = listener.local_addr().expect("just bound");
    // Serves one connection, and is gone.
    let only = thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        drop(listener);
        echo(stream, |_, _| {})
    });
    let (counters, _, _) = blast_within(PATIENCE, target, "conns = 1\nlifetime = 1\nduration = '1500ms'\nsize = 10");
    only.join().expect("no panic").expect("it has echoed");
    assert_eq!(counters.opened, 1);
    // After 10, 20, 40 … 640 ms, which is 1.3 s in all.
    assert!((3..=8).contains(&counters.connect_failures), "{counters:?}");
}
