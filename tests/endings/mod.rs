//! Runs against peers that do what no echo server should: they end in time, and say why.

use std::sync::mpsc;

use super::*;

/// Runs a load that must end within this time without being interrupted.
pub(crate) fn blast_within(limit: Duration, target: SocketAddr, load: &str) -> (Counters, Vec<Finding>, Duration) {
    let plan = plan(target, &[load]);
    let control = Control::new(&plan);
    let (ended, end) = mpsc::channel();
    let runner = {
        let control = Arc::clone(&control);
        thread::spawn(move || {
            let outcome = client::run(plan, &control);
            let _ = ended.send(());
            outcome.expect("the client can start threads")
        })
    };
    let in_time = end.recv_timeout(limit).is_ok();
    control.interrupt();
    let mut outcome = runner.join().expect("the client does not panic");
    assert!(in_time, "{load:?} did not end within {limit:?}: {:?}", outcome.groups[0].counters);
    (outcome.groups.remove(0).counters, outcome.findings.remove(0), outcome.elapsed)
}

/// More than any of these runs needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads everything, answers nothing, and keeps the connection open.
fn swallows(mut stream: TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut stream, &mut std::io::sink())?;
    hold(stream)
}

#[test]
fn a_server_that_answers_nothing_stalls_an_open_loop_however_much_is_written() {
    let target = server(|stream, _| swallows(stream));
    // At the second rate there is always something to write, so a connection never waits.
    for rate in ["200", "50m"] {
        let load = format!("conns = 1\nrate = {rate}\nsize = 64\nduration = '10s'\nstall_timeout = '200ms'");
        let (counters, findings, elapsed) = blast_within(PATIENCE, target, &load.replace("50m", "'50m'"));
        assert_eq!(kinds(&findings).iter().map(|f| f.1).collect::<Vec<_>>(), [FindingKind::Stalled], "rate {rate}");
        assert!(elapsed < Duration::from_secs(6), "rate {rate}: it took {elapsed:?}, {counters:?}");
    }
}

#[test]
fn a_server_that_reads_a_whole_message_first_is_not_stalled_while_it_is_written() {
    const SIZE: usize = 64 << 10;
    let target = server(|mut stream, _| {
        let mut message = vec![0; SIZE];
        while stream.read_exact(&mut message).is_ok() {
            stream.write_all(&message)?;
        }
        stream.shutdown(Shutdown::Write)
    });
    // Writing a message takes 1.3 s.
    let load = "conns = 1\nmessages = 2\nsize = '64KiB'\nfragment = '1KiB'\ngap = '20ms'\nstall_timeout = '400ms'";
    let (counters, findings) = blast(target, load);
    assert_all_pass(&counters, &findings, 1);
}

/// Writes the same bytes over and over, whatever comes in.
fn repeats(mut stream: TcpStream, what: &[u8], pause: Duration) -> std::io::Result<()> {
    let mut reader = stream.try_clone()?;
    thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    loop {
        stream.write_all(what)?;
        // sleep: some of the tests are about a slow writer
        thread::sleep(pause);
    }
}

#[test]
fn a_peer_that_sends_forever_is_left_once_that_is_certain() {
    let chargen = server(|stream, _| repeats(stream, &[b'x'; 8192], Duration::ZERO));
    for load in ["messages = 3", "duration = '200ms'", "messages = 3\nverify = 'off'"] {
        let load = format!("conns = 2\nsize = 100\n{load}");
        let (counters, findings, _) = blast_within(PATIENCE, chargen, &load);
        assert_eq!((counters.failed, counters.passed), (2, 0), "{load}");
        assert!(kinds(&findings).iter().any(|f| f.1 == FindingKind::Surplus), "{load}: {:?}", kinds(&findings));
    }
    let stutters = server(|mut stream, _| {
        let mut first = [0; 100];
        stream.read_exact(&mut first)?;
        repeats(stream, &first, Duration::ZERO)
    });
    let (counters, findings, _) = blast_within(PATIENCE, stutters, "conns = 1\nmessages = 3\nsize = 100");
    assert_eq!((counters.failed, counters.passed), (1, 0));
    assert!(!findings.is_empty());
}

#[test]
fn surplus_bytes_that_trickle_in_are_no_progress() {
    let trickles = server(|mut stream, _| {
        let mut writer = stream.try_clone()?;
        std::io::copy(&mut stream, &mut writer)?;
        repeats(writer, b"x", Duration::from_millis(20))
    });
    let load = "conns = 1\nmessages = 3\nsize = 100\nstall_timeout = '200ms'";
    let (counters, findings, _) = blast_within(PATIENCE, trickles, load);
    let found: Vec<FindingKind> = kinds(&findings).into_iter().map(|found| found.1).collect();
    assert_eq!((counters.failed, counters.bytes_verified), (1, 300), "{found:?}");
    assert_eq!(found, [FindingKind::Surplus, FindingKind::NoFin]);
}

#[test]
fn a_connection_with_a_finding_has_failed_even_if_the_run_is_cut_short() {
    let target = server(|stream, number| {
        echo(stream, move |_, bytes| {
            if number == 0 {
                bytes[0] ^= 1;
            }
        })
    });
    let mut plan = plan(target, &["conns = 4\nduration = '1h'\nfail_fast = true\nsize = 100"]);
    plan.workers = 1;
    let outcome = run(plan);
    let counters = &outcome.groups[0].counters;
    assert_eq!((counters.failed, counters.cut_short), (1, 3), "{counters:?}");
    assert_eq!(counters.unfinished(), 0);
}

#[test]
fn a_connection_that_never_reads_lasts_for_its_duration() {
    let server = good_server();
    for close in ["keep", "abandon"] {
        let load = format!("conns = 2\nread = 'never'\nduration = '700ms'\nstall_timeout = '200ms'\nclose = '{close}'");
        let (counters, findings, elapsed) = blast_within(PATIENCE, server.address(), &load);
        assert_eq!((kinds(&findings), counters.passed), (vec![], 2), "{close}");
        assert!(elapsed >= Duration::from_millis(700), "{close}: {elapsed:?}");
    }
}
