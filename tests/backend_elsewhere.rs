//! The backend of a proxy on another machine than the tester: `echo-tester backend`, paired by a token. Both run here,
//! as two processes, and the relays between client and backend run in the test.

mod outcomes;
mod ports;
#[expect(dead_code, reason = "no echo server is needed here")]
mod program;
#[expect(dead_code, reason = "no program of the system is a proxy here")]
mod proxy;
mod relay;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::process::Command;
use std::process::{Child, ChildStdout, Output, Stdio};
use std::time::{Duration, Instant};

use outcomes::{ids, reasons};
use ports::free_port;
use program::{finish, program, said, text};
use proxy::{Speaks, TestProxy};
use relay::{Carry, Way, bytes, faithful, loses_ten_on_the_way_back, relay};
use serde_json::Value;

const TOKEN: &str = "tidy-otter-47-lamp";

/// `echo-tester backend` as a process, which ends with the test.
struct Elsewhere {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    /// Where it listens.
    listen: SocketAddr,
    /// Where it looks for its tester.
    tester: String,
}

impl Elsewhere {
    fn start(flags: &[&str]) -> Elsewhere {
        let (listen, tester) = (free_port(), free_port().to_string());
        let (at, token) = (listen.to_string(), ["--token", TOKEN]);
        let all = [&["backend", &at, "--tester", &tester, "--json", "-q"], &token[..], flags].concat();
        let mut child = program(&all).stderr(Stdio::inherit()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("the pipe is open")).lines();
        Elsewhere { child, lines, listen, tester }
    }

    /// Its next line.
    fn event(&mut self) -> Value {
        let line = self.lines.next().expect("it goes on").expect("the output is UTF-8");
        serde_json::from_str(&line).expect("the text is JSON")
    }

    /// Its last lines, and whether it ended well. Whatever ends it has happened.
    fn ended(mut self) -> (Vec<Value>, bool) {
        let mut events = Vec::new();
        while let Some(Ok(line)) = self.lines.next() {
            events.push(serde_json::from_str(&line).expect("the text is JSON"));
        }
        (events, self.child.wait().expect("the process can be waited for").success())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `check` says with a backend, local or elsewhere, through such a relay: only the cases of `filter`.
fn check(carry: Carry, elsewhere: bool, filter: &str) -> (i32, Value) {
    let other = elsewhere.then(|| Elsewhere::start(&[]));
    let local = free_port();
    let at = other.as_ref().map_or(local, |other| other.listen);
    let backend = other.as_ref().map_or(local.to_string(), |other| other.tester.clone());
    let token: &[&str] = if elsewhere { &["--backend-token", TOKEN] } else { &[] };
    let target = relay(at, carry).to_string();
    let args = [&["check", &target, "--backend", &backend, "--filter", filter, "-q", "--json"], token].concat();
    let (code, out, err) = said(&args);
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}")))
}

/// The next connection to this listener, if one comes.
fn accepted(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("it is a socket");
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("it is a socket");
                stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out can be set");
                return stream;
            }
            Err(error) => assert!(error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end, "{error}"),
        }
        std::thread::yield_now();
    }
}

/// Ten connections.
const TEN: &[&str] = &["--conns", "10", "--messages", "3"];

/// What `blast` says straight at a backend elsewhere, with these flags too.
fn blast(other: &Elsewhere, flags: &[&str]) -> (i32, Value) {
    let target = other.listen.to_string();
    let args = ["blast", &target, "--backend", &other.tester, "--backend-token", TOKEN, "-q", "--json"];
    let (code, out, err) = said(&[&args[..], flags].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}")))
}

/// Ends both ways when one of them ends.
fn cuts_at_any_fin(_: Way, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    bytes(from, to, |_, _| {})?;
    for socket in [from, to] {
        // One whose ends were both there already has nothing to shut down.
        let _ = socket.shutdown(Shutdown::Both);
    }
    Ok(())
}

#[test]
fn every_case_passes_when_the_backend_is_elsewhere() {
    let mut other = Elsewhere::start(&["--once"]);
    let target = other.listen.to_string();
    let args = ["check", &target, "--backend", &other.tester, "--backend-token", TOKEN, "-q", "--json"];
    let (code, out, err) = said(&args);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    assert_eq!((code, ids(&report, "fail")), (0, vec![]), "{}", reasons(&report));
    assert!(ids(&report, "pass").len() >= 20, "{}", reasons(&report));
    assert_eq!(ids(&report, "info"), ["11.20", "11.21"], "{}", reasons(&report));
    // It listened once: an outage is no new beginning.
    assert_eq!(other.event()["event"], "listening");
    let (events, is_well) = other.ended();
    assert!(is_well && events.len() == 1 && events[0]["event"] == "stopped", "{events:?}");
}

/// The control connection of a tester that this test plays.
fn control(other: &Elsewhere) -> (TcpListener, TcpStream) {
    let listener = TcpListener::bind(&other.tester).expect("the port is free");
    let (mut control, _) = listener.accept().expect("it looks for its tester");
    control.read_exact(&mut [0; 52]).expect("it sends its header");
    (listener, control)
}

/// Says a word, and hears that it was obeyed.
fn say(control: &mut TcpStream, word: u8) {
    control.write_all(&[word]).expect("it is there");
    let mut answer = [0];
    control.read_exact(&mut answer).expect("it answers");
    assert_eq!(answer, [word]);
}

#[test]
fn a_reset_on_either_side_is_a_reset_on_the_other() {
    let mut other = Elsewhere::start(&[]);
    let (listener, mut control) = control(&other);
    say(&mut control, b'S');
    assert_eq!(other.event()["event"], "listening");
    for is_of_tester in [false, true] {
        let near = TcpStream::connect(other.listen).expect("it listens");
        let (mut far, _) = listener.accept().expect("it carries the connection");
        far.read_exact(&mut [0; 64]).expect("it sends its header");
        let (gone, mut stays) = if is_of_tester { (far, near) } else { (near, far) };
        socket2::SockRef::from(&gone).set_linger(Some(Duration::ZERO)).expect("it is open");
        drop(gone);
        stays.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out can be set");
        let seen = stays.read(&mut [0]).expect_err("a FIN would tell something else");
        assert_eq!(seen.kind(), io::ErrorKind::ConnectionReset, "{is_of_tester}");
    }
}

#[test]
fn the_tester_has_connections_refused_and_reset() {
    let other = Elsewhere::start(&[]);
    let (listener, mut control) = control(&other);
    for _ in 0..3 {
        say(&mut control, b'F');
        let refused = TcpStream::connect(other.listen).expect_err("nothing listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        say(&mut control, b'R');
        let reset = TcpStream::connect(other.listen).and_then(|mut near| near.read(&mut [0]));
        assert_eq!(reset.expect_err("there is no FIN").kind(), io::ErrorKind::ConnectionReset);
        say(&mut control, b'S');
        let _near = TcpStream::connect(other.listen).expect("it listens");
        listener.accept().expect("it carries the connection");
    }
}

#[test]
fn a_proxy_that_cuts_at_a_fin_fails_the_same_cases_as_with_a_backend_here() {
    for (carry, most) in [(cuts_at_any_fin as Carry, "fail"), (faithful, "pass")] {
        // The side whose way goes on sends for 2.5 s, so no chance decides these cases.
        let [here, elsewhere] = [false, true].map(|elsewhere| check(carry, elsewhere, "for 2.5 s"));
        for (_, report) in [&here, &elsewhere] {
            assert_eq!(ids(report, most), ["11.5", "11.6"], "{}", reasons(report));
        }
        assert!(here.0 == elsewhere.0, "{}", reasons(&here.1));
    }
}

#[test]
fn bytes_lost_on_one_way_are_named_so() {
    let (code, report) = check(loses_ten_on_the_way_back, true, "11.1 ");
    assert_eq!((code, ids(&report, "fail")), (1, vec!["11.1"]), "{}", reasons(&report));
    let cases = report["cases"].as_array().expect("a report has cases");
    let case = cases.iter().find(|case| case["id"] == "11.1").expect("it has run");
    let findings = case["run"]["loads"][0]["findings"].as_array().expect("there are findings");
    assert!(findings.iter().all(|finding| finding["direction"] == "down"), "{findings:?}");
    let is_lost = |finding: &Value| finding["divergence"]["kind"] == "lost";
    assert!(!findings.is_empty() && findings.iter().all(is_lost), "{findings:?}");
}

#[test]
fn the_report_has_what_the_other_machine_saw() {
    let other = Elsewhere::start(&[]);
    // Only Linux has these addresses without being told.
    let (source, expected) =
        if cfg!(target_os = "linux") { ("127.0.0.2", "127.0.0.2") } else { ("127.0.0.1", "127.0.0.1") };
    for speaks_first in ["client", "server"] {
        let (code, report) = blast(&other, &[TEN, &["--source", source, "--speaks-first", speaks_first]].concat());
        let backend = &report["backend"];
        assert_eq!((code, &backend["recognized"], &backend["accepted"]), (0, &10.into(), &10.into()), "{backend}");
        assert_eq!((&backend["seen_from"], &backend["with_header"]), (&expected.into(), &0.into()), "{backend}");
    }
    // The header of the proxy itself comes behind.
    let (code, report) = blast(&other, &[TEN, &["--send-proxy", "v1"]].concat());
    let backend = &report["backend"];
    assert_eq!((code, &backend["with_header"]), (0, &10.into()), "{backend}");
    assert_eq!(backend["with_client_address"], 10, "{backend}");
}

#[test]
fn a_proxy_of_the_client_leads_to_the_backend_here_and_elsewhere() {
    let other = Elsewhere::start(&[]);
    for speaks in [Speaks::Socks5, Speaks::Http] {
        let proxy = TestProxy::start(speaks);
        let scheme = if matches!(speaks, Speaks::Socks5) { "socks5" } else { "http" };
        let via = format!("{scheme}://{}", proxy.address);
        let here = free_port().to_string();
        let args = ["blast", &here, "--backend", &here, "--via", &via, "-q", "--json", "--conns", "10"];
        let (code, out, err) = said(&args);
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
        assert_eq!((code, &report["backend"]["recognized"]), (0, &10.into()), "{report}");
        let (code, report) = blast(&other, &[TEN, &["--via", &via]].concat());
        assert_eq!((code, &report["backend"]["recognized"]), (0, &10.into()), "{report}");
        // Before each run, one looks whether the backend can be reached.
        assert!(proxy.relayed() <= 22);
    }
}

#[test]
fn with_once_a_wrong_token_ends_the_backend_and_strangers_disturb_no_run() {
    let mut other = Elsewhere::start(&[]);
    let (target, at, wrong) = (other.listen.to_string(), other.tester.clone(), "not-the-right-one");
    let args = ["blast", &target, "--backend", &at, "--backend-token", TOKEN, "-q", "--json"];
    let args = [&args[..], &["--flow", "both", "--duration", "3s", "--conns", "2"]].concat();
    let tester = program(&args).spawn().expect("the program starts");
    assert_eq!(other.event()["event"], "listening");

    let of_other = ["backend", "127.0.0.1:0", "--tester", &at, "--token", wrong, "--once"];
    let mut stranger = TcpStream::connect(&at).expect("the tester listens");
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it is open");
    stranger.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out can be set");
    assert!(matches!(stranger.read(&mut [0]), Ok(0) | Err(_)), "nothing is said to a stranger");
    let (code, out, err) = said(&of_other);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("refused the token: give both sides the same one") && !err.contains(wrong), "{err}");

    let Output { status, stdout, stderr } = finish(tester, &args);
    let report: Value = serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&stderr)));
    assert_eq!(status.code(), Some(0), "{report}");
    assert_eq!(report["backend"]["recognized"], 2, "{report}");
}

/// Runs `blast` with one connection, which the test carries to the backend until the whole way is open. Then this
/// happens to the backend, and to both ends of what is carried. Returns the report, and the exit code.
fn blast_with_a_lost_backend(flags: &[&str], loses: impl FnOnce(&mut Child, [TcpStream; 2])) -> (i32, Value) {
    let mut other = Elsewhere::start(&[]);
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let target = proxy.local_addr().expect("it is bound").to_string();
    let args = ["blast", &target, "--backend", &other.tester, "--backend-token", TOKEN, "-q", "--json"];
    let args = [&args[..], &["--flow", "both", "--duration", "60s", "--conns", "1"], flags].concat();
    let tester = program(&args).spawn().expect("the program starts");
    let mut near = accepted(&proxy);
    let mut far = TcpStream::connect(other.listen).expect("the tester waits until it listens");
    let mut piece = [0; 4096];
    let n = near.read(&mut piece).expect("the client sends");
    far.write_all(&piece[..n]).expect("it is open");
    // What the server sends shows that the whole way is open.
    assert!(far.read(&mut piece).expect("the server sends") > 0);
    loses(&mut other.child, [near, far]);
    drop(proxy);

    let Output { status, stdout, stderr } = finish(tester, &args);
    let report: Value = serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&stderr)));
    (status.code().expect("it exits"), report)
}

#[test]
fn a_backend_that_dies_in_the_run_is_told_and_the_proxy_is_not_accused() {
    let (code, report) = blast_with_a_lost_backend(&[], |backend, [_near, mut far]| {
        backend.kill().expect("it runs");
        // The system closes its sockets one by one. So the control connection may still be open when the run ends.
        while matches!(far.read(&mut [0; 4096]), Ok(1..)) {}
    });
    let why = report["verdict"]["reasons"][0].as_str().expect("a verdict has reasons");
    assert!(why.contains("echo-tester backend at 127.0.0.1 has gone after"), "{report}");
    assert_eq!((code, &report["backend"]["gone"]), (4, &"127.0.0.1".into()), "{report}");
}

#[test]
#[cfg(unix)]
fn a_backend_that_stands_still_is_told_and_the_proxy_is_not_accused() {
    let mut kept = None;
    let (code, report) = blast_with_a_lost_backend(&["--stall-timeout", "1s"], |backend, carried| {
        let status = Command::new("kill").args(["-STOP", &backend.id().to_string()]).status();
        assert!(status.expect("kill can be run").success());
        kept = Some(carried);
    });
    let why = report["verdict"]["reasons"][0].as_str().expect("a verdict has reasons");
    assert!(why.contains("echo-tester backend at 127.0.0.1 does not answer"), "{report}");
    assert_eq!((code, &report["backend"]["gone_silently"]), (4, &true.into()), "{report}");
}

#[test]
fn a_tester_with_a_wrong_token_is_told_once_and_the_next_one_is_served() {
    let (listen, tester) = (free_port().to_string(), free_port());
    let args = ["backend", &listen, "--tester", &tester.to_string(), "--token", TOKEN, "--json"];
    let stranger = TcpListener::bind(tester).expect("the port is free");
    let mut other = program(&args).spawn().expect("the program starts");
    for _ in 0..3 {
        let mut control = accepted(&stranger);
        assert!(control.read(&mut [0; 256]).expect("it is open") > 0);
        // The byte that says that the token is wrong.
        control.write_all(b"N").expect("it is open");
    }
    drop(stranger);
    let run = ["blast", &listen, "--backend", &tester.to_string(), "--backend-token", TOKEN, "-q", "--json"];
    let (code, report, err) = said(&[&run[..], TEN].concat());
    assert_eq!(code, 0, "{report} {err}");
    other.kill().expect("it runs");
    let Output { stderr, .. } = finish(other, &args);
    let said = text(&stderr);
    assert_eq!(said.matches("refused the token").count(), 1, "{said}");
}

#[test]
fn connections_are_refused_while_no_tester_is_there_and_the_next_one_is_served() {
    let mut other = Elsewhere::start(&[]);
    let refused = || TcpStream::connect(other.listen).expect_err("nothing listens").kind();
    assert_eq!(refused(), io::ErrorKind::ConnectionRefused);
    for _ in 0..2 {
        let (code, report) = blast(&other, TEN);
        assert_eq!((code, &report["backend"]["recognized"]), (0, &10.into()), "{report}");
        assert_eq!([other.event()["event"].take(), other.event()["event"].take()], ["listening", "gone"]);
        assert_eq!(
            TcpStream::connect(other.listen).expect_err("nothing listens").kind(),
            io::ErrorKind::ConnectionRefused
        );
    }
}

#[test]
#[cfg(unix)]
fn ctrl_c_ends_it_with_what_it_has_carried() {
    let mut other = Elsewhere::start(&[]);
    let (code, report) = blast(&other, &[TEN, &["--size", "1000"]].concat());
    assert_eq!((code, other.event()["event"].take()), (0, "listening".into()), "{report}");
    let pid = rustix::process::Pid::from_raw(other.child.id() as i32).expect("it runs");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it takes signals");
    let (events, is_well) = other.ended();
    let last = events.last().expect("it says that it has stopped");
    assert!(is_well && last["event"] == "stopped", "{events:?}");
    // One looked, with 32 bytes, whether the backend can be reached.
    assert_eq!(last["counters"]["accepted"], 11, "{last}");
    assert_eq!(
        (&last["counters"]["bytes_to_tester"], &last["counters"]["resets"]),
        (&30_032.into(), &0.into()),
        "{last}"
    );
}

#[test]
fn more_connections_than_max_conns_are_reset() {
    let mut other = Elsewhere::start(&["--max-conns", "2"]);
    let (code, report) = blast(&other, &["--conns", "5", "--duration", "1s", "--flow", "both"]);
    assert!(code == 1 && report["backend"]["recognized"] == 2, "{report}");
    assert_eq!(other.event()["event"], "listening");
}

#[test]
fn the_token_stands_in_no_report_no_replay_line_and_no_error() {
    let other = Elsewhere::start(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder is created");
    let file = folder.path().join("a.toml");
    let text = format!(
        "name = 'n'\n[backend]\nlisten = '{}'\ntoken = '{TOKEN}'\n[[load]]\nconns = 2\nmessages = 2\n",
        other.tester
    );
    std::fs::write(&file, text).expect("the file is writable");
    let (file, target) = (file.to_str().expect("the path is UTF-8"), other.listen.to_string());
    let (code, out, err) = said(&["run", file, "--target", &target, "--json"]);
    assert!(code == 0 && !out.contains(TOKEN) && !err.contains(TOKEN), "{out} {err}");

    let args = ["blast", &target, "--backend", &other.tester, "--conns", "2", "--json"];
    let (code, out, err) = said(&[&args[..], &["--backend-token", TOKEN]].concat());
    assert!(code == 0 && out.contains(" --backend ") && !out.contains("--backend-token"), "{out} {err}");
    assert!(!out.contains(TOKEN) && !err.contains(TOKEN), "{out} {err}");

    for (flags, expected) in [
        (&["--backend-token", "***"][..], "because reports hide it"),
        (&["--backend-token", "shorty"], "at least 8 characters"),
    ] {
        let (code, _, err) = said(&[&args[..], flags].concat());
        assert!(code == 2 && err.contains(expected) && !err.contains("shorty"), "{err}");
    }
    let by_variable = folder.path().join("b.toml");
    std::fs::write(&by_variable, "name = 'n'\n[backend]\ntoken = '${T}'\n[[load]]\n").expect("the file is writable");
    let (code, _, err) =
        said(&["run", by_variable.to_str().expect("the path is UTF-8"), "--set", "T=shorty", "--dry-run"]);
    assert!(code == 2 && err.contains("ECHO_TESTER_BACKEND_TOKEN"), "{err}");
}
