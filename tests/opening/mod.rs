//! Connections that can't be opened at all, can't be opened in time, or have no ids left.

use super::endings::blast_within;
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_run_that_uses_up_the_ids_does_not_pass() {
    let server = good_server();
    // All ids but a few belong to connections of other processes.
    let crowd = "conns = 16777212\nmessages = 1";
    let churn = "conns = 1\nduration = '1h'\nlifetime = 1\nsize = 10";
    let mut plan = plan(server.address(), &[churn, crowd]);
    plan.shard = "0/65536".parse().expect("the shard is well-formed");
    let outcome = run(plan);
    let counters = &outcome.groups[0].counters;
    // Three ids are left, each of them for 128 connections that share its words.
    assert_eq!((counters.passed, counters.failed), (1 + 3 * 128, 0), "{counters:?}");
    let verdict = judge(counters, &VerdictContext::default());
    assert_eq!(verdict.outcome, Verdict::Inconclusive, "{counters:?}");
    assert!(verdict.reasons.iter().any(|reason| reason.contains("ids")), "{verdict:?}");
}

/// The server accepts nothing and has a queue of one place, so Linux drops the SYNs of all but the first few.
#[cfg(target_os = "linux")]
#[test]
fn no_connection_is_begun_once_the_time_is_up() {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("the system makes a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
    listener.listen(1).expect("the socket can listen");
    let target = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("the socket is bound");
    let load = "conns = 1200\nduration = '300ms'\nconnect_timeout = '1s'\nstall_timeout = '300ms'";
    let (counters, _, elapsed) = blast_within(PATIENCE, target, load);
    // Each of the two workers begins 256. When those time out, the time of the group is up.
    assert!((100..=600).contains(&counters.connects), "{counters:?}");
    assert_eq!(counters.connects + counters.not_in_time, 1200);
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

#[test]
fn failed_connects_are_repeated_after_ever_longer_pauses() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let target = listener.local_addr().expect("the listener is bound");
    // Serves one connection, and then stops listening.
    let only = thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        drop(listener);
        echo(stream, |_, _| {})
    });
    let (counters, _, _) = blast_within(PATIENCE, target, "conns = 1\nlifetime = 1\nduration = '1500ms'\nsize = 10");
    only.join().expect("the server does not panic").expect("the first connection was echoed");
    assert_eq!(counters.opened, 1);
    // After 10, 20, 40 … 640 ms, 1.3 s in total.
    assert!((3..=8).contains(&counters.connect_failures), "{counters:?}");
}
