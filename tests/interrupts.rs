//! Ctrl-C at any moment and in every wait: the program ends soon, its exit code is 130, what did not run is 'not run',
//! and nobody is blamed for it. The signal goes to the whole process group, as a terminal sends it, so the servers that
//! the program starts would get it too if they stood in that group. And a server that is killed leaves no process
//! behind.
#![cfg(unix)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use files::{folder, path};
use ports::free_port;
use program::{Serving, finish, program, said, text};
use rustix::fs::{Mode, OFlags};
use serde_json::Value;

mod files;
mod ports;
mod program;

/// The longest time that a test waits for an event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);
/// More than a run needs to end after an interrupt, even on a busy machine. The waits that it cuts short are longer by
/// far, so a wait that goes on shows.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// A wait that only an interrupt ends.
const LONG: &str = "1h";

/// The program in a process group of its own, as a shell starts it.
fn start(args: &[&str]) -> Child {
    program(args).process_group(0).spawn().expect("the program starts")
}

/// Sends Ctrl-C to the whole process group.
fn press_ctrl_c(child: &Child) {
    let kill = std::process::Command::new("kill").args(["-INT", "--", &format!("-{}", child.id())]).status();
    assert!(kill.expect("kill is installed").success());
}

/// Waits while the program ignores SIGINT. A shell without job control starts what runs in the background so, and these
/// tests may be a part of that: a program inherits it until it catches the signal.
fn wait_while_ignored(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    // Signals are the bits of a number in hexadecimal digits, and SIGINT is the second one.
    let ignores = |line: &str| {
        let mask = line.strip_prefix("SigIgn:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & 0b10 != 0)
    };
    let until = Instant::now() + EVENT_TIMEOUT;
    while std::fs::read_to_string(&status).is_ok_and(|status| status.lines().any(ignores)) {
        assert!(Instant::now() < until, "it goes on ignoring SIGINT");
        // sleep: another process is watched, and it sends no notification.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Presses Ctrl-C and returns how the program ended, and its output.
fn interrupted(child: Child, args: &[&str]) -> (ExitStatus, String, String) {
    wait_while_ignored(&child);
    press_ctrl_c(&child);
    let pressed = Instant::now();
    let output = finish(child, args);
    assert!(pressed.elapsed() < END_TIMEOUT, "{args:?} took {:?} to end", pressed.elapsed());
    (output.status, text(&output.stdout), text(&output.stderr))
}

/// Waits until the program prints something.
fn wait_for_output(pipe: Option<&mut impl Read>) {
    let read = pipe.expect("the pipe is open").read(&mut [0; 64]).expect("the pipe is readable");
    assert!(read > 0, "it ended without a word");
}

/// Waits until the file is there.
fn wait_for(file: &Path) {
    let until = Instant::now() + EVENT_TIMEOUT;
    while !file.exists() {
        assert!(Instant::now() < until, "{} did not come", file.display());
        // sleep: another process is watched, and it sends no notification.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The state of a report, and the outcomes of its cases.
fn outcomes(report: &str) -> (String, Vec<String>) {
    let report: Value = serde_json::from_str(report).unwrap_or_else(|error| panic!("{error}: {report}"));
    let word = |value: &Value| value.as_str().expect("it is a word").to_owned();
    let cases = report["cases"].as_array().expect("the report has cases").iter();
    (word(&report["state"]), cases.map(|case| word(&case["outcome"])).collect())
}

/// What an interrupt must never bring about.
fn assert_blames_nobody(said: &str) {
    for blame in
        ["did not start", "connect-failed", "on its own", "ended without", "inconclusive", "Connection refused"]
    {
        assert!(!said.contains(blame), "'{blame}' in {said}");
    }
}

#[test]
fn every_command_ends_with_130_whenever_it_is_interrupted() {
    let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let commands: [&[&str]; 5] = [
        &["blast", "--serve", "--conns", "20", "--duration", LONG],
        &["blast", "--serve=threads", "--json", "--quiet", "--duration", LONG],
        &["check", "--model", "auto", "--patience", LONG],
        &["run", scenarios, "--quiet"],
        &["compare", "--models", "threads,tokio", "--conns", "20", "--duration", LONG],
    ];
    for args in commands {
        for delay in [5, 20, 100, 300] {
            let child = start(args);
            // sleep: the moment of the interrupt is what varies here; nothing is waited for.
            std::thread::sleep(Duration::from_millis(delay));
            let (status, out, err) = interrupted(child, args);
            // Before main has begun, the signal itself ends the process, which a shell calls 130 too.
            let is_too_early = status.signal() == Some(2) && out.is_empty() && err.is_empty();
            assert!(status.code() == Some(130) || is_too_early, "{args:?} after {delay} ms: {status}: {out}{err}");
            assert_blames_nobody(&format!("{out}{err}"));
        }
    }
}

#[test]
fn every_process_of_a_case_ends_at_once_even_those_that_do_not_listen() {
    let files = folder::<&str>(&[]);
    let stubborn = |n: usize| {
        let ready = path(&files, &format!("{n}.pid"));
        format!(
            "[[process]]\nname = 'stubborn{n}'\nready = {{ output = 'up' }}\nstop_timeout = '{LONG}'\n\
             command = ['sh', '-c', 'trap \"\" TERM; echo $$ > {ready}; echo up; while :; do sleep 0.01; done']\n"
        )
    };
    let processes: String = (0..4).map(stubborn).collect();
    let last = path(&files, "server.is-up");
    let server = format!("[server]\nmodel = 'auto'\n[[load]]\nconns = 1\nduration = '{LONG}'\ngap = '1s'\n");
    let waiting = format!("[[process]]\nname = 'x'\ncommand = ['sh', '-c', 'touch {last}']\nready = 'exit'\n");
    let case = path(&files, "case.toml");
    std::fs::write(&case, format!("name = 'several'\n{processes}{waiting}{server}")).expect("the file is writable");
    let args = ["run", &case, "--quiet", "--json"];
    let child = start(&args);
    wait_for(Path::new(&last));
    let pressed = Instant::now();
    let (status, out, err) = interrupted(child, &args);
    assert_eq!(status.code(), Some(130), "{out}{err}");
    assert!(pressed.elapsed() < Duration::from_secs(5), "they end one after another: {:?}", pressed.elapsed());
    for n in 0..4 {
        let pid = std::fs::read_to_string(path(&files, &format!("{n}.pid"))).expect("it has started");
        let kill = std::process::Command::new("kill").args(["-0", pid.trim()]).output().expect("kill is installed");
        assert!(!kill.status.success(), "process {pid} still runs");
    }
    assert_blames_nobody(&format!("{out}{err}"));
}

#[test]
fn an_interrupt_before_the_common_start_runs_nothing() {
    let files = folder::<&str>(&[]);
    let junit = path(&files, "j.xml");
    let at = "2099-01-01T00:00:00Z";
    let args = ["blast", "--serve=threads", "--start-at", at, "--junit", &junit];
    let mut child = start(&args);
    // The first lines are printed when the server is up, and the wait for the start follows.
    wait_for_output(child.stdout.as_mut());
    let (status, out, err) = interrupted(child, &args);
    assert_eq!(status.code(), Some(130), "{out}{err}");
    assert!(out.contains("verdict: interrupted · 0 of 0 connections ended"), "{out}{err}");
    assert_blames_nobody(&format!("{out}{err}"));
    let junit = std::fs::read_to_string(junit).expect("the file exists");
    assert!(junit.contains("interrupted before it started"), "{junit}");

    let case = format!("name = 'a'\n[server]\nmodel = 'threads'\n[run]\nstart_at = '{at}'\n[[load]]\nconns = 1\n");
    let files = folder(&[("a.toml", &case), ("b.toml", &case.replace("'a'", "'b'"))]);
    let (json, log) = (format!("--json={}", path(&files, "r.json")), path(&files, "log"));
    let args = ["run", &path(&files, "."), "--quiet", &json, "--server-log", &log];
    let child = start(&args);
    wait_for(&files.path().join("log/001-a.log"));
    let (status, out, err) = interrupted(child, &args);
    assert_eq!(status.code(), Some(130), "{out}{err}");
    let report = std::fs::read_to_string(files.path().join("r.json")).expect("the file exists");
    assert_eq!(outcomes(&report), ("interrupted".to_owned(), vec!["not-run".to_owned(); 2]));
    assert_blames_nobody(&format!("{out}{err}"));
}

/// A scenario whose server is a shell script, which first touches the file `begun`.
fn scripted(files: &tempfile::TempDir, script: &str, more: &str) -> String {
    let begun = path(files, "begun");
    format!(
        "name = 'n'\n[server]\ncommand = ['sh', '-c', \"touch '{begun}'; {script}\", 'sh', '{{addr}}']\n{more}\n\
         [[load]]\nconns = 1\nmessages = 1\n"
    )
}

#[test]
fn an_interrupt_ends_the_wait_for_a_server_that_is_not_ready() {
    let files = folder::<&str>(&[]);
    let case = scripted(&files, "exec sleep 3600", &format!("ready_timeout = '{LONG}'"));
    std::fs::write(files.path().join("a.toml"), case).expect("the file is writable");
    let args = ["run", &path(&files, "a.toml"), "--json", "--quiet"];
    let child = start(&args);
    wait_for(&files.path().join("begun"));
    let (status, out, err) = interrupted(child, &args);
    assert_eq!(status.code(), Some(130), "{out}{err}");
    assert_eq!(outcomes(&out), ("interrupted".to_owned(), vec!["not-run".to_owned()]));
}

#[test]
fn an_interrupt_ends_the_wait_for_a_server_that_does_not_stop() {
    let files = folder::<&str>(&[]);
    let stopping = path(&files, "stopping");
    let serve = format!("'{}' serve --quiet --bind $1", env!("CARGO_BIN_EXE_echo-tester"));
    let script = format!("trap 'touch {stopping}' TERM; {serve} & while :; do sleep 0.1; done");
    let case = scripted(&files, &script, &format!("stop_timeout = '{LONG}'"));
    std::fs::write(files.path().join("a.toml"), case).expect("the file is writable");
    let args = ["run", &path(&files, "a.toml"), "--json", "--quiet"];
    let child = start(&args);
    wait_for(Path::new(&stopping));
    let (status, out, err) = interrupted(child, &args);
    assert_eq!(status.code(), Some(130), "{out}{err}");
    assert_eq!(outcomes(&out), ("interrupted".to_owned(), vec!["pass".to_owned()]), "its loads had ended");
}

#[test]
fn an_interrupt_ends_the_probe_of_a_server_that_hangs() {
    // It echoes on one connection and then accepts no more; the system goes on taking connections for it.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound").to_string();
    let (ended, has_ended) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the listener accepts");
        let mut reader = stream.try_clone().expect("a socket can be shared");
        std::io::copy(&mut reader, &mut stream).expect("the client reads its echo");
        drop((reader, stream));
        let probe = listener.accept().expect("the listener accepts");
        ended.send(()).expect("the test listens");
        (listener, probe)
    });
    let load = format!("[[load]]\nconns = 1\nmessages = 1\nconnect_timeout = '{LONG}'\nstall_timeout = '{LONG}'\n");
    let files = folder(&[("a.toml", &format!("name = 'n'\n{load}"))]);
    let args = ["run", &path(&files, "a.toml"), "--target", &address, "--json", "--quiet"];
    let child = start(&args);
    has_ended.recv_timeout(EVENT_TIMEOUT).expect("the probe comes after the load");
    let (status, out, err) = interrupted(child, &args);
    assert_eq!(status.code(), Some(130), "{out}{err}");
    assert_eq!(outcomes(&out).0, "interrupted");
    assert!(!out.contains("echoing no byte"), "{out}");
    drop(server.join().expect("the server does not panic"));
}

#[test]
fn a_comparison_that_is_interrupted_says_which_servers_were_not_run() {
    let args = ["compare", "--models", "threads,tokio,poll", "--conns", "5", "--duration", LONG, "--json"];
    let mut child = start(&args);
    // The announcement comes before the first round; a moment later its server is up.
    wait_for_output(child.stderr.as_mut());
    let (status, out, err) = interrupted(child, &args);
    assert_eq!(status.code(), Some(130), "{out}{err}");
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    let outcome = |i: usize| report["points"][0]["contenders"][i]["outcome"].as_str().expect("it is a word");
    assert!(["interrupted", "not-run"].contains(&outcome(0)), "{report}");
    assert_eq!((outcome(1), outcome(2), &report["exit_code"]), ("not-run", "not-run", &Value::from(130)));
    assert_blames_nobody(&format!("{out}{err}"));
}

#[test]
fn the_server_of_somebody_else_takes_no_harm() {
    let server = Serving::start(&[]);
    let args = ["blast", &server.address, "--conns", "5", "--duration", LONG];
    let mut child = start(&args);
    wait_for_output(child.stdout.as_mut());
    let (status, out, err) = interrupted(child, &args);
    assert_eq!(status.code(), Some(130), "{out}{err}");
    assert_blames_nobody(&format!("{out}{err}"));
    let (code, out, err) = said(&["blast", &server.address, "--conns", "2", "--messages", "2", "--quiet"]);
    assert_eq!(code, 0, "{out}{err}");
    let counters = server.stop()["counters"].clone();
    assert_eq!(counters["accepted"], counters["closed"]);
}

#[test]
fn a_bundled_server_ends_when_the_program_is_killed() {
    let files = folder::<&str>(&[]);
    let log = path(&files, "log");
    let args = ["blast", "--serve=threads", "--conns", "1", "--duration", LONG, "--server-log", &log];
    let mut child = start(&args);
    let file = files.path().join("log/serve-threads.log");
    let until = Instant::now() + EVENT_TIMEOUT;
    let pid = loop {
        let event = std::fs::read_to_string(&file).unwrap_or_default();
        if let Ok(event) = serde_json::from_str::<Value>(event.trim()) {
            break event["pid"].to_string();
        }
        assert!(Instant::now() < until, "the server does not listen");
        // sleep: another process is watched, and it sends no notification.
        std::thread::sleep(Duration::from_millis(5));
    };
    child.kill().expect("the program runs");
    child.wait().expect("the process can be waited for");
    let is_alive =
        || std::process::Command::new("kill").args(["-0", &pid]).stderr(std::process::Stdio::null()).status();
    while is_alive().expect("kill is installed").success() {
        assert!(Instant::now() < until, "the server outlives the program");
        // sleep: another process is watched, and it sends no notification.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_wait_for_a_target_that_does_not_come_ends_at_once() {
    let nobody = free_port().to_string();
    for args in [["check", &nobody, "--wait", LONG], ["blast", &nobody, "--wait", LONG]] {
        let mut child = start(&args);
        wait_for_output(child.stderr.as_mut());
        let (status, out, err) = interrupted(child, &args);
        assert_eq!((status.code(), out.as_str()), (Some(130), ""), "{err}");
        assert!(err.contains("interrupted while waiting for") && err.contains("refused"), "{err}");
    }
}

/// No system but Linux tells a process of its parent's end.
#[cfg(target_os = "linux")]
#[test]
fn a_process_of_a_connection_ends_with_a_server_that_is_killed() {
    let mut server = Serving::start(&["--model", "fork"]);
    let mut client = TcpStream::connect(&server.address).expect("it listens");
    client.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a time that is not 0");
    let mut echo = [0];
    client.write_all(b"?").and_then(|()| client.read_exact(&mut echo)).expect("a process serves the connection");
    server.child.kill().and_then(|()| server.child.wait()).expect("it is our child");
    assert_eq!(client.read(&mut echo).expect_err("the connection has ended").kind(), ErrorKind::ConnectionReset);
}

/// Waits until a pipe without data is opened for reading.
fn wait_for_reader(pipe: &str) -> std::fs::File {
    let until = Instant::now() + EVENT_TIMEOUT;
    loop {
        // Without O_NONBLOCK it would wait for ever if the program never opens it; with it, it fails until then.
        let opened = rustix::fs::open(pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
        if let Ok(writer) = opened {
            return writer.into();
        }
        assert!(Instant::now() < until, "nobody reads {pipe}");
        // sleep: another process is watched, and it sends no notification.
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_file_that_has_nothing_to_read_yet_is_not_waited_for_after_an_interrupt() {
    let files = folder::<&str>(&[]);
    let pipe = path(&files, "pipe.toml");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is installed").success());
    for args in [
        &["run", &pipe, "-q"][..],
        &["check", "127.0.0.1:1", "--baseline", &pipe, "-q"],
        &["check", "--targets", &pipe, "-q"],
        &["blast", "127.0.0.1:1", "--tls", "--ca", &pipe, "-q"],
        &["report", &pipe],
        &["merge", &pipe],
    ] {
        let child = start(args);
        let _writer = wait_for_reader(&pipe);
        let (status, out, err) = interrupted(child, args);
        assert_eq!(status.code(), Some(130), "{args:?}: {out}{err}");
        assert!(out.is_empty() && err.lines().count() <= 1, "{args:?}: {out}{err}");
    }
}
