//! How connections and runs end when the other side does what no echo server should: they end in time, and say why.

use std::sync::mpsc;

use super::*;

/// Runs a load that must end by itself within this time.
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
    let mut outcome = runner.join().expect("no panic");
    assert!(in_time, "{load:?} did not end within {limit:?}: {:?}", outcome.groups[0].counters);
    (outcome.groups.remove(0).counters, outcome.findings.remove(0), outcome.elapsed)
}

/// Longer than any of these needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes all, answers nothing, and stays.
fn swallows(mut stream: TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut stream, &mut std::io::sink())?;
    hold(stream)
}

#[test]
fn a_server_that_swallows_stalls_an_open_loop_too_however_much_is_written_meanwhile() {
    let target = server(|stream, _| swallows(stream));
    // At the second rate there is always something to write, and a connection never comes to wait.
    for rate in ["200", "50m"] {
        let load = format!("conns = 1\nrate = {rate}\nsize = 64\nduration = '10s'\nstall_timeout = '200ms'");
        let (counters, findings, elapsed) = blast_within(PATIENCE, target, &load.replace("50m", "'50m'"));
        assert_eq!(kinds(&findings).iter().map(|f| f.1).collect::<Vec<_>>(), [Kind::Stalled], "rate {rate}");
        assert!(elapsed < Duration::from_secs(6), "rate {rate}: it took {elapsed:?}, {counters:?}");
    }
}

#[test]
fn a_server_that_takes_a_whole_message_before_it_answers_does_not_stall_while_that_is_written() {
    const SIZE: usize = 64 << 10;
    let target = server(|mut stream, _| {
        let mut message = vec![0; SIZE];
        while stream.read_exact(&mut message).is_ok() {
            stream.write_all(&message)?;
        }
        stream.shutdown(Shutdown::Write)
    });
    // A message takes 1.3 s to write.
    let load = "conns = 1\nmessages = 2\nsize = '64KiB'\nfragment = '1KiB'\ngap = '20ms'\nstall_timeout = '400ms'";
    let (counters, findings) = blast(target, load);
    assert_all_pass(&counters, &findings, 1);
}
